//! The model of synthetic heaps, whole and damaged.

use umem_layout::{Log, LogEntry, Plain, buffer_state, cache_flag, log_kind};

use crate::target::Memory;

use super::{
    Location, Object,
    synthetic::{Builder, DEBUG, ROOT, bytes_of, victim},
};

#[test]
fn addresses_lead_to_their_buffers() {
    let (mut builder, [kept, lost, freed]) = victim();
    builder.publish();
    let heap = builder.heap();
    assert!(heap.damage.is_empty(), "{:?}", heap.damage);
    let Some(Location::Buffer(buffer, 0)) = heap.find(kept.address) else {
        panic!("no buffer")
    };
    assert_eq!(heap.state(buffer), buffer_state::ALLOCATED);
    assert_eq!(heap.cache(buffer).name, "umem_alloc_64");
    assert_eq!(heap.requested(Object::Buffer(buffer)), Some(50));
    assert_eq!(
        heap.record_address(Object::Buffer(buffer)),
        Some(kept.record)
    );
    assert!(matches!(
        heap.find(lost.address + 17),
        Some(Location::Buffer(_, 17))
    ));
    let Some(Location::Buffer(buffer, 0)) = heap.find(freed.address) else {
        panic!("no buffer")
    };
    assert_eq!(heap.state(buffer), buffer_state::FREE);
    assert_eq!(
        heap.object_of_record(freed.record),
        Some(Object::Buffer(buffer))
    );
    assert_eq!(heap.object_of_record(freed.record + 8), None);
    assert_eq!(heap.find(0x41), None);
    let record = heap.record(Object::Buffer(buffer)).unwrap().unwrap();
    assert_eq!(
        heap.stack(record.alloc_stack).unwrap().pcs,
        [0x40_0300, 0x40_0010]
    );
    assert!(heap.stack(0xffff).is_err());
}

#[test]
fn the_log_gives_its_entries_newest_first() {
    let (mut builder, _) = victim();
    builder.publish();
    let heap = builder.heap();
    let log = heap.log(umem_layout::log_kind::TRANSACTION).unwrap();
    let sequences: Vec<u64> = heap
        .log_entries(&log)
        .unwrap()
        .iter()
        .map(|entry| entry.sequence)
        .collect();
    assert_eq!(sequences, [4, 3, 2, 1]);
    assert_eq!(log.entry_address(5), None);
    assert_eq!(log.entry_address(1), Some(log.record.base));
}

#[test]
fn blocks_and_the_room_between_them_are_found() {
    let mut builder = Builder::new();
    let stack = builder.stack(&[0x40_0100]);
    let block = builder.block(20_000, stack);
    builder.publish();
    let heap = builder.heap();
    assert!(heap.damage.is_empty(), "{:?}", heap.damage);
    assert_eq!(heap.find(block + 9), Some(Location::Block(0, 9)));
    assert_eq!(heap.requested(Object::Block(0)), Some(20_000));
    assert_eq!(heap.trailer_address(Object::Block(0)), Some(block + 20_000));
    assert!(matches!(heap.find(block + 0x8000), Some(Location::Gap(0))));
}

#[test]
fn without_states_the_bitmap_tells_who_is_allocated() {
    let mut builder = Builder::new();
    let cache = builder.cache("umem_alloc_32", 32, 0);
    let slab = builder.slab(cache);
    let made = [(); 70].map(|()| builder.alloc(slab, 32, 0));
    builder.publish();
    let heap = builder.heap();
    let states = heap.states_of(&heap.slabs[0]);
    assert_eq!(
        states
            .iter()
            .filter(|&&state| state == buffer_state::ALLOCATED)
            .count(),
        70
    );
    assert_eq!(heap.slabs[0].buffer(69), made[69].address);
    assert_eq!(
        heap.requested(Object::Buffer(super::Buffer { slab: 0, index: 3 })),
        None
    );
}

#[test]
fn rounds_of_magazines_are_free_and_counts_add_up() {
    let mut builder = Builder::new();
    let cache = builder.cache("umem_alloc_32", 32, 0);
    let slab = builder.slab(cache);
    let made = [(); 10].map(|()| builder.alloc(slab, 32, 0));
    builder.thread(7, cache, &made[..3], (9, 4));
    builder.thread(8, cache, &made[3..4], (5, 1));
    builder.caches[cache].1.depot_full = builder.magazine(&made[4..6]);
    builder.caches[cache].1.allocs = 100;
    builder.publish();
    let heap = builder.heap();
    assert!(heap.damage.is_empty(), "{:?}", heap.damage);
    let counts = heap.counts(0);
    assert_eq!((counts.in_use, counts.in_magazines), (4, 6));
    assert_eq!((counts.in_threads, counts.free), (4, 2048 - 10));
    assert_eq!((counts.allocs, counts.frees), (114, 5));
    assert_eq!(counts.rest(), counts.free);
    assert_eq!(heap.held_of(0).len(), 2);
    assert_eq!(heap.held_of(1).len(), 0);
}

