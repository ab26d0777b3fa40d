//! Arenas: boundary tags, free lists by power of two, import and release of spans.

use super::{Fit, Request, UNIT, region, round_up, segment};
use crate::{
    raw::{ArenaRef, Cell, Global, SegmentRef, copy, padded_name, root, word},
    sync,
    sys::{
        clock,
        memory::{self, PAGE},
    },
};
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use umem_layout::{Arena, Plain, Segment, policy, segment_kind, unit};

const ARENAS_MAX: usize = 64;
/// Free segments of the request's own list that are looked at for the best fit.
const BEST_FIT_LOOKS: usize = 32;
/// Buckets of a fresh hash table, which stands beside the arena; tables double when chains reach two.
pub(super) const HASH_INITIAL: usize = 64;
/// Slabs and metadata are imported by this many bytes at least, to keep boundary tags few.
const IMPORT_MIN: usize = 16 * UNIT;
/// Free pages that an arena keeps: this many bytes, or this part of what is in use, whichever is more.
const DIRTY_MAX: u64 = 4 << 20;
const DIRTY_PART: u64 = 8;
/// Nanoseconds between two purges, unless there are this many times the pages to keep.
const PURGE_PAUSE: u64 = 100_000_000;
const DIRTY_HARD: u64 = 4;
/// When an arena was purged last.
static PURGED: AtomicU64 = AtomicU64::new(0);
/// Whether pages wait for the next purge to be due.
static WAITING: AtomicBool = AtomicBool::new(false);
/// Mark in `Segment::flags` of a free segment, and of one that was just allocated: some of its pages may hold old contents.
pub(super) const DIRTY: u16 = 1 << 15;
/// A span of this size that goes back to the top arena gives its pages back to the system at once, unless that was just
/// done: a program that frees and allocates such blocks in turns would wait for its pages all the time.
const PURGE_MIN: usize = 1 << 20;

/// Free segments that are looked at for a span that was kept.
const KEPT_LOOKS: usize = 64;

/// How the library's arenas place what they hand out; nothing: best fit among few, in constant time.
static PLACING: AtomicU8 = AtomicU8::new(0);
const FITS: [Fit; 4] = [Fit::Best, Fit::First, Fit::Next, Fit::Instant];

/// Sets the policy of the library's arenas, before they are used.
pub fn place_by(fit: Option<Fit>) {
    let number = FITS
        .iter()
        .position(|&known| Some(known) == fit)
        .map_or(0, |index| index + 1);
    PLACING.store(number as u8, Ordering::Relaxed);
}

/// The policy of the library's arenas, if it was set.
fn placing() -> Option<Fit> {
    let number = usize::from(PLACING.load(Ordering::Relaxed));
    FITS.get(number.wrapping_sub(1)).copied()
}

static TABLE: Global<[Arena; ARENAS_MAX]> = Global::new([Arena::ZERO; ARENAS_MAX]);
static HASHES: Global<[[u64; HASH_INITIAL]; ARENAS_MAX]> =
    Global::new([[0; HASH_INITIAL]; ARENAS_MAX]);
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// The arena that was created last, where the list ends.
static LAST: AtomicUsize = AtomicUsize::new(0);
static LIST_LOCK: AtomicU32 = AtomicU32::new(0);
static LAST_ID: AtomicU32 = AtomicU32::new(0);

/// The arenas of the library.
#[derive(Clone, Copy)]
pub struct Arenas {
    /// Committed address space.
    pub top: ArenaRef,
    /// Structures of the allocator.
    pub internal: ArenaRef,
    /// Slabs.
    pub default: ArenaRef,
    /// Blocks larger than the largest size class.
    pub oversize: ArenaRef,
    /// Blocks of unusual alignment.
    pub memalign: ArenaRef,
    /// Address space for arenas of the program.
    pub heap: ArenaRef,
}

fn arena(index: usize) -> ArenaRef {
    debug_assert!(index < ARENAS_MAX);
    // SAFETY: an element of a static array that is only accessed through handles.
    unsafe { ArenaRef::from_address(TABLE.get() as usize + index * size_of::<Arena>()) }
}

/// The arenas of the library, in the order in which `create_all` makes them.
#[inline]
pub fn arenas() -> Arenas {
    Arenas {
        top: arena(0),
        internal: arena(1),
        default: arena(2),
        oversize: arena(3),
        memalign: arena(4),
        heap: arena(5),
    }
}

/// Creates an arena. None: too many, or no memory for its anchor.
pub fn create(
    name: &[u8],
    source: Option<ArenaRef>,
    quantum: usize,
    policy: u32,
) -> Option<ArenaRef> {
    let _guard = sync::lock(&LIST_LOCK);
    let index = COUNT.load(Ordering::Relaxed);
    if index == ARENAS_MAX {
        return None;
    }
    let new = arena(index);
    let table = HASHES.get() as usize + index * size_of::<[u64; HASH_INITIAL]>();
    new.initialize(Arena {
        source: source.map_or(0, ArenaRef::link),
        name: padded_name(name),
        policy,
        quantum: quantum as u64,
        ..Arena::ZERO
    });
    if !publish(new, table) {
        return None;
    }
    COUNT.store(index + 1, Ordering::Release);
    let bytes = (index + 1) * size_of::<Arena>();
    copy::table(copy::Table::Arenas, TABLE.get() as usize, bytes);
    Some(new)
}

