//! Marking along pointers that were read beforehand.
//!
//! As in `mark`, but over the arrays of pointers: sweeps in order of number by several threads, in groups of numbers; where
//! a sweep would be narrow, as along a list, one thread follows pointers.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{
    Cancel, Cancelled,
    nodes::{GROUP, MARKED, Nodes, START},
    pointers::Pointers,
    scan::share_out,
};

/// Groups that are done at a time.
const GROUPS: usize = 16;
/// A sweep of fewer groups than this is left to one thread that follows pointers.
const NARROW: usize = 8;
/// After so many objects a wide search goes on as a sweep, the next time after twice as many; and what is wide.
const PATIENCE: usize = 1 << 12;
const WIDE: usize = 8;

/// The state of a search.
struct Walk<'a> {
    nodes: &'a Nodes<'a>,
    pointers: &'a Pointers,
    /// Groups in which something was marked and not scanned, one bit each.
    dirty: Vec<AtomicU64>,
    cancel: &'a Cancel,
}

/// Marks all that what is marked leads to. Returns how much was marked.
pub(super) fn run(
    nodes: &Nodes<'_>,
    pointers: &Pointers,
    cancel: &Cancel,
) -> Result<u64, Cancelled> {
    let groups = nodes.count().div_ceil(GROUP);
    let walk = Walk {
        nodes,
        pointers,
        dirty: (0..groups.div_ceil(64))
            .map(|_| AtomicU64::new(u64::MAX))
            .collect(),
        cancel,
    };
    let mut marked = 0;
    let mut patience = PATIENCE;
    loop {
        cancel.check()?;
        let groups = walk.take_dirty(groups);
        match groups.len() {
            0 => return Ok(marked),
            1..NARROW => {
                marked += walk.follow(&groups, patience);
                patience = patience.saturating_mul(2);
            }
            _ => marked += walk.sweep(&groups),
        }
    }
}

impl Walk<'_> {
    fn take_dirty(&self, groups: usize) -> Vec<usize> {
        let mut dirty = Vec::new();
        for (i, word) in self.dirty.iter().enumerate() {
            if word.load(Relaxed) == 0 {
                continue;
            }
            let mut bits = word.swap(0, Relaxed);
            while bits != 0 {
                dirty.push(i * 64 + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
        }
        dirty.retain(|&group| group < groups);
        dirty
    }

    fn set_dirty(&self, node: usize) {
        let group = node / GROUP;
        let (word, bit) = (&self.dirty[group / 64], 1 << (group % 64));
        if word.load(Relaxed) & bit == 0 {
            word.fetch_or(bit, Relaxed);
        }
    }

    /// Marks what a pointer leads to, and returns whether it was new.
    #[inline]
    fn mark(&self, (node, is_start): (usize, bool)) -> bool {
        let wanted = if is_start { MARKED | START } else { MARKED };
        self.nodes.get(node) & wanted != wanted && self.nodes.set(node, wanted) & MARKED == 0
    }

    /// Scans what is marked in some groups. Returns how much was marked.
    fn sweep(&self, groups: &[usize]) -> u64 {
        let mut total = 0;
        let new = || (Vec::new(), 0_u64);
        let each = |(pending, marked): &mut (Vec<usize>, u64), index: usize| {
            let last = groups.len().min((index + 1) * GROUPS);
            for &group in &groups[index * GROUPS..last] {
                loop {
                    self.nodes.take_pending(group, pending);
                    if pending.is_empty() {
                        break;
                    }
                    for &node in &*pending {
                        for next in self.pointers.of(self.nodes, node) {
                            if self.mark(next) {
                                *marked += 1;
                                self.set_dirty(next.0);
                            }
                        }
                    }
                }
            }
        };
        let count = groups.len().div_ceil(GROUPS);
        share_out(count, self.cancel, new, each, |(_, marked)| total += marked);
        total
    }

    /// Follows pointers from what is marked in a few groups; the rest is left to a sweep when many wait after so many steps.
    fn follow(&self, groups: &[usize], patience: usize) -> u64 {
        let (mut waiting, mut pending) = (Vec::new(), Vec::new());
        for &group in groups {
            self.nodes.take_pending(group, &mut pending);
            waiting.append(&mut pending);
        }
        let (mut marked, mut followed) = (0, 0);
        while let Some(node) = waiting.pop() {
            if self.cancel.is_requested() {
                break;
            }
            followed += 1;
            let is_enough = followed > patience && waiting.len() > WIDE;
            for next in self.pointers.of(self.nodes, node) {
                if self.mark(next) {
                    marked += 1;
                    if is_enough {
                        self.set_dirty(next.0);
                    } else {
                        self.nodes.set_scanned(next.0);
                        waiting.push(next.0);
                    }
                }
            }
        }
        marked
    }
}
