//! What can be marked, and what has been.
//!
//! Each buffer, block and transit range has a number: buffers as in the heap model, then blocks, then transit
//! ranges. Four bits of state a number stand side by side, so that a pointer costs one cache line. Work is counted in
//! units: a slab, a block, or a transit range.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use umem_layout::{buffer_state, policy};

use super::ranges::{Range, index_at};
use crate::heap::{Buffer, Cache, Heap, Object, Slab};

/// Something that may hold pointers: allocated and the program's, and so perhaps lost; or transit.
pub(super) const CANDIDATE: u64 = 1;
/// Something alive points into it.
pub(super) const MARKED: u64 = 2;
/// Something alive points at its start.
pub(super) const START: u64 = 4;
/// Its words were looked at.
pub(super) const SCANNED: u64 = 8;
/// Bits of a number, and numbers in a word.
const WIDTH: usize = 4;
const PER_WORD: usize = 64 / WIDTH;
/// Numbers of a group, which are scanned together.
pub(super) const GROUP: usize = 1024;
/// The lowest bit of each number.
const LANES: u64 = 0x1111_1111_1111_1111;

/// Where a pointer leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hit {
    /// Number of what it leads to.
    pub(super) node: usize,
    /// Unit that holds it.
    pub(super) unit: usize,
    /// Index of the chunk in a slab, else zero.
    pub(super) index: u32,
    /// Bytes from its start.
    pub(super) offset: u64,
}

/// What a look-up needs of a slab.
#[derive(Clone, Copy)]
struct Row {
    base: u64,
    /// 2^64 / chunk, rounded up.
    magic: u64,
    chunk: u64,
    /// Bytes of all chunks that were ever handed out; zero where none is the program's.
    span: u64,
    first: usize,
    /// Bytes of a chunk that the program may use.
    room: u64,
    /// Bytes that belong to any buffer of it, whatever was asked for: smaller requests have a smaller size class.
    sure: u64,
}

impl Row {
    /// Index and offset of a distance below `span`. Exact while distance times chunk is below 2^64.
    #[inline]
    fn divide(&self, distance: u64) -> (u64, u64) {
        let index = if self.magic == 0 {
            distance / self.chunk
        } else {
            ((u128::from(distance) * u128::from(self.magic)) >> 64) as u64
        };
        (index, distance - index * self.chunk)
    }
}

/// What can be marked.
pub(super) struct Nodes<'a> {
    pub(super) heap: &'a Heap,
    /// Memory that is alive once something alive points into it: sorted, disjoint.
    pub(super) transit: Vec<Range>,
    rows: Vec<Row>,
    bits: Bits,
    /// Outside of this there is nothing to be marked.
    bounds: Range,
    /// The slabs lie in this; look-ups elsewhere need not ask for them.
    slab_bounds: Range,
}

/// The bits of all numbers.
#[derive(Debug, Default)]
pub(super) struct Bits(Vec<AtomicU64>);

impl Bits {
    fn new(count: usize) -> Self {
        let words = count.div_ceil(PER_WORD);
        Self((0..words).map(|_| AtomicU64::new(0)).collect())
    }

    #[inline]
    pub(super) fn get(&self, node: usize) -> u64 {
        self.0[node / PER_WORD].load(Relaxed) >> (node % PER_WORD * WIDTH) & 15
    }

    /// Sets bits, and returns what was set before.
    #[inline]
    fn set(&self, node: usize, bits: u64) -> u64 {
        let shift = node % PER_WORD * WIDTH;
        self.0[node / PER_WORD].fetch_or(bits << shift, Relaxed) >> shift & 15
    }

    /// Clears bits of all numbers of a run.
    fn clear(&self, first: usize, count: u32, bits: u64) {
        let words = first / PER_WORD..(first + count as usize).div_ceil(PER_WORD);
        for word in &self.0[words] {
            word.fetch_and(!(LANES * bits), Relaxed);
        }
    }

