//! Rounds of magazines: free buffers that their slabs count as allocated.

use umem_layout::{Magazine, Thread, ThreadCache, buffer_state, policy, thread_state};

use super::{Heap, Location};
use crate::layout::Damage;

/// Most rounds of a magazine.
const ROUNDS_MAX: u32 = 1 << 16;
/// Most caches of a thread.
const CACHES_MAX: u32 = 1 << 12;

/// The magazines of a thread for a cache.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    /// Address of the structure.
    pub address: u64,
    /// Index in [`Heap::threads`].
    pub thread: u32,
    /// Index in [`Heap::caches`].
    pub cache: u32,
    /// Buffers in both magazines.
    pub rounds: u64,
    /// What is published.
    pub record: ThreadCache,
}

impl Heap {
    pub(super) fn load_magazines(&mut self) {
        let of_slot = self.caches_by_slot();
        for index in 0..self.threads.len() {
            let thread = self.threads[index].1;
            let is_alive = matches!(thread.state, thread_state::LIVE | thread_state::LOST);
            if is_alive && thread.caches != 0 {
                self.load_thread(index as u32, &thread, &of_slot);
            }
        }
        self.held.sort_by_key(|held| held.cache);
        for cache in 0..self.caches.len() {
            let head = self.caches[cache].record.depot_full;
            let list = self
                .reader
                .list(head, |magazine: &Magazine| magazine.next, |_| None);
            let has_ranges = self.has_ranges(cache);
            for (address, magazine) in self.damage.listed(list) {
                self.add_rounds(address, magazine.rounds, has_ranges);
            }
        }
    }

    /// The magazines that threads have of the cache with an index, in order of the threads.
    #[must_use]
    pub fn held_of(&self, cache: u32) -> &[Held] {
        let first = self.held.partition_point(|held| held.cache < cache);
        let after = self.held.partition_point(|held| held.cache <= cache);
        &self.held[first..after]
    }

    /// Index of the cache that has each entry of a thread's array.
    fn caches_by_slot(&self) -> Vec<Option<u32>> {
        let mut of_slot = vec![None; CACHES_MAX as usize];
        for (index, cache) in self.caches.iter().enumerate() {
            let slot = cache.record.thread_slot.checked_sub(1);
            let entry = slot.and_then(|slot| of_slot.get_mut(slot as usize));
            if let Some(entry) = entry {
                *entry = Some(index as u32);
            }
        }
        of_slot
    }

    fn load_thread(&mut self, index: u32, thread: &Thread, of_slot: &[Option<u32>]) {
        let stride = u64::from(thread.cache_stride);
        if thread.cache_count > CACHES_MAX || stride == 0 || !stride.is_multiple_of(8) {
            let detail = format!("{} caches, {stride} bytes each", thread.cache_count);
            let what = format!("the record of thread {}", thread.tid);
            return self.damage.add(Damage::Implausible {
                what,
                address: thread.caches,
                detail,
            });
        }
        for (slot, &cache) in of_slot.iter().enumerate().take(thread.cache_count as usize) {
            let address = thread.caches.wrapping_add(slot as u64 * stride);
            let record = match self.reader.one::<ThreadCache>(address) {
                Ok(record) => record,
                Err(damage) => return self.damage.add(damage),
            };
            let has_ranges = cache.is_some_and(|cache| self.has_ranges(cache as usize));
            let (below, hot) = record.loaded_parts();
            let rounds = self.add_rounds(record.loaded, below, has_ranges)
                + self.add_hot(address, hot, has_ranges)
                + self.add_rounds(record.previous, record.previous_rounds, has_ranges);
            let is_used = record.loaded | record.previous | record.allocs | record.frees != 0;
            if let Some(cache) = cache.filter(|_| is_used) {
                self.held.push(Held {
                    address,
                    thread: index,
                    cache,
                    rounds,
                    record,
                });
            }
        }
    }

    /// Whether the rounds of a cache are ranges of an arena, which need not be addresses.
    fn has_ranges(&self, cache: usize) -> bool {
        let cache = self.caches.get(cache);
        cache.is_some_and(|cache| cache.record.policy & policy::QUANTUM != 0)
    }

    /// Notes that the rounds of a magazine are free, and returns how many they are.
    fn add_rounds(&mut self, magazine: u64, rounds: u32, are_ranges: bool) -> u64 {
        if magazine == 0 || rounds == 0 {
            return 0;
        }
        if are_ranges {
            return u64::from(rounds.min(ROUNDS_MAX));
        }
        let implausible = |detail: String| Damage::Implausible {
            what: "a magazine".into(),
            address: magazine,
            detail,
        };
        if rounds > ROUNDS_MAX {
            self.damage.add(implausible(format!("{rounds} rounds")));
            return 0;
        }
        let first = magazine.wrapping_add(self.reader.stride::<Magazine>() as u64);
        let addresses = match self
            .reader
            .words("the rounds of a magazine", first, rounds as usize)
        {
            Ok(addresses) => addresses,
            Err(damage) => {
                self.damage.add(damage);
                return 0;
            }
        };
        let mut found = 0;
        for address in addresses {
            match self.add_round(address) {
                true => found += 1,
                false => self
                    .damage
                    .add(implausible(format!("its round {address:#x} is no buffer"))),
            }
        }
        found
    }

    /// Notes that the hot round of a thread's entry is free, and returns how many there are: one at most.
    fn add_hot(&mut self, entry: u64, hot: Option<u64>, is_range: bool) -> u64 {
        let Some(hot) = hot else {
            return 0;
        };
        if is_range || self.add_round(hot) {
            return 1;
        }
        self.damage.add(Damage::Implausible {
            what: "the hot round of a thread".into(),
            address: entry,
            detail: format!("{hot:#x} is no buffer"),
        });
        0
    }

    /// Notes that a round is free. False: it is no buffer.
    fn add_round(&mut self, address: u64) -> bool {
        let Some(Location::Buffer(buffer, 0)) = self.find(address) else {
            return false;
        };
        // Where a slab keeps states, they tell the truth.
        if self.slab(buffer).states == 0 {
            self.set_state(buffer, buffer_state::MAGAZINE);
        }
        true
    }
}
