//! The protocol of a lock's word: no more than [`Word`] offers, so that the same code runs on a model of memory.

use core::sync::atomic::Ordering;

/// Nobody holds the lock.
pub const FREE: u32 = 0;
/// Set while a thread may be asleep on the word. Identifiers of threads are below 2^22.
const WAITED: u32 = 1 << 31;
/// Set while a lock is held for a fork.
const FORKED: u32 = 1 << 30;

/// The word of a lock, and what a thread does around it.
pub trait Word {
    /// How often a thread looks again before it sleeps.
    const SPINS: u32;

    fn load(&self) -> u32;
    fn store(&self, value: u32);
    fn fetch_or(&self, bits: u32);
    fn swap(&self, value: u32, order: Ordering) -> u32;
    /// Exchanges `old` for `new`; `order` is that of success. False: it was not `old`.
    fn exchange(&self, old: u32, new: u32, order: Ordering) -> bool;

    /// Number of the calling thread, from 1.
    fn own_id() -> u32;
    /// Sleeps while the word holds `expected`; may return early.
    fn sleep(&self, expected: u32);
    /// Wakes one sleeper.
    fn wake(&self);
    /// Called before look number `spin`.
    fn pause(spin: u32);
    /// Ends the process: the calling thread waits for itself.
    fn waits_for_itself() -> !;
}

#[inline(always)]
pub fn try_acquire(word: &impl Word) -> bool {
    exchange(word, own_id(word))
}

#[inline(always)]
fn exchange<W: Word>(word: &W, mine: u32) -> bool {
    word.exchange(FREE, mine, Ordering::Acquire)
}

#[inline(always)]
fn own_id<W: Word>(_word: &W) -> u32 {
    W::own_id()
}

#[inline(always)]
pub fn release(word: &impl Word) {
    if word.swap(FREE, Ordering::Release) & WAITED != 0 {
        word.wake();
    }
}

pub fn acquire_for_fork(word: &impl Word) {
    if !is_own(word, word.load()) {
        if !try_acquire(word) {
            wait_for(word);
        }
        word.fetch_or(FORKED);
    }
}

pub fn release_after_fork(word: &impl Word) {
    let value = word.load();
    if value & FORKED != 0 {
        release(word);
    } else if value != FREE && !is_own(word, value) {
        word.store(own_id(word));
    }
}

/// Whether a word's value says that the calling thread holds it.
fn is_own(word: &impl Word, value: u32) -> bool {
    value & !(WAITED | FORKED) == own_id(word)
}

#[cold]
pub fn wait_for<W: Word>(word: &W) {
    for spin in 0..W::SPINS {
        W::pause(spin);
        if word.load() == FREE && try_acquire(word) {
            return;
        }
    }
    sleep_for(word);
}

/// Whoever wakes up cannot know whether others sleep, so it takes the word with the bit set.
fn sleep_for<W: Word>(word: &W) {
    loop {
        let value = word.load();
        if value == FREE {
            if exchange(word, own_id(word) | WAITED) {
                return;
            }
            continue;
        }
        if is_own(word, value) {
            W::waits_for_itself();
        }
        let waited = value | WAITED;
        if value == waited || word.exchange(value, waited, Ordering::Relaxed) {
            word.sleep(waited);
        }
    }
}
