//! Commands between pipes: addresses stream from one to the next as they are found.
//!
//! ```text
//! first ── emit ──> filter ── emit ──> last ── emit, show ──> tail (the output, or the command that runs us)
//! ```
//!
//! A command that hands on no addresses of its own shows its text to the next one: each line of it is an expression.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use super::{Session, failed, unknown};
use crate::{
    dcmds::{self, Address, Context, Dcmd, Error, Filter, Host, Invocation, Run},
    lang::{Stage, Verb, Word, evaluate, parse_expression_text},
    render::TextWriter,
    report::Report,
};

/// Runs of one command that a count may ask for.
const COUNT_MAX: u64 = 1 << 24;

/// What stands behind the last command.
pub(super) trait Tail {
    /// Whether another command gets what is handed on: then only addresses are.
    fn is_pipe(&self) -> bool;
    /// Takes an address that no command took.
    fn take_address(&self, address: u64) -> Result<(), Error>;
    /// Takes a report.
    fn take_report(&self, report: Report) -> Result<(), Error>;
    /// Runs a command, as typed, whose output goes to a shell command.
    fn through_shell(&self, command: &str, shell: &str, run: Runs<'_>) -> Result<(), Error>;
}

/// Runs commands that hand what they have to a tail.
pub(super) type Runs<'r> = &'r dyn Fn(&dyn Tail) -> Result<(), Error>;

/// Commands between pipes, ready to run.
pub(super) struct Pipeline<'p, 'a> {
    session: &'p Session<'a>,
    links: Vec<Link<'p>>,
    tail: &'p dyn Tail,
}

/// One command.
struct Link<'p> {
    stage: &'p Stage,
    action: Action,
    /// Words that are the same in every run, understood.
    invocation: Option<Invocation>,
    filter: RefCell<Option<Box<dyn Filter>>>,
    has_run: Cell<bool>,
    /// Its text so far, when that is what goes down the pipe.
    text: RefCell<PipedText>,
}

/// Text on its way to a command that takes addresses.
#[derive(Default)]
struct PipedText {
    writer: TextWriter,
    /// Lines that were taken.
    lines: usize,
}

