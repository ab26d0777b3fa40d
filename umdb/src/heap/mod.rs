//! The heap of a target as an immutable model.
//!
//! **Owns** what the published structures mean: which buffer lies where, which are allocated, who holds them.
//! **May use** `target`, `symbols`, `layout`. **Promises** that loading ends and gives what is readable; what is not is
//! in [`Heap::damage`]. Structures with one entry a slab are decoded once; what there is one of for each
//! buffer stays in the target, except for one byte of state, and is read on demand.
//!
//! ```text
//! address ── region ── unit ── slab ── (address - base) / chunk size ── Buffer { slab, index }
//!                         └─── arena of blocks ── Block
//! ```
//!
//! Buffers are also numbered through (`Slab::first + index`), so that analyses keep bitmaps; numbers of a
//! slab begin at a multiple of 64.

mod blocks;
mod caches;
mod clock;
mod counts;
mod history;
mod magazines;
mod modules;
mod object;
mod recent;
mod records;
mod samples;
mod segments;
mod slabs;

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use umem_layout::{MessageRing, Span, Thread};

use crate::{
    layout::{Damage, Listed, Reader, Root},
    target::Memory,
};
pub use blocks::{Block, Gap};
pub use caches::{Arena, Cache};
pub use clock::ClockView;
pub use counts::Counts;
pub use history::{Event, LogView, StackTrace};
pub use magazines::Held;
pub use modules::Era;
pub use object::{Buffer, Location, Object};
pub use segments::{Branch, PieceOfArena};
pub use slabs::{Region, Slab};

/// Damages that are kept; more are only counted.
const DAMAGE_MAX: usize = 64;

/// No address of a program is as large as this.
pub const ADDRESS_END: u64 = 1 << 56;

/// State of buffers whose slab does not tell.
pub const STATE_UNKNOWN: u8 = 0xff;

/// The heap of a target.
pub struct Heap {
    /// The root record.
    pub root: Root,
    /// Reads published structures.
    pub reader: Reader,
    /// Caches in order of creation.
    pub caches: Vec<Cache>,
    /// Arenas in order of creation.
    pub arenas: Vec<Arena>,
    /// Regions in order of address.
    pub regions: Vec<Region>,
    /// Slabs in order of address.
    pub slabs: Vec<Slab>,
    /// Allocated blocks in order of address.
    pub blocks: Vec<Block>,
    /// Free pieces of arenas of blocks in order of address.
    pub gaps: Vec<Gap>,
    /// Mappings of the library.
    pub spans: Vec<Span>,
    /// Threads that have used the allocator, with the addresses of their records.
    pub threads: Vec<(u64, Thread)>,
    /// The magazines that threads have used, in order of cache, then of thread.
    pub held: Vec<Held>,
    /// What times mean.
    pub clock: ClockView,
    /// What is wrong with the published structures.
    pub damage: DamageList,
    /// [`umem_layout::buffer_state`] of each buffer, by number.
    states: Vec<u8>,
    /// Index in `caches` by address.
    cache_index: HashMap<u64, u32>,
    /// Made when it is first needed.
    record_index: OnceLock<records::RecordIndex>,
    /// What was read last.
    recent: recent::Recent,
    /// The logs, read when they are first needed.
    logs: OnceLock<(Vec<LogView>, Option<Damage>)>,
    /// The history of modules, read when it is first needed.
    modules: OnceLock<(Vec<Era>, Option<Damage>)>,
    /// Pieces of each arena, read when they are first needed.
    pieces: OnceLock<Vec<Vec<PieceOfArena>>>,
}

/// Damages, and how many more there were.
#[derive(Debug, Clone, Default)]
pub struct DamageList {
    /// The first ones.
    pub kept: Vec<Damage>,
    /// Those not kept.
    pub more: usize,
}

impl DamageList {
    /// Adds one.
    pub fn add(&mut self, damage: Damage) {
        if self.kept.len() < DAMAGE_MAX {
            self.kept.push(damage);
        } else {
            self.more += 1;
        }
    }

