//! Where a search for what is alive begins.
//!
//! 1. Writable segments of all modules with their bss, up to the end of the page (ld.so allocates there),
//!    except for the allocator's own.
//! 2. Each thread's live stack and registers. A stack that lies in a buffer keeps that buffer alive. A thread that
//!    runs elsewhere (signal stack, coroutine) has its own stack as well: from the frame that the signal interrupted
//!    where the frames lead there, else all of it.
//! 3. Each thread's TLS, which lies around the address in fs: at the top of the thread's stack, or for the main
//!    thread in a small mapping of its own.
//! 4. Writable mappings of files and shared memory that belong to no module.
//! 5. Addresses in code that the program made itself: see `code`.
//! 6. Other private memory (of ld.so, of other allocators, the brk area, segments of vmem arenas) is *transit*: nothing
//!    there is a candidate, but where a live pointer leads into it, its pointers count. Stacks that glibc keeps of
//!    threads that have ended hold nothing alive but their thread vector, which is kept as well; until such a thread is
//!    joined, what it returned is in its control block.

use std::fmt;

use umem_layout::Plain;

use super::{
    Scene,
    arenas::program_memory,
    code,
    ranges::{Range, RangeSet},
};
use crate::target::{Mapping, Thread};

const PAGE: u64 = 4096;
/// A mapping around a TLS block that is larger than this is scanned only near the block.
const TLS_WHOLE: u64 = 1 << 20;
/// Bytes below and above fs that hold a static TLS block and the thread's control block.
const TLS_NEAR: (u64, u64) = (1 << 18, 1 << 14);
/// Bytes at the top of a stack in which glibc puts the thread's control block.
const STACK_TOP: u64 = 1 << 16;
/// Offset of the thread's identifier in its control block (glibc 2.34 and later on x86-64): zero when it has ended, and
/// negative when it has also been joined.
const THREAD_ID: usize = 0x2d0;
/// Bytes of a control block, at least.
const THREAD_SIZE: u64 = 0x900;
/// AT_RANDOM of the auxiliary vector: 16 bytes that the kernel puts at the top of the first stack.
const AT_RANDOM: u64 = 25;

/// What holds a pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootKind {
    /// The writable data of a module.
    Data(String),
    /// The stack of a thread.
    Stack(u32),
    /// The TLS and control block of a thread.
    Tls(u32),
    /// A register of a thread.
    Register(u32),
    /// The thread vector that glibc keeps of a thread that has ended.
    EndedThread,
    /// Code that the program made while it ran.
    Code,
    /// A mapping that is shared or a file's.
    Mapping(String),
}

impl fmt::Display for RootKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data(module) => write!(f, "the data of {module}"),
            Self::Stack(tid) => write!(f, "the stack of thread {tid}"),
            Self::Tls(tid) => write!(f, "the TLS of thread {tid}"),
            Self::Register(tid) => write!(f, "a register of thread {tid}"),
            Self::EndedThread => write!(f, "the thread vector of a thread that has ended"),
            Self::Code => write!(f, "code that the program made"),
            Self::Mapping(name) => write!(f, "{name}"),
        }
    }
}

/// A range of root memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RootRange {
    pub(super) range: Range,
    pub(super) kind: RootKind,
    /// Bytes that cannot be read make the answer doubtful.
    pub(super) required: bool,
}

/// A value that may be a pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RootValue {
    pub(super) value: u64,
    pub(super) kind: RootKind,
}

/// Where a search begins.
#[derive(Debug, Default)]
pub(super) struct Roots {
    /// Memory that is alive.
    pub(super) ranges: Vec<RootRange>,
    /// Values of registers and the like.
    pub(super) values: Vec<RootValue>,
    /// Memory that is alive once something alive points into it: sorted, disjoint.
    pub(super) transit: Vec<Range>,
    /// What could not be had.
    pub(super) doubts: Vec<String>,
}

impl Roots {
    fn add(&mut self, range: Range, kind: RootKind, required: bool) {
        self.ranges.push(RootRange {
            range,
            kind,
            required,
        });
    }
}

/// A thread that has ended.
struct EndedThread {
    /// Its control block.
    block: u64,
    /// Its thread vector (DTV), which glibc keeps with the stack for the next thread.
    vector: u64,
    /// Nobody will ask what it returned.
    is_joined: bool,
}

/// A search for roots.
struct Search<'a> {
    scene: &'a Scene<'a>,
    roots: Roots,
    /// The library's memory, and the segments of modules.
    taken: RangeSet,
    /// Stacks and TLS.
    claimed: Vec<Range>,
    /// The first stack of the process.
    main_stack: Option<Range>,
}

