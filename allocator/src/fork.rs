//! Fork: every lock is held while the process is copied, so that the child finds structures at rest.
//!
//! The handlers are registered by the library's constructor, early, because the handler registered first
//! prepares last. A fork in a signal handler leaves the locks alone that the interrupted code holds.
//!
//! `_Fork` runs no handlers; the library's own does what they do ([`around`]). clone runs none either: its child finds a word at zero that the kernel has wiped, at its first call that
//! leaves the fast path, and then frees the locks that threads held which it does not have. What those threads were
//! changing at that moment stays half done.
#![allow(unsafe_code)]

use crate::{
    cache, checked,
    debug::depot,
    init,
    raw::{Cell, Global, copy, publish_span, root},
    relief, sync,
    sys::{memory, process},
    thread, unwind, vmem,
};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use umem_layout::{Plain, Span, ready, span_kind};

/// Address of a word that is zero in a child that has not run [`child`]; zero while there is none.
static WITNESS: AtomicUsize = AtomicUsize::new(0);

fn for_each_lock(act: fn(&AtomicU32)) {
    act(relief::lock_word());
    act(checked::lock_word());
    act(init::lock_word());
    thread::for_each_lock(act);
    cache::for_each_lock(act);
    vmem::for_each_lock(act);
    act(depot::lock_word());
}

unsafe extern "C" fn prepare() {
    unwind::fork_lock();
    for_each_lock(sync::acquire_for_fork);
}

unsafe extern "C" fn parent() {
    for_each_lock(sync::release_after_fork);
    unwind::fork_unlock();
}

unsafe extern "C" fn child() {
    process::forget_own_id();
    for_each_lock(sync::release_after_fork);
    settle();
}

/// Runs a function that forks without handlers, with what the handlers do around it.
pub fn around(fork: impl FnOnce() -> i32) -> i32 {
    if root().state().load(Ordering::Acquire) != ready::READY {
        return fork();
    }
    // SAFETY: the three handlers, in the order in which fork calls them.
    unsafe {
        prepare();
        let result = fork();
        if result == 0 {
            child();
        } else {
            parent();
        }
        result
    }
}

/// What is left to do in a child, whose locks are free.
fn settle() {
    unwind::after_fork();
    root().pid().set(process::process_id());
    if let Some(word) = witness() {
        word.store(1, Ordering::Relaxed);
    }
    cache::after_fork();
    thread::after_fork();
    copy::after_fork();
}

/// Registers the handlers, at the first call: early, from a constructor.
pub fn register() {
    static DONE: AtomicBool = AtomicBool::new(false);
    if !DONE.swap(true, Ordering::AcqRel) {
        // SAFETY: the handlers live as long as the library and have the required signature.
        unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) };
    }
}

// ---- children that ran no handlers ----

/// Maps the word that children find wiped.
pub fn initialize() {
    if let Some(address) = memory::map_wiped_on_fork(memory::PAGE) {
        static SPAN: Global<Span> = Global::new(Span::ZERO);
        // SAFETY: a static that is only accessed through handles; this runs once.
        unsafe {
            publish_span(
                SPAN.get() as usize,
                address,
                memory::PAGE,
                span_kind::METADATA,
            )
        };
        WITNESS.store(address, Ordering::Release);
        if let Some(word) = witness() {
            word.store(1, Ordering::Relaxed);
        }
    }
}

#[inline]
fn witness() -> Option<&'static AtomicU32> {
    let address = WITNESS.load(Ordering::Relaxed);
    // SAFETY: zero or the address of a page that stays mapped, of which only this word is used.
    (address != 0).then(|| unsafe { AtomicU32::from_ptr(address as *mut u32) })
}

/// Makes the allocator usable in a child that ran no handlers. Called where the fast path ends.
#[inline]
pub fn notice() {
    if witness().is_some_and(|word| word.load(Ordering::Relaxed) == 0) {
        take_over();
    }
}

#[cold]
fn take_over() {
    process::forget_own_id();
    for_each_lock(sync::reset);
    settle();
}