/// Gives a new arena its anchor and its hash table, [`HASH_INITIAL`] words, and puts it at the end of the list. Under the
/// list's lock. False: no memory for the anchor.
pub(super) fn publish(new: ArenaRef, table: usize) -> bool {
    let Some(anchor) = segment::take() else {
        return false;
    };
    anchor.initialize(Segment {
        next: anchor.link(),
        prev: anchor.link(),
        ..Segment::ZERO
    });
    new.id().set(LAST_ID.fetch_add(1, Ordering::Relaxed) + 1);
    new.segments().set(anchor.link());
    new.hash().set(table as u64);
    new.hash_size().set(HASH_INITIAL as u64);
    match LAST.swap(new.address(), Ordering::Relaxed) {
        0 => root().arenas(),
        // SAFETY: the last arena of the list, which the list's lock keeps there.
        last => unsafe { ArenaRef::from_address(last) }.next(),
    }
    .store(new.link(), Ordering::Release);
    copy::refresh();
    true
}

/// Takes an arena off the list, under the list's lock. A debugger that stops the process at any instant finds the list
/// with it or without it.
pub(super) fn withdraw(old: ArenaRef) {
    let before = all().take_while(|&arena| arena != old).last();
    before
        .map_or(root().arenas(), ArenaRef::next)
        .store(old.next().get(), Ordering::Release);
    if LAST.load(Ordering::Relaxed) == old.address() {
        LAST.store(before.map_or(0, ArenaRef::address), Ordering::Relaxed);
    }
    copy::refresh();
}

/// All arenas in order of creation.
pub(super) fn all() -> impl Iterator<Item = ArenaRef> {
    // SAFETY: links of the list are zero or arenas.
    let at = |link: u64| unsafe { ArenaRef::from_link(link) };
    core::iter::successors(at(root().arenas().load(Ordering::Acquire)), move |arena| {
        at(arena.next().load(Ordering::Acquire))
    })
}

/// Takes the lock of the list of arenas.
pub(super) fn lock_list() -> sync::Guard<'static> {
    sync::lock(&LIST_LOCK)
}

pub(super) fn link(value: u64) -> Option<SegmentRef> {
    // SAFETY: links of an arena's lists are zero or segments of the pool.
    unsafe { SegmentRef::from_link(value) }
}

/// A link that is never zero: neighbours on the circular address list.
pub(super) fn neighbour(value: u64) -> SegmentRef {
    debug_assert!(value != 0);
    // SAFETY: the address list is circular; its links are segments of the pool.
    unsafe { SegmentRef::from_address(value as usize) }
}

pub(super) fn size_of_segment(segment: SegmentRef) -> usize {
    (segment.end().get() - segment.start().get()) as usize
}

// ---- address list ----

pub(super) fn insert_after(place: SegmentRef, new: SegmentRef) {
    let next = neighbour(place.next().get());
    new.prev().set(place.link());
    new.next().set(next.link());
    next.prev().set(new.link());
    place.next().set(new.link());
}

fn unlink(arena: ArenaRef, segment: SegmentRef) {
    let (prev, next) = (
        neighbour(segment.prev().get()),
        neighbour(segment.next().get()),
    );
    prev.next().set(next.link());
    next.prev().set(prev.link());
    if arena.rotor().get() == segment.link() {
        arena.rotor().set(prev.link());
    }
}

// ---- free lists ----

pub(super) fn list_of(size: usize) -> usize {
    (usize::BITS - 1 - size.leading_zeros()) as usize
}

fn free_insert(arena: ArenaRef, segment: SegmentRef) {
    segment.kind().set(segment_kind::FREE);
    let index = list_of(size_of_segment(segment));
    let head = arena.free_list(index);
    segment.kin_prev().set(0);
    segment.kin_next().set(head.get());
    if let Some(next) = link(head.get()) {
        next.kin_prev().set(segment.link());
    }
    head.set(segment.link());
    arena.free_mask().set(arena.free_mask().get() | 1 << index);
}

fn free_remove(arena: ArenaRef, segment: SegmentRef) {
    let index = list_of(size_of_segment(segment));
    match link(segment.kin_prev().get()) {
        Some(prev) => prev.kin_next().set(segment.kin_next().get()),
        None => arena.free_list(index).set(segment.kin_next().get()),
    }
    if let Some(next) = link(segment.kin_next().get()) {
        next.kin_prev().set(segment.kin_prev().get());
    }
    if arena.free_list(index).get() == 0 {
        arena
            .free_mask()
            .set(arena.free_mask().get() & !(1 << index));
    }
    segment.kin_next().set(0);
    segment.kin_prev().set(0);
}

/// Where in a free segment a request fits.
fn fit(segment: SegmentRef, size: usize, align: usize) -> Option<usize> {
    let start = round_up(segment.start().get() as usize, align);
    (start.checked_add(size)? <= segment.end().get() as usize).then_some(start)
}

pub(super) fn find_free(arena: ArenaRef, size: usize, align: usize) -> Option<(SegmentRef, usize)> {
    match placing() {
        None => find_fast(arena, size, align),
        Some(fit) => fit.find(arena, &Request::plain(size, align)),
    }
}

