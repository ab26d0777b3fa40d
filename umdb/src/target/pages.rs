//! Which pages of a process there are: those that it has written to, in memory or in swap.

use std::{fs::File, io, os::unix::fs::FileExt};

/// Bytes of a page.
pub(super) const PAGE: u64 = 4096;
/// Pages that are asked for at once.
const PAGES: usize = 8192;
/// A page is in memory, or in swap.
const PRESENT: u64 = 3 << 62;

/// /proc/PID/pagemap.
pub(super) struct Pages(File);

impl Pages {
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        File::open(format!("/proc/{pid}/pagemap")).map(Self)
    }

    /// The first address from `address` on, at most `end`, that lies in a page that there is. What cannot be asked counts
    /// as there.
    pub(super) fn next_present(&self, address: u64, end: u64) -> u64 {
        let mut words = Vec::new();
        let (mut page, last) = (address / PAGE, end.div_ceil(PAGE));
        while page < last {
            // Most often the first one is there.
            let count = if words.is_empty() { 1 } else { PAGES };
            let count = count.min((last - page) as usize);
            words.resize(count * 8, 0);
            let got = self.0.read_at(&mut words, page * 8).unwrap_or(0);
            let (entries, _) = words[..got].as_chunks::<8>();
            let is_present = |entry: &[u8; 8]| u64::from_le_bytes(*entry) & PRESENT != 0;
            let absent = entries.iter().position(is_present).unwrap_or(entries.len());
            page += absent as u64;
            if absent < count {
                break;
            }
        }
        (page * PAGE).clamp(address, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_were_written_to_are_found() {
        let length = 64 << 20;
        // Memory from the system that nobody has written to.
        let mut map = memmap2::MmapMut::map_anon(length).unwrap();
        let start = map.as_ptr() as u64;
        let end = start + length as u64;
        let pages = Pages::of(std::process::id()).unwrap();
        let far = 9_437_187;
        map[far] = 1;
        let there = (start + far as u64) & !(PAGE - 1);
        // The system may use huge pages, which begin earlier.
        let found = pages.next_present(start, end);
        assert!(found > start && found <= there, "{found:#x}");
        assert_eq!(pages.next_present(there + 5, end), there + 5);
        assert_eq!(pages.next_present(start, start + 5), start + 5);
    }
}
