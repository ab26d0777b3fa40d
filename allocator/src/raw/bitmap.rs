//! One bit a chunk: set = taken.

use super::{Cell, word};

/// A bitmap in metadata, protected by the slab layer's lock of its cache.
#[derive(Clone, Copy)]
pub struct Bitmap {
    address: usize,
    bits: usize,
}

impl Bitmap {
    /// Bytes that a bitmap of `bits` takes.
    pub const fn bytes(bits: usize) -> usize {
        bits.div_ceil(64) * 8
    }

    /// A view of the bitmap at `address`.
    ///
    /// # Safety
    /// The address is that of [`Bitmap::bytes`] live bytes of metadata, aligned to 8.
    pub unsafe fn at(address: usize, bits: usize) -> Self {
        Self { address, bits }
    }

    #[inline]
    fn cell(self, index: usize) -> &'static core::sync::atomic::AtomicU64 {
        debug_assert!(index < self.bits.div_ceil(64));
        // SAFETY: `index` is below the number of words that `at` was promised.
        unsafe { word(self.address, index) }
    }

    /// Whether a bit is set; false beyond the end.
    #[inline]
    pub fn is_set(self, bit: usize) -> bool {
        bit < self.bits && self.cell(bit / 64).get() >> (bit % 64) & 1 != 0
    }

    /// Sets a bit.
    #[inline]
    pub fn set(self, bit: usize) {
        let cell = self.cell(bit / 64);
        cell.set(cell.get() | 1 << (bit % 64));
    }

    /// Clears a bit.
    #[inline]
    pub fn clear(self, bit: usize) {
        let cell = self.cell(bit / 64);
        cell.set(cell.get() & !(1 << (bit % 64)));
    }

    /// Sets up to `most` of the clear bits in the word of [`Bitmap::find_clear`], the lowest first. Returns the number of the word and
    /// the bits that were set.
    pub fn set_clear(self, from: usize, most: usize) -> Option<(usize, u64)> {
        let first = self.find_clear(from)?;
        let (index, cell) = (first / 64, self.cell(first / 64));
        let inside = match self.bits - index * 64 {
            0..64 => (1 << (self.bits % 64)) - 1,
            _ => u64::MAX,
        };
        let mut left = !cell.get() & inside & (u64::MAX << (first % 64));
        let mut found = 0;
        for _ in 0..most.min(left.count_ones() as usize) {
            found |= left & left.wrapping_neg();
            left &= left - 1;
        }
        cell.set(cell.get() | found);
        Some((index, found))
    }

    /// First clear bit at or after `from`, else the first before it.
    pub fn find_clear(self, from: usize) -> Option<usize> {
        let words = self.bits.div_ceil(64);
        let start = if from < self.bits { from } else { 0 };
        let first = start / 64;
        let below = (1_u64 << (start % 64)) - 1;
        for step in 0..=words {
            let index = (first + step) % words;
            // The starting word is visited twice: first above the start, last below it.
            let skip = match step {
                0 => below,
                _ if step == words => !below,
                _ => 0,
            };
            let free = !(self.cell(index).get() | skip);
            let bit = index * 64 + free.trailing_zeros() as usize;
            if free != 0 && bit < self.bits {
                return Some(bit);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{vec, vec::Vec};

    fn with(bits: usize) -> (Vec<u64>, Bitmap) {
        let words = vec![0_u64; bits.div_ceil(64)];
        // SAFETY: the vector is returned beside the view and outlives it in each test.
        let bitmap = unsafe { Bitmap::at(words.as_ptr() as usize, bits) };
        (words, bitmap)
    }

    #[test]
    fn every_bit_is_set_once_by_the_word() {
        for (bits, most) in [(1, 1), (63, 5), (64, 64), (65, 7), (130, 1000), (4096, 31)] {
            let (_words, bitmap) = with(bits);
            (0..bits).step_by(3).for_each(|bit| bitmap.set(bit));
            let mut got = Vec::new();
            while let Some((word, found)) = bitmap.set_clear(bits / 2, most) {
                assert!(found != 0 && found.count_ones() as usize <= most);
                got.extend(
                    (0..64)
                        .filter(|bit| found >> bit & 1 != 0)
                        .map(|bit| word * 64 + bit),
                );
            }
            got.sort_unstable();
            let expected: Vec<usize> = (0..bits).filter(|bit| bit % 3 != 0).collect();
            assert_eq!(got, expected, "{bits} {most}");
        }
    }

    #[test]
    fn every_bit_is_found_once_from_any_start() {
        for bits in [1, 63, 64, 65, 130, 4096] {
            for start in [0, bits / 2, bits - 1, bits] {
                let (_words, bitmap) = with(bits);
                let mut next = start;
                for _ in 0..bits {
                    let bit = bitmap.find_clear(next).expect("a bit is clear");
                    assert!(!bitmap.is_set(bit) && bit < bits);
                    bitmap.set(bit);
                    next = bit + 1;
                }
                assert_eq!(bitmap.find_clear(start), None);
                bitmap.clear(bits / 3);
                assert_eq!(bitmap.find_clear(start), Some(bits / 3));
            }
        }
    }
}
