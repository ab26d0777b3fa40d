//! Buffers whose redzones or fills are not as the allocator left them.
//!
//! ```text
//! allocated:  user bytes | bb … bb | redzone with size code | record | record ^ allocated
//! free:       deadbeef …           | redzone pattern        | record | record ^ free
//!             0         requested    trailer_offset
//! ```
//!
//! Every byte is checked, of all buffers that were ever handed out, and of all blocks that are allocated or wait in quarantine.
//! Buffers in the hands of the allocator are left alone.

use umem_layout::{
    AuditRecord, FILLED_OF_SAMPLE, FREE_PATTERN, Plain, REDZONE_BYTE, REDZONE_PATTERN,
    TRAILER_ALLOCATED, TRAILER_FREE, Trailer, buffer_state, cache_flag, decode_redzone,
    filled_of_block, redzone_word,
};

use super::{Cancel, Cancelled};
use crate::{
    heap::{Block, Buffer, Cache, Heap, Object, Slab},
    layout::Damage,
};

/// Bytes of slabs that are read at once.
const PIECE: usize = 1 << 20;
/// Bytes of a freed block that are looked at, as the allocator does.
const FREED_MOST: usize = 1 << 30;
/// Bytes of a guard page.
const PAGE: u64 = 4096;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A free buffer was written to.
    Modified,
    /// Bytes between the requested size and the redzone word were written.
    PastEnd,
    /// The size code in the redzone word of an allocated buffer is another one.
    SizeCode,
    /// The constant half of the redzone word of an allocated buffer is another one.
    Signature,
    /// The redzone word of a free buffer is another one.
    FreeRedzone,
    /// The address of the record, or that address with the state, is another one.
    Tag,
    /// The allocator found damage and withdrew the buffer from use.
    Withdrawn,
}

/// A place with other bytes than expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub fault: Fault,
    /// Address of the first wrong byte.
    pub at: u64,
    /// Bytes from the buffer's start to there.
    pub offset: u64,
    /// Wrong bytes.
    pub bytes: u64,
    /// The 64-bit word around the first wrong byte as it should be.
    pub expected: u64,
    /// That word as it is.
    pub found: u64,
}

impl Finding {
    /// The allocator found damage in what begins at an address.
    const fn withdrawn(at: u64) -> Self {
        Self {
            fault: Fault::Withdrawn,
            at,
            offset: 0,
            bytes: 0,
            expected: 0,
            found: 0,
        }
    }
}

/// A damaged buffer or block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corrupt {
    /// Which.
    pub object: Object,
    /// Its state: [`buffer_state`].
    pub state: u8,
    /// Bytes that the program asked for.
    pub requested: Option<u64>,
    /// What is wrong, in order of address.
    pub findings: Vec<Finding>,
}

/// The result for a cache, or an arena of blocks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// Address of the cache or arena.
    pub owner: u64,
    /// Its name.
    pub name: String,
    /// Buffers that were looked at.
    pub checked: u64,
    /// Those that are damaged.
    pub corrupt: Vec<Corrupt>,
    /// What could not be read.
    pub unread: Vec<Damage>,
}

/// Verifies the buffers of a cache, which must have redzones.
///
/// # Errors
/// When it was cancelled.
pub fn cache(heap: &Heap, cache: &Cache, cancel: &Cancel) -> Result<Verified, Cancelled> {
    let mut verified = Verified {
        owner: cache.address,
        name: cache.name.clone(),
        ..Verified::default()
    };
    for &slab in &cache.slabs {
        cancel.check()?;
        verify_slab(heap, cache, slab, &mut verified);
    }
    Ok(verified)
}

/// Verifies the blocks of the arena with an index; none when no block has a redzone.
///
/// # Errors
/// When it was cancelled.
pub fn arena(heap: &Heap, index: u32, cancel: &Cancel) -> Result<Option<Verified>, Cancelled> {
    let arena = &heap.arenas[index as usize];
    let mut verified = Verified {
        owner: arena.address,
        name: arena.name.clone(),
        ..Verified::default()
    };
    for (number, block) in heap
        .blocks
        .iter()
        .enumerate()
        .filter(|(_, block)| block.arena == index)
    {
        cancel.check()?;
        let object = Object::Block(number as u32);
        let findings = match block.state {
            buffer_state::ALLOCATED => allocated_block(heap, object, block),
            buffer_state::QUARANTINED => freed_block(heap, block),
            buffer_state::ABANDONED => withdrawn_block(heap, object, block),
            _ => continue,
        };
        match findings {
            Err(damage) => verified.unread.push(damage),
            Ok(None) => {}
            Ok(Some(findings)) => {
                verified.add(object, block.state, Some(block.requested), findings);
            }
        }
    }
    Ok((verified.checked + verified.unread.len() as u64 > 0).then_some(verified))
}

