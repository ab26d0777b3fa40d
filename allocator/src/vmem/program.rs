//! Arenas of the program: what vmem_create(3) and its kin do.
//!
//! Their numbers need not be addresses, so nothing in their ranges is ever touched. Import and release functions of the
//! program are called with no lock held. The library's own arenas take the same calls, for the heap that programs import from.

use super::{
    Fit, Request,
    arena::{self, Fresh, arenas, is_foreign, neighbour, size_of_segment},
    segment,
};
use crate::{
    raw::{ArenaRef, Cell, SegmentRef, byte, padded_name, word},
    sync,
};
use core::{
    ffi::{c_int, c_void},
    sync::atomic::Ordering,
};
use umem_layout::{Arena, Plain, policy, segment_kind};

/// Brings a span into an arena: `(source, size, flags)`; null when there is none.
pub type Import = unsafe extern "C" fn(*mut c_void, usize, c_int) -> *mut c_void;
/// Takes a span back: `(source, start, size)`.
pub type Release = unsafe extern "C" fn(*mut c_void, *mut c_void, usize);
const _: () = assert!(size_of::<Option<Import>>() == size_of::<u64>());

/// Bytes of a name that are kept; libumem cuts there.
const NAME_MAX: usize = 29;

/// What an arena of the program is made from.
#[derive(Clone, Copy)]
pub struct Blueprint<'a> {
    /// Name; its first 29 bytes are kept.
    pub name: &'a [u8],
    /// Unit of allocation, a power of two.
    pub quantum: usize,
    /// Where spans come from, if from anywhere.
    pub import: Option<Import>,
    /// Where spans that are wholly free go to, if they go at all.
    pub release: Option<Release>,
    /// First argument of both, an arena as a rule.
    pub source: usize,
}

/// Creates an arena of the program. None: no memory.
pub fn create_foreign(blueprint: &Blueprint<'_>) -> Option<ArenaRef> {
    let table_at = size_of::<Arena>().next_multiple_of(64);
    let bytes = table_at + arena::HASH_INITIAL * 8;
    let memory = arena::alloc(arenas().internal, bytes, 64)?;
    let address = memory.start().get() as usize;
    for index in 0..bytes {
        // SAFETY: fresh metadata of that length that nothing else uses.
        unsafe { byte(address, index) }.set(0);
    }
    // SAFETY: as above, aligned to 64.
    let new = unsafe { ArenaRef::from_address(address) };
    let kept = blueprint.name.get(..NAME_MAX).unwrap_or(blueprint.name);
    new.initialize(Arena {
        source: blueprint.source as u64,
        name: padded_name(kept),
        policy: policy::FOREIGN,
        quantum: blueprint.quantum as u64,
        import: blueprint
            .import
            .map_or(0, |function| function as usize as u64),
        release: blueprint
            .release
            .map_or(0, |function| function as usize as u64),
        ..Arena::ZERO
    });
    let published = {
        let _guard = arena::lock_list();
        arena::publish(new, address + table_at)
    };
    if !published {
        arena::free(arenas().internal, address);
    }
    published.then_some(new)
}

/// Ends an arena of the program and returns how much of it was still allocated. Imported spans in which something is
/// still allocated stay with the program.
pub fn destroy_foreign(old: ArenaRef) -> usize {
    let leaked = old.in_use().get() as usize;
    {
        let _guard = arena::lock_list();
        arena::withdraw(old);
    }
    let anchor = neighbour(old.segments().get());
    let mut next = neighbour(anchor.next().get());
    while next != anchor {
        let this = next;
        next = neighbour(this.next().get());
        segment::put(this);
    }
    segment::put(anchor);
    arena::hash_drop(old);
    arena::free(arenas().internal, old.address());
    leaked
}

/// Whether a new span would overlap one that the arena has.
pub fn overlaps(arena: ArenaRef, start: usize, size: usize) -> bool {
    let _guard = sync::lock(arena.lock());
    spans(arena).any(|span| {
        (span.start().get() as usize) < start + size && start < span.end().get() as usize
    })
}

/// Whether a range lies wholly in one span.
pub fn contains(arena: ArenaRef, start: usize, size: usize) -> bool {
    let Some(end) = start.checked_add(size) else {
        return false;
    };
    let _guard = sync::lock(arena.lock());
    spans(arena)
        .any(|span| start >= span.start().get() as usize && end <= span.end().get() as usize)
}

