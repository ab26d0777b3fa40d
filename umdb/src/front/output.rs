//! Standard output and standard error.

use std::{
    io::{ErrorKind, Write, stderr, stdout},
    rc::Rc,
};

use super::shell::Shell;
use crate::{
    dcmds::{Format, State},
    exec::Sink,
    render::{TextWriter, to_json},
    report::{Report, Status, Warning},
};

/// Blanks before the line with the next step.
const HINT: &str = "      ";

/// Prints what commands answer.
pub(super) struct Output {
    state: Rc<State>,
    ended: bool,
    /// What is missing of the target, until it has been said.
    missing: Vec<String>,
    command: Current,
}

/// The command that answers.
#[derive(Default)]
struct Current {
    text: String,
    writer: TextWriter,
    /// What it answered so far, where that is not printed at once.
    answer: Report,
    shell: Option<Shell>,
    /// Nobody wants more of its answer.
    is_closed: bool,
}

impl Output {
    /// For a session with these settings.
    pub(super) fn new(state: Rc<State>) -> Self {
        Self {
            state,
            ended: false,
            missing: Vec::new(),
            command: Current::default(),
        }
    }

    /// The settings.
    pub(super) fn state(&self) -> Rc<State> {
        Rc::clone(&self.state)
    }

    /// Nobody reads what is printed.
    pub(super) const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Notes what is missing of the target; it is said once, with the first report.
    pub(super) fn note_missing(&mut self, missing: Vec<String>) {
        self.missing = missing;
    }

    /// Says what is missing, unless one of these lines says it.
    pub(super) fn say_missing(&mut self, said: &[Warning]) {
        for missing in std::mem::take(&mut self.missing) {
            if !said.iter().any(|warning| warning.what.contains(&missing)) {
                self.error(&missing, None);
            }
        }
    }

    /// Prints one line about what went wrong, and one with the next step.
    pub(super) fn error(&self, what: &str, hint: Option<&str>) {
        let mut text = format!("umdb: {}\n", visible(what));
        if let Some(hint) = hint {
            text += &format!("{HINT}{}\n", visible(hint));
        }
        // Where standard error is closed there is nobody to tell.
        let _ = stderr().write_all(text.as_bytes());
    }

    /// Prints to the shell command where there is one, else to standard output.
    fn print(&mut self, text: &str) {
        if let Some(shell) = &mut self.command.shell {
            // A command such as head reads no more than it wants.
            self.command.is_closed |= shell.write(text).is_err();
            return;
        }
        let mut out = stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => self.ended = true,
            Err(error) => {
                self.ended = true;
                self.error(&format!("cannot write to standard output: {error}"), None);
            }
        }
        self.command.is_closed |= self.ended;
    }

    fn warn(&mut self, warnings: &[Warning]) {
        self.say_missing(warnings);
        for warning in warnings {
            self.error(&warning.what, warning.hint.as_deref());
        }
    }
}

impl Sink for Output {
    fn begin(&mut self, command: &str, shell: Option<&str>) {
        self.command = Current {
            text: command.to_owned(),
            ..Current::default()
        };
        if let Some(line) = shell {
            match Shell::start(line) {
                Ok(shell) => self.command.shell = Some(shell),
                Err(error) => {
                    self.error(&format!("cannot run the shell: {error}"), None);
                    self.command.is_closed = true;
                }
            }
        }
    }

    fn part(&mut self, report: Report) -> bool {
        if self.command.is_closed {
            return false;
        }
        match self.state.format.get() {
            Format::Text => {
                let text = self.command.writer.write(&report);
                self.print(&text);
                self.warn(&report.warnings);
            }
            Format::Json | Format::Csv => self.command.answer.append(report),
        }
        !self.command.is_closed
    }

    fn end(&mut self) -> Status {
        let command = std::mem::take(&mut self.command.text);
        let answer = std::mem::take(&mut self.command.answer);
        if self.state.format.get() != Format::Text && !command.is_empty() {
            self.print(&format!("{}\n", to_json(&command, &answer)));
        }
        self.warn(&answer.warnings);
        if let Some(shell) = self.command.shell.take() {
            shell.finish();
        }
        Status::Clean
    }

    fn is_closed(&self) -> bool {
        self.ended
    }
}

/// A line without control characters, which names in a target may hold.
fn visible(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default())
        } else {
            line.push(c)
        }
    }
    line
}
