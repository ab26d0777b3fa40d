//! Stacks and logs.

use umem_layout::{AuditRecord, Log, LogEntry, Plain, StackEntry, log_kind, operation};

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

/// Something that happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Address of the record that tells of it, or of the entry in the transaction log.
    pub address: u64,
    /// It is told by the object's record, not by the log.
    pub in_record: bool,
    /// When.
    pub time: u64,
    /// Thread.
    pub thread: u32,
    /// Stack in the depot.
    pub stack: u32,
    /// [`umem_layout::operation`].
    pub operation: u32,
    /// Bytes that the program asked for.
    pub size: u64,
    /// Sequence number of the entry in the log that tells of it or, for one in the log, of the one before.
    pub previous: u64,
}

impl Event {
    /// That of an entry of the transaction log at an address.
    #[must_use]
    pub const fn of_entry(address: u64, entry: &LogEntry) -> Self {
        Self {
            address,
            in_record: false,
            time: entry.time,
            thread: entry.thread,
            stack: entry.stack,
            operation: entry.operation,
            size: entry.size,
            previous: entry.previous,
        }
    }
}

/// Most events of one object.
const EVENTS_MAX: usize = 1 << 16;

impl Heap {
    /// What the record at an address tells, newest first.
    #[must_use]
    pub fn recorded(address: u64, record: &AuditRecord) -> Vec<Event> {
        let of_record = |operation, time, thread, stack| Event {
            address,
            in_record: true,
            time,
            thread,
            stack,
            operation,
            size: record.requested.into(),
            previous: record.last_log,
        };
        let mut events = Vec::new();
        if record.free_time > record.alloc_time {
            let (time, thread, stack) = (record.free_time, record.free_thread, record.free_stack);
            events.push(of_record(operation::FREE, time, thread, stack));
        }
        let (time, thread, stack) = (record.alloc_time, record.alloc_thread, record.alloc_stack);
        events.push(of_record(operation::ALLOC, time, thread, stack));
        events
    }

    /// What happened to the object with a record at this address, newest first: what the record tells, then what the
    /// transaction log still holds of what was before.
    #[must_use]
    pub fn history(&self, address: u64, record: &AuditRecord) -> Vec<Event> {
        let mut events = Self::recorded(address, record);
        let is_new = |entry: &Event| {
            let is_same =
                |event: &Event| (event.time, event.operation) == (entry.time, entry.operation);
            !events.iter().any(is_same)
        };
        let logged = self.log_chain(address, record.last_log);
        let older: Vec<Event> = logged.into_iter().filter(is_new).collect();
        events.extend(older);
        events
    }

    /// What the transaction log holds of the object with a record at this address, from the entry with a sequence number
    /// on, newest first. It ends where an entry is of another object or no older than the one before, as when the log
    /// has gone round.
    #[must_use]
    pub fn log_chain(&self, record: u64, mut sequence: u64) -> Vec<Event> {
        let mut events = Vec::new();
        let Some(log) = self.log(log_kind::TRANSACTION) else {
            return events;
        };
        while events.len() < EVENTS_MAX {
            let Some(at) = log.entry_address(sequence) else {
                break;
            };
            let Ok(entry) = self.reader.one::<LogEntry>(at) else {
                break;
            };
            let is_older = entry.previous < entry.sequence;
            if entry.sequence != sequence || entry.record != record || !is_older {
                break;
            }
            events.push(Event::of_entry(at, &entry));
            sequence = entry.previous;
        }
        events
    }

    /// The entry of a log at an address.
    #[must_use]
    pub fn log_entry_at(&self, address: u64) -> Option<LogEntry> {
        let (start, entry, _) = self.find_log_entry(address)?;
        (start == address).then_some(entry)
    }

    /// The entry of a log that holds an address, where it starts, and the kind of the log.
    #[must_use]
    pub fn find_log_entry(&self, address: u64) -> Option<(u64, LogEntry, u32)> {
        self.logs().0.iter().find_map(|log| {
            let distance = address.checked_sub(log.record.base)?;
            if distance >= log.bytes() {
                return None;
            }
            let start = address - distance % u64::from(log.record.stride).max(1);
            let entry: LogEntry = self.reader.one(start).ok()?;
            (entry.sequence != 0 && log.entry_address(entry.sequence) == Some(start)).then_some((
                start,
                entry,
                log.record.kind,
            ))
        })
    }

    /// Where the contents log keeps what a buffer held when it was freed last, and how many bytes; none when nothing was
    /// saved, or the log has gone round since.
    #[must_use]
    pub fn saved_contents(&self, address: u64, record: &AuditRecord) -> Option<(u64, u64)> {
        let slot = u64::from(record.contents).checked_sub(1)?;
        let log = self.log(log_kind::CONTENTS)?;
        let stride = u64::from(log.record.stride);
        if slot >= log.record.capacity {
            return None;
        }
        let at = log.record.base.wrapping_add(slot * stride);
        let entry: LogEntry = self.reader.one(at).ok()?;
        let is_it =
            entry.sequence != 0 && entry.record == address && entry.time == record.free_time;
        let header = self.reader.stride::<LogEntry>() as u64;
        (is_it && entry.size <= stride.saturating_sub(header))
            .then(|| (at.wrapping_add(header), entry.size))
    }

    /// The stack with an identifier; an empty one for zero. What was read is kept: many records share a stack.
    pub fn stack(&self, id: u32) -> Result<StackTrace, Damage> {
        if id == 0 {
            return Ok(StackTrace::default());
        }
        if let Some(known) = self.recent.stack(id) {
            return Ok(known);
        }
        let stack = self.read_stack(id)?;
        self.recent.keep_stack(id, &stack);
        Ok(stack)
    }

    fn read_stack(&self, id: u32) -> Result<StackTrace, Damage> {
        let depot = &self.root.record.depot;
        let offset = u64::from(id) * 8;
        let address = depot.store.wrapping_add(offset);
        let implausible = |detail: String| Damage::Implausible {
            what: "a stack".to_owned(),
            address,
            detail,
        };
        let end = match self.root.is_copy {
            // Stacks may be newer than what a copy says of them.
            true => depot.capacity,
            false => depot.used,
        };
        if offset >= end {
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
    pub fn logs(&self) -> (&[LogView], Option<&Damage>) {
        let (logs, damage) = self.logs.get_or_init(|| {
            let list = self
                .reader
                .list(self.root.record.logs, |log: &Log| log.next, |_| None);
            let logs = list
                .elements
                .into_iter()
                .map(|(address, record)| LogView { address, record });
            (logs.collect(), list.damage)
        });
        (logs, damage.as_ref())
    }

    /// The log of a kind: [`umem_layout::log_kind`].
    #[must_use]
    pub fn log(&self, kind: u32) -> Option<LogView> {
        let mut logs = self.logs().0.iter();
        logs.find(|log| log.record.kind == kind).copied()
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
