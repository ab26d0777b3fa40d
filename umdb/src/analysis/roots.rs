//! Where a search for what is alive begins.
//!
//! 1. Writable segments of all modules with their bss, up to the end of the page (ld.so allocates there),
//!    except for the allocator's own.
//! 2. Each thread's live stack and registers. A stack that lies in a buffer keeps that buffer alive.
//! 3. Each thread's TLS, which lies around the address in fs: at the top of the thread's stack, or for the main
//!    thread in a small mapping of its own.
//! 4. Writable mappings of files and shared memory that belong to no module.
//! 5. Other private memory (of ld.so, of other allocators, the brk area) is *transit*: nothing there is a
//!    candidate, but where a live pointer leads into it, its pointers count. Stacks that glibc keeps of
//!    threads that have ended hold nothing alive but their thread vector, which is kept as well.

use umem_layout::Plain;

use super::ranges::{Range, RangeSet};
use crate::{
    heap::Heap,
    symbols::StackRoots,
    target::{Mapping, Target, Thread},
};

const PAGE: u64 = 4096;
/// A mapping around a TLS block that is larger than this is scanned only near the block.
const TLS_WHOLE: u64 = 1 << 20;
/// Bytes below and above fs that hold a static TLS block and the thread's control block.
const TLS_NEAR: (u64, u64) = (1 << 18, 1 << 14);
/// Bytes at the top of a stack in which glibc puts the thread's control block.
const STACK_TOP: u64 = 1 << 16;

/// A range of root memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RootRange {
    pub(super) range: Range,
    /// What it is, for messages.
    pub(super) what: String,
    /// Bytes that cannot be read make the answer doubtful.
    pub(super) required: bool,
}

/// Where a search begins.
#[derive(Debug, Default)]
pub(super) struct Roots {
    /// Memory that is alive.
    pub(super) ranges: Vec<RootRange>,
    /// Values of registers.
    pub(super) values: Vec<u64>,
    /// Memory that is alive once something alive points into it: sorted, disjoint.
    pub(super) transit: Vec<Range>,
    /// What could not be had.
    pub(super) doubts: Vec<String>,
}

/// What a search for roots works with.
pub(super) struct Input<'a> {
    pub(super) target: &'a Target,
    pub(super) heap: &'a Heap,
    /// What of a thread's stack and registers is alive.
    pub(super) live_stack: &'a dyn Fn(&Thread) -> Option<StackRoots>,
}

