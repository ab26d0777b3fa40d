//! Stacks of the calling thread, from the caller of the allocation function outwards.
//!
//! **Owns** unwinding inside of the process. **May use** `sys`, `raw`, `sync`. **Promises** no allocation, no lock, no fault,
//! and no frame that is not there: where the unwind information ends, the stack ends and says so.
//!
//! # Theory
//! 1. Only the unwind tables (`.eh_frame`) are right through code without frame pointers; libc and most programs
//!    are built so. Interpreting them costs about a microsecond a frame, so what they say about a program
//!    counter is condensed to one 64-bit *rule* and kept in a shared direct-mapped cache (`rules`).
//! 2. To step outwards a rule needs the stack pointer and the frame pointer alone: the canonical frame address (CFA)
//!    is one of them plus an offset, the return address stands below it, and the caller's frame pointer is
//!    unchanged or in a slot at an offset from it. Entry functions hand over both registers before any
//!    compiled code of ours can change them.
//! 3. A library that is closed may be replaced by another at the same address, and the cache would then be
//!    wrong. The loader's own calls tell when one is closed, and then all rules are forgotten; where those
//!    calls are not seen, whoever meets a stack for the first time calls [`revalidate`], which compares the loader's
//!    count of closed libraries (`loader`). What lay where is kept (`history`), so that stacks captured before keep their meaning.
//! 4. Every word that is read lies in a page of the stack that was found readable before (`bounds`): tables may be
//!    wrong, stacks may be smashed, and coroutines live in memory that nobody announces.
//! 5. Without a rule (code of a just-in-time compiler, hand-written assembly) the frame pointer is tried: a frame is
//!    accepted when it lies further out on the stack and its return address is inside of a loaded object,
//!    and it is marked as guessed. Otherwise the stack ends early.
#![allow(unsafe_code)]

mod bounds;
pub mod history;
mod loader;
mod object;
mod recall;
mod rules;
mod tables;

pub use bounds::Bounds;
pub use loader::{after_fork, follow, fork_lock, fork_unlock, is_loader, revalidate};
pub use object::{Object, any_object, object_of, same_object};
pub use recall::Recall;
pub use tables::Tables;

use recall::Reads;
use rules::{Frame, Rule, Saved};
use umem_layout::stack_flag;

/// Most frames of a stack; `StackEntry::guessed` has a bit for each.
pub const MAX_DEPTH: usize = 64;

/// Registers at the entry of an allocation function: the stack pointer points at the return address.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Stack pointer.
    pub sp: usize,
    /// Frame pointer register, whatever the caller uses it for.
    pub fp: usize,
}

impl Entry {
    /// The return address. Zero: the entry is not known.
    pub fn caller(&self) -> usize {
        // SAFETY: zero, or the stack pointer at the entry of a function that has not returned, which leads to the return address.
        unsafe { (self.sp as *const usize).as_ref() }.map_or(0, |pc| *pc)
    }
}

/// A captured stack.
pub struct Stack {
    pcs: [usize; MAX_DEPTH],
    depth: usize,
    flags: u16,
    guessed: u64,
    generation: u64,
    in_handler: bool,
    reads: Reads,
}

impl Default for Stack {
    fn default() -> Self {
        Self::new()
    }
}

impl Stack {
    /// An empty stack.
    pub const fn new() -> Self {
        Self {
            pcs: [0; MAX_DEPTH],
            depth: 0,
            flags: 0,
            guessed: 0,
            generation: 0,
            in_handler: false,
            reads: Reads::new(),
        }
    }
    /// A stack of these return addresses.
    #[cfg(test)]
    pub fn of(pcs: &[usize]) -> Self {
        let mut stack = Self::new();
        pcs.iter().for_each(|&pc| stack.push(pc));
        stack
    }
    /// Return addresses, innermost first; one that a signal interrupted is the address of that instruction.
    #[inline]
    pub fn pcs(&self) -> &[usize] {
        self.pcs.get(..self.depth).unwrap_or(&[])
    }
    /// `umem_layout::stack_flag` bits.
    pub fn flags(&self) -> u16 {
        self.flags
    }
    /// Bit i: frame i was found by frame pointer.
    pub fn guessed(&self) -> u64 {
        self.guessed
    }
    /// Whether a signal handler is on it.
    pub fn in_handler(&self) -> bool {
        self.in_handler
    }
    #[inline(always)]
    fn push(&mut self, pc: usize) {
        debug_assert!(self.depth < MAX_DEPTH);
        // A walk stops in time; this tells the compiler so.
        self.pcs[self.depth % MAX_DEPTH] = pc;
        self.depth += 1;
    }
}

