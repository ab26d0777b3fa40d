//! The depot of stacks: each distinct stack is stored once and named by 32 bits.
//!
//! The store only grows. The index is open addressing over identifiers; a thread writes a stack into the store first
//! and then claims an index slot for it, so a slot never names a half-written entry. Two threads that meet the
//! same new stack at once may store it twice; both copies are right.

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
/// Index slots, twice as many as stacks are accepted.
const INDEX: usize = 1 << 19;
const STACKS_MAX: u64 = (INDEX / 2) as u64;

static COMMITTED: AtomicUsize = AtomicUsize::new(0);
static LOCK: AtomicU32 = AtomicU32::new(0);
static STORE_SPAN: Global<Span> = Global::new(Span::ZERO);
static INDEX_SPAN: Global<Span> = Global::new(Span::ZERO);

/// Reserves the depot's memory. False: there is none, and records will have no stacks.
pub fn initialize() -> bool {
    let (Some(store), Some(index)) = (memory::reserve(STORE), memory::map(INDEX * 4)) else {
        return false;
    };
    if !memory::commit(store, STEP) {
        return false;
    }
    COMMITTED.store(STEP, Ordering::Release);
    history::initialize();
    publish_span(&STORE_SPAN, store, STORE, span_kind::DEPOT);
    publish_span(&INDEX_SPAN, index, INDEX * 4, span_kind::DEPOT);
    let root = root();
    root.depot_capacity().set(STORE as u64);
    root.depot_index().set(index as u64);
    root.depot_index_size().set(INDEX as u64);
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

fn slot(index: usize) -> &'static AtomicU32 {
    let address = root().depot_index().get() as usize + (index & (INDEX - 1)) * 4;
    // SAFETY: the index is reduced to the mapped table, which is only accessed through cells.
    unsafe { AtomicU32::from_ptr(address as *mut u32) }
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

/// Looks a stack up. `Err` holds the free index slot at which to store it.
fn lookup(hash: u64, stack: &Stack) -> Result<u32, usize> {
    let start = (hash >> 40) as usize;
    for step in 0..INDEX {
        let id = slot(start + step).load(Ordering::Acquire);
        if id == 0 {
            return Err(start + step);
        }
        if is_same(id, hash, stack) {
            return Ok(id);
        }
    }
    Err(start)
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
fn store(hash: u64, stack: &Stack, mut at: usize) -> u32 {
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
    while slot(at)
        .compare_exchange(0, id, Ordering::AcqRel, Ordering::Acquire)
        .is_err()
    {
        at += 1;
    }
    root.depot_stacks().fetch_add(1, Ordering::Relaxed);
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
