//! How many bytes a thread keeps in its magazines.
//!
//! A thread may keep `perthread_cache` bytes, and less where there are many threads, so that all together keep no more than
//! `concurrency` times that. What counts is the room in the magazines that it has loaded. A thread above its limit gives
//! magazines back that it did not just use, one class after the other. Only its own slow path looks, so a magazine
//! costs nothing while it serves.

use super::{Local, entry_of, local, magazine, withdraw};
use crate::{
    cache,
    debug::tuning,
    raw::{CacheRef, Cell, ThreadCacheRef, ThreadRef, root},
};
use core::sync::atomic::{AtomicU32, Ordering};

/// Bytes that a thread may keep however many there are, unless the option says less.
const LEAST: u64 = 128 << 10;

/// Threads in service.
static LIVE: AtomicU32 = AtomicU32::new(0);

/// A thread comes into service.
pub(super) fn enter() {
    LIVE.fetch_add(1, Ordering::Relaxed);
}

/// A thread has left.
pub(super) fn leave() {
    LIVE.fetch_sub(1, Ordering::Relaxed);
}

/// In the child of a fork only the calling thread is left.
pub(super) fn only(count: u32) {
    LIVE.store(count, Ordering::Relaxed);
}

/// Threads in service.
pub fn live() -> u32 {
    LIVE.load(Ordering::Relaxed)
}

/// Bytes that each thread may keep now.
fn limit() -> u64 {
    let own = root().options().perthread_cache;
    let total = own.saturating_mul(tuning::CONCURRENCY.load(Ordering::Relaxed));
    own.min((total / u64::from(live().max(1))).max(LEAST))
}

/// Whether two magazines of a cache are within the limit; if not, its buffers come from the slabs.
pub fn keeps(cache: CacheRef) -> bool {
    let rounds = cache.magazine_rounds().get();
    rounds != 0 && cache::magazine_bytes(cache, rounds) * 2 <= limit()
}

/// Bytes of the buffers that the magazines of an entry have room for.
fn bytes(slot: usize, entry: ThreadCacheRef) -> u64 {
    let room = |link| magazine(link).map_or(0, |magazine| magazine.capacity().get());
    let rounds = room(entry.loaded().get()) + room(entry.previous().get());
    match rounds {
        0 => 0,
        _ => cache::of_slot(slot).map_or(0, |cache| cache::magazine_bytes(cache, rounds)),
    }
}

/// The calling thread has loaded a magazine that it did not have before, and given one back.
pub(super) fn loaded(cache: CacheRef, rounds: u32, given: u32, keep: ThreadCacheRef) {
    let local = local();
    let held = local.held.get() + cache::magazine_bytes(cache, rounds);
    local
        .held
        .set(held.saturating_sub(cache::magazine_bytes(cache, given)));
    if local.held.get() > limit() {
        shed(local, keep);
    }
}

/// Gives magazines back until the thread keeps three quarters of its limit, but not those of one entry.
#[cold]
fn shed(local: &Local, keep: ThreadCacheRef) {
    // SAFETY: a thread that loads magazines is in service, and so has a record.
    let thread = unsafe { ThreadRef::from_address(local.thread.get()) };
    let slots = thread.cache_count().get() as usize;
    let entries = |slot| entry_of(thread.caches().get() as usize, slot);
    let total = || -> u64 {
        (0..slots)
            .filter_map(|slot| entries(slot).map(|entry| bytes(slot, entry)))
            .sum()
    };
    // Magazines that a cache took back at its end are still counted; now they are not.
    let mut held = total();
    let limit = limit();
    if held > limit {
        for _ in 0..slots {
            let slot = local.rotor.get() as usize % slots;
            local.rotor.set(slot as u32 + 1);
            let Some(entry) = entries(slot).filter(|&entry| entry != keep) else {
                continue;
            };
            let freed = bytes(slot, entry);
            if let Some((hold, magazines)) = withdraw::detach_held(slot, entry) {
                magazines.give(hold.cache());
            }
            held -= freed.min(held);
            if held <= limit / 4 * 3 {
                break;
            }
        }
    }
    local.held.set(held);
}
