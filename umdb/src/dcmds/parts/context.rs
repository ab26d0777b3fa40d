//! What commands work with, and how they fail.

use std::{ops::Deref, rc::Rc};

use super::state::State;
use crate::{
    analysis::{Cancel, Cancelled, Subject},
    heap::Heap,
    layout::Damage,
    report::{Report, Status, Warning},
    symbols::Symbols,
    target::Target,
    walkers::WalkError,
};

/// What commands work with: the [`Subject`] (target, symbols, heap, results that are kept), and the session that runs
/// them.
#[derive(Clone)]
pub struct Context<'a> {
    subject: Subject<'a>,
    host: &'a dyn Host,
    state: Rc<State>,
}

/// The session as a command sees it.
pub trait Host {
    /// Hands an address to the next command of the pipe; where there is none it is shown.
    ///
    /// # Errors
    /// [`Error::Closed`] when nobody wants more.
    fn emit(&self, address: u64) -> Result<(), Error>;

    /// Shows a part of the answer before the rest is known. In a pipe its addresses go to the next command.
    ///
    /// # Errors
    /// [`Error::Closed`] when nobody wants more.
    fn show(&self, part: Report) -> Result<(), Error>;

    /// Runs commands as typed, with this dot; what they show and emit counts as the caller's.
    ///
    /// # Errors
    /// When they nest too deeply or nobody wants more. What they could not do is shown, and no error of the caller.
    fn run(&self, line: &str, dot: u64) -> Result<(), Error>;

    /// The value of an expression with this dot.
    ///
    /// # Errors
    /// When it is no expression or has no value.
    fn evaluate(&self, expression: &str, dot: u64) -> Result<u64, Error>;
}

impl<'a> Context<'a> {
    /// Outside of a session, as tests need it: nothing is emitted, and no command can be run.
    #[must_use]
    pub fn new(
        target: &'a Target,
        symbols: &'a Symbols,
        heap: &'a Heap,
        cancel: &'a Cancel,
    ) -> Self {
        let subject = Subject::new(target, symbols, heap, cancel);
        Self::of(subject, &Nobody, Rc::default())
    }

    /// In a session.
    #[must_use]
    pub fn of(subject: Subject<'a>, host: &'a dyn Host, state: Rc<State>) -> Self {
        Self {
            subject,
            host,
            state,
        }
    }

    /// What commands work on.
    #[must_use]
    pub const fn subject(&self) -> &Subject<'a> {
        &self.subject
    }

    /// See [`Host::emit`]. Also looks whether the user wants to stop.
    ///
    /// # Errors
    /// When nobody wants more, or on request.
    pub fn emit(&self, address: u64) -> Result<(), Error> {
        self.subject.cancel.check()?;
        self.host.emit(address)
    }

    /// See [`Host::show`]. Also looks whether the user wants to stop.
    ///
    /// # Errors
    /// When nobody wants more, or on request.
    pub fn show(&self, part: Report) -> Result<(), Error> {
        self.subject.cancel.check()?;
        self.host.show(part)
    }

    /// See [`Host::run`].
    ///
    /// # Errors
    /// See [`Host::run`].
    pub fn run(&self, line: &str, dot: u64) -> Result<(), Error> {
        self.subject.cancel.check()?;
        self.host.run(line, dot)
    }

    /// See [`Host::evaluate`].
    ///
    /// # Errors
    /// See [`Host::evaluate`].
    pub fn evaluate(&self, expression: &str, dot: u64) -> Result<u64, Error> {
        self.host.evaluate(expression, dot)
    }

    /// Variables, radix and other settings of the session.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Adds to a report what is wrong with the published structures: the first damage, and how many
    /// there are besides. `::umem_status` shows them all.
    pub fn add_damage(&self, report: &mut Report) {
        let damage = &self.heap.damage;
        if let Some(first) = damage.kept.first() {
            let others = damage.kept.len() - 1 + damage.more;
            report.incomplete(with_others(&first.to_string(), others));
        }
    }

    /// Refuses a verdict about structures that may mean something else than we think.
    ///
    /// # Errors
    /// When the library requires a feature that we do not know.
    pub fn check_features(&self, command: &str) -> Result<(), Error> {
        match self.heap.root.unknown_features() {
            0 => Ok(()),
            bits => Err(Error::with_hint(
                format!(
                    "{command}: no verdict: the library uses features that this umdb does not know ({bits:#x})"
                ),
                "use the umdb that came with this libumem.so",
            )),
        }
    }
}

