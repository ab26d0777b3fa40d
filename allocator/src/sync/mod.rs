//! Locks of one word that live in published structures.
//!
//! **Owns** the protocol of the word: 0 free, else the thread that holds it, and a bit for "waited for". **May use**
//! `sys`. **Promises** no allocation, no libc lock, and words that a child process can take over after a fork.
//!
//! A thread that waits for itself is a signal handler that interrupted the allocator. POSIX forbids malloc
//! there; the word's owner tells, and the process ends with a message instead of hanging. fork, which POSIX allows there, leaves
//! such locks to the interrupted code, in both processes ([`acquire_for_fork`]).

use crate::sys::{futex, process};
use core::sync::atomic::{AtomicU32, Ordering};

const FREE: u32 = 0;
/// Set while a thread may be asleep on the word. Identifiers of threads are below 2^22.
const WAITED: u32 = 1 << 31;
/// Set while a lock is held for a fork.
const FORKED: u32 = 1 << 30;
const SPINS: u32 = 64;

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

#[inline]
fn try_acquire(word: &AtomicU32) -> bool {
    word.compare_exchange(
        FREE,
        process::own_id(),
        Ordering::Acquire,
        Ordering::Relaxed,
    )
    .is_ok()
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
    let contended = !try_acquire(word);
    if contended {
        wait_for(word);
    }
    (Guard { word }, contended)
}

/// Takes the lock without a guard.
#[inline]
pub fn acquire(word: &AtomicU32) {
    if !try_acquire(word) {
        wait_for(word);
    }
}

/// Takes a lock before a fork, but not when the calling thread holds it already: code that a signal handler has
/// interrupted does, and goes on with it afterwards.
pub fn acquire_for_fork(word: &AtomicU32) {
    if !is_own(word.load(Ordering::Relaxed)) {
        acquire(word);
        word.fetch_or(FORKED, Ordering::Relaxed);
    }
}

/// Lets go, in parent and child, of what [`acquire_for_fork`] took. What it left alone belongs to the calling thread, which
/// has another identifier in the child.
pub fn release_after_fork(word: &AtomicU32) {
    let value = word.load(Ordering::Relaxed);
    if value & FORKED != 0 {
        unlock(word);
    } else if value != FREE && !is_own(value) {
        word.store(process::own_id(), Ordering::Relaxed);
    }
}

/// Frees a lock in a process in which its holder does not exist.
pub fn reset(word: &AtomicU32) {
    word.store(FREE, Ordering::Relaxed);
}

/// Lets go of a lock taken by [`acquire`].
#[inline]
pub fn unlock(word: &AtomicU32) {
    if word.swap(FREE, Ordering::Release) & WAITED != 0 {
        futex::wake_one(word);
    }
}

/// Whether a word's value says that the calling thread holds it.
fn is_own(value: u32) -> bool {
    value & !(WAITED | FORKED) == process::own_id()
}

#[cold]
fn wait_for(word: &AtomicU32) {
    for spin in 0..SPINS {
        if word.load(Ordering::Relaxed) == FREE && try_acquire(word) {
            return;
        }
        core::hint::spin_loop();
        if spin == SPINS / 2 {
            process::yield_now();
        }
    }
    sleep_for(word);
}

/// Whoever wakes up cannot know whether others sleep, so it takes the word with the bit set.
fn sleep_for(word: &AtomicU32) {
    loop {
        let value = word.load(Ordering::Relaxed);
        if value == FREE {
            let mine = process::own_id() | WAITED;
            if word
                .compare_exchange(FREE, mine, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
            {
                return;
            }
            continue;
        }
        if is_own(value) {
            waits_for_itself();
        }
        let waited = value | WAITED;
        if value == waited
            || word
                .compare_exchange(value, waited, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            futex::wait(word, waited);
        }
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
