//! The transaction log: a ring of fixed size, written without a lock.
//!
//! An entry's sequence number is zeroed before its fields are written and stored after them, so that a reader
//! who stops the process in between sees an unused entry instead of a torn one.

use super::Call;
use crate::{
    raw::{self, Cell, Global, LogEntryRef, LogRef, root},
    sys::memory::{self, PAGE},
    vmem::round_up,
};
use core::sync::atomic::Ordering;
use umem_layout::{Log, LogEntry, Plain, Span, log_kind, span_kind};

static TRANSACTION: Global<Log> = Global::new(Log::ZERO);
static SPAN: Global<Span> = Global::new(Span::ZERO);

fn transaction() -> LogRef {
    // SAFETY: a static that is only accessed through handles.
    unsafe { LogRef::from_address(TRANSACTION.get() as usize) }
}

/// Makes the transaction log when the options ask for one. Without memory it stays off.
pub fn initialize() {
    let wanted = root().options().log_bytes[0] as usize;
    if wanted == 0 {
        return;
    }
    let size = round_up(wanted.min(1 << 40), PAGE);
    let Some(base) = memory::map(size) else {
        return;
    };
    transaction().initialize(Log {
        kind: log_kind::TRANSACTION,
        stride: size_of::<LogEntry>() as u32,
        base: base as u64,
        capacity: (size / size_of::<LogEntry>()) as u64,
        ..Log::ZERO
    });
    root().logs().store(transaction().link(), Ordering::Release);
    publish_span(&SPAN, base, size, span_kind::LOG);
}

/// Adds a mapping to the list of spans.
pub(super) fn publish_span(storage: &'static Global<Span>, base: usize, size: usize, kind: u32) {
    // SAFETY: a static, for this span alone.
    unsafe { raw::publish_span(storage.get() as usize, base, size, kind) };
}

/// One transaction, as it goes into the log.
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

/// Appends to the transaction log and returns the entry's sequence number, zero when the log is off.
pub fn append(call: &Call, what: &Transaction) -> u64 {
    let log = transaction();
    let capacity = log.capacity().get();
    if capacity == 0 {
        return 0;
    }
    let sequence = log.written().fetch_add(1, Ordering::AcqRel) + 1;
    let slot = log.base().get() + ((sequence - 1) % capacity) * size_of::<LogEntry>() as u64;
    // SAFETY: the slot is below the log's capacity and only accessed through handles.
    let entry = unsafe { LogEntryRef::from_address(slot as usize) };
    entry.sequence().store(0, Ordering::Release);
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
    entry.sequence().store(sequence, Ordering::Release);
    sequence
}
