//! Time, through libc's vdso entry.
#![allow(unsafe_code)]

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

/// Nanoseconds since 1970.
pub fn wall() -> u64 {
    now(libc::CLOCK_REALTIME)
}