/// Best fit among the first few segments of the request's own list, else instant fit from a larger one.
fn find_fast(arena: ArenaRef, size: usize, align: usize) -> Option<(SegmentRef, usize)> {
    let own = list_of(size);
    let mut best: Option<(SegmentRef, usize)> = None;
    let mut next = link(arena.free_list(own).get());
    for _ in 0..BEST_FIT_LOOKS {
        let Some(segment) = next else { break };
        if let Some(at) = fit(segment, size, align)
            && best.is_none_or(|(known, _)| size_of_segment(segment) < size_of_segment(known))
        {
            best = Some((segment, at));
        }
        next = link(segment.kin_next().get());
    }
    if best.is_some() {
        return best;
    }
    let mut mask = if own == 63 {
        0
    } else {
        arena.free_mask().get() >> (own + 1) << (own + 1)
    };
    while mask != 0 {
        let segment = link(arena.free_list(mask.trailing_zeros() as usize).get());
        if let Some(found) = segment.and_then(|segment| Some((segment, fit(segment, size, align)?)))
        {
            return Some(found);
        }
        mask &= mask - 1;
    }
    None
}

// ---- hash of allocated segments ----

fn bucket(arena: ArenaRef, address: usize) -> &'static core::sync::atomic::AtomicU64 {
    let size = arena.hash_size().get() as usize;
    let key = address >> arena.quantum().get().trailing_zeros();
    let mixed = (key as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    // SAFETY: the table has `hash_size` words, a power of two.
    unsafe { word(arena.hash().get() as usize, mixed as usize & (size - 1)) }
}

fn hash_insert(arena: ArenaRef, segment: SegmentRef) {
    let head = bucket(arena, segment.start().get() as usize);
    segment.kin_next().set(head.get());
    head.set(segment.link());
}

fn hash_find(arena: ArenaRef, address: usize) -> Option<SegmentRef> {
    let mut next = link(bucket(arena, address).get());
    while let Some(segment) = next {
        if segment.start().get() as usize == address {
            return Some(segment);
        }
        next = link(segment.kin_next().get());
    }
    None
}

fn hash_remove(arena: ArenaRef, segment: SegmentRef) {
    let mut cell = bucket(arena, segment.start().get() as usize);
    while let Some(here) = link(cell.get()) {
        if here == segment {
            cell.set(segment.kin_next().get());
            segment.kin_next().set(0);
            return;
        }
        cell = here.kin_next();
    }
}

/// Doubles a table that has become too small. Without memory it stays as it is, only slower.
fn hash_grow(arena: ArenaRef) {
    let old_size = arena.hash_size().get() as usize;
    let live = (arena.allocs().get() - arena.frees().get()) as usize;
    if live <= old_size * 2 {
        return;
    }
    let new_size = (old_size * 4).max(PAGE / 8);
    let Some(table) = memory::map(new_size * 8) else {
        return;
    };
    let old = arena.hash().get() as usize;
    arena.hash().set(table as u64);
    arena.hash_size().set(new_size as u64);
    for index in 0..old_size {
        // SAFETY: the old table has `old_size` words.
        let mut next = link(unsafe { word(old, index) }.get());
        while let Some(segment) = next {
            next = link(segment.kin_next().get());
            hash_insert(arena, segment);
        }
    }
    if old_size > HASH_INITIAL {
        // SAFETY: a larger table than the initial one was mapped here, and nothing refers to it any more.
        unsafe { memory::unmap(old, old_size * 8) };
    }
}

/// Gives back the hash table of an arena that ends, unless it is the initial one.
pub(super) fn hash_drop(arena: ArenaRef) {
    let (table, size) = (
        arena.hash().get() as usize,
        arena.hash_size().get() as usize,
    );
    if size > HASH_INITIAL {
        // SAFETY: a larger table than the initial one was mapped by `hash_grow`, and the arena is used no more.
        unsafe { memory::unmap(table, size * 8) };
    }
}

// ---- allocation ----

/// Cuts a request out of a free segment. None: no segments for the remainders.
pub(super) fn carve(
    arena: ArenaRef,
    free: SegmentRef,
    at: usize,
    size: usize,
) -> Option<SegmentRef> {
    let (start, end) = (free.start().get() as usize, free.end().get() as usize);
    let before = if at > start {
        Some(segment::take()?)
    } else {
        None
    };
    let after = if at + size < end {
        match segment::take() {
            Some(segment) => Some(segment),
            None => {
                before.into_iter().for_each(segment::put);
                return None;
            }
        }
    } else {
        None
    };
    let dirty = free.flags().get();
    free_remove(arena, free);
    if let Some(before) = before {
        before.initialize(Segment {
            start: start as u64,
            end: at as u64,
            flags: dirty,
            ..Segment::ZERO
        });
        insert_after(neighbour(free.prev().get()), before);
        free_insert(arena, before);
    }
    if let Some(after) = after {
        after.initialize(Segment {
            start: (at + size) as u64,
            end: end as u64,
            flags: dirty,
            ..Segment::ZERO
        });
        insert_after(free, after);
        free_insert(arena, after);
    }
    free.start().set(at as u64);
    free.end().set((at + size) as u64);
    free.kind().set(segment_kind::ALLOC);
    if dirty & DIRTY != 0 {
        let known = arena.dirty().get();
        arena.dirty().set(known.saturating_sub(size as u64));
    }
    hash_insert(arena, free);
    arena.allocs().add(1);
    arena.in_use().add(size as u64);
    arena
        .in_use_max()
        .set(arena.in_use_max().get().max(arena.in_use().get()));
    hash_grow(arena);
    Some(free)
}

