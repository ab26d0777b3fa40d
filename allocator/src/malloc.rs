//! The semantics of the malloc family.
//!
//! **Owns** the way from a request to a buffer and back. **May use** all layers. Each function takes the [`Entry`]
//! of the call, so that stacks begin at the caller of the allocation function.
//!
//! # The descent
//! ```text
//! allocate: loaded magazine            pop, ends here in all but one of M calls
//!   allocate_slow                      set up, registration, previous magazine, depot, slabs
//!   allocate_buffer                    debugged caches: stack, slab layer, checks, fill, record
//!   allocate_block                     larger than the largest class, or unusual alignment
//! release: map of units → class → loaded magazine   push, ends here in all but one of M calls
//!   release_slow                       debugged caches, blocks, foreign addresses
//! ```
#![allow(unsafe_code)]

use crate::{
    cache::{self, LARGEST},
    checked,
    debug::{
        Return,
        buffer::{self, Buffer},
        inject,
    },
    init,
    raw::{ArenaRef, CacheRef, Cell, SegmentRef, root},
    relief, reserve, sync,
    sys::{
        memory::{self, PAGE},
        process,
    },
    thread::{self, fast, growth},
    unwind::{self, Entry},
    vmem::{self, arenas},
};
use core::sync::atomic::{AtomicUsize, Ordering};
use umem_layout::{buffer_state, cache_flag, family, policy, unit};

/// Alignment of every result.
pub const ALIGN: usize = 16;
const ENOMEM: i32 = 12;
const EINVAL: i32 = 22;
/// Requests beyond this cannot be met; glibc has the same limit.
const REQUEST_MAX: usize = isize::MAX as usize;

// The slow functions take their arguments in the order in which the entries have them in registers: moving them
// would cost the fast path four instructions a pair.

/// Allocates `size` bytes, 16-aligned. Zero: no memory, `errno` is ENOMEM.
#[inline(always)]
pub fn allocate(size: usize, family: u8, entry: Entry) -> usize {
    if size <= LARGEST {
        let entry = thread::quick_cache_at(cache::entry_offset(size));
        if let Some(address) = entry.and_then(thread::pop) {
            return address;
        }
    }
    allocate_slow(size, entry, family)
}

/// Goes on where the fast path of [`allocate`] fails.
#[cold]
#[inline(never)]
pub fn allocate_slow(size: usize, entry: Entry, family: u8) -> usize {
    thread::heed();
    if inject::strikes() {
        return out_of_memory(size, entry);
    }
    if size <= LARGEST
        && let Some(magazines) = thread::fast_cache_at(cache::entry_offset(size))
        && let Some(address) = thread::pop_previous(magazines)
            .or_else(|| thread::pop_from_depot(cache::classes(cache::class_for(size)), magazines))
    {
        fast::forget_all();
        return address;
    }
    let address = allocate_sure(size, family, entry);
    let address = address.unwrap_or_else(|| out_of_memory(size, entry));
    fast::forget_all();
    address
}

/// Allocates as [`allocate`] does, but without failure injection, and `errno` is left alone.
#[inline]
pub fn allocate_sure(size: usize, family: u8, entry: Entry) -> Option<usize> {
    if sync::has_interrupted() {
        return reserve::allocate(size, ALIGN);
    }
    if !init::ensure() {
        return None;
    }
    allocate_ready(size, family, entry).or_else(|| allocate_again(size, family, entry))
}

#[cold]
#[inline(never)]
fn allocate_again(size: usize, family: u8, entry: Entry) -> Option<usize> {
    relief::again(size, entry, || allocate_ready(size, family, entry))
}

#[cold]
fn out_of_memory(size: usize, entry: Entry) -> usize {
    if !sync::has_interrupted() {
        checked::failed(size, entry);
    }
    process::set_errno(ENOMEM);
    0
}

