//! Address space as a resource: regions, segments, arenas.
//!
//! **Owns** where memory comes from. **May use** `sys`, `raw`, `sync`. **Promises** ranges that do not overlap,
//! an exact account of what is in use, and no call back into any layer above;
//! only the program's own functions are called, for its own arenas.
//!
//! # Theory (after Bonwick and Adams, "Magazines and Vmem", USENIX 2001)
//! 1. A *region* is one reservation of address space, made accessible from its start as it fills. Each of its
//!    64 KiB *units* has one byte in the region's map, so that any pointer is classified by one load, and one
//!    slab structure. The first region is the one that the fast path knows; more are made when it is full.
//!    What a region has reserved and not used goes back when the address space becomes limited.
//! 2. An *arena* hands out ranges in multiples of its quantum. It keeps a *boundary tag* (segment) for each
//!    allocated and each free piece, in address order, so that a free merges with its neighbours in constant
//!    time; free pieces are on lists by power of two, allocated ones in a hash table.
//! 3. An arena without enough free space *imports* a span from its source; a span that becomes wholly free
//!    goes back. The top arena's source is the regions, which only grow.
//! 4. "A segment needs a segment" cannot recurse: segments come from a pool of their own, a part of the first
//!    region's reservation that grows by commit alone.
//! 5. Locks: an arena's lock is never held while its source is asked. The pool's lock is innermost.
//! 6. Programs make arenas of their own (`program`), over memory or over any numbers; nothing in their ranges is touched.
//!    They may place by best, first, next or instant fit and under constraints (`fit`).
#![allow(unsafe_code)]

mod arena;
mod fit;
pub mod growth;
mod program;
mod region;
mod segment;
mod visit;

pub use arena::{
    Arenas, BadFree, alloc, arenas, around, contains_block, create, create_all, extend, find,
    for_each_lock, free, free_block, free_exact, give_kept, is_clean, place_by, purge_free,
    purge_waiting, shrink,
};
pub use fit::{Fit, Request};
pub use program::{
    Blueprint, Import, Piece, Release, add, alloc_request, alloc_span, contains, create_foreign,
    destroy_foreign, for_each_piece, overlaps,
};
pub use region::{
    UNIT, damaged_slab_at, find_region, first_region, first_unit_kind, for_each_slab, heed_limit,
    heed_own_limit, initialize, is_damaged, mark_units, slab_at, slab_of_link, slab_slot,
    unit_kind,
};
pub use visit::for_each_allocated;

/// Rounds up to a power of two.
#[inline]
pub const fn round_up(value: usize, to: usize) -> usize {
    (value + to - 1) & !(to - 1)
}
