//! The debugged half of the malloc family's way back: what is freed or resized is looked at first.
//!
//! **Owns** how an address that comes back is judged, and freed buffers and blocks that wait in quarantine. **May use** all layers
//! before `malloc`.

use crate::{
    cache,
    debug::{
        Call, Return,
        buffer::{self, Buffer, Damage},
        log, operators,
        report::{self, Subject},
        time,
    },
    init,
    raw::{ArenaRef, CacheRef, Cell, RecordRef, SegmentRef, SlabRef, root},
    sys::{
        memory::{self, PAGE},
        process, single,
    },
    thread,
    unwind::Entry,
    vmem::{self, arenas},
};
use core::sync::atomic::{AtomicUsize, Ordering};
use umem_layout::{buffer_state, cache_flag, error_code, family, operation, policy, unit};

fn call_with_stack(call: &Call, entry: Entry) -> Call {
    if call.stack == 0 {
        thread::call_for_report(entry)
    } else {
        *call
    }
}

/// Tells what is wrong with a buffer or block, on behalf of a call.
pub(crate) fn tell(damage: &Damage, subject: &Subject, call: &Call, entry: Entry) {
    report::report(damage, subject, &call_with_stack(call, entry));
}

/// Reports a buffer that the caller of `how` was not to free, with nothing known but the kind of error.
#[cold]
pub(crate) fn refuse(code: u32, subject: &Subject, entry: Entry) {
    report::report(&Damage::new(code), subject, &thread::call_for_report(entry));
}

/// An address that is in no buffer, or in a slab whose structure was overwritten.
#[cold]
pub(crate) fn invalid(address: usize, how: Return, entry: Entry) {
    if recent::holds(address) {
        return refuse(
            error_code::DUPLICATE_FREE,
            &Subject::address(address).by(how),
            entry,
        );
    }
    let call = if init::ensure() {
        thread::call_for_report(entry)
    } else {
        Call {
            time: time::now(),
            thread: process::thread_id(),
            stack: 0,
        }
    };
    let subject = Subject {
        sp: entry.sp,
        ..Subject::address(address).by(how)
    };
    if let Some(slab) = vmem::damaged_slab_at(address) {
        return report::damaged_slab(slab.link(), subject, &call);
    }
    report::report(&Damage::new(error_code::BAD_ADDRESS), &subject, &call);
}

/// An address inside of a chunk.
#[cold]
pub(crate) fn inside(slab: SlabRef, start: usize, address: usize, how: Return, entry: Entry) {
    match Buffer::at(slab, start) {
        Ok(buffer) if buffer.index < slab.carved().get() as usize => refuse(
            error_code::BAD_BASE,
            &Subject::buffer(buffer, address).by(how),
            entry,
        ),
        _ => invalid(address, how, entry),
    }
}

/// A buffer that is freed though it is free.
#[cold]
pub(crate) fn freed_twice(buffer: Buffer, how: Return, entry: Entry) {
    let subject = Subject::buffer(buffer, buffer.address).by(how);
    refuse(error_code::DUPLICATE_FREE, &subject, entry);
}

/// An object of a cache of the program goes back by umem_cache_free only: it has to be in constructed state.
#[cold]
pub(crate) fn of_program(buffer: Buffer, how: Return, entry: Entry) {
    let subject = Subject::buffer(buffer, buffer.address).by(how);
    refuse(error_code::WRONG_CACHE, &subject, entry);
}

/// Whether memory of a family is not to come back this way. Between malloc and the operators of C++ it may, when one of the objects
/// has operators of its own inside.
#[inline]
fn is_mistaken(allocated: u8, how: Return, record: Option<RecordRef>, entry: Entry) -> bool {
    !how.takes(allocated) && !are_private_operators(allocated, how, record, entry)
}

#[cold]
fn are_private_operators(
    allocated: u8,
    how: Return,
    record: Option<RecordRef>,
    entry: Entry,
) -> bool {
    let is_operator = |family| matches!(family, family::NEW | family::NEW_ARRAY);
    let is_malloc = |family| matches!(family, family::MALLOC | family::MEMALIGN);
    if is_malloc(allocated) && is_operator(how.family) {
        return operators::are_inside_caller(record.map_or(0, |record| record.alloc_stack().get()));
    }
    is_operator(allocated) && is_malloc(how.family) && operators::are_inside(entry.caller())
}

