//! Threads: their block of storage, their published record, their magazines.
//!
//! **Owns** everything that is per thread. **May use** the layers up to `cache`. **Promises** that an untouched
//! thread takes the slow path, that a thread's magazines go back to the depot when it ends, and that frees which arrive
//! after that still work.
//!
//! # Theory (after Bonwick and Adams, "Magazines and Vmem", USENIX 2001)
//! 1. For each size class a thread has a *loaded* and a *previous* magazine. The previous one is full or empty. An
//!    allocation pops from the loaded one, a free pushes; when that fails the two are exchanged, and when
//!    that does not help either, one is exchanged with the depot. So the depot sees at most one call in M.
//!    The last round of the loaded magazine is kept in the entry itself, *hot*, and put into its place when the next one is pushed: so a
//!    program that allocates what it has just freed waits for one store and not for three.
//! 2. The magazines of debugged caches hold no rounds at all, so that every call takes the slow path: switching
//!    debugging on costs the fast path nothing when it is off.
//! 3. A thread registers at its first slow call. Its record is never freed: a debugger may hold its address. Records
//!    of ended threads are used again.
#![allow(unsafe_code)]

mod budget;
pub mod fast;
mod front;
pub mod growth;
mod quarantine;
mod sample;
mod update;
mod withdraw;

pub use budget::{keeps, live};
pub use fast::has_paused;
pub use front::{give_back, take};
pub use quarantine::quarantine;
pub use sample::{is_sample, is_sample_of, is_sampling};
pub use update::{purged_arenas, tick};
pub use withdraw::withdraw;

use crate::{
    cache,
    debug::{
        Call,
        buffer::Damage,
        depot,
        report::{self, Subject},
        time,
    },
    raw::{CacheRef, Cell, MagazineRef, ThreadCacheRef, ThreadRef, copy, publish_span, root},
    sync,
    sys::{memory, process, tls},
    unwind::{self, Bounds, Entry, Recall, Stack, Tables},
    vmem::{self, arenas},
};
use core::{
    cell::Cell as LocalCell,
    sync::atomic::{AtomicU32, AtomicUsize, Ordering, compiler_fence},
};
use umem_layout::{
    Plain, Span, Thread, ThreadCache, cache_flag, error_code, span_kind, thread_state,
};

/// Where a thread stands.
mod stage {
    /// Nothing was done yet.
    pub const NEW: u32 = 0;
    /// Being registered: calls from within go to the slab layer.
    pub const REGISTERING: u32 = 1;
    /// In service.
    pub const LIVE: u32 = 2;
    /// Its destructor has run: calls go to the slab layer.
    pub const ENDED: u32 = 3;
}

/// The thread's block. It starts as zero bytes and is only reached from its own thread.
#[repr(C)]
pub struct Local {
    fast: fast::Fast,
    thread: LocalCell<usize>,
    stage: LocalCell<u32>,
    capturing: LocalCell<bool>,
    /// Bytes in the magazines, at least, and where the next one to give back is looked for: see `budget`.
    held: LocalCell<u64>,
    rotor: LocalCell<u32>,
    /// Visits of depots.
    visits: LocalCell<u32>,
    bounds: core::cell::UnsafeCell<Bounds>,
    recall: LocalCell<usize>,
    ring: LocalCell<usize>,
    front: LocalCell<usize>,
    growth: growth::Growth,
    sampler: sample::Sampler,
}

const _: () = assert!(size_of::<Local>() <= tls::ROOM && align_of::<Local>() <= 64);

/// The calling thread's block.
#[inline(always)]
pub fn local() -> &'static Local {
    // SAFETY: the block has room for a `Local`, for which zero bytes are valid, and lives as long as the thread;
    // the reference does not leave it.
    unsafe { &*tls::block().cast::<Local>() }
}

/// The calling thread's magazines of an entry, by the shortest way. None: the thread is not in service.
#[inline(always)]
pub fn fast_cache(slot: usize) -> Option<ThreadCacheRef> {
    fast_cache_at(slot * size_of::<ThreadCache>())
}

