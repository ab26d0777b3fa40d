//! What would be free if one object were: the dominator tree of all that is alive.
//!
//! An object retains what every way from the roots to it goes through: itself, and what it dominates. The alive objects
//! are numbered in order of address; the pointers between them are read in sweeps by several threads.

use super::{
    Cancel, Cancelled, Scene,
    census::{origin, origins},
    dominators::{self, Dominators, Graph, Part},
    mark::Marker,
    nodes::{MARKED, Nodes},
    roots::{self, Roots},
    scan::{Source, pieces, share_out, words},
};
use crate::heap::Object;

/// Units whose edges make one part of the graph.
const UNITS_A_PART: usize = 64;

/// What an object retains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// The object; none for memory of unknown owner, which begins at `address`.
    pub object: Option<Object>,
    /// Where it begins.
    pub address: u64,
    /// Bytes of itself and of all that it dominates.
    pub bytes: u64,
    /// How many objects these are.
    pub count: u64,
    /// The object that dominates it; none when only the roots do.
    pub dominator: Option<u64>,
}

/// What retains most.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Retained {
    /// The object that was asked for.
    pub own: Option<Holding>,
    /// What it, or the roots, dominate immediately: that which retains most first.
    pub top: Vec<Holding>,
    /// How many more there are, and their bytes.
    pub others: (u64, u64),
    /// All that is alive.
    pub total: (u64, u64),
    /// Why it may be otherwise.
    pub doubts: Vec<String>,
    /// There are too many objects or pointers.
    pub is_too_large: bool,
}

/// Finds the objects that retain most: `most` of those that only the roots dominate, or that `within` dominates.
///
/// # Errors
/// When it was cancelled.
pub fn find(scene: &Scene<'_>, within: Option<Object>, most: usize) -> Result<Retained, Cancelled> {
    let mut roots = roots::find(scene);
    let nodes = Nodes::new(scene.heap, std::mem::take(&mut roots.transit));
    let mut marker = Marker::new(&nodes, scene.cancel);
    marker.run(&roots, None)?;
    let mut retained = Retained {
        doubts: std::mem::take(&mut roots.doubts),
        ..Retained::default()
    };
    retained.doubts.append(&mut marker.doubts);
    drop(marker);
    let ranks = Ranks::new(&nodes);
    if ranks.count >= u32::MAX as usize {
        retained.is_too_large = true;
        return Ok(retained);
    }
    let Some(graph) = read(&nodes, &ranks, &roots, scene.cancel)? else {
        retained.is_too_large = true;
        return Ok(retained);
    };
    let tree = dominators::find(graph);
    scene.cancel.check()?;
    Tree::new(&nodes, &ranks, &tree, scene.cancel)?.fill(within, most, &mut retained);
    Ok(retained)
}

/// Numbers of what is alive, from 1 in order of address.
struct Ranks {
    /// How many there are before each unit.
    units: Vec<u32>,
    /// And before each word of bits.
    words: Vec<u32>,
    count: usize,
}

impl Ranks {
    fn new(nodes: &Nodes<'_>) -> Self {
        let words = nodes.before(MARKED);
        let units = (0..nodes.units()).map(|unit| nodes.rank(&words, nodes.node(unit, 0), MARKED));
        let units = units.collect();
        let last = nodes.count().saturating_sub(1);
        let count = match nodes.count() {
            0 => 0,
            _ => {
                nodes.rank(&words, last, MARKED) as usize
                    + usize::from(nodes.get(last) & MARKED != 0)
            }
        };
        Self {
            units,
            words,
            count,
        }
    }

    /// Number of what is alive at a node.
    #[inline]
    fn rank(&self, nodes: &Nodes<'_>, node: usize) -> u32 {
        nodes.rank(&self.words, node, MARKED) + 1
    }

    /// Unit and index of a number.
    fn place(&self, nodes: &Nodes<'_>, rank: u32, found: &mut Vec<u32>) -> (usize, u32) {
        let after = self.units.partition_point(|&before| before < rank);
        let unit = after.saturating_sub(1);
        nodes.select(unit, MARKED, 0, found);
        let index = (rank - 1 - self.units[unit]) as usize;
        (unit, found.get(index).copied().unwrap_or(0))
    }
}

