//! Which allocations are samples: `UMEM_DEBUG=sample[=BYTES]`.
//!
//! # Theory
//! 1. Samples are the points of a Poisson process over the bytes that a thread allocates, with one point in `sample_bytes` on
//!    average. An allocation of n bytes with a point in it is a sample: that happens with the chance 1 - exp(-n / mean), whatever came
//!    before, so a pattern of calls can neither dodge samples nor draw them.
//! 2. All buffers of a class have one size, so there the distance to the next point is counted in allocations. The counter that
//!    the statistics need starts at minus that distance; when it comes to zero the fast path ends, and the allocation is a
//!    sample. `ThreadCache::bias` is what the counter started at.
//! 3. Allocations that no magazine serves (blocks, threads that are not in service, magazines off) count bytes instead: `left`.
//! 4. The process has no memory: where a distance is lost or drawn anew (a thread gives its magazines back, a fork), chances stay what
//!    they are. The child of a fork draws anew, so that it does not sample what its parent does.
//! 5. A resized buffer stays what it was while it stays in its class, and is a new allocation otherwise.

use super::{Local, entry_of, local};
use crate::{
    raw::{CacheRef, Cell, ThreadCacheRef, ThreadRef, root},
    sys::{clock, process},
};
use core::cell::Cell as LocalCell;

/// A thread's source of random numbers, and its bytes to the next point. Zero bytes: nothing was drawn yet.
#[repr(C)]
pub(super) struct Sampler {
    random: LocalCell<u64>,
    /// The point lies in the last of so many bytes; zero: not drawn.
    left: LocalCell<u64>,
}

/// Whether samples are taken.
#[inline]
pub fn is_sampling() -> bool {
    root().sample_bytes().get() != 0
}

/// Decides about an allocation from a class, whose fast path has ended. `counts`: whoever serves it counts it in the entry.
#[inline]
pub fn is_sample(cache: CacheRef, entry: Option<ThreadCacheRef>, counts: bool) -> bool {
    is_sampling() && decide(cache, entry, counts)
}

#[inline(never)]
fn decide(cache: CacheRef, entry: Option<ThreadCacheRef>, counts: bool) -> bool {
    let Some(entry) = entry else {
        return is_sample_of(cache.buffer_size().get());
    };
    if entry.bias().get() == 0 {
        arm(cache, entry);
    }
    let to_come = (entry.allocs().get() as i64).wrapping_neg();
    // At zero or beyond the fast path has counted it; at one to come it would be the one.
    if to_come <= 0 || (counts && to_come == 1) {
        draw_next(local(), cache, entry, entry.bias().get().wrapping_add(1));
        return true;
    }
    !counts && is_sample_of(cache.buffer_size().get())
}

/// Decides about an allocation of so many bytes that no magazine serves.
pub fn is_sample_of(bytes: u64) -> bool {
    if !is_sampling() {
        return false;
    }
    let (sampler, bytes) = (&local().sampler, bytes.max(1));
    if sampler.left.get() == 0 {
        sampler.left.set(sampler.distance(1));
    }
    let is_sample = bytes >= sampler.left.get();
    let left = match is_sample {
        true => sampler.distance(1),
        false => sampler.left.get() - bytes,
    };
    sampler.left.set(left);
    is_sample
}

/// Draws the first distance of an entry, if its cache is sampled. What was counted until now stays counted.
pub(super) fn arm(cache: CacheRef, entry: ThreadCacheRef) {
    if is_sampling() && cache.size_class().get() != 0 && entry.bias().get() == 0 {
        let served = entry.allocs().get();
        draw_next(local(), cache, entry, served.wrapping_neg());
    }
}

/// Starts the counter anew; the entry has served `-before` allocations.
fn draw_next(local: &Local, cache: CacheRef, entry: ThreadCacheRef, before: u64) {
    let distance = local.sampler.distance(cache.buffer_size().get());
    entry.bias().set(before.wrapping_sub(distance));
    entry.allocs().set(distance.wrapping_neg());
}

/// Allocations that an entry has served.
pub(super) fn served(entry: ThreadCacheRef) -> u64 {
    entry.allocs().get().wrapping_sub(entry.bias().get())
}

