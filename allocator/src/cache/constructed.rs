//! Constructed state: which chunks of a slab hold an object that the program's constructor has made.
//!
//! In caches without trailers a second bitmap behind the slab's first one says so. It is set by the thread that
//! has the chunk in its hands, and read when the slab is destroyed, which no other thread can then know.

use super::slab;
use crate::{
    debug::buffer::Buffer,
    raw::{Bitmap, CacheRef, Cell, SlabRef, word},
};
use core::{
    ffi::{c_int, c_void},
    ptr::with_exposed_provenance_mut,
    sync::atomic::{AtomicU64, Ordering},
};

/// Makes an object of a buffer: `(buffer, datum, flags)`; zero when it could.
pub type Constructor = unsafe extern "C" fn(*mut c_void, *mut c_void, c_int) -> c_int;
/// Ends an object: `(buffer, datum)`.
pub type Destructor = unsafe extern "C" fn(*mut c_void, *mut c_void);
/// Asks the program to free objects of a cache: `(datum)`.
pub type Reclaim = unsafe extern "C" fn(*mut c_void);
const _: () = assert!(size_of::<Option<Constructor>>() == size_of::<u64>());

/// Flags that constructors get: a failure must not end in the callback for allocations that may not fail, since only the
/// outermost allocation may call it.
const UMEM_DEFAULT: c_int = 0;

/// Whether trailers overwrite free buffers, so that objects do not stay constructed.
#[inline]
pub fn is_tagged(cache: CacheRef) -> bool {
    cache.trailer_offset().get() != 0
}

/// Whether slabs of a cache keep the second bitmap.
pub(super) fn is_kept(cache: CacheRef) -> bool {
    let called = cache.constructor().get() | cache.destructor().get();
    called != 0 && !is_tagged(cache)
}

/// The word of the second bitmap with a chunk's bit, and the bit.
fn bit(slab: SlabRef, index: usize) -> (&'static AtomicU64, u64) {
    let bitmap = slab.bitmap().get() as usize;
    let second = bitmap + Bitmap::bytes(slab.capacity().get() as usize);
    // SAFETY: slabs of caches that keep it have a second bitmap behind the first.
    (unsafe { word(second, index / 64) }, 1 << (index % 64))
}

fn datum(cache: CacheRef) -> *mut c_void {
    with_exposed_provenance_mut(cache.private().get() as usize)
}

fn call_constructor(cache: CacheRef, address: usize) -> bool {
    let function = cache.constructor().get();
    // SAFETY: the field holds nothing or the function that the cache was created with.
    let Some(function) = (unsafe { core::mem::transmute::<u64, Option<Constructor>>(function) })
    else {
        return true;
    };
    // SAFETY: the program's function, with a buffer of the size that it expects; no lock is held.
    unsafe {
        function(
            with_exposed_provenance_mut(address),
            datum(cache),
            UMEM_DEFAULT,
        ) == 0
    }
}

fn call_destructor(cache: CacheRef, address: usize) {
    let function = cache.destructor().get();
    // SAFETY: the field holds nothing or the function that the cache was created with.
    let function = unsafe { core::mem::transmute::<u64, Option<Destructor>>(function) };
    if let Some(function) = function {
        // SAFETY: the program's function, with an object that its constructor made; no lock is held.
        unsafe { function(with_exposed_provenance_mut(address), datum(cache)) };
    }
}

/// Asks the program to free objects of a cache.
pub fn reclaim(cache: CacheRef) {
    let function = cache.reclaim().get();
    // SAFETY: the field holds nothing or the function that the cache was created with.
    let function = unsafe { core::mem::transmute::<u64, Option<Reclaim>>(function) };
    if let Some(function) = function {
        // SAFETY: the program's function and its datum; no lock is held.
        unsafe { function(datum(cache)) };
    }
}

/// Makes sure that a chunk in the caller's hands holds an object. False: the constructor failed.
pub fn construct(buffer: Buffer) -> bool {
    if is_tagged(buffer.cache) {
        return call_constructor(buffer.cache, buffer.address);
    }
    if !is_kept(buffer.cache) {
        return true;
    }
    let (bits, bit) = bit(buffer.slab, buffer.index);
    if bits.load(Ordering::Relaxed) & bit != 0 {
        return true;
    }
    let made = call_constructor(buffer.cache, buffer.address);
    if made {
        bits.fetch_or(bit, Ordering::Relaxed);
    }
    made
}

/// Ends the object in a chunk that is being freed, in caches with trailers.
pub fn destruct(buffer: Buffer) {
    call_destructor(buffer.cache, buffer.address);
}

/// Ends all objects of a slab that is in no list and has no taken chunks.
pub(super) fn destruct_all(cache: CacheRef, slab: SlabRef) {
    if !is_kept(cache) || cache.destructor().get() == 0 {
        return;
    }
    for index in 0..slab.carved().get() as usize {
        let (bits, bit) = bit(slab, index);
        if bits.load(Ordering::Relaxed) & bit != 0 {
            call_destructor(cache, slab::chunk_address(slab, index));
        }
    }
}
