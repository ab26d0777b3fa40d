//! The logs: rings of fixed size, written without a lock.
//!
//! An entry's sequence number is zeroed before its fields are written and stored after them, so that a reader
//! who stops the process in between sees an unused entry instead of a torn one. A writer that comes round while an earlier one is
//! still at the same entry leaves it to that one, and its own is not kept: an entry is of one writer, or of none.
//!
//! An entry of the contents log is followed by the bytes that were saved.

use super::Call;
use crate::{
    raw::{self, Cell, Global, LogEntryRef, LogRef, byte, root},
    sys::{
        memory::{self, PAGE},
        single,
    },
    vmem::round_up,
};
use core::sync::atomic::Ordering;
use umem_layout::{Log, LogEntry, Plain, Span, log_kind, operation, span_kind};

const KINDS: usize = 4;

/// A log, by its place in `Options::log_bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Allocations and frees.
    Transaction = 0,
    /// What freed buffers held.
    Contents = 1,
    /// Allocations that failed.
    Fail = 2,
    /// Slabs that were made.
    Slab = 3,
}

const ALL: [(Kind, u32); KINDS] = [
    (Kind::Transaction, log_kind::TRANSACTION),
    (Kind::Contents, log_kind::CONTENTS),
    (Kind::Fail, log_kind::FAIL),
    (Kind::Slab, log_kind::SLAB),
];

static LOGS: [Global<Log>; KINDS] = [const { Global::new(Log::ZERO) }; KINDS];
static SPANS: [Global<Span>; KINDS] = [const { Global::new(Span::ZERO) }; KINDS];

fn log(kind: Kind) -> LogRef {
    // SAFETY: a static that is only accessed through handles.
    unsafe { LogRef::from_address(LOGS[kind as usize].get() as usize) }
}

/// Whether a log is kept.
#[inline]
pub fn is_on(kind: Kind) -> bool {
    log(kind).capacity().get() != 0
}

/// Makes the logs that the options ask for. Without memory one stays off.
pub fn initialize() {
    // The one that was made last stands first in the list: the transaction log is what readers want most.
    for (kind, published) in ALL.into_iter().rev() {
        make(kind, published);
    }
}

fn make(kind: Kind, published: u32) {
    let options = root().options();
    let wanted = options.log_bytes[kind as usize].min(1 << 40) as usize;
    let saved = match kind {
        Kind::Contents => options.contents_bytes.min(1 << 20) as usize,
        _ => 0,
    };
    let stride = size_of::<LogEntry>() + saved.next_multiple_of(8);
    if wanted == 0 {
        return;
    }
    let size = round_up(wanted.max(stride), PAGE);
    let Some(base) = memory::map(size) else {
        return;
    };
    log(kind).initialize(Log {
        next: root().logs().get(),
        kind: published,
        stride: stride as u32,
        base: base as u64,
        capacity: (size / stride) as u64,
        ..Log::ZERO
    });
    root().logs().store(log(kind).link(), Ordering::Release);
    publish_span(&SPANS[kind as usize], base, size, span_kind::LOG);
}

/// Adds a mapping to the list of spans.
pub(super) fn publish_span(storage: &'static Global<Span>, base: usize, size: usize, kind: u32) {
    // SAFETY: a static, for this span alone.
    unsafe { raw::publish_span(storage.get() as usize, base, size, kind) };
}

/// One transaction, as it goes into a log.
#[derive(Clone, Copy, Default)]
pub struct Transaction {
    /// Buffer.
    pub buffer: usize,
    /// Its audit record.
    pub record: u64,
    /// Cache or arena.
    pub owner: u64,
    /// Whether the owner is an arena.
    pub owner_is_arena: bool,
    /// Requested bytes.
    pub size: u64,
    /// `umem_layout::operation`.
    pub operation: u32,
    /// Sequence number of the buffer's transaction before.
    pub previous: u64,
}