/// What a command does.
enum Action {
    Dcmd(&'static Dcmd, &'static [&'static str]),
    Format(char, String),
    Assign(String, u8),
    Value,
}

impl<'p, 'a> Pipeline<'p, 'a> {
    /// Checks everything that can be known before the first command runs. None where there is nothing to run.
    pub(super) fn new(
        session: &'p Session<'a>,
        stages: &'p [Stage],
        tail: &'p dyn Tail,
    ) -> Result<Option<Self>, Error> {
        let mut links = Vec::with_capacity(stages.len());
        for (index, stage) in stages.iter().enumerate() {
            let link = Link::new(session, stage)?;
            if index > 0 {
                link.check_fed()?;
            }
            links.push(link);
        }
        Ok((!links.is_empty()).then_some(Self {
            session,
            links,
            tail,
        }))
    }

    /// Runs it to its end.
    pub(super) fn run(&self) -> Result<(), Error> {
        match self.run_first() {
            Ok(()) | Err(Error::Closed) => {}
            Err(error) => return Err(error),
        }
        for (index, link) in self.links.iter().enumerate() {
            let filter = link.filter.take();
            let Some(mut filter) = filter.or_else(|| self.idle_filter(index)) else {
                continue;
            };
            let host = self.host(index);
            let result = filter
                .finish(&self.context(&host))
                .and_then(|report| host.show(report));
            match result {
                Ok(()) | Err(Error::Closed) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// A filter that got nothing has something to say as well: that it got nothing.
    fn idle_filter(&self, index: usize) -> Option<Box<dyn Filter>> {
        let link = &self.links[index];
        let invocation = link.invocation.clone()?;
        match link.action {
            Action::Dcmd(
                Dcmd {
                    run: Run::Filter(begin),
                    ..
                },
                _,
            ) if !link.has_run.get() => begin(&self.context(&self.host(index)), &invocation).ok(),
            _ => None,
        }
    }

    fn run_first(&self) -> Result<(), Error> {
        let first = &self.links[0];
        let value = |expression| evaluate(expression, self.session).map_err(failed);
        let address = first.stage.address.as_ref().map(value).transpose()?;
        let count = first.stage.count.as_ref().map(value).transpose()?;
        let state = self.session.state();
        if let Some(address) = address {
            state.dot.set(Some(address));
            state.last_address.set(address);
        }
        let Some(count) = count.filter(|_| !first.takes_count()) else {
            state.increment.set(0);
            return self.run_link(0, address, count);
        };
        if count > COUNT_MAX {
            return Err(Error::failed(format!(
                "the count {count:#x} is too large: a command runs at most {COUNT_MAX:#x} times"
            )));
        }
        // With a count the command is told the address of each round.
        let mut address = address;
        for round in 0..count {
            self.session.subject.cancel.check()?;
            if round > 0 {
                let moved = state
                    .dot
                    .get()
                    .unwrap_or(0)
                    .wrapping_add(state.increment.get());
                state.dot.set(Some(moved));
                address = address.map(|_| moved);
            }
            state.increment.set(0);
            self.run_link(0, address, None)?;
        }
        Ok(())
    }

    /// Runs a command for an address that came down the pipe.
    fn feed(&self, index: usize, value: u64) -> Result<(), Error> {
        let state = self.session.state();
        state.dot.set(Some(value));
        let stage = self.links[index].stage;
        let address = match &stage.address {
            Some(expression) => evaluate(expression, self.session).map_err(failed)?,
            None => value,
        };
        let count = match &stage.count {
            Some(expression) => Some(evaluate(expression, self.session).map_err(failed)?),
            None => None,
        };
        self.run_link(index, Some(address), count)
    }

    fn run_link(
        &self,
        index: usize,
        address: Option<u64>,
        count: Option<u64>,
    ) -> Result<(), Error> {
        let link = &self.links[index];
        let host = self.host(index);
        let dot = || address.or(self.session.state().dot.get());
        let result = match &link.action {
            Action::Dcmd(dcmd, _) => self.run_dcmd(index, dcmd, address, count),
            Action::Format(sign, format) => {
                let context = self.context(&host);
                let state = self.session.state();
                let result = dcmds::formats::run(&context, *sign, format, address, count);
                state.dot.set(dot().or(state.dot.get()));
                result.and_then(|report| host.show(report))
            }
            Action::Assign(name, width) => {
                let value = dot().unwrap_or(0) & (u64::MAX >> (64 - 8 * u32::from(*width)));
                let set = self.session.state().set_variable(name, value);
                set.map_err(Error::failed)?;
                self.pass(index, value)
            }
            Action::Value => self.pass(index, dot().unwrap_or(0)),
        };
        link.has_run.set(true);
        match result {
            Err(error) if !error.ends_loop() && self.is_in_loop(index) => {
                self.tail.take_report(error.into())
            }
            other => other,
        }
    }

    /// Hands a value on where somebody takes it.
    fn pass(&self, index: usize, value: u64) -> Result<(), Error> {
        if index + 1 < self.links.len() {
            self.feed(index + 1, value)
        } else if matches!(self.links[index].action, Action::Value)
            && (index > 0 || self.tail.is_pipe())
        {
            self.tail.take_address(value)
        } else {
            Ok(())
        }
    }

    /// Whether what a command hands on goes to another one.
    fn is_piped(&self, index: usize) -> bool {
        index + 1 < self.links.len() || self.tail.is_pipe()
    }

    /// Hands on the value of each line of what a command shows.
    fn emit_text(&self, index: usize, part: &Report) -> Result<(), Error> {
        let link = &self.links[index];
        let text = link.text.borrow_mut().writer.write(part);
        for line in text.lines() {
            let place = {
                let mut piped = link.text.borrow_mut();
                piped.lines += 1;
                format!(
                    "on line {} of the output of {}",
                    piped.lines,
                    link.stage.name()
                )
            };
            if line.trim().is_empty() {
                continue;
            }
            let radix = self.session.state().radix.get();
            let expression = parse_expression_text(line, radix).map_err(|error| Error::Usage {
                what: format!("{error} {place}"),
                hint: Some(
                    "the command behind a pipe takes addresses: one expression a line".to_owned(),
                ),
            })?;
            let value = evaluate(&expression, self.session)
                .map_err(|error| Error::mistyped(format!("{error} {place}")))?;
            self.host(index).emit(value)?;
        }
        Ok(())
    }

    fn is_in_loop(&self, index: usize) -> bool {
        index > 0 || self.links[0].stage.count.is_some()
    }

    fn run_dcmd(
        &self,
        index: usize,
        dcmd: &'static Dcmd,
        address: Option<u64>,
        count: Option<u64>,
    ) -> Result<(), Error> {
        let link = &self.links[index];
        let mut invocation = match &link.invocation {
            Some(known) => known.clone(),
            None => link.understand(self.session)?,
        };
        invocation.address = match dcmd.address {
            Address::Required => address.or(self.session.state().dot.get()),
            _ => address,
        };
        dcmd.check_address(invocation.address)?;
        invocation.count = count;
        invocation.is_piped = self.is_piped(index);
        invocation.in_loop = self.is_in_loop(index);
        invocation.is_first = !link.has_run.get();
        let host = self.host(index);
        let context = self.context(&host);
        match dcmd.run {
            Run::Quit => {
                self.session.has_quit.set(true);
                Err(Error::Closed)
            }
            Run::Again => {
                self.session.has_quit.set(true);
                self.session.state().again.set(true);
                Err(Error::Closed)
            }
            Run::Report(run) => run(&context, &invocation).and_then(|report| host.show(report)),
            Run::Filter(begin) => {
                if link.filter.borrow().is_none() {
                    *link.filter.borrow_mut() = Some(begin(&context, &invocation)?);
                }
                link.has_run.set(true);
                let mut filter = link.filter.borrow_mut();
                match (filter.as_mut(), invocation.address) {
                    (Some(filter), Some(address)) => filter.take(&context, address),
                    _ => Ok(()),
                }
            }
        }
    }

    fn host(&self, index: usize) -> StageHost<'_, 'p, 'a> {
        StageHost {
            pipeline: self,
            index,
        }
    }

    fn context<'c>(&'c self, host: &'c StageHost<'c, 'p, 'a>) -> Context<'c> {
        Context::of(
            self.session.subject.clone(),
            host,
            Rc::clone(&self.session.state),
        )
    }
}

impl<'p> Link<'p> {
    fn new(session: &Session<'_>, stage: &'p Stage) -> Result<Self, Error> {
        let action = match &stage.verb {
            Verb::Dcmd(name) => {
                let bare = dcmds::without_module(name)?;
                Action::Dcmd(dcmds::find(bare).ok_or_else(|| unknown(bare))?, &[])
            }
            Verb::Dollar(name) => dcmds::find_shorthand(name)
                .map(|(dcmd, words)| Action::Dcmd(dcmd, words))
                .ok_or_else(|| {
                    Error::with_hint(
                        format!("invalid command '{name}': unknown dcmd name"),
                        dcmds::instead(name).unwrap_or("::help lists the commands"),
                    )
                })?,
            Verb::Format(sign, format) => {
                dcmds::formats::check(*sign, format).map_err(|error| {
                    let place = format!("near \"{sign}{format}\"");
                    Error::misplaced(&error, &place, "::formats lists the letters")
                })?;
                Action::Format(*sign, format.clone())
            }
            Verb::Assign(name, width) => Action::Assign(name.clone(), *width),
            Verb::None => Action::Value,
        };
        let mut link = Self {
            stage,
            action,
            invocation: None,
            filter: RefCell::default(),
            has_run: Cell::new(false),
            text: RefCell::default(),
        };
        let is_constant = !stage
            .words
            .iter()
            .any(|word| matches!(word, Word::Value(_)));
        if is_constant && matches!(link.action, Action::Dcmd(..)) {
            link.invocation = Some(link.understand(session)?);
        }
        Ok(link)
    }

    /// Understands the words behind the verb.
    fn understand(&self, session: &Session<'_>) -> Result<Invocation, Error> {
        let Action::Dcmd(dcmd, words) = self.action else {
            return Ok(Invocation::default());
        };
        let mut all: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        for word in &self.stage.words {
            all.push(match word {
                Word::Text(text) => text.clone(),
                Word::Value(expression) => {
                    let value = evaluate(expression, session).map_err(failed)?;
                    format!("0x{value:x}")
                }
            });
        }
        let radix = session.state().radix.get();
        dcmd.parse_words(&all).map(|invocation| Invocation {
            radix,
            ..invocation
        })
    }

    fn takes_count(&self) -> bool {
        match self.action {
            Action::Dcmd(dcmd, _) => dcmd.takes_count,
            Action::Format(..) => true,
            Action::Assign(..) | Action::Value => false,
        }
    }

    /// Whether its text goes down a pipe, for it hands on no addresses.
    fn hands_text(&self) -> bool {
        match &self.action {
            Action::Dcmd(dcmd, _) => dcmd.pipes.is_none(),
            Action::Format(sign, format) => !dcmds::formats::gives_numbers(*sign, format),
            Action::Assign(..) | Action::Value => false,
        }
    }

    /// Whether it may stand behind a pipe.
    fn check_fed(&self) -> Result<(), Error> {
        match &self.action {
            Action::Dcmd(dcmd, _) if dcmd.address == Address::Forbidden => {
                Err(dcmd.misused("it takes no addresses from a pipe"))
            }
            _ => Ok(()),
        }
    }
}

/// The session as the command at a place in the pipe sees it.
struct StageHost<'h, 'p, 'a> {
    pipeline: &'h Pipeline<'p, 'a>,
    index: usize,
}

impl Tail for StageHost<'_, '_, '_> {
    fn is_pipe(&self) -> bool {
        self.pipeline.is_piped(self.index)
    }

