//! `::typeset`: sets variables.

use super::{Address, Completes, Context, Dcmd, Error, Group, Invocation, Run};
use crate::report::Report;

pub(super) const DCMD: Dcmd = Dcmd {
    name: "typeset",
    group: Group::Session,
    address: Address::Optional,
    operands: "name ...",
    completes: Completes::Variables,
    summary: "set variables to an address, or to zero",
    help: HELP,
    see: &["vars", "unset"],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Sets each variable to the address before the command, or to zero. 5>name is
shorter.

    > main::typeset start";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    if invocation.operands.is_empty() {
        return Err(DCMD.misused("expected the name of a variable"));
    }
    for name in &invocation.operands {
        let set = cx
            .state()
            .set_variable(name, invocation.address.unwrap_or(0));
        set.map_err(|what| DCMD.misused(what))?;
    }
    Ok(Report::default())
}
