//! The slab layer of a cache.

use super::constructed;
use crate::{
    debug::{
        Call,
        buffer::Buffer,
        log,
        report::{self, Subject},
    },
    raw::{ArenaRef, Bitmap, CacheRef, Cell, SlabRef, byte},
    sync,
    vmem::{self, UNIT, arenas},
};
use core::sync::atomic::Ordering;
use umem_layout::{AuditRecord, Plain, Slab, buffer_state, cache_flag, operation, slab_kind, unit};

/// A chunk taken from a slab; its state is transit where states are kept.
#[derive(Clone, Copy)]
pub struct Taken {
    /// The chunk.
    pub buffer: Buffer,
    /// It was never handed out before.
    pub fresh: bool,
    /// It reads as zero.
    pub clean: bool,
}

fn link(value: u64) -> Option<SlabRef> {
    // SAFETY: links of a cache's list are zero or slabs of a region's table.
    unsafe { SlabRef::from_link(value) }
}

fn bitmap(slab: SlabRef) -> Bitmap {
    // SAFETY: a slab in use has a bitmap of its capacity.
    unsafe { Bitmap::at(slab.bitmap().get() as usize, slab.capacity().get() as usize) }
}

fn is_debugged(cache: CacheRef) -> bool {
    constructed::is_tagged(cache)
}

/// The chunk of a slab with a number.
pub fn buffer_of(slab: SlabRef, index: usize) -> Option<Buffer> {
    Buffer::at(slab, chunk_address(slab, index)).ok()
}

/// Address of a chunk.
pub(super) fn chunk_address(slab: SlabRef, index: usize) -> usize {
    slab.base().get() as usize + index * slab.chunk_size().get() as usize
}

// ---- list of slabs with free chunks, under the slab lock ----

fn list_push(cache: CacheRef, slab: SlabRef) {
    let head = cache.partial();
    slab.prev().set(0);
    slab.next().set(head.get());
    if let Some(next) = link(head.get()) {
        next.prev().set(slab.link());
    }
    head.set(slab.link());
}

fn list_remove(cache: CacheRef, slab: SlabRef) {
    match link(slab.prev().get()) {
        Some(prev) => prev.next().set(slab.next().get()),
        None => cache.partial().set(slab.next().get()),
    }
    if let Some(next) = link(slab.next().get()) {
        next.prev().set(slab.prev().get());
    }
    slab.next().set(0);
    slab.prev().set(0);
}

/// The structure that was overwritten, where a link of a list is not what it should be: the slab that it names, or `from`, which holds
/// it; zero is the cache.
fn damage_of_link(cache: CacheRef, value: u64, from: u64) -> Option<u64> {
    if value == 0 {
        return None;
    }
    match vmem::slab_of_link(value) {
        Some(slab) if !slab.is_whole() => Some(value),
        Some(slab) if slab.cache().get() != cache.link() => Some(from),
        Some(slab) if slab.prev().get() != from => Some(value),
        Some(_) => None,
        None => Some(from),
    }
}

/// In debugged caches: what was overwritten of the first slab of the list and of the links that are followed when it is taken off. The
/// slabs of the list are then left alone for ever. Under the slab lock.
fn drop_if_damaged(cache: CacheRef) -> Option<u64> {
    let head = cache.partial().get();
    if head == 0 || !is_debugged(cache) {
        return None;
    }
    let damaged = damage_of_link(cache, head, 0).or_else(|| {
        let next = link(head)?.next().get();
        damage_of_link(cache, next, head)
    });
    if damaged.is_some() {
        cache.partial().set(0);
    }
    damaged
}

/// Tells what [`drop_if_damaged`] found, outside of locks.
#[cold]
#[inline(never)]
fn tell_damaged(cache: CacheRef, slab: u64, call: &Call) {
    let subject = Subject {
        cache: Some(cache),
        ..Subject::address(0)
    };
    report::damaged_slab(slab, subject, call);
}

// ---- take and give back ----