/// Memory that comes from an arena's source.
#[derive(Clone, Copy)]
pub(super) struct Fresh {
    pub start: usize,
    pub size: usize,
    /// It reads as zero, and its pages take no memory.
    pub clean: bool,
}

/// As [`carve`], and next fit goes on behind it.
pub(super) fn carve_as_placed(
    arena: ArenaRef,
    free: SegmentRef,
    at: usize,
    size: usize,
) -> Option<SegmentRef> {
    let segment = carve(arena, free, at, size)?;
    if placing() == Some(Fit::Next) {
        arena.rotor().set(segment.link());
    }
    Some(segment)
}

/// Adds a span as one free segment, or extends the last span when the new memory follows it.
pub(super) fn add_span(arena: ArenaRef, fresh: Fresh, imported: bool) -> bool {
    let Fresh { start, size, clean } = fresh;
    let anchor = neighbour(arena.segments().get());
    let last = neighbour(anchor.prev().get());
    let end = (start + size) as u64;
    let added = if !imported && last.end().get() == start as u64 && last != anchor {
        extend_last_span(arena, anchor, last, end)
    } else {
        append_span(arena, anchor, start as u64, end, imported)
    };
    if added {
        arena.total().add(size as u64);
        if imported {
            arena.imported().add(size as u64);
        }
        if !clean {
            neighbour(anchor.prev().get()).flags().set(DIRTY);
            arena.dirty().add(size as u64);
        }
    }
    added
}

/// Whether a range that was just allocated reads as zero.
pub fn is_clean(segment: SegmentRef) -> bool {
    segment.flags().get() & DIRTY == 0
}

pub(super) fn append_span(
    arena: ArenaRef,
    anchor: SegmentRef,
    start: u64,
    end: u64,
    imported: bool,
) -> bool {
    let Some(span) = segment::take() else {
        return false;
    };
    let Some(free) = segment::take() else {
        segment::put(span);
        return false;
    };
    span.initialize(Segment {
        kind: segment_kind::SPAN,
        imported: imported.into(),
        start,
        end,
        ..Segment::ZERO
    });
    free.initialize(Segment {
        start,
        end,
        ..Segment::ZERO
    });
    insert_after(neighbour(anchor.prev().get()), span);
    insert_after(span, free);
    free_insert(arena, free);
    true
}

/// `last` ends where new memory begins: the span marker that it belongs to grows, and so does the free tail.
fn extend_last_span(arena: ArenaRef, anchor: SegmentRef, last: SegmentRef, end: u64) -> bool {
    if last.kind().get() == segment_kind::FREE {
        free_remove(arena, last);
        last.end().set(end);
        free_insert(arena, last);
    } else {
        let Some(free) = segment::take() else {
            return false;
        };
        free.initialize(Segment {
            start: last.end().get(),
            end,
            ..Segment::ZERO
        });
        insert_after(last, free);
        free_insert(arena, free);
    }
    let mut span = last;
    while span.kind().get() != segment_kind::SPAN && span != anchor {
        span = neighbour(span.prev().get());
    }
    span.end().set(end);
    true
}

/// Gets a span for a request from the arena's source, with the arena's lock let go.
pub(super) fn import(arena: ArenaRef, size: usize, align: usize) -> Option<Fresh> {
    // SAFETY: the source is zero or an arena of the table.
    let Some(source) = (unsafe { ArenaRef::from_link(arena.source().get()) }) else {
        let (start, size) = region::grow(size)?;
        return Some(Fresh {
            start,
            size,
            clean: true,
        });
    };
    let quantum = source.quantum().get() as usize;
    let slack = if align > quantum { align } else { 0 };
    let blocks = arena.policy().get() & policy::BLOCKS != 0;
    let least = if blocks { quantum } else { IMPORT_MIN };
    let want = round_up(
        size.checked_add(slack)?
            .checked_next_multiple_of(quantum)?
            .max(least),
        quantum,
    );
    let got = alloc(source, want, quantum).or_else(|| {
        let need = round_up(size + slack, quantum);
        if need < want {
            alloc(source, need, quantum)
        } else {
            None
        }
    })?;
    let (start, size) = (got.start().get() as usize, size_of_segment(got));
    if blocks {
        region::mark_units(start, size, unit::BLOCKS);
    }
    Some(Fresh {
        start,
        size,
        clean: is_clean(got),
    })
}

/// Allocates `size` bytes at a multiple of `align`, a power of two. None: no memory.
pub fn alloc(arena: ArenaRef, size: usize, align: usize) -> Option<SegmentRef> {
    let quantum = arena.quantum().get() as usize;
    let align = align.max(quantum);
    // Beyond this no request can succeed, and below it no sum of a few terms overflows.
    let result = if size == 0 || size > 1 << 46 || align > 1 << 40 {
        None
    } else {
        alloc_rounded(arena, round_up(size, quantum), align)
    };
    if result.is_none() {
        arena.fails().fetch_add(1, Ordering::Relaxed);
    }
    result
}

