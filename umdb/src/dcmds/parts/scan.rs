//! A search through all memory.

use std::ops::Range;

use super::context::{Context, Error};

/// Bytes that are read at once.
const PIECE: u64 = 1 << 20;
const PAGE: u64 = 4096;

/// What is searched: some values at once.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// The values with their numbers, in order of value.
    values: Vec<(u64, usize)>,
    how: How,
}

/// How found values are compared.
#[derive(Debug, Clone, Copy)]
pub struct How {
    /// Bits that are compared.
    pub mask: u64,
    /// Values so far above one fit as well, exclusively.
    pub distance: u64,
    /// Bytes of a unit: 1, 2, 4 or 8.
    pub size: usize,
}

/// A place that holds a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// Number of the value that was searched for.
    pub number: usize,
    /// The place.
    pub address: u64,
    /// What stands there.
    pub found: u64,
}

impl Pattern {
    /// For values, which are numbered from 0 in their order.
    pub fn new(values: &[u64], how: How) -> Self {
        let mut values: Vec<(u64, usize)> = values.iter().copied().zip(0..).collect();
        values.sort_unstable();
        Self { values, how }
    }

    /// Calls `each` for each unit and value that fit, until it returns false; `start` is a multiple of the unit.
    /// False: it did.
    fn search(&self, start: u64, bytes: &[u8], each: &mut impl FnMut(Hit) -> bool) -> bool {
        let How {
            mask,
            distance,
            size,
        } = self.how;
        let (Some(&(least, _)), Some(&(most, _))) = (self.values.first(), self.values.last())
        else {
            return true;
        };
        // Most words are in no value's reach: one comparison passes over them.
        let reach = (most - least).saturating_add(distance.max(1));
        for (index, unit) in bytes.chunks_exact(size).enumerate() {
            let mut word = [0; 8];
            word[..size].copy_from_slice(unit);
            let found = u64::from_le_bytes(word);
            let compared = found & mask;
            if compared.wrapping_sub(least) >= reach {
                continue;
            }
            let address = start + (index * size) as u64;
            let fits = |&&(value, _): &&(u64, usize)| compared - value < distance.max(1);
            let below = self.values.partition_point(|&(value, _)| value <= compared);
            let mut hits = self.values[..below].iter().rev().take_while(fits);
            let go_on = hits.all(|&(_, number)| {
                each(Hit {
                    number,
                    address,
                    found,
                })
            });
            if !go_on {
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
    mut each: impl FnMut(Hit) -> bool,
) -> Result<u64, Error> {
    let mut searched = 0;
    cx.cancel.plan(length(cx, &range));
    let mut buffer = vec![0; PIECE as usize];
    let unit = pattern.how.size as u64;
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
            cx.cancel.advance(step);
        }
    }
    Ok(searched)
}

/// Bytes that are to be searched.
fn length(cx: &Context<'_>, range: &Range<u64>) -> u64 {
    let mappings = cx.target.mappings.iter().filter(|mapping| mapping.read);
    let lengths = mappings.map(|mapping| {
        let end = mapping.end.min(range.end);
        end.saturating_sub(mapping.start.max(range.start))
    });
    lengths.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every value is found wherever it would be found alone.
    #[test]
    fn many_values_are_found_at_once() {
        let values = [16, 18, 18, 1, 0x1_0000_0010, u64::MAX];
        let words: Vec<u64> = (0..40)
            .chain([0x1_0000_0010, 0x1_0000_0014, u64::MAX, 0])
            .collect();
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        for (mask, distance) in [
            (u64::MAX, 1),
            (u64::MAX, 5),
            (0xff, 1),
            (u64::MAX, u64::MAX),
        ] {
            let how = How {
                mask,
                distance,
                size: 8,
            };
            let found = |values: &[u64]| {
                let mut hits = Vec::new();
                Pattern::new(values, how).search(0x1000, &bytes, &mut |hit| {
                    hits.push(hit);
                    true
                });
                hits
            };
            let mut together = found(&values);
            together.sort_by_key(|hit| hit.number);
            let mut alone = Vec::new();
            for (number, &value) in values.iter().enumerate() {
                let expected = words
                    .iter()
                    .filter(|&&word| word & mask >= value && (word & mask) - value < distance);
                let hits = found(&[value]);
                assert_eq!(
                    hits.len(),
                    expected.count(),
                    "{value:x} {mask:x} {distance}"
                );
                alone.extend(hits.into_iter().map(|hit| Hit { number, ..hit }));
            }
            assert_eq!(together, alone, "{mask:x} {distance}");
        }
    }
}
