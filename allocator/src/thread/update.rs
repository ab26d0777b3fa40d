//! Periodic updates: what lies unused goes back, and magazines grow where threads wait for a depot.
//!
//! # Theory (after Bonwick and Adams, §3.4 and §3.3, and what a preloaded library may do)
//! 1. Twice in a reap interval the magazines that no thread took out of a depot since the last update, its *working set* aside, go
//!    back to their slabs, and the pages of free memory go back to the system. So memory that was freed is gone at the latest
//!    one interval later.
//! 2. In a program with threads a thread of ours does it. It starts when the second thread comes into service: then the
//!    program creates threads, so that one more does no harm. It blocks all signals and sleeps without end while nothing happens.
//!    When the program is down to one thread it does its work once more and ends; when none is left, it ends at once,
//!    since a process whose main thread has left by pthread_exit lives as long as one of its threads.
//! 3. In a program with one thread there is none of ours: unshare(2), setns(2) and the like refuse processes with threads. There the
//!    first call after a pause of the thread does the update, when it is due (see `sys::rseq`), as do a visit of a depot and the free of a block.
//! 4. Magazines of a cache grow when its depot's lock was contended more than `max_contention` times since the last update.
//!    Magazines of both sizes work together, since each knows its own.

use super::{budget, growth, stage};
use crate::{
    cache,
    raw::{ArenaRef, Cell, copy, root},
    sys::{clock, futex, process},
    vmem::{self, arenas},
};
use core::{
    ffi::c_void,
    ptr::null_mut,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

const SECOND: u64 = 1_000_000_000;
/// Stack of our thread: it needs little, but the program's and libc's thread storage is part of it.
const STACK: usize = 256 << 10;

/// Whether our thread exists.
static RUNNING: AtomicBool = AtomicBool::new(false);
/// What it sleeps on; changed to wake it.
static SIGNAL: AtomicU32 = AtomicU32::new(0);
/// It sleeps without end.
static IDLE: AtomicBool = AtomicBool::new(false);
/// When a program without it does the next update, in nanoseconds.
static DUE: AtomicU64 = AtomicU64::new(0);

/// Nanoseconds between two updates.
fn period() -> u64 {
    u64::from(root().reap_interval().get().max(1)) * SECOND / 2
}

/// A depot was visited, or a block freed: updates when it is time, or tells the thread that does it that there is something to do.
#[inline]
pub fn tick() {
    if RUNNING.load(Ordering::Relaxed) {
        if IDLE.load(Ordering::Relaxed) && IDLE.swap(false, Ordering::Relaxed) {
            wake();
        }
        return;
    }
    let (now, due) = (clock::coarse(), DUE.load(Ordering::Relaxed));
    if now >= due {
        update_when_due(now, due);
    }
}

/// The thread goes on after a pause: updates when it is time, in a program without our thread.
pub(super) fn heed() {
    vmem::purge_waiting();
    if !RUNNING.load(Ordering::Relaxed) {
        tick();
    }
}

#[cold]
fn update_when_due(now: u64, due: u64) {
    let is_first = DUE
        .compare_exchange(due, now + period(), Ordering::Relaxed, Ordering::Relaxed)
        .is_ok();
    // The first visit of all only sets the time.
    if is_first && due != 0 {
        let idle = now - due >= period();
        if idle {
            // None of what is left is in use, nor what the thread keeps. Those who visit a depot look at their magazines
            // only after this.
            budget::give_all();
            growth::end(super::local());
        }
        update();
        if idle {
            update();
        }
    }
}

fn wake() {
    SIGNAL.fetch_add(1, Ordering::Release);
    futex::wake_one(&SIGNAL);
}

/// Gives back what was not used since the last update.
fn update() {
    vmem::heed_own_limit();
    let mut last = 0;
    while let Some(hold) = cache::next_held(last) {
        last = hold.cache().id().get();
        cache::update(hold.cache());
    }
    for arena in purged_arenas() {
        vmem::purge_free(arena);
    }
    copy::refresh();
}

/// The arenas whose free pages go back; spans go to the top arena, which comes last.
pub fn purged_arenas() -> [ArenaRef; 5] {
    let all = arenas();
    [
        all.internal,
        all.default,
        all.oversize,
        all.memalign,
        all.top,
    ]
}

/// A number that changes with everything that an update might look at.
fn activity() -> u64 {
    let mut sum = 0_u64;
    cache::for_each(|cache| {
        let counts = [
            cache.depot_allocs().get(),
            cache.depot_full_count().get(),
            cache.slab_frees().get(),
        ];
        sum = counts.into_iter().fold(sum, u64::wrapping_add);
    });
    purged_arenas().into_iter().fold(sum, |sum, arena| {
        sum.wrapping_add(arena.frees().get())
            .wrapping_add(arena.allocs().get())
    })
}

// ---- our thread ----

/// Starts our thread when the program has become one with several.
pub(super) fn thread_came() {
    if budget::live() > 1 && !RUNNING.swap(true, Ordering::AcqRel) {
        start();
    }
}

/// Wakes our thread when the program's last one has left.
pub(super) fn thread_left() {
    if budget::live() == 0 && RUNNING.load(Ordering::Relaxed) {
        wake();
    }
}

/// In the child of a fork our thread is gone.
pub(super) fn after_fork() {
    RUNNING.store(false, Ordering::Relaxed);
    root().update_thread().set(0);
    IDLE.store(false, Ordering::Relaxed);
}

/// Without our thread all works as in a program with one thread.
fn start() {
    let started = process::with_signals_blocked(|| {
        // SAFETY: an attribute object of our own; zero bytes are overwritten by `init`.
        let mut attributes: libc::pthread_attr_t = unsafe { core::mem::zeroed() };
        let mut id = 0;
        // SAFETY: the attributes are initialised before they are used and destroyed once; `body` lives as long as the
        // library and takes no argument.
        unsafe {
            if libc::pthread_attr_init(&raw mut attributes) != 0 {
                return false;
            }
            libc::pthread_attr_setdetachstate(&raw mut attributes, libc::PTHREAD_CREATE_DETACHED);
            libc::pthread_attr_setstacksize(&raw mut attributes, STACK);
            let result = libc::pthread_create(&raw mut id, &raw const attributes, body, null_mut());
            libc::pthread_attr_destroy(&raw mut attributes);
            result == 0
        }
    });
    if !started {
        RUNNING.store(false, Ordering::Release);
    }
}

extern "C" fn body(_nothing: *mut c_void) -> *mut c_void {
    process::set_thread_name(b"umem_update\0");
    // It is no thread of the program: what it allocates by accident comes from the slabs.
    super::local().stage.set(stage::ENDED);
    root().update_thread().set(process::own_id().into());
    serve();
    root().update_thread().set(0);
    null_mut()
}

fn serve() {
    let mut seen = activity();
    let mut quiet = 0;
    loop {
        let signal = SIGNAL.load(Ordering::Acquire);
        // Two updates without any activity between them: nothing is left to give back.
        let idle = quiet > 2;
        IDLE.store(idle, Ordering::Relaxed);
        if budget::live() != 0 {
            let limit = if idle && budget::live() > 1 {
                None
            } else {
                Some(period())
            };
            futex::wait_for(&SIGNAL, signal, limit);
        }
        IDLE.store(false, Ordering::Relaxed);
        if budget::live() == 0 {
            break;
        }
        update();
        super::note_names();
        if budget::live() <= 1 {
            break;
        }
        let now = activity();
        quiet = if now == seen { quiet + 1 } else { 0 };
        seen = now;
    }
    DUE.store(clock::coarse() + period(), Ordering::Relaxed);
    RUNNING.store(false, Ordering::Release);
}