/// Allocates a buffer of a debugged class. None: no memory.
#[inline(always)]
pub(crate) fn allocate_buffer(
    cache: CacheRef,
    size: usize,
    family: u8,
    entry: Entry,
) -> Option<usize> {
    let who = || thread::call_for_report(entry);
    let mut taken = thread::take(cache, who)?;
    let call = thread::call_for(cache.flags().get(), entry);
    while let Err(damage) = buffer::allocated(taken.buffer, taken.fresh, size, family, &call) {
        withdraw(taken.buffer, &damage, &call, entry);
        taken = thread::take(cache, who)?;
    }
    single::add(cache.allocs(), 1);
    Some(taken.buffer.address)
}

/// A buffer was found damaged when it was to be handed out.
#[cold]
#[inline(never)]
fn withdraw(buffer: Buffer, damage: &Damage, call: &Call, entry: Entry) {
    let subject = Subject::buffer(buffer, buffer.address);
    cache::abandon(buffer);
    tell(damage, &subject, call, entry);
}

/// Frees a buffer of a debugged class.
#[inline(always)]
pub(crate) fn release_buffer(buffer: Buffer, how: Return, entry: Entry) {
    buffer.prefetch();
    let call = thread::call_for(buffer.cache.flags().get(), entry);
    let family = buffer.family();
    if family != how.family {
        look_at_family(buffer, family, how, &call, entry);
    } else if how.size != Return::ANY_SIZE {
        look_at_size(buffer, how, &call, entry);
    }
    match buffer::freed(buffer, &call) {
        Ok(()) => {
            single::add(buffer.cache.frees(), 1);
            if root().options().quarantine_bytes == 0 || !thread::quarantine(buffer) {
                thread::give_back(buffer);
            }
        }
        Err(damage) => keep_from_program(buffer, &damage, how, &call, entry),
    }
}

/// Memory of another family than that of the function which frees it.
#[cold]
#[inline(never)]
fn look_at_family(buffer: Buffer, family: u8, how: Return, call: &Call, entry: Entry) {
    if buffer.is_allocated() && is_mistaken(family, how, buffer.record(), entry) {
        let subject = Subject::buffer(buffer, buffer.address).by(how);
        tell(&how.mismatch(family), &subject, call, entry);
    }
}

/// Memory of the family that the function takes, with the size that the program says.
#[inline(never)]
fn look_at_size(buffer: Buffer, how: Return, call: &Call, entry: Entry) {
    let requested = buffer.requested().filter(|_| buffer.is_allocated());
    if let Some(requested) = requested.filter(|&size| size != how.size) {
        let subject = Subject::buffer(buffer, buffer.address).by(how);
        tell(&Damage::of_size(requested, how.size), &subject, call, entry);
    }
}

/// A buffer was found damaged when it was freed.
#[cold]
#[inline(never)]
fn keep_from_program(buffer: Buffer, damage: &Damage, how: Return, call: &Call, entry: Entry) {
    let subject = Subject::buffer(buffer, buffer.address).by(how);
    // A double free leaves the buffer to whom it belongs now.
    if damage.code != error_code::DUPLICATE_FREE {
        cache::abandon(buffer);
    }
    tell(damage, &subject, call, entry);
}

/// An allocation failed: what the log of failures and `checknull` want to know of.
#[cold]
pub(crate) fn failed(size: usize, entry: Entry) {
    let checks = root().debug_flags().get() & cache_flag::CHECKNULL != 0;
    if !init::is_ready() || !(checks || log::is_on(log::Kind::Fail)) {
        return;
    }
    let call = thread::call_for_report(entry);
    let what = log::Transaction {
        size: size as u64,
        operation: operation::FAIL,
        ..log::Transaction::default()
    };
    log::append(log::Kind::Fail, &call, &what);
    if checks {
        let subject = Subject {
            requested: Some(size),
            ..Subject::address(0)
        };
        report::report(&Damage::new(error_code::NO_MEMORY), &subject, &call);
    }
}

// ---- buffers before a guard page ----

/// Allocates a buffer that ends at an inaccessible page, if `firewall` says so for its size. None: it says no, there is no
/// memory, or the kernel keeps no more mappings, which is counted; the buffer then gets a redzone.
#[inline]
pub(crate) fn allocate_firewalled(size: usize, family: u8, entry: Entry) -> Option<usize> {
    let least = root().options().firewall_min as usize;
    if least == 0 || size < least || size > MOST_FIREWALLED {
        return None;
    }
    firewalled(size, family, entry)
}

/// Larger ones are left to their redzones: twice their pages would be too much address space.
const MOST_FIREWALLED: usize = 1 << 30;

/// Mappings that guard pages leave to the program and to the heap: the kernel splits mappings for them, and refuses everybody when there
/// are too many.
const MAPPINGS_LEFT: usize = 4096;
/// Mappings that a guard page costs: itself, and what is split off behind it.
const MAPPINGS_EACH: usize = 2;
static FENCES: AtomicUsize = AtomicUsize::new(0);

