//! Marking what is alive.
//!
//! Conservative: every aligned word whose value lies in an allocated buffer keeps it alive, whether it
//! points at the start or into the middle; one past the end does not count. Work is queued by slab, so
//! that a slab with many marked buffers is read once; within a slab it goes on until nothing new is
//! marked. Each buffer is scanned once, so that the work is bounded by the heap.

use std::{borrow::Cow, collections::VecDeque};

use umem_layout::{Plain, buffer_state};

use super::{
    Cancel, Cancelled,
    ranges::{Range, index_at},
    roots::{RootRange, Roots},
};
use crate::heap::{ADDRESS_END, Buffer, Heap, Object};

const PAGE: u64 = 4096;
/// Bytes that are read at once.
const PIECE: u64 = 1 << 18;
/// A hole is crossed in steps of this part of what it measures already.
const HOLE_STEPS: u64 = 256;
/// To read a small piece takes as long as to read so many bytes more of a large one.
const READ_COST: u64 = 8192;

/// What was done, for `-v`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Buffers and blocks that may be lost.
    pub candidates: u64,
    /// Words that were looked at.
    pub words: u64,
    /// Values outside of everything.
    pub dismissals: u64,
    /// Values between, but in nothing allocated.
    pub misses: u64,
    /// Values in something marked before.
    pub dups: u64,
    /// Values that marked something.
    pub follows: u64,
    /// Bytes of roots that were read.
    pub root_bytes: u64,
    /// Bytes of live buffers that were read.
    pub heap_bytes: u64,
    /// Bytes that were needed and could not be read.
    pub unread: u64,
}

/// One bit a number.
struct Bits(Vec<u64>);

impl Bits {
    fn new(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)])
    }

    fn get(&self, number: usize) -> bool {
        self.0[number / 64] >> (number % 64) & 1 != 0
    }

    /// Sets a bit and returns whether it was clear.
    fn set(&mut self, number: usize) -> bool {
        let (word, bit) = (&mut self.0[number / 64], 1 << (number % 64));
        let was_clear = *word & bit == 0;
        *word |= bit;
        was_clear
    }

    fn clear(&mut self, number: usize) {
        self.0[number / 64] &= !(1 << (number % 64));
    }
}

/// The state of a search. Numbers: buffers as in the heap model, then blocks, then transit ranges.
/// Work: slabs, then blocks, then transit ranges.
pub(super) struct Marker<'a> {
    heap: &'a Heap,
    transit: &'a [Range],
    marked: Bits,
    scanned: Bits,
    queue: VecDeque<usize>,
    queued: Bits,
    /// Outside of this nothing can be marked.
    bounds: Range,
    pub(super) stats: Stats,
    /// What could not be read: one line each kind.
    pub(super) doubts: Vec<String>,
    bytes: Vec<u8>,
    cancel: &'a Cancel,
}

impl<'a> Marker<'a> {
    pub(super) fn new(heap: &'a Heap, transit: &'a [Range], cancel: &'a Cancel) -> Self {
        let others = heap.blocks.len() + transit.len();
        Self {
            heap,
            transit,
            marked: Bits::new(heap.buffer_numbers() + others),
            scanned: Bits::new(heap.buffer_numbers() + others),
            queue: VecDeque::new(),
            queued: Bits::new(heap.slabs.len() + others),
            bounds: bounds(heap, transit),
            stats: Stats::default(),
            doubts: Vec::new(),
            bytes: Vec::new(),
            cancel,
        }
    }

    /// Marks all that the roots lead to.
    pub(super) fn run(&mut self, roots: &Roots) -> Result<(), Cancelled> {
        for &value in &roots.values {
            self.consider(value);
        }
        for root in &roots.ranges {
            self.cancel.check()?;
            self.scan_root(root);
        }
        while let Some(work) = self.queue.pop_front() {
            self.cancel.check()?;
            self.queued.clear(work);
            self.scan_work(work);
        }
        self.cancel.check()?;
        if self.stats.unread > 0 && self.doubts.is_empty() {
            self.doubts.push(format!(
                "{} bytes of live memory could not be read",
                self.stats.unread
            ));
        }
        Ok(())
    }

