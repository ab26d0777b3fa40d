//! What follows from the heap model: which buffers are lost, which are damaged.
//!
//! **Owns** the analyses, as functions from the model to plain data. **May use** `target`, `symbols`, `layout`,
//! `heap`. **Promises** to print nothing, to end on any input, to stop when asked to ([`Cancel`]), and to say what
//! makes an answer doubtful.

pub mod leaks;
mod mark;
mod ranges;
mod roots;
pub mod verify;

use std::sync::atomic::{AtomicBool, Ordering};

/// A request to stop, as Ctrl-C makes it.
#[derive(Debug, Default)]
pub struct Cancel(AtomicBool);

/// The analysis was stopped by request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Cancelled;

impl Cancel {
    /// No request so far.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Requests to stop, and returns whether that had been requested before.
    pub fn request(&self) -> bool {
        self.0.swap(true, Ordering::Relaxed)
    }

    /// Forgets a request.
    pub fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether to stop.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
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
