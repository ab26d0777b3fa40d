//! Heaps made by tests: structures written into an image, as the allocator would.
//!
//! ```text
//! 0x0040_0000  program, writable segment of two pages
//! 0x1000_0000  region of 64 units of 64 KiB
//! 0x2000_0000  structures, one behind the other
//! 0x3000_0000  libumem.so with the root record
//! 0x7000_0000  stack of the only thread
//! ```

use std::{mem::offset_of, sync::Arc};

use umem_layout::*;

use super::Heap;
use crate::{
    layout::Root,
    symbols::StackRoots,
    target::{
        Image, Mapping, Memory, Module, ModuleSegment, Registers, Target, Thread as TargetThread,
    },
};

pub(crate) const DATA: u64 = 0x0040_0000;
pub(crate) const REGION: u64 = 0x1000_0000;
pub(crate) const META: u64 = 0x2000_0000;
pub(crate) const ROOT: u64 = 0x3000_0000;
pub(crate) const STACK: u64 = 0x7000_0000;
/// An ELF note in the library that leads to the root record.
pub(crate) const NOTE: u64 = ROOT + 0xf00;
const UNIT: u64 = 0x1_0000;
const UNITS: u64 = 64;
const PAGE: u64 = 0x1000;

/// The bytes of a structure.
pub(crate) fn bytes_of<T: Published>(value: &T) -> &[u8] {
    // SAFETY: `published!` asserts that its structures are repr(C) and without padding, so that all of
    // their bytes are initialized; the slice borrows `value`.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// A heap under construction.
#[derive(Clone)]
pub(crate) struct Builder {
    pub(crate) image: Image,
    pub(crate) root: UmemRoot,
    pub(crate) caches: Vec<(u64, Cache)>,
    arenas: Vec<(u64, Arena)>,
    segments: Vec<(u64, Segment)>,
    slabs: Vec<(u64, Slab)>,
    threads: Vec<(u64, Thread)>,
    map: Vec<u8>,
    logs: Vec<LogEntry>,
    next_meta: u64,
    next_unit: u64,
    next_stack: u64,
    time: u64,
    pub(crate) registers: Vec<u64>,
    pub(crate) mappings: Vec<Mapping>,
}

/// A buffer that a test made.
#[derive(Clone, Copy)]
pub(crate) struct Made {
    pub(crate) address: u64,
    pub(crate) record: u64,
    slab: usize,
    index: u32,
}

fn name(text: &str) -> [u8; 32] {
    std::array::from_fn(|i| text.as_bytes().get(i).copied().unwrap_or(0))
}

impl Builder {
    pub(crate) fn new() -> Self {
        let mut root = UmemRoot {
            magic: ROOT_MAGIC,
            major: LAYOUT_MAJOR,
            minor: LAYOUT_MINOR,
            byte_order: BYTE_ORDER,
            pointer_width: 64,
            root_size: size_of::<UmemRoot>() as u32,
            state: ready::READY,
            page_size: PAGE,
            unit_size: UNIT,
            ..UmemRoot::ZERO
        };
        for (size, (_, known, _)) in root.struct_sizes.iter_mut().zip(STRUCTS) {
            *size = *known as u32;
        }
        root.depot = StackDepot {
            store: META + 0x40_0000,
            used: 8,
            capacity: 0x1_0000,
            ..StackDepot::ZERO
        };
        let mut builder = Self {
            image: Image::new(),
            root,
            caches: Vec::new(),
            arenas: Vec::new(),
            segments: Vec::new(),
            slabs: Vec::new(),
            threads: Vec::new(),
            map: vec![unit::UNUSED; UNITS as usize],
            logs: Vec::new(),
            next_meta: META,
            next_unit: 0,
            next_stack: 8,
            time: 1000,
            registers: Vec::new(),
            mappings: Vec::new(),
        };
        builder.image.write(DATA, &[0; 2 * PAGE as usize]);
        builder.image.write(STACK, &[0; PAGE as usize]);
        builder.image.write(META + 0x40_0000, &[0; 0x1_0000]);
        builder
    }

    /// Room for a structure.
    pub(crate) fn room(&mut self, bytes: usize) -> u64 {
        let address = self.next_meta;
        self.next_meta += (bytes as u64).next_multiple_of(64);
        self.image.write(address, &vec![0; bytes]);
        address
    }

    pub(crate) fn write_word(&mut self, address: u64, word: u64) {
        self.image.write(address, &word.to_le_bytes());
    }

    /// A cache with all debugging for flags that include REDZONE.
    pub(crate) fn cache(&mut self, text: &str, buffer_size: u64, flags: u32) -> usize {
        let address = self.room(size_of::<Cache>());
        let has_redzone = flags & cache_flag::REDZONE != 0;
        let trailer_offset = if has_redzone {
            buffer_size.next_multiple_of(8)
        } else {
            0
        };
        let chunk_size = if has_redzone {
            (trailer_offset + 24).next_multiple_of(16)
        } else {
            buffer_size
        };
        self.caches.push((
            address,
            Cache {
                name: name(text),
                id: self.caches.len() as u32 + 1,
                flags,
                policy: policy::USER | policy::SIZED,
                buffer_size,
                chunk_size,
                align: 16,
                trailer_offset,
                verify_length: buffer_size,
                slab_size: UNIT,
                ..Cache::ZERO
            },
        ));
        self.caches.len() - 1
    }

    /// A slab of a cache.
    pub(crate) fn slab(&mut self, cache: usize) -> usize {
        let (cache_address, record) = self.caches[cache];
        let capacity = (UNIT / record.chunk_size) as u32;
        let base = REGION + self.next_unit * UNIT;
        self.map[self.next_unit as usize] = unit::SLAB_OTHER;
        self.next_unit += 1;
        self.image.write(base, &vec![0; UNIT as usize]);
        let bitmap = self.room(capacity.div_ceil(64) as usize * 8);
        let audited = record.flags & cache_flag::AUDIT != 0;
        let states = if audited {
            self.room(capacity as usize)
        } else {
            0
        };
        let records = if audited {
            self.room(capacity as usize * size_of::<AuditRecord>())
        } else {
            0
        };
        self.caches[cache].1.buffers += u64::from(capacity);
        self.slabs.push((
            base,
            Slab {
                kind: slab_kind::SLAB,
                cache: cache_address,
                base,
                bitmap,
                states,
                records,
                capacity,
                chunk_size: record.chunk_size as u32,
                units: 1,
                ..Slab::ZERO
            },
        ));
        self.slabs.len() - 1
    }

    /// A stack in the depot.
    pub(crate) fn stack(&mut self, pcs: &[u64]) -> u32 {
        let offset = self.next_stack;
        let entry = StackEntry {
            depth: pcs.len() as u16,
            ..StackEntry::ZERO
        };
        let address = self.root.depot.store + offset;
        self.image.write(address, bytes_of(&entry));
        for (i, pc) in pcs.iter().enumerate() {
            self.write_word(address + size_of::<StackEntry>() as u64 + i as u64 * 8, *pc);
        }
        self.next_stack += (size_of::<StackEntry>() + pcs.len() * 8) as u64;
        self.root.depot.used = self.next_stack;
        (offset / 8) as u32
    }

    /// Hands out the next buffer of a slab.
    pub(crate) fn alloc(&mut self, slab: usize, requested: u64, stack: u32) -> Made {
        self.time += 10;
        let record = self.slabs[slab].1;
        let index = record.carved;
        self.slabs[slab].1.carved += 1;
        self.slabs[slab].1.allocated += 1;
        let made = Made {
            address: record.base + u64::from(index) * u64::from(record.chunk_size),
            record: record.records + u64::from(index) * size_of::<AuditRecord>() as u64,
            slab,
            index,
        };
        let mut word = [0; 8];
        let at = record.bitmap + u64::from(index) / 64 * 8;
        self.image.read(at, &mut word);
        self.write_word(at, u64::from_le_bytes(word) | 1 << (index % 64));
        let cache = self.cache_of(slab);
        if record.records != 0 {
            self.image
                .write(record.states + u64::from(index), &[buffer_state::ALLOCATED]);
            let audit = AuditRecord {
                alloc_time: self.time,
                alloc_stack: stack,
                alloc_thread: 7,
                requested: requested as u32,
                last_log: self.logs.len() as u64 + 1,
                ..AuditRecord::ZERO
            };
            self.image.write(made.record, bytes_of(&audit));
        }
        if cache.trailer_offset != 0 {
            let padding = vec![REDZONE_BYTE; (cache.trailer_offset - requested) as usize];
            self.image.write(made.address + requested, &padding);
            self.trailer(made, redzone_word(requested), TRAILER_ALLOCATED);
        }
        self.log(made, requested, stack, operation::ALLOC);
        made
    }

    /// Takes a buffer back.
    pub(crate) fn free(&mut self, made: Made, stack: u32) {
        self.time += 10;
        let cache = self.cache_of(made.slab);
        let slab = self.slabs[made.slab].1;
        self.image
            .write(slab.states + u64::from(made.index), &[buffer_state::FREE]);
        let mut audit = [0; size_of::<AuditRecord>()];
        self.image.read(made.record, &mut audit);
        let audit = AuditRecord {
            free_time: self.time,
            free_stack: stack,
            free_thread: 8,
            last_log: self.logs.len() as u64 + 1,
            ..AuditRecord::decode(&audit)
        };
        self.image.write(made.record, bytes_of(&audit));
        for word in 0..cache.verify_length / 8 {
            self.write_word(made.address + word * 8, FREE_PATTERN);
        }
        self.trailer(made, REDZONE_PATTERN, TRAILER_FREE);
        self.log(made, u64::from(audit.requested), stack, operation::FREE);
    }

    fn cache_of(&self, slab: usize) -> Cache {
        let address = self.slabs[slab].1.cache;
        self.caches.iter().find(|(at, _)| *at == address).unwrap().1
    }

    fn trailer(&mut self, made: Made, redzone: u64, state: u64) {
        let record = if self.slabs[made.slab].1.records == 0 {
            0
        } else {
            made.record
        };
        let trailer = Trailer {
            redzone,
            record,
            state: record ^ state,
        };
        let offset = self.cache_of(made.slab).trailer_offset;
        self.image.write(made.address + offset, bytes_of(&trailer));
    }

    fn log(&mut self, made: Made, size: u64, stack: u32, operation: u32) {
        self.logs.push(LogEntry {
            sequence: self.logs.len() as u64 + 1,
            time: self.time,
            buffer: made.address,
            record: made.record,
            owner: self.slabs[made.slab].1.cache,
            size,
            stack,
            thread: 7,
            operation,
            ..LogEntry::ZERO
        });
    }

    /// An arena of blocks with one block of so many bytes, and a free piece behind it.
    pub(crate) fn block(&mut self, requested: u64, stack: u32) -> u64 {
        let start = REGION + self.next_unit * UNIT;
        self.map[self.next_unit as usize] = unit::BLOCKS;
        self.next_unit += 1;
        self.image.write(start, &vec![0; UNIT as usize]);
        let arena = self.room(size_of::<Arena>());
        let [anchor, block, gap] = [(); 3].map(|()| self.room(size_of::<Segment>()));
        let end = start + (requested + 32).next_multiple_of(PAGE);
        self.time += 10;
        let record = AuditRecord {
            alloc_time: self.time,
            alloc_stack: stack,
            alloc_thread: 7,
            requested: requested as u32,
            ..AuditRecord::ZERO
        };
        let flags = (cache_flag::AUDIT | cache_flag::REDZONE) as u16;
        let state = buffer_state::ALLOCATED;
        let allocated = Segment {
            kind: segment_kind::ALLOC,
            start,
            end,
            next: gap,
            requested,
            buffer: start,
            record,
            flags,
            state,
            ..Segment::ZERO
        };
        self.segments.push((
            anchor,
            Segment {
                next: block,
                ..Segment::ZERO
            },
        ));
        self.segments.push((block, allocated));
        self.segments.push((
            gap,
            Segment {
                kind: segment_kind::FREE,
                start: end,
                end: start + UNIT,
                next: anchor,
                ..Segment::ZERO
            },
        ));
        let control = block + offset_of!(Segment, record) as u64;
        let trailer = Trailer {
            redzone: redzone_word(requested),
            record: control,
            state: control ^ TRAILER_ALLOCATED,
        };
        let at = start + requested.next_multiple_of(8);
        self.image.write(
            start + requested,
            &vec![REDZONE_BYTE; (at - start - requested) as usize],
        );
        self.image.write(at, bytes_of(&trailer));
        self.arenas.push((
            arena,
            Arena {
                name: name("umem_oversize"),
                id: 1,
                policy: policy::USER | policy::BLOCKS,
                segments: anchor,
                ..Arena::ZERO
            },
        ));
        start
    }

    /// A magazine with buffers.
    pub(crate) fn magazine(&mut self, rounds: &[Made]) -> u64 {
        let at = self.room(size_of::<Magazine>() + rounds.len() * 8);
        let count = rounds.len() as u32;
        let record = Magazine {
            rounds: count,
            capacity: count,
            ..Magazine::ZERO
        };
        self.image.write(at, bytes_of(&record));
        for (i, round) in rounds.iter().enumerate() {
            self.write_word(at + (size_of::<Magazine>() + i * 8) as u64, round.address);
        }
        at
    }

    /// A thread with a loaded magazine for a cache, which gets an entry in the array of threads. The last round is in the entry alone.
    /// Allocations and frees served there are counted.
    pub(crate) fn thread(&mut self, tid: u32, cache: usize, rounds: &[Made], counts: (u64, u64)) {
        let loaded = self.magazine(rounds);
        if let Some(last) = rounds.len().checked_sub(1) {
            let place = loaded + (size_of::<Magazine>() + last * 8) as u64;
            self.write_word(place, 0xdead_0000);
        }
        let count = self.caches.len() as u32;
        let stride = size_of::<ThreadCache>();
        let caches = self.room(count as usize * stride);
        self.caches[cache].1.thread_slot = cache as u32 + 1;
        let entry = ThreadCache {
            loaded,
            loaded_rounds: rounds.len() as u32,
            capacity: rounds.len() as u32,
            hot: rounds.last().map_or(0, |round| round.address),
            allocs: counts.0,
            frees: counts.1,
            ..ThreadCache::ZERO
        };
        self.image
            .write(caches + (cache * stride) as u64, bytes_of(&entry));
        let at = self.room(size_of::<Thread>());
        let thread = Thread {
            state: thread_state::LIVE,
            tid,
            caches,
            cache_count: count,
            cache_stride: stride as u32,
            ..Thread::ZERO
        };
        self.threads.push((at, thread));
    }

    /// Names a thread, as the library notes it.
    pub(crate) fn name_thread(&mut self, index: usize, text: &str) {
        self.threads[index].1.name[..text.len()].copy_from_slice(text.as_bytes());
    }

    /// An arena whose span is cut into pieces of so many bytes, allocated and free in turn.
    pub(crate) fn arena(&mut self, text: &str, source: Option<u64>, pieces: &[u64]) -> u64 {
        let at = self.room(size_of::<Arena>());
        let start = 0x9000_0000 + at;
        let total: u64 = pieces.iter().sum();
        let anchor = self.room(size_of::<Segment>());
        let mut list = vec![(anchor, Segment::ZERO)];
        let mut add = |builder: &mut Self, kind: u32, start: u64, end: u64| {
            let at = builder.room(size_of::<Segment>());
            let segment = Segment {
                kind,
                start,
                end,
                ..Segment::ZERO
            };
            list.push((at, segment));
        };
        add(self, segment_kind::SPAN, start, start + total);
        let mut from = start;
        for (i, size) in pieces.iter().enumerate() {
            let kind = [segment_kind::ALLOC, segment_kind::FREE][i % 2];
            add(self, kind, from, from + size);
            from += size;
        }
        let next: Vec<u64> = list.iter().skip(1).map(|(at, _)| *at).collect();
        for (i, (at, segment)) in list.into_iter().enumerate() {
            let next = next.get(i).copied().unwrap_or(anchor);
            self.segments.push((at, Segment { next, ..segment }));
        }
        let in_use: u64 = pieces.iter().step_by(2).sum();
        let record = Arena {
            name: name(text),
            id: self.arenas.len() as u32 + 1,
            source: source.unwrap_or(0),
            quantum: 64,
            segments: anchor,
            in_use,
            total,
            imported: if source.is_some() { total } else { 0 },
            allocs: pieces.len() as u64,
            frees: (pieces.len() / 2) as u64,
            ..Arena::ZERO
        };
        self.arenas.push((at, record));
        at
    }

    /// Writes all structures.
    pub(crate) fn publish(&mut self) {
        let map = self.room(UNITS as usize);
        let slabs = self.room(UNITS as usize * size_of::<Slab>());
        let region = self.room(size_of::<Region>());
        self.image.write(map, &self.map.clone());
        for (start, slab) in self.slabs.clone() {
            self.image.write(
                slabs + (start - REGION) / UNIT * size_of::<Slab>() as u64,
                bytes_of(&slab),
            );
        }
        let record = Region {
            base: REGION,
            size: UNITS * UNIT,
            committed: UNITS * UNIT,
            map,
            slabs,
            units: UNITS,
            ..Region::ZERO
        };
        self.image.write(region, bytes_of(&record));
        self.root.regions = region;
        let span = self.room(size_of::<Span>());
        let metadata = Span {
            base: META,
            size: 0x100_0000,
            kind: span_kind::METADATA,
            ..Span::ZERO
        };
        self.image.write(span, bytes_of(&metadata));
        self.root.spans = span;
        self.publish_log();
        self.root.caches = self.caches.first().map_or(0, |(address, _)| *address);
        for i in 0..self.caches.len() {
            let next = self.caches.get(i + 1).map_or(0, |(address, _)| *address);
            self.caches[i].1.next = next;
            self.image
                .write(self.caches[i].0, bytes_of(&self.caches[i].1));
        }
        self.root.arenas = self.arenas.first().map_or(0, |(address, _)| *address);
        for i in 0..self.arenas.len() {
            self.arenas[i].1.next = self.arenas.get(i + 1).map_or(0, |(address, _)| *address);
            self.image
                .write(self.arenas[i].0, bytes_of(&self.arenas[i].1));
        }
        self.root.threads = self.threads.first().map_or(0, |(address, _)| *address);
        for (i, (address, thread)) in self.threads.iter().enumerate() {
            let next = self.threads.get(i + 1).map_or(0, |(address, _)| *address);
            self.image
                .write(*address, bytes_of(&Thread { next, ..*thread }));
        }
        for (address, segment) in &self.segments {
            let before = self.segments.iter().find(|(_, s)| s.next == *address);
            let prev = before.map_or(0, |(at, _)| *at);
            self.image
                .write(*address, bytes_of(&Segment { prev, ..*segment }));
        }
        self.image.write(ROOT, &[0; PAGE as usize]);
        self.image.write(ROOT, bytes_of(&self.root));
        let data = NOTE + 12 + 8;
        let words = [5, 8, NOTE_TYPE].map(u32::to_le_bytes).concat();
        self.image.write(
            NOTE,
            &[
                &words[..],
                b"UMEM\0\0\0\0",
                &ROOT.wrapping_sub(data).to_le_bytes(),
            ]
            .concat(),
        );
    }

    fn publish_log(&mut self) {
        let capacity = 64;
        let base = self.room(capacity * size_of::<LogEntry>());
        let log = self.room(size_of::<Log>());
        for (i, entry) in self.logs.iter().enumerate() {
            self.image
                .write(base + (i * size_of::<LogEntry>()) as u64, bytes_of(entry));
        }
        let record = Log {
            kind: log_kind::TRANSACTION,
            stride: size_of::<LogEntry>() as u32,
            base,
            capacity: capacity as u64,
            written: self.logs.len() as u64,
            ..Log::ZERO
        };
        self.image.write(log, bytes_of(&record));
        self.root.logs = log;
    }

    /// The heap of the image, which must be published.
    pub(crate) fn heap(&self) -> Heap {
        let mut bytes = vec![0; UmemRoot::BYTES];
        self.image.read(ROOT, &mut bytes);
        let record = UmemRoot::decode(&bytes);
        let root = Root {
            address: ROOT,
            record,
            module: Some("libumem.so".into()),
            warnings: Vec::new(),
            is_copy: false,
        };
        Heap::load(Arc::new(self.image.clone()), root)
    }

    /// The target of the image: program, library and one thread.
    pub(crate) fn target(&self) -> Target {
        let mapping = |start: u64, end: u64, name: Option<&str>| Mapping {
            start,
            end,
            read: true,
            write: true,
            name: name.map(str::to_owned),
            ..Mapping::default()
        };
        let mut mappings = vec![
            mapping(DATA, DATA + 2 * PAGE, Some("/bin/victim")),
            mapping(REGION, REGION + UNITS * UNIT, None),
            mapping(META, META + 0x100_0000, None),
            mapping(ROOT, ROOT + PAGE, Some("/lib/libumem.so")),
            mapping(STACK, STACK + PAGE, Some("[stack]")),
        ];
        mappings.extend(self.mappings.iter().cloned());
        mappings.sort_by_key(|mapping| mapping.start);
        let modules = vec![
            module("victim", DATA, 2 * PAGE, true),
            module("libumem.so", ROOT, PAGE, false),
        ];
        let registers = Some(Registers {
            rsp: STACK + 0x800,
            ..Registers::default()
        });
        let thread = TargetThread {
            tid: 7,
            name: None,
            registers,
            at_exit: false,
        };
        Target::synthetic(self.image.clone(), mappings, modules, vec![thread])
    }

    /// What of the thread's stack is alive.
    pub(crate) fn live_stack(&self, thread: &TargetThread) -> Option<StackRoots> {
        let from = thread.registers.as_ref()?.rsp;
        Some(StackRoots {
            from,
            registers: self.registers.clone(),
        })
    }
}

fn module(text: &str, start: u64, size: u64, is_program: bool) -> Module {
    let end = start + size;
    let segment = ModuleSegment {
        start,
        end,
        file_end: start + size / 2,
        offset: 0,
        write: true,
        execute: false,
    };
    Module {
        name: text.to_owned(),
        path: format!("/bin/{text}"),
        bias: 0,
        start,
        end,
        segments: vec![segment],
        notes: Vec::new(),
        dynamic: None,
        build_id: None,
        is_program,
    }
}

/// The flags of UMEM_DEBUG=default.
pub(crate) const DEBUG: u32 = cache_flag::AUDIT
    | cache_flag::DEADBEEF
    | cache_flag::REDZONE
    | cache_flag::CONTENTS
    | cache_flag::NOMAGAZINE;

/// A heap like that of the scenario: a buffer that lives, one that is lost, one freed twice used.
pub(crate) fn victim() -> (Builder, [Made; 3]) {
    let mut builder = Builder::new();
    let cache = builder.cache("umem_alloc_64", 64, DEBUG);
    let slab = builder.slab(cache);
    let [main, leak, uaf] =
        [0x40_0100, 0x40_0200, 0x40_0300].map(|pc| builder.stack(&[pc, 0x40_0010]));
    let kept = builder.alloc(slab, 50, main);
    let lost = builder.alloc(slab, 50, leak);
    let freed = builder.alloc(slab, 50, uaf);
    builder.free(freed, uaf);
    builder.image.write(freed.address + 5, b"!");
    builder.write_word(STACK + 0x810, kept.address);
    (builder, [kept, lost, freed])
}

/// A heap in which any buffer may point to any other, to the start or into the middle; one is large.
pub(crate) fn tangle(seed: &mut u64) -> Builder {
    let mut random = |below: usize| {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        (*seed >> 33) as usize % below
    };
    let mut builder = Builder::new();
    let cache = builder.cache("umem_alloc_64", 64, DEBUG);
    let slabs = [(); 3].map(|()| builder.slab(cache));
    let mut made: Vec<(u64, usize)> = (0..300)
        .map(|i| (builder.alloc(slabs[i % 3], 50, 0).address, 6))
        .collect();
    made.push((builder.block(600_000, 0), 75_000));
    for _ in 0..random(500) {
        let ((from, words), (to, _)) = (made[random(made.len())], made[random(made.len())]);
        builder.write_word(from + 8 * random(words) as u64, to + 8 * random(2) as u64);
    }
    // The large one has pointers of its own all over.
    for _ in 0..random(100) {
        let (last, to) = (made[made.len() - 1], made[random(made.len())].0);
        builder.write_word(last.0 + 8 * random(last.1) as u64, to);
    }
    for i in 0..random(5) as u64 {
        builder.write_word(DATA + 8 * i, made[random(made.len())].0);
    }
    builder.publish();
    builder
}