fn spans(arena: ArenaRef) -> impl Iterator<Item = SegmentRef> {
    pieces(arena).filter(|segment| segment.kind().get() == segment_kind::SPAN)
}

/// The address list, under the arena's lock.
fn pieces(arena: ArenaRef) -> impl Iterator<Item = SegmentRef> {
    let anchor = neighbour(arena.segments().get());
    core::iter::successors(Some(neighbour(anchor.next().get())), |segment| {
        Some(neighbour(segment.next().get()))
    })
    .take_while(move |&segment| segment != anchor)
}

/// Adds a span. False: no memory for its segments. The arena is one of the program.
pub fn add(arena: ArenaRef, start: usize, size: usize) -> bool {
    let _guard = sync::lock(arena.lock());
    add_locked(arena, start, size, false)
}

fn add_locked(arena: ArenaRef, start: usize, size: usize, imported: bool) -> bool {
    let anchor = neighbour(arena.segments().get());
    let added = arena::append_span(arena, anchor, start as u64, (start + size) as u64, imported);
    if added {
        arena.total().add(size as u64);
        let imported = if imported { size as u64 } else { 0 };
        arena.imported().add(imported);
    }
    added
}

/// Allocates from an arena of the program, or from one of the library on the program's behalf. `exact` is the size that
/// the free will name; `flags` are handed to the import function.
pub fn alloc_request(
    arena: ArenaRef,
    request: &Request,
    exact: usize,
    fit: Fit,
    flags: c_int,
) -> Option<SegmentRef> {
    let taken = {
        let _guard = sync::lock(arena.lock());
        take(arena, request, exact, fit)
    };
    let taken = taken.or_else(|| {
        request
            .may_import()
            .then(|| import_and_take(arena, request, exact, fit, flags))?
    });
    if taken.is_none() {
        arena.fails().fetch_add(1, Ordering::Relaxed);
    }
    taken
}

fn take(arena: ArenaRef, request: &Request, exact: usize, fit: Fit) -> Option<SegmentRef> {
    let (free, at) = fit.find(arena, request)?;
    let segment = arena::carve(arena, free, at, request.size)?;
    segment.requested().set(exact as u64);
    if fit == Fit::Next {
        arena.rotor().set(segment.link());
    }
    Some(segment)
}

fn import_and_take(
    arena: ArenaRef,
    request: &Request,
    exact: usize,
    fit: Fit,
    flags: c_int,
) -> Option<SegmentRef> {
    let quantum = arena.quantum().get() as usize;
    let slack = if request.align > quantum {
        request.align
    } else {
        0
    };
    let need = request.size.checked_add(slack)?;
    let fresh = if is_foreign(arena) {
        import(arena, need, flags)?
    } else {
        arena::import(arena, need, request.align)?
    };
    let (taken, back) = {
        let _guard = sync::lock(arena.lock());
        add_and_take(arena, request, exact, fit, fresh)
    };
    if back {
        arena::release(arena, fresh.start, fresh.size);
    }
    taken
}

/// Adds an imported span and takes the request from it; whether the span is to be given back, under the arena's lock.
fn add_and_take(
    arena: ArenaRef,
    request: &Request,
    exact: usize,
    fit: Fit,
    fresh: Fresh,
) -> (Option<SegmentRef>, bool) {
    let added = if is_foreign(arena) {
        add_locked(arena, fresh.start, fresh.size, arena.release().get() != 0)
    } else {
        arena::add_span(arena, fresh, arena.source().get() != 0)
    };
    if !added {
        return (None, true);
    }
    let taken = take(arena, request, exact, fit);
    if taken.is_some() {
        return (taken, false);
    }
    // The span is the last of the list, and wholly free.
    let last = neighbour(neighbour(arena.segments().get()).prev().get());
    (None, arena::remove_whole_span(arena, last).is_some())
}

/// Calls the program's import function. None: it has none, or no span.
fn import(arena: ArenaRef, size: usize, flags: c_int) -> Option<Fresh> {
    let function = arena.import().get();
    // SAFETY: the field holds nothing or the function that `create_foreign` was given.
    let function = unsafe { core::mem::transmute::<u64, Option<Import>>(function) }?;
    let source = core::ptr::with_exposed_provenance_mut(arena.source().get() as usize);
    // SAFETY: the program's function and its argument; no lock is held.
    let start = unsafe { function(source, size, flags) }.expose_provenance();
    (start != 0 && start.checked_add(size).is_some()).then_some(Fresh {
        start,
        size,
        clean: false,
    })
}