fn most_fences() -> usize {
    static MOST: AtomicUsize = AtomicUsize::new(0);
    if MOST.load(Ordering::Relaxed) == 0 {
        let limit = memory::mappings_limit().saturating_sub(MAPPINGS_LEFT) / MAPPINGS_EACH;
        MOST.store(limit.max(1), Ordering::Relaxed);
    }
    MOST.load(Ordering::Relaxed)
}

/// Makes a page inaccessible, within the limit.
fn fence(page: usize) -> bool {
    let before = FENCES.fetch_add(1, Ordering::Relaxed);
    let fenced = before < most_fences() && memory::protect(page, PAGE);
    if !fenced {
        FENCES.fetch_sub(1, Ordering::Relaxed);
        root().firewall_dropped().fetch_add(1, Ordering::Relaxed);
    }
    fenced
}

#[inline(never)]
fn firewalled(size: usize, family: u8, entry: Entry) -> Option<usize> {
    let call = thread::call(entry);
    let arena = arenas().oversize;
    let room = vmem::round_up(size.max(1), PAGE);
    let block = vmem::alloc(arena, room + PAGE, PAGE)?;
    let start = block.start().get() as usize;
    if !fence(start + room) {
        vmem::free(arena, start);
        return None;
    }
    let flags = root().debug_flags().get()
        & (cache_flag::AUDIT | cache_flag::DEADBEEF | cache_flag::FIREWALL);
    buffer::block_allocated(block, arena.link(), size, flags, family, &call);
    Some(block.buffer().get() as usize)
}

// ---- blocks ----

const BLOCK_ARENAS: usize = 2;

fn block_arenas() -> [ArenaRef; BLOCK_ARENAS] {
    [arenas().oversize, arenas().memalign]
}

/// Checks all blocks and reports what is damaged. Returns how many are.
pub(crate) fn verify_blocks(entry: Entry) -> usize {
    let mut damaged = 0;
    for arena in block_arenas() {
        vmem::for_each_allocated(arena, |block| {
            if let Err(damage) = buffer::check_any_block(block) {
                let subject = block_subject(block, block.buffer().get() as usize);
                report::report(&damage, &subject, &thread::call_for_report(entry));
                damaged += 1;
            }
        });
    }
    damaged
}

pub(crate) fn block_at(address: usize) -> Option<(ArenaRef, SegmentRef)> {
    let starts_at = |start| {
        block_arenas()
            .into_iter()
            .find_map(|arena| vmem::find(arena, start).map(|block| (arena, block)))
    };
    // A buffer before a guard page begins somewhere in the first page of its block.
    starts_at(address)
        .or_else(|| starts_at(address & !(PAGE - 1)))
        .filter(|(_, block)| block.buffer().get() as usize == address)
}

pub(crate) fn block_subject(block: SegmentRef, address: usize) -> Subject {
    Subject {
        buffer: Some(block.buffer().get() as usize),
        record: Some(block.record()).filter(|record| record.alloc_time().get() != 0),
        requested: Some(block.requested().get() as usize),
        ..Subject::address(address)
    }
}

/// Frees a block.
pub(crate) fn release_block(address: usize, how: Return, entry: Entry) {
    let Some((arena, block)) = block_at(address) else {
        return inside_block(address, how, entry);
    };
    let call = thread::call_for(block.flags().get().into(), entry);
    let family = block.family().get();
    let live = block.state().load(Ordering::Acquire) == buffer_state::ALLOCATED;
    let checks = cache_flag::REDZONE | cache_flag::FIREWALL;
    if live && u32::from(block.flags().get()) & checks != 0 {
        let requested = block.requested().get() as usize;
        let subject = || block_subject(block, address).by(how);
        if is_mistaken(family, how, Some(block.record()), entry) {
            tell(&how.mismatch(family), &subject(), &call, entry);
        } else if family == how.family && ![Return::ANY_SIZE, requested].contains(&how.size) {
            let damage = Damage::of_size(requested, how.size);
            tell(&damage, &subject(), &call, entry);
        }
    }
    match buffer::block_freed(block, arena.link(), &call) {
        Ok(()) => {
            recent::keep(address);
            quarantine::put(arena, block, entry);
        }
        Err(damage) => {
            let subject = block_subject(block, address).by(how);
            if damage.code != error_code::DUPLICATE_FREE {
                block
                    .state()
                    .store(buffer_state::ABANDONED, Ordering::Release);
            }
            tell(&damage, &subject, &call, entry);
        }
    }
}

