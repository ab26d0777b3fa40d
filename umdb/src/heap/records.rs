//! Audit records: of all buffers of a slab at once, and from the address of one to its object.

use umem_layout::{AuditRecord, Plain, Trailer, decode_redzone};

use super::{Buffer, Heap, Object};
use crate::layout::Damage;

/// Arrays of records and records of blocks in order of address, and segments of blocks.
#[derive(Debug, Default)]
pub(super) struct RecordIndex {
    /// Address of the records of a slab, and its index.
    slabs: Vec<(u64, u32)>,
    /// Address of the record of a block, and its index.
    blocks: Vec<(u64, u32)>,
    /// Address of the segment of a block, and its index.
    segments: Vec<(u64, u32)>,
}

impl RecordIndex {
    fn of(heap: &Heap) -> Self {
        let sorted = |mut pairs: Vec<(u64, u32)>| {
            pairs.sort_unstable();
            pairs
        };
        let slabs = heap.slabs.iter().enumerate();
        let blocks = || heap.blocks.iter().enumerate();
        Self {
            slabs: sorted(
                slabs
                    .filter(|(_, slab)| slab.records != 0)
                    .map(|(i, slab)| (slab.records, i as u32))
                    .collect(),
            ),
            blocks: sorted(
                blocks()
                    .filter(|(_, block)| block.is_audited())
                    .map(|(i, block)| (block.record_address, i as u32))
                    .collect(),
            ),
            segments: sorted(
                blocks()
                    .map(|(i, block)| (block.segment, i as u32))
                    .collect(),
            ),
        }
    }
}

/// The last pair at or before an address, and the distance to it.
fn at_or_before(pairs: &[(u64, u32)], address: u64) -> Option<(u32, u64)> {
    let after = pairs.partition_point(|&(start, _)| start <= address);
    let &(start, index) = pairs.get(after.checked_sub(1)?)?;
    Some((index, address - start))
}

impl Heap {
    fn record_index(&self) -> &RecordIndex {
        self.record_index.get_or_init(|| RecordIndex::of(self))
    }

    /// The object whose audit record is at an address.
    #[must_use]
    pub fn object_of_record(&self, address: u64) -> Option<Object> {
        self.find_record(address)
            .filter(|&(_, offset)| offset == 0)
            .map(|(object, _)| object)
    }

    /// The object whose audit record holds an address, and the offset in the record.
    #[must_use]
    pub fn find_record(&self, address: u64) -> Option<(Object, u64)> {
        let stride = self.reader.stride::<AuditRecord>() as u64;
        let index = self.record_index();
        let in_slab = at_or_before(&index.slabs, address).and_then(|(slab, distance)| {
            let index = distance / stride;
            let object = Object::Buffer(Buffer {
                slab,
                index: index as u32,
            });
            (index < u64::from(self.slabs[slab as usize].capacity))
                .then_some((object, distance % stride))
        });
        in_slab.or_else(|| {
            at_or_before(&index.blocks, address)
                .filter(|&(_, offset)| offset < stride)
                .map(|(block, offset)| (Object::Block(block), offset))
        })
    }

    /// Whether any object has a record.
    #[must_use]
    pub fn is_audited(&self) -> bool {
        let caches = self.caches.iter().filter(|cache| cache.is_user());
        caches.into_iter().any(super::Cache::is_audited)
            || self.blocks.iter().any(super::Block::is_audited)
    }

    /// The block whose segment is at an address.
    #[must_use]
    pub fn block_of_segment(&self, address: u64) -> Option<u32> {
        at_or_before(&self.record_index().segments, address)
            .filter(|&(_, distance)| distance == 0)
            .map(|(block, _)| block)
    }

    /// The records of the buffers of a slab that were ever handed out; none where none are kept.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn records_of(&self, slab: u32) -> Result<Vec<AuditRecord>, Damage> {
        let slab = &self.slabs[slab as usize];
        let count = if slab.records == 0 { 0 } else { slab.carved };
        let mut records = Vec::with_capacity(count as usize);
        self.reader
            .array(slab.records, count as usize, |_, record| {
                records.push(record)
            })?;
        Ok(records)
    }

    /// Calls `each` with each buffer of a slab that the program holds and with the bytes that it asked for; none where
    /// that is not kept, or damaged. It reads the slab's records or trailers at once.
    ///
    /// # Errors
    /// When they cannot be read; `each` was then not called.
    pub fn requests(
        &self,
        slab: u32,
        mut each: impl FnMut(Buffer, Option<u64>),
    ) -> Result<(), Damage> {
        let records = self.records_of(slab)?;
        let trailers = if records.is_empty() {
            self.trailers_of(slab)?
        } else {
            Vec::new()
        };
        let room = self.caches[self.slabs[slab as usize].cache as usize]
            .record
            .buffer_size;
        for buffer in self.carved(slab).filter(|&buffer| self.is_held(buffer)) {
            let at = buffer.index as usize;
            let by_record = records.get(at).map(|record| u64::from(record.requested));
            let by_trailer = || decode_redzone(trailers.get(at)?.redzone);
            let requested = by_record.or_else(by_trailer);
            each(buffer, requested.filter(|&bytes| bytes <= room));
        }
        Ok(())
    }

    /// The trailers of the buffers of a slab that were ever handed out; none where there are none.
    fn trailers_of(&self, slab: u32) -> Result<Vec<Trailer>, Damage> {
        let slab = &self.slabs[slab as usize];
        let cache = &self.caches[slab.cache as usize];
        if !cache.has_redzone() || slab.carved == 0 {
            return Ok(Vec::new());
        }
        let (chunk, offset) = (
            slab.chunk_size as usize,
            cache.record.trailer_offset as usize,
        );
        let bytes = self.reader.bytes(
            "the buffers of a slab",
            slab.base,
            slab.carved as usize * chunk,
        )?;
        Ok(bytes
            .chunks_exact(chunk)
            .map(|chunk| Trailer::decode_at(chunk, offset))
            .collect())
    }
}