/// As [`fast_cache`], for the entry at this offset in the array.
#[inline(always)]
pub fn fast_cache_at(offset: usize) -> Option<ThreadCacheRef> {
    const { assert!(fast::local::CACHES == 0) };
    entry_at(tls::first_word(), offset)
}

#[inline(always)]
fn entry_of(caches: usize, slot: usize) -> Option<ThreadCacheRef> {
    entry_at(caches, slot * size_of::<ThreadCache>())
}

#[inline(always)]
fn entry_at(caches: usize, offset: usize) -> Option<ThreadCacheRef> {
    if caches == 0 {
        return None;
    }
    // SAFETY: callers have the offset of one of the array's entries.
    Some(unsafe { ThreadCacheRef::from_address(caches + offset) })
}

static LIST_LOCK: AtomicU32 = AtomicU32::new(0);
static LAST: AtomicUsize = AtomicUsize::new(0);
/// Key whose destructor ends a thread's service; plus one, zero while there is none.
static KEY: AtomicU32 = AtomicU32::new(0);

impl Local {
    /// The thread's magazines for a class. None: the thread is not in service.
    #[inline(always)]
    pub fn cache(&self, class: usize) -> Option<ThreadCacheRef> {
        entry_of(self.fast.caches(), cache::slot_of_class(class))
    }

    /// The slow path has found a buffer in the map of units: so shall the fast one.
    #[inline]
    pub fn see_region(&self) {
        self.fast.see_region();
    }

    /// Kernel's identifier of the thread.
    pub fn tid(&self) -> u32 {
        process::own_id()
    }
}

/// Who is calling: time, thread, and the stack where caches are audited.
pub fn call(entry: Entry) -> Call {
    call_for(0, entry)
}

/// As [`call`], for a buffer or block with these flags: with the stack if it is audited itself.
#[inline(always)]
pub fn call_for(flags: u32, entry: Entry) -> Call {
    let local = local();
    register(local);
    let (time, stack) = match (flags | root().debug_flags().get()) & cache_flag::AUDIT {
        0 => (0, 0),
        _ => {
            let stack = capture(local, entry);
            (time::now(), stack)
        }
    };
    Call {
        time,
        thread: local.tid(),
        stack,
    }
}

/// Who is calling, for an error report: always with a stack.
#[cold]
pub fn call_for_report(entry: Entry) -> Call {
    depot::ensure();
    let local = local();
    Call {
        time: time::now(),
        thread: local.tid(),
        stack: capture(local, entry),
    }
}

/// Captures and interns the stack of an entry. A capture within a capture (a signal handler that allocates) gives none.
///
/// No function is called where the stack is known from an earlier walk, so that no registers are saved.
#[inline(never)]
fn capture(local: &Local, entry: Entry) -> u32 {
    if local.capturing.replace(true) {
        return 0;
    }
    // SAFETY: zero, or a table that this thread alone uses; `capturing` keeps a second user out.
    let recall = unsafe { (local.recall.get() as *const Recall).as_ref() };
    // SAFETY: `capturing` keeps a second user of the thread's bounds out.
    let bounds = unsafe { &*local.bounds.get() };
    let known = recall.and_then(|recall| recall.find(entry, bounds));
    match known.filter(|_| !is_sampling()) {
        Some(id) => {
            local.capturing.set(false);
            id
        }
        None => capture_slow(local, entry),
    }
}

/// As [`capture`], whatever is known of the part of the stack that may be read.
#[inline(never)]
fn capture_slow(local: &Local, entry: Entry) -> u32 {
    if is_sampling() {
        // The loader's calls are not seen, and samples are few.
        unwind::revalidate();
    }
    // SAFETY: `capturing` keeps a second user of the thread's bounds out.
    let bounds = unsafe { &mut *local.bounds.get() };
    // SAFETY: the table has room for a `Recall`, is made by this thread alone, and `capturing` keeps a second user out.
    let recall = unsafe { (local.recall.get() as *mut Recall).as_mut() };
    let id = capture_new(entry, bounds, recall);
    local.capturing.set(false);
    id
}