/// An address in a unit of blocks that came back by umem_cache_free.
#[cold]
pub(crate) fn block_to_cache(address: usize, named: CacheRef, entry: Entry) {
    let how = Return::CACHE_FREE;
    let Some((_, block)) = block_at(address) else {
        return inside_block(address, how, entry);
    };
    let damage = match block.state().load(Ordering::Acquire) {
        buffer_state::ALLOCATED => Damage {
            expected: block.family().get().into(),
            ..Damage::new(error_code::WRONG_CACHE)
        },
        _ => Damage::new(error_code::DUPLICATE_FREE),
    };
    let subject = Subject {
        named: Some(named),
        ..block_subject(block, address).by(how)
    };
    report::report(&damage, &subject, &thread::call_for_report(entry));
}

/// An address in a unit of blocks that is no block's start.
#[cold]
fn inside_block(address: usize, how: Return, entry: Entry) {
    let around = block_arenas()
        .into_iter()
        .find_map(|arena| vmem::around(arena, address));
    match around {
        Some(block) => refuse(
            error_code::BAD_BASE,
            &block_subject(block, address).by(how),
            entry,
        ),
        None => invalid(address, how, entry),
    }
}

// ---- realloc ----

/// Looks at what is to be resized. False: it is not to be touched, and that was told.
pub(crate) fn may_resize(address: usize, how: Return, entry: Entry) -> bool {
    match vmem::unit_kind(address) {
        unit::UNUSED => {
            invalid(address, how, entry);
            false
        }
        unit::BLOCKS => may_resize_block(address, how, entry),
        _ => may_resize_buffer(address, how, entry),
    }
}

fn may_resize_block(address: usize, how: Return, entry: Entry) -> bool {
    let Some((_, block)) = block_at(address) else {
        inside_block(address, how, entry);
        return false;
    };
    let checked = buffer::check_block(block);
    if let Err(damage) = &checked {
        let call = thread::call_for_report(entry);
        tell(damage, &block_subject(block, address).by(how), &call, entry);
    }
    checked.is_ok()
}

fn may_resize_buffer(address: usize, how: Return, entry: Entry) -> bool {
    let Some(slab) = vmem::slab_at(address) else {
        invalid(address, how, entry);
        return false;
    };
    let buffer = match Buffer::at(slab, address) {
        Ok(buffer) if buffer.index < slab.carved().get() as usize => buffer,
        Ok(_) => {
            invalid(address, how, entry);
            return false;
        }
        Err(start) => {
            inside(slab, start, address, how, entry);
            return false;
        }
    };
    if buffer.cache.policy().get() & policy::SIZED == 0 {
        of_program(buffer, how, entry);
        return false;
    }
    let subject = || Subject::buffer(buffer, address).by(how);
    let family = buffer.family();
    if buffer.is_allocated() && is_mistaken(family, how, buffer.record(), entry) {
        let call = thread::call_for_report(entry);
        tell(&how.mismatch(family), &subject(), &call, entry);
    }
    let checked = buffer::check_live(buffer);
    if let Err(damage) = &checked {
        tell(damage, &subject(), &thread::call_for_report(entry), entry);
    }
    checked.is_ok()
}

// ---- blocks that were freed last ----

mod recent {
    //! Addresses of the blocks that were freed last. Of a block that went back to its arena nothing is left but free address space; so a
    //! second free of it is known for what it is, as long as nothing else has come to lie there.

    use super::*;

    const BLOCKS: usize = 64;
    static ADDRESSES: [AtomicUsize; BLOCKS] = [const { AtomicUsize::new(0) }; BLOCKS];
    static NEXT: AtomicUsize = AtomicUsize::new(0);

    pub fn keep(address: usize) {
        let at = NEXT.fetch_add(1, Ordering::Relaxed);
        ADDRESSES[at % BLOCKS].store(address, Ordering::Relaxed);
    }

    #[cold]
    pub fn holds(address: usize) -> bool {
        ADDRESSES
            .iter()
            .any(|known| known.load(Ordering::Relaxed) == address)
    }
}

// ---- blocks that wait ----

mod quarantine {
    //! Freed blocks wait as well: they hold the free pattern, of the largest only the first bytes; the pages behind them are given back
    //! and read as zero. Both are looked at before the address space is used again, so that a late write is found, and a
    //! second free is known for what it is.

    use super::*;
    use crate::{raw::Global, sync};
    use core::sync::atomic::AtomicU32;

    /// Blocks that wait at most.
    const BLOCKS: usize = 32;
    /// Bytes of pages that they keep at most.
    const KEPT: usize = 32 << 20;