/// Takes the next entry of a log, which is then the caller's until its sequence number is stored.
fn take(log: LogRef) -> Option<(LogEntryRef, u64)> {
    let capacity = log.capacity().get();
    if capacity == 0 {
        return None;
    }
    let sequence = single::add(log.written(), 1) + 1;
    let slot = log.base().get() + ((sequence - 1) % capacity) * u64::from(log.stride().get());
    // SAFETY: the slot is below the log's capacity and only accessed through handles.
    let entry = unsafe { LogEntryRef::from_address(slot as usize) };
    let before = entry.sequence().load(Ordering::Acquire);
    // Zero stands in an entry that was never used, and in one at which somebody is.
    let is_free = before < sequence && (before != 0 || sequence <= capacity);
    let taken = is_free && single::exchange_word(entry.sequence(), before, 0, Ordering::AcqRel);
    taken.then_some((entry, sequence))
}

fn fill(entry: LogEntryRef, call: &Call, what: &Transaction) {
    entry.time().set(call.time);
    entry.buffer().set(what.buffer as u64);
    entry.record().set(what.record);
    entry.owner().set(what.owner);
    entry.size().set(what.size);
    entry.stack().set(call.stack);
    entry.thread().set(call.thread);
    entry.operation().set(what.operation);
    entry.owner_is_arena().set(what.owner_is_arena.into());
    entry.previous().set(what.previous);
}

/// Appends to a log and returns the entry's sequence number, zero when the log is off or the entry was not kept.
pub fn append(kind: Kind, call: &Call, what: &Transaction) -> u64 {
    let Some((entry, sequence)) = take(log(kind)) else {
        return 0;
    };
    fill(entry, call, what);
    entry.sequence().store(sequence, Ordering::Release);
    sequence
}

/// Saves what a buffer holds, up to `length` bytes. Returns the number of the entry in its log plus one, for the audit record; zero when
/// nothing was saved.
pub fn save(call: &Call, what: &Transaction, length: usize) -> u32 {
    let log = log(Kind::Contents);
    let Some((entry, sequence)) = take(log) else {
        return 0;
    };
    let room = log.stride().get() as usize - size_of::<LogEntry>();
    let length = length.min(room);
    let what = Transaction {
        size: length as u64,
        operation: operation::FREE,
        ..*what
    };
    fill(entry, call, &what);
    let to = entry.address() + size_of::<LogEntry>();
    for offset in 0..length {
        // SAFETY: both have so many bytes: the caller's buffer, and the room behind the entry.
        unsafe { byte(to, offset).set(byte(what.buffer, offset).get()) };
    }
    entry.sequence().store(sequence, Ordering::Release);
    let capacity = log.capacity().get();
    u32::try_from((sequence - 1) % capacity + 1).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{thread, vec};

    /// Entries are whole while writers go round a small ring over each other.
    #[test]
    fn entries_are_of_one_writer() {
        let mut room = vec![0_u64; 4 * size_of::<LogEntry>() / 8];
        let mut ring = std::boxed::Box::new(Log {
            stride: size_of::<LogEntry>() as u32,
            base: room.as_mut_ptr().expose_provenance() as u64,
            capacity: 4,
            ..Log::ZERO
        });
        let at = (&raw mut *ring).expose_provenance();
        thread::scope(|scope| {
            for writer in 1..=4_u64 {
                scope.spawn(move || {
                    // SAFETY: the ring outlives the scope and is only accessed through handles.
                    let log = unsafe { LogRef::from_address(at) };
                    for _ in 0..20_000 {
                        let Some((entry, sequence)) = take(log) else {
                            continue;
                        };
                        let call = Call {
                            time: writer,
                            thread: writer as u32,
                            stack: writer as u32,
                        };
                        let what = Transaction {
                            buffer: writer as usize,
                            size: writer,
                            previous: writer,
                            ..Transaction::default()
                        };
                        fill(entry, &call, &what);
                        let found = [
                            entry.time().get(),
                            entry.buffer().get(),
                            entry.size().get(),
                            entry.previous().get(),
                            u64::from(entry.stack().get()),
                        ];
                        assert_eq!(found, [writer; 5], "somebody else wrote here");
                        entry.sequence().store(sequence, Ordering::Release);
                    }
                });
            }
        });
    }
}