/// Reads all pointers. None when there are too many.
fn read(
    nodes: &Nodes<'_>,
    ranks: &Ranks,
    roots: &Roots,
    cancel: &Cancel,
) -> Result<Option<Graph>, Cancelled> {
    let new = || (Source::new(nodes.heap.reader.memory(), cancel), Vec::new());
    let mut parts: Vec<Part> = Vec::new();
    let each = |(source, parts): &mut (Source<'_>, Vec<Part>), index: usize| {
        let first = index * UNITS_A_PART;
        let units = first..nodes.units().min(first + UNITS_A_PART);
        parts.push(read_part(nodes, ranks, units, source));
    };
    let count = nodes.units().div_ceil(UNITS_A_PART);
    share_out(count, cancel, new, each, |(_, made)| parts.extend(made));
    cancel.check()?;
    parts.sort_unstable_by_key(|part| part.first);
    // A part that holds nothing has the number of the one behind it.
    parts.retain(|part| part.starts.len() > 1);
    let edges: usize = parts.iter().map(|part| part.edges.len()).sum();
    if edges >= u32::MAX as usize {
        return Ok(None);
    }
    let roots = root_edges(nodes, ranks, roots, cancel);
    Ok(Some(Graph {
        roots,
        parts,
        count: ranks.count as u32,
    }))
}

fn read_part(
    nodes: &Nodes<'_>,
    ranks: &Ranks,
    units: std::ops::Range<usize>,
    source: &mut Source<'_>,
) -> Part {
    let mut part = Part {
        first: ranks.units.get(units.start).map_or(1, |&before| before + 1),
        starts: Vec::new(),
        edges: Vec::new(),
    };
    for unit in units.clone() {
        let mut is_listed = false;
        let list = |found: &mut Vec<u32>| {
            found.clear();
            if !std::mem::replace(&mut is_listed, true) {
                nodes.select(unit, MARKED, 0, found);
            }
        };
        source.unit(nodes, unit, list, |index, _, bytes| {
            let own = ranks.rank(nodes, nodes.node(unit, index));
            let row = (own - part.first) as usize;
            // Objects without a readable word, and further pieces of one, do not begin a row.
            if part.starts.len() <= row {
                part.starts.resize(row + 1, part.edges.len() as u32);
            }
            let from = part.starts[row] as usize;
            for word in words(bytes).filter(|&word| !nodes.is_dismissed(word)) {
                let Some(hit) = nodes.find(word) else {
                    continue;
                };
                let rank = ranks.rank(nodes, hit.node);
                let is_known = part.edges[from..]
                    .iter()
                    .rev()
                    .take(4)
                    .any(|&seen| seen == rank);
                if rank != own && !is_known {
                    part.edges.push(rank);
                }
            }
        });
    }
    let last = ranks
        .units
        .get(units.end)
        .map_or(ranks.count as u32, |&before| before);
    let rows = (last + 1 - part.first) as usize;
    part.starts.resize(rows + 1, part.edges.len() as u32);
    part.edges.shrink_to_fit();
    part
}

/// What the roots point to.
fn root_edges(nodes: &Nodes<'_>, ranks: &Ranks, roots: &Roots, cancel: &Cancel) -> Vec<u32> {
    let mut edges = Vec::new();
    let mut add = |word: u64| {
        if let Some(hit) = nodes.find(word).filter(|_| !nodes.is_dismissed(word)) {
            edges.push(ranks.rank(nodes, hit.node));
        }
    };
    roots.values.iter().for_each(|root| add(root.value));
    let mut source = Source::new(nodes.heap.reader.memory(), cancel);
    for piece in roots.ranges.iter().flat_map(|root| pieces(root.range)) {
        source.range(piece, |_, bytes| words(bytes).for_each(&mut add));
    }
    edges.sort_unstable();
    edges.dedup();
    edges
}

/// The tree with what each node of it retains.
struct Tree<'a> {
    nodes: &'a Nodes<'a>,
    ranks: &'a Ranks,
    tree: &'a Dominators,
    bytes: Vec<u64>,
    counts: Vec<u32>,
}

impl<'a> Tree<'a> {
    fn new(
        nodes: &'a Nodes<'a>,
        ranks: &'a Ranks,
        tree: &'a Dominators,
        cancel: &Cancel,
    ) -> Result<Self, Cancelled> {
        let mut number = vec![0_u32; ranks.count + 1];
        for (index, &rank) in tree.nodes.iter().enumerate() {
            number[rank as usize] = index as u32;
        }
        let mut bytes = vec![0_u64; tree.nodes.len()];
        let mut counts = vec![0_u32; tree.nodes.len()];
        let mut found = Vec::new();
        let mut rank = 0;
        for unit in 0..nodes.units() {
            nodes.select(unit, MARKED, 0, &mut found);
            if found.is_empty() {
                continue;
            }
            cancel.check()?;
            let mut add = |size: u64| {
                rank += 1;
                let index = number[rank] as usize;
                bytes[index] = size;
                counts[index] = u32::from(index != 0);
            };
            match nodes.object_at(unit, 0) {
                Some(Object::Buffer(_)) => {
                    origins(nodes.heap, unit as u32, &found, |_, origin| {
                        add(origin.bytes)
                    });
                }
                Some(object) => add(origin(nodes.heap, object).bytes),
                None => add(0),
            }
        }
        drop(number);
        for index in (1..tree.nodes.len()).rev() {
            let parent = tree.parents[index] as usize;
            bytes[parent] = bytes[parent].saturating_add(bytes[index]);
            counts[parent] += counts[index];
        }
        Ok(Self {
            nodes,
            ranks,
            tree,
            bytes,
            counts,
        })
    }