/// Takes one chunk from the first slab with free ones, under the slab lock.
fn take_locked(cache: CacheRef) -> Option<Taken> {
    let slab = link(cache.partial().get())?;
    let bits = bitmap(slab);
    let index = bits.find_clear(slab.rotor().get() as usize)?;
    bits.set(index);
    slab.allocated().add(1);
    if slab.allocated().get() == slab.capacity().get() {
        list_remove(cache, slab);
    }
    slab.rotor().set(index as u32 + 1);
    cache.slab_allocs().add(1);
    let fresh = index as u32 >= slab.carved().get();
    let buffer = Buffer {
        address: chunk_address(slab, index),
        cache,
        slab,
        index,
    };
    if fresh {
        if let Some(record) = buffer.record() {
            record.initialize(AuditRecord::ZERO);
        }
        slab.carved().set(index as u32 + 1);
    }
    if let Some(state) = buffer.state() {
        state.store(buffer_state::TRANSIT, Ordering::Release);
    }
    let clean = fresh && slab.clean().get() != 0;
    Some(Taken {
        buffer,
        fresh,
        clean,
    })
}

/// Takes one chunk. None: no memory. `who` is asked, outside of locks, when a slab is made and the log of slabs is kept.
#[inline]
pub fn take(cache: CacheRef, who: impl Fn() -> Call) -> Option<Taken> {
    loop {
        let (damaged, taken) = {
            let _guard = sync::lock(cache.slab_lock());
            (drop_if_damaged(cache), take_locked(cache))
        };
        if let Some(slab) = damaged {
            tell_damaged(cache, slab, &who());
        }
        if taken.is_some() {
            return taken;
        }
        let slab = create(cache)?;
        if log::is_on(log::Kind::Slab) {
            log_slab(cache, slab, &who());
        }
        let _guard = sync::lock(cache.slab_lock());
        adopt(cache, slab);
    }
}

/// Takes up to `most` chunks of a cache without debugging, with the lock taken once; `put` gets each address. Returns how many
/// there were. For `who` see [`take`].
pub fn batch(
    cache: CacheRef,
    most: usize,
    who: impl Fn() -> Call,
    mut put: impl FnMut(usize),
) -> usize {
    debug_assert!(!is_debugged(cache));
    let Some(first) = take(cache, who) else {
        return 0;
    };
    put(first.buffer.address);
    let _guard = sync::lock(cache.slab_lock());
    let mut count = 1;
    while count < most {
        match take_word_locked(cache, most - count, &mut put) {
            0 => break,
            taken => count += taken,
        }
    }
    count
}

/// Takes a chunk of a debugged cache, as [`take`] does, and with it up to `most - 1` of those that come next, as long as they were handed
/// out before: `put` gets them, and they keep the state of free ones. For `who` see [`take`].
pub fn take_used(
    cache: CacheRef,
    most: usize,
    who: impl Fn() -> Call,
    mut put: impl FnMut(Buffer),
) -> Option<Taken> {
    let (damaged, taken) = {
        let _guard = sync::lock(cache.slab_lock());
        let mut damaged = drop_if_damaged(cache);
        let mut head = cache.partial().get();
        let taken = take_locked(cache);
        if let Some(taken) = taken {
            let mut left = match taken.fresh {
                true => 0,
                false => most.saturating_sub(1),
            };
            while left > 0 {
                // The slab behind one that is full now is the first.
                if cache.partial().get() != head {
                    head = cache.partial().get();
                    damaged = damaged.or(drop_if_damaged(cache));
                }
                match take_used_locked(cache, left, &mut put) {
                    0 => break,
                    count => left -= count,
                }
            }
        }
        (damaged, taken)
    };
    if let Some(slab) = damaged {
        tell_damaged(cache, slab, &who());
    }
    taken.or_else(|| take(cache, who))
}

/// Takes up to `most` chunks of the first slab that were handed out before, behind its rotor and of one word of the bitmap, under the slab
/// lock.
fn take_used_locked(cache: CacheRef, most: usize, put: &mut impl FnMut(Buffer)) -> usize {
    let Some(slab) = link(cache.partial().get()) else {
        return 0;
    };
    let (from, carved) = (
        slab.rotor().get() as usize,
        slab.carved().get().min(slab.capacity().get()) as usize,
    );
    // SAFETY: the first bits of the slab's bitmap.
    let used = unsafe { Bitmap::at(slab.bitmap().get() as usize, carved) };
    let is_next = from < carved && used.find_clear(from).is_some_and(|index| index >= from);
    let Some((word, taken)) = is_next.then(|| used.set_clear(from, most)).flatten() else {
        return 0;
    };
    let mut left = taken;
    while left != 0 {
        let index = word * 64 + left.trailing_zeros() as usize;
        put(Buffer {
            address: chunk_address(slab, index),
            cache,
            slab,
            index,
        });
        left &= left - 1;
    }
    count_taken(cache, slab, word, taken)
}

