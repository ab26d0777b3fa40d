//! What commands work with, and how they fail.

use std::{cell::RefCell, rc::Rc};

use crate::{
    analysis::{Cancel, Cancelled, leaks},
    heap::Heap,
    layout::Damage,
    report::{Report, Status, Warning},
    symbols::Symbols,
    target::Target,
};

/// What commands work with.
pub struct Context<'a> {
    /// The target.
    pub target: &'a Target,
    /// Names for its addresses.
    pub symbols: &'a Symbols,
    /// Its heap.
    pub heap: &'a Heap,
    /// A request to stop.
    pub cancel: &'a Cancel,
    leaks: RefCell<Option<Rc<leaks::Leaks>>>,
}

impl<'a> Context<'a> {
    /// For a target and its heap.
    #[must_use]
    pub fn new(
        target: &'a Target,
        symbols: &'a Symbols,
        heap: &'a Heap,
        cancel: &'a Cancel,
    ) -> Self {
        Self {
            target,
            symbols,
            heap,
            cancel,
            leaks: RefCell::new(None),
        }
    }

    /// The leaks of the target, and whether they were known before.
    ///
    /// # Errors
    /// When the search was cancelled.
    pub fn leaks(&self, again: bool) -> Result<(Rc<leaks::Leaks>, bool), Cancelled> {
        if let Some(known) = self.leaks.borrow().as_ref().filter(|_| !again) {
            return Ok((Rc::clone(known), true));
        }
        let live_stack = |thread: &_| self.symbols.live_stack(self.target, thread);
        let found = Rc::new(leaks::find(
            self.target,
            self.heap,
            &live_stack,
            self.cancel,
        )?);
        *self.leaks.borrow_mut() = Some(Rc::clone(&found));
        Ok((found, false))
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
    /// What it was asked about cannot be read.
    #[error("{0}")]
    Missing(String),
    /// It was stopped by request.
    #[error("interrupted")]
    Cancelled,
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

impl From<Error> for Report {
    fn from(error: Error) -> Self {
        let status = if matches!(error, Error::Missing(_)) {
            Status::Incomplete
        } else {
            Status::Failed
        };
        let hint = match &error {
            Error::Failed { hint, .. } => hint.clone(),
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
