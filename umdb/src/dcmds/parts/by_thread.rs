//! Records by the thread of their last transaction: what ::allocdby and ::freedby share.

use umem_layout::AuditRecord;

use super::{
    context::{Context, Error},
    filter::Transaction,
    record::is_held,
};
use crate::{
    heap::{Buffer, Object},
    report::{Cell, Column, Report, Table},
};

/// Which last transaction is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Buffers that the program holds, by who allocated them.
    Allocation,
    /// Free buffers, by who freed them.
    Free,
}

impl By {
    /// When the thread did it to an object in this state.
    fn time(self, thread: u64, state: u8, record: &AuditRecord) -> Option<Transaction> {
        let last = Transaction::last(record);
        let is_meant = is_held(state) == (self == Self::Allocation);
        let is_thread = u64::from(last.thread) == thread;
        (is_meant && is_thread && last.time != 0).then_some(last)
    }
}

/// A record with its last transaction.
#[derive(Debug, Clone, Copy)]
struct Found {
    last: Transaction,
    record: u64,
    object: Object,
}

/// The table of `::allocdby` and `::freedby`.
///
/// # Errors
/// When no buffer has a record, or on request.
pub fn table(cx: &Context<'_>, command: &str, by: By, thread: u64) -> Result<Report, Error> {
    let heap = cx.heap;
    if !heap.is_audited() {
        return Err(Error::with_hint(
            format!("{command}: UMF_AUDIT is not enabled for any caches"),
            "start the program with UMEM_DEBUG=default",
        ));
    }
    let mut report = Report::default();
    let mut table = Table::new("records", columns());
    for found in find(cx, by, thread, &mut report)? {
        table.push(vec![
            Cell::Address(found.record),
            Cell::Time(heap.clock.monotonic(found.last.time)),
            cx.caller(found.last.stack),
            Cell::Address(heap.address(found.object)),
            heap.requested(found.object)
                .map_or(Cell::Unknown, Cell::Bytes),
        ]);
    }
    report.push(table);
    Ok(report)
}

fn columns() -> Vec<Column> {
    vec![
        Column::left("bufctl", "BUFCTL", 16).padded(),
        Column::left("timestamp", "TIMESTAMP", 12),
        Column::left("caller", "CALLER", 0),
        Column::hidden("buffer"),
        Column::hidden("requested"),
    ]
}

/// The records in question, newest first. The records of a slab are read at once.
fn find(cx: &Context<'_>, by: By, thread: u64, report: &mut Report) -> Result<Vec<Found>, Error> {
    let heap = cx.heap;
    let mut found = Vec::new();
    let mut take = |object, record: &AuditRecord| {
        let last = by.time(thread, heap.object_state(object), record);
        let at = heap.record_address(object);
        found.extend(last.zip(at).map(|(last, record)| Found {
            last,
            record,
            object,
        }));
    };
    for slab in 0..heap.slabs.len() as u32 {
        cx.cancel.check()?;
        match heap.records_of(slab) {
            Ok(records) => records.iter().enumerate().for_each(|(index, record)| {
                let index = index as u32;
                take(Object::Buffer(Buffer { slab, index }), record);
            }),
            Err(damage) => report.incomplete(damage.to_string()),
        }
    }
    for (index, block) in heap.blocks.iter().enumerate() {
        if block.is_audited() {
            take(Object::Block(index as u32), &block.record);
        }
    }
    found.sort_by_key(|found| std::cmp::Reverse((found.last.time, found.record)));
    Ok(found)
}