#[inline(always)]
fn allocate_ready(size: usize, family: u8, entry: Entry) -> Option<usize> {
    if size > cache::limit() {
        if let Some(address) = checked::allocate_firewalled(size, family, entry) {
            return Some(address);
        }
        return allocate_block(arenas().oversize, size, PAGE, family, entry)
            .map(|(address, _)| address);
    }
    let class = cache::class_for(size);
    let cache = cache::classes(class);
    if cache.flags().get() != 0 {
        if let Some(address) = checked::allocate_firewalled(size, family, entry) {
            return Some(address);
        }
        return checked::allocate_buffer(cache, size, family, entry);
    }
    allocate_plain(class, size, family, entry)
}

/// As [`checked::allocate_buffer`], where few calls come.
#[inline(never)]
fn allocate_debugged(cache: CacheRef, size: usize, family: u8, entry: Entry) -> Option<usize> {
    checked::allocate_buffer(cache, size, family, entry)
}

/// Allocates from a class that is not debugged.
fn allocate_plain(class: usize, requested: usize, family: u8, entry: Entry) -> Option<usize> {
    let cache = cache::classes(class);
    let local = thread::local();
    thread::register(local);
    let magazines = local.cache(class);
    let kept = magazines.filter(|_| thread::keeps(cache));
    if thread::is_sample(cache, magazines, kept.is_some())
        && let Some(address) = allocate_sample(cache, requested, family, entry)
    {
        return Some(address);
    }
    match kept {
        Some(magazines) => thread::refill(cache, magazines, entry),
        None => take_counted(cache, entry).map(|taken| taken.buffer.address),
    }
}

/// Serves an allocation that is a sample: from the twin of the cache, or as a block where there is none. None: there is no memory
/// for it.
#[cold]
fn allocate_sample(cache: CacheRef, size: usize, family: u8, entry: Entry) -> Option<usize> {
    if let Some(twin) = cache::twin(cache) {
        return allocate_debugged(twin, size, family, entry);
    }
    let wanted = Wanted {
        size,
        room: size,
        flags: cache::SAMPLE_FLAGS,
        picked: cache.buffer_size().get() as usize,
    };
    allocate_block_as(arenas().oversize, &wanted, PAGE, family, entry).map(|(address, _)| address)
}

/// For threads that are not in service, and with magazines off.
fn take_counted(cache: CacheRef, entry: Entry) -> Option<cache::Taken> {
    let taken = cache::take(cache, || thread::call_for_report(entry))?;
    cache.allocs().fetch_add(1, Ordering::Relaxed);
    Some(taken)
}

/// A block to be allocated.
struct Wanted {
    /// Bytes that the program asked for.
    size: usize,
    /// Bytes that it has room for.
    room: usize,
    /// Its checks.
    flags: u32,
    /// Bytes that decided whether it is a sample.
    picked: usize,
}

impl Wanted {
    /// A block of `size` bytes, with the checks that concern a single buffer, or with those of a sample.
    fn of(size: usize) -> Self {
        const CHECKS: u32 = cache_flag::AUDIT | cache_flag::REDZONE | cache_flag::DEADBEEF;
        let picked = vmem::round_up(size.clamp(1, REQUEST_MAX), ALIGN);
        let flags = match thread::is_sample_of(picked as u64) {
            true => cache::SAMPLE_FLAGS,
            false => root().debug_flags().get() & CHECKS,
        };
        Self {
            size,
            room: size,
            flags,
            picked,
        }
    }
}

/// A block of an arena, and whether it reads as zero.
fn allocate_block(
    arena: ArenaRef,
    size: usize,
    align: usize,
    family: u8,
    entry: Entry,
) -> Option<(usize, bool)> {
    if size > REQUEST_MAX {
        return None;
    }
    allocate_block_as(arena, &Wanted::of(size), align, family, entry)
}

