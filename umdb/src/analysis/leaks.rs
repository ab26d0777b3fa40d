//! Buffers that no root can reach, and what of the others is reached how.
//!
//! 1. Candidates: allocated buffers of caches, and allocated blocks of arenas, that belong to the program.
//! 2. Roots: see `roots`. Marking: see `mark`.
//! 3. What is not marked is lost. What only lost objects lead to is lost through them, and so held by a head; a cycle
//!    has one head. See `lost`.
//! 4. Heads are grouped by cache and allocating stack; the oldest of a group stands for it.
//! 5. What is alive is counted, and grouped on request: all of it, or that to which only pointers into its middle lead.
//!
//! What makes the answer doubtful is part of it: see [`Leaks::doubts`].

use std::time::{Duration, Instant};

pub use super::census::{Group, Kind};
pub use super::mark::Stats;
use super::{
    Cancel, Cancelled, Scene,
    census::{Census, Origin, origin, origins},
    lost::heads,
    mark::Marker,
    nodes::{Bits, CANDIDATE, MARKED, Nodes, START},
    pointers::Pointers,
    ranges::Range,
    roots,
};
use crate::heap::{Heap, Object};

/// The result of a search.
#[derive(Debug, Default)]
pub struct Leaks {
    /// Heads of what is lost: blocks first, then plain buffers, then audited ones; in each kind the largest groups first.
    pub groups: Vec<Group>,
    /// Why what is listed may be wrong or not all.
    pub doubts: Vec<String>,
    /// What was done.
    pub stats: Stats,
    /// Objects that are alive, and those of them to which only pointers into the middle lead.
    pub reachable: u64,
    /// See `reachable`.
    pub interior: u64,
    /// Private memory of no file and no known owner to which nothing leads: never a finding.
    pub foreign: Vec<Range>,
    /// How long it took.
    pub elapsed: Duration,
    bits: Bits,
}

/// What of the allocated objects is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alive {
    /// All that are allocated, lost ones as well.
    Allocated,
    /// All of them.
    Reachable,
    /// Those to which only pointers into the middle lead.
    Interior,
}

/// Searches the heap of a target.
///
/// # Errors
/// When it was cancelled.
pub fn find(scene: &Scene<'_>) -> Result<Leaks, Cancelled> {
    let start = Instant::now();
    let heap = scene.heap;
    let mut roots = roots::find(scene);
    let transit = std::mem::take(&mut roots.transit);
    let nodes = Nodes::new(heap, transit);
    let mut marker = Marker::new(&nodes, scene.cancel);
    let pointers = Pointers::read(&nodes, scene.cancel)?;
    marker.run(&roots, pointers.as_ref())?;
    let stats = Stats {
        candidates: nodes.tally(CANDIDATE, 0),
        ..marker.stats
    };
    let mut doubts: Vec<String> = super::missing(scene.target).map(str::to_owned).collect();
    if scene.target.memory.lost().is_some() {
        doubts.push("the memory is gone meanwhile".to_owned());
    }
    doubts.extend(heap_doubts(heap));
    if scene.target.threads.is_empty() {
        doubts.push("there are no threads".to_owned());
    }
    doubts.extend(roots.doubts);
    doubts.append(&mut marker.doubts);
    let groups = group(&nodes, pointers.as_ref(), scene.cancel)?;
    Ok(Leaks {
        groups,
        doubts,
        stats,
        reachable: nodes.tally(CANDIDATE | MARKED, 0),
        interior: nodes.tally(CANDIDATE | MARKED, START),
        foreign: foreign(&nodes),
        elapsed: start.elapsed(),
        bits: nodes.into_bits(),
    })
}

/// What about the heap itself makes any answer doubtful.
fn heap_doubts(heap: &Heap) -> Vec<String> {
    let unknown = heap.root.unknown_features();
    let features =
        (unknown != 0).then(|| format!("the library uses unknown features: {unknown:#x}"));
    let damage = heap.damage.kept.iter().map(ToString::to_string);
    let more = (heap.damage.more > 0).then(|| format!("{} more damages", heap.damage.more));
    features.into_iter().chain(damage).chain(more).collect()
}