    fn fill(&self, within: Option<Object>, most: usize, retained: &mut Retained) {
        retained.total = (u64::from(self.counts[0]), self.bytes[0]);
        let above = match within {
            None => Some(0),
            Some(object) => self.index(object),
        };
        let Some(above) = above else { return };
        retained.own = (above != 0).then(|| self.holding(above));
        let parents = self.tree.parents.iter().enumerate().skip(1);
        let below = parents.filter(|&(_, &parent)| parent as usize == above);
        let mut top: Vec<u32> = below.map(|(index, _)| index as u32).collect();
        top.sort_unstable_by_key(|&index| (std::cmp::Reverse(self.bytes[index as usize]), index));
        let others = top.split_off(most.min(top.len()));
        let bytes = others.iter().map(|&index| self.bytes[index as usize]).sum();
        retained.others = (others.len() as u64, bytes);
        retained.top = top
            .into_iter()
            .map(|index| self.holding(index as usize))
            .collect();
    }

    /// Number in the tree of an object, if it is alive.
    fn index(&self, object: Object) -> Option<usize> {
        let node = self.nodes.number(object);
        let is_alive = self.nodes.get(node) & MARKED != 0;
        let rank = is_alive.then(|| self.ranks.rank(self.nodes, node))?;
        self.tree.nodes.iter().position(|&node| node == rank)
    }

    fn holding(&self, index: usize) -> Holding {
        let place = |index: usize| {
            let mut found = Vec::new();
            self.ranks
                .place(self.nodes, self.tree.nodes[index], &mut found)
        };
        let (unit, inside) = place(index);
        let parent = self.tree.parents[index] as usize;
        let dominator = (parent != 0).then(|| {
            let (unit, inside) = place(parent);
            self.nodes.range(unit, inside).0
        });
        Holding {
            object: self.nodes.object_at(unit, inside),
            address: self.nodes.range(unit, inside).0,
            bytes: self.bytes[index],
            count: u64::from(self.counts[index]),
            dominator,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::synthetic::{Builder, DATA, DEBUG, STACK};

    #[test]
    fn what_all_ways_go_through_retains() {
        let mut builder = Builder::new();
        let cache = builder.cache("umem_alloc_64", 64, DEBUG);
        let slab = builder.slab(cache);
        let made = [(); 7].map(|()| builder.alloc(slab, 50, 0).address);
        // A tree of three, a buffer that both hold, a list of two; the last is lost.
        builder.write_word(DATA, made[0]);
        builder.write_word(made[0], made[1]);
        builder.write_word(made[0] + 8, made[2]);
        builder.write_word(made[1], made[3]);
        builder.write_word(STACK + 0x900, made[4]);
        builder.write_word(made[4], made[5]);
        builder.write_word(made[4] + 8, made[3]);
        builder.publish();
        let (target, heap, cancel) = (builder.target(), builder.heap(), Cancel::new());
        let scene = Scene {
            target: &target,
            heap: &heap,
            stacks: &builder,
            cancel: &cancel,
        };
        let summary = |retained: &Retained| -> Vec<(u64, u64, u64)> {
            let top = retained.top.iter();
            top.map(|holding| (holding.address, holding.count, holding.bytes))
                .collect()
        };
        let all = find(&scene, None, 2).unwrap();
        assert_eq!(summary(&all), [(made[0], 3, 150), (made[4], 2, 100)]);
        assert_eq!((all.others, all.total), ((1, 50), (6, 300)));
        let first = Object::Buffer(crate::heap::Buffer { slab: 0, index: 0 });
        let one = find(&scene, Some(first), 10).unwrap();
        assert_eq!(
            one.own.map(|own| (own.address, own.bytes)),
            Some((made[0], 150))
        );
        assert_eq!(summary(&one), [(made[1], 1, 50), (made[2], 1, 50)]);
    }
}