    /// Lists the numbers of a run that have all bits of `with` and none of `without`, relative to the run's first,
    /// which is a multiple of 64.
    pub(super) fn select(
        &self,
        first: usize,
        count: u32,
        with: u64,
        without: u64,
        out: &mut Vec<u32>,
    ) {
        out.clear();
        let words = first / PER_WORD..(first + count as usize).div_ceil(PER_WORD);
        for (i, word) in self.0[words].iter().enumerate() {
            let word = word.load(Relaxed);
            let mut lanes = LANES;
            for bit in 0..WIDTH {
                if with >> bit & 1 != 0 {
                    lanes &= word >> bit;
                }
                if without >> bit & 1 != 0 {
                    lanes &= !(word >> bit);
                }
            }
            while lanes != 0 {
                let index = (i * PER_WORD) as u32 + lanes.trailing_zeros() / WIDTH as u32;
                if index < count {
                    out.push(index);
                }
                lanes &= lanes - 1;
            }
        }
    }
}

impl<'a> Nodes<'a> {
    /// Everything in a heap, and transit ranges that overlap none of it.
    pub(super) fn new(heap: &'a Heap, transit: Vec<Range>) -> Self {
        let sure = sure_sizes(heap);
        let slabs = heap.slabs.iter();
        let rows = slabs
            .map(|slab| row(heap, slab, sure[slab.cache as usize]))
            .collect();
        let slabs = heap.slabs.iter().map(|slab| (slab.start, slab.end));
        let slab_bounds = bounds(slabs);
        let blocks = heap.blocks.iter().map(|block| (block.start, block.end));
        let others = bounds(blocks.chain(transit.iter().copied()));
        let nodes = Self {
            heap,
            rows,
            bits: Bits::new(heap.buffer_numbers() + heap.blocks.len() + transit.len()),
            bounds: (slab_bounds.0.min(others.0), slab_bounds.1.max(others.1)),
            slab_bounds,
            transit,
        };
        nodes.find_candidates();
        nodes
    }

    fn find_candidates(&self) {
        let heap = self.heap;
        for slab in &heap.slabs {
            if !heap.caches[slab.cache as usize].is_user() {
                continue;
            }
            let states = heap.states_of(slab).iter().take(slab.carved as usize);
            for (index, &state) in states.enumerate() {
                if state == buffer_state::ALLOCATED {
                    self.bits.set(slab.first + index, CANDIDATE);
                }
            }
        }
        for (index, block) in heap.blocks.iter().enumerate() {
            let is_user = heap.arenas[block.arena as usize].holds_user_blocks();
            if is_user && block.state == buffer_state::ALLOCATED {
                self.bits.set(self.first_block() + index, CANDIDATE);
            }
        }
        for index in 0..self.transit.len() {
            self.bits.set(self.first_transit() + index, CANDIDATE);
        }
    }

    fn first_block(&self) -> usize {
        self.heap.buffer_numbers()
    }

    fn first_transit(&self) -> usize {
        self.first_block() + self.heap.blocks.len()
    }

    /// One more than the largest number.
    pub(super) fn count(&self) -> usize {
        self.first_transit() + self.transit.len()
    }

    /// How many units there are.
    pub(super) fn units(&self) -> usize {
        self.heap.slabs.len() + self.heap.blocks.len() + self.transit.len()
    }

    /// A value that cannot be a pointer to anything.
    #[inline]
    pub(super) const fn is_dismissed(&self, word: u64) -> bool {
        word.wrapping_sub(self.bounds.0) >= self.bounds.1.wrapping_sub(self.bounds.0)
    }

    /// Where a pointer leads, if it leads to a candidate or into transit.
    #[inline]
    pub(super) fn find(&self, word: u64) -> Option<Hit> {
        if word.wrapping_sub(self.slab_bounds.0) < self.slab_bounds.1 - self.slab_bounds.0
            && let Some(slab) = self.heap.slab_at(word)
        {
            return self.find_in_slab(slab as usize, word);
        }
        self.find_other(word)
    }

