//! `::log`: a copy of the session in a file.

use super::{
    Completes, Context, Dcmd, Error, Group, Invocation, Opt, Run, Shorthand,
    parts::operands::optional,
};
use crate::report::{List, Report, Sentence};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "log",
    group: Group::Session,
    options: &[
        Opt::flag('d', "end the log"),
        Opt::flag('e', "begin a log in the file (as without the option)"),
    ],
    operands: "[file]",
    completes: Completes::Files,
    summary: "copy commands and answers to a file",
    help: HELP,
    see: &["set"],
    shorthands: &[Shorthand::of("$>")],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Adds each command and its answer to the end of a file, from the next command on.
Without a file it says whether a log is active. $>file is the same.

    > ::log session.txt";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let log = &cx.state().log;
    let file = optional(&DCMD, invocation)?;
    if invocation.has('d') {
        if file.is_some() {
            return Err(DCMD.misused("-d takes no file"));
        }
        return match log.take() {
            Some(_) => Ok(Report::default()),
            None => Err(Error::failed("no log is active")),
        };
    }
    if let Some(file) = file {
        // A file that cannot be written is told now, and not with the next command.
        std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(file)
            .map_err(|error| Error::failed(format!("log: cannot write to {file}: {error}")))?;
        *log.borrow_mut() = Some(file.to_owned());
    }
    let words = match &*log.borrow() {
        Some(file) => format!("logging to \"{file}\""),
        None => "no log is active".to_owned(),
    };
    Ok(Report::of(List::one("log", Sentence::new().words(words))))
}
