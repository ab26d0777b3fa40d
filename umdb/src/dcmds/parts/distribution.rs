//! How sizes are distributed: what ::umem_malloc_dist and ::umem_malloc_info share.

use std::collections::BTreeMap;

use super::{
    args::{Invocation, Opt},
    context::{Context, Error},
};
use crate::report::{Cell, Column, Section, Table, Text};

/// The options of a histogram.
pub const OPTIONS: [Opt; 4] = [
    Opt::flag('d', "each size and its count, without bars"),
    Opt::flag('g', "geometric bins: each twice as wide as the one before"),
    Opt::value(
        'b',
        "maxbins",
        "at most so many bins of equal width (0t for decimal)",
    ),
    Opt::value('B', "minbinsize", "bins at least so wide (0t for decimal)"),
];

/// Rows that a histogram has at most unless it was told how many.
const ROWS: u64 = 32;
/// Bins, each twice as wide as the one before, that cover all numbers.
const DOUBLINGS: u64 = 65;

/// How often each size occurs.
#[derive(Debug, Default)]
pub struct Sizes(BTreeMap<u64, u64>);

impl Sizes {
    /// Counts one of a size.
    pub fn add(&mut self, size: u64) {
        *self.0.entry(size).or_default() += 1;
    }

    /// The largest one.
    pub fn largest(&self) -> u64 {
        self.0.last_key_value().map_or(0, |(size, _)| *size)
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.0.values().sum()
    }
}

/// How a histogram is to be made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shape {
    raw: bool,
    geometric: bool,
    most_bins: Option<u64>,
    least_width: u64,
}

impl Shape {
    /// As the options say.
    ///
    /// # Errors
    /// When a value is no number, or zero.
    pub fn of(cx: &Context<'_>, invocation: &Invocation) -> Result<Self, Error> {
        let number = |letter: char| match cx.option(invocation, letter)? {
            Some(0) => {
                let what = format!("-{letter} 0: nothing would be shown");
                Err(invocation.senseless(&what, "it is at least 1"))
            }
            other => Ok(other),
        };
        Ok(Self {
            raw: invocation.has('d'),
            geometric: invocation.has('g'),
            most_bins: number('b')?,
            least_width: number('B')?.unwrap_or(1),
        })
    }

    /// Bins that grow by powers of two.
    pub fn geometric() -> Self {
        Self {
            geometric: true,
            least_width: 1,
            ..Self::default()
        }
    }

    /// Whether any option was given.
    pub fn was_asked_for(invocation: &Invocation) -> bool {
        ['d', 'g'].iter().any(|&letter| invocation.has(letter))
            || ['b', 'B']
                .iter()
                .any(|&letter| invocation.value(letter).is_some())
    }

    /// The histogram of sizes that lie in a range.
    pub fn histogram(&self, sizes: &Sizes, (first, last): (u64, u64)) -> Section {
        if self.raw {
            return raw(sizes);
        }
        let total = sizes.count();
        let mut table = Table::new("distribution", columns());
        for (from, to) in self.bins(first, last) {
            let count: u64 = sizes.0.range(from..=to).map(|(_, count)| count).sum();
            table.push(vec![
                Cell::ByteRange(from, to),
                Cell::Bar(count, total),
                Cell::Count(count),
            ]);
        }
        table.into()
    }

    /// The bins that cover a range.
    fn bins(&self, first: u64, last: u64) -> Vec<(u64, u64)> {
        let count = last.saturating_sub(first).saturating_add(1);
        let usual = if self.geometric { DOUBLINGS } else { ROWS };
        let most = self.most_bins.unwrap_or(usual);
        let mut bins = Vec::new();
        let mut from = first;
        let mut width = if self.geometric {
            self.least_width
        } else {
            count.div_ceil(most).max(self.least_width)
        };
        while from <= last && bins.len() < 1 << 16 {
            let is_last = self.geometric && bins.len() as u64 + 1 == most;
            let to = if is_last {
                last
            } else {
                from.saturating_add(width - 1).min(last)
            };
            bins.push((from, to));
            let Some(next) = to.checked_add(1) else { break };
            from = next;
            if self.geometric && bins.len() > 1 {
                width = width.saturating_mul(2);
            }
        }
        bins
    }
}

fn columns() -> Vec<Column> {
    vec![
        Column::right("sizes", "malloc size", 11),
        Column::left(
            "share",
            " ------------------ Distribution ------------------",
            51,
        ),
        Column::left("count", "count", 0),
    ]
}

/// One line a size.
fn raw(sizes: &Sizes) -> Section {
    let lines = sizes
        .0
        .iter()
        .map(|(size, count)| format!("{size}\t{count}\n"));
    Text {
        key: "distribution",
        body: lines.collect(),
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_cover_the_range_without_gaps() {
        let bins = |shape: Shape, last| shape.bins(0, last);
        let plain = Shape {
            least_width: 1,
            ..Shape::default()
        };
        assert_eq!(bins(plain, 2), [(0, 0), (1, 1), (2, 2)]);
        assert_eq!(bins(plain, 63).len(), 32);
        let four = Shape {
            most_bins: Some(4),
            ..plain
        };
        assert_eq!(bins(four, 9), [(0, 2), (3, 5), (6, 8), (9, 9)]);
        let wide = Shape {
            least_width: 5,
            ..plain
        };
        assert_eq!(bins(wide, 9), [(0, 4), (5, 9)]);
        let geometric = Shape {
            geometric: true,
            ..plain
        };
        assert_eq!(bins(geometric, 9), [(0, 0), (1, 1), (2, 3), (4, 7), (8, 9)]);
        assert_eq!(
            bins(
                Shape {
                    most_bins: Some(3),
                    ..geometric
                },
                9
            ),
            [(0, 0), (1, 1), (2, 9)]
        );
        assert_eq!(bins(geometric, u64::MAX).last(), Some(&(1 << 63, u64::MAX)));
        assert_eq!(bins(plain, u64::MAX).len(), 32);
    }
}
