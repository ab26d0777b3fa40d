//! Stacks and logs.

use umem_layout::{Log, LogEntry, Plain, StackEntry};

use super::Heap;
use crate::layout::Damage;

/// Most program counters of a stack.
const DEPTH_MAX: u16 = 512;
/// Most bytes of a log.
const LOG_MAX: u64 = 1 << 32;

/// A stack from the depot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StackTrace {
    /// Return addresses, innermost first.
    pub pcs: Vec<u64>,
    /// [`umem_layout::stack_flag`].
    pub flags: u16,
    /// Bit i: pc i was found by frame pointer.
    pub guessed: u64,
    /// Epoch of the module history.
    pub epoch: u32,
}

/// A log and where its structure is.
#[derive(Debug, Clone, Copy)]
pub struct LogView {
    /// Address of its structure.
    pub address: u64,
    /// What it publishes.
    pub record: Log,
}

impl LogView {
    /// Bytes of its ring.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.record
            .capacity
            .saturating_mul(u64::from(self.record.stride))
    }

    /// Address of the entry with a sequence number, while the ring still has it.
    #[must_use]
    pub fn entry_address(&self, sequence: u64) -> Option<u64> {
        let Log {
            base,
            capacity,
            stride,
            written,
            ..
        } = self.record;
        let is_kept = sequence > 0 && sequence <= written && written - sequence < capacity;
        is_kept.then(|| base.wrapping_add((sequence - 1) % capacity * u64::from(stride)))
    }
}

impl Heap {
    /// The stack with an identifier; an empty one for zero.
    pub fn stack(&self, id: u32) -> Result<StackTrace, Damage> {
        if id == 0 {
            return Ok(StackTrace::default());
        }
        let depot = &self.root.record.depot;
        let offset = u64::from(id) * 8;
        let address = depot.store.wrapping_add(offset);
        let implausible = |detail: String| Damage::Implausible {
            what: "a stack".to_owned(),
            address,
            detail,
        };
        if offset >= depot.used {
            return Err(implausible(format!("the depot has no stack {id}")));
        }
        let entry: StackEntry = self.reader.one(address)?;
        if entry.depth > DEPTH_MAX {
            return Err(implausible(format!("{} frames", entry.depth)));
        }
        let first = address.wrapping_add(self.reader.stride::<StackEntry>() as u64);
        let pcs = self
            .reader
            .words("a stack", first, usize::from(entry.depth))?;
        Ok(StackTrace {
            pcs,
            flags: entry.flags,
            guessed: entry.guessed,
            epoch: entry.epoch,
        })
    }

    /// All logs, and what is wrong with their list.
    #[must_use]
    pub fn logs(&self) -> (Vec<LogView>, Option<Damage>) {
        let list = self
            .reader
            .list(self.root.record.logs, |log: &Log| log.next, |_| None);
        let logs = list
            .elements
            .into_iter()
            .map(|(address, record)| LogView { address, record });
        (logs.collect(), list.damage)
    }

    /// The log of a kind: [`umem_layout::log_kind`].
    #[must_use]
    pub fn log(&self, kind: u32) -> Option<LogView> {
        self.logs()
            .0
            .into_iter()
            .find(|log| log.record.kind == kind)
    }

    /// Entries of a log, newest first, without those that are unused or half written.
    pub fn log_entries(&self, log: &LogView) -> Result<Vec<LogEntry>, Damage> {
        let Log {
            base,
            capacity,
            stride,
            written,
            ..
        } = log.record;
        let implausible = |detail: String| Damage::Implausible {
            what: "a log".into(),
            address: log.address,
            detail,
        };
        if stride < 8 || log.bytes() > LOG_MAX {
            return Err(implausible(format!("{capacity} entries of {stride} bytes")));
        }
        let used = capacity.min(written);
        let bytes = self
            .reader
            .bytes("the log", base, (used * u64::from(stride)) as usize)?;
        let mut entries: Vec<LogEntry> = Vec::new();
        for (slot, chunk) in bytes.chunks_exact(stride as usize).enumerate() {
            let entry = LogEntry::decode_at(chunk, 0);
            let is_here = entry.sequence != 0 && (entry.sequence - 1) % capacity == slot as u64;
            if is_here && entry.sequence <= written {
                entries.push(entry);
            }
        }
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.sequence));
        Ok(entries)
    }
}