/// What is wrong behind an allocated block; none when it has no redzone.
fn allocated_block(
    heap: &Heap,
    object: Object,
    block: &Block,
) -> Result<Option<Vec<Finding>>, Damage> {
    if u32::from(block.flags) & cache_flag::REDZONE == 0 {
        return Ok(None);
    }
    let (from, trailer_offset) = (block.requested, block.requested.next_multiple_of(8));
    let length = (trailer_offset - from) as usize + Trailer::BYTES;
    let tail = heap.reader.bytes("a block", block.buffer + from, length)?;
    let chunk = Chunk {
        address: block.buffer,
        from,
        bytes: &tail,
        trailer_offset,
        record: heap.record_address(object).unwrap_or(0),
    };
    Ok(Some(chunk.allocated(Some(block.requested))))
}

/// What was written to a freed block; none when it was not filled.
fn freed_block(heap: &Heap, block: &Block) -> Result<Option<Vec<Finding>>, Damage> {
    let flags = u32::from(block.flags);
    if flags & cache_flag::DEADBEEF == 0 {
        return Ok(None);
    }
    let guard = if flags & cache_flag::FIREWALL == 0 {
        0
    } else {
        PAGE
    };
    let length = block.end.saturating_sub(block.start).saturating_sub(guard) as usize;
    let is_sample = flags & cache_flag::SAMPLED != 0;
    let filled = match is_sample {
        true => length.min(FILLED_OF_SAMPLE),
        false => filled_of_block(length),
    };
    let mut found = written(heap, block.start, 0..filled, FREE_PATTERN)?;
    if found.is_none() && !is_sample {
        found = written(heap, block.start, filled..length.min(FREED_MOST), 0)?;
    }
    Ok(Some(found.into_iter().collect()))
}

/// A block that the allocator found damaged, at its free or when it left quarantine.
fn withdrawn_block(
    heap: &Heap,
    object: Object,
    block: &Block,
) -> Result<Option<Vec<Finding>>, Damage> {
    let was_freed = block.record.free_time > block.record.alloc_time;
    let damage = match was_freed {
        true => freed_block(heap, block)?,
        false => allocated_block(heap, object, block)?,
    };
    let withdrawn = Finding::withdrawn(block.buffer);
    Ok(Some(
        std::iter::once(withdrawn)
            .chain(damage.into_iter().flatten())
            .collect(),
    ))
}

/// The first of the words in a range of a block that differ from a pattern, and how many bytes of its piece differ.
fn written(
    heap: &Heap,
    start: u64,
    range: std::ops::Range<usize>,
    pattern: u64,
) -> Result<Option<Finding>, Damage> {
    for from in range.clone().step_by(PIECE) {
        let length = PIECE.min(range.end - from);
        let bytes = heap
            .reader
            .bytes("a freed block", start + from as u64, length)?;
        let piece = Chunk {
            address: start,
            from: from as u64,
            bytes: &bytes,
            trailer_offset: 0,
            record: 0,
        };
        if let Some(finding) = piece.modified(length as u64, pattern) {
            return Ok(Some(finding));
        }
    }
    Ok(None)
}

impl Verified {
    fn add(&mut self, object: Object, state: u8, requested: Option<u64>, findings: Vec<Finding>) {
        self.checked += 1;
        if !findings.is_empty() {
            self.corrupt.push(Corrupt {
                object,
                state,
                requested,
                findings,
            });
        }
    }
}

fn verify_slab(heap: &Heap, cache: &Cache, index: u32, verified: &mut Verified) {
    let slab = &heap.slabs[index as usize];
    let chunk_size = slab.chunk_size as usize;
    let at_once = (PIECE / chunk_size).max(1) as u32;
    let records = records_of(heap, slab, verified);
    for first in (0..slab.carved).step_by(at_once as usize) {
        let count = at_once.min(slab.carved - first);
        match heap
            .reader
            .bytes("buffers", slab.buffer(first), count as usize * chunk_size)
        {
            Err(damage) => verified.unread.push(damage),
            Ok(bytes) => {
                for (i, bytes) in bytes.chunks_exact(chunk_size).enumerate() {
                    let buffer = Buffer {
                        slab: index,
                        index: first + i as u32,
                    };
                    let record = records.get(buffer.index as usize);
                    verify_buffer(heap, cache, buffer, bytes, record, verified);
                }
            }
        }
    }
}

/// The records of a slab's buffers, as far as they can be read.
fn records_of(heap: &Heap, slab: &Slab, verified: &mut Verified) -> Vec<AuditRecord> {
    let mut records = Vec::new();
    if slab.records != 0 {
        let result = heap.reader.array(
            slab.records,
            slab.carved as usize,
            |_, record: AuditRecord| records.push(record),
        );
        verified.unread.extend(result.err());
    }
    records
}