#[inline(never)]
fn allocate_block_as(
    arena: ArenaRef,
    wanted: &Wanted,
    align: usize,
    family: u8,
    entry: Entry,
) -> Option<(usize, bool)> {
    let &Wanted { size, flags, .. } = wanted;
    let call = thread::call_for(flags, entry);
    let room = buffer::block_size(size, flags)?.max(wanted.room).max(1);
    let block = vmem::alloc(arena, room, align)?;
    let clean = vmem::is_clean(block) && flags == 0;
    buffer::block_allocated(block, arena.link(), size, flags, family, &call);
    buffer::set_picked_by(block, wanted.picked);
    Some((block.start().get() as usize, clean))
}

/// Allocates `size` bytes at a multiple of `align`, a power of two. Zero: no memory, `errno` is ENOMEM.
pub fn allocate_aligned(size: usize, align: usize, family: u8, entry: Entry) -> usize {
    if align <= ALIGN {
        return allocate(size, family, entry);
    }
    allocate_aligned_quietly(size, align, family, entry)
        .unwrap_or_else(|| out_of_memory(size, entry))
}

/// The fast path of [`allocate_aligned_quietly`] alone.
#[inline(always)]
pub fn allocate_aligned_quickly(size: usize, align: usize) -> Option<usize> {
    thread::quick_cache(cache::aligned_slot(size, align)).and_then(thread::pop)
}

/// Allocates as [`allocate_aligned`] does, but leaves `errno` alone.
#[inline(always)]
pub fn allocate_aligned_quietly(
    size: usize,
    align: usize,
    family: u8,
    entry: Entry,
) -> Option<usize> {
    if let Some(address) = allocate_aligned_quickly(size, align) {
        return Some(address);
    }
    allocate_aligned_slow(size, align, family, entry)
}

/// Goes on where [`allocate_aligned_quickly`] fails.
#[cold]
#[inline(never)]
pub fn allocate_aligned_slow(size: usize, align: usize, family: u8, entry: Entry) -> Option<usize> {
    thread::heed();
    if inject::strikes() {
        return None;
    }
    let magazines = thread::fast_cache(cache::aligned_slot(size, align));
    if let Some(address) = magazines.and_then(thread::pop_previous) {
        return Some(address);
    }
    let address = allocate_aligned_sure(size, align, family, entry);
    fast::forget_all();
    address
}

/// Allocates as [`allocate_aligned`] does, but without failure injection, and `errno` is left alone.
pub fn allocate_aligned_sure(size: usize, align: usize, family: u8, entry: Entry) -> Option<usize> {
    if sync::has_interrupted() {
        return reserve::allocate(size, align);
    }
    if !init::ensure() {
        return None;
    }
    let attempt = || match cache::aligned_class(size, align) {
        Some(class) => allocate_from_class(class, size, family, entry),
        None => allocate_block(arenas().memalign, size, align.max(PAGE), family, entry)
            .map(|(address, _)| address),
    };
    attempt().or_else(|| relief::again(size, entry, attempt))
}

fn allocate_from_class(class: usize, size: usize, family: u8, entry: Entry) -> Option<usize> {
    let cache = cache::classes(class);
    match cache.flags().get() {
        0 => allocate_plain(class, size, family, entry),
        _ => allocate_debugged(cache, size, family, entry),
    }
}

/// Allocates zeroed memory for `count` elements of `size` bytes.
pub fn allocate_zeroed(count: usize, size: usize, entry: Entry) -> usize {
    let Some(total) = count.checked_mul(size) else {
        return out_of_memory(usize::MAX, entry);
    };
    thread::heed();
    let fresh = total > FRESH_MIN && root().debug_flags().get() == 0;
    if fresh && !sync::has_interrupted() && init::ensure() {
        return allocate_fresh(total, entry);
    }
    let address = allocate(total, family::MALLOC, entry);
    if address != 0 {
        // SAFETY: the buffer has at least `total` bytes and belongs to this call.
        unsafe { zero(address, total) };
    }
    address
}

/// From this size on memory that is known to read as zero is left alone, so that untouched pages stay untouched.
const FRESH_MIN: usize = 16 << 10;

