//! Runs the commands of lines, one after the other.
//!
//! **Owns** the meaning of names in expressions, pipes and loops, and how results add up. **May use** everything to its
//! left. **Promises** that an error in one command leaves the others, that addresses stream through a pipe as they are
//! found, and that the worst status decides: could not do it, incomplete, found, clean.

mod names;
mod pipeline;
mod printer;

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
};

use crate::{
    analysis::Subject,
    dcmds::{self, Error, State},
    lang::{Command, EvalError, Expression, Parser, Stage, SyntaxError, Verb},
    report::{Report, Status},
};
use pipeline::{Pipeline, Tail};
use printer::Printer;

/// Commands that run commands may be nested so deeply.
const DEPTH_MAX: usize = 16;

/// Takes what commands answer.
pub trait Sink {
    /// A command begins, as typed; with a shell command, that gets the output.
    fn begin(&mut self, command: &str, shell: Option<&str>);

    /// A part of its answer. Returns false when nobody wants more of it.
    fn part(&mut self, report: Report) -> bool;

    /// The command has ended. Returns what is to be said about its shell command.
    fn end(&mut self) -> Status;

    /// A command within the one that runs has a shell command, which gets its output: what follows is its answer.
    fn enter(&mut self, command: &str, shell: &str);

    /// It has ended; what follows is the answer of the command around it.
    fn leave(&mut self) -> Status;

    /// Nobody listens any more: run no more commands.
    fn is_closed(&self) -> bool {
        false
    }
}

/// Whether more lines are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Yes.
    Continue,
    /// The user quit.
    Quit,
}

/// A session: what commands work on, what they remember, and the worst status so far.
pub struct Session<'a> {
    subject: Subject<'a>,
    state: Rc<State>,
    status: Cell<Status>,
    depth: Cell<usize>,
    has_quit: Cell<bool>,
    /// A person types: a bare address repeats the last command.
    is_interactive: bool,
    last: RefCell<Vec<Stage>>,
    /// The same as typed.
    last_text: RefCell<String>,
    /// Names that were looked up; nothing of the target changes.
    names: RefCell<HashMap<String, Option<u64>>>,
    /// The page that expressions read from last.
    page: RefCell<Option<(u64, Vec<u8>)>>,
    /// The expression that was evaluated last, for filters evaluate one many times.
    parsed: RefCell<Option<(String, u32, Rc<Expression>)>>,
}

impl<'a> Session<'a> {
    /// A session about something, with its settings.
    #[must_use]
    pub fn new(subject: Subject<'a>, state: Rc<State>) -> Self {
        Self {
            subject,
            state,
            status: Cell::new(Status::Clean),
            depth: Cell::new(0),
            has_quit: Cell::new(false),
            is_interactive: false,
            last: RefCell::default(),
            last_text: RefCell::default(),
            names: RefCell::default(),
            page: RefCell::default(),
            parsed: RefCell::default(),
        }
    }

    /// The same for a person at a terminal.
    #[must_use]
    pub fn interactive(self) -> Self {
        Self {
            is_interactive: true,
            ..self
        }
    }