fn verify_buffer(
    heap: &Heap,
    cache: &Cache,
    buffer: Buffer,
    bytes: &[u8],
    record: Option<&AuditRecord>,
    verified: &mut Verified,
) {
    let object = Object::Buffer(buffer);
    let chunk = Chunk {
        address: heap.address(object),
        from: 0,
        bytes,
        trailer_offset: cache.record.trailer_offset,
        record: heap.record_address(object).unwrap_or(0),
    };
    let requested = record
        .map(|record| u64::from(record.requested))
        .filter(|&size| size <= cache.record.trailer_offset);
    let is_filled = cache.record.flags & cache_flag::DEADBEEF != 0;
    let fill = if is_filled {
        cache.record.verify_length.min(cache.record.trailer_offset)
    } else {
        0
    };
    let state = heap.state(buffer);
    let findings = match state {
        buffer_state::ALLOCATED => chunk.allocated(requested),
        buffer_state::FREE | buffer_state::MAGAZINE | buffer_state::QUARANTINED => chunk.free(fill),
        buffer_state::ABANDONED => {
            let was_freed = record.is_some_and(|record| record.free_time > record.alloc_time);
            let damage = if was_freed {
                chunk.free(fill)
            } else {
                chunk.allocated(requested)
            };
            std::iter::once(Finding::withdrawn(chunk.address))
                .chain(damage)
                .collect()
        }
        _ => return,
    };
    verified.add(object, state, requested, findings);
}

/// The bytes of a buffer from offset `from` to the end of its trailer.
struct Chunk<'a> {
    address: u64,
    from: u64,
    bytes: &'a [u8],
    trailer_offset: u64,
    /// Address of the record, zero where none is kept.
    record: u64,
}

impl Chunk<'_> {
    fn word(&self, offset: u64) -> u64 {
        u64::decode_at(self.bytes, (offset - self.from) as usize)
    }

    fn byte(&self, offset: u64) -> u8 {
        u8::decode_at(self.bytes, (offset - self.from) as usize)
    }

    /// What is wrong with it as an allocated one.
    fn allocated(&self, requested: Option<u64>) -> Vec<Finding> {
        let redzone = self.word(self.trailer_offset);
        let requested = requested
            .or_else(|| decode_redzone(redzone))
            .filter(|&size| size <= self.trailer_offset);
        let mut findings = Vec::new();
        // Without a size nothing but the code itself can be wrong.
        let expected = redzone_word(requested.unwrap_or(0));
        if let Some(requested) = requested {
            findings.extend(self.past_end(requested));
        }
        if redzone != expected {
            let is_code = (redzone ^ expected) >> 32 != 0;
            let fault = if is_code {
                Fault::SizeCode
            } else {
                Fault::Signature
            };
            findings.extend(self.compare(fault, self.trailer_offset, expected));
        }
        findings.extend(self.tag(TRAILER_ALLOCATED));
        findings
    }

    /// What is wrong with it as a free one whose first `fill` bytes hold the free pattern.
    fn free(&self, fill: u64) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self.modified(fill, FREE_PATTERN).into_iter().collect();
        findings.extend(self.compare(Fault::FreeRedzone, self.trailer_offset, REDZONE_PATTERN));
        findings.extend(self.tag(TRAILER_FREE));
        findings
    }

    /// The first of its first `fill` bytes that differ from a pattern.
    fn modified(&self, fill: u64, pattern: u64) -> Option<Finding> {
        let words = || (0..fill / 8).map(|word| self.from + word * 8);
        let first = words().find(|&offset| self.word(offset) != pattern)?;
        let finding = self.compare(Fault::Modified, first, pattern)?;
        let bytes = words()
            .map(|offset| wrong_bytes(self.word(offset), pattern))
            .sum();
        Some(Finding { bytes, ..finding })
    }

    /// Bytes from the requested size to the trailer.
    fn past_end(&self, requested: u64) -> Option<Finding> {
        let wrong =
            || (requested..self.trailer_offset).filter(|&offset| self.byte(offset) != REDZONE_BYTE);
        let offset = wrong().next()?;
        let word = |byte: &dyn Fn(u64) -> u8| {
            let first = offset & !7;
            let bytes = std::array::from_fn(|i| match first + i as u64 {
                at if at < requested => 0,
                at => byte(at),
            });
            u64::from_le_bytes(bytes)
        };
        Some(Finding {
            fault: Fault::PastEnd,
            at: self.address + offset,
            offset,
            bytes: wrong().count() as u64,
            expected: word(&|_| REDZONE_BYTE),
            found: word(&|at| self.byte(at)),
        })
    }

    /// Address of the record, and that address with the state.
    fn tag(&self, state: u64) -> Option<Finding> {
        let record = self.compare(Fault::Tag, self.trailer_offset + 8, self.record);
        record.or_else(|| self.compare(Fault::Tag, self.trailer_offset + 16, self.record ^ state))
    }

    /// Compares one word.
    fn compare(&self, fault: Fault, offset: u64, expected: u64) -> Option<Finding> {
        let found = self.word(offset);
        let first = u64::from((found ^ expected).trailing_zeros() / 8);
        (found != expected).then(|| Finding {
            fault,
            at: self.address + offset + first,
            offset: offset + first,
            bytes: wrong_bytes(found, expected),
            expected,
            found,
        })
    }
}