    /// There is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Keeps the elements of a list and notes what cut it.
    fn listed<T>(&mut self, list: Listed<T>) -> Vec<(u64, T)> {
        list.damage.into_iter().for_each(|damage| self.add(damage));
        list.elements
    }
}

impl Heap {
    /// Decodes the heap that a root record describes, as far as it can be read.
    #[must_use]
    pub fn load(memory: Arc<dyn Memory>, root: Root) -> Self {
        let reader = root.reader(memory);
        let clock = ClockView::new(&root.record.clock);
        let mut heap = Self {
            clock,
            reader,
            caches: Vec::new(),
            arenas: Vec::new(),
            regions: Vec::new(),
            slabs: Vec::new(),
            blocks: Vec::new(),
            gaps: Vec::new(),
            spans: Vec::new(),
            threads: Vec::new(),
            held: Vec::new(),
            damage: DamageList::default(),
            states: Vec::new(),
            cache_index: HashMap::new(),
            record_index: OnceLock::new(),
            recent: recent::Recent::default(),
            logs: OnceLock::new(),
            modules: OnceLock::new(),
            pieces: OnceLock::new(),
            root,
        };
        heap.load_spans();
        heap.load_caches();
        heap.load_arenas();
        heap.load_slabs();
        heap.load_blocks();
        heap.load_threads();
        heap.load_magazines();
        heap.check_totals();
        heap
    }

    fn load_spans(&mut self) {
        let list = self
            .reader
            .list(self.root.record.spans, |span: &Span| span.next, |_| None);
        self.spans = self
            .damage
            .listed(list)
            .into_iter()
            .map(|(_, span)| span)
            .collect();
    }

    fn load_threads(&mut self) {
        let list = self.reader.list(
            self.root.record.threads,
            |thread: &Thread| thread.next,
            |_| None,
        );
        self.threads = self.damage.listed(list);
    }

    /// The text of errors and warnings, oldest first, and whether its beginning is lost.
    pub fn messages(&self) -> Result<(Vec<u8>, bool), Damage> {
        let MessageRing {
            base,
            size,
            written,
        } = self.root.record.messages;
        let kept = written.min(size);
        if kept == 0 {
            return Ok((Vec::new(), false));
        }
        if size > 1 << 24 {
            let detail = format!("{size} bytes are no size of a ring");
            return Err(Damage::Implausible {
                what: "the message ring".into(),
                address: base,
                detail,
            });
        }
        let mut bytes = self.reader.bytes("the message ring", base, size as usize)?;
        let wrapped = written > size;
        if wrapped {
            bytes.rotate_left((written % size) as usize);
        } else {
            bytes.truncate(kept as usize);
        }
        Ok((bytes, wrapped))
    }

    /// Whether an address lies in a region of the library.
    #[must_use]
    pub fn is_own(&self, address: u64) -> bool {
        let after = self
            .regions
            .partition_point(|region| region.base <= address);
        let region = after
            .checked_sub(1)
            .and_then(|index| self.regions.get(index));
        region.is_some_and(|region| address < region.end())
    }

    /// The spans in which addresses are the library's own, heap included: sorted, disjoint.
    #[must_use]
    pub fn span_ranges(&self) -> Vec<(u64, u64)> {
        let spans = self
            .spans
            .iter()
            .map(|span| (span.base, span.base.saturating_add(span.size)));
        let regions = self
            .regions
            .iter()
            .map(|region| (region.base, region.end()));
        let mut ranges: Vec<(u64, u64)> = spans
            .chain(regions)
            .filter(|(start, end)| start < end)
            .collect();
        ranges.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::new();
        for (start, end) in ranges {
            match merged.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => merged.push((start, end)),
            }
        }
        merged
    }
}

/// The text before the first zero byte.
pub(crate) fn name_of(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
pub(crate) mod synthetic;
#[cfg(test)]
mod tests;
