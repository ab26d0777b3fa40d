//! Object caches of programs: umem_cache_create(3), umem_cache_alloc(3) and their kin.

use super::nofail::{self, may_fail};
use crate::{
    cache::{self, Blueprint, Refusal},
    checked,
    debug::{
        Call, Return,
        buffer::{self, Buffer, Damage},
        inject,
        message::note,
        report::{self, Subject},
    },
    init,
    raw::{CacheRef, Cell},
    thread,
    unwind::Entry,
    vmem,
};
use core::{ffi::c_int, sync::atomic::Ordering};
use umem_layout::{cache_flag, error_code, family, unit};

/// Creates a cache.
///
/// # Errors
/// Why there is none.
pub fn create(blueprint: &Blueprint<'_>) -> Result<CacheRef, Refusal> {
    if !init::ensure() {
        return Err(Refusal::NoMemory);
    }
    cache::create_object(blueprint)
}

/// Ends a cache. False: the program still has objects of it, which is noted; they and the cache stay.
///
/// # Safety
/// No thread uses the cache any more.
pub unsafe fn destroy(cache: CacheRef, entry: Entry) -> bool {
    let (name, address) = (report::name_of(cache), cache.address());
    thread::withdraw(cache);
    let empty = cache::end_object(cache, |buffer| verify_unused(buffer, entry));
    if !empty {
        let name = core::str::from_utf8(name.as_bytes()).unwrap_or("?");
        note(format_args!(
            "umem_cache_destroy: '{name}' ({address:#x}) not empty\n"
        ));
    }
    empty
}

/// Looks for writes into a free buffer whose slab is going away.
fn verify_unused(buffer: Buffer, entry: Entry) {
    if let Err(damage) = buffer::check_unused(buffer) {
        report_buffer(
            &damage,
            buffer,
            None,
            &thread::call_for_report(entry),
            entry,
        );
    }
}

/// Whether a cache keeps records or trailers.
fn is_debugged(cache: CacheRef) -> bool {
    cache.flags().get() & !cache_flag::NOMAGAZINE != 0
}

/// The calling thread's magazines of a cache.
#[inline(always)]
fn magazines(cache: CacheRef) -> Option<crate::raw::ThreadCacheRef> {
    let slot = cache.thread_slot().get().checked_sub(1)?;
    thread::fast_cache(slot as usize)
}

/// As [`magazines`]; none when the thread has paused.
#[inline(always)]
fn quick_magazines(cache: CacheRef) -> Option<crate::raw::ThreadCacheRef> {
    magazines(cache).filter(|_| !thread::has_paused())
}

/// Allocates an object in constructed state. Zero: no memory or the constructor failed, and the allocation may fail.
#[inline(always)]
pub fn allocate(cache: CacheRef, flags: c_int, entry: Entry) -> usize {
    match quick_magazines(cache).and_then(thread::pop) {
        Some(address) => address,
        None => allocate_slow(cache, flags, entry),
    }
}

#[cold]
#[inline(never)]
fn allocate_slow(cache: CacheRef, flags: c_int, entry: Entry) -> usize {
    thread::heed();
    loop {
        let attempt = if is_debugged(cache) {
            allocate_debugged(cache, flags, entry)
        } else {
            allocate_plain(cache, entry)
        };
        match attempt {
            Some(address) => return address,
            None if nofail::retry(flags) => {}
            None => return 0,
        }
    }
}

fn allocate_plain(cache: CacheRef, caller: Entry) -> Option<usize> {
    thread::register(thread::local());
    let again = |entry| thread::pop(entry).or_else(|| thread::reload(cache, entry));
    if let Some(address) = magazines(cache).and_then(again) {
        return Some(address);
    }
    let buffer = cache::take(cache, || thread::call_for_report(caller))?.buffer;
    if !cache::construct(buffer) {
        cache.fails().fetch_add(1, Ordering::Relaxed);
        cache::give_back(buffer);
        return None;
    }
    cache.allocs().fetch_add(1, Ordering::Relaxed);
    Some(buffer.address)
}

