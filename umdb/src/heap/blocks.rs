//! Blocks: allocated segments of arenas that hand memory to the program directly.

use std::mem::offset_of;

use umem_layout::{AuditRecord, Segment, cache_flag, policy, segment_kind};

use super::{ADDRESS_END, Heap};
use crate::layout::Damage;

/// An allocated block.
#[derive(Debug, Clone)]
pub struct Block {
    /// Address of its segment.
    pub segment: u64,
    /// Index of its arena.
    pub arena: u32,
    /// First address of the segment.
    pub start: u64,
    /// One past its last address.
    pub end: u64,
    /// Address handed to the program.
    pub buffer: u64,
    /// Bytes that the program asked for.
    pub requested: u64,
    /// Address of the audit record.
    pub record_address: u64,
    /// Who allocated and who freed it.
    pub record: AuditRecord,
    /// [`umem_layout::buffer_state`].
    pub state: u8,
    /// [`umem_layout::family`].
    pub family: u8,
    /// [`umem_layout::cache_flag`] bits in force for it.
    pub flags: u16,
    /// Bytes that decided whether it is a sample, in units of 16.
    pub picked_by: u32,
}

impl Block {
    /// Who allocated it is recorded.
    #[must_use]
    pub const fn is_audited(&self) -> bool {
        self.flags as u32 & cache_flag::AUDIT != 0
    }
}

/// A free piece of an arena of blocks.
#[derive(Debug, Clone)]
pub struct Gap {
    /// Address of its segment.
    pub segment: u64,
    /// Index of its arena.
    pub arena: u32,
    /// First address.
    pub start: u64,
    /// One past its last address.
    pub end: u64,
}

impl Heap {
    pub(super) fn load_blocks(&mut self) {
        for arena in 0..self.arenas.len() {
            let record = &self.arenas[arena].record;
            if record.policy & policy::BLOCKS != 0 && record.segments != 0 {
                let anchor = record.segments;
                self.load_segments(arena as u32, anchor);
            }
        }
        self.blocks.sort_by_key(|block| block.start);
        self.gaps.sort_by_key(|gap| gap.start);
        let before = self.blocks.len();
        self.blocks.dedup_by(|next, block| next.start < block.end);
        if self.blocks.len() < before {
            let detail = format!("{} blocks overlap others", before - self.blocks.len());
            self.damage.add(Damage::Implausible {
                what: "the arenas of blocks".to_owned(),
                address: 0,
                detail,
            });
        }
    }

    fn load_segments(&mut self, arena: u32, anchor: u64) {
        let first = match self.reader.one::<Segment>(anchor) {
            Ok(segment) => segment.next,
            Err(damage) => return self.damage.add(damage),
        };
        let list =
            self.reader
                .list_until(first, anchor, |segment: &Segment| segment.next, implausible);
        for (address, segment) in self.damage.listed(list) {
            let (start, end) = (segment.start, segment.end);
            match segment.kind {
                segment_kind::ALLOC => self.blocks.push(block(address, arena, &segment)),
                segment_kind::FREE => self.gaps.push(Gap {
                    segment: address,
                    arena,
                    start,
                    end,
                }),
                _ => {}
            }
        }
    }

    /// The block whose segment holds an address.
    #[must_use]
    pub fn block_at(&self, address: u64) -> Option<u32> {
        let after = self.blocks.partition_point(|block| block.start <= address);
        let index = after.checked_sub(1)?;
        (address < self.blocks[index].end).then_some(index as u32)
    }
}

fn block(address: u64, arena: u32, segment: &Segment) -> Block {
    let buffer = if segment.buffer == 0 {
        segment.start
    } else {
        segment.buffer
    };
    Block {
        segment: address,
        arena,
        start: segment.start,
        end: segment.end,
        buffer,
        requested: segment.requested,
        record_address: address + offset_of!(Segment, record) as u64,
        record: segment.record,
        state: segment.state,
        family: segment.family,
        flags: segment.flags,
        picked_by: segment.picked_by,
    }
}

/// What is wrong with a segment.
fn implausible(segment: &Segment) -> Option<String> {
    let (start, end) = (segment.start, segment.end);
    if start > end || end > ADDRESS_END {
        return Some(format!("it goes from {start:#x} to {end:#x}"));
    }
    let buffer = if segment.buffer == 0 {
        start
    } else {
        segment.buffer
    };
    let requested = segment.requested;
    let fits = buffer >= start
        && buffer
            .checked_add(requested)
            .is_some_and(|last| last <= end);
    (segment.kind == segment_kind::ALLOC && !fits)
        .then(|| format!("{requested} bytes at {buffer:#x} are not in [{start:#x}, {end:#x})"))
}
