//! Totals, and memory given back on request: what mallinfo2(3), malloc_stats(3) and malloc_trim(3) tell and do.

use crate::{
    cache, init,
    raw::{CacheRef, Cell},
    thread,
    vmem::{self, arenas},
};

/// Totals in bytes and counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes of committed heap, used or not.
    pub heap: usize,
    /// Bytes of buffers and blocks that the program holds; buffers count with the size of their class.
    pub in_use: usize,
    /// Blocks larger than the largest class.
    pub blocks: usize,
    /// Their bytes.
    pub block_bytes: usize,
    /// Buffers ever allocated from caches.
    pub allocs: u64,
    /// Buffers ever given back to caches.
    pub frees: u64,
}

fn live(cache: CacheRef) -> (u64, u64) {
    let (allocs, frees) = thread::counts(cache);
    (cache.allocs().get() + allocs, cache.frees().get() + frees)
}

/// The totals at this moment. Other threads go on meanwhile, so they are exact only when none allocates.
pub fn totals() -> Totals {
    if !init::ensure() {
        return Totals::default();
    }
    let mut totals = Totals {
        heap: arenas().top.total().get() as usize,
        ..Totals::default()
    };
    cache::for_each(|cache| {
        let (allocs, frees) = live(cache);
        totals.allocs += allocs;
        totals.frees += frees;
        totals.in_use += allocs.saturating_sub(frees) as usize * cache.buffer_size().get() as usize;
    });
    for arena in [arenas().oversize, arenas().memalign] {
        totals.blocks += arena.allocs().get().saturating_sub(arena.frees().get()) as usize;
        totals.block_bytes += arena.in_use().get() as usize;
    }
    totals.blocks = totals.blocks.saturating_sub(vmem::growth::kept());
    totals.in_use += totals.block_bytes;
    totals
}

/// Gives free memory back to the system: the depots' magazines to their slabs, empty slabs to the arenas, and
/// the pages of free spans to the kernel. True when there was something to give.
pub fn trim() -> bool {
    if !init::ensure() {
        return false;
    }
    let mut last = 0;
    while let Some(hold) = cache::next_held(last) {
        last = hold.cache().id().get();
        cache::reap(hold.cache());
    }
    let purged = thread::purged_arenas().into_iter().map(vmem::purge_free);
    purged.sum::<usize>() > 0
}
