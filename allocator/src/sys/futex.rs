//! Waiting on a word of memory.
#![allow(unsafe_code)]

use core::sync::atomic::AtomicU32;
use syscalls::{Sysno, syscall};

const FUTEX_WAIT_PRIVATE: usize = 128;
const FUTEX_WAKE_PRIVATE: usize = 129;

/// Sleeps while `word` holds `expected`; may return early.
pub fn wait(word: &AtomicU32, expected: u32) {
    // SAFETY: the kernel only reads the word, which lives as long as the reference.
    let _ = unsafe { syscall!(Sysno::futex, word.as_ptr(), FUTEX_WAIT_PRIVATE, expected, 0) };
}

/// As [`wait`], for this many nanoseconds at most.
pub fn wait_for(word: &AtomicU32, expected: u32, nanoseconds: Option<u64>) {
    const SECOND: u64 = 1_000_000_000;
    let time = nanoseconds.map(|time| [time / SECOND, time % SECOND]);
    let time = time
        .as_ref()
        .map_or(core::ptr::null(), |time| time.as_ptr());
    // SAFETY: the kernel only reads the word and, where there is one, the timespec of two 64-bit numbers.
    let _ = unsafe {
        syscall!(
            Sysno::futex,
            word.as_ptr(),
            FUTEX_WAIT_PRIVATE,
            expected,
            time
        )
    };
}

/// Wakes one sleeper.
pub fn wake_one(word: &AtomicU32) {
    // SAFETY: the address is only a key; nothing is read or written.
    let _ = unsafe { syscall!(Sysno::futex, word.as_ptr(), FUTEX_WAKE_PRIVATE, 1) };
}

/// Wakes all sleepers.
pub fn wake_all(word: &AtomicU32) {
    // SAFETY: the address is only a key; nothing is read or written.
    let _ = unsafe {
        syscall!(
            Sysno::futex,
            word.as_ptr(),
            FUTEX_WAKE_PRIVATE,
            i32::MAX as usize
        )
    };
}