/// Allocates zeroed memory in production, above [`FRESH_MIN`].
#[inline(never)]
fn allocate_fresh(size: usize, entry: Entry) -> usize {
    if inject::strikes() {
        return out_of_memory(size, entry);
    }
    let attempt = || allocate_maybe_clean(size, entry);
    let Some((address, clean)) = attempt().or_else(|| relief::again(size, entry, attempt)) else {
        return out_of_memory(size, entry);
    };
    if !clean {
        // SAFETY: the buffer has at least `size` bytes and belongs to this call.
        unsafe { zero(address, size) };
    }
    address
}

/// Allocates, and says whether the memory reads as zero: it is fresh from the system.
fn allocate_maybe_clean(size: usize, entry: Entry) -> Option<(usize, bool)> {
    if size > cache::limit() {
        return allocate_block(arenas().oversize, size, PAGE, family::MALLOC, entry);
    }
    let class = cache::class_for(size);
    let local = thread::local();
    thread::register(local);
    let (cache, magazines) = (cache::classes(class), local.cache(class));
    if let Some(address) = magazines.and_then(thread::pop) {
        return Some((address, false));
    }
    if thread::is_sample(cache, magazines, magazines.is_some())
        && let Some(address) = allocate_sample(cache, size, family::MALLOC, entry)
    {
        return Some((address, false));
    }
    if let Some(address) = magazines.and_then(|entry| thread::reload(cache, entry)) {
        return Some((address, false));
    }
    let taken = cache::take(cache, || thread::call_for_report(entry))?;
    match magazines {
        Some(entry) => entry.allocs().add(1),
        None => drop(cache.allocs().fetch_add(1, Ordering::Relaxed)),
    }
    Some((taken.buffer.address, taken.clean))
}

/// Large blocks are zeroed by giving their pages back, so that untouched ones stay untouched.
const PURGE_MIN: usize = 1 << 20;

/// # Safety
/// The range belongs to the caller.
#[inline(never)]
pub(crate) unsafe fn zero(address: usize, size: usize) {
    let (start, end) = (
        vmem::round_up(address, PAGE),
        (address + size) & !(PAGE - 1),
    );
    // SAFETY: whole pages within the caller's range.
    if size < PURGE_MIN || !unsafe { crate::sys::memory::purge(start, end - start) } {
        // SAFETY: promised by the caller.
        unsafe { core::ptr::write_bytes(address as *mut u8, 0, size) };
        return;
    }
    // SAFETY: the bytes before and behind the pages that were purged.
    unsafe {
        core::ptr::write_bytes(address as *mut u8, 0, start - address);
        core::ptr::write_bytes(end as *mut u8, 0, address + size - end);
    }
}

// ---- free ----

/// Gives a buffer back. Zero is allowed. `errno` is left alone.
///
/// # Safety
/// The program no longer uses the buffer.
#[inline(always)]
pub unsafe fn release(address: usize, entry: Entry) {
    // An address that is not in the first region has the kind of an unused unit, whose entry takes nothing; so has zero.
    let slot = usize::from(vmem::first_unit_kind(address));
    if let Some(magazines) = thread::quick_cache(slot)
        && thread::push(magazines, address)
    {
        return;
    }
    release_slow(address, entry);
}

/// The class of an address, from the first region's map alone.
#[inline(always)]
pub(crate) fn fast_class(address: usize) -> Option<usize> {
    cache::class_of_unit(vmem::first_unit_kind(address))
}

/// Goes on where the fast path of [`release`] fails.
#[cold]
#[inline(never)]
pub fn release_slow(address: usize, entry: Entry) {
    release_as(Return::FREE, address, entry);
    fast::forget_all();
}

/// Frees what `operator new` gave, where the fast path of `operator delete` fails.
#[cold]
#[inline(never)]
pub fn release_object_slow(address: usize, entry: Entry) {
    release_as(Return::DELETE, address, entry);
    fast::forget_all();
}

