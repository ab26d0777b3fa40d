//! What was read last, for pipes that go from buffer to buffer: a read of a process costs microseconds.
//!
//! Nothing of a target changes while it is looked at. A thread that finds the other one at work here reads for itself.

use std::{collections::HashMap, sync::Mutex};

use umem_layout::AuditRecord;

use super::{Buffer, Heap, StackTrace};

/// Stacks that are kept.
const STACKS_MAX: usize = 1 << 16;

/// What was read last.
#[derive(Default)]
pub(super) struct Recent {
    stacks: Mutex<HashMap<u32, StackTrace>>,
    records: Mutex<OfSlab>,
}

/// The records of one slab.
#[derive(Default)]
struct OfSlab {
    /// For which slab they were asked last.
    asked: Option<u32>,
    kept: Option<(u32, Vec<AuditRecord>)>,
}

impl Recent {
    pub(super) fn stack(&self, id: u32) -> Option<StackTrace> {
        self.stacks.try_lock().ok()?.get(&id).cloned()
    }

    pub(super) fn keep_stack(&self, id: u32, stack: &StackTrace) {
        if let Ok(mut stacks) = self.stacks.try_lock()
            && stacks.len() < STACKS_MAX
        {
            stacks.insert(id, stack.clone());
        }
    }
}

impl Heap {
    /// The record of a buffer, when the records of its slab are known. They are read at the second question about a slab
    /// in a row; a single one would not be worth it.
    pub(super) fn recent_record(&self, buffer: Buffer) -> Option<AuditRecord> {
        let mut records = self.recent.records.try_lock().ok()?;
        let is_kept = records
            .kept
            .as_ref()
            .is_some_and(|(slab, _)| *slab == buffer.slab);
        if !is_kept {
            if records.asked.replace(buffer.slab) != Some(buffer.slab) {
                return None;
            }
            records.kept = Some((buffer.slab, self.records_of(buffer.slab).ok()?));
        }
        let (_, known) = records.kept.as_ref()?;
        known.get(buffer.index as usize).copied()
    }
}
