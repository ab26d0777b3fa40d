//! Read-modify-write that locks the bus only when there is somebody to keep out.
//!
//! A locked instruction costs some twenty cycles, and a debugged call needs several. While the process has a single thread one
//! instruction without the prefix is enough: signals come between instructions. glibc keeps the answer for this very purpose and says
//! "no" before the second thread begins, also in processes that clone by themselves through it; its own allocator relies on it.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

#[cfg(target_arch = "x86_64")]
unsafe extern "C" {
    /// `<sys/single_threaded.h>`, glibc 2.32: not zero while the process has a single thread.
    static __libc_single_threaded: u8;
}

/// Whether no other thread can come near.
#[inline(always)]
pub fn is_single() -> bool {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a byte of libc's data, which only changes from "single" to "not" within a call that this thread makes.
    unsafe {
        (&raw const __libc_single_threaded).read_volatile() != 0
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

macro_rules! exchange {
    ($name:ident, $atomic:ty, $value:ty, $register:tt, $class:ident, $instruction:literal) => {
        /// Exchanges `old` for `new`; `order` is that of success. False: it was not `old`.
        #[inline(always)]
        pub fn $name(cell: &$atomic, old: $value, new: $value, order: Ordering) -> bool {
            #[cfg(target_arch = "x86_64")]
            if is_single() {
                let found: $value;
                // SAFETY: the cell is live, and nobody else is there but signal handlers, for which one instruction is atomic.
                unsafe {
                    core::arch::asm!(
                        $instruction,
                        cell = in(reg) cell.as_ptr(),
                        new = in($class) new,
                        inout($register) old => found,
                        options(nostack),
                    );
                }
                return found == old;
            }
            cell.compare_exchange(old, new, order, Ordering::Relaxed)
                .is_ok()
        }
    };
}
exchange!(
    exchange_byte,
    AtomicU8,
    u8,
    "al",
    reg_byte,
    "cmpxchg byte ptr [{cell}], {new}"
);
exchange!(
    exchange_half,
    AtomicU32,
    u32,
    "eax",
    reg,
    "cmpxchg dword ptr [{cell}], {new:e}"
);
exchange!(
    exchange_word,
    AtomicU64,
    u64,
    "rax",
    reg,
    "cmpxchg qword ptr [{cell}], {new}"
);

/// Adds to a word and returns what it was.
#[inline(always)]
pub fn add(cell: &AtomicU64, value: u64) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if is_single() {
        let before: u64;
        // SAFETY: as for the exchanges.
        unsafe {
            core::arch::asm!(
                "xadd qword ptr [{cell}], {value}",
                cell = in(reg) cell.as_ptr(),
                value = inout(reg) value => before,
                options(nostack),
            );
        }
        return before;
    }
    cell.fetch_add(value, Ordering::AcqRel)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::Arc, thread, vec::Vec};

    #[test]
    fn they_do_what_the_locked_ones_do() {
        let (byte, half, word) = (AtomicU8::new(1), AtomicU32::new(1), AtomicU64::new(1));
        assert!(exchange_byte(&byte, 1, 2, Ordering::AcqRel));
        assert!(exchange_half(&half, 1, u32::MAX, Ordering::AcqRel));
        assert!(exchange_word(&word, 1, u64::MAX, Ordering::AcqRel));
        assert!(!exchange_byte(&byte, 1, 3, Ordering::AcqRel));
        assert!(!exchange_half(&half, 1, 3, Ordering::AcqRel));
        assert!(!exchange_word(&word, 1, 3, Ordering::AcqRel));
        assert_eq!(add(&word, 2), u64::MAX);
        assert_eq!(
            (byte.into_inner(), half.into_inner(), word.into_inner()),
            (2, u32::MAX, 1)
        );
    }

    #[test]
    fn threads_lose_nothing() {
        let cell = Arc::new((AtomicU64::new(0), AtomicU32::new(0)));
        let count = || {
            let cell = cell.clone();
            thread::spawn(move || {
                for _ in 0..50_000 {
                    add(&cell.0, 1);
                    let half = || cell.1.load(Ordering::Relaxed);
                    while !{
                        let now = half();
                        exchange_half(&cell.1, now, now + 1, Ordering::AcqRel)
                    } {}
                }
            })
        };
        let threads: Vec<_> = (0..3).map(|_| count()).collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        let counted = (
            cell.0.load(Ordering::Relaxed),
            cell.1.load(Ordering::Relaxed),
        );
        assert_eq!(counted, (150_000, 150_000));
    }
}
