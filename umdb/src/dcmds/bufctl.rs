//! `::bufctl`: the record of a buffer, and its history.

use umem_layout::LogEntry;

use super::{
    Address, Context, Dcmd, Error, Group, Invocation, Opt, Run,
    parts::{
        filter::{self, Filter, Transaction},
        record::{Line, Show},
    },
};
use crate::{
    heap::{Event, Heap, Location, Object},
    report::{Cell, Column, Report, Table},
};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "bufctl",
    group: Group::Addresses,
    address: Address::Required,
    options: &[
        Opt::flag(
            'v',
            "the whole record with the stacks of allocation and free",
        ),
        Opt::flag('h', "what happened to the buffer before, newest first"),
        Opt::value('a', "addr", "only the record of the buffer at this address"),
        filter::CALLER,
        filter::EARLIEST,
        filter::LATEST,
        filter::THREAD,
    ],
    operands: "",
    pipes: Some("bufctls"),
    columns: COLUMNS,
    see: &["bufctl_audit", "umalog", "whatis", "allocdby", "freedby"],
    summary: "print or filter a bufctl",
    help: HELP,
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

/// What the columns mean, those of -v as well.
pub(super) const COLUMNS: &[(&str, &str)] = &[
    ("ADDR", "address of the record, or of the entry of the log"),
    ("BUFADDR", "address of the buffer"),
    (
        "TIMESTAMP",
        "when, hexadecimal, in nanoseconds of the monotonic clock",
    ),
    ("THRD, THREAD", "number of the thread, decimal"),
    ("CALLER", "who called the allocation function"),
    ("CACHE", "address of the cache, or of the arena of a block"),
    (
        "LASTLOG",
        "the newest entry of the transaction log about the buffer; else 0",
    ),
    (
        "CONTENTS",
        "where the contents log keeps what the buffer held when it was freed, for ::dump; else 0",
    ),
    ("REQUESTED", "bytes that were asked for"),
    ("STATE", "what was done last: allocated or freed"),
    (
        "FAMILY",
        "the functions that it belongs to: malloc, new, new[] and others",
    ),
];

const HELP: &str = "\
Shows the record of a buffer: when it was last allocated or freed, by which
thread, and who called. The address is that of the record, as ::findleaks and
::whatis print it; that of the buffer, of its segment, or of an entry of the
transaction log (as ::umem_log prints them) will do as well.

    > 7f0aa0c71d20::bufctl -v

    > umem_alloc_64::walk bufctl | ::head -1 | ::bufctl -v

TIMESTAMP is hexadecimal, in nanoseconds of the monotonic clock. A record keeps
the last allocation and the last free, so that -v shows two stacks. What was
before comes from the transaction log, as far as that reaches back: -h needs
UMEM_LOGGING=transaction when the program is started, and otherwise shows the
record alone.

-a, -c, -e, -l and -t leave out records (with -h: transactions) that do not fit;
they look at the last transaction. Their values are numbers or names:

    > umem_alloc_64::walk bufctl | ::bufctl -c parse_line";

/// What an address names.
enum Subject {
    Object(Object),
    Entry(u64, LogEntry),
}

pub(super) fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let filter = Filter::of(cx, invocation)?;
    let buffer = cx.option(invocation, 'a')?;
    let subject = subject(cx, invocation.address.unwrap_or_default())?;
    let mut lines = lines(cx, &subject, invocation.has('h'))?;
    lines.retain(|line| {
        let event = &line.event;
        let transaction = Transaction {
            time: event.time,
            thread: event.thread,
            stack: event.stack,
        };
        buffer.is_none_or(|buffer| buffer == line.buffer) && filter.passes(cx, &transaction)
    });
    let mut report = Report::default();
    if lines.is_empty() {
        return Ok(report);
    }
    match subject {
        Subject::Object(object) if invocation.has('v') && !invocation.has('h') => {
            let table = cx.record_table(object, Show::Both, &mut report);
            report.sections.extend(table.map(Into::into));
        }
        _ if invocation.has('v') => {
            let table = cx.event_table(&lines, &mut report);
            report.push(table);
        }
        _ => report.push(short(cx, &lines)),
    }
    Ok(report)
}

