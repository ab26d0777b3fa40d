//! Locks of one word that live in published structures.
//!
//! **Owns** the protocol of the word: 0 free, else the thread that holds it, and a bit for "waited for". **May use**
//! `sys`. **Promises** no allocation, no libc lock, and words that a child process can take over after a fork.
//!
//! # Signal handlers
//! POSIX forbids malloc in a handler that interrupted malloc, and yet programs do it. So each thread counts the locks that it holds
//! or waits for, and other [sections](section) that must not be entered twice: a call that finds the count above zero
//! has [interrupted](has_interrupted) the allocator and is served by `reserve`, which needs no lock. What is not prepared for that ends with
//! a message, told by the owner in the lock's word, instead of hanging. fork, which POSIX allows there, leaves
//! such locks to the interrupted code, in both processes ([`acquire_for_fork`]).

mod protocol;

use crate::sys::{futex, process, single, tls};
use core::sync::atomic::{AtomicU32, Ordering, compiler_fence};
use protocol::{FREE, Word};

impl Word for AtomicU32 {
    const SPINS: u32 = 64;

    #[inline(always)]
    fn load(&self) -> u32 {
        self.load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn store(&self, value: u32) {
        self.store(value, Ordering::Relaxed);
    }

    #[inline(always)]
    fn fetch_or(&self, bits: u32) {
        self.fetch_or(bits, Ordering::Relaxed);
    }

    #[inline(always)]
    fn swap(&self, value: u32, order: Ordering) -> u32 {
        let now = self.load(Ordering::Relaxed);
        if single::is_single() && single::exchange_half(self, now, value, order) {
            return now;
        }
        self.swap(value, order)
    }

    #[inline(always)]
    fn exchange(&self, old: u32, new: u32, order: Ordering) -> bool {
        single::exchange_half(self, old, new, order)
    }

    #[inline(always)]
    fn own_id() -> u32 {
        process::own_id()
    }

    fn sleep(&self, expected: u32) {
        futex::wait(self, expected);
    }

    fn wake(&self) {
        futex::wake_one(self);
    }

    fn pause(spin: u32) {
        core::hint::spin_loop();
        if spin == Self::SPINS / 2 {
            process::yield_now();
        }
    }

    #[cold]
    fn waits_for_itself() -> ! {
        process::write_error(
            b"umem allocator: a signal handler called the allocator, which it had interrupted. \
malloc(3) and its kin are not async-signal-safe; see signal-safety(7).\n",
        );
        process::abort()
    }
}

/// Changes the number of the thread's sections, in order with what the thread does else.
#[inline(always)]
fn count_section(more: u32) {
    compiler_fence(Ordering::SeqCst);
    tls::add_sections(more);
    compiler_fence(Ordering::SeqCst);
}

/// A part of the allocator's work on what belongs to the calling thread, which a signal handler must not meet half done.
pub struct Section(());

impl Drop for Section {
    #[inline]
    fn drop(&mut self) {
        count_section(u32::MAX);
    }
}

/// Enters a section; dropping the result leaves it.
#[inline]
pub fn section() -> Section {
    count_section(1);
    Section(())
}

/// Whether the calling code is a signal handler that has interrupted the allocator.
#[inline]
pub fn has_interrupted() -> bool {
    tls::sections() != 0
}

/// A held lock; dropping it lets go.
pub struct Guard<'a> {
    word: &'a AtomicU32,
}

impl Drop for Guard<'_> {
    #[inline]
    fn drop(&mut self) {
        unlock(self.word);
    }
}

/// Takes the lock, waiting as long as it is held.
#[inline]
pub fn lock(word: &AtomicU32) -> Guard<'_> {
    acquire(word);
    Guard { word }
}

/// Takes the lock and says whether another thread held it at the first try.
#[inline]
pub fn lock_counting(word: &AtomicU32) -> (Guard<'_>, bool) {
    count_section(1);
    let contended = !protocol::try_acquire(word);
    if contended {
        protocol::wait_for(word);
    }
    (Guard { word }, contended)
}

/// Takes the lock without a guard.
#[inline]
pub fn acquire(word: &AtomicU32) {
    count_section(1);
    if !protocol::try_acquire(word) {
        protocol::wait_for(word);
    }
}

/// Takes a lock before a fork, but not when the calling thread holds it already: code that a signal handler has
/// interrupted does, and goes on with it afterwards.
pub fn acquire_for_fork(word: &AtomicU32) {
    protocol::acquire_for_fork(word);
}

/// Lets go, in parent and child, of what [`acquire_for_fork`] took. What it left alone belongs to the calling thread, which
/// has another identifier in the child.
pub fn release_after_fork(word: &AtomicU32) {
    protocol::release_after_fork(word);
}

/// Frees a lock in a process in which its holder does not exist.
pub fn reset(word: &AtomicU32) {
    word.store(FREE, Ordering::Relaxed);
}

/// Lets go of a lock taken by [`acquire`].
#[inline]
pub fn unlock(word: &AtomicU32) {
    protocol::release(word);
    count_section(u32::MAX);
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::Arc, thread, vec::Vec};

    #[test]
    fn only_one_thread_holds_a_lock() {
        let word = Arc::new(AtomicU32::new(0));
        let counter = Arc::new(core::sync::atomic::AtomicU64::new(0));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (word, counter) = (word.clone(), counter.clone());
                thread::spawn(move || {
                    for _ in 0..10_000 {
                        let _guard = lock(&word);
                        let seen = counter.load(Ordering::Relaxed);
                        counter.store(seen + 1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(counter.load(Ordering::Relaxed), 40_000);
        assert_eq!(word.load(Ordering::Relaxed), FREE);
    }
}