/// Transit ranges that nothing leads to, without those of the library's own arenas.
fn foreign(nodes: &Nodes<'_>) -> Vec<Range> {
    let first = nodes.count() - nodes.transit.len();
    let unmarked = nodes.transit.iter().enumerate();
    unmarked
        .filter(|&(i, &(start, _))| nodes.get(first + i) & MARKED == 0 && !nodes.heap.is_own(start))
        .map(|(_, &range)| range)
        .collect()
}

/// Groups what is lost by the origin of its heads.
fn group(
    nodes: &Nodes<'_>,
    pointers: Option<&Pointers>,
    cancel: &Cancel,
) -> Result<Vec<Group>, Cancelled> {
    let heap = nodes.heap;
    let mut lost: Vec<usize> = Vec::new();
    let mut from: Vec<Origin> = Vec::new();
    let mut found = Vec::new();
    let slabs = heap.slabs.len();
    for unit in 0..slabs + heap.blocks.len() {
        nodes.select(unit, CANDIDATE, MARKED, &mut found);
        if found.is_empty() {
            continue;
        }
        cancel.check()?;
        lost.extend(found.iter().map(|&index| nodes.node(unit, index)));
        match nodes.object_at(unit, 0) {
            Some(object @ Object::Block(_)) => from.push(origin(heap, object)),
            _ => origins(heap, unit as u32, &found, |_, origin| from.push(origin)),
        }
    }
    let mut order: Vec<u32> = (0..lost.len() as u32).collect();
    order.sort_by_key(|&index| from[index as usize].time);
    let head_of = heads(nodes, pointers, &lost, &order, cancel)?;
    let mut census = Census::default();
    let mut group_of = vec![0; lost.len()];
    for (index, &node) in lost.iter().enumerate() {
        if let Some(object) = nodes
            .object(node)
            .filter(|_| head_of[index] as usize == index)
        {
            group_of[index] = census.add(heap, object, from[index]);
            census.group(group_of[index]).members.push(object);
        }
    }
    for (index, &node) in lost.iter().enumerate() {
        let head = head_of[index] as usize;
        if let Some(object) = nodes.object(node).filter(|_| head != index) {
            let group = census.group(group_of[head]);
            group.held.push(object);
            group.held_bytes = group.held_bytes.saturating_add(from[index].bytes);
        }
    }
    Ok(census.finish(heap))
}

impl Leaks {
    /// Objects grouped by cache and stack; the groups have no members listed.
    ///
    /// # Errors
    /// When it was cancelled.
    pub fn alive(
        &self,
        heap: &Heap,
        which: Alive,
        cancel: &Cancel,
    ) -> Result<Vec<Group>, Cancelled> {
        let (wanted, without) = match which {
            Alive::Allocated => (CANDIDATE, 0),
            Alive::Reachable => (CANDIDATE | MARKED, 0),
            Alive::Interior => (CANDIDATE | MARKED, START),
        };
        let mut census = Census::default();
        let mut found = Vec::new();
        for (index, slab) in (0..).zip(&heap.slabs) {
            self.bits
                .select(slab.first, slab.carved, wanted, without, &mut found);
            if !found.is_empty() {
                cancel.check()?;
                origins(heap, index, &found, |index_in, origin| {
                    let buffer = crate::heap::Buffer {
                        slab: index,
                        index: index_in,
                    };
                    census.add(heap, Object::Buffer(buffer), origin);
                });
            }
        }
        let first = heap.buffer_numbers();
        for index in 0..heap.blocks.len() {
            let bits = self.bits.get(first + index);
            if bits & wanted == wanted && bits & without == 0 {
                let object = Object::Block(index as u32);
                census.add(heap, object, origin(heap, object));
            }
        }
        Ok(census.finish(heap))
    }

    /// The group that an object was found lost in, as one of its members or held by them.
    #[must_use]
    pub fn group_of(&self, object: Object) -> Option<&Group> {
        let lists = |group: &&Group| {
            group.members.binary_search(&object).is_ok()
                || group.held.binary_search(&object).is_ok()
        };
        self.groups.iter().find(lists)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        heap::synthetic::{Builder, DATA, DEBUG, STACK, victim},
        target::{Mapping, Target},
    };

