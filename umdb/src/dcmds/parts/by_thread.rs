//! The table of ::allocdby and ::freedby.

use super::{
    args::{Address, Dcmd, Group, Invocation},
    context::{Context, Error},
};
use crate::{
    analysis::by_thread::{self, By},
    report::{Cell, Column, Report, Table},
};

/// What `::allocdby` and `::freedby` have in common.
pub const BASE: Dcmd = Dcmd {
    group: Group::Addresses,
    address: Address::Required,
    address_name: "thread",
    pipes: Some("bufctls"),
    columns: &[
        ("BUFCTL", "address of the record"),
        (
            "TIMESTAMP",
            "when, hexadecimal, in nanoseconds of the monotonic clock",
        ),
        ("CALLER", "who called"),
    ],
    ..Dcmd::PLAIN
};

/// Their help: what they list, and their name.
macro_rules! help_of {
    ($listed:literal, $name:literal) => {
        concat!(
            $listed,
            "\n
The address is the number of the thread, as other commands show it; those are
decimal, and numbers are typed in hexadecimal unless they begin with 0t.

    > 0t1234::",
            $name,
            "\n
Needs UMEM_DEBUG=default (or audit) when the program is started. Buffers of a
program that runs without have no records."
        )
    };
}
pub(in crate::dcmds) use help_of;

/// The table of `::allocdby` and `::freedby`.
///
/// # Errors
/// When no buffer has a record, or on request.
pub fn table(cx: &Context<'_>, dcmd: &Dcmd, by: By, asked: &Invocation) -> Result<Report, Error> {
    let (heap, command) = (cx.heap, dcmd.name);
    let thread = asked.address.unwrap_or_default();
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

#[cfg(test)]
mod tests {
    use crate::{
        dcmds::{find, parts::testing::run},
        heap::synthetic::Builder,
    };

    #[test]
    fn without_records_they_cannot_do_their_work() {
        for name in ["allocdby", "freedby"] {
            let mut builder = Builder::new();
            let cache = builder.cache("umem_alloc_64", 64, 0);
            builder.slab(cache);
            let dcmd = find(name).unwrap();
            let error = run(&mut builder, dcmd, Some(7), &[]).unwrap_err();
            let expected = format!("{name}: UMF_AUDIT is not enabled for any caches");
            assert_eq!(error.to_string(), expected);
        }
    }
}