/// Walks the stack, interns it, and has it remembered.
fn capture_new(entry: Entry, bounds: &mut Bounds, recall: Option<&mut Recall>) -> u32 {
    let Some(recall) = recall else {
        return capture_aside(entry, bounds);
    };
    let (stack, tables) = recall.room();
    let id = walk(entry, bounds, tables, stack);
    recall.keep(entry, bounds, id);
    id
}

/// As [`capture_new`], for threads that remember nothing.
#[cold]
#[inline(never)]
fn capture_aside(entry: Entry, bounds: &mut Bounds) -> u32 {
    walk(entry, bounds, &mut Tables::new(), &mut Stack::new())
}

fn walk(entry: Entry, bounds: &mut Bounds, tables: &mut Tables, stack: &mut Stack) -> u32 {
    let depth = (root().audit_depth().get() as usize).clamp(1, unwind::MAX_DEPTH);
    // SAFETY: the entry functions hand over the registers of the call that is under way.
    unsafe { unwind::capture(entry, depth, bounds, tables, stack) };
    let id = depot::find(stack).unwrap_or_else(|| {
        // A new stack: make sure that no library was replaced at an address that the unwinder remembers.
        if unwind::revalidate() {
            // SAFETY: as above.
            unsafe { unwind::capture(entry, depth, bounds, tables, stack) };
        }
        depot::intern(stack)
    });
    if stack.in_handler() && root().debug_flags().get() & cache_flag::CHECKSIGNAL != 0 {
        report_handler(id);
    }
    id
}

/// `nosignal`: the allocator was called from a signal handler.
#[cold]
fn report_handler(stack: u32) {
    let call = Call {
        time: time::now(),
        thread: local().tid(),
        stack,
    };
    let damage = Damage::new(error_code::IN_SIGNAL);
    report::report(&damage, &Subject::address(0), &call);
}

// ---- time ----

/// The calling thread's magazines for the fast path, by offset as for [`fast_cache_at`]. None also when the thread has paused: then the
/// slow path looks at the clock.
#[inline(always)]
pub fn quick_cache_at(offset: usize) -> Option<ThreadCacheRef> {
    match fast::has_paused() {
        true => None,
        false => fast_cache_at(offset),
    }
}

/// As [`quick_cache_at`], by slot.
#[inline(always)]
pub fn quick_cache(slot: usize) -> Option<ThreadCacheRef> {
    quick_cache_at(slot * size_of::<ThreadCache>())
}

/// Does what may be due since time has passed, if the thread has paused. Every slow path begins with it, and every fast path ends when
/// the thread has.
#[inline(always)]
pub fn heed() {
    if fast::has_paused() {
        heed_pause();
    }
}

#[cold]
#[inline(never)]
fn heed_pause() {
    // What the interrupted call holds must not be asked for: the next call that has not interrupted one finds the mark unset.
    if sync::has_interrupted() {
        return;
    }
    fast::set_mark(&local().fast);
    update::heed();
    fast::forget_all();
}

// ---- registration ----

/// Creates the key whose destructor ends threads.
pub fn initialize() {
    let mut key = 0;
    // SAFETY: writes the new key to a local; the destructor has the required signature.
    if unsafe { libc::pthread_key_create(&raw mut key, Some(end_of_thread)) } == 0 {
        KEY.store(key + 1, Ordering::Release);
    }
}

/// Puts a new thread into service.
#[inline]
pub fn register(local: &Local) {
    if local.stage.get() == stage::NEW {
        register_new(local);
    }
}

#[cold]
fn register_new(local: &Local) {
    local.stage.set(stage::REGISTERING);
    let Some(thread) = take_record() else {
        // Without a record the thread works through the slab layer for good.
        local.stage.set(stage::ENDED);
        return;
    };
    thread.tid().set(local.tid());
    thread.thread_pointer().set(tls::thread_pointer() as u64);
    store_name(thread, process::thread_name());
    local.thread.set(thread.address());
    local.recall.set(thread.recall().get() as usize);
    local.ring.set(thread.ring().get() as usize);
    local.front.set(front::create());
    arm_destructor();
    local.fast.open(thread.caches().get() as usize);
    local.stage.set(stage::LIVE);
    update::thread_came();
}