/// Counts chunks that were taken by a word of the bitmap, under the slab lock. Returns how many they are.
fn count_taken(cache: CacheRef, slab: SlabRef, word: usize, taken: u64) -> usize {
    let count = taken.count_ones();
    slab.rotor()
        .set(word as u32 * 64 + 64 - taken.leading_zeros());
    slab.allocated().add(count);
    if slab.allocated().get() == slab.capacity().get() {
        list_remove(cache, slab);
    }
    cache.slab_allocs().add(u64::from(count));
    count as usize
}

/// Takes up to `most` chunks that one word of the first slab's bitmap is about, under the slab lock.
fn take_word_locked(cache: CacheRef, most: usize, put: &mut impl FnMut(usize)) -> usize {
    let Some(slab) = link(cache.partial().get()) else {
        return 0;
    };
    let Some((word, taken)) = bitmap(slab).set_clear(slab.rotor().get() as usize, most) else {
        return 0;
    };
    let mut left = taken;
    while left != 0 {
        put(chunk_address(
            slab,
            word * 64 + left.trailing_zeros() as usize,
        ));
        left &= left - 1;
    }
    let end = word as u32 * 64 + 64 - taken.leading_zeros();
    slab.carved().set(slab.carved().get().max(end));
    count_taken(cache, slab, word, taken)
}

/// Gives a chunk back to its slab. False: it was not taken, which is a double free.
pub fn give_back(buffer: Buffer) -> bool {
    give_back_run(buffer.cache, 1, |_| Some(buffer)) == 1
}

/// Gives `count` chunks back with the lock taken once; `at` tells each. Returns how many there were before the first that is none,
/// or that was not taken.
pub fn give_back_run(cache: CacheRef, count: usize, at: impl Fn(usize) -> Option<Buffer>) -> usize {
    let mut emptied: Option<SlabRef> = None;
    let mut done = 0;
    let mut damaged = None;
    // Most of a run are of one slab.
    let mut whole = None;
    {
        let _guard = sync::lock(cache.slab_lock());
        while done < count {
            let Some(buffer) = at(done) else {
                break;
            };
            if whole != Some(buffer.slab) && is_debugged(cache) && !buffer.slab.is_whole() {
                damaged = Some(buffer.slab.link());
                done += 1;
                continue;
            }
            whole = Some(buffer.slab);
            if !give_back_locked(buffer, &mut damaged) {
                break;
            }
            done += 1;
            if retire_if_spare(cache, buffer.slab) {
                buffer.slab.next().set(emptied.map_or(0, SlabRef::link));
                emptied = Some(buffer.slab);
            }
        }
    }
    while let Some(slab) = emptied {
        emptied = link(slab.next().get());
        destroy(cache, slab);
    }
    if let Some(slab) = damaged {
        report::damaged_slab_late(slab, 0, Some(cache));
    }
    done
}

/// Gives a chunk back under the slab lock. Production takes the lowest free chunk next, debugged caches the one longest free.
/// `damaged` gets what was overwritten of the list.
fn give_back_locked(buffer: Buffer, damaged: &mut Option<u64>) -> bool {
    let Buffer {
        cache, slab, index, ..
    } = buffer;
    let bits = bitmap(slab);
    if !bits.is_set(index) {
        return false;
    }
    bits.clear(index);
    if !is_debugged(cache) {
        slab.rotor().set(slab.rotor().get().min(index as u32));
    }
    if let Some(state) = buffer.state() {
        state.store(buffer_state::FREE, Ordering::Release);
    }
    cache.slab_frees().add(1);
    let was_full = slab.allocated().get() == slab.capacity().get();
    slab.allocated().subtract(1);
    if was_full {
        *damaged = damaged.or(drop_if_damaged(cache));
        list_push(cache, slab);
    }
    true
}

