//! The layers against simple models: a list of ranges for vmem, a set of addresses for slabs and magazines.
//!
//! The tests drive the layers directly; nothing here interposes on the test's own malloc.

use proptest::{collection::vec, prelude::*};
use std::collections::{BTreeMap, HashSet};
use umem::{
    cache,
    debug::Call,
    init, malloc,
    raw::{ArenaRef, Cell},
    stats,
    unwind::Entry,
    vmem,
};
use umem_layout::{family, policy, segment_kind};

#[derive(Debug, Clone)]
enum Step {
    Alloc { size: usize, align: usize },
    Free { pick: usize },
    Resize { pick: usize, size: usize },
}

fn steps(size_max: usize) -> impl Strategy<Value = Vec<Step>> {
    let alloc = (1..size_max, 0..4_u32).prop_map(|(size, shift)| Step::Alloc {
        size,
        align: 1 << (shift * 4),
    });
    let free = any::<usize>().prop_map(|pick| Step::Free { pick });
    let resize = (any::<usize>(), 1..size_max).prop_map(|(pick, size)| Step::Resize { pick, size });
    vec(prop_oneof![4 => alloc, 3 => free, 2 => resize], 1..300)
}

/// Reads an arena's address list: (kind, start, end), with the checks that every debugger will make of it.
fn segments(arena: ArenaRef) -> Vec<(u32, u64, u64)> {
    let mut found = Vec::new();
    let anchor = arena.segments().get();
    // SAFETY: links of an arena's address list are segments.
    let at = |link: u64| unsafe { umem::raw::SegmentRef::from_address(link as usize) };
    let mut next = at(anchor).next().get();
    while next != anchor {
        let segment = at(next);
        assert_eq!(at(segment.prev().get()).next().get(), next, "links agree");
        found.push((
            segment.kind().get(),
            segment.start().get(),
            segment.end().get(),
        ));
        next = segment.next().get();
    }
    found
}

