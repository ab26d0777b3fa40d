//! A mark that the kernel wipes when it has scheduled a thread out.
//!
//! # Theory
//! 1. With rseq(2) a thread tells the kernel, in a word of its storage, which restartable section it may be in. When the
//!    kernel schedules the thread out, or hands it a signal, and finds it in another place, it clears that word on the way back:
//!    the section has ended. libc registers the storage of each thread (glibc 2.35 and later, Linux 4.18 and later).
//! 2. So we put the description of a section there which nobody ever runs. As long as the word is not zero the thread has run
//!    without a pause. A thread that has slept finds it cleared: one comparison in a fast path tells that time may have passed,
//!    where a look at a clock would cost more than the path itself.
//! 3. Who uses restartable sections writes the word before each of them and expects nothing of it in between. What we overwrite is
//!    zero.
//! 4. The kernel reads the description at each switch that finds the word set, and ends the process when it is not right. So it lies
//!    where memory is never given back, also not when the library is closed.
//! 5. Without rseq (older systems, valgrind, a tunable of glibc) the mark stands for a word of the thread that is never zero.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicUsize, Ordering};

/// Room for the description.
pub const SIZE: usize = size_of::<Description>();

/// `struct rseq_cs` of linux/rseq.h, and what it points to.
#[repr(C, align(64))]
struct Description {
    version: u32,
    flags: u32,
    start: u64,
    length: u64,
    abort: u64,
    /// Stands before the place where the kernel would go on.
    signature: u32,
    abort_place: u32,
    section: u64,
}

/// `RSEQ_SIG` of sys/rseq.h.
const SIGNATURE: u32 = 0x5305_3053;
/// Where `rseq_cs` lies in `struct rseq`.
const FIELD: isize = 8;

/// Address of the description; zero: there is none.
static DESCRIPTION: AtomicUsize = AtomicUsize::new(0);

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(".weak __rseq_offset", ".weak __rseq_size");

/// Offset of the word from the thread pointer, as libc tells it. None: libc has registered nothing.
#[cfg(target_arch = "x86_64")]
fn offset_of_word() -> Option<usize> {
    let (offset, size): (*const isize, *const u32);
    // SAFETY: reads the addresses of two weak symbols, zero where libc has them not.
    unsafe {
        core::arch::asm!(
            "mov {offset}, qword ptr [rip + __rseq_offset@GOTPCREL]",
            "mov {size}, qword ptr [rip + __rseq_size@GOTPCREL]",
            offset = out(reg) offset,
            size = out(reg) size,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    if offset.is_null() || size.is_null() {
        return None;
    }
    // SAFETY: constants of the loader, set before any code of a library runs.
    unsafe { (*size != 0).then(|| (*offset + FIELD) as usize) }
}

#[cfg(not(target_arch = "x86_64"))]
fn offset_of_word() -> Option<usize> {
    None
}

/// Makes the description.
///
/// # Safety
/// `memory` is [`SIZE`] bytes at a multiple of 64 that nothing else uses and that stay for as long as the process lives.
pub unsafe fn initialize(memory: usize) {
    if offset_of_word().is_none() {
        return;
    }
    let at = |field: usize| (memory + field) as u64;
    let description = Description {
        version: 0,
        flags: 0,
        start: at(core::mem::offset_of!(Description, section)),
        length: 1,
        abort: at(core::mem::offset_of!(Description, abort_place)),
        signature: SIGNATURE,
        abort_place: 0,
        section: 0,
    };
    // SAFETY: promised by the caller.
    unsafe { (memory as *mut Description).write(description) };
    DESCRIPTION.store(memory, Ordering::Release);
}

/// Offset from the thread pointer of the mark of every thread, or of a word that is never zero.
pub fn mark() -> usize {
    match DESCRIPTION.load(Ordering::Acquire) {
        // The thread pointer itself.
        0 => 0,
        _ => offset_of_word().unwrap_or(0),
    }
}

/// Sets the mark at this offset, which was cleared.
#[cfg(target_arch = "x86_64")]
pub fn set(mark: usize) {
    let description = DESCRIPTION.load(Ordering::Relaxed);
    if mark == 0 || description == 0 {
        return;
    }
    // SAFETY: a word of the thread's storage that the kernel and this code agree upon: see the theory.
    unsafe {
        core::arch::asm!(
            "mov qword ptr fs:[{mark}], {description}",
            mark = in(reg) mark,
            description = in(reg) description,
            options(nostack, preserves_flags),
        );
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub fn set(_mark: usize) {}
