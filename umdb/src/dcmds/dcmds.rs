//! `::dcmds`: the names of all commands.

use super::{Address, Context, DCMDS, Error, Group, Invocation, Run};
use crate::report::{Cell, Column, Report, Table};

pub(super) const DCMD: super::Dcmd = super::Dcmd {
    name: "dcmds",
    group: Group::Session,
    address: Address::Forbidden,
    options: &[],
    operands: "[text]",
    summary: "list the commands",
    help: HELP,
    run: Run::Report(run),
};

const HELP: &str = "\
Lists all commands, or those whose name or summary holds a text.

    > ::dcmds leak";

fn run(_: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let text = invocation.operands.join(" ").to_lowercase();
    let mut table = Table::new(
        "dcmds",
        vec![
            Column::left("name", "NAME", 24),
            Column::left("summary", "SUMMARY", 0),
        ],
    );
    for dcmd in DCMDS {
        let is_wanted = dcmd.name.contains(&text) || dcmd.summary.to_lowercase().contains(&text);
        if is_wanted {
            table.push(vec![Cell::text(dcmd.name), Cell::text(dcmd.summary)]);
        }
    }
    let mut report = Report::default();
    report.push(table);
    Ok(report)
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
