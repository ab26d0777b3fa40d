//! All pointers between objects, read in one sweep.
//!
//! Marking goes through memory several times, since what is marked behind the sweep waits for the next one. Where there is
//! room for it (four bytes an object and a pointer) all objects are read once instead, in order of address and by several
//! threads, and marking follows the pointers that were found. Where the pointers are too many, there is none of this.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::{
    Cancel, Cancelled,
    mark::Stats,
    nodes::{CANDIDATE, Hit, Nodes},
    scan::{Source, share_out, words},
};

/// Units that make one part.
const UNITS_A_PART: usize = 64;
/// Pointers take at most so many bytes, and this part of the heap.
const ROOM_MIN: usize = 48 << 20;
const ROOM_PART: usize = 40;
/// The pointer leads to the start of an object.
const TO_START: u32 = 1 << 31;
/// Equal pointers that follow each other at so small a distance are kept once.
const NEAR: usize = 4;

/// All pointers between objects.
pub(super) struct Pointers {
    /// How many objects there are before each word of bits.
    before: Vec<u32>,
    /// Where the pointers of each object begin, in order of address, and where the last one's end.
    starts: Vec<u32>,
    edges: Vec<u32>,
    /// Objects that could not be read as a whole: number and bytes.
    unread: Vec<(u32, u64)>,
    /// Words, dismissals, misses and bytes; hits are counted as dups.
    pub(super) stats: Stats,
}

/// The pointers of a run of objects.
struct Part {
    /// Index of the first object.
    first: u32,
    starts: Vec<u32>,
    edges: Vec<u32>,
}

/// One thread of the sweep.
struct Reader<'a> {
    source: Source<'a>,
    parts: Vec<Part>,
    unread: Vec<(u32, u64)>,
    stats: Stats,
}

impl Pointers {
    /// Reads all objects. None: the pointers would take too much room.
    pub(super) fn read(nodes: &Nodes<'_>, cancel: &Cancel) -> Result<Option<Self>, Cancelled> {
        if nodes.count() == 0 || nodes.count() >= TO_START as usize {
            return Ok(None);
        }
        let before = nodes.before(CANDIDATE);
        let count = nodes.rank(&before, nodes.count() - 1, CANDIDATE) as usize + 1;
        let room = AtomicUsize::new(room(nodes));
        let mut all = Self {
            before,
            starts: vec![0; count + 1],
            edges: Vec::new(),
            unread: Vec::new(),
            stats: Stats::default(),
        };
        let mut parts: Vec<Part> = Vec::new();
        let new = || Reader {
            source: Source::new(nodes.heap.reader.memory(), cancel),
            parts: Vec::new(),
            unread: Vec::new(),
            stats: Stats::default(),
        };
        let before = &all.before;
        let each = |reader: &mut Reader<'_>, index: usize| {
            if room.load(Relaxed) > 0 {
                let first = index * UNITS_A_PART;
                let units = first..nodes.units().min(first + UNITS_A_PART);
                reader.part(nodes, before, units);
                let edges = reader.parts.last().map_or(0, |part| part.edges.len());
                let left = |room: usize| Some(room.saturating_sub(edges));
                let _ = room.fetch_update(Relaxed, Relaxed, left);
            }
        };
        let (unread, stats) = (&mut all.unread, &mut all.stats);
        share_out(
            nodes.units().div_ceil(UNITS_A_PART),
            cancel,
            new,
            each,
            |reader| {
                parts.extend(reader.parts);
                unread.extend(reader.unread);
                stats.add(&reader.stats);
            },
        );
        cancel.check()?;
        if room.into_inner() == 0 {
            return Ok(None);
        }
        all.join(parts);
        Ok(Some(all))
    }

    /// Puts the parts together.
    fn join(&mut self, mut parts: Vec<Part>) {
        parts.sort_unstable_by_key(|part| part.first);
        self.edges = Vec::with_capacity(parts.iter().map(|part| part.edges.len()).sum());
        for part in parts {
            let (first, base) = (part.first as usize, self.edges.len() as u32);
            for (start, offset) in self.starts[first..].iter_mut().zip(&part.starts) {
                *start = base + offset;
            }
            self.edges.extend(part.edges);
        }
        if let Some(last) = self.starts.last_mut() {
            *last = self.edges.len() as u32;
        }
    }

    /// What an object points to: numbers, and whether to the start.
    #[inline]
    pub(super) fn of(&self, nodes: &Nodes<'_>, node: usize) -> impl Iterator<Item = (usize, bool)> {
        let row = nodes.rank(&self.before, node, CANDIDATE) as usize;
        let edges = &self.edges[self.starts[row] as usize..self.starts[row + 1] as usize];
        edges
            .iter()
            .map(|edge| ((edge & !TO_START) as usize, edge & TO_START != 0))
    }

    /// Bytes of objects with these bits that could not be read.
    pub(super) fn unread(&self, nodes: &Nodes<'_>, bits: u64) -> u64 {
        let of_these = self
            .unread
            .iter()
            .filter(|(node, _)| nodes.get(*node as usize) & bits == bits);
        of_these.map(|(_, bytes)| bytes).sum()
    }
}

