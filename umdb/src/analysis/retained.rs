//! What would be free if one object were: the dominator tree of all that is alive.
//!
//! An object retains what every way from the roots to it goes through: itself, and what it dominates. The alive objects
//! are numbered in order of address. Memory of our own is bounded, however many pointers they hold.

use super::{
    Cancel, Cancelled, Scene,
    alive::{Alive, Reread, Stored},
    census::{origin, origins},
    dominators::{self, Dominators},
    mark::Marker,
    nodes::{MARKED, Nodes},
    roots,
};
use crate::heap::Object;

/// So many pointers for each object are kept when these are all; with what else is needed that makes 56 bytes an object.
const STORED: usize = 5;
/// Where there are more, so many are kept at a time; 56 bytes an object again.
const AT_A_TIME: usize = 8;
/// Few objects may have so many pointers in any case.
const ROOM_MIN: usize = 1 << 20;

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
    /// There are too many objects.
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
    let mut alive = Alive::new(&nodes, scene.cancel);
    if alive.count >= u32::MAX as usize {
        retained.is_too_large = true;
        return Ok(retained);
    }
    alive.read_roots(&roots);
    let tree = dominators(&alive, STORED, AT_A_TIME, scene.cancel)?;
    Tree::new(&nodes, &alive, &tree, scene.cancel)?.fill(within, most, &mut retained);
    Ok(retained)
}

/// Dominators with room for so many pointers an object: all of them, or at a time.
fn dominators(
    alive: &Alive<'_>,
    stored: usize,
    at_a_time: usize,
    cancel: &Cancel,
) -> Result<Dominators, Cancelled> {
    let room = |each: usize| {
        let wanted = if each == 0 {
            0
        } else {
            ROOM_MIN.max(alive.count.saturating_mul(each))
        };
        wanted.min(u32::MAX as usize / 2)
    };
    let tree = match Stored::read(alive, room(stored))? {
        Some(graph) => dominators::find(graph, room(stored), cancel),
        None => dominators::find(Reread::new(alive), room(at_a_time), cancel),
    }?;
    cancel.check()?;
    Ok(tree)
}

/// The tree with what each node of it retains.
struct Tree<'a> {
    nodes: &'a Nodes<'a>,
    alive: &'a Alive<'a>,
    tree: &'a Dominators,
    bytes: Vec<u64>,
    counts: Vec<u32>,
}

impl<'a> Tree<'a> {
    fn new(
        nodes: &'a Nodes<'a>,
        alive: &'a Alive<'a>,
        tree: &'a Dominators,
        cancel: &Cancel,
    ) -> Result<Self, Cancelled> {
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
                let index = tree.numbers[rank] as usize;
                // In memory that changes, what was marked may be out of reach now.
                if index < bytes.len() {
                    bytes[index] = size;
                    counts[index] = 1;
                }
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
        for index in (1..tree.nodes.len()).rev() {
            let parent = tree.parents[index] as usize;
            bytes[parent] = bytes[parent].saturating_add(bytes[index]);
            counts[parent] += counts[index];
        }
        Ok(Self {
            nodes,
            alive,
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
        let number = is_alive.then(|| self.alive.number(node))?;
        let index = self.tree.numbers[number as usize] as usize;
        (index < self.tree.nodes.len()).then_some(index)
    }

    fn holding(&self, index: usize) -> Holding {
        let place = |index: usize| self.alive.place(self.tree.nodes[index]);
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
    use crate::heap::synthetic::{Builder, DATA, DEBUG, STACK, tangle};

    /// Of each that is alive the number of its immediate dominator, both in order of address.
    fn dominated(alive: &Alive<'_>, stored: usize, at_a_time: usize) -> Vec<u32> {
        let tree = super::dominators(alive, stored, at_a_time, &Cancel::new()).unwrap();
        let above = |&number: &u32| tree.nodes[tree.parents[number as usize] as usize];
        tree.numbers.iter().map(above).collect()
    }

    #[test]
    fn dominators_are_the_same_when_pointers_are_read_again_each_time() {
        let mut seed = 88_172_645_463_325_252;
        let mut alive_max = 0;
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
            let nodes = Nodes::new(&heap, Vec::new());
            Marker::new(&nodes, &cancel).run(&roots, None).unwrap();
            let mut alive = Alive::new(&nodes, &cancel);
            alive.read_roots(&roots);
            let stored = dominated(&alive, STORED, AT_A_TIME);
            assert_eq!(stored.len(), alive.count + 1);
            assert_eq!(dominated(&alive, 0, AT_A_TIME), stored, "round {round}");
            assert_eq!(dominated(&alive, 0, 0), stored, "round {round}");
            alive_max = alive_max.max(alive.count);
        }
        assert!(alive_max > 100, "{alive_max}");
    }

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