/// Takes an empty slab off the list when the cache has another one to serve from.
fn retire_if_spare(cache: CacheRef, slab: SlabRef) -> bool {
    let alone = cache.partial().get() == slab.link() && slab.next().get() == 0;
    if slab.allocated().get() != 0 || alone || is_debugged(cache) {
        return false;
    }
    withdraw(cache, slab);
    true
}

/// Withdraws a damaged buffer: it stays taken for ever, and says so.
pub fn abandon(buffer: Buffer) {
    if let Some(state) = buffer.state() {
        state.store(buffer_state::ABANDONED, Ordering::Release);
    }
    buffer.cache.abandoned().fetch_add(1, Ordering::Relaxed);
}

// ---- making and unmaking slabs, without locks ----

/// Where the per-chunk arrays of a slab stand in its one piece of metadata.
struct Arrays {
    states: usize,
    families: usize,
    records: usize,
    total: usize,
}

impl Arrays {
    fn of(cache: CacheRef) -> Self {
        let chunks = cache.slab_capacity().get() as usize;
        let bitmap = Bitmap::bytes(chunks);
        if !is_debugged(cache) {
            let bitmaps = 1 + usize::from(constructed::is_kept(cache));
            return Self {
                states: 0,
                families: 0,
                records: 0,
                total: bitmap * bitmaps,
            };
        }
        let (states, families) = (bitmap, bitmap + chunks);
        let behind = (families + chunks).next_multiple_of(16);
        let audited = cache.flags().get() & cache_flag::AUDIT != 0;
        let total = if audited {
            behind + chunks * size_of::<AuditRecord>()
        } else {
            behind
        };
        Self {
            states,
            families,
            records: if audited { behind } else { 0 },
            total,
        }
    }
    /// Bytes that must be zero in a new slab: all but the records, which are cleared one by one.
    fn cleared(&self) -> usize {
        if self.records != 0 {
            self.records
        } else {
            self.total
        }
    }
}

fn create(cache: CacheRef) -> Option<SlabRef> {
    let arrays = Arrays::of(cache);
    let size = cache.slab_size().get() as usize;
    let Some(aux) = vmem::alloc(arenas().internal, arrays.total, 64) else {
        return fail(cache);
    };
    let metadata = aux.start().get() as usize;
    let Some((start, clean, slab)) = alloc_units(source(cache), size) else {
        vmem::free(arenas().internal, metadata);
        return fail(cache);
    };
    for index in 0..arrays.cleared() {
        // SAFETY: the piece of metadata has `total` bytes and belongs to this slab alone.
        unsafe { byte(metadata, index) }.set(0);
    }
    let at = |offset: usize| {
        if offset == 0 {
            0
        } else {
            (metadata + offset) as u64
        }
    };
    let color = next_color(cache);
    slab.initialize(Slab {
        kind: slab_kind::UNUSED,
        cache: cache.link(),
        base: start as u64 + u64::from(color),
        bitmap: metadata as u64,
        states: at(arrays.states),
        families: at(arrays.families),
        records: at(arrays.records),
        capacity: cache.slab_capacity().get(),
        chunk_size: cache.chunk_size().get() as u32,
        color,
        units: (size / UNIT) as u32,
        clean: clean.into(),
        ..Slab::ZERO
    });
    slab.seal_fixed();
    mark(cache, start, size);
    slab.kind().store(slab_kind::SLAB, Ordering::Release);
    Some(slab)
}

#[cold]
fn log_slab(cache: CacheRef, slab: SlabRef, call: &Call) {
    let what = log::Transaction {
        buffer: start_of(slab),
        owner: cache.link(),
        size: cache.slab_size().get(),
        operation: operation::SLAB_CREATE,
        ..log::Transaction::default()
    };
    log::append(log::Kind::Slab, call, &what);
}

/// Address of a slab's first unit.
fn start_of(slab: SlabRef) -> usize {
    (slab.base().get() - u64::from(slab.color().get())) as usize
}

fn source(cache: CacheRef) -> ArenaRef {
    // SAFETY: a cache names the arena that it was created with.
    unsafe { ArenaRef::from_address(cache.arena().get() as usize) }
}

