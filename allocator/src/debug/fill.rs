//! Patterns in memory: written and looked for sixteen bytes at a time.
//!
//! Most buffers are small, so a fill of a few words must not cost a call, and the last piece overlaps the one before it instead of being
//! counted out word by word. Memory that a program should not touch may change under a check; whichever value is read is right.

#[cfg(target_arch = "x86_64")]
use core::arch::x86_64::{
    __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi64x,
    _mm_setzero_si128, _mm_storeu_si128, _mm_xor_si128,
};

const WORD: usize = size_of::<u64>();
#[cfg(target_arch = "x86_64")]
const PIECE: usize = size_of::<__m128i>();
/// Pieces that are looked at together.
#[cfg(target_arch = "x86_64")]
const TOGETHER: usize = 4;

/// Fills `length` bytes, a multiple of eight, with a word.
///
/// # Safety
/// The range belongs to the caller.
#[inline(always)]
pub unsafe fn fill(start: usize, length: usize, word: u64) {
    #[cfg(target_arch = "x86_64")]
    if length >= PIECE {
        // SAFETY: every piece lies inside of the range; stores need no alignment.
        unsafe {
            let value = _mm_set1_epi64x(word as i64);
            let put = |at: usize| _mm_storeu_si128(at as *mut __m128i, value);
            let (mut at, last) = (start, start + length - PIECE);
            while at < last {
                put(at);
                at += PIECE;
            }
            put(last);
        }
        return;
    }
    let mut offset = 0;
    while offset < length {
        // SAFETY: a word of the range.
        unsafe { ((start + offset) as *mut u64).write_unaligned(word) };
        offset += WORD;
        if cfg!(target_arch = "x86_64") {
            // Less than two words: the compiler is not to make a loop of it.
            return;
        }
    }
}

/// Whether `length` bytes, a multiple of eight, hold a word throughout.
///
/// # Safety
/// The range can be read.
#[inline(always)]
pub unsafe fn holds(start: usize, length: usize, word: u64) -> bool {
    #[cfg(target_arch = "x86_64")]
    if length >= PIECE {
        // SAFETY: every piece lies inside of the range; loads need no alignment.
        return unsafe {
            let value = _mm_set1_epi64x(word as i64);
            let differs = |at: usize| _mm_xor_si128(_mm_loadu_si128(at as *const __m128i), value);
            let (mut at, last) = (start, start + length - PIECE);
            let mut all = differs(last);
            while at + TOGETHER * PIECE <= last {
                let both = |at: usize| _mm_or_si128(differs(at), differs(at + PIECE));
                all = _mm_or_si128(all, _mm_or_si128(both(at), both(at + 2 * PIECE)));
                at += TOGETHER * PIECE;
            }
            while at < last {
                all = _mm_or_si128(all, differs(at));
                at += PIECE;
            }
            _mm_movemask_epi8(_mm_cmpeq_epi8(all, _mm_setzero_si128())) == 0xffff
        };
    }
    // SAFETY: words of the range.
    let at = |offset: usize| unsafe { ((start + offset) as *const u64).read_unaligned() };
    if cfg!(target_arch = "x86_64") {
        // Less than two words: the compiler is not to make a loop of it.
        return length == 0 || at(0) == word;
    }
    (0..length).step_by(WORD).all(|offset| at(offset) == word)
}

/// The bits of a word that belong to its bytes from `first` on.
#[inline(always)]
const fn bytes_from(first: usize) -> u64 {
    (u64::MAX << (first * 8)).to_le()
}

/// Fills the bytes `from..to` of a buffer with a word of equal bytes; `to` and the buffer's address are multiples of eight.
///
/// # Safety
/// As for [`fill`], of whole words.
#[inline(always)]
pub unsafe fn fill_behind(start: usize, from: usize, to: usize, word: u64) {
    let (whole, rest) = (from / WORD * WORD, from % WORD);
    // SAFETY: promised by the caller.
    unsafe {
        if rest == 0 {
            return fill(start + from, to - from, word);
        }
        let mixed = (start + whole) as *mut u64;
        mixed.write(mixed.read() & !bytes_from(rest) | word & bytes_from(rest));
        fill(start + whole + WORD, to - whole - WORD, word);
    }
}

/// Whether the bytes `from..to` of a buffer hold a word of equal bytes, as [`fill_behind`] leaves them.
///
/// # Safety
/// As for [`holds`], of whole words.
#[inline(always)]
pub unsafe fn holds_behind(start: usize, from: usize, to: usize, word: u64) -> bool {
    let (whole, rest) = (from / WORD * WORD, from % WORD);
    // SAFETY: promised by the caller.
    unsafe {
        if rest == 0 {
            return holds(start + from, to - from, word);
        }
        let mixed = ((start + whole) as *const u64).read();
        (mixed ^ word) & bytes_from(rest) == 0
            && holds(start + whole + WORD, to - whole - WORD, word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    const WORDS: usize = 40;
    const EQUAL: u64 = u64::from_ne_bytes([0xbb; 8]);

    /// Every range of words, and around it bytes that must stay.
    #[test]
    fn fills_are_found_whole_and_not_when_a_byte_differs() {
        for (from, to) in (0..WORDS).flat_map(|from| (from..WORDS).map(move |to| (from, to))) {
            let mut words = vec![7_u64; WORDS];
            let start = words.as_mut_ptr().expose_provenance();
            let (at, length) = (start + from * 8, (to - from) * 8);
            // SAFETY: a range of the array.
            unsafe { fill(at, length, 0x0123_4567_89ab_cdef) };
            for (index, &word) in words.iter().enumerate() {
                let inside = (from..to).contains(&index);
                assert_eq!(word, if inside { 0x0123_4567_89ab_cdef } else { 7 });
            }
            // SAFETY: as above.
            assert!(unsafe { holds(at, length, 0x0123_4567_89ab_cdef) });
            let mut flip = |index: usize| words[index] ^= 1 << (index % 64);
            for index in 0..WORDS {
                flip(index);
                // SAFETY: as above.
                let whole = unsafe { holds(at, length, 0x0123_4567_89ab_cdef) };
                assert_eq!(whole, !(from..to).contains(&index));
                flip(index);
            }
        }
    }

    #[test]
    fn bytes_behind_a_size_are_filled_and_looked_at() {
        for from in 0..=64 {
            let mut bytes = vec![[7_u8; 8]; 9];
            let start = bytes.as_mut_ptr().expose_provenance();
            // SAFETY: a range of the array, of whole words.
            unsafe { fill_behind(start, from, 64, EQUAL) };
            for (index, &byte) in bytes.as_flattened().iter().enumerate() {
                let inside = (from..64).contains(&index);
                assert_eq!(byte, if inside { 0xbb } else { 7 }, "{from} {index}");
            }
            for index in 0..72 {
                bytes.as_flattened_mut()[index] ^= 0x10;
                // SAFETY: as above.
                let whole = unsafe { holds_behind(start, from, 64, EQUAL) };
                assert_eq!(whole, !(from..64).contains(&index), "{from} {index}");
                bytes.as_flattened_mut()[index] ^= 0x10;
            }
        }
    }
}
