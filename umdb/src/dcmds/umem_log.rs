//! `::umem_log`: the transaction log, a line each.

use umem_layout::{LogEntry, log_kind};

use super::{Address, Context, Dcmd, Error, Group, Invocation, Run, parts::log::operation_name};
use crate::report::{Cell, Column, Report, Table};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "umem_log",
    group: Group::Corruption,
    address: Address::Optional,
    options: &[],
    operands: "",
    address_name: "entry",
    pipes: Some("bufctls"),
    columns: &[
        ("OP", "what was done: alloc or free"),
        ("ADDR", "address of the entry"),
        ("BUFADDR", "address of the buffer"),
        (
            "TIMESTAMP",
            "when, hexadecimal, in nanoseconds of the monotonic clock",
        ),
        ("THREAD", "number of the thread, decimal"),
    ],
    see: &["umalog", "bufctl"],
    summary: "dump umem transaction log",
    help: HELP,
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Lists the transaction log, newest first, or the entry at an address. ::umalog
shows the same with stacks, ADDR::bufctl -v one entry in full.

    > ::umem_log

libumem's debugger has a column CPU instead of OP, and lists unused entries as
well; here all processors share one log. Needs UMEM_LOGGING=transaction when the
program is started.";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let entries = match invocation.address {
        Some(address) => vec![(address, entry_at(cx, address)?)],
        None => all(cx)?,
    };
    let mut table = Table::new("transactions", columns());
    for (address, entry) in entries {
        table.push(vec![
            Cell::text(operation_name(entry.operation)),
            Cell::Address(address),
            Cell::Address(entry.buffer),
            Cell::Time(cx.heap.clock.monotonic(entry.time)),
            Cell::Number(entry.thread.into()),
            Cell::Number(entry.sequence),
            Cell::Bytes(entry.size),
            Cell::Address(entry.owner),
            Cell::Address(entry.record),
        ]);
    }
    Ok(Report::of(table))
}

fn columns() -> Vec<Column> {
    vec![
        Column::left("operation", "OP", 5),
        Column::left("address", "ADDR", 16).padded().piped(),
        Column::left("buffer", "BUFADDR", 16).padded(),
        Column::right("timestamp", "TIMESTAMP", 16),
        Column::right("thread", "THREAD", 8),
        Column::hidden("sequence"),
        Column::hidden("bytes"),
        Column::hidden("owner"),
        Column::hidden("bufctl"),
    ]
}

fn entry_at(cx: &Context<'_>, address: u64) -> Result<LogEntry, Error> {
    cx.heap.log_entry_at(address).ok_or_else(|| {
        Error::with_hint(
            format!("umem_log: no entry of a log is at {address:x}"),
            "::umem_log lists them",
        )
    })
}

fn all(cx: &Context<'_>) -> Result<Vec<(u64, LogEntry)>, Error> {
    let (_, damage) = cx.heap.logs();
    let log = match (cx.heap.log(log_kind::TRANSACTION), damage) {
        (Some(log), _) => log,
        (None, Some(damage)) => return Err(damage.clone().into()),
        (None, None) => {
            return Err(Error::with_hint(
                "umem_log: no umem transaction log",
                "start the program with UMEM_LOGGING=transaction",
            ));
        }
    };
    let entries = cx.heap.log_entries(&log)?;
    let with_address = |entry: LogEntry| Some((log.entry_address(entry.sequence)?, entry));
    Ok(entries.into_iter().filter_map(with_address).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dcmds::parts::testing::{run_published, text},
        heap::synthetic::{Builder, ROOT, victim},
        render::write_text,
    };

    #[test]
    fn entries_come_newest_first_and_alone() {
        let (mut builder, [kept, _, freed]) = victim();
        builder.publish();
        let log = builder.heap().log(1).unwrap();
        let [first, last] = [1, 4].map(|sequence| log.entry_address(sequence).unwrap());
        let shown = |address| write_text(&run_published(&builder, &DCMD, address, &[]).unwrap());
        let header = "OP    ADDR             BUFADDR                 TIMESTAMP   THREAD";
        let newest = format!(
            "free  {last:016x} {:016x}              410        7",
            freed.address
        );
        let oldest = format!(
            "alloc {first:016x} {:016x}              3f2        7",
            kept.address
        );
        let all = shown(None);
        let lines: Vec<&str> = all.lines().collect();
        assert_eq!(lines.len(), 5);
        assert_eq!([lines[0], lines[1], lines[4]], [header, &newest, &oldest]);
        assert_eq!(shown(Some(first)), format!("{header}\n{oldest}\n"));
        let error = run_published(&builder, &DCMD, Some(first + 8), &[]).unwrap_err();
        assert!(error.to_string().contains("no entry of a log"));
    }

    #[test]
    fn without_a_log_that_is_said() {
        let mut builder = Builder::new();
        text(&mut builder, &super::super::umem_cache::DCMD, None, &[]);
        builder.write_word(ROOT + 0xd8, 0);
        let error = run_published(&builder, &DCMD, None, &[]).unwrap_err();
        assert_eq!(error.to_string(), "umem_log: no umem transaction log");
    }
}
