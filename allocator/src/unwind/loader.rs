//! What the loader does: which of its calls tell that an object was closed, and how it is asked where they do not.

use super::{history, object, object_of, rules};
use crate::sys::{environment, process};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// The loader's own mappings, once its memory is known to come from us and each of its calls to be seen.
static START: AtomicUsize = AtomicUsize::new(0);
static SIZE: AtomicUsize = AtomicUsize::new(0);
static FOLLOWED: AtomicBool = AtomicBool::new(false);

/// From now on the loader's calls are seen: its memory comes from us, and [`is_loader`] is asked at each call that frees.
pub fn follow() {
    const AT_BASE: u64 = 7;
    // A program that was linked statically or started by hand has no entry.
    let Some(object) = environment::auxiliary(AT_BASE).and_then(|at| object_of(at as usize)) else {
        return;
    };
    revalidate();
    START.store(object.start, Ordering::Relaxed);
    SIZE.store(object.end - object.start, Ordering::Release);
    FOLLOWED.store(true, Ordering::Release);
}

/// Whether code of the loader called, when it is followed.
#[inline(always)]
pub fn is_loader(entry: super::Entry) -> bool {
    let size = SIZE.load(Ordering::Relaxed);
    if size == 0 {
        return false;
    }
    // SAFETY: the return address of the call under way.
    let pc = unsafe { (entry.sp as *const usize).read() };
    pc.wrapping_sub(START.load(Ordering::Relaxed)) < size
}

static UNLOADS_SEEN: AtomicU64 = AtomicU64::new(0);
/// Threads that are asking the loader, which takes a lock of its own for it; and whether a fork wants to begin. A fork while that lock is
/// held would leave it held for ever in the child, so a fork waits for those that ask.
static ASKING: AtomicU32 = AtomicU32::new(0);
const FORK: u32 = 1 << 31;
/// Times that a fork pauses, and that others pause for a fork: a second in all. They go on without it then: the forking thread itself may
/// hold the loader's lock, or a thread that waits for one of the program.
const PAUSES: u32 = 10_000;
const PAUSE: u32 = 100_000;

/// How many objects the loader has closed so far. None: a fork goes on and on.
fn unloads() -> Option<u64> {
    for _ in 0..PAUSES {
        if ASKING.fetch_add(1, Ordering::Acquire) & FORK == 0 {
            let now = object::unloads();
            ASKING.fetch_sub(1, Ordering::Release);
            return Some(now);
        }
        ASKING.fetch_sub(1, Ordering::Release);
        process::pause(PAUSE);
    }
    None
}

/// Makes sure that no rule is from before an object was closed. Where the loader's calls are not seen, its count of closed objects is
/// compared with the one seen last. True: it has changed, all rules were forgotten, and a stack captured before must be
/// captured again.
pub fn revalidate() -> bool {
    if FOLLOWED.load(Ordering::Acquire) {
        return false;
    }
    let Some(now) = unloads() else { return false };
    if UNLOADS_SEEN.load(Ordering::Acquire) == now {
        return false;
    }
    // First forgotten, then seen: who finds the number unchanged must not meet rules from before.
    history::forget();
    rules::forget();
    UNLOADS_SEEN.store(now, Ordering::Release);
    true
}

/// Before a fork: no thread asks the loader from now on. See [`fork_unlock`].
pub fn fork_lock() {
    ASKING.fetch_or(FORK, Ordering::AcqRel);
    for _ in 0..PAUSES {
        if ASKING.load(Ordering::Acquire) == FORK {
            return;
        }
        process::pause(PAUSE);
    }
}

/// After a fork, in the parent.
pub fn fork_unlock() {
    ASKING.fetch_and(!FORK, Ordering::Release);
}

/// After a fork, in the child, which has none of the other threads.
pub fn after_fork() {
    ASKING.store(0, Ordering::Release);
}