/// Finds all roots.
pub(super) fn find(scene: &Scene<'_>) -> Roots {
    // What is left of the last page of a span is nobody's.
    let whole = |(start, end): Range| (start, end.checked_next_multiple_of(PAGE).unwrap_or(end));
    let spans = scene.heap.span_ranges().into_iter().map(whole);
    let own = RangeSet::new(spans.chain(library(scene)));
    let auxv = scene.target.auxv.iter();
    let random = auxv.clone().find(|entry| entry.0 == AT_RANDOM);
    let mut search = Search {
        scene,
        roots: Roots::default(),
        taken: own.clone(),
        claimed: Vec::new(),
        main_stack: random
            .and_then(|&(_, address)| scene.target.mapping_at(address))
            .map(|mapping| (mapping.start, mapping.end)),
    };
    search.modules(&own);
    for thread in &scene.target.threads {
        search.stack(thread);
    }
    for thread in &scene.target.threads {
        search.tls(thread);
    }
    search.taken.extend(std::mem::take(&mut search.claimed));
    search.mappings();
    search.code();
    let (segments, doubts) = program_memory(scene.heap);
    let mut roots = search.roots;
    roots.transit.extend(segments);
    roots.transit.sort_unstable();
    roots.doubts.extend(doubts);
    roots
}

/// Code and data of the allocator, which hold no pointer for the program.
fn library(scene: &Scene<'_>) -> Option<Range> {
    let root = &scene.heap.root;
    let [start, end] = root.record.library_range;
    if start < end {
        return Some((start, end));
    }
    let module = scene.target.module_at(root.address)?;
    let size = u64::from(root.record.root_size);
    let record = (root.address, root.address.saturating_add(size));
    Some(if module.is_program {
        record
    } else {
        (module.start, module.end)
    })
}