#[test]
fn what_a_freed_buffer_held_is_found_in_the_contents_log() {
    let (mut builder, [.., freed]) = victim();
    builder.publish();
    let stride = size_of::<LogEntry>() + 16;
    let base = builder.room(4 * stride);
    let log = builder.room(size_of::<Log>());
    let record = Log {
        next: builder.root.logs,
        kind: log_kind::CONTENTS,
        stride: stride as u32,
        base,
        capacity: 4,
        written: 2,
        ..Log::ZERO
    };
    builder.image.write(log, bytes_of(&record));
    let entry = LogEntry {
        sequence: 2,
        time: 0x410,
        buffer: freed.address,
        record: freed.record,
        size: 16,
        ..LogEntry::ZERO
    };
    let at = base + stride as u64;
    builder.image.write(at, bytes_of(&entry));
    builder
        .image
        .write(freed.record + 0x28, &2_u32.to_le_bytes());
    builder.write_word(ROOT + 0xd8, log);
    let saved = |builder: &Builder| {
        let heap = builder.heap();
        let object = heap.object_of_record(freed.record).unwrap();
        let record = heap.record(object).unwrap().unwrap();
        heap.saved_contents(freed.record, &record)
    };
    assert_eq!(
        saved(&builder),
        Some((at + size_of::<LogEntry>() as u64, 16))
    );
    // The log has gone round: the entry is of another free.
    builder.write_word(at + 8, 0x500);
    assert_eq!(saved(&builder), None);
}

#[test]
fn requested_sizes_come_from_records_else_from_trailers() {
    for flags in [DEBUG, cache_flag::REDZONE] {
        let mut builder = Builder::new();
        let cache = builder.cache("umem_alloc_64", 64, flags);
        let slab = builder.slab(cache);
        let made = [50, 64, 1].map(|size| builder.alloc(slab, size, 0));
        builder.publish();
        builder.write_word(made[1].address + 64, 0x1234_5678_9abc_def0);
        let heap = builder.heap();
        let mut sizes = Vec::new();
        heap.requests(0, |_, size| sizes.push(size)).unwrap();
        let damaged = if flags == DEBUG { Some(64) } else { None };
        assert_eq!(sizes, [Some(50), damaged, Some(1)]);
    }
}

#[test]
fn arenas_are_a_tree_even_when_their_sources_go_in_circles() {
    let mut builder = Builder::new();
    let top = builder.arena("top", None, &[64, 64]);
    let heap = builder.arena("heap", Some(top), &[64]);
    builder.arena("other", Some(top), &[64]);
    builder.arena("small", Some(heap), &[64, 128, 64]);
    builder.publish();
    let names = |heap: &super::Heap, postfix: bool| {
        let tree = if postfix {
            heap.arena_tree_postfix()
        } else {
            heap.arena_tree()
        };
        tree.iter()
            .map(|branch| {
                let name = &heap.arenas[branch.arena as usize].name;
                format!("{}{name}", "-".repeat(branch.depth as usize))
            })
            .collect::<Vec<_>>()
            .join(" ")
    };
    let model = builder.heap();
    assert_eq!(names(&model, false), "top -heap --small -other");
    assert_eq!(names(&model, true), "--small -heap -other top");
    let segments = model.segments(&model.arenas[3]);
    let sizes = segments.elements.iter().map(|(_, s)| s.end - s.start);
    assert_eq!(sizes.collect::<Vec<_>>(), [256, 64, 128, 64]);
    assert_eq!(segments.damage, None);
    builder.write_word(top + 8, heap);
    let model = builder.heap();
    assert_eq!(model.arena_tree().len(), 4);
    assert_eq!(model.arena_tree_postfix().len(), 4);
}

#[test]
fn a_list_of_caches_that_loops_keeps_all_caches_with_slabs() {
    let (mut builder, _) = victim();
    let second = builder.cache("umem_alloc_128", 128, cache_flag::AUDIT);
    builder.slab(second);
    builder.publish();
    let (first, second) = (builder.caches[0].0, builder.caches[1].0);
    builder.write_word(second, first);
    let heap = builder.heap();
    assert_eq!(heap.caches.len(), 2);
    assert!(
        heap.damage.kept[0]
            .to_string()
            .contains("the list of caches loops")
    );
    builder.write_word(first, 0x4141_4141_4140);
    let heap = builder.heap();
    assert_eq!(
        heap.caches.len(),
        2,
        "the slab of the lost cache leads to it"
    );
    assert!(heap.caches[1].unlisted);
    assert!(heap.damage.kept[0].to_string().contains("cannot read"));
}