    fn search(builder: &mut Builder) -> Leaks {
        builder.publish();
        let (heap, target) = (builder.heap(), builder.target());
        look(builder, &target, &heap, &Cancel::new()).unwrap()
    }

    fn look(
        builder: &Builder,
        target: &Target,
        heap: &Heap,
        cancel: &Cancel,
    ) -> Result<Leaks, Cancelled> {
        find(&Scene {
            target,
            heap,
            stacks: builder,
            cancel,
        })
    }

    /// Addresses of all that is lost, in order.
    fn lost(builder: &mut Builder) -> Vec<u64> {
        let leaks = search(builder);
        assert_eq!(leaks.doubts, Vec::<String>::new());
        let heap = builder.heap();
        let groups = leaks.groups.iter();
        let objects = groups.flat_map(|group| group.members.iter().chain(&group.held));
        let mut addresses: Vec<u64> = objects.map(|&object| heap.address(object)).collect();
        addresses.sort_unstable();
        addresses
    }

    /// Addresses of each group's members, and how many objects they hold.
    fn heads(builder: &mut Builder) -> Vec<(Vec<u64>, usize)> {
        let leaks = search(builder);
        let heap = builder.heap();
        let address = |&object: &Object| heap.address(object);
        let of = |group: &Group| {
            (
                group.members.iter().map(address).collect(),
                group.held.len(),
            )
        };
        leaks.groups.iter().map(of).collect()
    }

    /// A heap with one slab of 64-byte buffers.
    fn with_buffers<const N: usize>() -> (Builder, [u64; N]) {
        let mut builder = Builder::new();
        let cache = builder.cache("umem_alloc_64", 64, DEBUG);
        let slab = builder.slab(cache);
        let stack = builder.stack(&[0x40_0100]);
        let made = [(); N].map(|()| builder.alloc(slab, 50, stack).address);
        (builder, made)
    }

    #[test]
    fn the_scenario_has_one_leak_of_50_bytes() {
        let (mut builder, [_, leaked, _]) = victim();
        let leaks = search(&mut builder);
        assert_eq!(leaks.groups.len(), 1);
        let group = &leaks.groups[0];
        assert_eq!(
            (group.kind, group.bytes, group.members.len()),
            (Kind::Audited, 50, 1)
        );
        assert_eq!(builder.heap().address(group.representative), leaked.address);
    }

    #[test]
    fn pointers_anywhere_alive_keep_buffers_and_dead_stack_does_not() {
        let (mut builder, made) = with_buffers::<6>();
        builder.write_word(DATA + 0x1f00, made[0]);
        builder.write_word(STACK + 0x800, made[1]);
        builder.registers.push(made[2]);
        builder.write_word(made[0] + 8, made[3]);
        builder.write_word(STACK + 0x7f8, made[4]);
        builder.write_word(made[5], made[5]);
        assert_eq!(lost(&mut builder), [made[4], made[5]]);
    }

    #[test]
    fn interior_pointers_count_and_ends_do_not() {
        let (mut builder, made) = with_buffers::<3>();
        builder.write_word(DATA, made[0] + 49);
        builder.write_word(DATA + 8, made[1] + 50);
        builder.image.write(DATA + 17, &made[2].to_le_bytes());
        assert_eq!(lost(&mut builder), [made[1], made[2]]);
    }

    #[test]
    fn an_empty_allocation_is_held_by_its_address() {
        let mut builder = Builder::new();
        let cache = builder.cache("umem_alloc_16", 16, DEBUG);
        let slab = builder.slab(cache);
        let made = builder.alloc(slab, 0, 0);
        builder.write_word(DATA, made.address);
        assert_eq!(lost(&mut builder), Vec::<u64>::new());
    }