impl Search<'_> {
    /// Adds the writable segments of modules, and takes the ranges of all segments.
    fn modules(&mut self, own: &RangeSet) {
        for module in &self.scene.target.modules {
            for segment in &module.segments {
                let end = segment
                    .end
                    .checked_next_multiple_of(PAGE)
                    .unwrap_or(segment.end);
                self.taken.extend([(segment.start, end)]);
                if !segment.write {
                    continue;
                }
                // Pages of the file that were never written need not be in a core; bss must be.
                let file_end = segment.file_end.clamp(segment.start, end);
                for (range, required) in
                    [((segment.start, file_end), false), ((file_end, end), true)]
                {
                    for range in own.without(range) {
                        let kind = RootKind::Data(module.name.clone());
                        self.roots.add(range, kind, required);
                    }
                }
            }
        }
    }

    /// Adds the live part of a thread's stack, and its registers.
    fn stack(&mut self, thread: &Thread) {
        let tid = thread.tid;
        let Some(live) = self.scene.stacks.live(thread) else {
            let doubt = format!("the registers of thread {tid} could not be read");
            return self.roots.doubts.push(doubt);
        };
        let kind = RootKind::Register(tid);
        let values = live.registers.iter().map(|&value| RootValue {
            value,
            kind: kind.clone(),
        });
        self.roots.values.extend(values);
        let from = live.from & !7;
        let Some(piece) = self.piece_at(from) else {
            if self.taken.contains(from) {
                // It lies in a buffer, as that of a coroutine does.
                self.roots.values.push(RootValue {
                    value: live.from,
                    kind: RootKind::Stack(tid),
                });
            } else {
                let doubt = format!("the stack of thread {tid} is not mapped");
                self.roots.doubts.push(doubt);
            }
            return self.own_stack(thread, None);
        };
        self.roots.add((from, piece.1), RootKind::Stack(tid), true);
        self.claimed.push(piece);
        self.own_stack(thread, Some(piece));
    }

    /// The piece of a mapping that holds an address and is not taken.
    fn piece_at(&self, address: u64) -> Option<Range> {
        let mapping = self.scene.target.mapping_at(address)?;
        let pieces = self.taken.without((mapping.start, mapping.end));
        pieces
            .into_iter()
            .find(|piece| piece.0 <= address && address < piece.1)
    }

    /// Adds the stack that a thread was born with, if it runs on another one.
    fn own_stack(&mut self, thread: &Thread, running: Option<Range>) {
        let base = thread
            .registers
            .as_ref()
            .map_or(0, |registers| registers.fs_base);
        let holds = |piece: Range, address| piece.0 <= address && address < piece.1;
        let is_at_home = running.is_some_and(|running| {
            holds(running, base)
                || self
                    .main_stack
                    .is_some_and(|main| holds(running, main.1 - 1))
        });
        if is_at_home || base == 0 {
            return;
        }
        let own = match self.piece_at(base) {
            // A mapping too small for a stack holds the TLS of the main thread alone.
            Some(piece) if piece.1 - piece.0 > TLS_WHOLE => Some(piece),
            _ => self.main_stack.and_then(|main| self.piece_at(main.1 - 1)),
        };
        let Some(own) = own.filter(|own| !self.claimed.contains(own)) else {
            return;
        };
        let pointers = self.scene.stacks.pointers(thread);
        let from = pointers
            .into_iter()
            .find(|&sp| holds(own, sp))
            .unwrap_or(own.0);
        self.roots
            .add((from & !7, own.1), RootKind::Stack(thread.tid), false);
        self.claimed.push(own);
    }

    /// Adds the TLS of a thread, unless its stack covers it.
    fn tls(&mut self, thread: &Thread) {
        let base = thread
            .registers
            .as_ref()
            .map_or(0, |registers| registers.fs_base);
        let mut ranges = self.roots.ranges.iter();
        if base == 0 || ranges.any(|root| root.range.0 <= base && base < root.range.1) {
            return;
        }
        let kind = RootKind::Tls(thread.tid);
        if self.taken.contains(base) {
            return self.roots.values.push(RootValue { value: base, kind });
        }
        let Some((start, end)) = self.piece_at(base) else {
            let doubt = format!("the TLS of thread {} is not mapped", thread.tid);
            return self.roots.doubts.push(doubt);
        };
        let (below, above) = TLS_NEAR;
        let range = if end - start <= TLS_WHOLE {
            (start, end)
        } else {
            let near = base.saturating_sub(below) & !7;
            (start.max(near), end.min(base.saturating_add(above)))
        };
        self.roots.add(range, kind, true);
        self.claimed.push(range);
    }

    /// Adds what else is writable: as root where it is shared or a file's, else as transit.
    fn mappings(&mut self) {
        let mappings = self.scene.target.mappings.iter();
        for mapping in mappings.filter(|mapping| mapping.read && mapping.write) {
            for range in self.taken.without((mapping.start, mapping.end)) {
                if !is_anonymous(mapping) {
                    let name = mapping.name.clone();
                    let name = name.unwrap_or_else(|| "shared memory".to_owned());
                    self.roots.add(range, RootKind::Mapping(name), false);
                    continue;
                }
                let ended = self.ended_threads(range);
                if ended.is_empty() {
                    self.roots.transit.push(range);
                }
                for thread in ended {
                    self.roots.values.push(RootValue {
                        value: thread.vector,
                        kind: RootKind::EndedThread,
                    });
                    if !thread.is_joined {
                        let end = range.1.min(thread.block + THREAD_SIZE);
                        self.roots.transit.push((thread.block, end));
                    }
                }
            }
        }
    }

    /// Adds what code points to that the program made.
    fn code(&mut self) {
        let heap = self.scene.heap;
        let regions = RangeSet::new(
            heap.regions
                .iter()
                .map(|region| (region.base, region.end())),
        );
        let memory = heap.reader.memory();
        let mappings = self.scene.target.mappings.iter();
        let made = mappings.filter(|mapping| code::is_made(mapping));
        // Stacks may be executable; what is below their frames is dead.
        let ranges = made.flat_map(|mapping| self.taken.without((mapping.start, mapping.end)));
        for range in ranges.collect::<Vec<_>>() {
            let (found, is_cut) = code::pointers(memory, range, &regions, self.scene.cancel);
            let kind = RootKind::Code;
            let values = found.into_iter();
            let values = values.map(|value| RootValue {
                value,
                kind: kind.clone(),
            });
            self.roots.values.extend(values);
            if is_cut {
                let start = range.0;
                let doubt = format!("the code at {start:#x} points to more than can be kept");
                self.roots.doubts.push(doubt);
            }
        }
    }

    /// Threads that have ended and left their stack in a range: their control blocks. One stands at the top of a
    /// stack and points at itself twice; no living thread has it.
    fn ended_threads(&self, (start, end): Range) -> Vec<EndedThread> {
        let from = start.max(end.saturating_sub(STACK_TOP)) & !15;
        let mut bytes = vec![0; (end - from) as usize];
        let memory = &self.scene.target.memory;
        let got = memory.read(from, &mut bytes).min(bytes.len());
        let bytes = &bytes[..got];
        let word = |at: usize| u64::decode_at(bytes, at);
        let blocks = (0..bytes.len().saturating_sub(THREAD_ID + 8)).step_by(16);
        let blocks = blocks.filter(|&at| {
            let address = from + at as u64;
            word(at) == address && word(at + 0x10) == address && !self.is_live(address)
        });
        let mut ended: Vec<EndedThread> = blocks
            .map(|at| EndedThread {
                block: from + at as u64,
                vector: word(at + 8),
                is_joined: word(at + THREAD_ID) as u32 != 0,
            })
            .collect();
        ended.dedup_by(|next, block| next.block - block.block < THREAD_SIZE);
        ended
    }

    fn is_live(&self, base: u64) -> bool {
        let threads = self.scene.target.threads.iter();
        let mut registers = threads.filter_map(|thread| thread.registers.as_ref());
        registers.any(|registers| registers.fs_base == base)
    }
}

/// Private memory that belongs to no file.
fn is_anonymous(mapping: &Mapping) -> bool {
    let name = mapping.name.as_ref();
    !mapping.shared && name.is_none_or(|name| name.starts_with('['))
}
