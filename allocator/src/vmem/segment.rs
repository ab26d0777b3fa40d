//! The pool of segments.

use crate::{
    raw::{Cell, Global, SegmentRef, publish_span},
    sync,
    sys::memory,
};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use umem_layout::{Plain, Segment, Span, segment_kind, span_kind};

/// Segments are committed by this many bytes.
const STEP: usize = 64 << 10;

static LOCK: AtomicU32 = AtomicU32::new(0);
static FREE: AtomicUsize = AtomicUsize::new(0);
static NEXT: AtomicUsize = AtomicUsize::new(0);
static COMMITTED: AtomicUsize = AtomicUsize::new(0);
static END: AtomicUsize = AtomicUsize::new(0);

/// Bytes of a further range, and how many there can be.
const MORE: usize = 8 << 20;
const MORE_MAX: usize = 256;
static MORE_COUNT: AtomicUsize = AtomicUsize::new(0);
static SPANS: Global<[Span; MORE_MAX]> = Global::new([Span::ZERO; MORE_MAX]);

/// Gives the pool its reserved range.
pub(super) fn initialize(start: usize, size: usize) -> bool {
    NEXT.store(start, Ordering::Relaxed);
    COMMITTED.store(start, Ordering::Relaxed);
    END.store(start + size, Ordering::Relaxed);
    true
}

/// Has the pool end earlier, if it is still in the range from `start` to `end`: behind what is in use, and no earlier than behind `least`
/// bytes. Returns where the range ends now.
pub(super) fn trim(start: usize, end: usize, least: usize) -> usize {
    let _guard = sync::lock(&LOCK);
    let committed = COMMITTED.load(Ordering::Relaxed);
    if !(start..=end).contains(&committed) {
        return end;
    }
    let least = start + least.next_multiple_of(STEP);
    let end = committed.max(least).min(end);
    END.store(end, Ordering::Relaxed);
    end
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
    if NEXT.load(Ordering::Relaxed) + size_of::<Segment>() > COMMITTED.load(Ordering::Relaxed) {
        let committed = COMMITTED.load(Ordering::Relaxed);
        if committed + STEP > END.load(Ordering::Relaxed) {
            return map_more().then(carve).flatten();
        }
        if !memory::commit(committed, STEP) {
            return None;
        }
        COMMITTED.store(committed + STEP, Ordering::Relaxed);
    }
    let address = NEXT.fetch_add(size_of::<Segment>(), Ordering::Relaxed);
    // SAFETY: fresh committed memory of the pool, aligned since its ranges start at a page.
    Some(unsafe { SegmentRef::from_address(address) })
}

/// Goes on in a new range when the first region's part is used up, as it is with many small blocks.
fn map_more() -> bool {
    let index = MORE_COUNT.load(Ordering::Relaxed);
    if index == MORE_MAX {
        return false;
    }
    let Some(start) = memory::reserve(MORE) else {
        return false;
    };
    MORE_COUNT.store(index + 1, Ordering::Relaxed);
    let span = SPANS.get() as usize + index * size_of::<Span>();
    // SAFETY: an element of a static array of which each is used once.
    unsafe { publish_span(span, start, MORE, span_kind::METADATA) };
    initialize(start, MORE)
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
