//! The command line, the prompt, and everything that is printed.
//!
//! **Owns** standard input, output and error, signals and the exit status. **May use** everything. **Promises** one line on
//! standard error for each thing that went wrong (and a second one with the next step), a quiet end when
//! nobody reads on, and that a stopped process goes on whatever happens here.

mod cli;
mod complete;
mod interrupt;
mod open;
mod output;
mod progress;
mod prompt;
mod run;
mod save;
mod screen;
mod shell;
mod startup;

use std::{
    io::{BufRead, IsTerminal},
    path::PathBuf,
    process::ExitCode,
    rc::Rc,
};

use crate::{
    analysis::{Subject, missing},
    dcmds::{self, Format, State},
    exec::{Outcome, Session},
    report::Status,
};
pub use cli::command_line;
use cli::{Options, Task, What};
use interrupt::{CANCEL, stoppable};
use open::{Failure, Opened};
use output::Output;

/// Runs `umdb` with the arguments of the process.
#[must_use]
pub fn main() -> ExitCode {
    let options = match cli::parse() {
        Ok(options) => options,
        Err(code) => return code,
    };
    let state = match settings(&options) {
        Ok(state) => state,
        Err(code) => return code,
    };
    let mut output = Output::new(state);
    let code = match &options.task {
        Task::Run(task) => run::run(task, &options.commands, &mut output),
        Task::Save(pid, how, file) => save::save(*pid, *how, file, &mut output),
        Task::Diff(after, sysroot, words) => {
            let what = What::Core(after.clone(), None, sysroot.clone());
            match open::open(&what) {
                Ok(opened) => compare(&opened, words, &mut output).exit_code(),
                Err(failure) => fail(&failure, &mut output),
            }
        }
        Task::Look(what) => match open::open(what) {
            Ok(opened) => look(opened, what, &options, &mut output).exit_code(),
            Err(failure) => fail(&failure, &mut output),
        },
    };
    ExitCode::from(code)
}

/// Prints why a target could not be opened, and returns the exit status.
fn fail(failure: &Failure, output: &mut Output) -> u8 {
    output.error(&failure.what, failure.hint.as_deref());
    Status::Failed.exit_code()
}

/// The variable that names a file of leaks that are not reported.
const SUPPRESSIONS: &str = "UMDB_SUPPRESSIONS";

/// The settings that the command line asks for.
fn settings(options: &Options) -> Result<Rc<State>, ExitCode> {
    let state = Rc::new(State::default());
    for (names, on) in &options.settings {
        if let Err(what) = dcmds::set::switch(&state, names, *on) {
            return Err(cli::misused(&what));
        }
    }
    let suppressions = std::env::var_os(SUPPRESSIONS).filter(|file| !file.is_empty());
    let files = suppressions.map(PathBuf::from).into_iter();
    for file in files.chain(options.suppressions.iter().cloned()) {
        let added = state.suppressions.borrow_mut().add_file(&file);
        added.map_err(|refused| cli::misused(&refused.to_string()))?;
    }
    if options.json {
        state.format.set(Format::Json);
    }
    if let Some(prompt) = &options.prompt {
        state.prompt.replace(prompt.clone());
    }
    Ok(state)
}

/// Runs `::diff` with its words.
fn compare(opened: &Opened, words: &str, output: &mut Output) -> Status {
    let session = session(opened, output);
    announce(opened, &session, output);
    run_lines(
        &session,
        std::iter::once((None, format!("::diff {words}"))),
        output,
    );
    session.status()
}

/// A line of commands, and where it stands when that is not clear.
type Line = (Option<String>, String);

/// Lines of commands; none where a person types them.
type Source = Option<Box<dyn Iterator<Item = Line>>>;

fn source(options: &Options) -> Source {
    if !options.commands.is_empty() {
        let commands = options.commands.clone().into_iter();
        return Some(Box::new(commands.map(|line| (None, line))));
    }
    if std::io::stdin().is_terminal() {
        return None;
    }
    let lines = std::io::stdin().lock().split(b'\n').map_while(Result::ok);
    Some(Box::new(lines.enumerate().map(|(index, line)| {
        let place = format!("line {} of standard input", index + 1);
        (Some(place), String::from_utf8_lossy(&line).into_owned())
    })))
}

/// Runs commands on a target: those given, else those of standard input. `::snapshot` opens it once more.
fn look(mut opened: Opened, what: &What, options: &Options, output: &mut Output) -> Status {
    let mut source = source(options);
    let mut status = Status::Clean;
    let mut reads_startup = options.reads_startup;
    loop {
        status = status.max(look_once(&opened, &mut source, reads_startup, output));
        if !output.state().again.take() {
            return status;
        }
        reads_startup = false;
        if !matches!(what, What::Process(..)) {
            output.error(
                "snapshot: command is not supported by current target",
                Some("this is no live process"),
            );
            status = status.max(Status::Failed);
            continue;
        }
        // A process that is held can be attached to only when it was let go.
        drop(opened);
        opened = match open::open(what) {
            Ok(opened) => opened,
            Err(failure) => {
                fail(&failure, output);
                return status.max(Status::Failed);
            }
        };
    }
}

fn look_once(
    opened: &Opened,
    source: &mut Source,
    reads_startup: bool,
    output: &mut Output,
) -> Status {
    let notes = opened.target.notes.iter();
    notes.for_each(|note| output.error(note, None));
    let mut session = session(opened, output);
    if source.is_some() {
        announce(opened, &session, output);
    }
    if reads_startup && startup::run(&session, output) == Outcome::Quit {
        return session.status();
    }
    match source {
        Some(lines) => run_lines(&session, lines, output),
        None => {
            session = session.interactive();
            prompt::run(&session, &opened.target.warnings, output);
        }
    }
    session.status()
}

/// A session about what was opened.
fn session<'a>(opened: &'a Opened, output: &Output) -> Session<'a> {
    let subject = Subject::new(&opened.target, &opened.symbols, &opened.heap, &CANCEL);
    Session::new(subject, output.state())
}

/// Notes what is known to be missing before the first command, which says it.
fn announce(opened: &Opened, session: &Session<'_>, output: &mut Output) {
    let mut missing: Vec<String> = missing(&opened.target).map(str::to_owned).collect();
    if !missing.is_empty() {
        session.worsen(Status::Incomplete);
    }
    missing.extend(opened.heap.root.warnings.iter().cloned());
    output.note_missing(missing);
}

/// Runs lines until there are no more, the user quits or interrupts, or nobody reads the output.
fn run_lines(session: &Session<'_>, lines: impl Iterator<Item = Line>, output: &mut Output) {
    for (place, line) in lines {
        output.set_source(place);
        let outcome = stoppable(|| session.run_line(&line, output));
        if outcome == Outcome::Quit || CANCEL.is_requested() || output.has_ended() {
            break;
        }
    }
    output.set_source(None);
    output.say_missing(&[]);
}
