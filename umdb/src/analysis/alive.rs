//! The pointers between what is alive, as a graph: kept where there is room for them, else read again each time.
//!
//! What is alive is numbered from 1 in order of address.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::{
    Cancel, Cancelled,
    dominators::Graph,
    nodes::{MARKED, Nodes},
    ranges::Range,
    roots::Roots,
    scan::{Source, pieces, share_out, words},
};

/// Units that make one piece of work.
const UNITS_A_PART: usize = 64;
/// Bytes of an object that are read first when its pointers are followed; then twice as many each time.
const FIRST_BYTES: u64 = 256;

/// Numbers of what is alive.
pub(super) struct Alive<'a> {
    nodes: &'a Nodes<'a>,
    cancel: &'a Cancel,
    /// How many there are before each word of bits.
    before: Vec<u32>,
    /// How many there are.
    pub(super) count: usize,
    /// Which of them the roots lead to: a bit each.
    roots: Vec<u64>,
}

/// What one thread reads with.
struct Reader<'a> {
    source: Source<'a>,
    targets: Vec<u32>,
}

impl<'a> Alive<'a> {
    pub(super) fn new(nodes: &'a Nodes<'a>, cancel: &'a Cancel) -> Self {
        let before = nodes.before(MARKED);
        let count = nodes.count().checked_sub(1).map_or(0, |last| {
            let is_alive = nodes.get(last) & MARKED != 0;
            nodes.rank(&before, last, MARKED) as usize + usize::from(is_alive)
        });
        Self {
            nodes,
            cancel,
            before,
            count,
            roots: Vec::new(),
        }
    }

    /// Number of what is alive at a node.
    #[inline]
    pub(super) fn number(&self, node: usize) -> u32 {
        self.nodes.rank(&self.before, node, MARKED) + 1
    }

    /// Unit and index of a number.
    pub(super) fn place(&self, number: u32) -> (usize, u32) {
        let rank = number.saturating_sub(1);
        self.nodes
            .place(self.nodes.at_rank(&self.before, rank, MARKED))
    }

    fn reader(&self) -> Reader<'a> {
        Reader {
            source: Source::new(self.nodes.heap.reader.memory(), self.cancel),
            targets: Vec::new(),
        }
    }

    /// The number of what a word points to.
    #[inline]
    fn target(&self, word: u64) -> Option<u32> {
        if self.nodes.is_dismissed(word) {
            return None;
        }
        self.nodes.find(word).map(|hit| self.number(hit.node))
    }

    /// Notes what the roots point to.
    pub(super) fn read_roots(&mut self, roots: &Roots) {
        let mut bits = vec![0_u64; self.count / 64 + 1];
        let mut add = |word: u64| {
            if let Some(number) = self.target(word) {
                bits[number as usize / 64] |= 1 << (number % 64);
            }
        };
        roots.values.iter().for_each(|root| add(root.value));
        let mut source = self.reader().source;
        for piece in roots.ranges.iter().flat_map(|root| pieces(root.range)) {
            source.range(piece, |_, bytes| words(bytes).for_each(&mut add));
        }
        self.roots = bits;
    }

    /// The first number from one on that the roots lead to and that is wanted, and the one behind it.
    fn next_root(&self, from: u64, is_wanted: impl Fn(u32) -> bool) -> Option<(u32, u64)> {
        let first = usize::try_from(from / 64).ok()?;
        let words = self.roots.iter().enumerate().skip(first);
        let mut numbers = words.flat_map(|(index, &word)| {
            let bits = (0..64).filter(move |bit| word >> bit & 1 != 0);
            bits.map(move |bit| index as u64 * 64 + bit)
        });
        numbers
            .find(|&number| number >= from && is_wanted(number as u32))
            .map(|number| (number as u32, number + 1))
    }

    fn parts(&self) -> usize {
        self.nodes.units().div_ceil(UNITS_A_PART)
    }

    /// Reads what is alive in a part. Calls `each` with a number, and the sorted numbers of what it points to; several times
    /// for a large object.
    fn read_part(&self, part: usize, reader: &mut Reader<'_>, mut each: impl FnMut(u32, &[u32])) {
        let nodes = self.nodes;
        let first = part * UNITS_A_PART;
        let targets = &mut reader.targets;
        for unit in first..nodes.units().min(first + UNITS_A_PART) {
            let mut is_listed = false;
            let list = |found: &mut Vec<u32>| {
                found.clear();
                if !std::mem::replace(&mut is_listed, true) {
                    nodes.select(unit, MARKED, 0, found);
                }
            };
            reader.source.unit(nodes, unit, list, |index, _, bytes| {
                let own = self.number(nodes.node(unit, index));
                targets.clear();
                targets.extend(words(bytes).filter_map(|word| self.target(word)));
                targets.sort_unstable();
                targets.dedup();
                each(own, targets);
            });
        }
    }

    /// Number of the first that is in a part or behind it.
    fn first_of(&self, part: usize) -> u32 {
        let unit = part * UNITS_A_PART;
        if unit < self.nodes.units() {
            self.number(self.nodes.node(unit, 0))
        } else {
            self.count as u32 + 1
        }
    }
}

/// All pointers, in memory.
pub(super) struct Stored<'a> {
    alive: &'a Alive<'a>,
    /// In order of their numbers.
    parts: Vec<Part>,
}

/// The pointers of a run of numbers.
struct Part {
    first: u32,
    /// Where the pointers of each begin, and where the last one's end.
    starts: Vec<u32>,
    edges: Vec<u32>,
}

