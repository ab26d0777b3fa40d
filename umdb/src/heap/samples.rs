//! Samples: which objects are some, and how many allocations each stands for.

use umem_layout::cache_flag;

use super::{Heap, Object};

/// Unit of `Segment::picked_by`.
const PICKED_UNIT: u64 = 16;

impl Heap {
    /// Mean distance of samples in bytes; none when no samples are taken.
    #[must_use]
    pub const fn sample_bytes(&self) -> Option<u64> {
        match self.root.record.options.sample_bytes {
            0 => None,
            bytes => Some(bytes),
        }
    }

    /// The chance with which an object was to be a sample, above 0 and at most 1; none when it is no sample.
    #[must_use]
    pub fn sample_chance(&self, object: Object) -> Option<f64> {
        let mean = self.sample_bytes()?;
        let bytes = match object {
            Object::Buffer(buffer) => {
                let cache = self.cache(buffer);
                cache.is_twin().then_some(cache.record.buffer_size)?
            }
            Object::Block(index) => {
                let block = self.block(index);
                let is_sample = u32::from(block.flags) & cache_flag::SAMPLED != 0;
                is_sample.then_some(u64::from(block.picked_by) * PICKED_UNIT)?
            }
        };
        Some(chance(bytes, mean))
    }
}

/// The chance of an allocation of so many bytes at a mean distance.
fn chance(bytes: u64, mean: u64) -> f64 {
    let ratio = bytes.max(1) as f64 / mean.max(1) as f64;
    (-(-ratio).exp_m1()).clamp(f64::MIN_POSITIVE, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_grow_with_the_size_and_are_never_zero() {
        assert!((chance(512 << 10, 512 << 10) - (1.0 - (-1.0_f64).exp())).abs() < 1e-12);
        assert!((chance(16, 512 << 10) * 32768.0 - 1.0).abs() < 1e-4);
        assert!((chance(u64::MAX, 1) - 1.0).abs() < f64::EPSILON);
        assert!(chance(0, u64::MAX) > 0.0);
    }
}