    #[test]
    fn a_list_through_many_slabs_is_followed_to_its_end() {
        let mut builder = Builder::new();
        let cache = builder.cache("umem_alloc_64", 64, DEBUG);
        let slabs = [
            builder.slab(cache),
            builder.slab(cache),
            builder.slab(cache),
        ];
        let made: Vec<u64> = (0..1500)
            .map(|i| builder.alloc(slabs[i % 3], 64, 0).address)
            .collect();
        builder.write_word(DATA, made[0]);
        for pair in made.windows(2) {
            builder.write_word(pair[0] + 8, pair[1]);
        }
        assert_eq!(lost(&mut builder), Vec::<u64>::new());
        builder.write_word(made[700] + 8, 0);
        // The rest of it is lost through its first node.
        assert_eq!(heads(&mut builder), [(vec![made[701]], 798)]);
    }

    #[test]
    fn a_cycle_has_one_head_and_what_leads_to_it_holds_it() {
        let (mut builder, made) = with_buffers::<6>();
        for (from, at, to) in [(0, 0, 1), (1, 0, 2), (2, 0, 0), (2, 8, 3)] {
            builder.write_word(made[from] + at, made[to]);
        }
        // The oldest of a cycle stands for it; the two others nothing points to.
        assert_eq!(heads(&mut builder), [(vec![made[0], made[4], made[5]], 3)]);
        builder.write_word(made[5], made[1] + 8);
        assert_eq!(heads(&mut builder), [(vec![made[4], made[5]], 4)]);
    }

    #[test]
    fn cycles_behind_cycles_are_held() {
        let (mut builder, made) = with_buffers::<6>();
        // Later objects lead to earlier ones: 4 <-> 5 -> 2 <-> 3 -> 0 <-> 1.
        for (from, to) in [(0, 1), (1, 0), (2, 3), (3, 2), (4, 5), (5, 4)] {
            builder.write_word(made[from], made[to]);
        }
        for (from, to) in [(5, 2), (3, 0)] {
            builder.write_word(made[from] + 8, made[to]);
        }
        assert_eq!(heads(&mut builder), [(vec![made[4]], 5)]);
    }

    #[test]
    fn what_two_heads_lead_to_is_held_once() {
        let (mut builder, made) = with_buffers::<3>();
        builder.write_word(made[0], made[2]);
        builder.write_word(made[1], made[2]);
        let leaks = search(&mut builder);
        let group = &leaks.groups[0];
        assert_eq!((group.members.len(), group.held.len()), (2, 1));
        assert_eq!((group.bytes, group.held_bytes), (100, 50));
        assert!(leaks.group_of(group.held[0]).is_some());
    }

    #[test]
    fn pointers_into_the_middle_alone_are_counted_apart() {
        let (mut builder, made) = with_buffers::<4>();
        builder.write_word(DATA, made[0] + 8);
        builder.write_word(DATA + 8, made[1] + 8);
        builder.write_word(DATA + 16, made[1]);
        builder.write_word(made[1], made[2] + 16);
        let leaks = search(&mut builder);
        assert_eq!((leaks.reachable, leaks.interior), (3, 2));
        let heap = builder.heap();
        let alive = |which| leaks.alive(&heap, which, &Cancel::new()).unwrap();
        assert_eq!(alive(Alive::Interior)[0].count, 2);
        let all = alive(Alive::Reachable);
        assert_eq!((all[0].count, all[0].bytes), (3, 150));
        assert_eq!(heap.address(all[0].representative), made[0]);
    }

    #[test]
    fn blocks_are_candidates_and_are_scanned() {
        let (mut builder, made) = with_buffers::<1>();
        let block = builder.block(20_000, 0);
        builder.write_word(block + 19_992, made[0]);
        builder.write_word(DATA, block + 19_999);
        assert_eq!(lost(&mut builder), Vec::<u64>::new());
        builder.write_word(DATA, block + 20_000);
        assert_eq!(lost(&mut builder), [made[0], block]);
    }

