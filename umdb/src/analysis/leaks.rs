//! Buffers that no root can reach.
//!
//! 1. Candidates: allocated buffers of caches, and allocated blocks of arenas, that belong to the program.
//! 2. Roots: see `roots`. Marking: see `mark`.
//! 3. What is not marked is lost, with all that only it leads to; cycles are lost as well.
//! 4. Lost objects are grouped by cache and allocating stack; the oldest of a group stands for it.
//!
//! What makes the answer doubtful is part of it: see [`Leaks::doubts`].

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use umem_layout::buffer_state;

pub use super::mark::Stats;
use super::{Cancel, Cancelled, mark::Marker, roots::Input};
use crate::{
    heap::{Heap, Object},
    symbols::StackRoots,
    target::{Target, Thread},
};

/// What a lost object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A block of an arena.
    Block,
    /// A buffer without record of who allocated it.
    Plain,
    /// A buffer with such a record.
    Audited,
}

/// Lost objects of one cache or arena with one stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What they are.
    pub kind: Kind,
    /// Address of the cache or arena.
    pub owner: u64,
    /// Stack of the allocation, in the depot; zero when unknown.
    pub stack: u32,
    /// The oldest one.
    pub representative: Object,
    /// All of them in order of address.
    pub members: Vec<Object>,
    /// Bytes that the program asked for.
    pub bytes: u64,
    /// Least and greatest size.
    pub sizes: (u64, u64),
}

/// The result of a search.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leaks {
    /// Blocks first, then plain buffers, then audited ones; in each kind the largest groups first.
    pub groups: Vec<Group>,
    /// Why what is listed may be wrong or not all.
    pub doubts: Vec<String>,
    /// What was done.
    pub stats: Stats,
    /// How long it took.
    pub elapsed: Duration,
}

