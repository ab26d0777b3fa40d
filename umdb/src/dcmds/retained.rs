//! `::retained`: what would be free if one buffer were.

use umem_layout::buffer_state;

use super::{
    Address, Context, Dcmd, Error, Group, Invocation, Opt, Run, parts::context::with_others,
};
use crate::{
    analysis::retained::{self, Holding, Retained},
    heap::Object,
    report::{Cell, Column, List, Report, Sentence, Table},
};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "retained",
    group: Group::Leaks,
    address: Address::Optional,
    pipes: Some("buffers"),
    options: &[Opt::value('n', "count", "so many lines instead of 20")],
    summary: "list the buffers that keep most memory alive",
    help: HELP,
    columns: &[
        (
            "RETAINED",
            "bytes of the buffer and of all that only it keeps alive",
        ),
        ("BUFFERS", "how many buffers these are"),
        ("BUFFER", "the buffer"),
        ("SIZE", "its own bytes"),
        ("OWNER", "its cache or arena"),
        ("CALLER", "who allocated it"),
    ],
    see: &["path", "refs", "findleaks"],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Lists the buffers that retain most: with such a buffer all would become free that
is reached through it alone (it dominates them). Only buffers that no other
buffer dominates are listed; what a buffer itself dominates is listed with its
address, line by line down to the cause.

    > ::retained -n 5

A buffer that is reached in two ways is retained by what both ways go through,
perhaps by the roots alone. Lost buffers are not counted, see ::findleaks.";

/// Lines without -n.
const LINES: usize = 20;
/// Most lines.
const LINES_MAX: u64 = 1 << 20;

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let lines = cx.option(invocation, 'n')?;
    let most = lines.map_or(LINES, |lines| lines.min(LINES_MAX) as usize);
    let within = invocation
        .address
        .map(|address| object(cx, address))
        .transpose()?;
    let found = retained::find(&cx.subject().scene(), within, most)?;
    if found.is_too_large {
        return Err(Error::failed(
            "retained: there are too many buffers or pointers",
        ));
    }
    let mut report = Report::default();
    if within.is_some() && found.own.is_none() {
        let sentence =
            Sentence::new().words("retained: the buffer is lost, nothing alive leads to it");
        report.push(List::one("retained", sentence));
    } else {
        report.push(table(cx, &found));
        report.push(List::one("total", total(&found)));
    }
    if let Some((first, others)) = found.doubts.split_first() {
        report.incomplete(format!("retained: {}", with_others(first, others.len())));
    }
    Ok(report)
}

fn object(cx: &Context<'_>, address: u64) -> Result<Object, Error> {
    let object = cx.object_at(address);
    let is_allocated = |&object: &Object| cx.heap.object_state(object) == buffer_state::ALLOCATED;
    object.filter(is_allocated).ok_or_else(|| {
        let what = format!("retained: {address:x} is in no allocated buffer");
        Error::with_hint(what, format!("try {address:x}::whatis"))
    })
}

fn table(cx: &Context<'_>, found: &Retained) -> Table {
    let mut table = Table::new(
        "retained",
        vec![
            Column::right("retained_bytes", "RETAINED", 14),
            Column::right("buffers", "BUFFERS", 10),
            Column::right("buffer", "BUFFER", 16).piped(),
            Column::right("bytes", "SIZE", 12),
            Column::left("owner", "OWNER", 20),
            Column::left("caller", "CALLER", 0),
        ],
    );
    for holding in found.own.iter().chain(&found.top) {
        table.push(cells(cx, holding));
    }
    table
}

fn cells(cx: &Context<'_>, holding: &Holding) -> Vec<Cell> {
    let [size, owner, caller] = match holding.object {
        Some(object) => {
            let stack = match cx.heap.record(object) {
                Some(Ok(record)) => record.alloc_stack,
                _ => 0,
            };
            [
                Cell::Bytes(cx.heap.size(object)),
                Cell::text(cx.heap.owner_name(object)),
                cx.caller(stack),
            ]
        }
        None => [
            Cell::Unknown,
            Cell::text("(memory not of umem)"),
            Cell::Empty,
        ],
    };
    vec![
        Cell::Bytes(holding.bytes),
        Cell::Count(holding.count),
        Cell::Address(holding.address),
        size,
        owner,
        caller,
    ]
}

fn total(found: &Retained) -> Sentence {
    let (count, bytes) = found.others;
    let sentence = Sentence::new();
    let sentence = if count == 0 {
        sentence
    } else {
        sentence
            .counted("others", count, "other")
            .words(if count == 1 { " retains " } else { " retain " })
            .bytes("other_bytes", bytes)
            .words("; ")
    };
    sentence
        .counted("alive", found.total.0, "buffer")
        .words(" of ")
        .bytes("alive_bytes", found.total.1)
        .words(" in all")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dcmds::parts::testing::text, heap::synthetic::victim, report::Status};

    #[test]
    fn what_a_buffer_alone_keeps_is_its() {
        let (mut builder, [kept, lost, _]) = victim();
        builder.write_word(kept.address + 8, lost.address);
        let (out, status) = text(&mut builder, &DCMD, None, &[]);
        assert_eq!(status, Status::Clean);
        let lines: Vec<Vec<&str>> = out
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        let address = format!("{:x}", kept.address);
        assert_eq!(lines[1][..4], ["100", "2", &address, "50"], "{out}");
        assert_eq!(out.lines().last(), Some("2 buffers of 100 bytes in all"));
        let (out, _) = text(&mut builder, &DCMD, Some(kept.address), &[]);
        assert!(
            out.lines()
                .nth(2)
                .unwrap()
                .contains(&format!("{:x}", lost.address)),
            "{out}"
        );
    }

    #[test]
    fn a_lost_buffer_retains_nothing_alive() {
        let (mut builder, [_, lost, freed]) = victim();
        let (out, _) = text(&mut builder, &DCMD, Some(lost.address), &[]);
        assert_eq!(
            out,
            "retained: the buffer is lost, nothing alive leads to it\n"
        );
        builder.publish();
        let address = Some(freed.address);
        assert!(crate::dcmds::parts::testing::run(&mut builder, &DCMD, address, &[]).is_err());
    }
}