/// Units for a slab, with its structure. Arenas of programs may hand out memory that has none; it goes back.
fn alloc_units(arena: ArenaRef, size: usize) -> Option<(usize, bool, SlabRef)> {
    let memory = vmem::alloc_span(arena, size, UNIT)?;
    let start = memory.start().get() as usize;
    let clean = vmem::is_clean(memory);
    let slot = vmem::slab_slot(start).filter(|_| vmem::slab_slot(start + size - 1).is_some());
    if slot.is_none() {
        vmem::free(arena, start);
    }
    Some((start, clean, slot?))
}

fn fail(cache: CacheRef) -> Option<SlabRef> {
    cache.fails().fetch_add(1, Ordering::Relaxed);
    None
}

/// Slabs of one cache begin at different offsets, so that their first buffers do not share cache lines.
fn next_color(cache: CacheRef) -> u32 {
    let align = cache.align().get() as u32;
    let color = cache.color().get();
    let next = color + align.max(64);
    cache.color().set(if next > cache.color_max().get() {
        0
    } else {
        next
    });
    if color.is_multiple_of(align) {
        color
    } else {
        0
    }
}

fn mark(cache: CacheRef, start: usize, size: usize) {
    for step in 1..size / UNIT {
        if let Some(interior) = vmem::slab_slot(start + step * UNIT) {
            interior.initialize(Slab {
                kind: slab_kind::INTERIOR,
                head_delta: step as u32,
                ..Slab::ZERO
            });
        }
    }
    let kind = match cache.size_class().get() {
        0 => unit::SLAB_OTHER,
        class => class as u8,
    };
    vmem::mark_units(start, size, kind);
}

fn adopt(cache: CacheRef, slab: SlabRef) {
    list_push(cache, slab);
    cache.slab_creates().add(1);
    cache.buffers().add(u64::from(slab.capacity().get()));
    cache
        .buffers_max()
        .set(cache.buffers_max().get().max(cache.buffers().get()));
}

/// Destroys the slabs of a cache that are empty. `look_at` is called for each of their chunks that was ever handed out.
pub fn destroy_empty(cache: CacheRef, look_at: impl Fn(Buffer)) {
    let mut emptied: Option<SlabRef> = None;
    let mut damaged;
    {
        let _guard = sync::lock(cache.slab_lock());
        let head = cache.partial().get();
        let checked = |value, from| {
            let damage = is_debugged(cache).then(|| damage_of_link(cache, value, from));
            damage.flatten()
        };
        damaged = checked(head, 0);
        let mut next = link(head).filter(|_| damaged.is_none());
        while let Some(slab) = next {
            let behind = slab.next().get();
            damaged = checked(behind, slab.link());
            if damaged.is_some() {
                break;
            }
            next = link(behind);
            if slab.allocated().get() == 0 {
                withdraw(cache, slab);
                slab.next().set(emptied.map_or(0, SlabRef::link));
                emptied = Some(slab);
            }
        }
    }
    while let Some(slab) = emptied {
        emptied = link(slab.next().get());
        let carved = slab.carved().get().min(slab.capacity().get());
        (0..carved as usize)
            .filter_map(|index| buffer_of(slab, index))
            .for_each(&look_at);
        destroy(cache, slab);
    }
    if let Some(slab) = damaged {
        report::damaged_slab_late(slab, 0, Some(cache));
    }
}

/// Takes an empty slab off the list, under the slab lock. Its link can hold those that are to be destroyed.
fn withdraw(cache: CacheRef, slab: SlabRef) {
    list_remove(cache, slab);
    cache.slab_destroys().add(1);
    cache.buffers().subtract(u64::from(slab.capacity().get()));
}

fn destroy(cache: CacheRef, slab: SlabRef) {
    constructed::destruct_all(cache, slab);
    let size = cache.slab_size().get() as usize;
    let start = start_of(slab);
    let metadata = slab.bitmap().get() as usize;
    for step in 0..size / UNIT {
        if let Some(slot) = vmem::slab_slot(start + step * UNIT) {
            slot.kind().store(slab_kind::UNUSED, Ordering::Release);
        }
    }
    vmem::mark_units(start, size, unit::UNUSED);
    vmem::free(arenas().internal, metadata);
    vmem::free(source(cache), start);
}
