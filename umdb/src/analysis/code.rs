//! Pointers in code that a program made while it ran (JIT compilers).
//!
//! Instructions hold addresses at any byte. So in memory that is executable and of no file each byte begins a word, and
//! what these words point to is alive: whether the code itself is still used only the program knows.

use super::{
    Cancel,
    ranges::{Range, RangeSet},
    scan::Source,
};
use crate::target::{Mapping, Memory};

/// Different pointers that are kept; a heap has fewer that code knows.
const POINTERS_MAX: usize = 1 << 20;

/// Whether a mapping may hold such code.
pub(super) fn is_made(mapping: &Mapping) -> bool {
    let is_of_no_file = |name: &String| {
        ["[anon", "/memfd:", "/dev/zero"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
    };
    mapping.execute && mapping.read && mapping.name.as_ref().is_none_or(is_of_no_file)
}

/// The words at any byte of a range that point into some regions, in order of value; and whether there were more than
/// are kept.
pub(super) fn pointers(
    memory: &dyn Memory,
    range: Range,
    regions: &RangeSet,
    cancel: &Cancel,
) -> (Vec<u64>, bool) {
    let mut found = Vec::new();
    let mut is_cut = false;
    // The last bytes of the piece before: a word may lie across.
    let (mut end, mut rest) = (0, Vec::new());
    let mut source = Source::new(memory, cancel);
    source.range(range, |at, bytes| {
        if at != end {
            rest.clear();
        }
        let across: Vec<u8> = rest.iter().chain(bytes.iter().take(7)).copied().collect();
        let words = across.windows(8).chain(bytes.windows(8));
        let words =
            words.filter_map(|word| word.first_chunk().map(|word| u64::from_le_bytes(*word)));
        found.extend(words.filter(|&word| regions.contains(word)));
        rest.clear();
        rest.extend_from_slice(&bytes[bytes.len().saturating_sub(7)..]);
        end = at + bytes.len() as u64;
        if found.len() > POINTERS_MAX {
            is_cut |= thin_out(&mut found);
        }
    });
    thin_out(&mut found);
    (found, is_cut)
}

/// Keeps each once. Whether there were too many even so.
fn thin_out(found: &mut Vec<u64>) -> bool {
    found.sort_unstable();
    found.dedup();
    let is_cut = found.len() > POINTERS_MAX;
    found.truncate(POINTERS_MAX);
    is_cut
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes from an address on.
    struct Bytes(u64, Vec<u8>);

    impl Memory for Bytes {
        fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
            let rest = &self.1[(address - self.0) as usize..];
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            count
        }
    }

    #[test]
    fn pointers_at_any_byte_are_found_across_pieces_too() {
        let piece = super::super::scan::PIECE as usize;
        let mut bytes = vec![0_u8; 2 * piece];
        let places = [3, 16, piece - 11, piece - 3, piece + 5, 2 * piece - 8];
        for (index, &at) in places.iter().enumerate() {
            let value = 0x7000_0000_1000 + index as u64;
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        let range = (0x10_0000, 0x10_0000 + bytes.len() as u64);
        let regions = RangeSet::new([(0x7000_0000_1000, 0x7000_0000_2000)]);
        let memory = Bytes(range.0, bytes);
        let (found, is_cut) = pointers(&memory, range, &regions, &Cancel::new());
        let expected: Vec<u64> = (0x7000_0000_1000..0x7000_0000_1006).collect();
        assert_eq!((found, is_cut), (expected, false));
    }

    #[test]
    fn code_of_files_is_left_out() {
        let is_made = |name: Option<&str>, execute| {
            is_made(&Mapping {
                read: true,
                execute,
                name: name.map(str::to_owned),
                ..Mapping::default()
            })
        };
        assert!(is_made(None, true) && is_made(Some("[anon:v8]"), true));
        assert!(is_made(Some("/memfd:doublemapper (deleted)"), true));
        assert!(!is_made(None, false) && !is_made(Some("/usr/lib/libc.so.6"), true));
        assert!(!is_made(Some("[vdso]"), true));
    }
}
