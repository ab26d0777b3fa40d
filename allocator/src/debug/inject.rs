//! Failure injection: allocations that fail now and then, so that a program shows how it takes it.
//!
//! As in libumem an allocation fails when the nanosecond clock is a multiple of the interval. It works with trailers on
//! (`guards`, `audit`, `default`), and allocations that may not fail are exempt.

use crate::{
    raw::{Cell, root},
    sys::clock,
};
use umem_layout::cache_flag;

/// Sets the interval: zero is off, one fails everything.
pub fn set_interval(interval: u32) {
    root().mtbf().set(interval);
}

/// Whether an allocation is to fail.
pub fn strikes() -> bool {
    let interval = root().mtbf().get();
    interval != 0
        && root().debug_flags().get() & cache_flag::REDZONE != 0
        && clock::monotonic().is_multiple_of(u64::from(interval))
}