/// In the child of a fork: all distances are drawn anew.
pub(super) fn after_fork(local: &Local) {
    local.sampler.random.set(0);
    local.sampler.left.set(0);
    // SAFETY: zero, or the record of the thread.
    let Some(thread) = (unsafe { ThreadRef::from_link(local.thread.get() as u64) }) else {
        return;
    };
    for slot in 0..thread.cache_count().get() as usize {
        let armed = entry_of(local.fast.caches(), slot).filter(|entry| entry.bias().get() != 0);
        if let Some((entry, cache)) = armed.zip(crate::cache::of_slot(slot)) {
            draw_next(local, cache, entry, served(entry).wrapping_neg());
        }
    }
}

impl Sampler {
    /// How many steps of `bytes` bytes it is to the next point, which is in the last of them: at least one.
    fn distance(&self, bytes: u64) -> u64 {
        let mean = root().sample_bytes().get();
        distance(self.next(), mean, bytes)
    }

    /// The next random number: SplitMix64, of which each start gives another sequence.
    fn next(&self) -> u64 {
        if self.random.get() == 0 {
            self.random.set(seed());
        }
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        mix(state)
    }
}

fn mix(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

fn seed() -> u64 {
    process::random()
        .unwrap_or_else(|| mix(clock::monotonic() ^ u64::from(process::own_id()).rotate_left(32)))
}

/// The geometric distance, in steps of `bytes` bytes, that a random number stands for, at a mean distance of `mean` bytes.
fn distance(random: u64, mean: u64, bytes: u64) -> u64 {
    // Most distances that a counter of 63 bits holds.
    const MOST: f64 = (1_u64 << 62) as f64;
    // Between 2^-54 and 1 - 2^-54, both excluded: the logarithm is finite and below zero.
    let uniform = ((random >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    let steps = -libm::log(uniform) * mean as f64 / bytes.max(1) as f64;
    steps.min(MOST) as u64 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sequence of random numbers of its own for each start.
    fn numbers(start: u64) -> impl Iterator<Item = u64> {
        let sampler = Sampler {
            random: LocalCell::new(mix(start) | 1),
            left: LocalCell::new(0),
        };
        core::iter::repeat_with(move || sampler.next())
    }

    #[test]
    fn distances_are_geometric_with_the_chance_of_the_size() {
        const DRAWS: u64 = 100_000;
        for (mean, bytes) in [
            (512 << 10, 16),
            (512 << 10, 4096),
            (512 << 10, 128 << 10),
            (512 << 10, 1 << 20),
            (64, 64),
            (1, 16),
        ] {
            let chance = -libm::expm1(-(bytes as f64) / mean as f64);
            let (mut sum, mut first) = (0.0, 0.0);
            for random in numbers(mean ^ bytes).take(DRAWS as usize) {
                let distance = distance(random, mean, bytes);
                assert!(distance >= 1);
                sum += distance as f64;
                first += f64::from(u8::from(distance == 1));
            }
            // Five standard errors of a geometric distribution's mean, and of a share.
            let (draws, deviation) = (DRAWS as f64, libm::sqrt(1.0 - chance) / chance);
            let mean_error = 5.0 * deviation / libm::sqrt(draws) + 1e-9;
            assert!(
                (sum / draws - 1.0 / chance).abs() <= mean_error,
                "{mean} {bytes}"
            );
            let share_error = 5.0 * libm::sqrt(chance * (1.0 - chance) / draws) + 1e-9;
            assert!(
                (first / draws - chance).abs() <= share_error,
                "{mean} {bytes}"
            );
        }
    }

    #[test]
    fn distances_stay_within_the_counter() {
        for random in [0, 1 << 11, u64::MAX / 2, u64::MAX] {
            for mean in [1, 512 << 10, u64::MAX] {
                for bytes in [0, 1, 16, u64::MAX] {
                    let distance = distance(random, mean, bytes);
                    assert!(
                        (1..=(1 << 62) + 1).contains(&distance),
                        "{random} {mean} {bytes}"
                    );
                }
            }
        }
    }
}