fn store_name(thread: ThreadRef, name: [u8; 16]) {
    let at = thread.address() + core::mem::offset_of!(Thread, name);
    for (index, &value) in name.iter().enumerate() {
        // SAFETY: the name is part of the thread's structure.
        unsafe { crate::raw::byte(at, index) }.set(value);
    }
}

/// Notes the names of live threads anew: most are named after their first allocation, and cores do not tell.
fn note_names() {
    for thread in records().filter(|thread| thread.state().get() == thread_state::LIVE) {
        let name = process::name_of(thread.tid().get());
        // One that has just ended has none.
        if name != [0; 16] && thread.state().get() == thread_state::LIVE {
            store_name(thread, name);
        }
    }
}

fn arm_destructor() {
    let Some(key) = KEY.load(Ordering::Acquire).checked_sub(1) else {
        return;
    };
    // For keys above 31 this allocates; the thread is REGISTERING, so that goes to the slab layer.
    // SAFETY: the key was created; the value only has to be non-null for the destructor to run.
    unsafe { libc::pthread_setspecific(key, core::ptr::without_provenance(1)) };
}

fn records() -> impl Iterator<Item = ThreadRef> {
    // SAFETY: links of the list are zero or thread records, which are never freed.
    let next = |link: u64| unsafe { ThreadRef::from_link(link) };
    core::iter::successors(
        next(root().threads().load(Ordering::Acquire)),
        move |thread| next(thread.next().load(Ordering::Acquire)),
    )
}

/// A record of an ended thread, or a new one; claimed under the lock, so that no two threads get the same.
fn take_record() -> Option<ThreadRef> {
    let _guard = sync::lock(&LIST_LOCK);
    let ended =
        records().find(|thread| thread.state().load(Ordering::Acquire) == thread_state::EXITED);
    let thread = ended.or_else(create_record)?;
    thread.state().store(thread_state::LIVE, Ordering::Release);
    budget::enter();
    Some(thread)
}

fn create_record() -> Option<ThreadRef> {
    let debugged = root().debug_flags().get() != 0 || root().options().nomagazines != 0;
    let caches = if debugged {
        0
    } else {
        size_of::<[ThreadCache; cache::SLOTS]>()
    };
    let memory = vmem::alloc(
        arenas().internal,
        size_of::<Thread>().next_multiple_of(64) + caches,
        64,
    )?;
    let address = memory.start().get() as usize;
    // SAFETY: fresh metadata, aligned to 64, that nothing else uses.
    let thread = unsafe { ThreadRef::from_address(address) };
    let array = address + size_of::<Thread>().next_multiple_of(64);
    thread.initialize(Thread {
        caches: if caches == 0 { 0 } else { array as u64 },
        cache_count: if caches == 0 { 0 } else { cache::SLOTS as u32 },
        cache_stride: size_of::<ThreadCache>() as u32,
        ..Thread::ZERO
    });
    if caches != 0 {
        clear_caches(array);
    }
    if root().debug_flags().get() & cache_flag::AUDIT != 0 {
        let recall = map_part(size_of::<Recall>(), align_of::<Recall>());
        // SAFETY: zeroed memory, which is a valid table, that nothing else uses; or zero.
        if let Some(recall) = unsafe { (recall as *mut Recall).as_mut() } {
            recall.room().1.prepare();
        }
        thread.recall().set(recall as u64);
    }
    match LAST.swap(address, Ordering::AcqRel) {
        0 => root().threads().store(thread.link(), Ordering::Release),
        // SAFETY: the last record of the list, which is never freed.
        last => unsafe { ThreadRef::from_address(last) }
            .next()
            .store(thread.link(), Ordering::Release),
    }
    copy::refresh();
    Some(thread)
}