impl Input<'_> {
    /// Finds all roots.
    pub(super) fn roots(&self) -> Roots {
        let mut roots = Roots::default();
        let own = RangeSet::new(self.heap.span_ranges().into_iter().chain(self.library()));
        let modules = self.modules(&own, &mut roots);
        let mut taken = own.clone();
        taken.extend(modules);
        let mut claimed = Vec::new();
        for thread in &self.target.threads {
            self.stack(thread, &taken, &mut claimed, &mut roots);
        }
        for thread in &self.target.threads {
            self.tls(thread, &taken, &mut claimed, &mut roots);
        }
        taken.extend(claimed);
        self.mappings(&taken, &mut roots);
        roots
    }

    /// Code and data of the allocator, which hold no pointer for the program.
    fn library(&self) -> Option<Range> {
        let root = &self.heap.root;
        let [start, end] = root.record.library_range;
        if start < end {
            return Some((start, end));
        }
        let module = self.target.module_at(root.address)?;
        let record = (
            root.address,
            root.address
                .saturating_add(u64::from(root.record.root_size)),
        );
        Some(if module.is_program {
            record
        } else {
            (module.start, module.end)
        })
    }

    /// Adds the writable segments of modules, and returns the ranges of all segments.
    fn modules(&self, own: &RangeSet, roots: &mut Roots) -> Vec<Range> {
        let mut segments = Vec::new();
        for module in &self.target.modules {
            for segment in &module.segments {
                let end = segment
                    .end
                    .checked_next_multiple_of(PAGE)
                    .unwrap_or(segment.end);
                segments.push((segment.start, end));
                if !segment.write {
                    continue;
                }
                // Pages of the file that were never written need not be in a core; bss must be.
                let file_end = segment.file_end.clamp(segment.start, end);
                for (range, required) in
                    [((segment.start, file_end), false), ((file_end, end), true)]
                {
                    for range in own.without(range) {
                        let what = format!("the data of {}", module.name);
                        roots.ranges.push(RootRange {
                            range,
                            what,
                            required,
                        });
                    }
                }
            }
        }
        segments
    }

    /// Adds the live part of a thread's stack, and its registers.
    fn stack(
        &self,
        thread: &Thread,
        taken: &RangeSet,
        claimed: &mut Vec<Range>,
        roots: &mut Roots,
    ) {
        let Some(live) = (self.live_stack)(thread) else {
            let doubt = format!("the registers of thread {} could not be read", thread.tid);
            return roots.doubts.push(doubt);
        };
        roots.values.extend(&live.registers);
        let mapping = self.target.mapping_at(live.from);
        match mapping.map(|mapping| (mapping, taken.without((live.from & !7, mapping.end)))) {
            None => roots
                .doubts
                .push(format!("the stack of thread {} is not mapped", thread.tid)),
            Some((mapping, pieces)) => match pieces.first() {
                Some(&range) if range.0 == live.from & !7 => {
                    let what = format!("the stack of thread {}", thread.tid);
                    roots.ranges.push(RootRange {
                        range,
                        what,
                        required: true,
                    });
                    claimed.push((
                        mapping.start.max(piece_start(taken, mapping, range.0)),
                        range.1,
                    ));
                }
                // It lies in a buffer, as that of a coroutine does.
                _ => roots.values.push(live.from),
            },
        }
    }

    /// Adds the TLS of a thread, unless its stack covers it.
    fn tls(&self, thread: &Thread, taken: &RangeSet, claimed: &mut Vec<Range>, roots: &mut Roots) {
        let Some(base) = thread
            .registers
            .as_ref()
            .map(|registers| registers.fs_base)
            .filter(|&base| base != 0)
        else {
            return;
        };
        let is_covered = roots
            .ranges
            .iter()
            .any(|root| root.range.0 <= base && base < root.range.1);
        if is_covered {
            return;
        }
        if taken.contains(base) {
            return roots.values.push(base);
        }
        let Some(mapping) = self.target.mapping_at(base) else {
            return roots
                .doubts
                .push(format!("the TLS of thread {} is not mapped", thread.tid));
        };
        let piece = taken
            .without((mapping.start, mapping.end))
            .into_iter()
            .find(|r| r.0 <= base && base < r.1);
        let Some((start, end)) = piece else { return };
        let (below, above) = TLS_NEAR;
        let range = if end - start <= TLS_WHOLE {
            (start, end)
        } else {
            (
                start.max(base.saturating_sub(below) & !7),
                end.min(base.saturating_add(above)),
            )
        };
        let what = format!("the TLS of thread {}", thread.tid);
        roots.ranges.push(RootRange {
            range,
            what,
            required: true,
        });
        claimed.push(range);
    }

    /// Adds what else is writable: as root where it is shared or a file's, else as transit.
    fn mappings(&self, taken: &RangeSet, roots: &mut Roots) {
        for mapping in self
            .target
            .mappings
            .iter()
            .filter(|mapping| mapping.read && mapping.write)
        {
            for range in taken.without((mapping.start, mapping.end)) {
                if !is_anonymous(mapping) {
                    let what = mapping
                        .name
                        .clone()
                        .unwrap_or_else(|| "shared memory".to_owned());
                    roots.ranges.push(RootRange {
                        range,
                        what,
                        required: false,
                    });
                    continue;
                }
                let ended = self.ended_thread_vectors(range);
                if ended.is_empty() {
                    roots.transit.push(range);
                }
                roots.values.extend(ended);
            }
        }
        roots.transit.sort_unstable();
    }

    /// Where threads that have ended left their stack: what their control blocks have for thread vectors
    /// (DTV), which glibc keeps with the stack, for the next thread. A control block stands at the top of
    /// a stack and points at itself twice; no living thread has it.
    fn ended_thread_vectors(&self, (start, end): Range) -> Vec<u64> {
        let from = start.max(end.saturating_sub(STACK_TOP)) & !15;
        let mut bytes = vec![0; (end - from) as usize];
        let got = self.target.memory.read(from, &mut bytes).min(bytes.len());
        let bytes = &bytes[..got];
        let word = |at: usize| u64::decode_at(bytes, at);
        let blocks = (0..bytes.len().saturating_sub(0x18))
            .step_by(16)
            .filter(|&at| {
                let address = from + at as u64;
                word(at) == address && word(at + 0x10) == address && !self.is_live(address)
            });
        blocks.map(|at| word(at + 8)).collect()
    }

    fn is_live(&self, base: u64) -> bool {
        let mut registers = self
            .target
            .threads
            .iter()
            .filter_map(|thread| thread.registers.as_ref());
        registers.any(|registers| registers.fs_base == base)
    }
}

/// Private memory that belongs to no file.
fn is_anonymous(mapping: &Mapping) -> bool {
    !mapping.shared
        && mapping
            .name
            .as_ref()
            .is_none_or(|name| name.starts_with('['))
}

/// Where the piece of a mapping that holds an address begins.
fn piece_start(taken: &RangeSet, mapping: &Mapping, address: u64) -> u64 {
    let pieces = taken.without((mapping.start, mapping.end));
    pieces
        .iter()
        .find(|piece| piece.0 <= address && address < piece.1)
        .map_or(address, |piece| piece.0)
}