    /// Whether something was marked.
    pub(super) fn is_marked(&self, object: Object) -> bool {
        self.marked.get(match object {
            Object::Buffer(buffer) => self.heap.number(buffer),
            Object::Block(index) => self.block_number(index),
        })
    }

    fn block_number(&self, index: u32) -> usize {
        self.heap.buffer_numbers() + index as usize
    }

    fn transit_number(&self, index: usize) -> usize {
        self.heap.buffer_numbers() + self.heap.blocks.len() + index
    }

    /// Looks at one word.
    fn consider(&mut self, word: u64) {
        self.stats.words += 1;
        if word < self.bounds.0 || word >= self.bounds.1 {
            self.stats.dismissals += 1;
            return;
        }
        match self.number_and_work(word) {
            None => self.stats.misses += 1,
            Some((number, work)) => {
                if !self.marked.set(number) {
                    self.stats.dups += 1;
                    return;
                }
                self.stats.follows += 1;
                if self.queued.set(work) {
                    self.queue.push_back(work);
                }
            }
        }
    }

    /// What a pointer marks, and where its memory is to be scanned.
    fn number_and_work(&self, word: u64) -> Option<(usize, usize)> {
        if let Some(slab) = self.heap.slab_at(word) {
            let (index, offset) = self.heap.slabs[slab as usize].chunk_at(word)?;
            let buffer = Buffer { slab, index };
            return self
                .is_hit(buffer, offset)
                .then(|| (self.heap.number(buffer), slab as usize));
        }
        let slabs = self.heap.slabs.len();
        if let Some(index) = self.heap.block_at(word) {
            let block = self.heap.block(index);
            let is_hit = block.state == buffer_state::ALLOCATED
                && word >= block.buffer
                && word - block.buffer < block.requested.max(1);
            return is_hit.then(|| (self.block_number(index), slabs + index as usize));
        }
        let index = index_at(self.transit, word)?;
        Some((
            self.transit_number(index),
            slabs + self.heap.blocks.len() + index,
        ))
    }

    /// Whether an offset in a chunk is one in what the program holds.
    fn is_hit(&self, buffer: Buffer, offset: u64) -> bool {
        let cache = self.heap.cache(buffer);
        if self.heap.state(buffer) != buffer_state::ALLOCATED || !cache.is_user() {
            return false;
        }
        if offset == 0 || self.marked.get(self.heap.number(buffer)) {
            return true;
        }
        offset < cache.record.buffer_size && offset < self.heap.size(Object::Buffer(buffer)).max(1)
    }

    fn scan_root(&mut self, root: &RootRange) {
        let (read, unread) = self.scan(root.range);
        self.stats.root_bytes += read;
        if root.required && unread > 0 {
            self.stats.unread += unread;
            self.doubts
                .push(format!("{unread} bytes of {} could not be read", root.what));
        }
    }

    fn scan_work(&mut self, work: usize) {
        let slabs = self.heap.slabs.len();
        let blocks = self.heap.blocks.len();
        if work < slabs {
            self.scan_slab(work as u32);
        } else if work < slabs + blocks {
            let index = (work - slabs) as u32;
            let block = self.heap.block(index);
            let range = (block.buffer, block.buffer + block.requested);
            self.scan_once(self.block_number(index), range);
        } else {
            let index = work - slabs - blocks;
            self.scan_once(self.transit_number(index), self.transit[index]);
        }
    }

    fn scan_once(&mut self, number: usize, range: Range) {
        if self.scanned.set(number) {
            let (read, unread) = self.scan(range);
            self.stats.heap_bytes += read;
            self.stats.unread += unread;
        }
    }

