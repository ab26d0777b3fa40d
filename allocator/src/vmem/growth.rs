//! A block that grows, and the memory behind it that is kept for that.
//!
//! # Theory
//! The two are neighbours on the arena's address list, both allocated: the block belongs to the program, what is kept to one
//! thread. Their border belongs to both: it moves without the arena's lock when the thread resizes the block, which nobody else may use meanwhile.
//! Who holds the lock looks at the kind of a neighbour, and never merges or cuts one that is allocated. What is kept is in no
//! hash table, since its start changes; so it can neither be found nor freed by its address.

use super::{
    arena::{
        DIRTY, alloc, carve_as_placed, find_free, free_block, insert_after, merge, size_of_segment,
    },
    round_up, segment,
};
use crate::{
    raw::{ArenaRef, Cell, SegmentRef},
    sync,
    sys::memory::PAGE,
};
use core::sync::atomic::{AtomicUsize, Ordering, compiler_fence};
use umem_layout::{Plain, Segment, buffer_state, segment_kind};

/// How many segments are kept.
static KEPT: AtomicUsize = AtomicUsize::new(0);

/// How many segments are kept for growth: they are no blocks of the program.
pub fn kept() -> usize {
    KEPT.load(Ordering::Relaxed)
}

/// A block of `size` bytes and the `room` behind it, in place of what was `kept` until now. None: no memory, and nothing is
/// kept.
pub fn begin(
    arena: ArenaRef,
    size: usize,
    room: usize,
    kept: Option<SegmentRef>,
) -> Option<(SegmentRef, SegmentRef)> {
    let size = round_up(size, PAGE);
    let whole = size.checked_add(round_up(room, PAGE))?;
    let found = {
        let _guard = sync::lock(arena.lock());
        // Its span stays, so that the next lines find it.
        if let Some(kept) = kept {
            take_back(arena, kept);
        }
        find_free(arena, whole, PAGE).and_then(|(free, at)| carve_as_placed(arena, free, at, whole))
    };
    let block = found.or_else(|| alloc(arena, whole, PAGE))?;
    let rest = cut(arena, block, size);
    if rest.is_none() {
        free_block(arena, block);
    }
    Some((block, rest?))
}

/// Gives back what was kept.
pub fn end(arena: ArenaRef, kept: SegmentRef) {
    KEPT.fetch_sub(1, Ordering::Relaxed);
    free_block(arena, kept);
}

/// Makes what was kept free, under the arena's lock.
fn take_back(arena: ArenaRef, kept: SegmentRef) {
    let size = size_of_segment(kept) as u64;
    KEPT.fetch_sub(1, Ordering::Relaxed);
    arena.frees().add(1);
    arena.in_use().subtract(size);
    arena.dirty().add(size);
    merge(arena, kept, DIRTY);
}

/// Cuts an allocated segment in two behind `size` bytes. None: there is no segment for the second.
fn cut(arena: ArenaRef, block: SegmentRef, size: usize) -> Option<SegmentRef> {
    let _guard = sync::lock(arena.lock());
    let rest = segment::take()?;
    let border = block.start().get() + size as u64;
    rest.initialize(Segment {
        kind: segment_kind::ALLOC,
        state: buffer_state::TRANSIT,
        start: border,
        end: block.end().get(),
        flags: block.flags().get(),
        ..Segment::ZERO
    });
    block.end().set(border);
    insert_after(block, rest);
    arena.allocs().add(1);
    KEPT.fetch_add(1, Ordering::Relaxed);
    Some(rest)
}

/// Moves the border between a block and what is kept behind it, so that the block has at least `size` bytes. False: they are no
/// neighbours any more, or too little is kept.
#[inline]
pub fn extend(block: SegmentRef, kept: SegmentRef, size: usize) -> bool {
    let border = block.start().get() + round_up(size, PAGE) as u64;
    if kept.start().get() != block.end().get() || border >= kept.end().get() {
        return false;
    }
    // A debugger that stops the thread in between finds a gap, and no overlap.
    kept.start().set(border);
    compiler_fence(Ordering::Release);
    block.end().set(border);
    compiler_fence(Ordering::Release);
    true
}
