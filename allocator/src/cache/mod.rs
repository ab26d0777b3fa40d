//! Object caches: slabs of equal chunks, magazines in the depot, the size classes of malloc.
//!
//! **Owns** the slab and depot layers of every cache. **May use** `sys`, `raw`, `sync`, `unwind`, `vmem`, `debug`.
//! **Promises** that no lock is held while a slab is made, a report is written, or another layer is called.
//!
//! # Theory (after Bonwick, "The Slab Allocator", USENIX 1994)
//! 1. A slab is a run of units cut into chunks. Its structure stands in the region's table, not among the buffers; which
//!    chunks are taken is a bitmap in metadata, so no link is ever kept in free memory: freed contents stay for
//!    the debugger, and an overrun damages no list.
//! 2. A cache keeps slabs with free chunks on one list. A slab that is full is on no list; a slab that has become
//!    empty is given back when the cache has another one to serve from. Debugged caches keep their empty slabs:
//!    what is written into a freed buffer can only be found while the buffer is there.
//! 3. Chunks are taken lowest first in production (dense, few pages), and round-robin in debugged caches, so that a freed buffer is
//!    reused as late as its slab allows.
//! 4. Locks: list of caches, then a cache's depot, then its slab layer.
#![allow(unsafe_code)]

mod magazine;
mod sizes;
mod slab;

pub use magazine::{get_empty, get_full, put_empty, put_full, reap, round};
pub use sizes::{CLASSES, LARGEST, class_for, class_of_unit, class_size, classes, initialize};
pub use slab::{Taken, abandon, batch, give_back, take};

use crate::{
    raw::{CacheRef, Cell, Global, padded_name, root},
    sync,
    vmem::{UNIT, arenas, round_up},
};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use umem_layout::{Cache, Plain, Trailer, cache_flag, create_flag, policy};

/// Caches that can exist. Caches made by programs will come from metadata.
const CACHES_MAX: usize = 64;

static TABLE: Global<[Cache; CACHES_MAX]> = Global::new([Cache::ZERO; CACHES_MAX]);
static COUNT: AtomicUsize = AtomicUsize::new(0);
static LIST_LOCK: AtomicU32 = AtomicU32::new(0);

/// The cache with this number in order of creation.
#[inline(always)]
pub fn cache(index: usize) -> CacheRef {
    debug_assert!(index < CACHES_MAX);
    // SAFETY: an element of a static array that is only accessed through handles.
    unsafe { CacheRef::from_address(TABLE.get() as usize + index * size_of::<Cache>()) }
}

/// Alignment that libumem promises for a size: page multiples to a page, multiples of 64 to 64, else 16.
const fn promised_align(size: usize) -> usize {
    match size {
        _ if size.is_multiple_of(4096) => 4096,
        _ if size.is_multiple_of(64) => 64,
        _ => 16,
    }
}

/// Derives the numbers of a cache from its size and the debug flags.
fn describe(size: usize, flags: u32) -> Cache {
    let tagged = flags & cache_flag::REDZONE != 0;
    let align = if tagged {
        promised_align(size)
    } else {
        (1 << size.trailing_zeros()).clamp(16, 4096)
    };
    let trailer = if tagged { size.next_multiple_of(8) } else { 0 };
    let chunk = round_up(
        if tagged {
            trailer + size_of::<Trailer>()
        } else {
            size
        },
        align,
    );
    let verify_max = match root().verify_max().get() as usize {
        0 => usize::MAX,
        bytes => bytes.next_multiple_of(8),
    };
    let slab = UNIT;
    let capacity = slab / chunk;
    Cache {
        flags: flags
            | if flags & cache_flag::AUDIT != 0 {
                cache_flag::HASH
            } else {
                0
            },
        buffer_size: size as u64,
        chunk_size: chunk as u64,
        align: align as u64,
        trailer_offset: trailer as u64,
        verify_length: trailer.min(verify_max) as u64,
        slab_size: slab as u64,
        slab_capacity: capacity as u32,
        color_max: ((slab - capacity * chunk) / align * align) as u32,
        ..Cache::ZERO
    }
}

/// Creates a cache that draws its slabs from the default arena. None: too many caches.
fn create(name: &[u8], size: usize, size_class: u32, magazine_rounds: u32) -> Option<CacheRef> {
    let _guard = sync::lock(&LIST_LOCK);
    let index = COUNT.load(Ordering::Relaxed);
    if index == CACHES_MAX {
        return None;
    }
    let flags = root().debug_flags().get();
    let new = cache(index);
    new.initialize(Cache {
        prev: index
            .checked_sub(1)
            .map_or(0, |before| cache(before).link()),
        name: padded_name(name),
        id: index as u32 + 1,
        cflags: if size_class == 0 {
            create_flag::INTERNAL
        } else {
            0
        },
        policy: policy::USER | if size_class == 0 { 0 } else { policy::SIZED },
        arena: arenas().default.link(),
        size_class,
        magazine_rounds: if flags == 0 { magazine_rounds } else { 0 },
        ..describe(size, flags)
    });
    match index {
        0 => root().caches().store(new.link(), Ordering::Release),
        _ => cache(index - 1).next().store(new.link(), Ordering::Release),
    }
    COUNT.store(index + 1, Ordering::Release);
    Some(new)
}

/// Takes every lock of this layer, outermost first.
pub fn fork_lock() {
    sync::acquire(&LIST_LOCK);
    for index in 0..COUNT.load(Ordering::Acquire) {
        sync::acquire(cache(index).depot_lock());
        sync::acquire(cache(index).slab_lock());
    }
}

/// Lets go of what [`fork_lock`] took.
pub fn fork_unlock() {
    for index in 0..COUNT.load(Ordering::Acquire) {
        sync::unlock(cache(index).slab_lock());
        sync::unlock(cache(index).depot_lock());
    }
    sync::unlock(&LIST_LOCK);
}