/// Frees what `operator new[]` gave, where the fast path of `operator delete[]` fails.
#[cold]
#[inline(never)]
pub fn release_array_slow(address: usize, entry: Entry) {
    release_as(Return::DELETE_ARRAY, address, entry);
    fast::forget_all();
}

/// Frees what an operator gave, where the fast path of an `operator delete` with a size fails.
#[cold]
#[inline(never)]
pub fn release_sized_slow(how: Return, address: usize, entry: Entry) {
    release_as(how, address, entry);
    fast::forget_all();
}

/// Frees an address, which may be zero, by a function that is named in error reports.
pub(crate) fn release_as(how: Return, address: usize, entry: Entry) {
    thread::heed();
    let slot = usize::from(vmem::first_unit_kind(address));
    if let Some(magazines) = thread::fast_cache(slot)
        && (thread::push_previous(magazines, address)
            || !reserve::has_waiting()
                && cache::of_slot(slot)
                    .is_some_and(|cache| thread::push_to_depot(cache, magazines, address)))
    {
        return;
    }
    if address == 0 {
        return;
    }
    if reserve::contains(address) || sync::has_interrupted() {
        return release_apart(how, address, entry);
    }
    if !init::ensure() {
        return checked::invalid(address, how, entry);
    }
    if unwind::is_loader(entry) {
        unwind::history::freed_by_loader(address);
    }
    if reserve::has_waiting() {
        release_waiting(entry);
    }
    release_any(how, address, entry);
}

/// Frees what signal handlers have left.
#[cold]
#[inline(never)]
fn release_waiting(entry: Entry) {
    reserve::for_each_waiting(|address, how| release_any(how, address, entry));
}

#[inline(always)]
fn release_any(how: Return, address: usize, entry: Entry) {
    match vmem::unit_kind(address) {
        unit::BLOCKS => checked::release_block(address, how, entry),
        unit::UNUSED => checked::invalid(address, how, entry),
        _ => release_buffer(address, how, entry),
    }
}

/// Frees what a signal handler got from the reserve, or what such a handler frees: see `reserve`.
#[cold]
fn release_apart(how: Return, address: usize, entry: Entry) {
    if !reserve::contains(address) {
        reserve::defer(address, how);
    } else if !reserve::release(address) {
        checked::invalid(address, how, entry);
    }
}

#[inline(always)]
fn release_buffer(address: usize, how: Return, entry: Entry) {
    let Some(slab) = vmem::slab_at(address) else {
        return checked::invalid(address, how, entry);
    };
    let buffer = match Buffer::at(slab, address) {
        Ok(buffer) if buffer.index < slab.carved().get() as usize => buffer,
        Ok(_) => return checked::invalid(address, how, entry),
        Err(start) => return checked::inside(slab, start, address, how, entry),
    };
    if buffer.cache.policy().get() & policy::SIZED == 0 {
        return checked::of_program(buffer, how, entry);
    }
    if buffer.cache.flags().get() != 0 {
        return checked::release_buffer(buffer, how, entry);
    }
    let local = thread::local();
    thread::register(local);
    local.see_region();
    let magazines =
        cache::class_of_unit(vmem::unit_kind(address)).and_then(|class| local.cache(class));
    if magazines.is_some_and(|magazines| thread::is_last_freed(magazines, address)) {
        return checked::freed_twice(buffer, how, entry);
    }
    let kept = magazines.filter(|_| thread::keeps(buffer.cache));
    if kept.is_some_and(|magazines| {
        thread::push(magazines, address) || thread::drain(buffer.cache, magazines, address)
    }) {
        return;
    }
    if cache::give_back(buffer) {
        buffer.cache.frees().fetch_add(1, Ordering::Relaxed);
    } else {
        checked::freed_twice(buffer, how, entry);
    }
}

// ---- sizes and realloc ----

/// The class of a buffer, when it is one of a class that is not debugged.
#[inline(always)]
fn plain_class(address: usize) -> Option<usize> {
    fast_class(address).filter(|_| root().debug_flags().get() == 0)
}

