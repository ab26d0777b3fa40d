//! Marking what is alive.
//!
//! Conservative: every aligned word whose value lies in an allocated buffer keeps it alive, whether it
//! points at the start or into the middle; one past the end does not count.
//!
//! Work is done in sweeps in order of address, by several threads: a sweep takes the units in which something
//! was marked, and scans there until nothing new is marked in them. Where a sweep would be narrow, as along a list, one
//! thread follows pointers instead. Each number is scanned once, so that the work is bounded by the heap.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use super::{
    Cancel, Cancelled,
    nodes::{Hit, MARKED, Nodes, SCANNED, START},
    pointers::Pointers,
    ranges::Range,
    roots::Roots,
    scan::{PIECE, Source, pieces, share_out, words},
    walk,
};

/// A sweep of fewer units than this is left to one thread that follows pointers.
const NARROW: usize = 16;
/// Pointers that may wait while following; more are left to a sweep.
const WAITING_MAX: usize = 1 << 16;
/// After so many objects a wide search goes on as a sweep, the next time after twice as many; and what is wide.
const FOLLOWED_MAX: usize = 1 << 12;
const WIDE: usize = 8;

/// What was done, for `-v`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Buffers and blocks that may be lost.
    pub candidates: u64,
    /// Words that were looked at.
    pub words: u64,
    /// Values outside of everything.
    pub dismissals: u64,
    /// Values between, but in nothing allocated.
    pub misses: u64,
    /// Values in something marked before.
    pub dups: u64,
    /// Values that marked something.
    pub follows: u64,
    /// Bytes of roots that were read.
    pub root_bytes: u64,
    /// Bytes of live buffers that were read.
    pub heap_bytes: u64,
    /// Bytes that were needed and could not be read.
    pub unread: u64,
}

impl Stats {
    pub(super) fn add(&mut self, other: &Self) {
        self.words += other.words;
        self.dismissals += other.dismissals;
        self.misses += other.misses;
        self.dups += other.dups;
        self.follows += other.follows;
        self.root_bytes += other.root_bytes;
        self.heap_bytes += other.heap_bytes;
        self.unread += other.unread;
    }
}

/// What a thread takes from the list of work.
#[derive(Debug, Clone, Copy)]
enum Work {
    /// All that is marked in a unit.
    Unit(usize),
    /// A piece of something large that is marked.
    Piece(Range),
    /// A piece of the root with an index.
    Root(usize, Range),
}

/// The state of a search.
pub(super) struct Marker<'a> {
    nodes: &'a Nodes<'a>,
    cancel: &'a Cancel,
    /// Units in which something was marked and not scanned, one bit each.
    dirty: Vec<AtomicU64>,
    pub(super) stats: Stats,
    /// What could not be read: one line each.
    pub(super) doubts: Vec<String>,
}

/// What the threads of a sweep add up.
#[derive(Default)]
struct Totals {
    stats: Stats,
    /// Bytes of roots that could not be read, by index of the root.
    unread_roots: BTreeMap<usize, u64>,
}

impl<'a> Marker<'a> {
    pub(super) fn new(nodes: &'a Nodes<'a>, cancel: &'a Cancel) -> Self {
        let words = nodes.units().div_ceil(64);
        Self {
            nodes,
            cancel,
            dirty: (0..words).map(|_| AtomicU64::new(0)).collect(),
            stats: Stats::default(),
            doubts: Vec::new(),
        }
    }

    /// Marks all that the roots lead to, along the pointers between objects where these were read beforehand.
    pub(super) fn run(
        &mut self,
        roots: &Roots,
        pointers: Option<&Pointers>,
    ) -> Result<(), Cancelled> {
        let mut totals = Totals::default();
        let mut worker = Worker::new(self);
        roots
            .values
            .iter()
            .for_each(|root| worker.consider(root.value));
        worker.finish(&mut totals);
        let indices = roots.ranges.iter().enumerate();
        let mut work: Vec<Work> = indices
            .flat_map(|(i, root)| pieces(root.range).map(move |range| Work::Root(i, range)))
            .collect();
        let mut patience = FOLLOWED_MAX;
        if let Some(pointers) = pointers {
            self.sweep(&work, &mut totals);
            self.cancel.check()?;
            self.walk(pointers, &mut totals)?;
            self.conclude(roots, totals);
            return Ok(());
        }
        loop {
            self.cancel.check()?;
            if work.len() < NARROW && work.iter().all(|work| matches!(work, Work::Unit(_))) {
                self.follow(&work, patience, &mut totals);
                patience = patience.saturating_mul(2);
            } else {
                self.sweep(&work, &mut totals);
            }
            work = self.take_dirty();
            if work.is_empty() {
                break;
            }
        }
        self.cancel.check()?;
        self.conclude(roots, totals);
        Ok(())
    }

