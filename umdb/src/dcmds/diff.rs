//! `::diff`: what grew since a snapshot.

use std::{path::Path, sync::Arc};

use super::{Completes, Context, Dcmd, Error, Group, Invocation, Opt, Run, parts::operands::only};
use crate::{
    analysis::{
        Subject,
        growth::{self, Growth},
        leaks::Leaks,
    },
    heap::Heap,
    layout::find_root,
    report::{Cell, Column, List, Report, Row, Sentence, StackView, Status, Table},
    symbols::Symbols,
    target::Target,
};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "diff",
    group: Group::Leaks,
    options: &[
        Opt::flag('d', "with the whole stack of each"),
        Opt::value('n', "count", "so many lines instead of 20"),
    ],
    operands: "file",
    completes: Completes::Files,
    summary: "list what grew since a snapshot or core",
    help: HELP,
    columns: &[
        ("GROWTH", "bytes more than before"),
        ("BUFFERS", "buffers more than before"),
        ("LEAKED", "leaks more than before"),
        ("NOW", "bytes now"),
        ("OWNER", "cache or arena"),
        ("CALLER", "who allocated"),
    ],
    see: &["findleaks", "umausers", "retained"],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Compares the heap with that of a snapshot or core which was taken before, and
lists what grew, by cache and allocating stack: first what has new leaks, then
what merely grew, with the largest growth first.

The file is one that umdb snapshot made, or a core:

    > ::diff before.umdb

From the shell umdb diff BEFORE AFTER compares two files.

The file may be of another run of the same program: stacks are compared by module and
offset. What is freed meanwhile and what shrank is not listed. Stacks need
UMEM_DEBUG=audit in both.";

/// Lines without -n.
const LINES: usize = 20;
/// Most lines.
const LINES_MAX: u64 = 1 << 20;

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let path = only(&DCMD, invocation, "a snapshot or core")?;
    let lines = cx.option(invocation, 'n')?;
    let most = lines.map_or(LINES, |lines| lines.min(LINES_MAX) as usize);
    let sysroot = cx.target.files().sysroot();
    let target =
        Target::open_core(Path::new(path), None, sysroot).map_err(|error| Error::Failed {
            what: format!("diff: {}", error.what),
            hint: error.hint,
        })?;
    let symbols = Symbols::new(&target);
    let root = find_root(&target, &symbols).map_err(|error| {
        Error::with_hint(
            format!("diff: {path}: {error}"),
            "both have to be of programs that ran under libumem.so",
        )
    })?;
    let heap = Heap::load(Arc::clone(&target.memory), root);
    let before = Subject::new(&target, &symbols, &heap, cx.cancel);
    let (leaks_before, _) = before.leaks(false)?;
    let (leaks_now, _) = cx.subject().leaks(false)?;
    let grown = growth::compare(&before, &leaks_before, cx.subject(), &leaks_now)?;
    let mut report = Report::default();
    add_doubts(path, &leaks_before, &leaks_now, &mut report);
    if grown.is_empty() {
        report.push(List::one(
            "growth",
            Sentence::new().words("diff: nothing grew"),
        ));
        return Ok(report);
    }
    if grown.iter().any(|growth| growth.new_leaks() > 0) {
        report.worsen(Status::Found);
    }
    let table = table(cx, &grown, most, invocation.has('d'), &mut report);
    report.push(table);
    report.push(List::one("total", total(&grown, most)));
    Ok(report)
}

/// Says what makes the comparison doubtful.
fn add_doubts(path: &str, before: &Leaks, now: &Leaks, report: &mut Report) {
    for (what, leaks) in [(format!("of {path}"), before), ("of now".to_owned(), now)] {
        if let Some(first) = leaks.doubts.first() {
            report.incomplete(format!("diff: no verdict about leaks {what}: {first}"));
        }
    }
}

fn table(
    cx: &Context<'_>,
    grown: &[Growth],
    most: usize,
    with_stacks: bool,
    report: &mut Report,
) -> Table {
    let mut table = Table::new(
        "growth",
        vec![
            Column::right("growth_bytes", "GROWTH", 14),
            Column::right("growth", "BUFFERS", 10),
            Column::right("new_leaks", "LEAKED", 8),
            Column::right("bytes", "NOW", 14),
            Column::left("owner", "OWNER", 20),
            Column::left("caller", "CALLER", 0),
            Column::hidden("count"),
            Column::hidden("leaked"),
        ],
    );
    if with_stacks {
        table.stacks = StackView::Indented(17);
        table.spaced = true;
    }
    for growth in grown.iter().take(most) {
        let stacks = match growth.stack {
            0 => Vec::new(),
            stack => vec![cx.stack("allocated", stack, report)],
        };
        let cells = vec![
            Cell::Bytes(growth.more_bytes()),
            Cell::Count(growth.more()),
            Cell::Count(growth.new_leaks()),
            Cell::Bytes(growth.bytes.1),
            Cell::text(&growth.owner),
            cx.caller(growth.stack),
            Cell::Count(growth.count.1),
            Cell::Count(growth.lost.1),
        ];
        table.rows.push(Row { cells, stacks });
    }
    table
}

fn total(grown: &[Growth], most: usize) -> Sentence {
    let sum = |of: fn(&Growth) -> u64| grown.iter().map(of).fold(0, u64::saturating_add);
    let sentence = Sentence::new()
        .bytes("growth_bytes", sum(Growth::more_bytes))
        .words(" more in ")
        .counted("growth", sum(Growth::more), "buffer")
        .words(", ")
        .counted("new_leaks", sum(Growth::new_leaks), "new leak");
    match grown.len().saturating_sub(most) {
        0 => sentence,
        more => sentence
            .words("; ")
            .counted("not_shown", more as u64, "line")
            .words(" not shown"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dcmds::parts::testing::run as run_on, heap::synthetic::victim};

    #[test]
    fn a_file_that_is_no_core_is_named() {
        let (mut builder, _) = victim();
        let error = run_on(&mut builder, &DCMD, None, &["/dev/null"])
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("diff: ") && error.contains("/dev/null"),
            "{error}"
        );
        let error = run_on(&mut builder, &DCMD, None, &[])
            .unwrap_err()
            .to_string();
        assert!(error.contains("a snapshot or core"), "{error}");
    }
}
