//! `::threads`: the threads of the target.

use super::{Context, Dcmd, Error, Group, Invocation, Opt, Run, Shorthand};
use crate::report::{Cell, Column, Report, Table};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "threads",
    group: Group::Process,
    pipes: Some("identifiers of threads"),
    options: &[Opt::flag('c', "the current thread alone")],
    summary: "list the threads",
    help: HELP,
    columns: &[
        ("TID", "the kernel's identifier of the thread, decimal"),
        ("NAME", "its name, where that is known"),
        ("PC", "where it executes"),
        ("SP", "its stack pointer"),
        ("FUNCTION", "what is there"),
    ],
    see: &["findstack", "regs", "allocdby"],
    shorthands: &[
        Shorthand::of("$L"),
        Shorthand {
            name: "$l",
            words: &["-c"],
        },
    ],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Lists the threads: the current one first, which is the one that got the signal.

    > ::threads

    > ::threads | ::findstack";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let mut table = Table::new(
        "threads",
        vec![
            Column::right("tid", "TID", 8).piped(),
            Column::left("name", "NAME", 16),
            Column::right("pc", "PC", 16),
            Column::right("sp", "SP", 16),
            Column::left("function", "FUNCTION", 0),
        ],
    );
    let shown = if invocation.has('c') { 1 } else { usize::MAX };
    for thread in cx.target.threads.iter().take(shown) {
        let of = |value: fn(&crate::target::Registers) -> u64| {
            thread
                .registers
                .as_ref()
                .map_or(Cell::Unknown, |r| Cell::Address(value(r)))
        };
        let function = thread.registers.map_or(Cell::Unknown, |r| {
            Cell::Symbol(cx.symbols.lookup(r.rip).into())
        });
        table.push(vec![
            Cell::Number(thread.tid.into()),
            thread.name.as_deref().map_or(Cell::Empty, Cell::text),
            of(|r| r.rip),
            of(|r| r.rsp),
            function,
        ]);
    }
    Ok(Report::of(table))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dcmds::parts::testing::text, heap::synthetic::Builder};

    #[test]
    fn each_thread_has_a_row() {
        let (text, _) = text(&mut Builder::new(), &DCMD, None, &[]);
        assert_eq!(text.lines().count(), 2);
        assert!(text.trim_start().starts_with("TID NAME"));
    }
}
