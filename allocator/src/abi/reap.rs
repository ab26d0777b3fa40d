//! Giving memory back on request: umem_reap(3).

use crate::{
    cache,
    raw::{Cell, root},
    stats,
    sys::clock,
};
use core::sync::atomic::{AtomicU64, Ordering};
use umem_layout::ready;

const SECOND: u64 = 1_000_000_000;
/// When memory was given back last, zero when never.
static LAST: AtomicU64 = AtomicU64::new(0);

/// Gives back what is free: asks programs' caches for objects, then returns rounds to slabs, empty slabs to arenas, pages to the system.
/// At most once in a reap interval; other requests do nothing, and neither do those that come before the allocator is in service.
/// True: it was done.
pub fn request() -> bool {
    if root().state().load(Ordering::Acquire) != ready::READY {
        return false;
    }
    let interval = u64::from(root().reap_interval().get()) * SECOND;
    let (now, last) = (clock::monotonic().max(1), LAST.load(Ordering::Acquire));
    let is_due = last == 0 || now.saturating_sub(last) >= interval;
    let is_first = || {
        LAST.compare_exchange(last, now, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    };
    let runs = is_due && is_first();
    if runs {
        reclaim();
        stats::trim();
    }
    runs
}

/// Calls the reclaim functions of all caches.
fn reclaim() {
    let mut last = 0;
    while let Some(hold) = cache::next_held(last) {
        last = hold.cache().id().get();
        cache::reclaim(hold.cache());
    }
}
