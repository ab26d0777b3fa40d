//! Buffers that a thread resizes again and again.
//!
//! # Theory
//! 1. A buffer that has moved because it grew, and is the next one that the thread moves, is being filled: a vector, a
//!    string, a file that is read. Below a page it moves from class to class, and from its fourth move on to one with a quarter more
//!    room. From a page on it becomes a block, and the thread keeps the
//!    memory behind it: to grow it moves a border, without a lock and without a copy.
//! 2. There is one such block a thread, the last that began. It is the program's like any other: any thread may free it, and what is
//!    allocated at its address afterwards is another one. So it is recognised by its record, not by its address alone.
//! 3. What is kept counts as in use by the arena and is no buffer of the program. It goes back when another block begins, when the thread
//!    has slept for long, when memory is short, and when the thread ends.

use super::{Local, budget, local, stage};
use crate::{
    raw::{Cell, SegmentRef},
    sync,
    vmem::{self, arenas},
};
use core::{cell::Cell as LocalCell, sync::atomic::Ordering};
use umem_layout::{buffer_state, segment_kind};

/// Bytes that are kept behind a block at most.
const ROOM: u64 = 4 << 20;

/// What a thread knows of its growing block. Zero bytes: there is none.
#[repr(C)]
pub(super) struct Growth {
    /// The last buffer that moved because it grew.
    last: LocalCell<usize>,
    /// How many times it has moved.
    moves: LocalCell<u32>,
    /// The growing block, its segment, and what is kept behind it.
    address: LocalCell<usize>,
    block: LocalCell<usize>,
    kept: LocalCell<usize>,
}

impl Growth {
    fn kept(&self) -> Option<SegmentRef> {
        // SAFETY: zero, or a segment that belongs to this thread.
        unsafe { SegmentRef::from_link(self.kept.get() as u64) }
    }
}

/// Moves after which a buffer gets more room than it has asked for.
const MOVES: u32 = 3;

/// A buffer is about to move because it grows to `size` bytes: how many it had better get.
#[inline(always)]
pub fn room_for(address: usize, size: usize) -> usize {
    let growth = &local().growth;
    if growth.last.get() != address {
        growth.moves.set(0);
        return size;
    }
    let moves = growth.moves.get() + 1;
    growth.moves.set(moves.min(MOVES));
    if moves < MOVES { size } else { size + size / 4 }
}

/// A buffer has moved because it grew.
#[inline(always)]
pub fn moved(to: usize) {
    local().growth.last.set(to);
}

/// Whether a buffer is the last one that moved because it grew.
#[inline(always)]
pub fn is_last_moved(address: usize) -> bool {
    local().growth.last.get() == address
}

/// Grows the thread's growing block to `size` bytes where it lies. False: it is another one, or there is no room.
#[inline]
pub fn grow(address: usize, size: usize) -> bool {
    let growth = &local().growth;
    if growth.address.get() != address || address == 0 {
        return false;
    }
    let _section = sync::section();
    let Some(kept) = growth.kept() else {
        return false;
    };
    // SAFETY: segments are recycled but never unmapped.
    let block = unsafe { SegmentRef::from_address(growth.block.get()) };
    let is_it = block.start().get() == address as u64
        && block.kind().get() == segment_kind::ALLOC
        && block.state().load(Ordering::Relaxed) == buffer_state::ALLOCATED;
    if !is_it || (size as u64) < block.requested().get() {
        return false;
    }
    let fits = size as u64 <= block.end().get() - address as u64;
    if !fits && !vmem::growth::extend(block, kept, size) {
        return false;
    }
    block.requested().set(size as u64);
    true
}

/// Allocates a block that is to grow, of `size` bytes for now, and makes it the thread's. None: the thread may keep nothing, or there is no
/// memory for it.
pub fn begin(size: usize) -> Option<SegmentRef> {
    let (local, room) = (local(), budget::share(ROOM) as usize);
    let growth = &local.growth;
    if room < size || local.stage.get() != stage::LIVE {
        return None;
    }
    let old = growth.kept();
    growth.address.set(0);
    growth.kept.set(0);
    let (block, kept) = vmem::growth::begin(arenas().oversize, size, room, old)?;
    growth.kept.set(kept.address());
    growth.block.set(block.address());
    growth.address.set(block.start().get() as usize);
    Some(block)
}

/// The thread's growing block, if this is it, is to find the memory behind it free: more than is kept, or less than it has.
pub fn leave(address: usize) {
    let local = local();
    if local.growth.address.get() == address && address != 0 {
        end(local);
    }
}

/// Gives back what is kept.
pub(super) fn end(local: &Local) {
    let growth = &local.growth;
    growth.address.set(0);
    if let Some(kept) = growth.kept() {
        growth.kept.set(0);
        vmem::growth::end(arenas().oversize, kept);
    }
}
