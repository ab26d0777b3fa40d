//! `::vars`: the variables.

use super::{Context, Dcmd, Error, Group, Invocation, Opt, Run, Shorthand, registers};
use crate::report::{Cell, Column, Report, Table};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "vars",
    group: Group::Session,
    options: &[Opt::flag('n', "only those that are not zero")],
    summary: "list the variables and registers",
    help: HELP,
    columns: &[
        ("NAME", "what is typed behind <"),
        ("VALUE", "its value, hexadecimal"),
    ],
    see: &["typeset", "unset", "regs"],
    shorthands: &[Shorthand {
        name: "$v",
        words: &["-n"],
    }],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Lists the variables that were set (5>name, ::walk walker name, ::typeset), then
the registers of the current thread. <name is the value in an expression.

    > ::vars";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let mut table = Table::new(
        "variables",
        vec![
            Column::left("name", "NAME", 16),
            Column::right("value", "VALUE", 16),
        ],
    );
    let thread = cx.target.threads.first();
    let values = thread.and_then(|thread| thread.registers.as_ref());
    let registers = values.map(registers::all);
    let registers = registers.iter().flatten();
    let all = cx
        .state()
        .variables()
        .into_iter()
        .chain(thread.map(|thread| ("thread".to_owned(), u64::from(thread.tid))))
        .chain(registers.map(|&(name, value)| (name.to_owned(), value)));
    for (name, value) in all {
        if value != 0 || !invocation.has('n') {
            table.push(vec![Cell::Text(name), Cell::Address(value)]);
        }
    }
    Ok(Report::of(table))
}
