//! umem_alloc(3) and its kin: buffers whose size the program knows when it frees them.
//!
//! They come from the same caches and arenas as malloc's. A free is checked against the size that was asked for where that
//! is known (debugged caches, blocks), else against the size class.

use super::nofail::{self, may_fail};
use crate::{
    cache::{self, LARGEST},
    checked,
    debug::{
        Return,
        buffer::{Buffer, Damage},
        inject,
        report::{self, Subject},
    },
    malloc,
    raw::Cell,
    sync,
    sys::process,
    thread,
    unwind::Entry,
    vmem,
};
use core::{ffi::c_int, sync::atomic::Ordering};
use umem_layout::{buffer_state, family, unit};

/// Least alignment that can be asked for.
const ALIGN_MIN: usize = 8;

/// Allocates `size` bytes. Zero: `size` is zero, or there is no memory and the allocation may fail; `errno` is left alone.
#[inline(always)]
pub fn allocate(size: usize, flags: c_int, entry: Entry) -> usize {
    if size.wrapping_sub(1) < LARGEST
        && let Some(address) =
            thread::quick_cache_at(cache::entry_offset(size)).and_then(thread::pop)
    {
        return address;
    }
    allocate_slow(size, flags, entry)
}

#[cold]
#[inline(never)]
fn allocate_slow(size: usize, flags: c_int, entry: Entry) -> usize {
    thread::heed();
    if size == 0 {
        return 0;
    }
    insist(flags, || malloc::allocate_sure(size, family::UMEM, entry))
}

/// Tries until there is memory, or the allocation may fail. Zero: it failed.
fn insist(flags: c_int, mut attempt: impl FnMut() -> Option<usize>) -> usize {
    loop {
        let struck = may_fail(flags) && inject::strikes();
        let address = if struck { None } else { attempt() };
        match address {
            Some(address) => return address,
            None if nofail::retry(flags) => {}
            None => return 0,
        }
    }
}

/// Allocates `size` zero bytes.
pub fn allocate_zeroed(size: usize, flags: c_int, entry: Entry) -> usize {
    let address = allocate(size, flags, entry);
    if address != 0 {
        // SAFETY: the buffer has at least `size` bytes and belongs to this call.
        unsafe { malloc::zero(address, size) };
    }
    address
}

/// Allocates `size` bytes at a multiple of `align`. Zero also for a size of zero or an alignment that is no power of two.
pub fn allocate_aligned(size: usize, align: usize, flags: c_int, entry: Entry) -> usize {
    thread::heed();
    if size == 0 || !align.is_power_of_two() {
        return 0;
    }
    let errno = process::errno();
    let align = align.max(ALIGN_MIN);
    let address = insist(flags, || match align <= malloc::ALIGN {
        true => malloc::allocate_sure(size, family::UMEM, entry),
        false => malloc::allocate_aligned_sure(size, align, family::UMEM, entry),
    });
    process::set_errno(errno);
    address
}

/// Frees what [`allocate`] gave for this size. Zero is allowed.
///
/// # Safety
/// The program no longer uses the buffer.
#[inline(always)]
pub unsafe fn free(address: usize, size: usize, entry: Entry) {
    if let Some(class) = malloc::fast_class(address)
        && size <= LARGEST
        && cache::class_for(size) == class
        && let Some(magazines) = thread::quick_cache(cache::slot_of_class(class))
        && thread::push(magazines, address)
    {
        return;
    }
    free_slow(Return::UMEM_FREE, address, size, entry);
}

/// Frees what [`allocate_aligned`] gave for this size. Zero is allowed.
///
/// # Safety
/// The program no longer uses the buffer.
pub unsafe fn free_aligned(address: usize, size: usize, entry: Entry) {
    free_slow(Return::UMEM_FREE_ALIGN, address, size, entry);
}

#[cold]
#[inline(never)]
fn free_slow(how: Return, address: usize, size: usize, entry: Entry) {
    if address == 0 {
        return;
    }
    if sync::has_interrupted() {
        return malloc::release_as(how, address, entry);
    }
    // Aligned buffers may come from a larger class than their size has.
    let exact_class = how.function == Return::UMEM_FREE.function;
    let wrong = match vmem::unit_kind(address) {
        unit::UNUSED => None,
        unit::BLOCKS => wrong_block(address, size),
        kind => class_of_buffer(address, kind)
            .and_then(|class| wrong_buffer(address, class, size, exact_class)),
    };
    match wrong {
        None => malloc::release_as(how, address, entry),
        Some((damage, subject)) => {
            report::report(&damage, &subject.by(how), &thread::call_for_report(entry));
        }
    }
}

/// The class that a buffer serves, also as a sample.
fn class_of_buffer(address: usize, kind: u8) -> Option<usize> {
    cache::class_of_unit(kind).or_else(|| {
        let sample = Buffer::at(vmem::slab_at(address)?, address).ok()?.cache;
        let origin = cache::origin(sample)?;
        (origin.size_class().get() as usize).checked_sub(1)
    })
}

/// A live block that was allocated with another size. It stays with whoever has it.
fn wrong_block(address: usize, size: usize) -> Option<(Damage, Subject)> {
    let (_, block) = checked::block_at(address)?;
    let live = block.state().load(Ordering::Acquire) == buffer_state::ALLOCATED;
    let allocated = block.requested().get() as usize;
    (live && allocated != size).then(|| {
        (
            Damage::of_size(allocated, size),
            checked::block_subject(block, address),
        )
    })
}

/// A live buffer that was allocated with another size, as far as that can be told.
fn wrong_buffer(
    address: usize,
    class: usize,
    size: usize,
    exact_class: bool,
) -> Option<(Damage, Subject)> {
    let buffer = Buffer::at(vmem::slab_at(address)?, address).ok()?;
    let allocated = match buffer.requested() {
        Some(_) if !buffer.is_allocated() => return None,
        Some(requested) => requested,
        None if fits_class(class, size, exact_class) => return None,
        None => cache::class_size(class),
    };
    (allocated != size).then(|| {
        (
            Damage::of_size(allocated, size),
            Subject::buffer(buffer, address),
        )
    })
}

fn fits_class(class: usize, size: usize, exact: bool) -> bool {
    match exact {
        true => size != 0 && size <= LARGEST && cache::class_for(size) == class,
        false => size <= cache::class_size(class),
    }
}