    #[inline]
    fn find_in_slab(&self, unit: usize, word: u64) -> Option<Hit> {
        let row = &self.rows[unit];
        let distance = word.wrapping_sub(row.base);
        if distance >= row.span {
            return None;
        }
        let (index, offset) = row.divide(distance);
        let node = row.first + index as usize;
        let bits = self.bits.get(node);
        if bits & CANDIDATE == 0 || offset >= row.room.max(1) {
            return None;
        }
        let index = index as u32;
        // What lies behind the bytes that were asked for is no part of the buffer.
        let buffer = Buffer {
            slab: unit as u32,
            index,
        };
        let is_hit = offset == 0
            || offset < row.sure
            || bits & MARKED != 0
            || offset < self.heap.size(Object::Buffer(buffer)).max(1);
        is_hit.then_some(Hit {
            node,
            unit,
            index,
            offset,
        })
    }

    fn find_other(&self, word: u64) -> Option<Hit> {
        let slabs = self.heap.slabs.len();
        if let Some(index) = self.heap.block_at(word) {
            let block = self.heap.block(index);
            let offset = word.checked_sub(block.buffer)?;
            let node = self.first_block() + index as usize;
            let is_hit = self.bits.get(node) & CANDIDATE != 0 && offset < block.requested.max(1);
            let unit = slabs + index as usize;
            return is_hit.then_some(Hit {
                node,
                unit,
                index: 0,
                offset,
            });
        }
        let index = index_at(&self.transit, word)?;
        Some(Hit {
            node: self.first_transit() + index,
            unit: slabs + self.heap.blocks.len() + index,
            index: 0,
            offset: word - self.transit[index].0,
        })
    }

    /// The bits of all numbers.
    pub(super) fn into_bits(self) -> Bits {
        self.bits
    }

    /// The bits of a number.
    #[inline]
    pub(super) fn get(&self, node: usize) -> u64 {
        self.bits.get(node)
    }

    /// Sets bits of a number, and returns what was set before.
    #[inline]
    pub(super) fn set(&self, node: usize, bits: u64) -> u64 {
        self.bits.set(node, bits)
    }

    /// Indices within a unit of what has all bits of `with` and none of `without`.
    pub(super) fn select(&self, unit: usize, with: u64, without: u64, out: &mut Vec<u32>) {
        match self.heap.slabs.get(unit) {
            Some(slab) => self
                .bits
                .select(slab.first, slab.carved, with, without, out),
            None => {
                out.clear();
                let bits = self.bits.get(self.node(unit, 0));
                if bits & with == with && bits & without == 0 {
                    out.push(0);
                }
            }
        }
    }

    /// For each word of bits, how many numbers before it have a bit.
    pub(super) fn before(&self, bit: u64) -> Vec<u32> {
        let mut count = 0;
        let words = self.bits.0.iter().map(|word| {
            let before = count;
            count += ((word.load(Relaxed) / bit) & LANES).count_ones();
            before
        });
        words.collect()
    }

    /// How many numbers below this one have a bit, with what [`Self::before`] gave for it.
    #[inline]
    pub(super) fn rank(&self, before: &[u32], node: usize, bit: u64) -> u32 {
        let word = (self.bits.0[node / PER_WORD].load(Relaxed) / bit) & LANES;
        let below = word & ((1 << (node % PER_WORD * WIDTH)) - 1);
        before[node / PER_WORD] + below.count_ones()
    }

    /// The number with a bit before which so many numbers have it, with what [`Self::before`] gave for it.
    pub(super) fn at_rank(&self, before: &[u32], rank: u32, bit: u64) -> usize {
        let after = before.partition_point(|&before| before <= rank);
        let index = after.saturating_sub(1);
        let word = self.bits.0.get(index);
        let mut lanes = word.map_or(0, |word| (word.load(Relaxed) / bit) & LANES);
        for _ in before.get(index).map_or(0, |&before| before)..rank {
            lanes &= lanes.wrapping_sub(1);
        }
        index * PER_WORD + lanes.trailing_zeros() as usize / WIDTH
    }

