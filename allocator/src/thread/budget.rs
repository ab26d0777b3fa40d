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
    let (threads, meant_for) = (
        u64::from(live()),
        tuning::CONCURRENCY.load(Ordering::Relaxed),
    );
    if threads <= meant_for {
        return own;
    }
    own.min((own.saturating_mul(meant_for) / threads).max(LEAST))
}

/// The part of so many bytes that a thread may keep for each of its purposes.
pub(super) fn share(bytes: u64) -> u64 {
    bytes.min(limit() / 2)
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
        shed(local, limit() / 4 * 3, Some(keep));
    }
}

/// Gives all magazines of the calling thread back.
pub(super) fn give_all() {
    let local = local();
    if local.thread.get() != 0 && local.fast.caches() != 0 {
        shed(local, 0, None);
    }
}

/// Gives magazines back until the thread keeps no more than `enough` bytes, but not those of one entry. The magazines that a
/// cache took back at its end are still counted; when all entries were looked at, what is left is counted anew.
#[cold]
fn shed(local: &Local, enough: u64, keep: Option<ThreadCacheRef>) {
    // SAFETY: a thread that loads magazines is in service, and so has a record.
    let thread = unsafe { ThreadRef::from_address(local.thread.get()) };
    let slots = thread.cache_count().get();
    let entry_at = |slot: u32| entry_of(thread.caches().get() as usize, slot as usize);
    let mut slot = local.rotor.get();
    for _ in 0..slots {
        slot = if slot + 1 < slots { slot + 1 } else { 0 };
        let entry = entry_at(slot).filter(|&entry| {
            entry.loaded().get() | entry.previous().get() != 0 && Some(entry) != keep
        });
        let Some(entry) = entry else { continue };
        let freed = bytes(slot as usize, entry);
        if let Some((hold, magazines)) = withdraw::detach_held(slot as usize, entry) {
            magazines.give(hold.cache());
        }
        local.held.set(local.held.get().saturating_sub(freed));
        if local.held.get() <= enough && enough != 0 {
            return local.rotor.set(slot);
        }
    }
    let left = (0..slots)
        .filter_map(|slot| entry_at(slot).map(|entry| bytes(slot as usize, entry)))
        .sum();
    local.held.set(left);
}
