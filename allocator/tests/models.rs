//! The layers against simple models: a list of ranges for vmem, a set of addresses for slabs and magazines.
//!
//! The tests drive the layers directly; nothing here interposes on the test's own malloc.

use proptest::{collection::vec, prelude::*};
use std::collections::{BTreeMap, HashSet};
use umem::{
    cache,
    debug::{Call, buffer::Buffer},
    init, malloc,
    raw::{ArenaRef, CacheRef, Cell, MagazineRef},
    stats,
    unwind::Entry,
    vmem,
};
use umem_layout::{family, policy, segment_kind};

#[derive(Debug, Clone)]
enum Step {
    Alloc {
        size: usize,
        align: usize,
    },
    Free {
        pick: usize,
    },
    Resize {
        pick: usize,
        size: usize,
    },
    /// Resizes by an eighth, so many times in a row.
    Grow {
        pick: usize,
        times: usize,
    },
}

fn steps(size_max: usize) -> impl Strategy<Value = Vec<Step>> {
    let alloc = (1..size_max, 0..4_u32).prop_map(|(size, shift)| Step::Alloc {
        size,
        align: 1 << (shift * 4),
    });
    let free = any::<usize>().prop_map(|pick| Step::Free { pick });
    let resize = (any::<usize>(), 1..size_max).prop_map(|(pick, size)| Step::Resize { pick, size });
    let grow = (any::<usize>(), 1..60_usize).prop_map(|(pick, times)| Step::Grow { pick, times });
    vec(
        prop_oneof![4 => alloc, 3 => free, 2 => resize, 1 => grow],
        1..300,
    )
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

/// Start of one of the live buffers.
fn nth(live: &BTreeMap<usize, (usize, u8)>, pick: usize) -> Option<usize> {
    live.keys().nth(pick.checked_rem(live.len())?).copied()
}

/// Resizes a live buffer, which is all of one byte, and returns its new start.
fn resize(
    live: &mut BTreeMap<usize, (usize, u8)>,
    start: usize,
    size: usize,
    entry: Entry,
) -> Result<usize, TestCaseError> {
    let (old, fill) = live.remove(&start).expect("it is live");
    // SAFETY: the buffer is live and only used through the result.
    let moved = unsafe { malloc::reallocate(start, size, entry) };
    prop_assert!(moved != 0 && malloc::usable_size(moved).is_some_and(|usable| usable >= size));
    // SAFETY: the buffer has at least `size` bytes.
    let bytes = unsafe { std::slice::from_raw_parts(moved as *const u8, old.min(size)) };
    prop_assert!(bytes.iter().all(|&byte| byte == fill), "contents are kept");
    // SAFETY: as above.
    unsafe { (moved as *mut u8).write_bytes(fill, size) };
    let below = live.range(..moved + size).next_back();
    prop_assert!(
        below.is_none_or(|(at, (length, _))| at + length <= moved),
        "overlap"
    );
    live.insert(moved, (size, fill));
    Ok(moved)
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
                Step::Grow { .. } => {}
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
                    if let Some(start) = nth(&live, pick) {
                        resize(&mut live, start, size, entry)?;
                    }
                }
                Step::Grow { pick, times } => {
                    let Some(mut start) = nth(&live, pick) else { continue };
                    for _ in 0..times {
                        let old = live[&start].0;
                        start = resize(&mut live, start, (old + old / 8 + 16).min(6 << 20), entry)?;
                    }
                }
            }
        }
        assert_tiled(vmem::arenas().oversize);
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

/// An object cache of its own, so that no other test meets it.
fn fresh_cache(size: usize) -> CacheRef {
    assert!(init::ensure());
    cache::create_object(&cache::Blueprint {
        name: b"model",
        size,
        align: 0,
        constructor: None,
        destructor: None,
        reclaim: None,
        private: 0,
        source: None,
        cflags: 0,
    })
    .expect("memory")
}

#[derive(Debug, Clone)]
enum SlabStep {
    Take,
    Batch(usize),
    GiveBack(usize),
    GiveBackAgain,
}

fn slab_steps() -> impl Strategy<Value = Vec<SlabStep>> {
    let step = prop_oneof![
        4 => Just(SlabStep::Take),
        1 => (1..40_usize).prop_map(SlabStep::Batch),
        6 => any::<usize>().prop_map(SlabStep::GiveBack),
        1 => Just(SlabStep::GiveBackAgain),
    ];
    vec(step, 1..400)
}

#[derive(Debug, Clone)]
enum DepotStep {
    /// A magazine with so many rounds, fresh from the slabs, goes to the depot.
    Put(usize),
    /// A full magazine comes out; its rounds go back to the slabs.
    Get,
    /// A full magazine comes out and goes back with fewer rounds.
    Use(usize),
    Reap,
    Update,
}

fn depot_steps() -> impl Strategy<Value = Vec<DepotStep>> {
    let step = prop_oneof![
        5 => (1..100_usize).prop_map(DepotStep::Put),
        2 => Just(DepotStep::Get),
        2 => (1..100_usize).prop_map(DepotStep::Use),
        1 => Just(DepotStep::Reap),
        1 => Just(DepotStep::Update),
    ];
    vec(step, 1..200)
}

fn give_back(address: usize) -> bool {
    let slab = vmem::slab_at(address).expect("it lies in a slab");
    cache::give_back(Buffer::at(slab, address).expect("it is a buffer"))
}

