//! Time, through libc's vdso entry.
#![allow(unsafe_code)]

use core::ffi::CStr;

fn now(clock: i32) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: clock_gettime writes one timespec; with valid clocks and addresses it does not fail, so
    // errno is left alone.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    (time.tv_sec as u64)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(time.tv_nsec as u64)
}

/// Nanoseconds of CLOCK_MONOTONIC.
pub fn monotonic() -> u64 {
    now(libc::CLOCK_MONOTONIC)
}

/// The processor's counter, read behind all earlier loads.
#[inline]
pub fn counter() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has both instructions; they touch no memory.
    unsafe {
        core::arch::x86_64::_mm_lfence();
        core::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    0
}

/// The processor's counter, read in no order with loads: for a process with one thread, whose readings are in its own order.
#[inline]
pub fn counter_of_single() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has the instruction; it touches no memory.
    unsafe {
        core::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    0
}

/// Whether the counter runs at one speed, and alike on all processors, in the eyes of the kernel: then it keeps its own time by it.
pub fn counter_is_trusted() -> bool {
    const PATH: &CStr = c"/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let mut text = [0; 16];
    let length = super::environment::read_file(PATH, &mut text);
    cfg!(target_arch = "x86_64") && text.get(..length) == Some(b"tsc\n")
}

/// As [`monotonic`], as of the last tick of the kernel's clock, some milliseconds ago: a third of the cost.
pub fn coarse() -> u64 {
    now(libc::CLOCK_MONOTONIC_COARSE)
}

/// Nanoseconds since 1970.
pub fn wall() -> u64 {
    now(libc::CLOCK_REALTIME)
}
