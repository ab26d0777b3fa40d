//! The pool of segments.

use crate::{
    raw::{Cell, SegmentRef},
    sync,
    sys::memory,
};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use umem_layout::{Plain, Segment, segment_kind};

/// Segments are committed by this many bytes.
const STEP: usize = 64 << 10;

static LOCK: AtomicU32 = AtomicU32::new(0);
static FREE: AtomicUsize = AtomicUsize::new(0);
static NEXT: AtomicUsize = AtomicUsize::new(0);
static COMMITTED: AtomicUsize = AtomicUsize::new(0);
static END: AtomicUsize = AtomicUsize::new(0);

/// Gives the pool its reserved range.
pub(super) fn initialize(start: usize, size: usize) -> bool {
    NEXT.store(start, Ordering::Relaxed);
    COMMITTED.store(start, Ordering::Relaxed);
    END.store(start + size, Ordering::Relaxed);
    true
}

/// Takes a segment. None: the pool is exhausted or the system out of memory.
pub(super) fn take() -> Option<SegmentRef> {
    let _guard = sync::lock(&LOCK);
    let free = FREE.load(Ordering::Relaxed);
    if free != 0 {
        // SAFETY: the list holds segments that `put` was given.
        let segment = unsafe { SegmentRef::from_address(free) };
        FREE.store(segment.kin_next().get() as usize, Ordering::Relaxed);
        segment.kin_next().set(0);
        return Some(segment);
    }
    carve()
}

fn carve() -> Option<SegmentRef> {
    let address = NEXT.load(Ordering::Relaxed);
    let after = address + size_of::<Segment>();
    let committed = COMMITTED.load(Ordering::Relaxed);
    if after > committed {
        if committed + STEP > END.load(Ordering::Relaxed) || !memory::commit(committed, STEP) {
            return None;
        }
        COMMITTED.store(committed + STEP, Ordering::Relaxed);
    }
    NEXT.store(after, Ordering::Relaxed);
    // SAFETY: fresh committed memory of the pool, aligned since the pool starts at a unit.
    Some(unsafe { SegmentRef::from_address(address) })
}

/// Gives a segment back.
pub(super) fn put(segment: SegmentRef) {
    let _guard = sync::lock(&LOCK);
    segment.initialize(Segment {
        kind: segment_kind::UNUSED,
        kin_next: FREE.load(Ordering::Relaxed) as u64,
        ..Segment::ZERO
    });
    FREE.store(segment.address(), Ordering::Relaxed);
}

/// The pool's lock, for fork.
pub(super) fn lock_word() -> &'static AtomicU32 {
    &LOCK
}