    fn take_address(&self, address: u64) -> Result<(), Error> {
        self.emit(address)
    }

    fn take_report(&self, report: Report) -> Result<(), Error> {
        self.show(report)
    }

    fn through_shell(&self, command: &str, shell: &str, run: Runs<'_>) -> Result<(), Error> {
        if self.is_pipe() {
            return Err(Error::failed(format!(
                "! {shell}: the output of a shell command cannot go into a pipe"
            )));
        }
        self.pipeline.tail.through_shell(command, shell, run)
    }
}

impl Host for StageHost<'_, '_, '_> {
    fn emit(&self, address: u64) -> Result<(), Error> {
        let next = self.index + 1;
        if next < self.pipeline.links.len() {
            self.pipeline.feed(next, address)
        } else {
            self.pipeline.tail.take_address(address)
        }
    }

    fn show(&self, mut part: Report) -> Result<(), Error> {
        if !self.is_pipe() {
            if part == Report::default() {
                return Ok(());
            }
            return self.pipeline.tail.take_report(part);
        }
        if self.pipeline.links[self.index].hands_text() {
            self.pipeline.emit_text(self.index, &part)?;
        }
        let addresses = part.piped_addresses();
        part.sections.clear();
        if part != Report::default() {
            self.pipeline.tail.take_report(part)?;
        }
        addresses
            .into_iter()
            .try_for_each(|address| self.emit(address))
    }

    fn run(&self, line: &str, dot: u64) -> Result<(), Error> {
        self.pipeline.session.run_nested(line, dot, self)
    }

    fn evaluate(&self, expression: &str, dot: u64) -> Result<u64, Error> {
        self.pipeline.session.evaluate_text(expression, dot)
    }
}