/// Calls the program's release function, if it has one.
pub(super) fn release(arena: ArenaRef, start: usize, size: usize) {
    let function = arena.release().get();
    // SAFETY: the field holds nothing or the function that `create_foreign` was given.
    let Some(function) = (unsafe { core::mem::transmute::<u64, Option<Release>>(function) }) else {
        return;
    };
    let source = core::ptr::with_exposed_provenance_mut(arena.source().get() as usize);
    let start = core::ptr::with_exposed_provenance_mut(start);
    // SAFETY: the program's function and its argument; no lock is held.
    unsafe { function(source, start, size) };
}

/// Allocates memory for a slab from any arena. The library's arenas take their short way.
pub fn alloc_span(arena: ArenaRef, size: usize, align: usize) -> Option<SegmentRef> {
    const VM_NOSLEEP: c_int = 1;
    if !is_foreign(arena) {
        return arena::alloc(arena, size, align);
    }
    let quantum = arena.quantum().get() as usize;
    let request = Request::plain(size.checked_next_multiple_of(quantum)?, align.max(quantum));
    alloc_request(arena, &request, size, Fit::Instant, VM_NOSLEEP)
}

/// A piece of an arena, as vmem_walk tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// [`umem_layout::segment_kind`].
    pub kind: u32,
    /// First number.
    pub start: usize,
    /// Length; of an allocated piece the size that was asked for.
    pub size: usize,
}

/// Words of a piece in a copy.
const WORDS: usize = 3;

/// Calls `visit` for each piece that the arena had at the moment of the call, in the order of the address list, with no lock held.
/// False: no memory for the copy.
pub fn for_each_piece(arena: ArenaRef, mut visit: impl FnMut(Piece)) -> bool {
    loop {
        let room = {
            let _guard = sync::lock(arena.lock());
            pieces(arena).count() + 8
        };
        let Some(memory) = arena::alloc(arenas().internal, room * WORDS * 8, 64) else {
            return false;
        };
        let copy = memory.start().get() as usize;
        let copied = copy_pieces(arena, copy, room);
        if let Some(count) = copied {
            (0..count).for_each(|index| visit(piece_at(copy, index)));
        }
        arena::free(arenas().internal, copy);
        if copied.is_some() {
            return true;
        }
    }
}

/// Copies the pieces and returns how many there are. None: there is no room for them.
fn copy_pieces(arena: ArenaRef, copy: usize, room: usize) -> Option<usize> {
    let _guard = sync::lock(arena.lock());
    let mut count = 0;
    for segment in pieces(arena) {
        if count == room {
            return None;
        }
        let size = match segment.requested().get() {
            0 => size_of_segment(segment) as u64,
            exact => exact,
        };
        let words = [u64::from(segment.kind().get()), segment.start().get(), size];
        for (index, value) in words.into_iter().enumerate() {
            // SAFETY: the copy has room for `room` pieces of that many words.
            unsafe { word(copy, count * WORDS + index) }.set(value);
        }
        count += 1;
    }
    Some(count)
}

fn piece_at(copy: usize, index: usize) -> Piece {
    // SAFETY: as in `copy_pieces`.
    let at = |offset| unsafe { word(copy, index * WORDS + offset) }.get();
    Piece {
        kind: at(0) as u32,
        start: at(1) as usize,
        size: at(2) as usize,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arena_that_has_no_source_and_no_spans_gives_nothing() {
        assert!(crate::init::ensure());
        let blueprint = Blueprint {
            name: b"empty",
            quantum: 1,
            import: None,
            release: None,
            source: 0,
        };
        let arena = create_foreign(&blueprint).expect("memory");
        let request = Request {
            size: 1,
            align: 1,
            phase: 0,
            nocross: 0,
            minimum: 0,
            maximum: 0,
        };
        assert!(alloc_request(arena, &request, 1, Fit::Instant, 0).is_none());
        assert_eq!(arena.fails().get(), 1);
        assert_eq!(destroy_foreign(arena), 0);
    }
}
