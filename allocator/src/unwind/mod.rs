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
//!    wrong. Whoever meets a stack for the first time calls [`revalidate`], which compares the loader's
//!    count of closed libraries; when it has changed, all rules are forgotten and the stack is captured again.
//! 4. Every word that is read lies in a page of the stack that was found readable before (`bounds`): tables may be
//!    wrong, stacks may be smashed, and coroutines live in memory that nobody announces.
//! 5. Without a rule (code of a just-in-time compiler, hand-written assembly) the frame pointer is tried: a frame is
//!    accepted when it lies further out on the stack and its return address is inside of a loaded object,
//!    and it is marked as guessed. Otherwise the stack ends early.
#![allow(unsafe_code)]

mod bounds;
mod object;
mod rules;

pub use bounds::Bounds;
pub use object::{Object, object_of};

use crate::sys::process;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use rules::{Frame, Rule};
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

/// A captured stack.
pub struct Stack {
    pcs: [usize; MAX_DEPTH],
    depth: usize,
    flags: u16,
    guessed: u64,
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
        }
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
    fn push(&mut self, pc: usize) {
        if let Some(slot) = self.pcs.get_mut(self.depth) {
            *slot = pc;
            self.depth += 1;
        }
    }
}

/// Why a walk went no further.
enum End {
    Outermost,
    Early,
}

/// Captures up to `depth` return addresses from `entry` outwards. `bounds` remembers what is known of the
/// thread's stack from one capture to the next.
///
/// # Safety
/// `entry` holds the registers of a call that this thread is still in.
pub unsafe fn capture(entry: Entry, depth: usize, bounds: &mut Bounds, out: &mut Stack) {
    *out = Stack {
        depth: 0,
        flags: 0,
        guessed: 0,
        ..Stack::new()
    };
    let generation = rules::generation();
    let Some(first) = bounds.enter(entry.sp).and_then(|()| bounds.read(entry.sp)) else {
        out.flags = stack_flag::ENDED_EARLY;
        return;
    };
    let mut frame = Frame {
        pc: first,
        sp: entry.sp + size_of::<usize>(),
        fp: entry.fp,
        interrupted: false,
    };
    loop {
        out.push(frame.pc);
        if out.depth >= depth.min(MAX_DEPTH) {
            out.flags |= stack_flag::CUT;
            return;
        }
        match step(generation, frame, bounds) {
            Ok(next) => frame = next,
            Err(End::Outermost) => return,
            Err(End::Early) => match guess(frame, bounds) {
                Some(next) => {
                    out.guessed |= 1 << out.depth;
                    out.flags |= stack_flag::GUESSED;
                    frame = next;
                }
                None => {
                    out.flags |= stack_flag::ENDED_EARLY;
                    return;
                }
            },
        }
    }
}

/// The caller's frame.
#[inline]
fn step(generation: u64, frame: Frame, bounds: &mut Bounds) -> Result<Frame, End> {
    let rule = rules::lookup(generation, frame);
    let cfa = match rule {
        Rule::Stack { cfa, .. } => frame.sp.wrapping_add_signed(cfa),
        Rule::Pointer { cfa, .. } => frame.fp.wrapping_add_signed(cfa),
        Rule::Realigned { cfa, .. } => bounds
            .read_from(frame.sp, frame.fp.wrapping_add_signed(cfa))
            .ok_or(End::Early)?,
        Rule::Plt { threshold } => frame.sp + 8 + if (frame.pc & 15) >= threshold { 8 } else { 0 },
        Rule::Signal => return signal_frame(frame, bounds),
        Rule::Outermost => return Err(End::Outermost),
        Rule::None => return Err(End::Early),
    };
    if cfa < frame.sp || !cfa.is_multiple_of(8) || !bounds.reach(cfa) {
        return Err(End::Early);
    }
    let fp = match rule.saved_fp() {
        None => frame.fp,
        Some(rules::Saved::At(offset)) => bounds
            .read_from(frame.sp, cfa.wrapping_add_signed(offset))
            .ok_or(End::Early)?,
        Some(rules::Saved::AtPointer) => bounds.read_from(frame.sp, frame.fp).ok_or(End::Early)?,
    };
    let pc = bounds.read(cfa - 8).ok_or(End::Early)?;
    if pc == 0 {
        Err(End::Outermost)
    } else {
        Ok(Frame {
            pc,
            sp: cfa,
            fp,
            interrupted: false,
        })
    }
}

/// Through a signal handler into what it interrupted: the kernel left all registers on the stack.
#[cold]
fn signal_frame(frame: Frame, bounds: &mut Bounds) -> Result<Frame, End> {
    // struct ucontext: flags, link, stack (5 words in all), then the general registers in this order.
    const REGISTERS: usize = 40;
    const RBP: usize = REGISTERS + 10 * 8;
    const RSP: usize = REGISTERS + 15 * 8;
    const RIP: usize = REGISTERS + 16 * 8;
    let mut register = |offset: usize| {
        if bounds.reach(frame.sp + offset + 8) {
            bounds.read(frame.sp + offset)
        } else {
            None
        }
    };
    let (pc, sp, fp) = (register(RIP), register(RSP), register(RBP));
    let (Some(pc), Some(sp), Some(fp)) = (pc, sp, fp) else {
        return Err(End::Early);
    };
    // The handler may have run on a stack of its own.
    bounds.enter(sp).ok_or(End::Early)?;
    if pc == 0 {
        Err(End::Outermost)
    } else {
        Ok(Frame {
            pc,
            sp,
            fp,
            interrupted: true,
        })
    }
}

/// The caller's frame by frame pointer, if that is plausible.
#[cold]
fn guess(frame: Frame, bounds: &mut Bounds) -> Option<Frame> {
    let fp = frame.fp;
    if fp < frame.sp || !fp.is_multiple_of(8) || !bounds.reach(fp.checked_add(16)?) {
        return None;
    }
    let (outer, pc) = (bounds.read(fp)?, bounds.read(fp + 8)?);
    object_of(pc.wrapping_sub(1))?;
    Some(Frame {
        pc,
        sp: fp + 16,
        fp: outer,
        interrupted: false,
    })
}

static UNLOADS_SEEN: AtomicU64 = AtomicU64::new(0);
/// Held by the thread that asks the loader, which takes a lock of its own for it. A fork at that moment would leave that
/// lock held for ever in the child, so a fork waits for this one.
static ASKING: AtomicBool = AtomicBool::new(false);
/// Times that a fork pauses for the lock, a second in all. It goes on without it then: the forking thread itself may hold the
/// loader's.
const FORK_PAUSES: u32 = 10_000;
const FORK_PAUSE: u32 = 100_000;

fn try_ask() -> bool {
    ASKING
        .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
        .is_ok()
}

/// Compares the loader's count of closed libraries with the one seen last. True: it has changed, or another
/// thread is asking just now; all rules were forgotten, and a stack captured before must be captured again.
pub fn revalidate() -> bool {
    if !try_ask() {
        rules::forget();
        return true;
    }
    let now = object::unloads();
    ASKING.store(false, Ordering::Release);
    if UNLOADS_SEEN.swap(now, Ordering::AcqRel) == now {
        return false;
    }
    rules::forget();
    true
}

/// Before a fork: no thread asks the loader from now on. See [`fork_unlock`].
pub fn fork_lock() {
    for _ in 0..FORK_PAUSES {
        if try_ask() {
            return;
        }
        process::pause(FORK_PAUSE);
    }
}

/// After a fork, in both processes.
pub fn fork_unlock() {
    ASKING.store(false, Ordering::Release);
}