impl<'a> Deref for Context<'a> {
    type Target = Subject<'a>;

    fn deref(&self) -> &Subject<'a> {
        &self.subject
    }
}

/// The host where there is no session.
struct Nobody;

impl Host for Nobody {
    fn emit(&self, _: u64) -> Result<(), Error> {
        Ok(())
    }

    fn show(&self, _: Report) -> Result<(), Error> {
        Ok(())
    }

    fn run(&self, _: &str, _: u64) -> Result<(), Error> {
        Err(Error::failed("there is no session to run commands in"))
    }

    fn evaluate(&self, expression: &str, _: u64) -> Result<u64, Error> {
        crate::lang::parse_number(expression, crate::lang::DEFAULT_RADIX).map_err(Error::failed)
    }
}

/// A line about something, with the number of others that are like it.
pub fn with_others(first: &str, others: usize) -> String {
    match others {
        0 => first.to_owned(),
        1 => format!("{first} (and 1 other damage, see ::umem_status)"),
        _ => format!("{first} (and {others} other damages, see ::umem_status)"),
    }
}

/// Why a command gives no report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It could not do its work.
    #[error("{what}")]
    Failed {
        /// One line.
        what: String,
        /// The next step to try.
        hint: Option<String>,
    },
    /// It was typed in the wrong way, which also ends a pipe or loop.
    #[error("{what}")]
    Usage {
        /// One line.
        what: String,
        /// How it is typed.
        hint: Option<String>,
    },
    /// What it was asked about cannot be read.
    #[error("{0}")]
    Missing(String),
    /// It was stopped by request.
    #[error("interrupted")]
    Cancelled,
    /// Nobody wants more of its answer. This is no mistake, and nothing is said about it.
    #[error("nobody wants more")]
    Closed,
}

impl Error {
    /// A failure without a hint.
    #[must_use]
    pub fn failed(what: impl Into<String>) -> Self {
        Self::Failed {
            what: what.into(),
            hint: None,
        }
    }

    /// A failure with the next step to try.
    #[must_use]
    pub fn with_hint(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Failed {
            what: what.into(),
            hint: Some(hint.into()),
        }
    }

    /// What was typed has no meaning, whatever the address: a name that nothing has, a syntax error.
    #[must_use]
    pub fn mistyped(what: impl Into<String>) -> Self {
        Self::Usage {
            what: what.into(),
            hint: None,
        }
    }

    /// The same with its place in the line, and the next step to try.
    #[must_use]
    pub fn misplaced(error: &Self, place: &str, next: &str) -> Self {
        Self::Usage {
            what: format!("{error} {place}"),
            hint: Some(next.to_owned()),
        }
    }

    /// Whether it ends a pipe or loop, and does not concern one address alone.
    #[must_use]
    pub const fn ends_loop(&self) -> bool {
        matches!(self, Self::Usage { .. } | Self::Cancelled | Self::Closed)
    }
}

impl From<Cancelled> for Error {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

impl From<Damage> for Error {
    fn from(damage: Damage) -> Self {
        Self::Missing(damage.to_string())
    }
}

impl From<WalkError> for Error {
    fn from(error: WalkError) -> Self {
        match error {
            WalkError::Cancelled => Self::Cancelled,
            WalkError::Unknown => Self::with_hint(
                format!("failed to perform walk: {error}"),
                "::walkers lists the walkers",
            ),
            _ => Self::failed(format!("failed to perform walk: {error}")),
        }
    }
}

impl From<Error> for Report {
    fn from(error: Error) -> Self {
        let status = match error {
            Error::Missing(_) => Status::Incomplete,
            Error::Closed => return Self::default(),
            _ => Status::Failed,
        };
        let hint = match &error {
            Error::Failed { hint, .. } | Error::Usage { hint, .. } => hint.clone(),
            _ => None,
        };
        let warnings = vec![Warning {
            what: error.to_string(),
            hint,
        }];
        Self {
            warnings,
            status,
            ..Self::default()
        }
    }
}
