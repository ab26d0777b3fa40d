//! Buffers and blocks: what is known about each.

use umem_layout::{AuditRecord, Trailer, buffer_state, cache_flag, decode_redzone, family};

use super::{Block, Cache, Heap, Slab};
use crate::layout::Damage;

/// A buffer: chunk `index` of slab `slab`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Buffer {
    /// Index in [`Heap::slabs`].
    pub slab: u32,
    /// Index in the slab.
    pub index: u32,
}

/// A buffer of a cache, or a block of an arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Object {
    /// Buffer of a cache.
    Buffer(Buffer),
    /// Index in [`Heap::blocks`].
    Block(u32),
}

/// What an address in the heap belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Location {
    /// A chunk, allocated or not; the offset may be that of its trailer.
    Buffer(Buffer, u64),
    /// A slab, outside of its chunks.
    Slab(u32),
    /// An allocated block; the offset counts from the user's address and may be negative.
    Block(u32, i64),
    /// A free piece of an arena of blocks: index in [`Heap::gaps`].
    Gap(u32),
}

impl Heap {
    /// What an address belongs to.
    #[must_use]
    pub fn find(&self, address: u64) -> Option<Location> {
        if let Some(index) = self.slab_at(address) {
            let chunk = self.slabs[index as usize].chunk_at(address);
            let buffer = |(chunk, offset)| {
                Location::Buffer(
                    Buffer {
                        slab: index,
                        index: chunk,
                    },
                    offset,
                )
            };
            return Some(chunk.map_or(Location::Slab(index), buffer));
        }
        if let Some(index) = self.block_at(address) {
            let start = self.blocks[index as usize].buffer;
            return Some(Location::Block(
                index,
                address.wrapping_sub(start).cast_signed(),
            ));
        }
        let after = self.gaps.partition_point(|gap| gap.start <= address);
        let index = after.checked_sub(1)?;
        (address < self.gaps[index].end).then_some(Location::Gap(index as u32))
    }

    /// Number of a buffer.
    #[must_use]
    pub fn number(&self, buffer: Buffer) -> usize {
        self.slab(buffer).first + buffer.index as usize
    }

    /// The slab of a buffer.
    #[must_use]
    pub fn slab(&self, buffer: Buffer) -> &Slab {
        &self.slabs[buffer.slab as usize]
    }

    /// The cache of a buffer.
    #[must_use]
    pub fn cache(&self, buffer: Buffer) -> &Cache {
        &self.caches[self.slab(buffer).cache as usize]
    }

    /// The block with an index.
    #[must_use]
    pub fn block(&self, index: u32) -> &Block {
        &self.blocks[index as usize]
    }

    /// Where the user's bytes begin.
    #[must_use]
    pub fn address(&self, object: Object) -> u64 {
        match object {
            Object::Buffer(buffer) => self.slab(buffer).buffer(buffer.index),
            Object::Block(index) => self.block(index).buffer,
        }
    }

    /// State of an object: [`umem_layout::buffer_state`].
    #[must_use]
    pub fn object_state(&self, object: Object) -> u8 {
        match object {
            Object::Buffer(buffer) => self.state(buffer),
            Object::Block(index) => self.block(index).state,
        }
    }

    /// Name of the cache or arena.
    #[must_use]
    pub fn owner_name(&self, object: Object) -> &str {
        match object {
            Object::Buffer(buffer) => &self.cache(buffer).name,
            Object::Block(index) => &self.arenas[self.block(index).arena as usize].name,
        }
    }

    /// Address of the cache or arena.
    #[must_use]
    pub fn owner_address(&self, object: Object) -> u64 {
        match object {
            Object::Buffer(buffer) => self.cache(buffer).address,
            Object::Block(index) => self.arenas[self.block(index).arena as usize].address,
        }
    }