/// Why a walk went no further.
enum End {
    Outermost,
    Early,
}

/// A walk on its way: the frame pointer is read from where it was saved only when a frame is found through it.
struct Walk<'a> {
    generation: u64,
    frame: Frame,
    /// Where the frame pointer of `frame` was saved; zero: it is in `frame`.
    fp_at: usize,
    bounds: &'a mut Bounds,
    tables: &'a mut Tables,
    out: &'a mut Stack,
}

/// Captures up to `depth` return addresses from `entry` outwards. `bounds` remembers what is known of the
/// thread's stack from one capture to the next; `tables` is working storage.
///
/// # Safety
/// `entry` holds the registers of a call that this thread is still in.
pub unsafe fn capture(
    entry: Entry,
    depth: usize,
    bounds: &mut Bounds,
    tables: &mut Tables,
    out: &mut Stack,
) {
    let generation = rules::generation();
    (out.depth, out.flags, out.guessed) = (0, 0, 0);
    out.generation = generation;
    out.in_handler = false;
    out.reads.clear();
    let first = bounds.enter(entry.sp).and_then(|()| bounds.read(entry.sp));
    let Some(first) = first else {
        out.flags = stack_flag::ENDED_EARLY;
        return out.reads.give_up();
    };
    out.reads.push(entry.sp, first);
    let frame = Frame {
        pc: first,
        sp: entry.sp + size_of::<usize>(),
        fp: entry.fp,
        interrupted: false,
    };
    let mut walk = Walk {
        generation,
        frame,
        fp_at: 0,
        bounds,
        tables,
        out,
    };
    walk.run(depth.min(MAX_DEPTH));
}

