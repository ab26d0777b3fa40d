//! Which transactions to show: the options that ::bufctl and ::vmem_seg share.

use std::{cell::RefCell, collections::HashMap};

use umem_layout::AuditRecord;

use super::{
    args::{Invocation, Opt},
    context::{Context, Error},
};

/// `-c`.
pub const CALLER: Opt = Opt::value(
    'c',
    "caller",
    "only if the stack goes through this function, or within 8 bytes behind this address",
);
/// `-e`.
pub const EARLIEST: Opt = Opt::value('e', "earliest", "only from this time on (a TIMESTAMP)");
/// `-l`.
pub const LATEST: Opt = Opt::value('l', "latest", "only up to this time (a TIMESTAMP)");
/// `-t`.
pub const THREAD: Opt = Opt::value('t', "thread", "only of this thread (0t for decimal)");

/// One transaction, as far as filters look at it.
#[derive(Debug, Clone, Copy)]
pub struct Transaction {
    /// When, as the record has it.
    pub time: u64,
    /// Thread.
    pub thread: u32,
    /// Stack in the depot.
    pub stack: u32,
}

impl Transaction {
    /// The last one in a record.
    pub fn last(record: &AuditRecord) -> Self {
        if record.free_time > record.alloc_time {
            Self {
                time: record.free_time,
                thread: record.free_thread,
                stack: record.free_stack,
            }
        } else {
            Self {
                time: record.alloc_time,
                thread: record.alloc_thread,
                stack: record.alloc_stack,
            }
        }
    }
}

/// Which transactions to show.
#[derive(Debug, Default)]
pub struct Filter {
    caller: Option<u64>,
    earliest: Option<u64>,
    latest: Option<u64>,
    thread: Option<u64>,
    /// Which stacks go through the caller.
    called: RefCell<HashMap<u32, bool>>,
}

/// Bytes behind an address that is no function's start.
const NEAR: u64 = 8;

impl Filter {
    /// What the options ask for.
    ///
    /// # Errors
    /// When a value is no number.
    pub fn of(cx: &Context<'_>, invocation: &Invocation) -> Result<Self, Error> {
        Ok(Self {
            caller: cx.option(invocation, CALLER.letter)?,
            earliest: cx.option(invocation, EARLIEST.letter)?,
            latest: cx.option(invocation, LATEST.letter)?,
            thread: cx.option(invocation, THREAD.letter)?,
            called: RefCell::default(),
        })
    }

    /// Whether every transaction passes.
    pub fn is_open(&self) -> bool {
        let times = self.earliest.or(self.latest);
        times.or(self.caller).or(self.thread).is_none()
    }

    /// Looks at each stack once: many records share one.
    fn is_called(&self, cx: &Context<'_>, stack: u32, caller: u64) -> bool {
        let known = self.called.borrow().get(&stack).copied();
        known.unwrap_or_else(|| {
            let is_called = is_called_from(cx, stack, caller);
            self.called.borrow_mut().insert(stack, is_called);
            is_called
        })
    }

    /// Whether a transaction is to be shown.
    pub fn passes(&self, cx: &Context<'_>, transaction: &Transaction) -> bool {
        let time = cx.heap.clock.monotonic(transaction.time);
        self.earliest.is_none_or(|earliest| time >= earliest)
            && self.latest.is_none_or(|latest| time <= latest)
            && self
                .thread
                .is_none_or(|thread| thread == u64::from(transaction.thread))
            && self
                .caller
                .is_none_or(|caller| self.is_called(cx, transaction.stack, caller))
    }
}

/// Whether a stack has a frame at an address or close behind it, or, where a function begins there, anywhere in it.
fn is_called_from(cx: &Context<'_>, stack: u32, caller: u64) -> bool {
    let trace = cx.heap.stack(stack).unwrap_or_default();
    trace.pcs.iter().any(|&pc| {
        let is_near = pc >= caller && pc - caller < NEAR;
        let place = cx.place_of(&trace, pc);
        let is_now = place.symbol.is_some() && !place.unloaded;
        is_near || (is_now && pc.wrapping_sub(place.offset) == caller)
    })
}
