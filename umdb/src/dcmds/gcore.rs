//! `::gcore`: what is looked at, as a core.

use std::path::PathBuf;

use super::{Context, Dcmd, Error, Group, Invocation, Opt, Run};
use crate::{
    report::{Cell, List, Report, Sentence},
    target::{Kind, Saved},
};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "gcore",
    group: Group::Process,
    options: &[Opt::value(
        'o',
        "prefix",
        "what stands before the process identifier in the file's name (core)",
    )],
    summary: "write a core of the process as it is looked at",
    help: HELP,
    see: &["snapshot", "diff", "status"],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Writes all writable memory, the threads and what belongs to them to a core that
umdb and gdb open: core.PID in the current folder, or prefix.PID. What is kept is
what the session sees, also when the process has gone on since. Code and data that
only files hold are left out.

    > ::gcore -o before

umdb snapshot -p PID -o FILE does the same from the shell, and compresses.";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let (Kind::Live { pid } | Kind::Exiting { pid }) = cx.target.kind else {
        return Err(Error::with_hint(
            "gcore: command is not supported by current target",
            "this is no live process",
        ));
    };
    let prefix = invocation.value('o').unwrap_or("core");
    let path = PathBuf::from(format!("{prefix}.{pid}"));
    let failed = |error: crate::target::Error| Error::Failed {
        what: format!("gcore: {}", error.what),
        hint: error.hint,
    };
    let Saved { memory, on_disk } = cx.target.save(&path).map_err(failed)?;
    Ok(Report::of(List::one(
        "core",
        Sentence::new()
            .words("gcore: ")
            .value("file", Cell::text(path.display().to_string()))
            .words(" dumped: ")
            .value("memory", Cell::Scaled(memory))
            .words(" of memory, ")
            .value("on_disk", Cell::Scaled(on_disk))
            .words(" on disk"),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dcmds::parts::testing::run, heap::synthetic::Builder};

    #[test]
    fn only_a_process_has_a_core_to_be_written() {
        let error = run(&mut Builder::new(), &DCMD, None, &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "gcore: command is not supported by current target"
        );
    }
}
