//! `::unsetenv`: takes variables out of the environment of the programs that umdb starts.

use super::{Context, Dcmd, Error, Group, Invocation, Run, setenv};
use crate::report::Report;

pub(super) const DCMD: Dcmd = Dcmd {
    name: "unsetenv",
    group: Group::Session,
    operands: "NAME ...",
    summary: "take a variable out of the environment of shell commands and the pager",
    help: HELP,
    see: &["setenv", "getenv"],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Shell commands and the pager are started without these variables. The environment of
the target stays as it is.

    > ::unsetenv LD_PRELOAD

    > ::setenv

shows it as taken away.";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    if invocation.operands.is_empty() {
        return Err(DCMD.misused("expected the name of a variable"));
    }
    let mut report = Report::default();
    for name in &invocation.operands {
        setenv::check_name(&DCMD, name)?;
        report.append(setenv::change(cx, &DCMD, name, None));
    }
    Ok(report)
}
