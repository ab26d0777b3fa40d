//! `::eval`: runs commands for each address.

use super::{Address, Context, Dcmd, Error, Group, Invocation, Run};
use crate::report::Report;

pub(super) const DCMD: Dcmd = Dcmd {
    name: "eval",
    group: Group::Pipes,
    address: Address::Optional,
    pipes: Some("what the commands hand on"),
    operands: "command",
    summary: "run commands, in a pipe for each address",
    help: HELP,
    see: &["map", "walk", "source"],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Runs a line of commands; the address is dot. In a pipe it is run for each address.
Variables that ::walk sets have the value that belongs to the address.

    > ::walk umem_cache c | ::eval \"<c=K\"

Commands that run commands may be nested 16 deep.";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    if invocation.operands.is_empty() {
        return Err(DCMD.misused("expected a command"));
    }
    let dot = invocation.address.or(cx.state().dot.get());
    cx.run(&invocation.operands.join(" "), dot.unwrap_or(0))?;
    Ok(Report::default())
}