/// Spans are tiled by their pieces, and no two free pieces touch.
fn assert_tiled(arena: ArenaRef) {
    let mut expected = None;
    let (mut span_end, mut before_free, mut in_use, mut total) = (0, false, 0, 0);
    for (kind, start, end) in segments(arena) {
        assert!(start < end);
        if kind == segment_kind::SPAN {
            assert!(
                expected.is_none_or(|at| at == span_end),
                "a span ends where its last piece does"
            );
            (expected, span_end, before_free) = (Some(start), end, false);
            total += end - start;
            continue;
        }
        assert_eq!(Some(start), expected, "pieces leave no gap");
        let free = kind == segment_kind::FREE;
        assert!(!(free && before_free), "free neighbours are merged");
        in_use += if free { 0 } else { end - start };
        (expected, before_free) = (Some(end), free);
    }
    assert!(expected.is_none_or(|at| at == span_end));
    assert_eq!((arena.in_use().get(), arena.total().get()), (in_use, total));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn an_arena_hands_out_disjoint_ranges_and_takes_all_back(steps in steps(300_000)) {
        prop_assert!(init::ensure());
        let Some(arena) = vmem::create(b"test", Some(vmem::arenas().top), 64, policy::METADATA) else {
            return Ok(()); // Arenas are never destroyed; the table holds enough for the cases above.
        };
        let mut live: BTreeMap<usize, usize> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Alloc { size, align } => {
                    let segment = vmem::alloc(arena, size, align).expect("memory");
                    let start = segment.start().get() as usize;
                    let rounded = size.next_multiple_of(64);
                    prop_assert_eq!(start % align.max(64), 0);
                    prop_assert_eq!(segment.end().get() as usize, start + rounded);
                    let before = live.range(..start + rounded).next_back();
                    prop_assert!(before.is_none_or(|(at, length)| at + length <= start), "overlap");
                    live.insert(start, rounded);
                }
                Step::Free { pick } => {
                    let Some((&start, _)) = live.iter().nth(pick.checked_rem(live.len()).unwrap_or(0)) else { continue };
                    live.remove(&start);
                    prop_assert!(vmem::free(arena, start));
                    prop_assert!(!vmem::free(arena, start), "a second free is refused");
                }
                Step::Resize { pick, size } => {
                    let Some((&start, &length)) = live.iter().nth(pick.checked_rem(live.len()).unwrap_or(0)) else {
                        continue;
                    };
                    let rounded = size.next_multiple_of(64);
                    if size <= length {
                        vmem::shrink(arena, start, size);
                        live.insert(start, rounded);
                    } else if vmem::extend(arena, start, size) {
                        let above = live.range(start + 1..).next();
                        prop_assert!(above.is_none_or(|(&at, _)| start + rounded <= at), "overlap");
                        live.insert(start, rounded);
                    }
                    assert_tiled(arena);
                }
            }
        }
        assert_tiled(arena);
        prop_assert_eq!(arena.allocs().get() - arena.frees().get(), live.len() as u64);
        for start in live.into_keys() {
            prop_assert!(vmem::free(arena, start));
        }
        assert_tiled(arena);
        prop_assert_eq!(arena.in_use().get(), 0);
    }

    #[test]
    fn malloc_hands_out_disjoint_buffers_and_counts_them(steps in steps(40_000)) {
        // Stacks are not taken without UMEM_DEBUG, so the entry is not looked at.
        let entry = Entry { sp: 0, fp: 0 };
        let before = stats::totals();
        let mut live: BTreeMap<usize, (usize, u8)> = BTreeMap::new();
        let mut fill = 0_u8;
        for step in steps {
            match step {
                Step::Alloc { size, align } => {
                    let start = malloc::allocate_aligned(size, align, family::MALLOC, entry);
                    prop_assert!(start != 0 && start.is_multiple_of(align.max(malloc::ALIGN)));
                    prop_assert!(malloc::usable_size(start).is_some_and(|usable| usable >= size));
                    let below = live.range(..start + size).next_back();
                    prop_assert!(below.is_none_or(|(at, (length, _))| at + length <= start), "overlap");
                    fill = fill.wrapping_add(1);
                    // SAFETY: the buffer has at least `size` bytes and is ours.
                    unsafe { (start as *mut u8).write_bytes(fill, size) };
                    live.insert(start, (size, fill));
                }
                Step::Free { pick } => {
                    let Some((&start, &(size, fill))) = live.iter().nth(pick.checked_rem(live.len()).unwrap_or(0)) else {
                        continue;
                    };
                    live.remove(&start);
                    // SAFETY: the buffer is ours until it is freed here.
                    let bytes = unsafe { std::slice::from_raw_parts(start as *const u8, size) };
                    prop_assert!(bytes.iter().all(|&byte| byte == fill), "contents are kept");
                    // SAFETY: the buffer is live and not used again.
                    unsafe { malloc::release(start, entry) };
                }
                Step::Resize { pick, size } => {
                    let Some((&start, &(old, fill))) = live.iter().nth(pick.checked_rem(live.len()).unwrap_or(0)) else {
                        continue;
                    };
                    live.remove(&start);
                    // SAFETY: the buffer is live and only used through the result.
                    let moved = unsafe { malloc::reallocate(start, size, entry) };
                    prop_assert!(moved != 0 && malloc::usable_size(moved).is_some_and(|usable| usable >= size));
                    let kept = old.min(size);
                    // SAFETY: the buffer has at least `size` bytes.
                    let bytes = unsafe { std::slice::from_raw_parts(moved as *const u8, kept) };
                    prop_assert!(bytes.iter().all(|&byte| byte == fill), "contents are kept");
                    // SAFETY: as above.
                    unsafe { (moved as *mut u8).write_bytes(fill, size) };
                    let below = live.range(..moved + size).next_back();
                    prop_assert!(below.is_none_or(|(at, (length, _))| at + length <= moved), "overlap");
                    live.insert(moved, (size, fill));
                }
            }
        }
        for start in live.into_keys() {
            // SAFETY: the buffer is live and not used again.
            unsafe { malloc::release(start, entry) };
        }
        let after = stats::totals();
        prop_assert_eq!(after.allocs - before.allocs, after.frees - before.frees);
        prop_assert_eq!(after.blocks, before.blocks);
    }
}

/// No log is kept here that wants to know.
fn nobody() -> Call {
    Call {
        time: 0,
        thread: 0,
        stack: 0,
    }
}

#[test]
fn a_slab_hands_out_each_chunk_once_and_notices_a_double_free() {
    assert!(init::ensure());
    let cache = cache::classes(cache::class_for(2688));
    let taken: Vec<_> = (0..100)
        .map(|_| cache::take(cache, nobody).expect("memory").buffer)
        .collect();
    let addresses: HashSet<_> = taken.iter().map(|buffer| buffer.address).collect();
    assert_eq!(addresses.len(), taken.len());
    for buffer in &taken {
        assert!(cache::give_back(*buffer));
    }
    let again = cache::take(cache, nobody).expect("memory").buffer;
    assert!(cache::give_back(again));
    assert!(!cache::give_back(again));
}