impl Walk<'_> {
    fn run(&mut self, depth: usize) {
        loop {
            self.out.push(self.frame.pc);
            if self.out.depth >= depth {
                self.out.flags |= stack_flag::CUT;
                return;
            }
            match self.step() {
                Ok(()) => {}
                Err(End::Outermost) => return,
                Err(End::Early) => {
                    self.out.reads.give_up();
                    if self.guess().is_none() {
                        self.out.flags |= stack_flag::ENDED_EARLY;
                        return;
                    }
                }
            }
        }
    }

    /// The frame pointer of the frame.
    #[inline(always)]
    fn frame_pointer(&mut self) -> Result<usize, End> {
        if self.fp_at == 0 {
            self.out.reads.use_fp();
            return Ok(self.frame.fp);
        }
        let value = self
            .bounds
            .read_from(self.fp_at, self.fp_at)
            .ok_or(End::Early)?;
        self.out.reads.push(self.fp_at, value);
        (self.frame.fp, self.fp_at) = (value, 0);
        Ok(value)
    }

    /// Goes on to the caller's frame.
    #[inline(always)]
    fn step(&mut self) -> Result<(), End> {
        let rule = rules::lookup(self.generation, self.frame, self.tables);
        let base = if rule.is_stack() {
            self.frame.sp
        } else if rule.is_pointer() {
            self.frame_pointer()?
        } else {
            return self.step_rare(rule);
        };
        let Some(saved) = rule.saved() else {
            return self.step_rare(rule);
        };
        let cfa = base.wrapping_add_signed(rule.cfa());
        if saved != 0 {
            // Above the frame's end the slot is no part of it; below, it is checked when it is read.
            self.fp_at = cfa.wrapping_add_signed(saved);
            if self.fp_at < self.frame.sp {
                return Err(End::Early);
            }
        }
        self.leave(cfa)
    }

    /// The frame that was called from the one whose CFA this is, is done.
    #[inline(always)]
    fn leave(&mut self, cfa: usize) -> Result<(), End> {
        // The return address lies below the CFA and not below the stack pointer.
        if cfa <= self.frame.sp || !cfa.is_multiple_of(8) || !self.bounds.reach(cfa) {
            return Err(End::Early);
        }
        // SAFETY: a word from the stack pointer on and below what is readable; the walk began in the range, and only goes outwards.
        let pc = unsafe { self.bounds.read_inside(cfa - 8) };
        self.out.reads.push(cfa - 8, pc);
        if pc == 0 {
            return Err(End::Outermost);
        }
        (self.frame.pc, self.frame.sp, self.frame.interrupted) = (pc, cfa, false);
        Ok(())
    }

    /// As [`Walk::step`], for all rules.
    #[cold]
    #[inline(never)]
    fn step_rare(&mut self, rule: rules::Packed) -> Result<(), End> {
        let rule = rule.unpack(self.frame, self.tables);
        let sp = self.frame.sp;
        let cfa = match rule {
            Rule::Stack { cfa, .. } => sp.wrapping_add_signed(cfa),
            Rule::Pointer { cfa, .. } => self.frame_pointer()?.wrapping_add_signed(cfa),
            Rule::Realigned { cfa, .. } => {
                let at = self.frame_pointer()?.wrapping_add_signed(cfa);
                self.read_from(sp, at)?
            }
            Rule::Plt { threshold } => {
                sp + 8
                    + if (self.frame.pc & 15) >= threshold {
                        8
                    } else {
                        0
                    }
            }
            Rule::Signal => return self.signal_frame(),
            Rule::Outermost => return Err(End::Outermost),
            Rule::None => return Err(End::Early),
        };
        match rule.saved_fp() {
            None => {}
            Some(Saved::At(offset)) => self.fp_at = cfa.wrapping_add_signed(offset),
            Some(Saved::AtPointer) => self.fp_at = self.frame_pointer()?,
        }
        if self.fp_at != 0 && self.fp_at < sp {
            return Err(End::Early);
        }
        self.leave(cfa)
    }

    /// Reads a word that must lie at or above `floor`.
    fn read_from(&mut self, floor: usize, address: usize) -> Result<usize, End> {
        let value = self.bounds.read_from(floor, address).ok_or(End::Early)?;
        self.out.reads.push(address, value);
        Ok(value)
    }

    /// Through a signal handler into what it interrupted: the kernel left all registers on the stack.
    #[cold]
    fn signal_frame(&mut self) -> Result<(), End> {
        // struct ucontext: flags, link, stack (5 words in all), then the general registers in this order.
        const REGISTERS: usize = 40;
        const RBP: usize = REGISTERS + 10 * 8;
        const RSP: usize = REGISTERS + 15 * 8;
        const RIP: usize = REGISTERS + 16 * 8;
        self.out.reads.give_up();
        self.out.in_handler = true;
        let start = self.frame.sp;
        let mut register = |offset: usize| {
            if self.bounds.reach(start + offset + 8) {
                self.bounds.read(start + offset)
            } else {
                None
            }
        };
        let (pc, sp, fp) = (register(RIP), register(RSP), register(RBP));
        let (Some(pc), Some(sp), Some(fp)) = (pc, sp, fp) else {
            return Err(End::Early);
        };
        // The handler may have run on a stack of its own.
        self.bounds.enter(sp).ok_or(End::Early)?;
        if pc == 0 {
            return Err(End::Outermost);
        }
        self.fp_at = 0;
        self.frame = Frame {
            pc,
            sp,
            fp,
            interrupted: true,
        };
        Ok(())
    }

    /// Goes on to the caller's frame by frame pointer, if that is plausible.
    #[cold]
    fn guess(&mut self) -> Option<()> {
        let fp = self.frame_pointer().ok()?;
        let bounds = &mut *self.bounds;
        if fp < self.frame.sp || !fp.is_multiple_of(8) || !bounds.reach(fp.checked_add(16)?) {
            return None;
        }
        let (outer, pc) = (bounds.read(fp)?, bounds.read(fp + 8)?);
        object_of(pc.wrapping_sub(1))?;
        self.fp_at = 0;
        self.frame = Frame {
            pc,
            sp: fp + 16,
            fp: outer,
            interrupted: false,
        };
        self.out.guessed |= 1 << self.out.depth;
        self.out.flags |= stack_flag::GUESSED;
        Some(())
    }
}
