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
//!    what is written into a freed buffer can only be found while the buffer is there. They lose them when memory has run out (`relief`).
//! 3. Chunks are taken lowest first in production (dense, few pages), and round-robin in debugged caches, so that a freed buffer is
//!    reused as late as its slab allows.
//! 4. Programs make caches of their own (`object`). A chunk is constructed when it is first handed out and stays so while it
//!    is free, since nothing is written into it; it is destructed when its slab goes (`constructed`). With trailers, which overwrite
//!    free chunks, both happen at each allocation and free.
//! 5. Locks: list of caches, then a cache's depot, then its slab layer.
#![allow(unsafe_code)]

mod constructed;
mod list;
mod magazine;
mod object;
mod quantum;
mod sizes;
mod slab;

pub use constructed::{Constructor, Destructor, Reclaim, construct, destruct, is_tagged, reclaim};
pub use list::{Hold, SLOTS, after_fork, for_each, for_each_lock, hold, next_held, of_slot};
pub use magazine::{
    get_empty, get_full, magazine_bytes, put_empty, put_full, reap, round, top, trade_empty,
    trade_full, update,
};
pub use object::{Blueprint, Refusal, create_object, end_object};
pub use quantum::{create_quantum, end_quantum};
pub use sizes::{
    CLASSES, LARGEST, OFFSET_OF, aligned_class, aligned_slot, class_count, class_for,
    class_of_unit, class_size, classes, configure, entry_offset, initialize, limit, slot_of_class,
};
pub use slab::{
    Taken, abandon, batch, buffer_of, destroy_empty, give_back, give_back_run, take, take_used,
};

use crate::{
    raw::{CacheRef, Cell, Global, copy, padded_name, root},
    vmem::{arenas, round_up},
};
use core::sync::atomic::{AtomicUsize, Ordering};
use umem_layout::{Cache, FILLED_OF_SAMPLE, Plain, Trailer, cache_flag, policy};

/// Caches of the library: the classes, and behind them their twins. Those of programs come from metadata.
const CACHES_MAX: usize = 2 * CLASSES;
/// What is on for samples.
pub const SAMPLE_FLAGS: u32 =
    cache_flag::AUDIT | cache_flag::DEADBEEF | cache_flag::REDZONE | cache_flag::SAMPLED;

static TABLE: Global<[Cache; CACHES_MAX]> = Global::new([Cache::ZERO; CACHES_MAX]);

/// The cache of the library with this number in order of creation.
#[inline(always)]
pub fn cache(index: usize) -> CacheRef {
    debug_assert!(index < CACHES_MAX);
    // SAFETY: an element of a static array that is only accessed through handles.
    unsafe { CacheRef::from_address(TABLE.get() as usize + index * size_of::<Cache>()) }
}

/// The checks of a new cache: those in force, as far as they are for buffers of its size. With `random` each cache has others.
fn checks_for(size: usize, align: usize) -> u32 {
    const COMBINATIONS: [u32; 6] = [
        cache_flag::AUDIT | cache_flag::REDZONE | cache_flag::DEADBEEF | cache_flag::CONTENTS,
        cache_flag::REDZONE,
        cache_flag::REDZONE | cache_flag::DEADBEEF,
        cache_flag::AUDIT | cache_flag::REDZONE,
        cache_flag::REDZONE | cache_flag::DEADBEEF | cache_flag::LITE,
        0,
    ];
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let all = root().debug_flags().get();
    let own = all
        & (cache_flag::AUDIT | cache_flag::REDZONE | cache_flag::DEADBEEF | cache_flag::CONTENTS);
    if all & cache_flag::RANDOMIZE != 0 {
        return COMBINATIONS[NEXT.fetch_add(1, Ordering::Relaxed) % COMBINATIONS.len()];
    }
    if all & cache_flag::LITE != 0 {
        let small = !size.is_multiple_of(1024) && align <= 1024;
        let lite = cache_flag::REDZONE | cache_flag::DEADBEEF | cache_flag::LITE;
        return if small { lite } else { 0 };
    }
    own
}

/// Alignment that libumem promises for a size: page multiples to a page, multiples of 64 to 64, else 16.
const fn promised_align(size: usize) -> usize {
    match size {
        _ if size.is_multiple_of(4096) => 4096,
        _ if size.is_multiple_of(64) => 64,
        _ => 16,
    }
}