impl<'a> Stored<'a> {
    /// Reads all pointers. None: there are more than that.
    pub(super) fn read(alive: &'a Alive<'a>, room: usize) -> Result<Option<Self>, Cancelled> {
        let left = AtomicUsize::new(room);
        let each = |(reader, parts): &mut (Reader<'_>, Vec<Part>), index: usize| {
            if left.load(Relaxed) > 0 {
                let part = Part::read(alive, index, reader);
                let less = |left: usize| Some(left.saturating_sub(part.edges.len()));
                let _ = left.fetch_update(Relaxed, Relaxed, less);
                parts.push(part);
            }
        };
        let mut parts: Vec<Part> = Vec::new();
        let new = || (alive.reader(), Vec::new());
        share_out(alive.parts(), alive.cancel, new, each, |(_, made)| {
            parts.extend(made);
        });
        alive.cancel.check()?;
        if left.into_inner() == 0 {
            return Ok(None);
        }
        parts.sort_unstable_by_key(|part| part.first);
        // A part that holds nothing has the number of the one behind it.
        parts.retain(|part| part.starts.len() > 1);
        Ok(Some(Self { alive, parts }))
    }

    fn edges(&self, number: u32) -> &[u32] {
        let after = self.parts.partition_point(|part| part.first <= number);
        let part = after.checked_sub(1).and_then(|index| self.parts.get(index));
        part.map_or(&[], |part| part.edges((number - part.first) as usize))
    }
}

impl Part {
    fn read(alive: &Alive<'_>, index: usize, reader: &mut Reader<'_>) -> Self {
        let first = alive.first_of(index);
        let mut part = Self {
            first,
            starts: Vec::new(),
            edges: Vec::new(),
        };
        alive.read_part(index, reader, |own, targets| {
            let row = (own - first) as usize;
            // Objects without a readable word, and further pieces of one, do not begin a row.
            if part.starts.len() <= row {
                part.starts.resize(row + 1, part.edges.len() as u32);
            }
            let others = targets.iter().filter(|&&target| target != own);
            part.edges.extend(others);
        });
        let rows = (alive.first_of(index + 1) - first) as usize;
        part.starts.resize(rows + 1, part.edges.len() as u32);
        part.edges.shrink_to_fit();
        part
    }

    fn edges(&self, row: usize) -> &[u32] {
        match self.starts.get(row..row + 2) {
            Some(&[from, to]) => &self.edges[from as usize..to as usize],
            _ => &[],
        }
    }
}

impl Graph for Stored<'_> {
    fn count(&self) -> u32 {
        self.alive.count as u32
    }

    fn next(
        &mut self,
        node: u32,
        position: u64,
        is_wanted: impl Fn(u32) -> bool,
    ) -> Option<(u32, u64)> {
        if node == 0 {
            return self.alive.next_root(position, is_wanted);
        }
        let edges = self.edges(node).get(position as usize..)?;
        let at = edges.iter().position(|&to| is_wanted(to))?;
        Some((edges[at], position + at as u64 + 1))
    }

    fn sweep(&self, each: impl Fn(u32, u32) + Sync) {
        let work = |(): &mut (), index: usize| {
            let part = &self.parts[index];
            for (from, row) in (part.first..).zip(0..part.starts.len() - 1) {
                part.edges(row).iter().for_each(|&to| each(from, to));
            }
        };
        share_out(self.parts.len(), self.alive.cancel, || (), work, |()| ());
    }
}

/// The pointers as they stand in memory: what is not kept is read anew each time it is looked at.
pub(super) struct Reread<'a> {
    alive: &'a Alive<'a>,
    source: Source<'a>,
}

impl<'a> Reread<'a> {
    pub(super) fn new(alive: &'a Alive<'a>) -> Self {
        let source = alive.reader().source;
        Self { alive, source }
    }

    /// The first wanted pointer of a range, and the address behind it.
    fn first(
        &mut self,
        (start, end): Range,
        is_wanted: impl Fn(u32) -> bool,
    ) -> Option<(u32, u64)> {
        let (mut at, mut step) = (start.next_multiple_of(8), FIRST_BYTES);
        let mut found = None;
        while found.is_none() && at < end && !self.alive.cancel.is_requested() {
            let stop = at.saturating_add(step).min(end);
            self.source.range((at, stop), |address, bytes| {
                if found.is_some() {
                    return;
                }
                let mut targets = (address + 8..).step_by(8).zip(words(bytes));
                found = targets.find_map(|(behind, word)| {
                    let target = self.alive.target(word)?;
                    is_wanted(target).then_some((target, behind))
                });
            });
            (at, step) = (stop, step.saturating_mul(2));
        }
        found
    }
}

impl Graph for Reread<'_> {
    fn count(&self) -> u32 {
        self.alive.count as u32
    }

    fn next(
        &mut self,
        node: u32,
        position: u64,
        is_wanted: impl Fn(u32) -> bool,
    ) -> Option<(u32, u64)> {
        if node == 0 {
            return self.alive.next_root(position, is_wanted);
        }
        let (unit, index) = self.alive.place(node);
        let (start, end) = self.alive.nodes.range(unit, index);
        let (target, behind) = self.first((start + position, end), is_wanted)?;
        Some((target, behind - start))
    }

    fn sweep(&self, each: impl Fn(u32, u32) + Sync) {
        let alive = self.alive;
        let work = |reader: &mut Reader<'_>, part: usize| {
            alive.read_part(part, reader, |own, targets| {
                targets.iter().for_each(|&target| each(own, target));
            });
        };
        share_out(alive.parts(), alive.cancel, || alive.reader(), work, drop);
    }
}