/// Zeroed memory for a part of a thread, in a mapping of its own that is touched as it is used. Zero: there is none.
fn map_part(size: usize, align: usize) -> usize {
    let head = size_of::<Span>().next_multiple_of(align);
    let Some(base) = memory::map(head + size) else {
        return 0;
    };
    // SAFETY: fresh memory, with room for a span before the part, that nothing else uses.
    unsafe { publish_span(base, base, head + size, span_kind::METADATA) };
    base + head
}

fn clear_caches(array: usize) {
    for class in 0..cache::SLOTS {
        // SAFETY: the array has one entry a slot.
        let entry =
            unsafe { ThreadCacheRef::from_address(array + class * size_of::<ThreadCache>()) };
        entry.initialize(ThreadCache::ZERO);
    }
}

/// Destructor of the key: the thread ends. Destructors that run later may still allocate and free.
unsafe extern "C" fn end_of_thread(_value: *mut libc::c_void) {
    let local = local();
    if local.stage.get() != stage::LIVE {
        return;
    }
    quarantine::flush(local);
    front::end(local);
    growth::end(local);
    local.stage.set(stage::ENDED);
    local.fast.close();
    // SAFETY: a thread in service has a record.
    let thread = unsafe { ThreadRef::from_address(local.thread.get()) };
    retire(thread);
}

/// Gives back what the calling thread keeps: its magazines, freed buffers that wait, and chunks that it has at hand.
#[cold]
pub fn give_all() {
    quarantine::flush(local());
    front::flush(local());
    growth::end(local());
    budget::give_all();
}

/// Whether an entry has magazines, or counts of calls that it served without.
fn is_in_use(entry: ThreadCacheRef) -> bool {
    let counts = sample::served(entry) | entry.frees().get();
    (entry.loaded().get() | entry.previous().get() | counts) != 0
}

/// Gives the magazines of a thread that runs no more to the depot and its record to the next thread.
fn retire(thread: ThreadRef) {
    for slot in 0..thread.cache_count().get() as usize {
        let detached = entry_of(thread.caches().get() as usize, slot)
            .filter(|entry| is_in_use(*entry))
            .and_then(|entry| withdraw::detach_held(slot, entry));
        if let Some((cache, magazines)) = detached {
            magazines.give(cache.cache());
        }
    }
    thread
        .state()
        .store(thread_state::EXITED, Ordering::Release);
    budget::leave();
    update::thread_left();
}

/// Allocations and frees of a cache that live threads have served from their magazines.
pub fn counts(cache: CacheRef) -> (u64, u64) {
    let Some(slot) = cache.thread_slot().get().checked_sub(1) else {
        return (0, 0);
    };
    records()
        .filter(|thread| slot < thread.cache_count().get())
        .filter_map(|thread| entry_of(thread.caches().get() as usize, slot as usize))
        .fold((0, 0), |(allocs, frees), entry| {
            (allocs + sample::served(entry), frees + entry.frees().get())
        })
}

fn count_into(cache: CacheRef, entry: ThreadCacheRef) {
    cache
        .allocs()
        .fetch_add(sample::served(entry), Ordering::Relaxed);
    cache
        .frees()
        .fetch_add(entry.frees().get(), Ordering::Relaxed);
}

fn magazine(link: u64) -> Option<MagazineRef> {
    // SAFETY: links in a thread's entries are zero or magazines.
    unsafe { MagazineRef::from_link(link) }
}

fn give(cache: CacheRef, link: u64, rounds: u32) {
    match magazine(link) {
        Some(magazine) if rounds > 0 => cache::put_full(cache, magazine, rounds),
        Some(magazine) => cache::put_empty(cache, magazine),
        None => {}
    }
}

// ---- the magazine layer ----

/// Pops a round from the loaded magazine. None: it is empty, or the allocation is counted and to be a sample: see `sample`.
#[inline(always)]
pub fn pop(entry: ThreadCacheRef) -> Option<usize> {
    let rounds = entry.loaded_rounds().get();
    if rounds == 0 || counts_to_zero(entry) {
        return None;
    }
    Some(take_round(entry, rounds))
}