/// Searches the heap of a target. `live_stack` says what of a thread's stack and registers is alive.
///
/// # Errors
/// When it was cancelled.
pub fn find(
    target: &Target,
    heap: &Heap,
    live_stack: &dyn Fn(&Thread) -> Option<StackRoots>,
    cancel: &Cancel,
) -> Result<Leaks, Cancelled> {
    let start = Instant::now();
    let roots = Input {
        target,
        heap,
        live_stack,
    }
    .roots();
    let mut marker = Marker::new(heap, &roots.transit, cancel);
    marker.run(&roots)?;
    let candidates = candidates(heap);
    let lost: Vec<Object> = candidates
        .iter()
        .copied()
        .filter(|&object| !marker.is_marked(object))
        .collect();
    let mut doubts: Vec<String> = super::missing(target).map(str::to_owned).collect();
    doubts.extend(heap_doubts(heap));
    if target.threads.is_empty() {
        doubts.push("there are no threads".to_owned());
    }
    doubts.extend(roots.doubts);
    doubts.extend(std::mem::take(&mut marker.doubts));
    let stats = Stats {
        candidates: candidates.len() as u64,
        ..marker.stats
    };
    Ok(Leaks {
        groups: group(heap, &lost),
        doubts,
        stats,
        elapsed: start.elapsed(),
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

/// Everything that could be lost.
fn candidates(heap: &Heap) -> Vec<Object> {
    let mut objects = Vec::new();
    for (index, block) in heap.blocks.iter().enumerate() {
        let is_user = heap.arenas[block.arena as usize].holds_user_blocks();
        if is_user && block.state == buffer_state::ALLOCATED {
            objects.push(Object::Block(index as u32));
        }
    }
    for index in 0..heap.slabs.len() as u32 {
        if heap.caches[heap.slabs[index as usize].cache as usize].is_user() {
            let allocated = heap
                .carved(index)
                .filter(|&buffer| heap.state(buffer) == buffer_state::ALLOCATED);
            objects.extend(allocated.map(Object::Buffer));
        }
    }
    objects
}

/// A lost object with what groups are made by.
struct Lost {
    object: Object,
    time: u64,
    bytes: u64,
}

fn group(heap: &Heap, lost: &[Object]) -> Vec<Group> {
    let mut groups: BTreeMap<(Kind, u64, u32), Vec<Lost>> = BTreeMap::new();
    for &object in lost {
        let (kind, stack, time) = origin(heap, object);
        let entry = Lost {
            object,
            time,
            bytes: heap.size(object),
        };
        groups
            .entry((kind, heap.owner_address(object), stack))
            .or_default()
            .push(entry);
    }
    let mut groups: Vec<Group> = groups
        .into_iter()
        .map(|(key, members)| group_of(heap, key, members))
        .collect();
    groups.sort_by_key(|group| {
        (
            group.kind,
            std::cmp::Reverse(group.bytes),
            heap.address(group.representative),
        )
    });
    groups
}

fn group_of(heap: &Heap, (kind, owner, stack): (Kind, u64, u32), mut members: Vec<Lost>) -> Group {
    members.sort_by_key(|lost| heap.address(lost.object));
    let oldest = members
        .iter()
        .min_by_key(|lost| lost.time)
        .map(|lost| lost.object);
    let sizes = members.iter().map(|lost| lost.bytes);
    let least = sizes.clone().min().unwrap_or(0);
    let most = sizes.clone().max().unwrap_or(0);
    Group {
        kind,
        owner,
        stack,
        // A group has at least one member.
        representative: oldest.unwrap_or(Object::Block(0)),
        bytes: sizes.fold(0, u64::saturating_add),
        sizes: (least, most),
        members: members.into_iter().map(|lost| lost.object).collect(),
    }
}

/// Kind, stack and time of the allocation of an object.
fn origin(heap: &Heap, object: Object) -> (Kind, u32, u64) {
    let (stack, time) = match heap.record(object) {
        Some(Ok(record)) => (record.alloc_stack, record.alloc_time),
        _ => (0, 0),
    };
    let kind = match object {
        Object::Block(_) => Kind::Block,
        Object::Buffer(_) if heap.record_address(object).is_some() => Kind::Audited,
        Object::Buffer(_) => Kind::Plain,
    };
    (kind, stack, time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        heap::synthetic::{Builder, DATA, DEBUG, STACK, victim},
        target::Mapping,
    };

    fn search(builder: &mut Builder) -> Leaks {
        builder.publish();
        let (heap, target) = (builder.heap(), builder.target());
        find(
            &target,
            &heap,
            &|thread| builder.live_stack(thread),
            &Cancel::new(),
        )
        .unwrap()
    }

    /// Addresses of all that is lost.
    fn lost(builder: &mut Builder) -> Vec<u64> {
        let leaks = search(builder);
        assert_eq!(leaks.doubts, Vec::<String>::new());
        let heap = builder.heap();
        leaks
            .groups
            .iter()
            .flat_map(|group| &group.members)
            .map(|&object| heap.address(object))
            .collect()
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
        let leaks = search(&mut builder);
        assert_eq!(leaks.groups[0].members.len(), 799);
    }

    #[test]
    fn blocks_are_candidates_and_are_scanned() {
        let (mut builder, made) = with_buffers::<1>();
        let block = builder.block(20_000, 0);
        builder.write_word(block + 19_992, made[0]);
        builder.write_word(DATA, block + 19_999);
        assert_eq!(lost(&mut builder), Vec::<u64>::new());
        builder.write_word(DATA, block + 20_000);
        assert_eq!(lost(&mut builder), [block, made[0]]);
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
        builder.write_word(DATA, foreign + 0x800);
        assert_eq!(lost(&mut builder), Vec::<u64>::new());
        // As the stack of a thread that has ended it holds nothing alive.
        builder.write_word(foreign + 0xe00, foreign + 0xe00);
        builder.write_word(foreign + 0xe10, foreign + 0xe00);
        assert_eq!(lost(&mut builder), [made[0]]);
        // But glibc keeps its thread vector, to which the control block has a pointer.
        builder.write_word(foreign + 0xe08, made[0] + 16);
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
        let leaks = find(
            &target,
            &heap,
            &|thread| builder.live_stack(thread),
            &Cancel::new(),
        )
        .unwrap();
        assert_eq!(
            leaks.doubts,
            ["the registers of thread 7 could not be read"]
        );
        let mut target = builder.target();
        target.mappings.last_mut().unwrap().end += 0x1000;
        let leaks = find(
            &target,
            &heap,
            &|thread| builder.live_stack(thread),
            &Cancel::new(),
        )
        .unwrap();
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
        let result = find(
            &builder.target(),
            &builder.heap(),
            &|thread| builder.live_stack(thread),
            &cancel,
        );
        assert_eq!(result, Err(Cancelled));
    }
}