fn alloc_rounded(arena: ArenaRef, size: usize, align: usize) -> Option<SegmentRef> {
    {
        let _guard = sync::lock(arena.lock());
        if let Some((free, at)) = find_free(arena, size, align) {
            return carve_as_placed(arena, free, at, size);
        }
    }
    let slack = if arena.source().get() == 0 && align > UNIT {
        align
    } else {
        0
    };
    let fresh = import(arena, size + slack, align)?;
    let added = {
        let _guard = sync::lock(arena.lock());
        if add_span(arena, fresh, arena.source().get() != 0) {
            // Another thread may have taken the new span meanwhile only before it was added: the lock is
            // held from adding to carving.
            return find_free(arena, size, align)
                .and_then(|(free, at)| carve_as_placed(arena, free, at, size));
        }
        false
    };
    if !added {
        release(arena, fresh.start, fresh.size);
    }
    None
}

// ---- growing and shrinking in place ----

/// Makes the allocated segment at `start` at least `size` bytes long without moving it. False: there is no room.
pub fn extend(arena: ArenaRef, start: usize, size: usize) -> bool {
    let quantum = arena.quantum().get() as usize;
    if size > 1 << 46 {
        return false;
    }
    let size = round_up(size, quantum);
    match extend_within(arena, start, size) {
        Room::Enough => true,
        Room::None => false,
        Room::EndOfSpan { span, missing } => {
            extend_span(arena, span, missing)
                && matches!(extend_within(arena, start, size), Room::Enough)
        }
    }
}

enum Room {
    Enough,
    None,
    /// Only free space lies between the segment and the end of its span, which is too short.
    EndOfSpan {
        span: SegmentRef,
        missing: usize,
    },
}

fn extend_within(arena: ArenaRef, start: usize, size: usize) -> Room {
    let _guard = sync::lock(arena.lock());
    let Some(segment) = hash_find(arena, start) else {
        return Room::None;
    };
    let have = size_of_segment(segment);
    if have >= size {
        return Room::Enough;
    }
    let next = neighbour(segment.next().get());
    let room = if next.kind().get() == segment_kind::FREE {
        size_of_segment(next)
    } else {
        0
    };
    if have + room >= size {
        take_from_next(arena, segment, next, size - have);
        return Room::Enough;
    }
    let behind = if room > 0 {
        neighbour(next.next().get())
    } else {
        next
    };
    let is_last =
        behind.kind().get() == segment_kind::SPAN || behind.link() == arena.segments().get();
    if !is_last {
        return Room::None;
    }
    Room::EndOfSpan {
        span: span_of(arena, segment),
        missing: size - have - room,
    }
}

/// Moves the border between an allocated segment and the free one behind it by `bytes`.
fn take_from_next(arena: ArenaRef, segment: SegmentRef, free: SegmentRef, bytes: usize) {
    free_remove(arena, free);
    if free.flags().get() & DIRTY != 0 {
        let known = arena.dirty().get();
        arena.dirty().set(known.saturating_sub(bytes as u64));
    }
    let border = segment.end().get() + bytes as u64;
    segment.end().set(border);
    if free.end().get() == border {
        unlink(arena, free);
        segment::put(free);
    } else {
        free.start().set(border);
        free_insert(arena, free);
    }
    arena.in_use().add(bytes as u64);
    arena
        .in_use_max()
        .set(arena.in_use_max().get().max(arena.in_use().get()));
}

/// The span that a piece belongs to; spans have few pieces.
fn span_of(arena: ArenaRef, segment: SegmentRef) -> SegmentRef {
    let mut span = segment;
    while span.kind().get() != segment_kind::SPAN && span.link() != arena.segments().get() {
        span = neighbour(span.prev().get());
    }
    span
}

/// Makes a span longer: by extending it in the source or, in the top arena, by fresh memory, which may turn out
/// to lie elsewhere. The caller owns a piece of the span, so that it stays.
fn extend_span(arena: ArenaRef, span: SegmentRef, missing: usize) -> bool {
    // SAFETY: the source is zero or an arena of the table.
    let Some(source) = (unsafe { ArenaRef::from_link(arena.source().get()) }) else {
        let Some((start, size)) = region::grow(missing) else {
            return false;
        };
        let _guard = sync::lock(arena.lock());
        let fresh = Fresh {
            start,
            size,
            clean: true,
        };
        return add_span(arena, fresh, false);
    };
    let start = span.start().get() as usize;
    let old = size_of_segment(span);
    let wanted = round_up(old + missing, source.quantum().get() as usize);
    if span.imported().get() == 0 || !extend(source, start, wanted) {
        return false;
    }
    if arena.policy().get() & policy::BLOCKS != 0 {
        region::mark_units(start + old, wanted - old, unit::BLOCKS);
    }
    let _guard = sync::lock(arena.lock());
    lengthen(arena, span, (start + wanted) as u64)
}

/// Adds the memory behind a span, up to `end`, to it.
fn lengthen(arena: ArenaRef, span: SegmentRef, end: u64) -> bool {
    // Another thread that owns a piece of the span may have been faster.
    if end <= span.end().get() {
        return true;
    }
    let mut last = neighbour(span.next().get());
    while last.end().get() != span.end().get() {
        last = neighbour(last.next().get());
    }
    let added = end - span.end().get();
    if last.kind().get() == segment_kind::FREE {
        free_remove(arena, last);
        last.end().set(end);
        free_insert(arena, last);
    } else {
        let Some(free) = segment::take() else {
            return false;
        };
        free.initialize(Segment {
            start: span.end().get(),
            end,
            ..Segment::ZERO
        });
        insert_after(last, free);
        free_insert(arena, free);
    }
    span.end().set(end);
    arena.total().add(added);
    arena.imported().add(added);
    true
}