/// Counts an allocation, and says whether the counter has come to zero. The compiler would count in three instructions and compare
/// in a fourth.
#[inline(always)]
fn counts_to_zero(entry: ThreadCacheRef) -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: adds to a counter that only this thread changes.
        unsafe {
            core::arch::asm!(
                "add qword ptr [{entry} + {allocs}], 1",
                "jz {zero}",
                entry = in(reg) entry.address(),
                allocs = const core::mem::offset_of!(ThreadCache, allocs),
                zero = label { return true },
                options(nostack),
            );
        }
        false
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        entry.allocs().add(1);
        entry.allocs().get() == 0
    }
}

/// As [`pop`], for an allocation that is no sample.
fn pop_plain(entry: ThreadCacheRef) -> Option<usize> {
    let rounds = entry.loaded_rounds().get();
    if rounds == 0 {
        return None;
    }
    entry.allocs().add(1);
    Some(take_round(entry, rounds))
}

/// Takes the hot round; the one below becomes hot.
#[inline(always)]
fn take_round(entry: ThreadCacheRef, rounds: u32) -> usize {
    // SAFETY: a loaded magazine has `loaded_rounds` rounds.
    let loaded = unsafe { MagazineRef::from_address(entry.loaded().get() as usize) };
    let (hot, below) = (
        entry.hot().get(),
        cache::top(loaded, rounds as usize - 1).get(),
    );
    entry.loaded_rounds().set(rounds - 1);
    // A signal handler that allocates here, and frees what it got, leaves the rounds where they are.
    compiler_fence(Ordering::Release);
    entry.hot().set(below);
    fast::forget(below);
    hot as usize
}

/// Pushes a round onto the loaded magazine, where it is hot. False: the magazine is full, or there is none, or the buffer is its last
/// round already.
#[inline(always)]
pub fn push(entry: ThreadCacheRef, address: usize) -> bool {
    let (rounds, hot) = (entry.loaded_rounds().get(), entry.hot().get());
    if rounds == entry.capacity().get() || hot == address as u64 {
        return false;
    }
    // SAFETY: a capacity above zero belongs to a loaded magazine.
    let loaded = unsafe { MagazineRef::from_address(entry.loaded().get() as usize) };
    cache::top(loaded, rounds as usize).set(hot);
    // A debugger that stops the thread here must not count a round that is not stored yet.
    compiler_fence(Ordering::Release);
    entry.hot().set(address as u64);
    compiler_fence(Ordering::Release);
    entry.loaded_rounds().set(rounds + 1);
    entry.frees().add(1);
    fast::forget(hot);
    true
}

/// Pops from the previous magazine, if the loaded one is empty and that one is not; the two change places. None also in a signal
/// handler that has interrupted the allocator, and where [`pop`] gives none.
#[inline]
pub fn pop_previous(entry: ThreadCacheRef) -> Option<usize> {
    let can = entry.loaded_rounds().get() == 0 && entry.previous_rounds().get() != 0;
    if !can || sync::has_interrupted() {
        return None;
    }
    exchange(entry);
    pop(entry)
}

/// Pushes onto the previous magazine, if the loaded one is full and that one is empty; the two change places. False also in a signal
/// handler that has interrupted the allocator, and where [`push`] says so.
#[inline]
pub fn push_previous(entry: ThreadCacheRef, address: usize) -> bool {
    let can = entry.loaded_rounds().get() == entry.capacity().get()
        && entry.previous().get() != 0
        && entry.previous_rounds().get() == 0
        && !is_last_freed(entry, address);
    if !can || sync::has_interrupted() {
        return false;
    }
    exchange(entry);
    push(entry, address)
}

/// Whether a buffer is the last one that the thread has freed: a double free.
pub fn is_last_freed(entry: ThreadCacheRef, address: usize) -> bool {
    entry.loaded_rounds().get() > 0 && entry.hot().get() == address as u64
}

/// Puts the hot round into its place in the loaded magazine.
fn store_hot(entry: ThreadCacheRef) {
    if let Some(loaded) = magazine(entry.loaded().get()) {
        cache::top(loaded, entry.loaded_rounds().get() as usize).set(entry.hot().get());
    }
}