    /// The same for samples, in a process that serves.
    const KEPT_OF_SAMPLES: usize = 4 << 20;
    /// Samples above this size do not wait.
    const LARGEST_SAMPLE: usize = 1 << 20;

    fn is_large_sample(block: SegmentRef) -> bool {
        u32::from(block.flags().get()) & cache_flag::SAMPLED != 0
            && buffer::kept_of_block(block) > LARGEST_SAMPLE
    }

    /// Addresses of an arena and of a segment of it.
    type Waiting = (usize, usize);

    /// Those that wait, the oldest at `first`.
    struct Ring {
        blocks: [Waiting; BLOCKS],
        first: usize,
        count: usize,
        kept: usize,
    }

    static LOCK: AtomicU32 = AtomicU32::new(0);
    static RING: Global<Ring> = Global::new(Ring {
        blocks: [(0, 0); BLOCKS],
        first: 0,
        count: 0,
        kept: 0,
    });

    fn block_of(waiting: Waiting) -> (ArenaRef, SegmentRef) {
        // SAFETY: the ring holds addresses of an arena and of an allocated segment of it.
        unsafe {
            (
                ArenaRef::from_address(waiting.0),
                SegmentRef::from_address(waiting.1),
            )
        }
    }

    impl Ring {
        /// Takes a block in, unless there is no room.
        fn push(&mut self, waiting: Waiting, bytes: usize) -> bool {
            let most = match thread::is_sampling() {
                true => KEPT_OF_SAMPLES,
                false => KEPT,
            };
            let has_room = self.count == 0 || self.count < BLOCKS && self.kept + bytes <= most;
            if has_room {
                self.blocks[(self.first + self.count) % BLOCKS] = waiting;
                self.count += 1;
                self.kept += bytes;
            }
            has_room
        }

        /// Takes the block out that has waited longest.
        fn pop(&mut self) -> (ArenaRef, SegmentRef) {
            let oldest = block_of(self.blocks[self.first % BLOCKS]);
            self.first = (self.first + 1) % BLOCKS;
            self.count -= 1;
            self.kept -= buffer::kept_of_block(oldest.1);
            oldest
        }
    }

    /// Takes a freed block in; those that have waited longest go back to their arenas.
    pub fn put(arena: ArenaRef, block: SegmentRef, entry: Entry) {
        let flags = u32::from(block.flags().get());
        let waits = flags & cache_flag::DEADBEEF != 0 && !is_large_sample(block);
        if root().options().quarantine_bytes == 0 || !waits {
            return free(arena, block);
        }
        buffer::fill_block(block);
        block
            .state()
            .store(buffer_state::QUARANTINED, Ordering::Release);
        let waiting = (arena.address(), block.address());
        let bytes = buffer::kept_of_block(block);
        loop {
            let oldest = {
                let _guard = sync::lock(&LOCK);
                // SAFETY: the lock is held; nothing else refers to the ring.
                let ring = unsafe { &mut *RING.get() };
                if ring.push(waiting, bytes) {
                    return;
                }
                ring.pop()
            };
            leave(oldest.0, oldest.1, entry);
        }
    }

    /// Gives all blocks that wait back to their arenas.
    pub fn flush(entry: Entry) {
        for _ in 0..BLOCKS {
            let oldest = {
                let _guard = sync::lock(&LOCK);
                // SAFETY: the lock is held; nothing else refers to the ring.
                let ring = unsafe { &mut *RING.get() };
                (ring.count > 0).then(|| ring.pop())
            };
            let Some((arena, block)) = oldest else { break };
            leave(arena, block, entry);
        }
    }

    fn leave(arena: ArenaRef, block: SegmentRef, entry: Entry) {
        match buffer::check_freed_block(block) {
            Ok(()) => free(arena, block),
            Err(damage) => {
                block
                    .state()
                    .store(buffer_state::ABANDONED, Ordering::Release);
                let subject = block_subject(block, block.buffer().get() as usize);
                report::report(&damage, &subject, &thread::call_for_report(entry));
            }
        }
    }

    fn free(arena: ArenaRef, block: SegmentRef) {
        if u32::from(block.flags().get()) & cache_flag::FIREWALL != 0 {
            memory::unprotect(block.end().get() as usize - PAGE, PAGE);
            FENCES.fetch_sub(1, Ordering::Relaxed);
        }
        vmem::free_block(arena, block);
        thread::tick();
    }

    /// The ring's lock, for fork.
    pub fn lock_word() -> &'static AtomicU32 {
        &LOCK
    }
}

pub(crate) use quarantine::{flush as flush_blocks, lock_word};