/// Bytes that the program may use: in debugged caches exactly what it asked for.
#[inline]
pub fn usable_size(address: usize) -> Option<usize> {
    match plain_class(address) {
        Some(class) => Some(cache::class_size(class)),
        None => usable_size_slow(address),
    }
}

#[cold]
fn usable_size_slow(address: usize) -> Option<usize> {
    match vmem::unit_kind(address) {
        unit::UNUSED => reserve::size_of(address),
        // To look for the block takes a lock.
        unit::BLOCKS if sync::has_interrupted() => None,
        unit::BLOCKS => {
            let (_, block) = checked::block_at(address)?;
            if u32::from(block.flags().get()) & (cache_flag::REDZONE | cache_flag::FIREWALL) != 0 {
                return Some(block.requested().get() as usize);
            }
            Some((block.end().get() - block.start().get()) as usize)
        }
        _ => {
            let buffer = Buffer::at(vmem::slab_at(address)?, address).ok()?;
            match buffer.cache.flags().get() & cache_flag::REDZONE {
                0 => Some(buffer.cache.buffer_size().get() as usize),
                _ => buffer.requested(),
            }
        }
    }
}

/// Changes the size of a buffer, moving it when it has no room. Zero: no memory, or the new size is zero and
/// the buffer was freed; on failure the old buffer stays.
///
/// # Safety
/// The program uses the buffer only through the result from now on.
#[inline]
pub unsafe fn reallocate(address: usize, size: usize, entry: Entry) -> usize {
    if address != 0 && !thread::has_paused() {
        let stays = match plain_class(address) {
            Some(class) => keeps_place(size, cache::class_size(class)),
            None => growth::grow(address, size),
        };
        if stays {
            return address;
        }
    }
    // SAFETY: promised by the caller.
    unsafe { reallocate_moving(address, size, entry) }
}

/// Goes on where [`reallocate`] cannot leave the buffer where it lies.
///
/// # Safety
/// As for [`reallocate`].
#[inline(never)]
unsafe fn reallocate_moving(address: usize, size: usize, entry: Entry) -> usize {
    thread::heed();
    if address == 0 {
        return allocate(size, family::MALLOC, entry);
    }
    if let Some(class) = plain_class(address) {
        let usable = cache::class_size(class);
        if keeps_place(size, usable) {
            return address;
        }
        if size > usable
            && size < GROWN_PAGE
            // SAFETY: promised by the caller; the buffer has so many bytes.
            && let Some(new) = unsafe { move_to_grow(address, usable, size, entry) }
        {
            return new;
        }
    } else if growth::grow(address, size) {
        return address;
    }
    // SAFETY: promised by the caller.
    let new = unsafe { reallocate_slow(address, size, entry) };
    fast::forget_all();
    new
}

/// Moves a buffer of a class that is not debugged, and that grows, by the shortest way. None: it takes the longer one.
///
/// # Safety
/// As for [`reallocate`]; the buffer has `usable` bytes.
#[inline(always)]
unsafe fn move_to_grow(address: usize, usable: usize, size: usize, entry: Entry) -> Option<usize> {
    let room = growth::room_for(address, size);
    let new = thread::fast_cache_at(cache::entry_offset(room)).and_then(thread::pop)?;
    // SAFETY: both buffers are live, of at least that many bytes, and distinct.
    unsafe {
        core::ptr::copy_nonoverlapping(address as *const u8, new as *mut u8, usable);
        release(address, entry);
    }
    growth::moved(new);
    Some(new)
}

