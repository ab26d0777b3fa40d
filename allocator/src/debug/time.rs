//! Times of records: ticks of the processor's counter where that can be trusted, else nanoseconds.
//!
//! The counter costs a third of what the clock costs. It is read behind a fence, so that of two calls of which
//! one returned before the other began the first has the smaller time, on whatever processors they ran. While the process has a single
//! thread there is no other processor to be in order with, and the fence, which doubles the cost, is left out. How many nanoseconds a
//! tick has is measured against the clock, first while the allocator is set up and then again and again as new stacks come in,
//! over ever longer times; readers use the last result for all records.

use crate::{
    raw::{Cell, root},
    sys::{clock, single},
};
use core::sync::atomic::{AtomicU64, Ordering};
use umem_layout::clock_kind;

/// ns = ticks * multiplier >> SHIFT: the multiplier fits 32 bits from 1 GHz on.
const SHIFT: u32 = 32;
/// Measured again when so many times the time of the last measurement has passed.
const LONGER: u64 = 2;

/// Ticks over which the last measurement went.
static MEASURED: AtomicU64 = AtomicU64::new(0);

/// The time, in record units.
#[inline]
pub fn now() -> u64 {
    if root().clock_kind().get() != clock_kind::COUNTER {
        clock::monotonic()
    } else if single::is_single() {
        clock::counter_of_single()
    } else {
        clock::counter()
    }
}

/// Goes over to the counter, if it can be trusted. Called once, before there are records; `measure` has to follow.
pub fn initialize() {
    let root = root();
    let (ticks, nanoseconds) = both();
    root.clock_base_monotonic().set(nanoseconds);
    root.clock_base_wall().set(clock::wall());
    if !clock::counter_is_trusted() {
        return;
    }
    root.clock_base().set(ticks);
    root.clock_shift().set(SHIFT);
    root.clock_kind().set(clock_kind::COUNTER);
}

/// Ends the set-up: the first measurement. Without a plausible one times stay nanoseconds.
pub fn settle() {
    if root().clock_kind().get() == clock_kind::COUNTER && !measure() {
        root().clock_kind().set(clock_kind::MONOTONIC);
    }
}

/// Ticks and nanoseconds at one moment: of a few tries the one with the least time between two readings of the counter, since the
/// thread may lose the processor in between.
fn both() -> (u64, u64) {
    const TRIES: usize = 4;
    let try_once = || {
        let (before, nanoseconds, after) = (clock::counter(), clock::monotonic(), clock::counter());
        (after.wrapping_sub(before), before, nanoseconds)
    };
    let first = try_once();
    let (gap, before, nanoseconds) = (1..TRIES).fold(first, |best, _| best.min(try_once()));
    (before + gap / 2, nanoseconds)
}

fn measure() -> bool {
    let root = root();
    let (ticks, nanoseconds) = both();
    let ticks = ticks.wrapping_sub(root.clock_base().get());
    let passed = nanoseconds.wrapping_sub(root.clock_base_monotonic().get());
    let ratio = (u128::from(passed) << SHIFT).checked_div(u128::from(ticks));
    let Some(multiplier) = ratio.and_then(|ratio| u32::try_from(ratio).ok()) else {
        return false;
    };
    root.clock_multiplier().set(multiplier);
    MEASURED.store(ticks, Ordering::Release);
    multiplier != 0
}

/// Measures again when it has become worth it.
pub fn refine() {
    let root = root();
    if root.clock_kind().get() != clock_kind::COUNTER {
        return;
    }
    let passed = clock::counter().wrapping_sub(root.clock_base().get());
    if passed / LONGER >= MEASURED.load(Ordering::Acquire) {
        measure();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{thread, time::Duration};

    #[test]
    fn ticks_are_nanoseconds_after_a_while() {
        initialize();
        settle();
        let reading = || match root().clock_kind().get() {
            clock_kind::COUNTER => both(),
            _ => (now(), clock::monotonic()),
        };
        let before = reading();
        thread::sleep(Duration::from_millis(30));
        refine();
        let after = reading();
        let (ticks, passed) = (after.0 - before.0, after.1 - before.1);
        let told = if root().clock_kind().get() == clock_kind::COUNTER {
            ((u128::from(ticks) * u128::from(root().clock_multiplier().get())) >> SHIFT) as u64
        } else {
            ticks
        };
        // A thread may lose the processor between the two readings; the counter does not run at half the speed.
        assert!(told.abs_diff(passed) < passed / 4, "{told} {passed}");
    }
}
