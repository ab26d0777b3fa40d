//! The depot of stacks: each distinct stack is stored once and named by 32 bits.
//!
//! The store only grows. The index is open addressing over identifiers; a thread writes a stack into the store first
//! and then claims an index slot for it, so a slot never names a half-written entry. Two threads that meet the
//! same new stack at once may store it twice; both copies are right.
//!
//! The index begins small, since stacks are spread over all of its pages, and is replaced by one of twice the size when half of it is
//! used. Who still looks into the old one meanwhile may miss a stack and store it twice: that is right again.

use super::{log::publish_span, time};
use crate::{
    raw::{Cell, Global, StackEntryRef, root, word},
    sync,
    sys::memory,
    unwind::{Stack, history},
};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use umem_layout::{Plain, Span, StackEntry, span_kind};

/// Address space for stacks: at 16 frames (152 bytes) 440,000 of them.
const STORE: usize = 64 << 20;
/// The store is committed by this much.
const STEP: usize = 256 << 10;
/// Slots of the smallest and of the largest index, as powers of two; the largest has twice as many as stacks are accepted. The one with
/// `1 << n` slots begins behind as many slots of the mapping, so that none overlaps another.
const INDEX_BITS: core::ops::RangeInclusive<u32> = 12..=19;
const INDEX_ROOM: usize = (2 * size_of::<u32>()) << *INDEX_BITS.end();
const STACKS_MAX: u64 = 1 << (*INDEX_BITS.end() - 1);

/// Address of the mapping.
static INDEX: AtomicUsize = AtomicUsize::new(0);
/// Which index is in use.
static BITS: AtomicU32 = AtomicU32::new(*INDEX_BITS.start());

static COMMITTED: AtomicUsize = AtomicUsize::new(0);
static LOCK: AtomicU32 = AtomicU32::new(0);
static STORE_SPAN: Global<Span> = Global::new(Span::ZERO);
static INDEX_SPAN: Global<Span> = Global::new(Span::ZERO);

/// Reserves the depot's memory. False: there is none, and records will have no stacks.
pub fn initialize() -> bool {
    let (Some(store), Some(index)) = (memory::reserve(STORE), memory::map(INDEX_ROOM)) else {
        return false;
    };
    if !memory::commit(store, STEP) {
        return false;
    }
    COMMITTED.store(STEP, Ordering::Release);
    history::initialize();
    publish_span(&STORE_SPAN, store, STORE, span_kind::DEPOT);
    publish_span(&INDEX_SPAN, index, INDEX_ROOM, span_kind::DEPOT);
    INDEX.store(index, Ordering::Release);
    let root = root();
    root.depot_capacity().set(STORE as u64);
    Table::current().publish();
    // Identifier zero means none.
    root.depot_used().set(8);
    root.depot_store().store(store as u64, Ordering::Release);
    true
}

/// Reserves the depot's memory for a report in a process whose caches keep no stacks.
#[cold]
pub fn ensure() {
    static TRIED: AtomicBool = AtomicBool::new(false);
    if root().depot_store().load(Ordering::Acquire) == 0 && !TRIED.swap(true, Ordering::AcqRel) {
        initialize();
    }
}

/// An index.
#[derive(Clone, Copy)]
struct Table {
    bits: u32,
}

impl Table {
    #[inline]
    fn current() -> Self {
        Self {
            bits: BITS.load(Ordering::Acquire),
        }
    }

    fn slots(self) -> usize {
        1 << self.bits
    }

    fn address(self) -> usize {
        INDEX.load(Ordering::Relaxed) + self.bytes()
    }

    fn bytes(self) -> usize {
        self.slots() * size_of::<u32>()
    }

    /// Where the search for a stack begins.
    fn first(self, hash: u64) -> usize {
        (hash >> 40) as usize
    }

    fn slot(self, index: usize) -> &'static AtomicU32 {
        let address = self.address() + (index & (self.slots() - 1)) * size_of::<u32>();
        // SAFETY: the index is reduced to the mapped table, which is only accessed through cells.
        unsafe { AtomicU32::from_ptr(address as *mut u32) }
    }

    fn publish(self) {
        root().depot_index().set(self.address() as u64);
        root().depot_index_size().set(self.slots() as u64);
    }

    /// Enters a stack, at this place or the next free one.
    fn claim(self, mut at: usize, id: u32) {
        while self
            .slot(at)
            .compare_exchange(0, id, Ordering::AcqRel, Ordering::Acquire)
            .is_err()
        {
            at += 1;
        }
    }

    fn is_half_full(self) -> bool {
        root().depot_stacks().get() as usize > self.slots() / 2
    }
}

