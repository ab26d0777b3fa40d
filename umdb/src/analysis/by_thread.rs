//! Records by the thread of their last transaction.

use umem_layout::{AuditRecord, buffer_state};

use super::{Cancel, Cancelled};
use crate::{
    heap::{Buffer, Heap, Object},
    layout::Damage,
};

/// Which last transaction is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Buffers that the program holds, by who allocated them.
    Allocation,
    /// Free buffers, by who freed them.
    Free,
}

/// A record with its last transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Address of the record.
    pub record: u64,
    /// Whose record it is.
    pub object: Object,
    /// When.
    pub time: u64,
    /// Stack in the depot.
    pub stack: u32,
}

impl By {
    /// When, with which stack, and by whom that was done to an object in this state.
    fn last(self, state: u8, record: &AuditRecord) -> Option<(u64, u32, u32)> {
        let is_held = state == buffer_state::ALLOCATED;
        let was_freed = record.free_time > record.alloc_time;
        match self {
            Self::Allocation if is_held => {
                Some((record.alloc_time, record.alloc_stack, record.alloc_thread))
            }
            Self::Free if !is_held && was_freed => {
                Some((record.free_time, record.free_stack, record.free_thread))
            }
            _ => None,
        }
    }
}

/// The records whose last transaction a thread did, newest first, and what could not be read. The records of a slab
/// are read at once.
///
/// # Errors
/// When it was cancelled.
pub fn find(
    heap: &Heap,
    by: By,
    thread: u64,
    cancel: &Cancel,
) -> Result<(Vec<Found>, Vec<Damage>), Cancelled> {
    let (mut found, mut damages) = (Vec::new(), Vec::new());
    let mut take = |object, record: &AuditRecord| {
        let last = by.last(heap.object_state(object), record);
        if let Some((time, stack, tid)) = last
            && u64::from(tid) == thread
            && let Some(record) = heap.record_address(object)
        {
            found.push(Found {
                record,
                object,
                time,
                stack,
            });
        }
    };
    for slab in 0..heap.slabs.len() as u32 {
        cancel.check()?;
        match heap.records_of(slab) {
            Ok(records) => (0..).zip(&records).for_each(|(index, record)| {
                take(Object::Buffer(Buffer { slab, index }), record);
            }),
            Err(damage) => damages.push(damage),
        }
    }
    for (index, block) in (0..).zip(&heap.blocks) {
        if block.is_audited() {
            take(Object::Block(index), &block.record);
        }
    }
    found.sort_by_key(|found| std::cmp::Reverse((found.time, found.record)));
    Ok((found, damages))
}
