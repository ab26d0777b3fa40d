//! Fork: every lock is held while the process is copied, so that the child finds structures at rest.
//!
//! The handlers are registered by the library's constructor, early, because the handler registered first
//! prepares last. `_Fork`, vfork and posix_spawn run no handlers; a child of `_Fork` that allocates may wait for
//! a lock that another thread held.
#![allow(unsafe_code)]

use crate::{
    cache,
    debug::depot,
    init,
    raw::{Cell, root},
    sync,
    sys::process,
    thread, unwind, vmem,
};
use core::sync::atomic::{AtomicBool, Ordering};

fn lock_all() {
    unwind::fork_lock();
    sync::acquire(init::lock_word());
    thread::fork_lock();
    cache::fork_lock();
    vmem::fork_lock();
    sync::acquire(depot::lock_word());
}

fn unlock_all() {
    sync::unlock(depot::lock_word());
    vmem::fork_unlock();
    cache::fork_unlock();
    thread::fork_unlock();
    sync::unlock(init::lock_word());
    unwind::fork_unlock();
}

unsafe extern "C" fn prepare() {
    lock_all();
}

unsafe extern "C" fn parent() {
    unlock_all();
}

unsafe extern "C" fn child() {
    unlock_all();
    root().pid().set(process::process_id());
    cache::after_fork();
    thread::after_fork();
}

/// Registers the handlers, at the first call: early, from a constructor.
pub fn register() {
    static DONE: AtomicBool = AtomicBool::new(false);
    if !DONE.swap(true, Ordering::AcqRel) {
        // SAFETY: the handlers live as long as the library and have the required signature.
        unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) };
    }
}
