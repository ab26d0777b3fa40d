//! Locks of one word that live in published structures.
//!
//! **Owns** the protocol of the word: 0 free, 1 held, 2 held and waited for. **May use** `sys`. **Promises** no
//! allocation, no libc lock, and words that a child process can take over after a fork.

use crate::sys::{futex, process};
use core::sync::atomic::{AtomicU32, Ordering};

const FREE: u32 = 0;
const HELD: u32 = 1;
const WAITED: u32 = 2;
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

/// Takes the lock, waiting as long as it is held.
#[inline]
pub fn lock(word: &AtomicU32) -> Guard<'_> {
    acquire(word);
    Guard { word }
}

/// Takes the lock and says whether another thread held it at the first try.
#[inline]
pub fn lock_counting(word: &AtomicU32) -> (Guard<'_>, bool) {
    if word
        .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
        .is_ok()
    {
        return (Guard { word }, false);
    }
    wait_for(word);
    (Guard { word }, true)
}

/// Takes the lock without a guard, for fork handlers.
#[inline]
pub fn acquire(word: &AtomicU32) {
    if word
        .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
        .is_err()
    {
        wait_for(word);
    }
}

/// Lets go of a lock taken by [`acquire`].
#[inline]
pub fn unlock(word: &AtomicU32) {
    if word.swap(FREE, Ordering::Release) == WAITED {
        futex::wake_one(word);
    }
}

#[cold]
fn wait_for(word: &AtomicU32) {
    for spin in 0..SPINS {
        if word.load(Ordering::Relaxed) == FREE
            && word
                .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
        {
            return;
        }
        core::hint::spin_loop();
        if spin == SPINS / 2 {
            process::yield_now();
        }
    }
    while word.swap(WAITED, Ordering::Acquire) != FREE {
        futex::wait(word, WAITED);
    }
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
