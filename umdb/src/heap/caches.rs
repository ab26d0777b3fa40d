//! Caches and arenas.

use umem_layout::{self as layout, cache_flag, create_flag, policy};

use super::{Heap, name_of};
use crate::layout::Damage;

/// Largest chunk or slab that is believed.
const SIZE_MAX: u64 = 1 << 40;

/// An object cache.
#[derive(Clone)]
pub struct Cache {
    /// Address of its structure.
    pub address: u64,
    /// Its name.
    pub name: String,
    /// What it publishes.
    pub record: layout::Cache,
    /// Indices in [`Heap::slabs`], ascending.
    pub slabs: Vec<u32>,
    /// The list of caches does not lead to it: a slab named it.
    pub unlisted: bool,
}

impl Cache {
    /// Its buffers belong to the program.
    #[must_use]
    pub const fn is_user(&self) -> bool {
        self.record.policy & policy::USER != 0
    }

    /// Its buffers have redzones.
    #[must_use]
    pub const fn has_redzone(&self) -> bool {
        self.record.flags & cache_flag::REDZONE != 0 && self.record.trailer_offset != 0
    }

    /// It serves the samples of another cache.
    #[must_use]
    pub const fn is_twin(&self) -> bool {
        self.record.policy & policy::TWIN != 0
    }

    /// Each of its buffers has a record of who allocated it and who freed it.
    #[must_use]
    pub const fn is_audited(&self) -> bool {
        self.record.flags & cache_flag::AUDIT != 0
    }

    /// The library made it, not the program.
    #[must_use]
    pub const fn is_library(&self) -> bool {
        let own = policy::METADATA | policy::QUANTUM | policy::SIZED;
        self.record.policy & own != 0 || self.record.cflags & create_flag::INTERNAL != 0
    }
}

/// A vmem arena.
#[derive(Clone)]
pub struct Arena {
    /// Address of its structure.
    pub address: u64,
    /// Its name.
    pub name: String,
    /// What it publishes.
    pub record: layout::Arena,
}

impl Arena {
    /// Its allocated segments are blocks that belong to the program.
    #[must_use]
    pub const fn holds_user_blocks(&self) -> bool {
        let wanted = policy::USER | policy::BLOCKS;
        self.record.policy & wanted == wanted
    }
}

impl Heap {
    pub(super) fn load_caches(&mut self) {
        let list = self.reader.list(
            self.root.record.caches,
            |cache: &layout::Cache| cache.next,
            implausible,
        );
        for (address, record) in self.damage.listed(list) {
            self.add_cache(address, record, false);
        }
    }

    pub(super) fn load_arenas(&mut self) {
        let list = self.reader.list(
            self.root.record.arenas,
            |arena: &layout::Arena| arena.next,
            |_| None,
        );
        for (address, record) in self.damage.listed(list) {
            self.arenas.push(Arena {
                address,
                name: name_of(&record.name),
                record,
            });
        }
    }

    fn add_cache(&mut self, address: u64, record: layout::Cache, unlisted: bool) -> u32 {
        let index = self.caches.len() as u32;
        let name = name_of(&record.name);
        self.caches.push(Cache {
            address,
            name,
            record,
            slabs: Vec::new(),
            unlisted,
        });
        self.cache_index.insert(address, index);
        index
    }

    /// Index of the cache at an address. One that a damaged list does not lead to is taken in.
    pub(super) fn cache_at_or_read(&mut self, address: u64) -> Result<u32, Damage> {
        if let Some(&index) = self.cache_index.get(&address) {
            return Ok(index);
        }
        let record: layout::Cache = self.reader.one(address)?;
        if let Some(detail) = implausible(&record) {
            return Err(Damage::Implausible {
                what: "a cache".to_owned(),
                address,
                detail,
            });
        }
        let index = self.add_cache(address, record, true);
        let detail = format!(
            "slabs belong to {}, but the list does not lead to it",
            self.caches[index as usize].name
        );
        self.damage.add(Damage::Implausible {
            what: "the list of caches".to_owned(),
            address,
            detail,
        });
        Ok(index)
    }

    /// The cache whose structure is at an address.
    #[must_use]
    pub fn cache_at(&self, address: u64) -> Option<&Cache> {
        self.cache_index
            .get(&address)
            .map(|&index| &self.caches[index as usize])
    }

    /// Index in [`Heap::caches`] of the cache whose structure is at an address.
    #[must_use]
    pub fn cache_number(&self, address: u64) -> Option<u32> {
        self.cache_index.get(&address).copied()
    }

    /// The cache with a name.
    #[must_use]
    pub fn cache_named(&self, name: &str) -> Option<&Cache> {
        self.caches.iter().find(|cache| cache.name == name)
    }

    /// The arena whose structure is at an address.
    #[must_use]
    pub fn arena_at(&self, address: u64) -> Option<&Arena> {
        self.arenas.iter().find(|arena| arena.address == address)
    }

    /// Compares what each cache says about itself with what its slabs say.
    pub(super) fn check_totals(&mut self) {
        // Counters of a copy are of an earlier time.
        if self.root.is_copy {
            return;
        }
        let mut odd = Vec::new();
        for cache in &self.caches {
            let found: u64 = cache
                .slabs
                .iter()
                .map(|&i| u64::from(self.slabs[i as usize].capacity))
                .sum();
            // A slab that is being made or given back holds the lock.
            if found != cache.record.buffers && cache.record.slab_lock == 0 {
                let detail = format!(
                    "{} counts {} buffers, its slabs hold {found}",
                    cache.name, cache.record.buffers
                );
                odd.push(Damage::Implausible {
                    what: "a cache".to_owned(),
                    address: cache.address,
                    detail,
                });
            }
        }
        odd.into_iter().for_each(|damage| self.damage.add(damage));
    }
}

/// What is wrong with a cache: a list that leads elsewhere shows it here.
fn implausible(record: &layout::Cache) -> Option<String> {
    let (buffer, chunk) = (record.buffer_size, record.chunk_size);
    if chunk == 0 || chunk > SIZE_MAX || buffer > chunk {
        return Some(format!("buffers of {buffer} bytes in chunks of {chunk}"));
    }
    if !record.align.is_power_of_two() {
        return Some(format!("an alignment of {}", record.align));
    }
    if record.trailer_offset != 0 && record.trailer_offset.saturating_add(24) > chunk {
        return Some(format!(
            "a trailer at {} in chunks of {chunk}",
            record.trailer_offset
        ));
    }
    let name = name_of(&record.name);
    (name.is_empty() || name.chars().any(char::is_control))
        .then(|| "its name is not text".to_owned())
}