/// Pointers for which there is room.
fn room(nodes: &Nodes<'_>) -> usize {
    let slabs = nodes
        .heap
        .slabs
        .iter()
        .map(|slab| slab.buffer(slab.carved) - slab.base);
    let blocks = nodes.heap.blocks.iter().map(|block| block.requested);
    let bytes = slabs.chain(blocks).fold(0, u64::saturating_add);
    let part = usize::try_from(bytes).unwrap_or(usize::MAX) / ROOM_PART;
    (ROOM_MIN.saturating_add(part) / size_of::<u32>()).min(u32::MAX as usize - 1)
}

impl Reader<'_> {
    fn part(&mut self, nodes: &Nodes<'_>, before: &[u32], units: std::ops::Range<usize>) {
        let rank = |node: usize| nodes.rank(before, node, CANDIDATE);
        let first = rank(nodes.node(units.start, 0));
        let mut part = Part {
            first,
            starts: Vec::new(),
            edges: Vec::new(),
        };
        let end = if units.end < nodes.units() {
            rank(nodes.node(units.end, 0))
        } else {
            rank(nodes.count() - 1) + 1
        };
        for unit in units {
            let mut is_listed = false;
            let list = |found: &mut Vec<u32>| {
                found.clear();
                if !std::mem::replace(&mut is_listed, true) {
                    nodes.select(unit, CANDIDATE, 0, found);
                }
            };
            let stats = &mut self.stats;
            let mut last = (u32::MAX, 0);
            self.source.unit(nodes, unit, list, |index, _, bytes| {
                if last.0 != index {
                    let row = (rank(nodes.node(unit, index)) - first) as usize;
                    part.starts.resize(row + 1, part.edges.len() as u32);
                    last = (index, part.edges.len());
                }
                add(nodes, bytes, &mut part.edges, last.1, stats);
            });
            for (index, bytes) in self.source.holes.drain(..) {
                self.unread.push((nodes.node(unit, index) as u32, bytes));
            }
            self.stats.heap_bytes += std::mem::take(&mut self.source.read);
            self.source.unread = 0;
        }
        part.starts
            .resize((end - first) as usize, part.edges.len() as u32);
        part.edges.shrink_to_fit();
        self.parts.push(part);
    }
}

/// Adds the pointers among some words of an object, whose own begin at `from`.
fn add(nodes: &Nodes<'_>, bytes: &[u8], edges: &mut Vec<u32>, from: usize, stats: &mut Stats) {
    let mut found = 0;
    let mut misses = 0;
    for word in words(bytes).filter(|&word| !nodes.is_dismissed(word)) {
        found += 1;
        let Some(Hit { node, offset, .. }) = nodes.find(word) else {
            misses += 1;
            continue;
        };
        let edge = node as u32 | if offset == 0 { TO_START } else { 0 };
        let near = edges.len().saturating_sub(NEAR).max(from);
        if !edges[near..].contains(&edge) {
            edges.push(edge);
        }
    }
    let words = bytes.len() as u64 / 8;
    stats.words += words;
    stats.dismissals += words - found;
    stats.misses += misses;
    stats.dups += found - misses;
}