/// Alignment of the chunks of a size class: by nature in production, as promised with trailers.
fn class_align(size: usize, flags: u32) -> usize {
    match flags & cache_flag::REDZONE {
        0 => (1 << size.trailing_zeros()).clamp(16, 4096),
        _ => promised_align(size),
    }
}

/// Bytes from one buffer to the next.
fn chunk_size(size: usize, align: usize, flags: u32) -> usize {
    match flags & cache_flag::REDZONE {
        0 => round_up(size, align),
        _ => round_up(size.next_multiple_of(8) + size_of::<Trailer>(), align),
    }
}

/// Derives the numbers of a cache from the size and alignment of its buffers, the debug flags, and the size of its slabs.
fn describe(size: usize, align: usize, flags: u32, slab: usize) -> Cache {
    let tagged = flags & cache_flag::REDZONE != 0;
    let chunk = chunk_size(size, align, flags);
    // At the very end of the chunk, so that a write before the start of the next buffer hits it.
    let trailer = if tagged {
        chunk - size_of::<Trailer>()
    } else {
        0
    };
    let verify_max = match root().verify_max().get() as usize {
        _ if flags & cache_flag::LITE != 0 => 8,
        _ if flags & cache_flag::SAMPLED != 0 => FILLED_OF_SAMPLE,
        0 => usize::MAX,
        bytes => bytes.next_multiple_of(8),
    };
    let capacity = slab / chunk;
    let hash = if flags & cache_flag::AUDIT != 0 {
        cache_flag::HASH
    } else {
        0
    };
    Cache {
        flags: flags | hash,
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

/// Creates the cache of a size class.
fn create_class(name: &[u8], size: usize, class: usize, magazine_rounds: u32) -> CacheRef {
    let all = root().debug_flags().get();
    let flags = match all & (cache_flag::RANDOMIZE | cache_flag::LITE) {
        0 => all,
        _ => checks_for(size, 1),
    };
    let align = class_align(size, flags);
    let chunk = chunk_size(size, align, flags);
    let slab = object::slab_for(chunk);
    sizes::set_alignment(class, align.min(1 << chunk.trailing_zeros()));
    let new = cache(class);
    new.initialize(Cache {
        name: padded_name(name),
        policy: policy::USER | policy::SIZED,
        arena: arenas().default.link(),
        size_class: class as u32 + 1,
        thread_slot: slot_of_class(class) as u32 + 1,
        magazine_rounds: if all == 0 { magazine_rounds } else { 0 },
        ..describe(size, align, flags, slab)
    });
    list::append(new);
    let bytes = (class + 1) * size_of::<Cache>();
    copy::table(copy::Table::Caches, TABLE.get() as usize, bytes);
    new
}

/// Creates the twin that serves the samples of a class. Its buffers are aligned as those of the class are, and its slabs are
/// marked as those of no class, so that every free takes the slow path.
fn create_twin(name: &[u8], class: usize) {
    let origin = cache(class);
    let (size, align) = (
        origin.buffer_size().get() as usize,
        origin.align().get() as usize,
    );
    let slab = object::slab_for(chunk_size(size, align, SAMPLE_FLAGS));
    let twin = cache(CLASSES + class);
    twin.initialize(Cache {
        name: padded_name(name),
        policy: policy::USER | policy::SIZED | policy::TWIN,
        arena: arenas().default.link(),
        origin: origin.link(),
        ..describe(size, align, SAMPLE_FLAGS, slab)
    });
    list::append(twin);
    let bytes = (class + 1) * size_of::<Cache>();
    copy::table(copy::Table::Twins, cache(CLASSES).address(), bytes);
    origin.twin().set(twin.link());
}

/// The twin of a class's cache, where samples are taken. None: they are blocks.
pub fn twin(cache: CacheRef) -> Option<CacheRef> {
    // SAFETY: zero, or a cache that was made by `create_twin` and lives for ever.
    unsafe { CacheRef::from_link(cache.twin().get()) }
}

/// The cache that a twin serves the samples of.
pub fn origin(twin: CacheRef) -> Option<CacheRef> {
    // SAFETY: zero, or the cache of a class, which lives for ever.
    unsafe { CacheRef::from_link(twin.origin().get()) }
}
