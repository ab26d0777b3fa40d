//! What analyses, walkers and commands work on, with the results that are kept.

use std::{cell::RefCell, rc::Rc};

use super::{Cancel, Cancelled, leaks};
use crate::{
    heap::{Era, Heap, StackTrace},
    symbols::{Place, StackRoots, Symbols},
    target::{Target, Thread},
};

/// What searches from the roots look at.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// The target.
    pub target: &'a Target,
    /// Its heap.
    pub heap: &'a Heap,
    /// What is known of its threads' stacks.
    pub stacks: &'a dyn Stacks,
    /// A request to stop.
    pub cancel: &'a Cancel,
}

/// What is known of the stacks of threads.
pub trait Stacks {
    /// What of a thread's stack and registers is alive; none when they are not known.
    fn live(&self, thread: &Thread) -> Option<StackRoots>;

    /// Stack pointers of a thread's frames, innermost first.
    fn pointers(&self, thread: &Thread) -> Vec<u64>;
}

/// Frames of a thread that are looked at.
const FRAMES_MAX: usize = 256;

impl Stacks for Subject<'_> {
    fn live(&self, thread: &Thread) -> Option<StackRoots> {
        self.symbols.live_stack(self.target, thread)
    }

    fn pointers(&self, thread: &Thread) -> Vec<u64> {
        let frames = self.symbols.frames(self.target, thread, FRAMES_MAX);
        frames.iter().map(|frame| frame.sp).collect()
    }
}

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

    /// What searches from the roots look at.
    #[must_use]
    pub fn scene(&self) -> Scene<'_> {
        Scene {
            target: self.target,
            heap: self.heap,
            stacks: self,
            cancel: self.cancel,
        }
    }

    /// The module of the history under a return address of a recorded stack, when another one, or none, is there now.
    #[must_use]
    pub fn past_module(&self, trace: &StackTrace, pc: u64) -> Option<&'a Era> {
        let at = pc.wrapping_sub(1);
        let era = self.heap.module_then(at, trace.epoch)?;
        let is_there = !era.is_over()
            && self.target.module_at(at).is_some_and(|now| {
                let (then, id) = (&era.module, now.build_id.as_ref());
                now.start == then.base
                    && id.is_none_or(|id| then.build_id.is_empty() || *id == then.build_id)
            });
        (!is_there).then_some(era)
    }

    /// What a return address of a recorded stack is called: by the module that lay there when the stack was taken.
    #[must_use]
    pub fn place_of(&self, trace: &StackTrace, pc: u64) -> Place {
        match self.past_module(trace, pc) {
            Some(era) => Place {
                unloaded: era.is_over(),
                ..self.symbols.lookup_past(&era.module, pc)
            },
            None => self.symbols.lookup_return(pc),
        }
    }

    /// The same without file and line, as far as these take long to look up.
    #[must_use]
    pub fn name_of(&self, trace: &StackTrace, pc: u64) -> Place {
        match self.past_module(trace, pc) {
            Some(_) => self.place_of(trace, pc),
            None => self.symbols.name_return(pc),
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
        let found = Rc::new(leaks::find(&self.scene())?);
        *self.kept.leaks.borrow_mut() = Some(Rc::clone(&found));
        Ok((found, false))
    }
}

#[cfg(test)]
impl Stacks for crate::heap::synthetic::Builder {
    fn live(&self, thread: &Thread) -> Option<StackRoots> {
        self.live_stack(thread)
    }

    fn pointers(&self, _thread: &Thread) -> Vec<u64> {
        Vec::new()
    }
}
