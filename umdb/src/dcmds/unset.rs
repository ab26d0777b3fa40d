//! `::unset`: forgets variables.

use super::{Completes, Context, Dcmd, Error, Group, Invocation, Run};
use crate::report::Report;

pub(super) const DCMD: Dcmd = Dcmd {
    name: "unset",
    group: Group::Session,
    operands: "name ...",
    completes: Completes::Variables,
    summary: "forget variables",
    help: HELP,
    see: &["vars", "typeset"],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Forgets variables. Registers cannot be forgotten.

    > 5>x; ::unset x";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    if invocation.operands.is_empty() {
        return Err(DCMD.misused("expected the name of a variable"));
    }
    for name in &invocation.operands {
        if !cx.state().unset_variable(name) {
            let what = format!("unset: variable '{name}' is not defined");
            return Err(invocation.senseless(&what, "::vars lists the variables"));
        }
    }
    Ok(Report::default())
}
