//! `::status`: what is looked at, and in what state it is.

use super::{Context, Dcmd, Error, Group, Invocation, Opt, Run, Shorthand, regs};
use crate::{
    report::{Cell, List, Report, Sentence},
    target::{ExitKind, Kind},
};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "status",
    group: Group::Process,
    summary: "say what is debugged and in what state it is",
    help: HELP,
    see: &["threads", "stack", "umem_status"],
    options: &[Opt::flag('r', "also the registers of the current thread")],
    shorthands: &[Shorthand {
        name: "$?",
        words: &["-r"],
    }],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Says which process or core is looked at, its file and arguments, how many threads
it has, and why it stands or ended.

    > ::status";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let target = cx.target;
    let mut list = List {
        key: "status",
        ..List::default()
    };
    let mut push = |sentence: Sentence| list.items.push(crate::report::Item::from(sentence));
    let file = target.executable.as_deref().unwrap_or("an unknown program");
    let sentence = Sentence::new().hidden("bits", Cell::Number(64));
    push(match &target.kind {
        Kind::Core { path } => sentence
            .words("debugging core file of ")
            .value("program", Cell::text(base_name(file)))
            .words(" (64-bit): ")
            .value("core", Cell::text(path.display().to_string())),
        Kind::Live { pid } | Kind::Exiting { pid } => sentence
            .words("debugging PID ")
            .value("pid", Cell::Number((*pid).into()))
            .words(" (64-bit)"),
        Kind::Synthetic => sentence.words("debugging an image (64-bit)"),
    });
    push(
        Sentence::new()
            .words("file: ")
            .value("file", Cell::text(file)),
    );
    if let Some(arguments) = &target.arguments {
        push(
            Sentence::new()
                .words("initial argv: ")
                .value("arguments", Cell::text(arguments.as_str())),
        );
    }
    push(
        Sentence::new()
            .words("threading model: native threads, ")
            .counted("threads", target.threads.len() as u64, "thread"),
    );
    push(state(cx));
    let mut report = Report::of(list);
    if invocation.has('r') {
        report.append(regs::of_thread(cx, None)?);
    }
    Ok(report)
}

fn state(cx: &Context<'_>) -> Sentence {
    let target = cx.target;
    let sentence = Sentence::new().words("status: ");
    let signal = |sentence: Sentence, number: i32| {
        let sentence = sentence
            .words("process terminated by ")
            .value("signal", Cell::text(signal_name(number)))
            .hidden("signal_number", Cell::Number(number.unsigned_abs().into()));
        match cause(number) {
            Some(cause) => sentence.words(format!(" ({cause})")),
            None => sentence,
        }
    };
    match (&target.kind, target.signal, target.exit) {
        (_, Some(number), _) => signal(sentence, number),
        (_, _, Some(ExitKind::Signaled(number, _))) => signal(sentence, number),
        (_, _, Some(ExitKind::Exited(status))) => sentence
            .words("process is about to exit with status ")
            .value(
                "status",
                Cell::Number((status & 0xff).unsigned_abs().into()),
            ),
        (Kind::Core { .. }, ..) => sentence.words("process core file of a process that went on"),
        (Kind::Live { .. }, ..) => sentence.words("stopped by debugger"),
        _ => sentence.words("not a process"),
    }
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn signal_name(number: i32) -> String {
    match nix::sys::signal::Signal::try_from(number) {
        Ok(signal) => signal.as_str().to_owned(),
        Err(_) => format!("signal {number}"),
    }
}

/// What the signals that end programs mean.
fn cause(number: i32) -> Option<&'static str> {
    const CAUSES: [(i32, &str); 8] = [
        (libc::SIGILL, "Illegal Instruction"),
        (libc::SIGABRT, "Abort"),
        (libc::SIGBUS, "Bus Error"),
        (libc::SIGFPE, "Arithmetic Exception"),
        (libc::SIGSEGV, "Segmentation Fault"),
        (libc::SIGTERM, "Terminated"),
        (libc::SIGKILL, "Killed"),
        (libc::SIGTRAP, "Trace Trap"),
    ];
    CAUSES
        .iter()
        .find(|(known, _)| *known == number)
        .map(|(_, cause)| *cause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dcmds::parts::testing::text, heap::synthetic::Builder};

    #[test]
    fn the_target_is_named() {
        let (text, _) = text(&mut Builder::new(), &DCMD, None, &[]);
        assert!(text.starts_with("debugging an image (64-bit)\nfile: "));
        assert!(text.contains("threading model: native threads, 1 thread\n"));
    }

    #[test]
    fn signals_have_names_and_causes() {
        assert_eq!(signal_name(11), "SIGSEGV");
        assert_eq!(cause(11), Some("Segmentation Fault"));
        assert_eq!(signal_name(99), "signal 99");
    }
}
