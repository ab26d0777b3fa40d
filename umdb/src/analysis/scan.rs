//! Reading what may hold pointers: streamed in large pieces, or seen in place where the target's memory is mapped here.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use super::{Cancel, nodes::Nodes, ranges::Range};
use crate::{heap::ADDRESS_END, target::Memory};

const PAGE: u64 = 4096;
/// Bytes that are read at once.
pub(super) const PIECE: u64 = 1 << 18;
/// Largest slab that is read as a whole.
const WHOLE_MAX: u64 = 1 << 22;
/// A hole is crossed in steps of this part of what it measures already.
const HOLE_STEPS: u64 = 256;
/// To read a small piece takes as long as to read so many bytes more of a large one.
const READ_COST: u64 = 8192;

/// Reads memory for one thread of an analysis.
pub(super) struct Source<'a> {
    memory: &'a dyn Memory,
    cancel: &'a Cancel,
    bytes: Vec<u8>,
    chosen: Vec<u32>,
    /// Bytes that were read, and those that could not be.
    pub(super) read: u64,
    pub(super) unread: u64,
    /// Of the unit that was read last, what could not be read as a whole: index and bytes.
    pub(super) holes: Vec<(u32, u64)>,
}

/// The words of aligned bytes.
#[inline]
pub(super) fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().map(|word| u64::from_le_bytes(*word))
}

impl<'a> Source<'a> {
    pub(super) fn new(memory: &'a dyn Memory, cancel: &'a Cancel) -> Self {
        Self {
            memory,
            cancel,
            bytes: Vec::new(),
            chosen: Vec::new(),
            read: 0,
            unread: 0,
            holes: Vec::new(),
        }
    }

    /// Calls `each` with address and bytes of the readable pieces of a range; addresses are multiples of 8. What of a
    /// large range was never written to is left out.
    ///
    /// A long hole is crossed in growing steps, so that a range of absurd length has an end.
    pub(super) fn range(&mut self, (start, end): Range, mut each: impl FnMut(u64, &[u8])) {
        let (start, end) = (start.min(ADDRESS_END), end.min(ADDRESS_END));
        let mut at = start.next_multiple_of(8);
        let mut hole = 0;
        let mut bytes = std::mem::take(&mut self.bytes);
        while at < end && !self.cancel.is_requested() {
            if end - at >= PIECE {
                let next = self.memory.next_written(at, end).min(end) & !7;
                if next > at {
                    self.read += next - at;
                    at = next;
                    continue;
                }
            }
            let wanted = (end - at).min(PIECE);
            if let Some(view) = self.memory.view(at, wanted as usize) {
                each(at, view);
                self.read += wanted;
                at = (at + wanted).next_multiple_of(8);
                continue;
            }
            bytes.resize(wanted as usize, 0);
            let got = (self.memory.read(at, &mut bytes) as u64).min(wanted);
            each(at, &bytes[..got as usize]);
            self.read += got;
            at += got;
            if got < wanted {
                hole = if got == 0 { hole } else { 0 };
                let step = PAGE.max(hole / HOLE_STEPS).next_multiple_of(PAGE);
                let next = (at + 1).next_multiple_of(PAGE).saturating_add(step - PAGE);
                let next = next.min(end);
                self.unread += next - at;
                hole += next - at;
                at = next;
            }
            at = at.next_multiple_of(8);
        }
        self.bytes = bytes;
    }

    /// Calls `each` with index, address and bytes of what `list` names in a unit, until it names nothing. `list` must
    /// come to an end.
    ///
    /// The first few of a slab are read one by one; when there are more, the slab is read as a whole: a list may
    /// lead through all of its buffers, one after the other. Large objects come in pieces.
    pub(super) fn unit(
        &mut self,
        nodes: &Nodes<'_>,
        unit: usize,
        mut list: impl FnMut(&mut Vec<u32>),
        mut each: impl FnMut(u32, u64, &[u8]),
    ) {
        self.holes.clear();
        let mut chosen = std::mem::take(&mut self.chosen);
        let used = nodes
            .heap
            .slabs
            .get(unit)
            .map(|slab| (slab.base, slab.buffer(slab.carved)));
        let used = used.filter(|used| used.1 - used.0 <= WHOLE_MAX);
        let few = used.map_or(u64::MAX, |used| (used.1 - used.0) / READ_COST);
        let (mut count, mut whole) = (0, None);
        loop {
            list(&mut chosen);
            if chosen.is_empty() || self.cancel.is_requested() {
                break;
            }
            count += chosen.len() as u64;
            if let Some(used) = used.filter(|_| whole.is_none() && count > few) {
                whole = Some(self.whole(used));
            }
            for &index in &chosen {
                let range = nodes.range(unit, index);
                match (whole, used) {
                    (Some(true), Some(used)) => {
                        let from = range.0.next_multiple_of(8).min(range.1);
                        let bytes =
                            &self.bytes[(from - used.0) as usize..(range.1 - used.0) as usize];
                        each(index, from, bytes);
                        self.read += bytes.len() as u64;
                    }
                    _ => {
                        let unread = self.unread;
                        self.range(range, |address, bytes| each(index, address, bytes));
                        if self.unread > unread {
                            self.holes.push((index, self.unread - unread));
                        }
                    }
                }
            }
        }
        self.chosen = chosen;
    }

    /// Reads a range into the buffer, unless it can be seen in place. False: piece by piece, then.
    fn whole(&mut self, (start, end): Range) -> bool {
        let length = (end - start) as usize;
        if self.memory.view(start, length).is_some() {
            return false;
        }
        self.bytes.resize(length, 0);
        self.memory.read(start, &mut self.bytes) == length
    }
}

/// Most threads.
const THREADS_MAX: usize = 8;
/// A thread is worth starting for so many pieces of work.
const WORTHWHILE: usize = 16;

/// Does the pieces of work with numbers below `count`, each once, by several threads. Each thread has a state of its own,
/// which `merge` is given when there is nothing left to do.
pub(super) fn share_out<T>(
    count: usize,
    cancel: &Cancel,
    new: impl Fn() -> T + Sync,
    work: impl Fn(&mut T, usize) + Sync,
    merge: impl FnMut(T) + Send,
) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.min(THREADS_MAX).min(count.div_ceil(WORTHWHILE));
    cancel.plan(count as u64);
    let next = AtomicUsize::new(0);
    let merge = Mutex::new(merge);
    let labour = || {
        let mut state = new();
        loop {
            let number = next.fetch_add(1, Relaxed);
            if number >= count || cancel.is_requested() {
                break;
            }
            work(&mut state, number);
            cancel.advance(1);
        }
        // A thread that panics ends the process.
        if let Ok(mut merge) = merge.lock() {
            merge(state);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(labour);
        }
        labour();
    });
}

/// Pieces of a range for several threads.
pub(super) fn pieces((start, end): Range) -> impl Iterator<Item = Range> {
    let mut at = start;
    std::iter::from_fn(move || {
        let from = at;
        at = from.saturating_add(PIECE).min(end);
        (from < end).then_some((from, at))
    })
}
