//! The shortest chain of pointers from a root to an object.
//!
//! A search in breadth from the roots, level by level in order of address, that remembers for each object who led to it
//! first: four bytes a number. Which word it was is looked up afterwards, for the objects of the chain alone.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use super::{
    Cancel, Cancelled, Scene,
    nodes::{Hit, MARKED, Nodes, SCANNED, START},
    ranges::Range,
    refs::{Holder, Reference, first_root, first_word, holder, in_values},
    roots::{self, Roots},
    scan::{Source, pieces, share_out, words},
};
use crate::heap::Object;

/// Parent of what a root leads to.
const ROOT: u32 = u32::MAX;

/// How an object is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Path {
    /// From the root to the word that points to the object.
    Chain(Vec<Reference>),
    /// No root leads to it.
    Lost,
    /// There are too many objects.
    TooMany,
}

/// New marks of a level have this bit until it is done.
const FRESH: u64 = START;

/// A search in progress.
struct Search<'a> {
    cancel: &'a Cancel,
    nodes: &'a Nodes<'a>,
    parents: Vec<AtomicU32>,
    /// Units with fresh marks, one bit each.
    dirty: Vec<AtomicU64>,
}

/// Finds a shortest chain from a root to an object.
///
/// # Errors
/// When it was cancelled.
pub fn find(scene: &Scene<'_>, object: Object) -> Result<Path, Cancelled> {
    let mut roots = roots::find(scene);
    let nodes = Nodes::new(scene.heap, std::mem::take(&mut roots.transit));
    if nodes.count() >= ROOT as usize {
        return Ok(Path::TooMany);
    }
    let zeros = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect();
    let search = Search {
        cancel: scene.cancel,
        nodes: &nodes,
        parents: (0..nodes.count()).map(|_| AtomicU32::new(ROOT)).collect(),
        dirty: zeros(nodes.units().div_ceil(64)),
    };
    let wanted = nodes.number(object);
    search.scan_roots(&roots);
    loop {
        scene.cancel.check()?;
        if nodes.get(wanted) & MARKED != 0 {
            return Ok(search.chain(&roots, wanted));
        }
        let units = search.take_dirty();
        if units.is_empty() {
            return Ok(Path::Lost);
        }
        search.level(&units);
    }
}

