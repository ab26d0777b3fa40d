//! What analyses, walkers and commands work on, with the results that are kept.

use std::{cell::RefCell, rc::Rc};

use super::{Cancel, Cancelled, leaks};
use crate::{heap::Heap, symbols::Symbols, target::Target};

/// A target with its names and its heap. Clones share the results that are kept.
#[derive(Clone)]
pub struct Subject<'a> {
    /// The target.
    pub target: &'a Target,
    /// Names for its addresses.
    pub symbols: &'a Symbols,
    /// Its heap.
    pub heap: &'a Heap,
    /// A request to stop.
    pub cancel: &'a Cancel,
    kept: Rc<Kept>,
}

/// Results that take long and do not change.
#[derive(Default)]
struct Kept {
    leaks: RefCell<Option<Rc<leaks::Leaks>>>,
}

impl<'a> Subject<'a> {
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
            kept: Rc::default(),
        }
    }

    /// The leaks of the target, and whether they were known before.
    ///
    /// # Errors
    /// When the search was cancelled.
    pub fn leaks(&self, again: bool) -> Result<(Rc<leaks::Leaks>, bool), Cancelled> {
        if let Some(known) = self.kept.leaks.borrow().as_ref().filter(|_| !again) {
            return Ok((Rc::clone(known), true));
        }
        let live_stack = |thread: &_| self.symbols.live_stack(self.target, thread);
        let found = Rc::new(leaks::find(
            self.target,
            self.heap,
            &live_stack,
            self.cancel,
        )?);
        *self.kept.leaks.borrow_mut() = Some(Rc::clone(&found));
        Ok((found, false))
    }
}