    /// Scans the marked buffers of a slab until there are no new ones.
    ///
    /// The first few are read one by one; when there are more, the slab is read as a whole: a list
    /// may lead through all of its buffers, one after the other.
    fn scan_slab(&mut self, index: u32) {
        let heap = self.heap;
        let slab = &heap.slabs[index as usize];
        let size = heap.caches[slab.cache as usize].record.buffer_size;
        let used = (slab.base, slab.buffer(slab.carved));
        let few = (used.1 - used.0) / READ_COST;
        let mut count = 0;
        let mut whole = None;
        loop {
            let pending = self.pending(slab.first, slab.carved);
            if pending.is_empty() {
                return;
            }
            count += pending.len() as u64;
            if whole.is_none() && count > few {
                whole = Some(self.whole(used));
            }
            for chunk in pending {
                let start = slab.buffer(chunk);
                let from = (start - used.0) as usize;
                self.scanned.set(slab.first + chunk as usize);
                let (read, unread) = match &whole {
                    Some(Some(bytes)) => (self.scan_bytes(&bytes[from..from + size as usize]), 0),
                    _ => self.scan((start, start + size)),
                };
                self.stats.heap_bytes += read;
                self.stats.unread += unread;
            }
        }
    }

    /// Indices of the buffers of a slab that are marked and not scanned.
    fn pending(&self, first: usize, count: u32) -> Vec<u32> {
        let mut pending = Vec::new();
        for word in 0..(count as usize).div_ceil(64) {
            let mut bits = self.marked.0[first / 64 + word] & !self.scanned.0[first / 64 + word];
            while bits != 0 {
                pending.push(word as u32 * 64 + bits.trailing_zeros());
                bits &= bits - 1;
            }
        }
        pending.retain(|&index| index < count);
        pending
    }

    /// All bytes of a range, where they can be had and are not too many.
    fn whole(&self, (start, end): Range) -> Option<Cow<'a, [u8]>> {
        let length = usize::try_from(end - start)
            .ok()
            .filter(|&length| length as u64 <= PIECE * 16)?;
        if let Some(view) = self.heap.reader.memory().view(start, length) {
            return Some(Cow::Borrowed(view));
        }
        let mut bytes = vec![0; length];
        (self.heap.reader.fill(start, &mut bytes) == length).then_some(Cow::Owned(bytes))
    }

    /// Looks at every aligned word of a range. Returns the bytes that could and could not be read.
    ///
    /// A long hole is crossed in growing steps, so that a range of absurd length has an end.
    fn scan(&mut self, (start, end): Range) -> (u64, u64) {
        let (mut read, mut unread) = (0, 0);
        let (start, end) = (start.min(ADDRESS_END), end.min(ADDRESS_END));
        let mut at = start.next_multiple_of(8);
        let mut hole = 0;
        let mut bytes = std::mem::take(&mut self.bytes);
        while at < end && !self.cancel.is_requested() {
            let wanted = (end - at).min(PIECE) as usize;
            bytes.resize(wanted, 0);
            let got = self.heap.reader.fill(at, &mut bytes) as u64;
            read += self.scan_bytes(&bytes[..got as usize]);
            at += got;
            if (got as usize) < wanted {
                hole = if got == 0 { hole } else { 0 };
                let step = PAGE.max(hole / HOLE_STEPS).next_multiple_of(PAGE);
                let next = (at + 1)
                    .next_multiple_of(PAGE)
                    .saturating_add(step - PAGE)
                    .min(end);
                unread += next - at;
                hole += next - at;
                at = next;
            }
            at = at.next_multiple_of(8);
        }
        self.bytes = bytes;
        (read, unread)
    }

    fn scan_bytes(&mut self, bytes: &[u8]) -> u64 {
        for word in bytes.chunks_exact(8) {
            self.consider(u64::decode_at(word, 0));
        }
        bytes.len() as u64
    }
}

/// The least range that holds all slabs, blocks and transit ranges.
fn bounds(heap: &Heap, transit: &[Range]) -> Range {
    let slabs = heap.slabs.iter().map(|slab| (slab.start, slab.end));
    let blocks = heap.blocks.iter().map(|block| (block.start, block.end));
    let all = slabs.chain(blocks).chain(transit.iter().copied());
    all.fold((u64::MAX, 0), |(start, end), range| {
        (start.min(range.0), end.max(range.1))
    })
}
