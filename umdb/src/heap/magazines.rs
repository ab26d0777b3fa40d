//! Rounds of magazines: free buffers that their slabs count as allocated.

use umem_layout::{Magazine, Thread, ThreadCache, buffer_state, thread_state};

use super::{Heap, Location};
use crate::layout::Damage;

/// Most rounds of a magazine.
const ROUNDS_MAX: u32 = 1 << 16;
/// Most caches of a thread.
const CACHES_MAX: u32 = 1 << 12;

impl Heap {
    pub(super) fn load_magazines(&mut self) {
        let live: Vec<Thread> = self
            .threads
            .iter()
            .filter(|(_, t)| matches!(t.state, thread_state::LIVE | thread_state::LOST))
            .map(|(_, t)| *t)
            .collect();
        for thread in live.iter().filter(|thread| thread.caches != 0) {
            self.load_thread(thread);
        }
        for cache in 0..self.caches.len() {
            let head = self.caches[cache].record.depot_full;
            let list = self
                .reader
                .list(head, |magazine: &Magazine| magazine.next, |_| None);
            for (address, magazine) in self.damage.listed(list) {
                self.add_rounds(address, magazine.rounds);
            }
        }
    }

    fn load_thread(&mut self, thread: &Thread) {
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
        for i in 0..u64::from(thread.cache_count) {
            match self
                .reader
                .one::<ThreadCache>(thread.caches.wrapping_add(i * stride))
            {
                Ok(cache) => {
                    self.add_rounds(cache.loaded, cache.loaded_rounds);
                    self.add_rounds(cache.previous, cache.previous_rounds);
                }
                Err(damage) => return self.damage.add(damage),
            }
        }
    }

    /// Notes that the rounds of a magazine are free.
    fn add_rounds(&mut self, magazine: u64, rounds: u32) {
        if magazine == 0 || rounds == 0 {
            return;
        }
        let implausible = |detail: String| Damage::Implausible {
            what: "a magazine".into(),
            address: magazine,
            detail,
        };
        if rounds > ROUNDS_MAX {
            return self.damage.add(implausible(format!("{rounds} rounds")));
        }
        let first = magazine.wrapping_add(self.reader.stride::<Magazine>() as u64);
        let addresses = match self
            .reader
            .words("the rounds of a magazine", first, rounds as usize)
        {
            Ok(addresses) => addresses,
            Err(damage) => return self.damage.add(damage),
        };
        for address in addresses {
            match self.find(address) {
                Some(Location::Buffer(buffer, 0)) => {
                    // Where a slab keeps states, they tell the truth.
                    if self.slab(buffer).states == 0 {
                        self.set_state(buffer, buffer_state::MAGAZINE);
                    }
                }
                _ => self
                    .damage
                    .add(implausible(format!("its round {address:#x} is no buffer"))),
            }
        }
    }
}