    /// Marks all that what is marked leads to, along pointers.
    fn walk(&self, pointers: &Pointers, totals: &mut Totals) -> Result<(), Cancelled> {
        let follows = walk::run(self.nodes, pointers, self.cancel)?;
        totals.stats.add(&pointers.stats);
        totals.stats.dups = totals.stats.dups.saturating_sub(follows);
        totals.stats.follows += follows;
        totals.stats.unread += pointers.unread(self.nodes, MARKED);
        Ok(())
    }

    fn conclude(&mut self, roots: &Roots, totals: Totals) {
        self.stats = totals.stats;
        if self.stats.unread > 0 {
            self.doubts.push(format!(
                "{} bytes of live memory could not be read",
                self.stats.unread
            ));
        }
        for (index, unread) in totals.unread_roots {
            let root = &roots.ranges[index];
            if root.required {
                self.stats.unread += unread;
                let what = &root.kind;
                self.doubts
                    .push(format!("{unread} bytes of {what} could not be read"));
            }
        }
    }

    /// The units in which there is something to scan; what is large in pieces.
    fn take_dirty(&self) -> Vec<Work> {
        let mut work = Vec::new();
        for unit in self.take_dirty_units() {
            self.add_work(unit, &mut work);
        }
        work
    }

    fn take_dirty_units(&self) -> Vec<usize> {
        let mut units = Vec::new();
        for (i, word) in self.dirty.iter().enumerate() {
            if word.load(Relaxed) == 0 {
                continue;
            }
            let mut bits = word.swap(0, Relaxed);
            while bits != 0 {
                units.push(i * 64 + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
        }
        units
    }

    fn add_work(&self, unit: usize, work: &mut Vec<Work>) {
        let is_slab = unit < self.nodes.heap.slabs.len();
        let range = self.nodes.range(unit, 0);
        if is_slab || range.1 - range.0 <= PIECE {
            return work.push(Work::Unit(unit));
        }
        if self.nodes.set(self.nodes.node(unit, 0), SCANNED) & SCANNED == 0 {
            work.extend(pieces(range).map(Work::Piece));
        }
    }

    /// Does a list of work by several threads.
    fn sweep(&self, work: &[Work], totals: &mut Totals) {
        let new = || Worker::new(self);
        let each = |worker: &mut Worker<'_>, index: usize| worker.work(work[index]);
        share_out(work.len(), self.cancel, new, each, |worker| {
            worker.finish(totals);
        });
    }

    /// Follows pointers from what is marked in a few units; the rest is left to a sweep when many wait after so many steps.
    fn follow(&self, work: &[Work], patience: usize, totals: &mut Totals) {
        let mut worker = Worker::new(self);
        let mut waiting = Vec::new();
        let mut found = Vec::new();
        for work in work {
            if let Work::Unit(unit) = *work {
                self.nodes.select(unit, MARKED, SCANNED, &mut found);
                waiting.extend(found.iter().map(|&index| (unit, index)));
            }
        }
        worker.waiting = Some(waiting);
        let mut followed = 0;
        while let Some((unit, index)) = worker.waiting.as_mut().and_then(Vec::pop) {
            if self.cancel.is_requested() {
                break;
            }
            worker.scan_one(unit, index);
            followed += 1;
            let waiting = worker.waiting.as_ref().map_or(0, Vec::len);
            if followed > patience && waiting > WIDE {
                break;
            }
        }
        for (unit, _) in worker.waiting.take().into_iter().flatten() {
            self.set_dirty(unit);
        }
        worker.finish(totals);
    }

    fn set_dirty(&self, unit: usize) {
        let (word, bit) = (&self.dirty[unit / 64], 1 << (unit % 64));
        if word.load(Relaxed) & bit == 0 {
            word.fetch_or(bit, Relaxed);
        }
    }
}

/// One thread of a search.
struct Worker<'a> {
    marker: &'a Marker<'a>,
    nodes: &'a Nodes<'a>,
    source: Source<'a>,
    /// What to follow next: unit and index. None in a sweep.
    waiting: Option<Vec<(usize, u32)>>,
    stats: Stats,
    unread_roots: BTreeMap<usize, u64>,
}

impl<'a> Worker<'a> {
    fn new(marker: &'a Marker<'a>) -> Self {
        Self {
            marker,
            nodes: marker.nodes,
            source: Source::new(marker.nodes.heap.reader.memory(), marker.cancel),
            waiting: None,
            stats: Stats::default(),
            unread_roots: BTreeMap::new(),
        }
    }

    fn finish(self, totals: &mut Totals) {
        totals.stats.add(&self.stats);
        for (root, unread) in self.unread_roots {
            *totals.unread_roots.entry(root).or_default() += unread;
        }
    }