/// Gives the end of an allocated segment back, so that `size` bytes remain. Nothing happens when there is no
/// segment for the remainder, or when less than the quantum would come back.
pub fn shrink(arena: ArenaRef, start: usize, size: usize) {
    let size = round_up(size.max(1), arena.quantum().get() as usize);
    let _guard = sync::lock(arena.lock());
    let Some(segment) = hash_find(arena, start) else {
        return;
    };
    let have = size_of_segment(segment);
    if have <= size {
        return;
    }
    let Some(rest) = segment::take() else { return };
    let border = segment.start().get() + size as u64;
    rest.initialize(Segment {
        start: border,
        end: segment.end().get(),
        ..Segment::ZERO
    });
    segment.end().set(border);
    insert_after(segment, rest);
    arena.in_use().subtract((have - size) as u64);
    arena.dirty().add((have - size) as u64);
    merge(arena, rest, DIRTY);
    purge_if_many(arena);
}

/// Gives a span back to the source.
pub(super) fn release(arena: ArenaRef, start: usize, size: usize) {
    if is_foreign(arena) {
        return super::program::release(arena, start, size);
    }
    // SAFETY: the source is zero or an arena of the table.
    let Some(source) = (unsafe { ArenaRef::from_link(arena.source().get()) }) else {
        return;
    };
    // The source may have more: a span that could not be lengthened after its memory was.
    let Some(size) = find(source, start).map(size_of_segment) else {
        return;
    };
    region::mark_units(start, size, unit::UNUSED);
    // SAFETY: the span is wholly free and still ours until it is freed below.
    let clean = size >= PURGE_MIN && is_purge_due() && unsafe { memory::purge(start, size) };
    free_as(source, start, clean);
    if size >= PURGE_MIN && !clean {
        WAITING.store(true, Ordering::Relaxed);
    }
}

/// Whether no purge was done of late; if so, the next is due a pause later.
fn is_purge_due() -> bool {
    let now = clock::monotonic();
    let due = now.wrapping_sub(PURGED.load(Ordering::Relaxed)) > PURGE_PAUSE;
    if due {
        PURGED.store(now, Ordering::Relaxed);
    }
    due
}

/// The allocated segment that starts at an address.
pub fn find(arena: ArenaRef, address: usize) -> Option<SegmentRef> {
    let _guard = sync::lock(arena.lock());
    hash_find(arena, address)
}

/// The allocated segment that holds an address, for error reports: no lock is taken, so a list that changes meanwhile may hide it.
pub fn around(arena: ArenaRef, address: usize) -> Option<SegmentRef> {
    const STEPS: usize = 1 << 20;
    let anchor = arena.segments().get();
    // SAFETY: links of the list are segments, which are recycled but never unmapped.
    let next = |link: u64| unsafe { SegmentRef::from_link(link) };
    core::iter::successors(
        next(anchor).and_then(|first| next(first.next().get())),
        |now| next(now.next().get()),
    )
    .take(STEPS)
    .take_while(|segment| segment.link() != anchor)
    .find(|segment| {
        let range = segment.start().get() as usize..segment.end().get() as usize;
        segment.kind().get() == segment_kind::ALLOC && range.contains(&address)
    })
}

/// Whether the arena has an allocated segment that starts at the address.
pub fn contains_block(arena: ArenaRef, address: usize) -> bool {
    find(arena, address).is_some()
}

/// Frees the segment that starts at an address. False: there is none.
pub fn free(arena: ArenaRef, address: usize) -> bool {
    free_as(arena, address, false)
}

/// Frees a segment whose pages were given back to the system, or were not.
fn free_as(arena: ArenaRef, address: usize, clean: bool) -> bool {
    let span = {
        let _guard = sync::lock(arena.lock());
        let Some(segment) = hash_find(arena, address) else {
            return false;
        };
        free_segment(arena, segment, clean)
    };
    give_to_source(arena, span);
    true
}

/// Frees an allocated segment of one of the library's arenas, which the caller owns.
pub fn free_block(arena: ArenaRef, block: SegmentRef) {
    let span = {
        let _guard = sync::lock(arena.lock());
        free_segment(arena, block, false)
    };
    give_to_source(arena, span);
}

/// Gives a span back, and with it those that were kept: see [`is_kept`].
fn give_to_source(arena: ArenaRef, span: Option<(usize, usize)>) {
    let mut next = span;
    while let Some((start, size)) = next {
        release(arena, start, size);
        next = if keeps_spans(arena) {
            take_kept_span(arena, most_dirty(arena) / 2)
        } else {
            None
        };
    }
}

/// Whether spans that have become free wait in the arena for the next blocks: to import and release one each time costs more
/// than all else.
fn keeps_spans(arena: ArenaRef) -> bool {
    arena.policy().get() & policy::BLOCKS != 0
}

/// Whether a wholly free span stays: a small one, and only as long as few bytes are free.
fn is_kept(arena: ArenaRef, size: usize) -> bool {
    keeps_spans(arena) && size < PURGE_MIN && free_bytes(arena) <= most_dirty(arena)
}