    #[test]
    fn foreign_memory_counts_where_something_points_into_it() {
        let (mut builder, made) = with_buffers::<1>();
        let foreign = 0x5000_0000;
        builder.image.write(foreign, &[0; 0x1000]);
        builder.write_word(foreign + 0x100, made[0]);
        let mapping = Mapping {
            start: foreign,
            end: foreign + 0x1000,
            read: true,
            write: true,
            ..Mapping::default()
        };
        builder.mappings.push(mapping);
        assert_eq!(lost(&mut builder), [made[0]]);
        builder.write_word(DATA, foreign + 0x180);
        assert_eq!(lost(&mut builder), Vec::<u64>::new());
        // As the stack of a thread that has ended it holds nothing alive.
        let block = foreign + 0x600;
        builder.write_word(block, block);
        builder.write_word(block + 0x10, block);
        builder.write_word(block + 0x2d0, u64::MAX);
        assert_eq!(lost(&mut builder), [made[0]]);
        // But glibc keeps its thread vector, to which the control block has a pointer.
        builder.write_word(block + 8, made[0] + 16);
        assert_eq!(lost(&mut builder), Vec::<u64>::new());
        // And what it returned, as long as it may be joined by who knows the block.
        builder.write_word(block + 8, 0);
        builder.write_word(block + 0x630, made[0]);
        assert_eq!(lost(&mut builder), [made[0]]);
        builder.write_word(block + 0x2d0, 0);
        assert_eq!(lost(&mut builder), [made[0]]);
        builder.write_word(DATA + 8, block);
        assert_eq!(lost(&mut builder), Vec::<u64>::new());
    }

    #[test]
    fn buffers_in_magazines_are_not_candidates() {
        let mut builder = Builder::new();
        let cache = builder.cache("umem_alloc_64", 64, 0);
        let slab = builder.slab(cache);
        let made = [(); 3].map(|()| builder.alloc(slab, 64, 0).address);
        let magazine = builder.room(0x40);
        builder.write_word(magazine + 8, 2);
        builder.write_word(magazine + 16, made[0]);
        builder.write_word(magazine + 24, made[2]);
        builder.caches[cache].1.depot_full = magazine;
        let leaks = search(&mut builder);
        assert_eq!(leaks.groups.len(), 1);
        assert_eq!(
            (leaks.groups[0].kind, leaks.groups[0].bytes),
            (Kind::Plain, 64)
        );
        assert_eq!(
            builder.heap().address(leaks.groups[0].representative),
            made[1]
        );
    }

    #[test]
    fn groups_are_by_stack_and_the_oldest_stands_for_them() {
        let mut builder = Builder::new();
        let cache = builder.cache("umem_alloc_64", 64, DEBUG);
        let slab = builder.slab(cache);
        let [one, two] = [builder.stack(&[0x40_0100]), builder.stack(&[0x40_0200])];
        let made = [one, two, one, one].map(|stack| builder.alloc(slab, 40, stack).address);
        let leaks = search(&mut builder);
        let heap = builder.heap();
        let summary: Vec<_> = leaks
            .groups
            .iter()
            .map(|g| (g.stack, g.members.len(), g.bytes))
            .collect();
        assert_eq!(summary, [(one, 3, 120), (two, 1, 40)]);
        assert_eq!(heap.address(leaks.groups[0].representative), made[0]);
    }

    #[test]
    fn missing_registers_and_memory_make_the_answer_doubtful() {
        let (mut builder, _) = with_buffers::<1>();
        builder.publish();
        let (heap, mut target) = (builder.heap(), builder.target());
        target.threads[0].registers = None;
        let leaks = look(&builder, &target, &heap, &Cancel::new()).unwrap();
        assert_eq!(
            leaks.doubts,
            ["the registers of thread 7 could not be read"]
        );
        let mut target = builder.target();
        target.mappings.last_mut().unwrap().end += 0x1000;
        let leaks = look(&builder, &target, &heap, &Cancel::new()).unwrap();
        assert_eq!(
            leaks.doubts,
            ["4096 bytes of the stack of thread 7 could not be read"]
        );
    }

    #[test]
    fn a_request_stops_the_search() {
        let (mut builder, _) = with_buffers::<1>();
        builder.publish();
        let cancel = Cancel::new();
        cancel.request();
        let result = look(&builder, &builder.target(), &builder.heap(), &cancel);
        assert!(matches!(result, Err(Cancelled)));
    }
}