/// # Safety
/// As for [`reallocate`].
#[inline(never)]
unsafe fn reallocate_slow(address: usize, size: usize, entry: Entry) -> usize {
    if size == 0 {
        // SAFETY: promised by the caller.
        unsafe { release(address, entry) };
        return 0;
    }
    if reserve::contains(address) || sync::has_interrupted() {
        // SAFETY: promised by the caller.
        return unsafe { reallocate_apart(address, size, entry) };
    }
    if !init::ensure()
        || !(plain_class(address).is_some() || checked::may_resize(address, Return::REALLOC, entry))
    {
        process::set_errno(EINVAL);
        return 0;
    }
    let Some(usable) = usable_size(address) else {
        return out_of_memory(size, entry);
    };
    let plain = root().debug_flags().get() == 0;
    if plain {
        growth::leave(address);
    }
    if plain && resize_block(address, size, entry) {
        return address;
    }
    let new = match twin_that_keeps(address, size) {
        Some(twin) => checked::allocate_buffer(twin, size, family::MALLOC, entry)
            .unwrap_or_else(|| out_of_memory(size, entry)),
        None if plain && size > usable => allocate_to_grow(address, size, entry),
        None => allocate(size, family::MALLOC, entry),
    };
    if new != 0 {
        // SAFETY: both buffers are live, of at least that many bytes, and distinct.
        unsafe {
            transfer(address, new, usable.min(size));
            release(address, entry);
        }
    }
    new
}

/// From this size on pages are moved and not copied.
const MOVE_MIN: usize = 4 << 20;
/// Each move may leave the process with two mappings more, of which the kernel keeps 65,530 for it.
const MOVES_MAX: usize = 8192;

/// Copies a buffer; of a large block the pages change their place, so that neither time nor memory is spent on a second copy.
///
/// # Safety
/// Both buffers have at least `size` bytes and are distinct; the old one is not read any more.
unsafe fn transfer(from: usize, to: usize, size: usize) {
    static MOVES: AtomicUsize = AtomicUsize::new(0);
    let mut moved = 0;
    let pages = (from | to).is_multiple_of(PAGE) && root().debug_flags().get() == 0;
    if size >= MOVE_MIN && pages && MOVES.fetch_add(1, Ordering::Relaxed) < MOVES_MAX {
        let whole = size & !(PAGE - 1);
        // SAFETY: whole pages of two blocks.
        if unsafe { memory::move_pages(from, to, whole) } {
            moved = whole;
        }
    }
    // SAFETY: promised by the caller; what has not moved.
    unsafe {
        core::ptr::copy_nonoverlapping(
            (from + moved) as *const u8,
            (to + moved) as *mut u8,
            size - moved,
        );
    }
}

/// Moves what a signal handler got from the reserve, or what such a handler resizes. It cannot resize a block.
///
/// # Safety
/// As for [`reallocate`].
#[cold]
unsafe fn reallocate_apart(address: usize, size: usize, entry: Entry) -> usize {
    let Some(usable) = usable_size(address) else {
        return out_of_memory(size, entry);
    };
    let new = allocate(size, family::MALLOC, entry);
    if new != 0 {
        // SAFETY: both buffers are live, of at least that many bytes, and distinct.
        unsafe {
            core::ptr::copy_nonoverlapping(address as *const u8, new as *mut u8, usable.min(size));
            release(address, entry);
        }
    }
    new
}

/// The twin of a sample that is to be resized and would stay where it is if it were none. So it stays a sample.
fn twin_that_keeps(address: usize, size: usize) -> Option<CacheRef> {
    let cache = Buffer::at(vmem::slab_at(address)?, address).ok()?.cache;
    let is_twin = cache.policy().get() & policy::TWIN != 0;
    (is_twin && keeps_place(size, cache.buffer_size().get() as usize)).then_some(cache)
}

/// Whether a buffer with room for `usable` bytes stays where it is when it is to have `size` bytes.
#[inline]
fn keeps_place(size: usize, usable: usize) -> bool {
    size <= usable && size > usable / 2
}

/// A buffer that was moved because it grew will grow again. From a page on it gets room for that, which takes no memory as
/// long as it is not touched, and from here on it becomes a block, which grows in place.
const GROWN_PAGE: usize = PAGE;
const GROWN_BLOCK: usize = 32 << 10;
/// Most bytes of room for growth.
const ROOM_MAX: usize = 32 << 20;

/// Half as much again.
fn with_room(size: usize) -> usize {
    size + (size / 2).min(ROOM_MAX)
}