fn rounds_of(magazine: MagazineRef, count: usize) -> Vec<usize> {
    (0..count)
        .map(|index| cache::round(magazine, index).get() as usize)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// The model of the slab layer is the set of addresses that were handed out.
    #[test]
    fn slabs_hand_out_each_chunk_once(size in 1..9000_usize, steps in slab_steps()) {
        let cache = fresh_cache(size);
        let mut live = Vec::new();
        let mut known = HashSet::new();
        let mut last = None;
        for step in steps {
            let mut took = Vec::new();
            match step {
                SlabStep::Take => took.push(cache::take(cache, nobody).expect("memory").buffer.address),
                SlabStep::Batch(most) => {
                    cache::batch(cache, most, nobody, |address| took.push(address));
                    prop_assert!((1..=most).contains(&took.len()));
                }
                SlabStep::GiveBack(pick) if !live.is_empty() => {
                    let address = live.swap_remove(pick % live.len());
                    known.remove(&address);
                    prop_assert!(give_back(address));
                    last = Some(address);
                }
                SlabStep::GiveBackAgain => {
                    // Its slab may be gone, and one with another colour be there; where it is not, the chunk is known to be free.
                    let free = last.filter(|address| !known.contains(address));
                    let slab = free.and_then(vmem::slab_at).filter(|slab| slab.cache().get() == cache.link());
                    let buffer = slab.zip(free).and_then(|(slab, address)| Buffer::at(slab, address).ok());
                    if let Some(buffer) = buffer {
                        prop_assert!(!cache::give_back(buffer), "a second free is refused");
                    }
                }
                SlabStep::GiveBack(_) => {}
            }
            for address in took {
                prop_assert!(known.insert(address), "{address:#x} was handed out already");
                let align = if size < 16 { 8 } else { 16 };
                prop_assert!(address.is_multiple_of(align));
                // SAFETY: the buffer has `size` bytes and is ours.
                unsafe { (address as *mut u8).write_bytes(1, size) };
                live.push(address);
            }
            let taken = cache.slab_allocs().get() - cache.slab_frees().get();
            prop_assert_eq!(taken, live.len() as u64);
            prop_assert!(cache.buffers().get() >= taken);
        }
        let mut starts = live.clone();
        starts.sort_unstable();
        prop_assert!(starts.windows(2).all(|two| two[0] + size <= two[1]), "buffers overlap");
        for address in live {
            prop_assert!(give_back(address));
        }
        prop_assert!(cache::end_object(cache, |_| ()), "nothing is left");
    }

    /// The model of the depot is the set of magazines in it: what comes out is one that went in, with its rounds, or nothing.
    #[test]
    fn a_depot_gives_out_what_was_put_in(steps in depot_steps()) {
        let cache = fresh_cache(200);
        let mut inside: Vec<Vec<usize>> = Vec::new();
        for step in steps {
            match step {
                DepotStep::Put(count) => {
                    let magazine = cache::get_empty(cache).expect("memory");
                    prop_assert_eq!(magazine.rounds().get(), 0);
                    let count = count.min(magazine.capacity().get() as usize);
                    for index in 0..count {
                        let taken = cache::take(cache, nobody).expect("memory").buffer.address;
                        prop_assert!(inside.iter().flatten().all(|&other| other != taken), "a round is not free");
                        cache::round(magazine, index).set(taken as u64);
                    }
                    inside.push(rounds_of(magazine, count));
                    cache::put_full(cache, magazine, count as u32);
                }
                DepotStep::Get | DepotStep::Use(_) => {
                    let Some(magazine) = cache::get_full(cache) else {
                        prop_assert_eq!(cache.depot_full_count().get(), 0);
                        continue;
                    };
                    let rounds = rounds_of(magazine, magazine.rounds().get() as usize);
                    let place = inside.iter().position(|other| *other == rounds);
                    prop_assert!(place.is_some(), "{rounds:x?} was never put in");
                    inside.remove(place.unwrap());
                    let keep = match step {
                        DepotStep::Use(keep) => keep.min(rounds.len()),
                        _ => 0,
                    };
                    for &round in &rounds[keep..] {
                        prop_assert!(give_back(round));
                    }
                    if keep > 0 {
                        inside.push(rounds[..keep].to_vec());
                        cache::put_full(cache, magazine, keep as u32);
                    } else {
                        cache::put_empty(cache, magazine);
                    }
                }
                DepotStep::Reap => cache::reap(cache),
                DepotStep::Update => cache::update(cache),
            }
            // A depot that has enough gives rounds back to their slabs; then they are free there.
            let full = cache.depot_full_count().get() as usize;
            prop_assert!(full <= inside.len());
            inside.retain(|rounds| {
                let gone = !is_taken(cache, rounds[0]);
                assert!(rounds.iter().all(|&round| is_taken(cache, round) != gone), "a magazine went back in part");
                !gone
            });
            prop_assert_eq!(full, inside.len());
            let rounds: usize = inside.iter().map(Vec::len).sum();
            prop_assert_eq!(cache.slab_allocs().get() - cache.slab_frees().get(), rounds as u64);
        }
        prop_assert!(cache::end_object(cache, |_| ()), "nothing is left");
    }
}

/// Whether the slab layer of a cache has handed a chunk out.
fn is_taken(cache: CacheRef, address: usize) -> bool {
    let slab = vmem::slab_at(address).filter(|slab| slab.cache().get() == cache.link());
    let buffer = slab.and_then(|slab| Buffer::at(slab, address).ok());
    buffer.is_some_and(|buffer| {
        let map = buffer.slab.bitmap().get() as *const u64;
        // SAFETY: the map has a bit for each chunk of the slab.
        let word = unsafe { map.add(buffer.index / 64).read() };
        word >> (buffer.index % 64) & 1 != 0
    })
}
