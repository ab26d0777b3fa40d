//! What follows from the heap model: which buffers are lost, which are damaged.
//!
//! **Owns** the analyses, as functions from the model to plain data. **May use** `target`, `symbols`, `layout`,
//! `heap`. **Promises** to print nothing, to end on any input, to stop when asked to ([`Cancel`]), and to say what
//! makes an answer doubtful.

mod alive;
mod arenas;
pub mod by_thread;
mod census;
mod code;
pub mod coverage;
mod dominators;
pub mod estimate;
pub mod growth;
pub mod leaks;
mod lost;
mod mark;
mod nodes;
pub mod path;
mod pointers;
mod ranges;
pub mod refs;
pub mod retained;
mod roots;
mod scan;
mod subject;
pub mod suppressions;
pub mod verify;
mod walk;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::target::Target;
pub use roots::RootKind;
pub use subject::{Scene, Stacks, Subject};

/// What is missing of a target: threads, registers, memory. Warnings about the file of a module do not count:
/// it gives names, and pages that were never written, which hold no pointer to the heap.
pub fn missing(target: &Target) -> impl Iterator<Item = &str> {
    let is_about_file = |warning: &str| {
        let mut modules = target.modules.iter();
        modules.any(|module| {
            warning
                .strip_prefix(&*module.path)
                .is_some_and(|rest| rest.starts_with(':'))
        })
    };
    target
        .warnings
        .iter()
        .map(String::as_str)
        .filter(move |warning| !is_about_file(warning))
}

/// A request to stop, as Ctrl-C makes it, and how far the work is that it would stop.
#[derive(Debug, Default)]
pub struct Cancel {
    is_requested: AtomicBool,
    /// Pieces of the pass that runs, and how many of them are done.
    planned: AtomicU64,
    done: AtomicU64,
}

/// The analysis was stopped by request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Cancelled;

impl Cancel {
    /// No request so far.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            is_requested: AtomicBool::new(false),
            planned: AtomicU64::new(0),
            done: AtomicU64::new(0),
        }
    }

    /// A pass begins that has so many pieces of much the same size.
    pub fn plan(&self, pieces: u64) {
        self.done.store(0, Ordering::Relaxed);
        self.planned.store(pieces, Ordering::Relaxed);
    }

    /// So many pieces are done.
    pub fn advance(&self, pieces: u64) {
        self.done.fetch_add(pieces, Ordering::Relaxed);
    }

    /// How much of the pass that runs is done, in percent. None where no pass was planned, or it is over.
    pub fn percent(&self) -> Option<u64> {
        let planned = self.planned.load(Ordering::Relaxed);
        let done = self.done.load(Ordering::Relaxed);
        (done < planned).then(|| (u128::from(done) * 100 / u128::from(planned)) as u64)
    }

    /// Requests to stop, and returns whether that had been requested before.
    pub fn request(&self) -> bool {
        self.is_requested.swap(true, Ordering::Relaxed)
    }

    /// Forgets a request, and what was planned.
    pub fn clear(&self) {
        self.is_requested.store(false, Ordering::Relaxed);
        self.plan(0);
    }

    /// Whether to stop.
    pub fn is_requested(&self) -> bool {
        self.is_requested.load(Ordering::Relaxed)
    }

    /// An error when it is time to stop.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_requested() {
            Err(Cancelled)
        } else {
            Ok(())
        }
    }
}
