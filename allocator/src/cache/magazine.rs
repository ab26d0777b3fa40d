//! The depot of a cache: magazines that threads exchange.

use super::{quantum, slab};
use crate::{
    debug::{buffer::Buffer, tuning},
    raw::{CacheRef, Cell, MagazineRef, word},
    sync,
    vmem::{self, arenas},
};
use core::sync::atomic::{AtomicU64, Ordering};
use umem_layout::{Magazine, Plain};

/// Full magazines that a depot keeps: so many bytes of buffers, within these bounds. The rounds of more go back to
/// their slabs.
const FULL_BYTES: u64 = 1 << 20;
const FULL_MIN: u64 = 2;
const FULL_MAX: u64 = 256;

/// So many full magazines in a row, none taken out in between, and the program is giving memory up: then the depot
/// empties, since each round may keep a slab alive.
const STREAK: u32 = 128;

/// Bytes of the buffers that a magazine of a cache has room for.
pub fn magazine_bytes(cache: CacheRef, rounds: u32) -> u64 {
    u64::from(rounds) * cache.chunk_size().get()
}

/// Whether the depot takes another full magazine.
fn has_room(cache: CacheRef) -> bool {
    let count = cache.depot_full_count().get();
    let bytes = magazine_bytes(cache, cache.magazine_rounds().get());
    count < FULL_MIN || count < FULL_MAX && (count + 1) * bytes <= FULL_BYTES
}

/// Round number `index` of a magazine.
#[inline(always)]
pub fn round(magazine: MagazineRef, index: usize) -> &'static AtomicU64 {
    // SAFETY: `capacity` words follow the structure, and callers stay below it.
    unsafe { word(magazine.address() + size_of::<Magazine>(), index) }
}

/// The last of a magazine's first `rounds` rounds; for none of them the last word of the structure, which is no address
/// of a buffer: that saves the fast path a test. What is read there may be written back.
#[inline(always)]
pub fn top(magazine: MagazineRef, rounds: usize) -> &'static AtomicU64 {
    const { assert!(core::mem::offset_of!(Magazine, capacity) == size_of::<Magazine>() - 4) };
    // SAFETY: as for `round`, or a word of the structure.
    unsafe { word(magazine.address() + size_of::<Magazine>() - 8, rounds) }
}

fn link(value: u64) -> Option<MagazineRef> {
    // SAFETY: links of the depot's lists are zero or magazines made here.
    unsafe { MagazineRef::from_link(value) }
}

fn pop(head: &AtomicU64, count: &AtomicU64, fewest: &AtomicU64) -> Option<MagazineRef> {
    let magazine = link(head.get())?;
    head.set(magazine.next().get());
    count.subtract(1);
    fewest.set(fewest.get().min(count.get()));
    magazine.next().set(0);
    Some(magazine)
}

fn push(head: &AtomicU64, count: &AtomicU64, magazine: MagazineRef) {
    magazine.next().set(head.get());
    head.set(magazine.link());
    count.add(1);
}

fn pop_full(cache: CacheRef) -> Option<MagazineRef> {
    pop(
        cache.depot_full(),
        cache.depot_full_count(),
        cache.depot_full_min(),
    )
}

fn pop_empty(cache: CacheRef) -> Option<MagazineRef> {
    pop(
        cache.depot_empty(),
        cache.depot_empty_count(),
        cache.depot_empty_min(),
    )
}

fn locked<T>(cache: CacheRef, run: impl FnOnce() -> T) -> T {
    let (_guard, contended) = sync::lock_counting(cache.depot_lock());
    if contended {
        cache.depot_contention().add(1);
    }
    run()
}

/// Takes a full magazine out of the depot.
pub fn get_full(cache: CacheRef) -> Option<MagazineRef> {
    locked(cache, || {
        let magazine = pop_full(cache)?;
        cache.depot_allocs().add(1);
        cache.depot_streak().set(0);
        Some(magazine)
    })
}

/// Takes an empty magazine out of the depot, or makes one. None: no memory.
pub fn get_empty(cache: CacheRef) -> Option<MagazineRef> {
    locked(cache, || pop_empty(cache)).or_else(|| create(cache))
}

fn create(cache: CacheRef) -> Option<MagazineRef> {
    let capacity = cache.magazine_rounds().get();
    let memory = vmem::alloc(
        arenas().internal,
        size_of::<Magazine>() + capacity as usize * 8,
        64,
    )?;
    // SAFETY: fresh metadata, aligned to 64, that nothing else uses.
    let magazine = unsafe { MagazineRef::from_address(memory.start().get() as usize) };
    magazine.initialize(Magazine {
        capacity,
        ..Magazine::ZERO
    });
    Some(magazine)
}

/// Puts a magazine with rounds into the depot; when the depot has enough, its rounds go back to their slabs.
pub fn put_full(cache: CacheRef, magazine: MagazineRef, rounds: u32) {
    magazine.rounds().set(rounds);
    let surplus = locked(cache, || {
        let streak = cache.depot_streak().get().saturating_add(1);
        cache.depot_streak().set(streak);
        let has_room = match streak < STREAK {
            true => has_room(cache),
            false => cache.depot_full_count().get() < FULL_MIN,
        };
        if has_room {
            push(cache.depot_full(), cache.depot_full_count(), magazine);
        }
        let other = if streak < STREAK || has_room {
            None
        } else {
            pop_full(cache)
        };
        [(!has_room).then_some(magazine), other]
    });
    for magazine in surplus.into_iter().flatten() {
        flush(cache, magazine, magazine.rounds().get());
        put_empty(cache, magazine);
    }
}

