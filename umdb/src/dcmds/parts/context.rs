//! What commands work with, and how they fail.

use std::{cell::RefCell, rc::Rc};

use umem_layout::log_kind;

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

    /// Adds to a report what is wrong with the published structures.
    pub fn add_damage(&self, report: &mut Report) {
        let unknown = self.heap.root.unknown_features();
        if unknown != 0 {
            report.incomplete(format!(
                "no verdict: the library uses features that this umdb does not know: {unknown:#x}"
            ));
        }
        for damage in &self.heap.damage.kept {
            report.incomplete(damage.to_string());
        }
        if self.heap.damage.more > 0 {
            report.incomplete(format!(
                "and {} more damages of the allocator's structures",
                self.heap.damage.more
            ));
        }
    }

    /// The newest time that any record holds: that of the newest transaction.
    #[must_use]
    pub fn newest(&self) -> Option<u64> {
        let log = self.heap.log(log_kind::TRANSACTION)?;
        let entries = self.heap.log_entries(&log).ok()?;
        entries.first().map(|entry| entry.time)
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
