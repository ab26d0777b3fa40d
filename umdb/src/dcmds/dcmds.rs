//! `::dcmds`: the names of all commands.

use super::{Context, DCMDS, Dcmd, Error, Group, Invocation, Opt, Run, parts::search::Search};
use crate::report::{Cell, Column, Report, Table};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "dcmds",
    group: Group::Session,
    options: &[Opt::flag('n', "search the names alone")],
    operands: "[expression]",
    summary: "list the commands",
    help: HELP,
    columns: &[
        ("NAME", "what is typed behind ::"),
        ("SUMMARY", "what it does"),
    ],
    see: &["help", "walkers"],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Lists all commands, or those whose name or summary a regular expression finds.

    > ::dcmds leak";

fn run(_: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let search = Search::new(&DCMD, invocation)?;
    let mut table = Table::new(
        "dcmds",
        vec![
            Column::left("name", "NAME", 24),
            Column::left("summary", "SUMMARY", 0),
            Column::hidden("usage"),
        ],
    );
    for dcmd in DCMDS {
        if search.finds(dcmd.name, dcmd.summary) {
            table.push(vec![
                Cell::text(dcmd.name),
                Cell::text(dcmd.summary),
                Cell::text(dcmd.usage()),
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
    fn a_text_selects_commands() {
        let (all, _) = text(&mut Builder::new(), &DCMD, None, &[]);
        assert_eq!(all.lines().count(), DCMDS.len() + 1);
        let (some, _) = text(&mut Builder::new(), &DCMD, None, &["leak"]);
        assert_eq!(
            some.lines().nth(1),
            Some("findleaks                search for memory leaks")
        );
    }
}