/// A larger buffer for one that has grown to `size` bytes, in production. Zero: no memory, `errno` is ENOMEM.
fn allocate_to_grow(old: usize, size: usize, entry: Entry) -> usize {
    let grown = match size {
        GROWN_PAGE.. if growth::is_last_moved(old) && !thread::is_sampling() => {
            begin_to_grow(size, entry).or_else(|| allocate_block_to_grow(size, entry))
        }
        GROWN_PAGE..GROWN_BLOCK => allocate_in_class_for(2 * size, size, entry),
        GROWN_BLOCK.. => allocate_block_to_grow(size, entry),
        _ => None,
    };
    let new = grown.unwrap_or_else(|| allocate(size, family::MALLOC, entry));
    growth::moved(new);
    new
}

/// A block that is the thread's growing one.
fn begin_to_grow(size: usize, entry: Entry) -> Option<usize> {
    let block = growth::begin(size)?;
    let (arena, call) = (arenas().oversize.link(), thread::call_for(0, entry));
    buffer::block_allocated(block, arena, size, 0, family::MALLOC, &call);
    Some(block.start().get() as usize)
}

/// Allocates from the class of a larger size.
fn allocate_in_class_for(larger: usize, size: usize, entry: Entry) -> Option<usize> {
    if larger > cache::limit() {
        return None;
    }
    thread::fast_cache_at(cache::entry_offset(larger))
        .and_then(thread::pop)
        .or_else(|| allocate_plain(cache::class_for(larger), size, family::MALLOC, entry))
}

fn allocate_block_to_grow(size: usize, entry: Entry) -> Option<usize> {
    if size > REQUEST_MAX / 2 {
        return None;
    }
    let wanted = Wanted {
        room: with_room(size),
        ..Wanted::of(size)
    };
    allocate_block_as(arenas().oversize, &wanted, PAGE, family::MALLOC, entry)
        .map(|(address, _)| address)
}

/// Grows or shrinks a block in place, in production. False: it is no block, has no room, or is to become a buffer.
fn resize_block(address: usize, size: usize, entry: Entry) -> bool {
    let stays = (GROWN_BLOCK..=REQUEST_MAX / 2).contains(&size);
    if !stays || vmem::unit_kind(address) != unit::BLOCKS {
        return false;
    }
    let Some((arena, block)) = checked::block_at(address) else {
        return false;
    };
    let have = (block.end().get() - block.start().get()) as usize;
    // Room for a trailer whether it is to be a sample or not: which blocks move must not depend on that.
    let need = match thread::is_sampling() {
        true => buffer::block_size(size, cache::SAMPLE_FLAGS).unwrap_or(size),
        false => size,
    };
    if need > have
        && !vmem::extend(arena, address, with_room(need))
        && !vmem::extend(arena, address, need)
    {
        return false;
    }
    if size <= have / 2 {
        vmem::shrink(arena, address, need);
    }
    resized(arena, block, size, entry);
    true
}

/// A block has another size now. It stays a sample, or none, where a buffer would keep its place; else that is decided anew, as for
/// a new allocation.
fn resized(arena: ArenaRef, block: SegmentRef, size: usize, entry: Entry) {
    let (before, picked) = (u32::from(block.flags().get()), buffer::picked_by(block));
    let wanted = match keeps_place(size, picked) {
        true => Wanted {
            flags: before,
            picked,
            ..Wanted::of(size)
        },
        false => Wanted::of(size),
    };
    if (before | wanted.flags) & cache_flag::SAMPLED == 0 {
        block.requested().set(size as u64);
        buffer::set_picked_by(block, wanted.picked);
        return;
    }
    block
        .state()
        .store(buffer_state::TRANSIT, Ordering::Release);
    let call = thread::call_for(wanted.flags, entry);
    let family = block.family().get();
    buffer::block_allocated(block, arena.link(), size, wanted.flags, family, &call);
    buffer::set_picked_by(block, wanted.picked);
}