    /// Address of the audit record, which mdb users call bufctl; none where none is kept.
    #[must_use]
    pub fn record_address(&self, object: Object) -> Option<u64> {
        match object {
            Object::Buffer(buffer) => {
                let records = self.slab(buffer).records;
                let stride = self.reader.stride::<AuditRecord>() as u64;
                (records != 0).then(|| records.wrapping_add(u64::from(buffer.index) * stride))
            }
            Object::Block(index) => {
                let block = self.block(index);
                block.is_audited().then_some(block.record_address)
            }
        }
    }

    /// Who allocated and who freed an object; none where no record is kept.
    pub fn record(&self, object: Object) -> Option<Result<AuditRecord, Damage>> {
        let address = self.record_address(object)?;
        match object {
            Object::Buffer(buffer) => {
                let known = self.recent_record(buffer).map(Ok);
                known.or_else(|| Some(self.reader.one(address)))
            }
            Object::Block(index) => Some(Ok(self.block(index).record)),
        }
    }

    /// Bytes that the program asked for; none where that is not kept, or damaged.
    #[must_use]
    pub fn requested(&self, object: Object) -> Option<u64> {
        match object {
            Object::Block(index) => Some(self.block(index).requested),
            Object::Buffer(buffer) => {
                let room = self.cache(buffer).record.buffer_size;
                let recorded = match self.record(object) {
                    Some(Ok(record)) => Some(u64::from(record.requested)),
                    _ => self.requested_by_trailer(buffer),
                };
                recorded.filter(|&bytes| bytes <= room)
            }
        }
    }

    fn requested_by_trailer(&self, buffer: Buffer) -> Option<u64> {
        let trailer = self.trailer(Object::Buffer(buffer))?.ok()?;
        decode_redzone(trailer.redzone)
    }

    /// Bytes of an object as the program may use them: what it asked for, else what there is.
    #[must_use]
    pub fn size(&self, object: Object) -> u64 {
        self.requested(object).unwrap_or_else(|| match object {
            Object::Buffer(buffer) => self.cache(buffer).record.buffer_size,
            Object::Block(index) => self.block(index).requested,
        })
    }

    /// Address of the trailer; none where there is none.
    #[must_use]
    pub fn trailer_address(&self, object: Object) -> Option<u64> {
        match object {
            Object::Buffer(buffer) => {
                let cache = self.cache(buffer);
                cache.has_redzone().then(|| {
                    self.address(object)
                        .wrapping_add(cache.record.trailer_offset)
                })
            }
            Object::Block(index) => {
                let block = self.block(index);
                let has_redzone = u32::from(block.flags) & cache_flag::REDZONE != 0;
                has_redzone.then(|| {
                    block
                        .buffer
                        .saturating_add(block.requested.next_multiple_of(8))
                })
            }
        }
    }

    /// The trailer of an object; none where there is none.
    pub fn trailer(&self, object: Object) -> Option<Result<Trailer, Damage>> {
        self.trailer_address(object)
            .map(|address| self.reader.one(address))
    }

    /// Which family of functions allocated an object.
    #[must_use]
    pub fn family(&self, object: Object) -> u8 {
        match object {
            Object::Block(index) => self.block(index).family,
            Object::Buffer(buffer) => {
                let mut byte = [family::NONE];
                let families = self.slab(buffer).families;
                if families != 0 {
                    self.reader
                        .fill(families.wrapping_add(u64::from(buffer.index)), &mut byte);
                }
                byte[0]
            }
        }
    }

    /// Whether the program holds a buffer.
    #[must_use]
    pub fn is_held(&self, buffer: Buffer) -> bool {
        self.state(buffer) == buffer_state::ALLOCATED
    }

    /// The buffers of a cache that were ever handed out, in order of address.
    pub fn carved_of(&self, cache: &Cache) -> impl Iterator<Item = Buffer> {
        cache.slabs.iter().flat_map(|&slab| self.carved(slab))
    }

    /// The buffers of a slab that were ever handed out.
    pub fn carved(&self, slab: u32) -> impl Iterator<Item = Buffer> + use<> {
        (0..self.slabs[slab as usize].carved).map(move |index| Buffer { slab, index })
    }
}
