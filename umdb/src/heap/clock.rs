//! What times in records mean.

use umem_layout::{Clock, clock_kind};

/// Turns times of records into nanoseconds.
#[derive(Debug, Clone, Copy)]
pub struct ClockView(Clock);

impl ClockView {
    /// For a published clock.
    #[must_use]
    pub const fn new(clock: &Clock) -> Self {
        Self(*clock)
    }

    /// Nanoseconds of CLOCK_MONOTONIC at a time.
    #[must_use]
    pub fn monotonic(&self, time: u64) -> u64 {
        if self.0.kind != clock_kind::COUNTER {
            return time;
        }
        match time.checked_sub(self.0.base) {
            Some(after) => self
                .0
                .base_monotonic
                .saturating_add(self.nanoseconds(after)),
            None => self
                .0
                .base_monotonic
                .saturating_sub(self.nanoseconds(self.0.base - time)),
        }
    }

    /// Nanoseconds of CLOCK_REALTIME at a time.
    #[must_use]
    pub fn wall(&self, time: u64) -> u64 {
        let offset = self.0.base_wall.wrapping_sub(self.0.base_monotonic);
        self.monotonic(time).wrapping_add(offset)
    }

    /// Nanoseconds from one time to a later one.
    #[must_use]
    pub fn between(&self, earlier: u64, later: u64) -> u64 {
        self.monotonic(later)
            .saturating_sub(self.monotonic(earlier))
    }

    fn nanoseconds(&self, ticks: u64) -> u64 {
        let product = u128::from(ticks) * u128::from(self.0.multiplier);
        u64::try_from(product.checked_shr(self.0.shift).unwrap_or(0)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use umem_layout::Plain;

    #[test]
    fn ticks_become_nanoseconds_on_both_sides_of_the_base() {
        let clock = Clock {
            kind: clock_kind::COUNTER,
            multiplier: 1 << 31,
            shift: 32,
            base: 1000,
            base_monotonic: 5000,
            base_wall: 9_005_000,
            ..Clock::ZERO
        };
        let clock = ClockView::new(&clock);
        assert_eq!(clock.monotonic(1200), 5100);
        assert_eq!(clock.monotonic(800), 4900);
        assert_eq!(clock.wall(1200), 9_005_100);
        assert_eq!(clock.between(800, 1200), 200);
        assert_eq!(clock.between(1200, 800), 0);
    }
}
