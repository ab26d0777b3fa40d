//! A search through all memory.

use std::ops::Range;

use super::context::{Context, Error};

/// Bytes that are read at once.
const PIECE: u64 = 1 << 20;
const PAGE: u64 = 4096;

/// What is searched.
#[derive(Debug, Clone, Copy)]
pub struct Pattern {
    /// The value.
    pub value: u64,
    /// Bits that are compared.
    pub mask: u64,
    /// Values so far above it fit as well, exclusively.
    pub distance: u64,
    /// Bytes of a unit: 1, 2, 4 or 8.
    pub size: usize,
}

impl Pattern {
    fn fits(&self, found: u64) -> bool {
        (found & self.mask).wrapping_sub(self.value) < self.distance.max(1)
    }

    /// Calls `each` with the address and the value of each unit that fits, until it returns false; `start` is a multiple
    /// of the unit. False: it did.
    fn search(&self, start: u64, bytes: &[u8], each: &mut impl FnMut(u64, u64) -> bool) -> bool {
        for (index, unit) in bytes.chunks_exact(self.size).enumerate() {
            let mut word = [0; 8];
            word[..self.size].copy_from_slice(unit);
            let found = u64::from_le_bytes(word);
            if self.fits(found) && !each(start + (index * self.size) as u64, found) {
                return false;
            }
        }
        true
    }
}

/// Searches all readable mappings in a range of addresses, until `each` returns false, and returns how many bytes that
/// were. Pages that cannot be read are passed over.
///
/// # Errors
/// When it was cancelled.
pub fn memory(
    cx: &Context<'_>,
    pattern: &Pattern,
    range: Range<u64>,
    mut each: impl FnMut(u64, u64) -> bool,
) -> Result<u64, Error> {
    let mut searched = 0;
    let mut buffer = vec![0; PIECE as usize];
    let unit = pattern.size as u64;
    for mapping in cx.target.mappings.iter().filter(|mapping| mapping.read) {
        let first = mapping.start.max(range.start);
        let Some(mut at) = first.checked_next_multiple_of(unit) else {
            continue;
        };
        let end = mapping.end.min(range.end);
        while at < end {
            cx.cancel.check()?;
            let wanted = (end - at).min(PIECE) as usize;
            let got = cx.target.memory.read(at, &mut buffer[..wanted]).min(wanted);
            searched += got as u64;
            if !pattern.search(at, &buffer[..got], &mut each) {
                return Ok(searched);
            }
            let step = match got as u64 {
                0 => PAGE - at % PAGE,
                // Whole units: what is cut at the end of readable memory is none.
                got => got.next_multiple_of(unit),
            };
            at = at.saturating_add(step);
        }
    }
    Ok(searched)
}