fn free_bytes(arena: ArenaRef) -> u64 {
    arena.total().get() - arena.in_use().get()
}

/// Bytes of free pages that an arena keeps.
fn most_dirty(arena: ArenaRef) -> u64 {
    DIRTY_MAX.max(arena.in_use().get() / DIRTY_PART)
}

/// Gives all wholly free spans of an arena that keeps them back to its source.
pub fn give_kept(arena: ArenaRef) {
    while let Some((start, size)) = take_kept_span(arena, 0) {
        release(arena, start, size);
    }
}

/// Takes one of the wholly free spans out of an arena that keeps them, as long as more than `enough` bytes are free.
fn take_kept_span(arena: ArenaRef, enough: u64) -> Option<(usize, usize)> {
    let _guard = sync::lock(arena.lock());
    if free_bytes(arena) <= enough {
        return None;
    }
    let mut mask = arena.free_mask().get() >> list_of(UNIT) << list_of(UNIT);
    let mut looks = 0;
    while mask != 0 {
        let mut next = link(arena.free_list(mask.trailing_zeros() as usize).get());
        while let Some(segment) = next.filter(|_| looks < KEPT_LOOKS) {
            if let Some(span) = remove_whole_span(arena, segment) {
                return Some(span);
            }
            looks += 1;
            next = link(segment.kin_next().get());
        }
        mask &= mask - 1;
    }
    None
}

/// Why a range could not be freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadFree {
    /// No allocated segment starts at the address.
    Unknown,
    /// It was allocated with this size.
    Size(usize),
}

/// Frees a segment that was allocated with a size that its record remembers.
///
/// # Errors
/// What does not agree; nothing was changed then.
pub fn free_exact(arena: ArenaRef, address: usize, size: usize) -> Result<(), BadFree> {
    let span = {
        let _guard = sync::lock(arena.lock());
        let segment = hash_find(arena, address).ok_or(BadFree::Unknown)?;
        match segment.requested().get() as usize {
            expected if expected == size => free_segment(arena, segment, false),
            expected => return Err(BadFree::Size(expected)),
        }
    };
    give_to_source(arena, span);
    Ok(())
}

/// Makes an allocated segment free, under the arena's lock. Returns the span that is to be given back.
fn free_segment(arena: ArenaRef, segment: SegmentRef, clean: bool) -> Option<(usize, usize)> {
    hash_remove(arena, segment);
    arena.frees().add(1);
    let size = size_of_segment(segment) as u64;
    arena.in_use().subtract(size);
    if !is_foreign(arena) && !clean {
        arena.dirty().add(size);
    }
    let merged = merge(arena, segment, if clean { 0 } else { DIRTY });
    let span = if is_kept(arena, size_of_segment(merged)) {
        None
    } else {
        remove_whole_span(arena, merged)
    };
    purge_if_many(arena);
    span
}

/// Whether an arena belongs to the program, so that nothing in its ranges may be touched.
pub(super) fn is_foreign(arena: ArenaRef) -> bool {
    arena.policy().get() & policy::FOREIGN != 0
}

/// Gives free pages back when there are more than the arena should keep: at once when it was not done of late,
/// else when there are many more, so that a program that frees and allocates in turns does not wait for its
/// pages all the time.
fn purge_if_many(arena: ArenaRef) {
    let keep = most_dirty(arena);
    let dirty = arena.dirty().get();
    if dirty <= keep || (arena.quantum().get() as usize) < PAGE {
        return;
    }
    if is_purge_due() || dirty > keep.saturating_mul(DIRTY_HARD) {
        purge_dirty(arena);
    } else {
        WAITING.store(true, Ordering::Relaxed);
    }
}

/// Gives the pages back that waited for the end of the pause between two purges, if it has come.
pub fn purge_waiting() {
    if !WAITING.load(Ordering::Relaxed) || !is_purge_due() {
        return;
    }
    WAITING.store(false, Ordering::Relaxed);
    for arena in all().filter(|&arena| !is_foreign(arena)) {
        let _guard = sync::lock(arena.lock());
        // Spans wait in the top arena however few they are.
        if arena.source().get() == 0 || arena.dirty().get() > most_dirty(arena) {
            purge_dirty(arena);
        }
    }
}

/// Makes a segment free, one with its free neighbours. It is dirty when one of them is.
pub(super) fn merge(arena: ArenaRef, segment: SegmentRef, mut dirty: u16) -> SegmentRef {
    let mut merged = segment;
    let next = neighbour(segment.next().get());
    if next.kind().get() == segment_kind::FREE {
        dirty |= next.flags().get();
        free_remove(arena, next);
        unlink(arena, next);
        merged.end().set(next.end().get());
        segment::put(next);
    }
    let prev = neighbour(merged.prev().get());
    if prev.kind().get() == segment_kind::FREE {
        dirty |= prev.flags().get();
        free_remove(arena, prev);
        unlink(arena, merged);
        prev.end().set(merged.end().get());
        segment::put(merged);
        merged = prev;
    } else {
        let (start, end) = (merged.start().get(), merged.end().get());
        let (next, prev) = (merged.next().get(), merged.prev().get());
        merged.initialize(Segment {
            start,
            end,
            next,
            prev,
            ..Segment::ZERO
        });
    }
    merged.flags().set(dirty & DIRTY);
    free_insert(arena, merged);
    merged
}