    fn work(&mut self, work: Work) {
        match work {
            Work::Unit(unit) => self.scan_unit(unit),
            Work::Piece(range) => {
                let (read, unread) = self.scan(range);
                self.stats.heap_bytes += read;
                self.stats.unread += unread;
            }
            Work::Root(index, range) => {
                let (read, unread) = self.scan(range);
                self.stats.root_bytes += read;
                if unread > 0 {
                    *self.unread_roots.entry(index).or_default() += unread;
                }
            }
        }
    }

    /// Scans what is marked in a unit until there is nothing new.
    fn scan_unit(&mut self, unit: usize) {
        self.with_source(|worker, source| {
            let nodes = worker.nodes;
            let list = |found: &mut Vec<u32>| {
                nodes.select(unit, MARKED, SCANNED, found);
                for &index in &*found {
                    nodes.set(nodes.node(unit, index), SCANNED);
                }
            };
            source.unit(nodes, unit, list, |_, _, bytes| worker.consider_all(bytes));
        });
    }

    fn scan_one(&mut self, unit: usize, index: u32) {
        if self.nodes.set(self.nodes.node(unit, index), SCANNED) & SCANNED == 0 {
            let (read, unread) = self.scan(self.nodes.range(unit, index));
            self.stats.heap_bytes += read;
            self.stats.unread += unread;
        }
    }

    /// Looks at every aligned word of a range. Returns the bytes that could and could not be read.
    fn scan(&mut self, range: Range) -> (u64, u64) {
        let mut source = self.take_source();
        source.range(range, |_, bytes| self.consider_all(bytes));
        let done = (source.read, source.unread);
        (source.read, source.unread) = (0, 0);
        self.source = source;
        done
    }

    fn with_source(&mut self, act: impl FnOnce(&mut Self, &mut Source<'a>)) {
        let mut source = self.take_source();
        act(self, &mut source);
        self.stats.heap_bytes += source.read;
        self.stats.unread += source.unread;
        (source.read, source.unread) = (0, 0);
        self.source = source;
    }

    /// The source, which is put back when a piece of work is done.
    fn take_source(&mut self) -> Source<'a> {
        let empty = Source::new(self.nodes.heap.reader.memory(), self.marker.cancel);
        std::mem::replace(&mut self.source, empty)
    }

    fn consider_all(&mut self, bytes: &[u8]) {
        for word in words(bytes) {
            self.consider(word);
        }
    }

    /// Looks at one word.
    #[inline]
    fn consider(&mut self, word: u64) {
        self.stats.words += 1;
        if self.nodes.is_dismissed(word) {
            self.stats.dismissals += 1;
            return;
        }
        match self.nodes.find(word) {
            None => self.stats.misses += 1,
            Some(hit) => self.mark(hit),
        }
    }

    fn mark(&mut self, hit: Hit) {
        let wanted = if hit.offset == 0 {
            MARKED | START
        } else {
            MARKED
        };
        let is_known = self.nodes.get(hit.node) & wanted == wanted;
        if is_known || self.nodes.set(hit.node, wanted) & MARKED != 0 {
            self.stats.dups += 1;
            return;
        }
        self.stats.follows += 1;
        let is_slab = hit.unit < self.nodes.heap.slabs.len();
        match &mut self.waiting {
            Some(waiting) if is_slab && waiting.len() < WAITING_MAX => {
                waiting.push((hit.unit, hit.index));
            }
            _ => self.marker.set_dirty(hit.unit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        analysis::{Scene, roots},
        heap::synthetic::tangle,
    };

    #[test]
    fn sweeps_and_pointers_mark_the_same() {
        let mut seed = 88_172_645_463_325_252;
        for round in 0..12 {
            let builder = tangle(&mut seed);
            let (target, heap, cancel) = (builder.target(), builder.heap(), Cancel::new());
            let scene = Scene {
                target: &target,
                heap: &heap,
                stacks: &builder,
                cancel: &cancel,
            };
            let roots = roots::find(&scene);
            let mark = |is_beforehand: bool| {
                let nodes = Nodes::new(&heap, Vec::new());
                let pointers = Pointers::read(&nodes, &cancel)
                    .unwrap()
                    .filter(|_| is_beforehand);
                assert_eq!(pointers.is_some(), is_beforehand);
                let mut marker = Marker::new(&nodes, &cancel);
                marker.run(&roots, pointers.as_ref()).unwrap();
                let bits: Vec<u64> = (0..nodes.count())
                    .map(|node| nodes.get(node) & (MARKED | START))
                    .collect();
                bits
            };
            let swept = mark(false);
            assert_eq!(swept, mark(true), "round {round}");
            assert!(round > 3 || swept.contains(&0));
        }
    }
}