    /// What is marked in a group and not scanned; from now on it is.
    pub(super) fn take_pending(&self, group: usize, pending: &mut Vec<usize>) {
        pending.clear();
        let first = group * (GROUP / PER_WORD);
        let last = self.bits.0.len().min(first + GROUP / PER_WORD);
        for i in first..last {
            let word = self.bits.0[i].load(Relaxed);
            let mut lanes = (word / MARKED) & !(word / SCANNED) & LANES;
            if lanes == 0 {
                continue;
            }
            self.bits.0[i].fetch_or(lanes * SCANNED, Relaxed);
            while lanes != 0 {
                pending.push(i * PER_WORD + lanes.trailing_zeros() as usize / WIDTH);
                lanes &= lanes - 1;
            }
        }
    }

    /// Notes that what is marked is scanned elsewhere.
    pub(super) fn set_scanned(&self, node: usize) {
        self.bits.set(node, SCANNED);
    }

    /// Clears bits of all that is in a unit.
    pub(super) fn clear_unit(&self, unit: usize, bits: u64) {
        match self.heap.slabs.get(unit) {
            Some(slab) => self.bits.clear(slab.first, slab.carved, bits),
            None => {
                let node = self.node(unit, 0);
                let shift = node % PER_WORD * WIDTH;
                self.bits.0[node / PER_WORD].fetch_and(!(bits << shift), Relaxed);
            }
        }
    }

    /// Number of something by its unit, and index in it.
    pub(super) fn node(&self, unit: usize, index: u32) -> usize {
        match self.heap.slabs.get(unit) {
            Some(slab) => slab.first + index as usize,
            None => self.first_block() + (unit - self.heap.slabs.len()),
        }
    }

    /// Unit and index of a number.
    pub(super) fn place(&self, node: usize) -> (usize, u32) {
        if node >= self.first_block() {
            return (self.heap.slabs.len() + node - self.first_block(), 0);
        }
        let after = self.heap.slabs.partition_point(|slab| slab.first <= node);
        let unit = after.saturating_sub(1);
        let first = self.heap.slabs.get(unit).map_or(0, |slab| slab.first);
        (unit, (node - first) as u32)
    }

    /// The object with a number; none for transit.
    pub(super) fn object(&self, node: usize) -> Option<Object> {
        let (unit, index) = self.place(node);
        self.object_at(unit, index)
    }

    /// The object at an index of a unit; none for transit.
    pub(super) fn object_at(&self, unit: usize, index: u32) -> Option<Object> {
        let slabs = self.heap.slabs.len();
        if unit < slabs {
            let slab = unit as u32;
            return Some(Object::Buffer(Buffer { slab, index }));
        }
        let block = unit - slabs;
        (block < self.heap.blocks.len()).then_some(Object::Block(block as u32))
    }

    /// Number of an object.
    pub(super) fn number(&self, object: Object) -> usize {
        match object {
            Object::Buffer(buffer) => self.heap.number(buffer),
            Object::Block(index) => self.first_block() + index as usize,
        }
    }

    /// First address and one past the last of what may hold pointers.
    pub(super) fn range(&self, unit: usize, index: u32) -> Range {
        let slabs = self.heap.slabs.len();
        if let Some(slab) = self.heap.slabs.get(unit) {
            let start = slab.buffer(index);
            return (start, start + self.rows[unit].room);
        }
        match self.heap.blocks.get(unit - slabs) {
            Some(block) => (block.buffer, block.buffer + block.requested),
            None => self.transit[unit - slabs - self.heap.blocks.len()],
        }
    }

