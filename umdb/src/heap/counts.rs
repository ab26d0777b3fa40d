//! How many buffers of a cache are where.

use umem_layout::buffer_state;

use super::{Heap, STATE_UNKNOWN, Slab};

/// Buffers of a cache by what they are. `total` is the sum of the others but `in_threads`, which is part of
/// `in_magazines`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// In existing slabs.
    pub total: u64,
    /// Held by the program.
    pub in_use: u64,
    /// Free in magazines, of threads and in the depot.
    pub in_magazines: u64,
    /// Of these, in the magazines of threads.
    pub in_threads: u64,
    /// Free in their slabs.
    pub free: u64,
    /// Freed, waiting before reuse.
    pub quarantined: u64,
    /// Withdrawn from use because they were damaged.
    pub abandoned: u64,
    /// In the hands of the allocator.
    pub in_transit: u64,
    /// The slab does not tell, or with a number that we do not know.
    pub unknown: u64,
    /// Slabs.
    pub slabs: u64,
    /// Their bytes.
    pub slab_bytes: u64,
    /// Buffers handed to the program, ever.
    pub allocs: u64,
    /// Buffers taken back from it, ever.
    pub frees: u64,
}

impl Counts {
    /// Buffers that are neither in use nor in magazines.
    #[must_use]
    pub const fn rest(&self) -> u64 {
        self.total - self.in_use - self.in_magazines
    }

    fn add_slab(&mut self, slab: &Slab, states: &[u8]) {
        let mut of = [0_u64; 256];
        for &state in states {
            of[usize::from(state)] += 1;
        }
        let mut take = |state: u8| std::mem::take(&mut of[usize::from(state)]);
        self.total += states.len() as u64;
        self.in_use += take(buffer_state::ALLOCATED);
        self.in_magazines += take(buffer_state::MAGAZINE);
        self.free += take(buffer_state::FREE);
        self.quarantined += take(buffer_state::QUARANTINED);
        self.abandoned += take(buffer_state::ABANDONED);
        self.in_transit += take(buffer_state::TRANSIT);
        self.unknown += take(STATE_UNKNOWN);
        self.unknown += of.iter().sum::<u64>();
        self.slabs += 1;
        self.slab_bytes += slab.end - slab.start;
    }
}

impl Heap {
    /// Counts the buffers of the cache with an index. It reads nothing of the target.
    #[must_use]
    pub fn counts(&self, cache: u32) -> Counts {
        let mut counts = Counts::default();
        let Some(owner) = self.caches.get(cache as usize) else {
            return counts;
        };
        for &index in &owner.slabs {
            let slab = &self.slabs[index as usize];
            counts.add_slab(slab, self.states_of(slab));
        }
        counts.allocs = owner.record.allocs;
        counts.frees = owner.record.frees;
        for held in self.held_of(cache) {
            counts.allocs = counts
                .allocs
                .saturating_add(held.record.allocs.wrapping_sub(held.record.bias));
            counts.frees = counts.frees.saturating_add(held.record.frees);
            counts.in_threads += held.rounds;
        }
        counts.in_threads = counts.in_threads.min(counts.in_magazines);
        counts
    }
}
