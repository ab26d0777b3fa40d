//! Estimates from samples: how much of what was allocated at a place there is, and how far that may be off.
//!
//! Each allocation is a sample by itself, with a chance that its size decides. So a sample of chance p stands for 1/p
//! allocations, and the sum over samples is right on average (Horvitz and Thompson, 1952). The error is the standard error of that
//! sum, itself estimated from the samples: of values x the square root of the sum of x² (1 - p) / p².

use std::collections::HashMap;

use super::census::origin;
use crate::heap::{Heap, Object};

/// A sum that was estimated.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sum {
    /// The estimate.
    pub value: f64,
    variance: f64,
}

impl Sum {
    /// Adds a value that was seen with a chance above zero.
    pub fn add(&mut self, value: f64, chance: f64) {
        self.value += value / chance;
        self.variance += value * value * (1.0 - chance) / (chance * chance);
    }

    /// Adds another sum of other samples.
    pub fn add_sum(&mut self, other: Self) {
        self.value += other.value;
        self.variance += other.variance;
    }

    /// The estimate as a whole number.
    #[must_use]
    pub const fn rounded(&self) -> u64 {
        self.value.round() as u64
    }

    /// Its standard error, as a whole number.
    #[must_use]
    pub fn error(&self) -> u64 {
        self.variance.sqrt().round() as u64
    }
}

/// What was estimated of objects with one stack.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// Stack of the allocation, in the depot; zero when unknown.
    pub stack: u32,
    /// The sample with the lowest address.
    pub sample: Object,
    /// Samples.
    pub samples: u64,
    /// Objects.
    pub count: Sum,
    /// Bytes that the program asked for.
    pub bytes: Sum,
    /// Least and greatest size of the samples.
    pub sizes: (u64, u64),
}

/// Estimates by stack, largest first, from those of the objects that are samples.
#[must_use]
pub fn by_stack(heap: &Heap, objects: impl Iterator<Item = Object>) -> Vec<Estimate> {
    let mut estimates: Vec<Estimate> = Vec::new();
    let mut known: HashMap<u32, usize> = HashMap::new();
    for object in objects {
        let Some(chance) = heap.sample_chance(object) else {
            continue;
        };
        let origin = origin(heap, object);
        let index = *known.entry(origin.stack).or_insert_with(|| {
            estimates.push(Estimate {
                stack: origin.stack,
                sample: object,
                samples: 0,
                count: Sum::default(),
                bytes: Sum::default(),
                sizes: (u64::MAX, 0),
            });
            estimates.len() - 1
        });
        let estimate = &mut estimates[index];
        if heap.address(object) < heap.address(estimate.sample) {
            estimate.sample = object;
        }
        estimate.samples += 1;
        estimate.count.add(1.0, chance);
        estimate.bytes.add(origin.bytes as f64, chance);
        let (least, greatest) = estimate.sizes;
        estimate.sizes = (least.min(origin.bytes), greatest.max(origin.bytes));
    }
    estimates.sort_by_key(|estimate| {
        let bytes = std::cmp::Reverse(estimate.bytes.rounded());
        (bytes, heap.address(estimate.sample))
    });
    estimates
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SplitMix64 as numbers between 0 and 1.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (((mixed ^ (mixed >> 31)) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
        }
    }

    /// Many populations of known sums: the mean of the estimates is the truth, and their spread is what the errors say.
    #[test]
    fn sums_are_right_on_average_and_know_their_error() {
        const RUNS: u64 = 4_000;
        for (size, mean, count) in [
            (16.0_f64, 4096.0, 2000),
            (1000.0, 4096.0, 200),
            (4096.0, 4096.0, 50),
            (65536.0, 4096.0, 20),
        ] {
            let chance = -(-size / mean).exp_m1();
            let truth = size * f64::from(count);
            let (mut sum, mut squares, mut variances) = (0.0, 0.0, 0.0);
            for run in 0..RUNS {
                let mut random = Random(run << 20 | size as u64);
                let mut estimate = Sum::default();
                for _ in 0..count {
                    if random.next() < chance {
                        estimate.add(size, chance);
                    }
                }
                sum += estimate.value;
                squares += (estimate.value - truth).powi(2);
                variances += estimate.variance;
            }
            let (bias, spread) = (sum / RUNS as f64 - truth, squares / RUNS as f64);
            let expected = f64::from(count) * size * size * (1.0 - chance) / chance;
            // Five standard errors of the mean of all runs.
            let bound = 5.0 * (expected / RUNS as f64).sqrt() + 1e-6 * truth;
            assert!(bias.abs() < bound, "{size}: {bias} of {truth}");
            // Where hardly anything is missed, the runs are too few to see a spread.
            let misses = RUNS as f64 * f64::from(count) * (1.0 - chance);
            assert!(
                (spread / expected - 1.0).abs() < 0.2 || misses < 1000.0,
                "{size}: spread {spread}, not {expected}"
            );
            let told = variances / RUNS as f64;
            assert!(
                (told / expected - 1.0).abs() < 0.2,
                "{size}: {told} told, not {expected}"
            );
        }
    }
}
