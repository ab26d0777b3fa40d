//! `::walkers`: the names of all walkers.

use super::{Context, Dcmd, Error, Group, Invocation, Opt, Run, parts::search::Search};
use crate::{
    report::{Cell, Column, Report, Table},
    walkers::{Start, WALKERS},
};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "walkers",
    group: Group::Pipes,
    options: &[Opt::flag('n', "search the names alone")],
    operands: "[expression]",
    summary: "list the walkers",
    help: HELP,
    columns: &[
        ("NAME", "what is typed behind ::walk"),
        (
            "START",
            "the address that the walk may begin at; in brackets when it need not",
        ),
        ("SUMMARY", "what it walks"),
    ],
    see: &["walk", "dcmds"],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Lists all walkers, or those whose name or summary a regular expression finds.

    > ::walkers umem

Beside these the name of each cache is a walker of its allocated buffers.";

fn run(_: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let search = Search::new(&DCMD, invocation)?;
    let mut table = Table::new(
        "walkers",
        vec![
            Column::left("name", "NAME", 24),
            Column::left("start", "START", 12),
            Column::left("summary", "SUMMARY", 0),
            Column::hidden("yields"),
        ],
    );
    for walker in WALKERS {
        if search.finds(walker.name, walker.summary) {
            let start = match walker.start {
                Start::Nothing => Cell::Empty,
                Start::Optional(what) => Cell::text(format!("[{what}]")),
                Start::Required(what) => Cell::text(what),
            };
            table.push(vec![
                Cell::text(walker.name),
                start,
                Cell::text(walker.summary),
                Cell::text(walker.yields),
            ]);
        }
    }
    Ok(Report::of(table))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dcmds::parts::testing::text, heap::synthetic::Builder};

    #[test]
    fn every_walker_is_listed() {
        let (all, _) = text(&mut Builder::new(), &DCMD, None, &[]);
        assert_eq!(all.lines().count(), WALKERS.len() + 1);
        let (some, _) = text(&mut Builder::new(), &DCMD, None, &["-n", "^umem$"]);
        assert_eq!(some.lines().count(), 2);
        assert!(some.contains("umem                     [cache]      walk the allocated buffers"));
    }
}