    /// How many buffers and blocks have all bits of `with` and none of `without`.
    pub(super) fn tally(&self, with: u64, without: u64) -> u64 {
        let mut count = 0;
        let mut found = Vec::new();
        for unit in 0..self.units() - self.transit.len() {
            self.select(unit, with, without, &mut found);
            count += found.len() as u64;
        }
        count
    }
}

/// For each cache the bytes that belong to any buffer of it: one more than the size class below it has.
fn sure_sizes(heap: &Heap) -> Vec<u64> {
    let caches = heap.caches.iter();
    let is_sized = |cache: &&Cache| cache.record.policy & policy::SIZED != 0;
    let mut sizes: Vec<u64> = caches
        .clone()
        .filter(is_sized)
        .map(|cache| cache.record.buffer_size)
        .collect();
    sizes.sort_unstable();
    let sure = |cache: &Cache| {
        let size = cache.record.buffer_size;
        if !is_sized(&cache) {
            return 0;
        }
        let below = sizes.partition_point(|&other| other < size);
        below.checked_sub(1).map_or(0, |below| sizes[below] + 1)
    };
    caches.map(sure).collect()
}

fn row(heap: &Heap, slab: &Slab, sure: u64) -> Row {
    let cache = &heap.caches[slab.cache as usize];
    let chunk = u64::from(slab.chunk_size);
    let span = u64::from(slab.carved) * chunk;
    let is_exact = chunk > 1 && span.checked_mul(chunk).is_some();
    Row {
        base: slab.base,
        magic: if is_exact { u64::MAX / chunk + 1 } else { 0 },
        chunk,
        span: if cache.is_user() { span } else { 0 },
        first: slab.first,
        room: cache.record.buffer_size.min(chunk),
        sure,
    }
}

/// The least range that holds all of the ranges.
fn bounds(ranges: impl Iterator<Item = Range>) -> Range {
    let (start, end) = ranges.fold((u64::MAX, 0), |(start, end), range| {
        (start.min(range.0), end.max(range.1))
    });
    (start.min(end), end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::synthetic::Builder;

    #[test]
    fn reciprocals_divide_exactly() {
        for chunk in [16, 24, 48, 80, 112, 4096, 16_416, 65_535] {
            let row = Row {
                base: 0,
                magic: u64::MAX / chunk + 1,
                chunk,
                span: 1 << 24,
                first: 0,
                room: chunk,
                sure: 0,
            };
            for near in (0..(1 << 24)).step_by(chunk as usize) {
                for distance in [near, near + 1, near + chunk - 1] {
                    assert_eq!(row.divide(distance), (distance / chunk, distance % chunk));
                }
            }
        }
    }

    #[test]
    fn ranks_lead_back_to_numbers() {
        let marked = [1, 15, 16, 100, 101, 170];
        let mut builder = Builder::new();
        builder.publish();
        let heap = builder.heap();
        let nodes = Nodes {
            bits: Bits::new(200),
            ..Nodes::new(&heap, Vec::new())
        };
        for node in marked {
            nodes.set(node, MARKED);
            nodes.set(node + 1, START);
        }
        let before = nodes.before(MARKED);
        for (rank, node) in (0..).zip(marked) {
            assert_eq!(nodes.rank(&before, node, MARKED), rank);
            assert_eq!(nodes.at_rank(&before, rank, MARKED), node);
        }
    }

    #[test]
    fn selection_is_by_all_bits_wanted_and_none_unwanted() {
        let bits = Bits::new(200);
        for (node, value) in [
            (64, MARKED),
            (70, MARKED | SCANNED),
            (81, MARKED),
            (90, START),
        ] {
            bits.set(node, value);
        }
        let mut found = Vec::new();
        bits.select(64, 20, MARKED, SCANNED, &mut found);
        assert_eq!(found, [0, 17]);
        assert_eq!(bits.set(70, START), MARKED | SCANNED);
        assert_eq!(bits.get(70), MARKED | START | SCANNED);
    }
}
