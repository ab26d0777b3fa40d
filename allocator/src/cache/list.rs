//! The list of caches, who holds one in it, and which caches have magazines in the threads.

use super::{class_count, classes, slot_of_class};
use crate::{
    raw::{CacheRef, Cell, copy, root},
    sync,
    sys::process,
};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use umem_layout::unit;

/// Caches of programs that have magazines in the threads; others are served by the slab layer.
const OBJECT_SLOTS: usize = 33;
/// First entry of a cache of a program; those before are for the kinds of units.
const FIRST_OBJECT: usize = unit::BLOCKS as usize + 1;
/// Entries of a thread's array of magazines: the size classes, then caches of programs.
pub const SLOTS: usize = FIRST_OBJECT + OBJECT_SLOTS;

static LOCK: AtomicU32 = AtomicU32::new(0);
/// The cache that was created last, where the list ends.
static LAST: AtomicUsize = AtomicUsize::new(0);
static LAST_ID: AtomicU32 = AtomicU32::new(0);
/// Caches of programs by entry, zero where an entry is free.
static OBJECTS: [AtomicUsize; OBJECT_SLOTS] = [const { AtomicUsize::new(0) }; OBJECT_SLOTS];

fn link(value: u64) -> Option<CacheRef> {
    // SAFETY: links of the list are zero or caches.
    unsafe { CacheRef::from_link(value) }
}

fn all() -> impl Iterator<Item = CacheRef> {
    let first = link(root().caches().load(Ordering::Acquire));
    core::iter::successors(first, |cache| link(cache.next().load(Ordering::Acquire)))
}

/// Puts a new cache at the end of the list.
pub(super) fn append(new: CacheRef) {
    let _guard = sync::lock(&LOCK);
    let last = LAST.swap(new.address(), Ordering::Relaxed) as u64;
    new.id().set(LAST_ID.fetch_add(1, Ordering::Relaxed) + 1);
    new.prev().set(last);
    link(last)
        .map_or(root().caches(), CacheRef::next)
        .store(new.link(), Ordering::Release);
    copy::refresh();
}

/// Takes a cache off the list. A debugger that stops the process at any instant finds the list with it or without it.
pub(super) fn withdraw(old: CacheRef) {
    let _guard = sync::lock(&LOCK);
    let (prev, next) = (link(old.prev().get()), link(old.next().get()));
    prev.map_or(root().caches(), CacheRef::next)
        .store(old.next().get(), Ordering::Release);
    match next {
        Some(next) => next.prev().set(old.prev().get()),
        None => LAST.store(old.prev().get() as usize, Ordering::Relaxed),
    }
    copy::refresh();
}

// ---- entries in the threads ----

/// Gives a cache an entry, if one is free.
pub(super) fn take_slot(cache: CacheRef) {
    let _guard = sync::lock(&LOCK);
    let free = OBJECTS
        .iter()
        .position(|slot| slot.load(Ordering::Relaxed) == 0);
    if let Some(index) = free {
        OBJECTS[index].store(cache.address(), Ordering::Release);
        cache.thread_slot().set((FIRST_OBJECT + index) as u32 + 1);
    }
}

/// Gives the entry of a cache back. No thread has magazines of the cache any more.
pub(super) fn give_slot(cache: CacheRef) {
    let _guard = sync::lock(&LOCK);
    for slot in &OBJECTS {
        if slot.load(Ordering::Relaxed) == cache.address() {
            slot.store(0, Ordering::Release);
        }
    }
    cache.thread_slot().set(0);
}

/// The cache that has an entry.
pub fn of_slot(slot: usize) -> Option<CacheRef> {
    match slot.checked_sub(FIRST_OBJECT) {
        None => slot
            .checked_sub(slot_of_class(0))
            .filter(|&class| class < class_count())
            .map(classes),
        Some(index) => link(OBJECTS.get(index)?.load(Ordering::Acquire) as u64),
    }
}

// ---- holds ----

/// Mark in `Cache::holds`: the cache is ending or has ended.
const ENDING: u32 = 1 << 31;

/// Keeps a cache from ending.
pub struct Hold(CacheRef);

impl Hold {
    /// The cache.
    pub fn cache(&self) -> CacheRef {
        self.0
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.holds().fetch_sub(1, Ordering::Release);
    }
}

/// Holds a cache. The caller knows that its end has not begun.
pub fn hold(cache: CacheRef) -> Hold {
    cache.holds().fetch_add(1, Ordering::Acquire);
    Hold(cache)
}

/// Holds the first cache behind the one with this number, in order of creation; the first of all for zero. Caches that are ending
/// are passed over.
pub fn next_held(after: u32) -> Option<Hold> {
    let _guard = sync::lock(&LOCK);
    all()
        .filter(|cache| cache.holds().get() & ENDING == 0)
        .find(|cache| cache.id().get() > after)
        .map(hold)
}

/// Lets nobody hold a cache from the list any more, and waits for those who do.
pub(super) fn begin_end(cache: CacheRef) {
    {
        let _guard = sync::lock(&LOCK);
        cache.holds().fetch_or(ENDING, Ordering::Relaxed);
    }
    while cache.holds().load(Ordering::Acquire) & !ENDING != 0 {
        process::yield_now();
    }
}

/// Calls `visit` for each cache with the list locked: it only reads.
pub fn for_each(visit: impl FnMut(CacheRef)) {
    let _guard = sync::lock(&LOCK);
    all().for_each(visit);
}

// ---- fork ----

/// Calls `act` for every lock of this layer, outermost first.
pub fn for_each_lock(act: fn(&AtomicU32)) {
    act(&LOCK);
    for cache in all() {
        act(cache.depot_lock());
        act(cache.slab_lock());
    }
}

/// In the child of a fork: the threads that held caches are gone.
pub fn after_fork() {
    all().for_each(|cache| cache.holds().set(cache.holds().get() & ENDING));
}