/// Goes over to an index of twice the size, when half of the one in use is used.
#[cold]
fn grow_index() {
    let _guard = sync::lock(&LOCK);
    let old = Table::current();
    if !old.is_half_full() || old.bits == *INDEX_BITS.end() {
        return;
    }
    let new = Table { bits: old.bits + 1 };
    for id in (0..old.slots()).map(|index| old.slot(index).load(Ordering::Acquire)) {
        if id != 0 {
            new.claim(new.first(entry(id).hash().get()), id);
        }
    }
    BITS.store(new.bits, Ordering::Release);
    new.publish();
    // SAFETY: whole pages, of an index that is not used any more; who still looks into it finds nothing.
    unsafe { memory::purge(old.address(), old.bytes()) };
}

fn entry(id: u32) -> StackEntryRef {
    // SAFETY: identifiers come from the index, which only names complete entries of the store.
    unsafe { StackEntryRef::from_address(root().depot_store().get() as usize + id as usize * 8) }
}

fn entry_pcs(entry: StackEntryRef, index: usize) -> &'static core::sync::atomic::AtomicU64 {
    // SAFETY: callers stay below the depth with which the entry was made.
    unsafe { word(entry.address() + size_of::<StackEntry>(), index) }
}

/// The program counters of an entry that has `depth` of them.
#[inline(always)]
fn stored(entry: StackEntryRef, depth: usize) -> &'static [usize] {
    const { assert!(size_of::<usize>() == size_of::<u64>()) };
    let first = entry.address() + size_of::<StackEntry>();
    // SAFETY: a complete entry, which nobody writes to any more.
    unsafe { core::slice::from_raw_parts(first as *const usize, depth) }
}

fn hash_of(pcs: &[usize]) -> u64 {
    let mut hash = 0x9e37_79b9_7f4a_7c15_u64;
    for &pc in pcs {
        hash = (hash ^ pc as u64).wrapping_mul(0x9fb2_1c65_1e98_df25);
        hash ^= hash >> 32;
    }
    hash
}

fn is_same(id: u32, hash: u64, stack: &Stack) -> bool {
    let entry = entry(id);
    entry.hash().get() == hash
        && usize::from(entry.depth().get()) == stack.pcs().len()
        && entry.flags().get() == stack.flags()
        && stored(entry, stack.pcs().len()) == stack.pcs()
        && is_of_these_modules(entry, stack)
}

/// Whether the addresses of a stored stack mean what they mean now. Where that is so its epoch is set to the present one.
#[inline]
fn is_of_these_modules(entry: StackEntryRef, stack: &Stack) -> bool {
    let (now, then) = (history::epoch(), entry.epoch().get());
    if then == now {
        return true;
    }
    let same = history::is_unchanged(stack.pcs(), then);
    if same {
        entry.epoch().set(now);
    }
    same
}

/// Looks a stack up. `Err` holds the index and the free slot of it at which to enter it.
fn lookup(hash: u64, stack: &Stack) -> Result<u32, (Table, usize)> {
    let table = Table::current();
    let start = table.first(hash);
    for step in 0..table.slots() {
        let id = table.slot(start + step).load(Ordering::Acquire);
        if id == 0 {
            return Err((table, start + step));
        }
        if is_same(id, hash, stack) {
            return Ok(id);
        }
    }
    Err((table, start))
}

/// The identifier of a known stack.
pub fn find(stack: &Stack) -> Option<u32> {
    if root().depot_store().load(Ordering::Acquire) == 0 || stack.pcs().is_empty() {
        return None;
    }
    lookup(hash_of(stack.pcs()), stack).ok()
}

/// The identifier of a stack, stored now if it is new; zero when the depot has no room, which is counted.
pub fn intern(stack: &Stack) -> u32 {
    if root().depot_store().load(Ordering::Acquire) == 0 || stack.pcs().is_empty() {
        return 0;
    }
    let hash = hash_of(stack.pcs());
    match lookup(hash, stack) {
        Ok(id) => id,
        Err(at) => store(hash, stack, at),
    }
}

