//! Sets of addresses as ranges.

/// First address and one past the last.
pub(super) type Range = (u64, u64);

/// Addresses, as sorted disjoint ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RangeSet(Vec<Range>);

impl RangeSet {
    /// The addresses in any of the ranges.
    pub(super) fn new(ranges: impl IntoIterator<Item = Range>) -> Self {
        let mut sorted: Vec<Range> = ranges
            .into_iter()
            .filter(|(start, end)| start < end)
            .collect();
        sorted.sort_unstable();
        let mut merged: Vec<Range> = Vec::with_capacity(sorted.len());
        for (start, end) in sorted {
            match merged.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => merged.push((start, end)),
            }
        }
        Self(merged)
    }

    /// Adds ranges.
    pub(super) fn extend(&mut self, ranges: impl IntoIterator<Item = Range>) {
        *self = Self::new(self.0.drain(..).chain(ranges));
    }

    /// Whether it holds an address.
    pub(super) fn contains(&self, address: u64) -> bool {
        index_at(&self.0, address).is_some()
    }

    /// The pieces of a range that are not in the set.
    pub(super) fn without(&self, (start, end): Range) -> Vec<Range> {
        let mut pieces = Vec::new();
        let mut from = start;
        let first = self.0.partition_point(|range| range.1 <= start);
        for &(taken_start, taken_end) in self.0[first..].iter().take_while(|range| range.0 < end) {
            if from < taken_start {
                pieces.push((from, taken_start));
            }
            from = taken_end;
        }
        if from < end {
            pieces.push((from, end));
        }
        pieces
    }
}

/// Index of the range that holds an address, among sorted disjoint ones.
pub(super) fn index_at(ranges: &[Range], address: u64) -> Option<usize> {
    let after = ranges.partition_point(|range| range.0 <= address);
    let index = after.checked_sub(1)?;
    (address < ranges[index].1).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_what_is_left() {
        let set = RangeSet::new([(30, 40), (10, 20), (15, 25), (50, 50)]);
        assert_eq!(set.without((0, 60)), [(0, 10), (25, 30), (40, 60)]);
        assert_eq!(set.without((12, 35)), [(25, 30)]);
        assert_eq!(set.without((10, 25)), []);
        assert_eq!(set.without((25, 30)), [(25, 30)]);
        assert!(set.contains(24) && !set.contains(25));
    }
}