/// The events to show: the last one, or all that are known.
fn lines(cx: &Context<'_>, subject: &Subject, all: bool) -> Result<Vec<Line>, Error> {
    let heap = cx.heap;
    let (mut events, buffer, owner, object) = match subject {
        Subject::Object(object) => {
            let record = heap.record(*object).transpose()?;
            let at = heap.record_address(*object);
            let events: Vec<Event> = record
                .zip(at)
                .map(|(record, at)| match all {
                    true => heap.history(at, &record),
                    false => Heap::recorded(at, &record),
                })
                .unwrap_or_default();
            let owner = heap.owner_address(*object);
            (events, heap.address(*object), owner, Some(*object))
        }
        Subject::Entry(address, entry) => {
            let older = heap.log_chain(entry.record, entry.previous);
            let mut events = vec![Event::of_entry(*address, entry)];
            events.extend(older);
            let object = heap.object_of_record(entry.record);
            (events, entry.buffer, entry.owner, object)
        }
    };
    if !all {
        events.truncate(1);
    }
    let line = |event| Line {
        event,
        buffer,
        owner,
        object,
    };
    Ok(events.into_iter().map(line).collect())
}

fn short(cx: &Context<'_>, lines: &[Line]) -> Table {
    let columns = vec![
        Column::left("bufctl", "ADDR", 16).padded().piped(),
        Column::left("buffer", "BUFADDR", 16).padded(),
        Column::left("timestamp", "TIMESTAMP", 12),
        Column::right("thread", "THRD", 5),
        Column::left("caller", "CALLER", 0),
    ];
    let mut table = Table::new("record", columns);
    for line in lines {
        table.push(vec![
            Cell::Address(line.event.address),
            Cell::Address(line.buffer),
            Cell::Time(cx.heap.clock.monotonic(line.event.time)),
            Cell::Number(line.event.thread.into()),
            cx.caller(line.event.stack),
        ]);
    }
    table
}

/// What has its record, buffer, segment or log entry at an address.
fn subject(cx: &Context<'_>, address: u64) -> Result<Subject, Error> {
    let heap = cx.heap;
    if let Some(object) = heap.object_of_record(address) {
        return Ok(Subject::Object(object));
    }
    let by_address = match heap.find(address) {
        Some(Location::Buffer(buffer, 0)) => Some(Object::Buffer(buffer)),
        Some(Location::Block(index, 0)) => Some(Object::Block(index)),
        _ => heap.block_of_segment(address).map(Object::Block),
    };
    match by_address {
        Some(object) if heap.record_address(object).is_some() => Ok(Subject::Object(object)),
        Some(object) => Err(Error::with_hint(
            format!("bufctl: {} keeps no records", heap.owner_name(object)),
            "start the program with UMEM_DEBUG=default",
        )),
        None => no_object(cx, address),
    }
}