#[cold]
fn store(hash: u64, stack: &Stack, (table, at): (Table, usize)) -> u32 {
    time::refine();
    let root = root();
    let Some(entry) = take_room(size_of::<StackEntry>() + stack.pcs().len() * 8) else {
        root.depot_dropped().fetch_add(1, Ordering::Relaxed);
        return 0;
    };
    entry.hash().set(hash);
    entry.depth().set(stack.pcs().len() as u16);
    entry.flags().set(stack.flags());
    // The epoch is read after the modules were recorded, so that none of them is of a later one.
    history::note(stack.pcs());
    entry.epoch().set(history::epoch());
    entry.guessed().set(stack.guessed());
    for (index, &pc) in stack.pcs().iter().enumerate() {
        entry_pcs(entry, index).set(pc as u64);
    }
    let id = ((entry.address() - root.depot_store().get() as usize) / 8) as u32;
    table.claim(at, id);
    root.depot_stacks().fetch_add(1, Ordering::Relaxed);
    if table.is_half_full() {
        grow_index();
    }
    id
}

/// Takes `size` bytes of the store, a multiple of 8.
fn take_room(size: usize) -> Option<StackEntryRef> {
    let root = root();
    if root.depot_stacks().get() >= STACKS_MAX {
        return None;
    }
    let at = root.depot_used().load(Ordering::Relaxed) as usize;
    if at + size > STORE {
        return None;
    }
    let at = root.depot_used().fetch_add(size as u64, Ordering::AcqRel) as usize;
    if at + size > STORE || !ensure_committed(at + size) {
        return None;
    }
    // SAFETY: the range is committed, reserved for this thread, and aligned since all sizes are multiples of 8.
    Some(unsafe { StackEntryRef::from_address(root.depot_store().get() as usize + at) })
}

fn ensure_committed(end: usize) -> bool {
    if end <= COMMITTED.load(Ordering::Acquire) {
        return true;
    }
    let _guard = sync::lock(&LOCK);
    let have = COMMITTED.load(Ordering::Acquire);
    if end <= have {
        return true;
    }
    let want = end.next_multiple_of(STEP).min(STORE);
    if !memory::commit(root().depot_store().get() as usize + have, want - have) {
        return false;
    }
    COMMITTED.store(want, Ordering::Release);
    true
}

/// Calls `visit` with each program counter of a stored stack and the stack's epoch, for reports.
pub fn for_each_frame(id: u32, mut visit: impl FnMut(usize, u32)) {
    if id == 0 || u64::from(id) * 8 + size_of::<StackEntry>() as u64 > root().depot_used().get() {
        return;
    }
    let entry = entry(id);
    let room = (COMMITTED.load(Ordering::Acquire) - id as usize * 8 - size_of::<StackEntry>()) / 8;
    for index in 0..usize::from(entry.depth().get()).min(room) {
        visit(entry_pcs(entry, index).get() as usize, entry.epoch().get());
    }
}

/// The layer's lock, for fork.
pub fn lock_word() -> &'static AtomicU32 {
    &LOCK
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{thread, vec::Vec};

    /// Stacks are known by their identifiers while the index grows under the threads that enter them.
    #[test]
    fn stacks_are_found_while_the_index_grows() {
        const EACH: usize = 8000;
        ensure();
        let before = Table::current().bits;
        let stack = |thread: usize, number: usize| Stack::of(&[4096 + number, thread + 1, 7]);
        let known: Vec<Vec<u32>> = thread::scope(|scope| {
            let threads: Vec<_> = (0..3)
                .map(|thread| {
                    let store = move |number| intern(&stack(thread, number));
                    scope.spawn(move || (0..EACH).map(store).collect())
                })
                .collect();
            let join = |thread: thread::ScopedJoinHandle<'_, _>| thread.join().unwrap();
            threads.into_iter().map(join).collect()
        });
        assert!(Table::current().bits > before);
        for (thread, ids) in known.iter().enumerate() {
            for (number, &id) in ids.iter().enumerate() {
                let mut pcs = Vec::new();
                for_each_frame(id, |pc, _| pcs.push(pc));
                assert_eq!(pcs, [4096 + number, thread + 1, 7]);
                // It may have been missed while an index was replaced; what is found then is another copy.
                let found = intern(&stack(thread, number));
                let mut again = Vec::new();
                for_each_frame(found, |pc, _| again.push(pc));
                assert_eq!(again, pcs);
                assert_eq!(find(&stack(thread, number)), Some(found));
            }
        }
        let stored = root().depot_stacks().get() as usize;
        assert!((3 * EACH..4 * EACH).contains(&stored), "{stored}");
        assert!(stored <= Table::current().slots());
    }
}