impl Search<'_> {
    fn source(&self) -> Source<'_> {
        Source::new(self.nodes.heap.reader.memory(), self.cancel)
    }

    fn scan_roots(&self, roots: &Roots) {
        for root in &roots.values {
            self.consider(root.value, ROOT);
        }
        let ranges = roots.ranges.iter();
        let work: Vec<Range> = ranges.flat_map(|root| pieces(root.range)).collect();
        let each = |source: &mut Source<'_>, index: usize| {
            source.range(work[index], |_, bytes| {
                words(bytes).for_each(|word| self.consider(word, ROOT));
            });
        };
        share_out(work.len(), self.cancel, || self.source(), each, drop);
    }

    /// Scans what was marked in the level before.
    fn level(&self, units: &[usize]) {
        let nodes = self.nodes;
        let each = |source: &mut Source<'_>, index: usize| {
            let unit = units[index];
            let mut is_listed = false;
            let list = |found: &mut Vec<u32>| {
                found.clear();
                if std::mem::replace(&mut is_listed, true) {
                    return;
                }
                nodes.select(unit, MARKED, SCANNED | FRESH, found);
                for &index in &*found {
                    nodes.set(nodes.node(unit, index), SCANNED);
                }
            };
            source.unit(nodes, unit, list, |index, _, bytes| {
                let parent = nodes.node(unit, index) as u32;
                words(bytes).for_each(|word| self.consider(word, parent));
            });
        };
        share_out(units.len(), self.cancel, || self.source(), each, drop);
    }

    fn consider(&self, word: u64, parent: u32) {
        if self.nodes.is_dismissed(word) {
            return;
        }
        let Some(Hit { node, unit, .. }) = self.nodes.find(word) else {
            return;
        };
        let is_new = self.nodes.get(node) & MARKED == 0
            && self.nodes.set(node, MARKED | FRESH) & MARKED == 0;
        if is_new {
            self.parents[node].store(parent, Relaxed);
            self.dirty[unit / 64].fetch_or(1 << (unit % 64), Relaxed);
        }
    }

    /// The units with fresh marks, which are old from now on.
    fn take_dirty(&self) -> Vec<usize> {
        let mut units = Vec::new();
        for (i, word) in self.dirty.iter().enumerate() {
            let mut bits = word.swap(0, Relaxed);
            while bits != 0 {
                units.push(i * 64 + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
        }
        for &unit in &units {
            self.nodes.clear_unit(unit, FRESH);
        }
        units
    }

    /// The chain to an object that was marked.
    fn chain(&self, roots: &Roots, wanted: usize) -> Path {
        let range = |node: usize| {
            let (unit, index) = self.nodes.place(node);
            let (start, end) = self.nodes.range(unit, index);
            (start, end.max(start + 1))
        };
        let mut chain = Vec::new();
        let mut node = wanted;
        loop {
            let parent = self.parents[node].load(Relaxed);
            if parent == ROOT {
                let registers = in_values(roots, range(node)).into_iter().next();
                chain.extend(first_root(&mut self.source(), roots, range(node)).or(registers));
                break;
            }
            let parent = parent as usize;
            let within = range(parent);
            let (unit, index) = self.nodes.place(parent);
            let (address, value) =
                first_word(&mut self.source(), within, range(node)).unwrap_or((within.0, 0));
            let holder: Holder = holder(self.nodes, unit, index, address - within.0);
            chain.push(Reference {
                address,
                value,
                holder,
            });
            node = parent;
        }
        chain.reverse();
        Path::Chain(chain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        analysis::roots::RootKind,
        heap::synthetic::{Builder, DATA, DEBUG, STACK},
    };

    #[test]
    fn the_shortest_chain_is_found_and_a_lost_object_has_none() {
        let mut builder = Builder::new();
        let cache = builder.cache("umem_alloc_64", 64, DEBUG);
        let slab = builder.slab(cache);
        let made = [(); 6].map(|()| builder.alloc(slab, 50, 0).address);
        builder.write_word(DATA + 0x20, made[0]);
        for pair in made[..5].windows(2) {
            builder.write_word(pair[0] + 8, pair[1]);
        }
        builder.write_word(STACK + 0x900, made[3] + 4);
        builder.publish();
        let (target, heap, cancel) = (builder.target(), builder.heap(), Cancel::new());
        let scene = Scene {
            target: &target,
            heap: &heap,
            stacks: &builder,
            cancel: &cancel,
        };
        let path = |index: u32| -> Vec<u64> {
            let buffer = crate::heap::Buffer { slab: 0, index };
            match find(&scene, Object::Buffer(buffer)).unwrap() {
                Path::Chain(chain) => chain.iter().map(|step| step.address).collect(),
                other => panic!("{other:?}"),
            }
        };
        let expected: Vec<u64> = vec![STACK + 0x900, made[3] + 8];
        assert_eq!(path(4), expected);
        assert_eq!(path(2), [DATA + 0x20, made[0] + 8, made[1] + 8]);
        let lost = Object::Buffer(crate::heap::Buffer { slab: 0, index: 5 });
        assert_eq!(find(&scene, lost).unwrap(), Path::Lost);
        let roots = roots::find(&scene);
        let mut source = Source::new(heap.reader.memory(), &cancel);
        let first = first_root(&mut source, &roots, (made[0], made[0] + 1)).unwrap();
        assert_eq!(
            first.holder,
            Holder::Root(RootKind::Data("victim".to_owned()))
        );
    }
}