/// Exchanges a full magazine, which the depot has room for, for an empty one of it. None: nothing was changed.
pub fn trade_full(cache: CacheRef, full: MagazineRef, rounds: u32) -> Option<MagazineRef> {
    locked(cache, || {
        let streak = cache.depot_streak().get().saturating_add(1);
        if streak >= STREAK || !has_room(cache) {
            return None;
        }
        let empty = pop_empty(cache)?;
        cache.depot_streak().set(streak);
        full.rounds().set(rounds);
        push(cache.depot_full(), cache.depot_full_count(), full);
        Some(empty)
    })
}

/// Exchanges an empty magazine for a full one of the depot. None: nothing was changed.
pub fn trade_empty(cache: CacheRef, empty: MagazineRef) -> Option<MagazineRef> {
    locked(cache, || {
        let full = pop_full(cache)?;
        cache.depot_allocs().add(1);
        cache.depot_streak().set(0);
        empty.rounds().set(0);
        push(cache.depot_empty(), cache.depot_empty_count(), empty);
        Some(full)
    })
}

/// Puts an empty magazine into the depot.
pub fn put_empty(cache: CacheRef, magazine: MagazineRef) {
    magazine.rounds().set(0);
    locked(cache, || {
        push(cache.depot_empty(), cache.depot_empty_count(), magazine)
    });
}

/// Gives the rounds of a magazine back to their slabs. Rounds that are no buffers of the cache, or that are free already, are
/// errors of the program that a fast free could not see.
fn flush(cache: CacheRef, magazine: MagazineRef, rounds: u32) {
    let address = |index| round(magazine, index).load(Ordering::Relaxed) as usize;
    let buffer = |index| {
        let found = vmem::slab_at(address(index))?;
        Buffer::within(found, address(index))
            .ok()
            .filter(|buffer| buffer.cache == cache)
    };
    let count = rounds.min(magazine.capacity().get()) as usize;
    if quantum::is_quantum(cache) {
        let wrong = (0..count).filter(|&index| !quantum::give_back(cache, address(index)));
        return wrong.for_each(|index| crate::debug::report::late_free(address(index), cache));
    }
    let mut done = 0;
    while done < count {
        done += slab::give_back_run(cache, count - done, |index| buffer(done + index));
        if done < count {
            crate::debug::report::late_free(address(done), cache);
            done += 1;
        }
    }
}

/// Gives the rounds of all full magazines in the depot back to their slabs.
pub fn reap(cache: CacheRef) {
    while let Some(magazine) = get_full(cache) {
        flush(cache, magazine, magazine.rounds().get());
        put_empty(cache, magazine);
    }
}

/// Gives back the magazines that lay unused in the depot since the last update, and makes magazines larger where threads wait for
/// the depot.
pub fn update(cache: CacheRef) {
    let (full, empty) = locked(cache, || {
        let unused = (cache.depot_full_min().get(), cache.depot_empty_min().get());
        cache.depot_full_min().set(cache.depot_full_count().get());
        cache.depot_empty_min().set(cache.depot_empty_count().get());
        unused
    });
    for _ in 0..full {
        let Some(magazine) = locked(cache, || pop_full(cache)) else {
            break;
        };
        flush(cache, magazine, magazine.rounds().get());
        vmem::free(arenas().internal, magazine.address());
    }
    for _ in 0..empty {
        let Some(magazine) = locked(cache, || pop_empty(cache)) else {
            break;
        };
        vmem::free(arenas().internal, magazine.address());
    }
    resize(cache);
}

/// Rounds of magazines, each about twice the one before, and the largest chunk for which they grow beyond it. From the
/// table of the paper's implementation, as libumem publishes it.
const TYPES: [(u32, u64); 10] = [
    (1, 65536),
    (2, 49152),
    (3, 32768),
    (5, 16384),
    (7, 16384),
    (15, 8192),
    (31, 4096),
    (63, 1024),
    (95, 512),
    (143, 0),
];

/// Larger magazines are made from now on; those that there are stay in use.
fn resize(cache: CacheRef) {
    let times = cache.depot_contention().get();
    let since = times - cache.contention_seen().get().min(times);
    cache.contention_seen().set(times);
    let rounds = cache.magazine_rounds().get();
    if rounds == 0 || since <= tuning::MAX_CONTENTION.load(Ordering::Relaxed) {
        return;
    }
    let own = TYPES.iter().position(|&(size, _)| size == rounds);
    let next = own
        .filter(|&at| cache.chunk_size().get() < TYPES[at].1)
        .and_then(|at| TYPES.get(at + 1));
    if let Some(&(larger, _)) = next {
        cache.magazine_rounds().set(larger);
    }
}

/// Gives the empty magazines of a cache that ends back to metadata; full ones were reaped before.
pub(super) fn free_all(cache: CacheRef) {
    while let Some(magazine) = locked(cache, || pop_empty(cache)) {
        vmem::free(arenas().internal, magazine.address());
    }
}
