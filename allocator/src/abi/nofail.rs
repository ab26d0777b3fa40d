//! Allocations that may not fail: umem_nofail_callback(3).

use crate::{
    debug::message::{note, tell},
    sys::{futex, process},
};
use core::{
    ffi::c_int,
    sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

/// Flag of allocations that may not fail.
pub const UMEM_NOFAIL: c_int = 0x0100;
/// Result of a callback: try again.
pub const UMEM_CALLBACK_RETRY: c_int = 0;
/// Result of a callback, with the status in the lower eight bits: end the process by exit(3).
const CALLBACK_EXIT: c_int = 0x100;
const STATUS: c_int = 0xff;

/// What the program does when an allocation that may not fail has failed. It may also leave by longjmp(3) or end the thread.
pub type Callback = unsafe extern "C" fn() -> c_int;

static CALLBACK: AtomicUsize = AtomicUsize::new(0);
/// Process and thread that end the process, so that no other does, and the same thread not twice.
static EXITING: AtomicU64 = AtomicU64::new(0);

/// Sets the callback; without one the process ends with status 255.
pub fn set_callback(callback: Option<Callback>) {
    CALLBACK.store(
        callback.map_or(0, |function| function as usize),
        Ordering::Release,
    );
}

/// Whether an allocation with these flags may fail.
pub fn may_fail(flags: c_int) -> bool {
    flags & UMEM_NOFAIL == 0
}

/// After a failure: whether to try again. False: the allocation may fail. Does not return when the process is to end.
#[cold]
pub fn retry(flags: c_int) -> bool {
    if may_fail(flags) {
        return false;
    }
    let answer = call();
    if answer == UMEM_CALLBACK_RETRY {
        return true;
    }
    if answer & !STATUS != CALLBACK_EXIT {
        note(format_args!("nofail callback returned {answer:x}\n"));
        exit(STATUS);
    }
    exit(answer & STATUS)
}

fn call() -> c_int {
    let callback = CALLBACK.load(Ordering::Acquire);
    // SAFETY: the word is zero or the function that `set_callback` was given.
    match unsafe { core::mem::transmute::<usize, Option<Callback>>(callback) } {
        // SAFETY: the program's function; no lock is held and no frame below has anything to drop.
        Some(function) => unsafe { function() },
        None => CALLBACK_EXIT | STATUS,
    }
}

/// Ends the process. One thread does; the others wait for the end.
fn exit(status: c_int) -> ! {
    let process = u64::from(process::process_id()) << 32;
    let me = process | u64::from(process::thread_id());
    loop {
        let known = EXITING.load(Ordering::Acquire);
        if known == me {
            tell(b"umem allocator: recursive UMEM_CALLBACK_EXIT()\n");
            process::abort();
        }
        // What a process that forked left behind counts for nothing in its child.
        let is_free = known >> 32 << 32 != process;
        if !is_free {
            wait();
        } else if EXITING
            .compare_exchange(known, me, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
        {
            // SAFETY: exit(3); its handlers are the program's.
            unsafe { libc::exit(status) };
        }
    }
}

fn wait() {
    static NEVER: AtomicU32 = AtomicU32::new(0);
    futex::wait(&NEVER, 0);
}
