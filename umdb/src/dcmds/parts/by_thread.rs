//! The table of ::allocdby and ::freedby.

use super::context::{Context, Error};
use crate::{
    analysis::by_thread::{self, By},
    report::{Cell, Column, Report, Table},
};

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
    let (found, damages) = by_thread::find(heap, by, thread, cx.cancel)?;
    let mut report = Report::default();
    let mut table = Table::new("records", columns());
    for found in found {
        table.push(vec![
            Cell::Address(found.record),
            Cell::Time(heap.clock.monotonic(found.time)),
            cx.caller(found.stack),
            Cell::Address(heap.address(found.object)),
            heap.requested(found.object)
                .map_or(Cell::Unknown, Cell::Bytes),
        ]);
    }
    report.push(table);
    for damage in damages {
        report.incomplete(damage.to_string());
    }
    Ok(report)
}

fn columns() -> Vec<Column> {
    vec![
        Column::left("bufctl", "BUFCTL", 16).padded().piped(),
        Column::left("timestamp", "TIMESTAMP", 12),
        Column::left("caller", "CALLER", 0),
        Column::hidden("buffer"),
        Column::hidden("requested"),
    ]
}