/// Bytes in which two words differ.
fn wrong_bytes(found: u64, expected: u64) -> u64 {
    (found ^ expected)
        .to_le_bytes()
        .iter()
        .filter(|&&byte| byte != 0)
        .count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::synthetic::{Builder, DEBUG, Made, victim};

    fn verify(builder: &mut Builder) -> Verified {
        builder.publish();
        let heap = builder.heap();
        cache(&heap, &heap.caches[0], &Cancel::new()).unwrap()
    }

    /// One buffer of 50 bytes in a cache of 64, allocated.
    fn allocated() -> (Builder, Made) {
        let mut builder = Builder::new();
        let cache = builder.cache("umem_alloc_64", 64, DEBUG);
        let slab = builder.slab(cache);
        let made = builder.alloc(slab, 50, 0);
        (builder, made)
    }

    /// Faults and offsets after bytes were written to an allocated buffer.
    fn after_write(offset: u64, bytes: &[u8]) -> Vec<(Fault, u64)> {
        let (mut builder, made) = allocated();
        builder.image.write(made.address + offset, bytes);
        let verified = verify(&mut builder);
        verified
            .corrupt
            .iter()
            .flat_map(|c| c.findings.iter().map(|f| (f.fault, f.offset)))
            .collect()
    }

    #[test]
    fn a_write_after_free_is_found_to_the_byte() {
        let (mut builder, [.., freed]) = victim();
        let verified = verify(&mut builder);
        assert_eq!((verified.checked, verified.corrupt.len()), (3, 1));
        let finding = verified.corrupt[0].findings[0];
        assert_eq!(
            (finding.fault, finding.at, finding.offset),
            (Fault::Modified, freed.address + 5, 5)
        );
        assert_eq!((finding.bytes, finding.expected), (1, FREE_PATTERN));
        assert_eq!(finding.found, 0xdead_21ef_dead_beef);
        assert_eq!(verified.corrupt[0].requested, Some(50));
    }

    #[test]
    fn every_byte_behind_the_requested_size_is_checked() {
        assert_eq!(after_write(49, &[1]), []);
        for offset in 50..64 {
            assert_eq!(after_write(offset, &[1]), [(Fault::PastEnd, offset)]);
        }
        for offset in 64..68 {
            assert_eq!(after_write(offset, &[1]), [(Fault::Signature, offset)]);
        }
        for offset in 68..72 {
            assert_eq!(after_write(offset, &[0]), [(Fault::SizeCode, offset)]);
        }
        for offset in 72..88 {
            assert_eq!(
                after_write(offset, &[1]),
                [(Fault::Tag, offset)],
                "at {offset}"
            );
        }
        assert_eq!(after_write(50, &[0; 14]), [(Fault::PastEnd, 50)]);
        assert_eq!(
            after_write(60, &[0; 6]),
            [(Fault::PastEnd, 60), (Fault::Signature, 64)]
        );
    }

    #[test]
    fn chunks_that_were_never_handed_out_are_not_looked_at() {
        let (mut builder, made) = allocated();
        builder.image.write(made.address + 96, &[7; 64]);
        assert_eq!(verify(&mut builder).corrupt, []);
    }

    #[test]
    fn blocks_have_redzones_too() {
        let mut builder = Builder::new();
        let block = builder.block(20_001, 0);
        builder.publish();
        let verified =
            |builder: &Builder| arena(&builder.heap(), 0, &Cancel::new()).unwrap().unwrap();
        assert_eq!(verified(&builder).corrupt, []);
        builder.image.write(block + 20_001, &[0]);
        let finding = verified(&builder).corrupt[0].findings[0];
        assert_eq!((finding.fault, finding.offset), (Fault::PastEnd, 20_001));
        assert_eq!(
            (finding.expected, finding.found),
            (0xbbbb_bbbb_bbbb_bb00, 0xbbbb_bbbb_bbbb_0000)
        );
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let (mut builder, _) = allocated();
        builder.publish();
        let records = builder.heap().slabs[0].records;
        let mut heap = builder.heap();
        heap.slabs[0].records = records + 0x4100_0000;
        let verified = cache(&heap, &heap.caches[0], &Cancel::new()).unwrap();
        assert_eq!(verified.unread.len(), 1);
    }
}