/// Makes a magazine with so many rounds the loaded one; the entry has none.
fn set_loaded(entry: ThreadCacheRef, loaded: MagazineRef, rounds: u32) {
    entry.loaded().set(loaded.link());
    // Magazines of one cache may differ in size: see `update`.
    entry.capacity().set(loaded.capacity().get());
    entry.hot().set(cache::top(loaded, rounds as usize).get());
    compiler_fence(Ordering::Release);
    entry.loaded_rounds().set(rounds);
}

/// Exchanges the two magazines; there is a previous one.
fn exchange(entry: ThreadCacheRef) {
    let _section = sync::section();
    let Some(previous) = magazine(entry.previous().get()) else {
        return;
    };
    store_hot(entry);
    let (loaded, rounds) = (entry.loaded().get(), entry.loaded_rounds().get());
    let previous_rounds = entry.previous_rounds().get();
    entry.loaded_rounds().set(0);
    entry.previous_rounds().set(0);
    entry.previous().set(loaded);
    set_loaded(entry, previous, previous_rounds);
    entry.previous_rounds().set(rounds);
}

/// Puts `magazine` in the loaded place; what was loaded becomes previous, and what was previous goes to the depot.
fn load(cache: CacheRef, entry: ThreadCacheRef, new: MagazineRef, rounds: u32) {
    let section = sync::section();
    let (old, old_rounds) = (entry.previous().get(), entry.previous_rounds().get());
    let old_capacity = magazine(old).map_or(0, |old| old.capacity().get());
    place(cache, entry, new, rounds);
    drop(section);
    give(cache, old, old_rounds);
    budget::loaded(cache, new.capacity().get(), old_capacity, entry);
}

/// Puts a magazine in the loaded place; what was loaded becomes previous. In a section.
fn place(cache: CacheRef, entry: ThreadCacheRef, new: MagazineRef, rounds: u32) {
    store_hot(entry);
    entry.previous_rounds().set(0);
    entry.previous().set(entry.loaded().get());
    entry.previous_rounds().set(entry.loaded_rounds().get());
    entry.loaded_rounds().set(0);
    set_loaded(entry, new, rounds);
    sample::arm(cache, entry);
}

/// As [`load`], for a magazine that the depot gives in exchange for the previous one. False: it gives none, and nothing was changed.
fn trade(
    cache: CacheRef,
    entry: ThreadCacheRef,
    exchange: impl FnOnce(MagazineRef, u32) -> Option<MagazineRef>,
) -> bool {
    let section = sync::section();
    let Some(old) = magazine(entry.previous().get()) else {
        return false;
    };
    let rounds = entry.previous_rounds().get();
    // From here on it is the depot's, or nobody's.
    entry.previous_rounds().set(0);
    entry.previous().set(0);
    let Some(new) = exchange(old, rounds) else {
        entry.previous().set(old.link());
        entry.previous_rounds().set(rounds);
        return false;
    };
    let old_capacity = old.capacity().get();
    place(cache, entry, new, new.rounds().get());
    drop(section);
    budget::loaded(cache, new.capacity().get(), old_capacity, entry);
    true
}

/// Pops a round, from the loaded magazine if there is one by now: whoever registered the thread may have allocated, and an
/// allocation that was to be a sample comes here when it could not be. Else refills the magazine. None: no memory.
#[cold]
#[inline(never)]
pub fn refill(cache: CacheRef, entry: ThreadCacheRef, caller: Entry) -> Option<usize> {
    pop_plain(entry)
        .or_else(|| reload(cache, entry))
        .or_else(|| fill_from_slabs(cache, entry, caller))
}

/// A depot is visited: looks at the clock, where a thread that pauses is not told, or now and then.
fn visit() {
    const OFTEN: u32 = 16;
    let local = local();
    let visits = local.visits.get().wrapping_add(1);
    local.visits.set(visits);
    if !local.fast.has_mark() || visits.is_multiple_of(OFTEN) {
        update::tick();
    }
}