/// Takes an imported span that has become wholly free out of the arena and returns its start and size.
pub(super) fn remove_whole_span(arena: ArenaRef, free: SegmentRef) -> Option<(usize, usize)> {
    let span = neighbour(free.prev().get());
    let whole = span.kind().get() == segment_kind::SPAN
        && span.imported().get() != 0
        && span.start().get() == free.start().get()
        && span.end().get() == free.end().get();
    if !whole {
        return None;
    }
    let size = size_of_segment(span) as u64;
    arena.total().subtract(size);
    arena.imported().subtract(size);
    if free.flags().get() & DIRTY != 0 {
        let known = arena.dirty().get();
        arena.dirty().set(known.saturating_sub(size));
    }
    let start = span.start().get() as usize;
    free_remove(arena, free);
    unlink(arena, free);
    unlink(arena, span);
    segment::put(free);
    segment::put(span);
    Some((start, size as usize))
}

/// Gives the pages of an arena's free segments back to the system and returns how many bytes they are.
pub fn purge_free(arena: ArenaRef) -> usize {
    let _guard = sync::lock(arena.lock());
    purge_dirty(arena)
}

fn purge_dirty(arena: ArenaRef) -> usize {
    let mut purged = 0;
    let mut mask = arena.free_mask().get() & !(PAGE as u64 - 1);
    while mask != 0 {
        let mut next = link(arena.free_list(mask.trailing_zeros() as usize).get());
        while let Some(segment) = next {
            if segment.flags().get() & DIRTY != 0 {
                purged += purge_segment(segment);
            }
            next = link(segment.kin_next().get());
        }
        mask &= mask - 1;
    }
    arena.dirty().set(0);
    purged
}

/// Gives the pages back that lie wholly in a free segment, under the arena's lock, and returns how many bytes they are.
fn purge_segment(segment: SegmentRef) -> usize {
    let start = round_up(segment.start().get() as usize, PAGE);
    let end = segment.end().get() as usize & !(PAGE - 1);
    let size = end.saturating_sub(start);
    // SAFETY: the lock keeps the segment free; these are whole pages of it.
    if size == 0 || !unsafe { memory::purge(start, size) } {
        return 0;
    }
    if size == size_of_segment(segment) {
        segment.flags().set(0);
    }
    size
}

/// Calls `act` for every lock of this layer, outermost first.
pub fn for_each_lock(act: fn(&AtomicU32)) {
    act(&LIST_LOCK);
    all().for_each(|arena| act(arena.lock()));
    region::lock_words().into_iter().for_each(act);
    act(segment::lock_word());
}

/// Creates the arenas of the library in the order of [`arenas`].
pub fn create_all() -> bool {
    let create_one = |name: &[u8], source: Option<ArenaRef>, quantum: usize, policy: u32| {
        create(name, source, quantum, policy)
    };
    let Some(top) = create_one(b"mmap_top", None, UNIT, policy::TOP) else {
        return false;
    };
    create_one(b"umem_internal", Some(top), 64, policy::METADATA).is_some()
        && create_one(b"umem_default", Some(top), UNIT, policy::USER).is_some()
        && create_one(
            b"umem_oversize",
            Some(top),
            PAGE,
            policy::USER | policy::BLOCKS,
        )
        .is_some()
        && create_one(
            b"umem_memalign",
            Some(top),
            PAGE,
            policy::USER | policy::BLOCKS,
        )
        .is_some()
        && create_one(b"mmap_heap", Some(top), PAGE, 0).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_blocks(name: &[u8]) -> ArenaRef {
        assert!(crate::init::ensure());
        let policy = policy::USER | policy::BLOCKS;
        create(name, Some(arenas().top), PAGE, policy).expect("an arena")
    }

    fn start(segment: SegmentRef) -> usize {
        segment.start().get() as usize
    }

    #[test]
    fn pages_that_a_block_grows_into_do_not_count_as_free_any_more() {
        let arena = of_blocks(b"grown");
        let first = start(alloc(arena, PAGE, PAGE).expect("memory"));
        let second = start(alloc(arena, 8 * PAGE, PAGE).expect("memory"));
        assert!(free(arena, second));
        let before = arena.dirty().get();
        assert!(before >= 8 * PAGE as u64);
        assert!(extend(arena, first, 5 * PAGE));
        assert_eq!(arena.dirty().get(), before - 4 * PAGE as u64);
    }

    #[test]
    fn free_spans_are_kept_until_they_are_many() {
        let arena = of_blocks(b"kept");
        let blocks: [usize; 100] =
            core::array::from_fn(|_| start(alloc(arena, 100_000, PAGE).expect("memory")));
        let most = DIRTY_MAX as usize;
        for block in blocks {
            assert!(free(arena, block));
            assert!(free_bytes(arena) as usize <= most);
        }
        assert_eq!(arena.in_use().get(), 0);
        assert!(free_bytes(arena) > 0);
        let large = start(alloc(arena, 2 * PURGE_MIN, PAGE).expect("memory"));
        let kept = free_bytes(arena);
        assert!(free(arena, large));
        assert!(free_bytes(arena) <= kept, "a large span goes back at once");
    }
}