#[test]
fn a_slab_that_cannot_be_is_left_out() {
    let (mut builder, [kept, ..]) = victim();
    let good = builder.cache("umem_alloc_128", 128, DEBUG);
    let slab = builder.slab(good);
    let made = builder.alloc(slab, 100, 0);
    builder.publish();
    let slabs = {
        let heap = builder.heap();
        heap.slabs[0].address
    };
    builder.image.write(slabs + 0x54, &u32::MAX.to_le_bytes());
    let heap = builder.heap();
    assert_eq!(heap.find(kept.address), None);
    assert!(heap.find(made.address).is_some());
    assert!(
        heap.damage.kept[0].to_string().contains("a slab at"),
        "{:?}",
        heap.damage
    );
}

#[test]
fn every_single_damaged_word_of_the_structures_is_survived() {
    let (mut builder, _) = victim();
    let stack = builder.stack(&[0x40_0100]);
    builder.block(20_000, stack);
    builder.publish();
    let words = [
        0,
        u64::MAX,
        0x4141_4141_4141_4140,
        super::synthetic::META,
        super::synthetic::ROOT,
    ];
    let root = (0..0x250_u64).map(|offset| super::synthetic::ROOT + offset);
    let meta = (0..0x2000_u64).map(|offset| super::synthetic::META + offset);
    for at in root.chain(meta).step_by(8) {
        let mut before = [0; 8];
        builder.image.read(at, &mut before);
        if before == [0; 8] {
            continue;
        }
        for word in words {
            builder.write_word(at, word);
            look_at_all(&builder.heap());
        }
        builder.image.write(at, &before);
    }
}

fn look_at_all(heap: &super::Heap) {
    for object in (0..heap.blocks.len() as u32).map(Object::Block) {
        let _ = (heap.requested(object), heap.trailer(object));
    }
    let _ = heap.messages();
    let _ = heap.log(1).map(|log| heap.log_entries(&log));
}

/// Writes records of the history: first address, epochs of loading and unloading, link, and size of a path that leads nowhere.
fn history(builder: &mut Builder, records: &[(u64, u32, u32, u64, u32)]) {
    let size = umem_layout::Module::BYTES as u64;
    let room = builder.room(size as usize * records.len());
    let at = |index: u64| room + index * size;
    for (index, &(base, loaded, unloaded, next, path_size)) in (0..).zip(records) {
        let link = if next == 0 { 0 } else { at(next) };
        let mut bytes = vec![0; size as usize];
        bytes[..8].copy_from_slice(&link.to_le_bytes());
        bytes[0x08..0x10].copy_from_slice(&base.to_le_bytes());
        bytes[0x10..0x18].copy_from_slice(&(base + 0x1000).to_le_bytes());
        bytes[0x18..0x1c].copy_from_slice(&loaded.to_le_bytes());
        bytes[0x1c..0x20].copy_from_slice(&unloaded.to_le_bytes());
        bytes[0x44..0x48].copy_from_slice(&path_size.to_le_bytes());
        bytes[0x48..0x50].copy_from_slice(&8_u64.to_le_bytes());
        builder.image.write(at(index), &bytes);
    }
    builder.root.modules = at(0);
}

#[test]
fn the_module_of_an_epoch_is_the_last_one_loaded_by_then() {
    let mut builder = Builder::new();
    // The newest first: one that is there, one that came and went while the oldest was away.
    let records = [
        (0x9000, 5, 0, 1, 0),
        (0x5000, 3, 4, 2, 0),
        (0x5000, 1, 0, 0, 0),
    ];
    history(&mut builder, &records);
    builder.publish();
    let heap = builder.heap();
    let is_over = |address, epoch| heap.module_then(address, epoch).map(|era| era.is_over());
    assert_eq!(heap.modules().0.len(), 3);
    assert_eq!(is_over(0x5800, 1), Some(false));
    assert_eq!(is_over(0x5800, 3), Some(true));
    assert_eq!(is_over(0x5800, 4), Some(false));
    assert_eq!(is_over(0x9800, 4), None, "it came later");
    assert_eq!(is_over(0x9800, 5), Some(false));
    assert_eq!(is_over(0xa000, 5), None, "behind its end");
    assert_eq!(is_over(0x5800, 0), None);
}

#[test]
fn a_history_that_loops_or_lies_ends() {
    let mut builder = Builder::new();
    // The second one leads back to itself.
    history(&mut builder, &[(0x5000, 1, 0, 1, 0), (0x6000, 1, 0, 1, 0)]);
    builder.publish();
    let heap = builder.heap();
    let (eras, damage) = heap.modules();
    assert_eq!(eras.len(), 2);
    assert!(damage.is_some());

    let mut builder = Builder::new();
    history(
        &mut builder,
        &[(0x5000, 1, 0, 1, 64), (0x6000, 1, 0, 0, u32::MAX)],
    );
    builder.publish();
    let heap = builder.heap();
    let (eras, damage) = heap.modules();
    assert_eq!(eras.len(), 1, "a path of 4 GiB is damage");
    assert_eq!(eras[0].module.path, "", "it cannot be read");
    assert!(damage.is_some());
}