fn no_object(cx: &Context<'_>, address: u64) -> Result<Subject, Error> {
    if let Some(entry) = cx.heap.log_entry_at(address) {
        return Ok(Subject::Entry(address, entry));
    }
    if cx.heap.reader.fill(address, &mut [0; 8]) == 0 {
        return Err(Error::Missing(format!(
            "couldn't read bufctl at {address:x}: no mapping for address"
        )));
    }
    Err(Error::with_hint(
        format!("bufctl: no record of a buffer is at {address:x}"),
        format!("{address:x}::whatis says what is there"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dcmds::parts::testing::{run, run_published, text},
        heap::synthetic::{DATA, victim},
        render::write_text,
        report::Status,
    };

    #[test]
    fn the_whole_record_has_both_stacks() {
        let (mut builder, [.., freed]) = victim();
        let cache = builder.caches[0].0;
        let (shown, _) = text(&mut builder, &DCMD, Some(freed.record), &["-v"]);
        let log = builder.heap().log(1).unwrap().entry_address(4).unwrap();
        let expected = format!(
            "            ADDR          BUFADDR        TIMESTAMP           THREAD
                            CACHE          LASTLOG         CONTENTS
                        REQUESTED            STATE           FAMILY
{:>16x} {:>16x}              410                8
                 {cache:>16x} {log:>16x}                0
                               50             free
             allocated by thread 7:
                 victim+0x300
                 victim+0x10
             freed by thread 8 0.000000010 s later:
                 victim+0x300
                 victim+0x10

",
            freed.record, freed.address
        );
        assert_eq!(shown, expected);
        let (by_buffer, _) = text(&mut builder, &DCMD, Some(freed.address), &["-v"]);
        assert_eq!(
            by_buffer,
            expected.replace(&format!("{log:>16x}"), &by_buffer_log(&builder))
        );
    }

    fn by_buffer_log(builder: &crate::heap::synthetic::Builder) -> String {
        format!(
            "{:>16x}",
            builder.heap().log(1).unwrap().entry_address(4).unwrap()
        )
    }

    #[test]
    fn the_short_form_is_one_line() {
        let (mut builder, [_, lost, _]) = victim();
        let (text, _) = text(&mut builder, &DCMD, Some(lost.record), &[]);
        let expected = format!(
            "ADDR             BUFADDR          TIMESTAMP     THRD CALLER
{:016x} {:016x} 3fc              7 victim+0x200
",
            lost.record, lost.address
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn what_is_no_record_is_said() {
        let (mut builder, _) = victim();
        let error = run(&mut builder, &DCMD, Some(8), &["-v"]).unwrap_err();
        assert_eq!(Report::from(error).status, Status::Incomplete);
        let error = run(&mut builder, &DCMD, Some(DATA), &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "bufctl: no record of a buffer is at 400000"
        );
        assert!(run(&mut builder, &DCMD, None, &[]).is_err());
    }

    #[test]
    fn the_history_is_the_record_and_what_the_log_holds_of_before() {
        let (mut builder, [.., freed]) = victim();
        let stack = builder.stack(&[0x40_0500]);
        builder.publish();
        let log = builder.heap().log(1).unwrap();
        let (at, buffer) = (freed.record, freed.address);
        let report = run_published(&builder, &DCMD, Some(at), &["-h"]).unwrap();
        let expected = format!(
            "ADDR             BUFADDR          TIMESTAMP     THRD CALLER
{at:016x} {buffer:016x} 410              8 victim+0x300
{at:016x} {buffer:016x} 406              7 victim+0x300
"
        );
        assert_eq!(write_text(&report), expected);
        // The record of the next life of the buffer no longer tells of the free before.
        builder.image.write(at, &[0; 0x30]);
        builder.write_word(at, 0x500);
        builder.write_word(at + 0x20, 4);
        builder.image.write(at + 0x10, &stack.to_le_bytes());
        let report = run_published(&builder, &DCMD, Some(at), &["-h"]).unwrap();
        let entry = log.entry_address(4).unwrap();
        let expected = format!(
            "ADDR             BUFADDR          TIMESTAMP     THRD CALLER
{at:016x} {buffer:016x} 500              0 victim+0x500
{entry:016x} {buffer:016x} 410              7 victim+0x300
"
        );
        assert!(
            write_text(&report).starts_with(&expected),
            "{}",
            write_text(&report)
        );
    }

    #[test]
    fn an_entry_of_the_log_has_its_own_row_and_stack() {
        let (mut builder, [kept, ..]) = victim();
        builder.publish();
        let entry = builder.heap().log(1).unwrap().entry_address(1).unwrap();
        let report = run_published(&builder, &DCMD, Some(entry), &["-v"]).unwrap();
        let text = write_text(&report);
        let row = format!(
            "{entry:>16x} {:>16x}              3f2                7\n",
            kept.address
        );
        assert!(text.contains(&row), "{text}");
        assert!(text.contains("allocated"), "{text}");
        assert!(text.contains("                 victim+0x100\n"), "{text}");
    }

    #[test]
    fn each_filter_lets_its_own_pass() {
        let (mut builder, [_, lost, _]) = victim();
        builder.publish();
        let is_shown = |words: &[&str]| {
            let report = run_published(&builder, &DCMD, Some(lost.record), words).unwrap();
            !report.sections.is_empty()
        };
        let buffer = format!("{:x}", lost.address);
        for words in [
            ["-a", buffer.as_str()],
            ["-c", "400200"],
            ["-e", "3fc"],
            ["-l", "3fc"],
            ["-t", "7"],
        ] {
            assert!(is_shown(&words), "{words:?}");
        }
        for words in [
            ["-a", "8"],
            ["-c", "400208"],
            ["-c", "4001f7"],
            ["-e", "3fd"],
            ["-l", "3fb"],
            ["-t", "8"],
        ] {
            assert!(!is_shown(&words), "{words:?}");
        }
    }
}