fn allocate_debugged(cache: CacheRef, flags: c_int, entry: Entry) -> Option<usize> {
    if may_fail(flags) && cache::is_tagged(cache) && inject::strikes() {
        cache.fails().fetch_add(1, Ordering::Relaxed);
        return None;
    }
    let call = thread::call(entry);
    let size = cache.buffer_size().get() as usize;
    let taken = cache::take(cache, || call)?;
    let buffer = taken.buffer;
    if let Err(damage) = buffer::allocated(buffer, taken.fresh, size, family::CACHE, &call) {
        cache::abandon(buffer);
        report_buffer(&damage, buffer, None, &call, entry);
        return None;
    }
    if !cache::construct(buffer) {
        cache.fails().fetch_add(1, Ordering::Relaxed);
        give_up(buffer, &call, entry);
        return None;
    }
    cache.allocs().fetch_add(1, Ordering::Relaxed);
    Some(buffer.address)
}

/// Takes back a buffer whose constructor failed.
fn give_up(buffer: Buffer, call: &Call, entry: Entry) {
    match buffer::freed(buffer, call) {
        Ok(()) => {
            cache::give_back(buffer);
        }
        Err(damage) => {
            cache::abandon(buffer);
            report_buffer(&damage, buffer, None, call, entry);
        }
    }
}

fn report_buffer(
    damage: &Damage,
    buffer: Buffer,
    named: Option<CacheRef>,
    call: &Call,
    entry: Entry,
) {
    let subject = Subject {
        named,
        ..Subject::buffer(buffer, buffer.address)
    };
    checked::tell(damage, &subject, call, entry);
}

/// Frees an object, which is in constructed state.
///
/// # Safety
/// The program no longer uses the object.
#[inline(always)]
pub unsafe fn free(cache: CacheRef, address: usize, entry: Entry) {
    let is_its_own = vmem::slab_at(address).is_some_and(|slab| slab.cache().get() == cache.link());
    if is_its_own && quick_magazines(cache).is_some_and(|entry| thread::push(entry, address)) {
        return;
    }
    free_slow(cache, address, entry);
}

#[cold]
#[inline(never)]
fn free_slow(cache: CacheRef, address: usize, entry: Entry) {
    thread::heed();
    let Some(slab) = vmem::slab_at(address) else {
        return match vmem::unit_kind(address) {
            unit::BLOCKS => checked::block_to_cache(address, cache, entry),
            _ => checked::invalid(address, Return::CACHE_FREE, entry),
        };
    };
    let buffer = match Buffer::at(slab, address) {
        Ok(buffer) if buffer.index < slab.carved().get() as usize => buffer,
        Ok(_) => return checked::invalid(address, Return::CACHE_FREE, entry),
        Err(start) => return checked::inside(slab, start, address, Return::CACHE_FREE, entry),
    };
    if buffer.cache != cache {
        let damage = damage(error_code::WRONG_CACHE);
        let call = thread::call_for_report(entry);
        return report_buffer(&damage, buffer, Some(cache), &call, entry);
    }
    if is_debugged(cache) {
        free_debugged(buffer, entry);
    } else {
        free_plain(buffer, entry);
    }
}

fn damage(code: u32) -> Damage {
    Damage {
        code,
        offset: 0,
        expected: 0,
        found: 0,
    }
}

fn free_plain(buffer: Buffer, entry: Entry) {
    let (cache, address) = (buffer.cache, buffer.address);
    thread::register(thread::local());
    if magazines(cache).is_some_and(|magazines| thread::is_last_freed(magazines, address)) {
        return freed_twice(buffer, entry);
    }
    let kept = magazines(cache).filter(|_| thread::keeps(cache));
    let pushed = kept.is_some_and(|magazines| {
        thread::push(magazines, address) || thread::drain(cache, magazines, address)
    });
    if pushed {
        return;
    }
    if cache::give_back(buffer) {
        cache.frees().fetch_add(1, Ordering::Relaxed);
    } else {
        freed_twice(buffer, entry);
    }
}

#[cold]
fn freed_twice(buffer: Buffer, entry: Entry) {
    let damage = damage(error_code::DUPLICATE_FREE);
    let call = thread::call_for_report(entry);
    report_buffer(&damage, buffer, None, &call, entry);
}

fn free_debugged(buffer: Buffer, entry: Entry) {
    let call = thread::call(entry);
    match buffer::claim(buffer, &call) {
        Ok(()) => {
            if cache::is_tagged(buffer.cache) {
                cache::destruct(buffer);
            }
            buffer::fill_freed(buffer);
            buffer.cache.frees().fetch_add(1, Ordering::Relaxed);
            cache::give_back(buffer);
        }
        Err(damage) => {
            // A double free leaves the buffer to whom it belongs now.
            if damage.code != error_code::DUPLICATE_FREE {
                cache::abandon(buffer);
            }
            report_buffer(&damage, buffer, None, &call, entry);
        }
    }
}
