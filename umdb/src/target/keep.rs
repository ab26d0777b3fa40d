//! What a copy by fork leaves out, read from the process before it goes on.
//!
//! 1. Ranges with MADV_DONTFORK are missing in the copy.
//! 2. Ranges with MADV_WIPEONFORK are empty there: no page of them is present, where the process has some.
//! 3. Shared memory is not copied: the process goes on writing to it. What a pointer moved there would be lost.

use nix::unistd::Pid;

use super::{
    Mapping, Memory,
    live::ProcessMemory,
    pages::{PAGE, Pages},
    procfs,
};

/// More than this is not copied while the process waits: it takes a quarter of a second.
const BYTES_MAX: u64 = 512 << 20;
/// A mapping without any page up to here is taken for empty.
const LOOK_MAX: u64 = 256 << 20;

/// Memory that was read before the process went on, in order of address.
#[derive(Default)]
pub(super) struct Kept {
    ranges: Vec<(u64, Vec<u8>)>,
}

impl Kept {
    /// Bytes by their address, in order.
    pub(super) fn of(ranges: Vec<(u64, Vec<u8>)>) -> Self {
        Self { ranges }
    }

    /// The bytes from an address on, as far as they are kept without a gap.
    pub(super) fn piece(&self, address: u64) -> Option<&[u8]> {
        let after = self.ranges.partition_point(|range| range.0 <= address);
        let (start, bytes) = self.ranges.get(after.checked_sub(1)?)?;
        bytes
            .get(usize::try_from(address - start).ok()?..)
            .filter(|rest| !rest.is_empty())
    }

    /// Bytes up to the next range behind an address.
    pub(super) fn gap(&self, address: u64) -> u64 {
        let after = self.ranges.partition_point(|range| range.0 <= address);
        self.ranges
            .get(after)
            .map_or(u64::MAX, |range| range.0 - address)
    }
}

/// Reads what the copy of a process lacks.
pub(super) fn left_out(
    process: Pid,
    copy: Pid,
    memory: &ProcessMemory,
    mappings: &[Mapping],
) -> Result<Kept, String> {
    let in_copy = procfs::mappings(copy.as_raw() as u32).map_err(|error| error.what)?;
    let pages = (
        Pages::of(process.as_raw() as u32),
        Pages::of(copy.as_raw() as u32),
    );
    let is_wiped = |mapping: &Mapping| match &pages {
        (Ok(process), Ok(copy)) => is_wiped(process, copy, mapping),
        _ => false,
    };
    let mut wanted = Vec::new();
    for mapping in mappings
        .iter()
        .filter(|mapping| mapping.read && mapping.write)
    {
        if mapping.shared {
            if !is_device(mapping) {
                wanted.push((mapping.start, mapping.end));
            }
            continue;
        }
        let present = || overlaps(&in_copy, mapping);
        let missing = without(mapping, present());
        if missing.is_empty() && can_be_wiped(mapping) && is_wiped(mapping) {
            wanted.push((mapping.start, mapping.end));
        }
        wanted.extend(missing);
    }
    let total: u64 = wanted.iter().map(|(start, end)| end - start).sum();
    if total > BYTES_MAX {
        return Err(format!(
            "{} MiB of shared memory (or marked not to be copied) would have to be copied while it waits",
            total >> 20
        ));
    }
    wanted.sort_unstable();
    let ranges = wanted
        .into_iter()
        .map(|(start, end)| {
            let mut bytes = vec![0; (end - start) as usize];
            let got = memory.read(start, &mut bytes);
            bytes.truncate(got);
            (start, bytes)
        })
        .collect();
    Ok(Kept::of(ranges))
}

/// Anonymous memory that a program made, perhaps with a name.
fn can_be_wiped(mapping: &Mapping) -> bool {
    let name = mapping.name.as_deref();
    name.is_none_or(|name| name.starts_with("[anon:"))
}

/// Memory of a device may do things when it is read.
pub(super) fn is_device(mapping: &Mapping) -> bool {
    mapping.name.as_ref().is_some_and(|name| {
        name.starts_with("/dev/")
            && !name.starts_with("/dev/shm/")
            && !name.starts_with("/dev/zero")
    })
}

/// Parts of the copy's mappings that lie in a mapping of the process.
fn overlaps<'a>(in_copy: &'a [Mapping], mapping: &'a Mapping) -> impl Iterator<Item = (u64, u64)> {
    let from = in_copy.partition_point(|other| other.end <= mapping.start);
    in_copy[from..]
        .iter()
        .take_while(|other| other.start < mapping.end)
        .map(|other| (other.start.max(mapping.start), other.end.min(mapping.end)))
}

fn without(mapping: &Mapping, present: impl Iterator<Item = (u64, u64)>) -> Vec<(u64, u64)> {
    let mut missing = Vec::new();
    let mut at = mapping.start;
    for (start, end) in present {
        if at < start {
            missing.push((at, start));
        }
        at = at.max(end);
    }
    if at < mapping.end {
        missing.push((at, mapping.end));
    }
    missing
}

/// Whether no page is present in the copy where the first one of the process is.
fn is_wiped(process: &Pages, copy: &Pages, mapping: &Mapping) -> bool {
    let end = mapping.end.min(mapping.start.saturating_add(LOOK_MAX));
    let first = process.next_present(mapping.start, end);
    first < end && copy.next_present(first, first + PAGE) > first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_of_a_mapping() {
        let mapping = |start, end| Mapping {
            start,
            end,
            ..Mapping::default()
        };
        let copy = [mapping(0, 10), mapping(12, 20), mapping(30, 40)];
        let missing = |start, end| {
            let whole = mapping(start, end);
            without(&whole, overlaps(&copy, &whole))
        };
        assert_eq!(missing(0, 10), []);
        assert_eq!(missing(5, 35), [(10, 12), (20, 30)]);
        assert_eq!(missing(50, 60), [(50, 60)]);
    }

    #[test]
    fn kept_bytes_are_found_by_address() {
        let kept = Kept {
            ranges: vec![(100, vec![1, 2, 3]), (200, vec![4])],
        };
        assert_eq!(kept.piece(101), Some(&[2, 3][..]));
        assert_eq!(kept.piece(103), None);
        assert_eq!(kept.piece(99), None);
        assert_eq!(kept.piece(200), Some(&[4][..]));
        assert_eq!(kept.gap(150), 50);
        assert_eq!(kept.gap(300), u64::MAX);
    }
}