    /// What it is about.
    #[must_use]
    pub const fn subject(&self) -> &Subject<'a> {
        &self.subject
    }

    /// Variables and settings.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The worst status so far.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.get()
    }

    /// Counts a status that something else than a command had.
    pub fn worsen(&self, status: Status) {
        self.status.set(self.status.get().max(status));
    }

    /// Runs the commands of a line.
    pub fn run_line(&self, line: &str, sink: &mut dyn Sink) -> Outcome {
        if line.trim().is_empty() && self.is_interactive && self.state.repeats.get() {
            return self.repeat(None, sink);
        }
        let mut parser = Parser::new(line);
        while let Some(command) = parser.next(self.state.radix.get()) {
            if sink.is_closed() {
                return Outcome::Quit;
            }
            let is_wrong = command.is_err();
            let result = match command {
                Ok(command) => self.run_command(command, sink),
                Err(error) => self.with_sink(line, None, sink, |_| Err(syntax(&error))),
            };
            if self.has_quit.get() {
                return Outcome::Quit;
            }
            // What a person typed behind a mistake was meant to follow something else.
            if matches!(result, Err(Error::Cancelled)) || (is_wrong && self.is_interactive) {
                break;
            }
        }
        Outcome::Continue
    }

    fn run_command(&self, command: Command, sink: &mut dyn Sink) -> Result<(), Error> {
        let Command {
            stages,
            shell,
            text,
        } = command;
        if let [
            Stage {
                verb: Verb::None, ..
            },
        ] = &stages[..]
            && self.is_interactive
            && shell.is_none()
        {
            let mut stages = stages;
            let typed = stages.remove(0);
            return match self.repeat(Some(typed), sink) {
                Outcome::Continue => Ok(()),
                Outcome::Quit => Err(Error::Closed),
            };
        }
        let result = self.with_sink(&text, shell.as_deref(), sink, |tail| {
            self.run_stages(&stages, tail)
        });
        if !stages.is_empty() {
            *self.last.borrow_mut() = stages;
            *self.last_text.borrow_mut() = text;
        }
        result
    }

    /// Runs the last command again: with the address and count that were typed, else at the next address.
    fn repeat(&self, typed: Option<Stage>, sink: &mut dyn Sink) -> Outcome {
        let mut stages = self.last.borrow().clone();
        if let (None, Some(dot)) = (&typed, self.state.dot.get()) {
            let next = dot.wrapping_add(self.state.increment.get());
            self.state.dot.set(Some(next));
        }
        match (stages.first_mut(), typed) {
            (Some(first), Some(typed)) => {
                first.address = typed.address;
                first.count = typed.count;
            }
            (Some(first), None) => first.address = None,
            (None, Some(typed)) => stages.push(typed),
            (None, None) => return Outcome::Continue,
        }
        let text = self.last_text.borrow().clone();
        let _ = self.with_sink(&text, None, sink, |tail| self.run_stages(&stages, tail));
        if self.has_quit.get() {
            Outcome::Quit
        } else {
            Outcome::Continue
        }
    }

    /// Runs something whose answer goes to the sink; an error is part of the answer.
    fn with_sink(
        &self,
        text: &str,
        shell: Option<&str>,
        sink: &mut dyn Sink,
        run: impl FnOnce(&dyn Tail) -> Result<(), Error>,
    ) -> Result<(), Error> {
        sink.begin(text, shell);
        let printer = Printer::new(self, sink);
        let result = run(&printer);
        let result = match result {
            Ok(()) => printer.flush(),
            Err(error) => {
                // What was found before stands above what went wrong.
                let _ = printer.flush();
                let _ = printer.take_report(error.clone().into());
                Err(error)
            }
        };
        if let Some(why) = self.subject.target.memory.lost() {
            let mut report = Report::default();
            report.incomplete(why);
            let _ = printer.take_report(report);
        }
        self.worsen(sink.end());
        result
    }

    fn run_stages(&self, stages: &[Stage], tail: &dyn Tail) -> Result<(), Error> {
        match Pipeline::new(self, stages, tail)? {
            Some(pipeline) => pipeline.run(),
            None => Ok(()),
        }
    }

    /// Runs commands within a command, whose output is theirs.
    fn run_nested(&self, line: &str, dot: u64, tail: &dyn Tail) -> Result<(), Error> {
        if self.depth.get() == DEPTH_MAX {
            return Err(Error::failed(format!(
                "commands are nested too deeply: {DEPTH_MAX} commands run each other"
            )));
        }
        self.depth.set(self.depth.get() + 1);
        let before = self.state.dot.replace(Some(dot));
        let result = self.run_each(line, tail);
        self.state.dot.set(before);
        self.depth.set(self.depth.get() - 1);
        result
    }

    /// Runs a line of commands, or the lines of a file: of these a mistake in one leaves the others.
    fn run_each(&self, text: &str, tail: &dyn Tail) -> Result<(), Error> {
        let is_file = text.trim_end().contains('\n');
        for (index, line) in text.lines().enumerate() {
            match self.run_each_of(line, tail) {
                Err(Error::Usage { what, hint }) if is_file => {
                    let what = format!("{what} on line {}", index + 1);
                    tail.take_report(Error::Usage { what, hint }.into())?;
                }
                other => other?,
            }
            if self.has_quit.get() {
                break;
            }
        }
        Ok(())
    }

    fn run_each_of(&self, line: &str, tail: &dyn Tail) -> Result<(), Error> {
        let mut parser = Parser::new(line);
        while let Some(command) = parser.next(self.state.radix.get()) {
            let result = match &command {
                Ok(
                    command @ Command {
                        shell: Some(shell), ..
                    },
                ) => tail.through_shell(&command.text, shell, &|tail| {
                    self.run_stages(&command.stages, tail)
                }),
                Ok(command) => self.run_stages(&command.stages, tail),
                Err(error) => Err(syntax(error)),
            };
            match result {
                Ok(()) => {}
                Err(error) if error.ends_loop() => return Err(error),
                Err(error) => tail.take_report(error.into())?,
            }
            if self.has_quit.get() {
                break;
            }
        }
        Ok(())
    }
}

fn failed(error: EvalError) -> Error {
    let what = error.to_string();
    match error {
        EvalError::Unknown(_) | EvalError::Undefined(_) => Error::mistyped(what),
        EvalError::Unreadable(_) | EvalError::Zero => Error::failed(what),
    }
}

fn syntax(error: &SyntaxError) -> Error {
    Error::mistyped(error.to_string())
}

fn unknown(name: &str) -> Error {
    let what = format!("invalid command '::{name}': unknown dcmd name");
    let known = dcmds::instead(&format!("::{name}")).map(str::to_owned);
    let hint = known.or_else(|| Some(format!("did you mean ::{}?", dcmds::similar(name)?)));
    Error::Usage {
        what,
        hint: hint.or_else(|| Some("::dcmds lists the commands".to_owned())),
    }
}

#[cfg(test)]
mod tests;