/// Pops a round for an allocation that is no sample, if the entry has magazines that are empty: what most calls need that the fast path
/// does not serve. None: the longer way.
#[inline]
pub fn pop_from_depot(cache: CacheRef, entry: ThreadCacheRef) -> Option<usize> {
    let is_usual = entry.loaded_rounds().get() == 0
        && entry.capacity().get() != 0
        && !sync::has_interrupted()
        && !is_sampling();
    if !is_usual {
        return None;
    }
    crate::fork::notice();
    reload(cache, entry)
}

/// Pushes a round, if the entry has magazines that are full. False: the longer way.
#[inline]
pub fn push_to_depot(cache: CacheRef, entry: ThreadCacheRef, address: usize) -> bool {
    let is_usual = entry.capacity().get() != 0
        && entry.loaded_rounds().get() == entry.capacity().get()
        && !is_last_freed(entry, address)
        && !sync::has_interrupted()
        && !is_sampling();
    if !is_usual {
        return false;
    }
    crate::fork::notice();
    drain(cache, entry, address)
}

/// Pops from the previous magazine, or from a full one of the depot. None: there is neither.
pub fn reload(cache: CacheRef, entry: ThreadCacheRef) -> Option<usize> {
    if entry.previous_rounds().get() > 0 {
        exchange(entry);
        return pop_plain(entry);
    }
    visit();
    if trade(cache, entry, |empty, _| cache::trade_empty(cache, empty)) {
        return pop_plain(entry);
    }
    if let Some(full) = cache::get_full(cache) {
        let rounds = full.rounds().get();
        load(cache, entry, full, rounds);
        return pop_plain(entry);
    }
    None
}

/// Fills half of a magazine from the slab layer, so that frees find room in it as well.
fn fill_from_slabs(cache: CacheRef, entry: ThreadCacheRef, caller: Entry) -> Option<usize> {
    let _section = sync::section();
    if entry.loaded().get() == 0 {
        let empty = cache::get_empty(cache)?;
        load(cache, entry, empty, 0);
    }
    let loaded = magazine(entry.loaded().get())?;
    let most = (loaded.capacity().get() as usize).div_ceil(2);
    let mut rounds = 0;
    let who = || call_for_report(caller);
    cache::batch(cache, most, who, |address| {
        cache::round(loaded, rounds).set(address as u64);
        rounds += 1;
    });
    // The chunk that is handed out first is the lowest one.
    reverse(loaded, rounds);
    set_loaded(entry, loaded, rounds as u32);
    pop_plain(entry)
}

fn reverse(magazine: MagazineRef, rounds: usize) {
    for index in 0..rounds / 2 {
        let (low, high) = (
            cache::round(magazine, index),
            cache::round(magazine, rounds - 1 - index),
        );
        let value = low.get();
        low.set(high.get());
        high.set(value);
    }
}

/// Makes room in the loaded magazine and pushes. False: no magazine could be had.
#[cold]
#[inline(never)]
pub fn drain(cache: CacheRef, entry: ThreadCacheRef, address: usize) -> bool {
    if entry.previous().get() != 0 && entry.previous_rounds().get() == 0 {
        exchange(entry);
        return push(entry, address);
    }
    visit();
    if trade(cache, entry, |full, rounds| {
        cache::trade_full(cache, full, rounds)
    }) {
        return push(entry, address);
    }
    let Some(empty) = cache::get_empty(cache) else {
        return false;
    };
    load(cache, entry, empty, 0);
    push(entry, address)
}

// ---- fork ----

/// Calls `act` for the lock of this layer.
pub fn for_each_lock(act: fn(&AtomicU32)) {
    act(&LIST_LOCK);
}

/// In the child of a fork only the calling thread lives on. The others may have been in the middle of an exchange: to use
/// their magazines could hand a buffer out twice, so those stay where they are, lost to the child.
pub fn after_fork() {
    let local = local();
    budget::only(0);
    update::after_fork();
    sample::after_fork(local);
    for thread in records().filter(|thread| thread.state().get() == thread_state::LIVE) {
        if thread.address() == local.thread.get() {
            budget::only(1);
            thread.tid().set(local.tid());
        } else {
            thread.state().store(thread_state::LOST, Ordering::Release);
        }
    }
}
