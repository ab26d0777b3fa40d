//! Magazines leave the threads: at a thread's end, and at a cache's.
//!
//! Both may happen at once, so an entry is detached under the lock of the list of threads, and a cache whose
//! magazines a thread that ends has in its hands is held. The rounds go to the depot without a lock: that may destroy a slab and
//! call destructors of the program.

use super::{LIST_LOCK, count_into, entry_of, give, records, store_hot};
use crate::{
    cache::{self, Hold},
    raw::{CacheRef, Cell, ThreadCacheRef},
    sync,
};
use umem_layout::{Plain, ThreadCache};

/// The magazines of an entry.
pub(super) struct Detached {
    loaded: (u64, u32),
    previous: (u64, u32),
}

impl Detached {
    /// Gives the magazines to the depot.
    pub(super) fn give(self, cache: CacheRef) {
        give(cache, self.loaded.0, self.loaded.1);
        give(cache, self.previous.0, self.previous.1);
    }
}

/// Empties an entry. None: it was empty.
fn detach(cache: CacheRef, entry: ThreadCacheRef) -> Option<Detached> {
    count_into(cache, entry);
    store_hot(entry);
    let detached = Detached {
        loaded: (entry.loaded().get(), entry.loaded_rounds().get()),
        previous: (entry.previous().get(), entry.previous_rounds().get()),
    };
    entry.initialize(ThreadCache::ZERO);
    (detached.loaded.0 | detached.previous.0 != 0).then_some(detached)
}

/// Empties the entry of a thread that ends and holds its cache.
pub(super) fn detach_held(slot: usize, entry: ThreadCacheRef) -> Option<(Hold, Detached)> {
    let _guard = sync::lock(&LIST_LOCK);
    let cache = cache::of_slot(slot)?;
    detach(cache, entry).map(|magazines| (cache::hold(cache), magazines))
}

/// Takes the magazines of a cache that ends from all threads. By the contract of umem_cache_destroy no thread uses it any more.
pub fn withdraw(cache: CacheRef) {
    let Some(slot) = cache.thread_slot().get().checked_sub(1) else {
        return;
    };
    let entries = records()
        .filter(|thread| slot < thread.cache_count().get())
        .filter_map(|thread| entry_of(thread.caches().get() as usize, slot as usize));
    for entry in entries {
        let detached = {
            let _guard = sync::lock(&LIST_LOCK);
            detach(cache, entry)
        };
        if let Some(magazines) = detached {
            magazines.give(cache);
        }
    }
}
