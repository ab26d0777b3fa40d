//! Regions: reserved address space, the map of units, and the table of slabs.

use super::{round_up, segment};
use crate::{
    raw::{self, Cell, Global, RegionRef, SlabRef, SpanRef, byte, copy, root},
    sync,
    sys::memory::{self, PAGE},
};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use umem_layout::{Plain, Region, Segment, Slab, Span, slab_kind, span_kind, unit};

/// Bytes of a unit.
pub const UNIT: usize = 1 << UNIT_SHIFT;
const UNIT_SHIFT: usize = 16;

/// Sizes tried for a region, largest first. Address space costs nothing, but it may be limited (RLIMIT_AS)
/// or scarce (valgrind refuses 64 GiB and grants 8).
const SIZES: [usize; 15] = [
    256 << 30,
    64 << 30,
    16 << 30,
    8 << 30,
    4 << 30,
    2 << 30,
    1 << 30,
    512 << 20,
    256 << 20,
    128 << 20,
    64 << 20,
    32 << 20,
    16 << 20,
    8 << 20,
    4 << 20,
];
/// Of a limited address space, no region takes more than this part, so that the program keeps room.
const LIMIT_PART: usize = 4;
/// Regions that can exist: 255 of the smallest size still give 8 GiB.
const REGIONS_MAX: usize = 255;
/// Heap is committed in steps that grow with it, between these bounds.
const COMMIT_MIN: usize = 1 << 20;
const COMMIT_MAX: usize = 64 << 20;

/// What the fast path of free reads of the first region: one cache line, one address to form.
#[repr(C, align(64))]
struct First {
    base: AtomicUsize,
    committed: AtomicUsize,
    map: AtomicUsize,
}

static FIRST: First = First {
    base: AtomicUsize::new(0),
    committed: AtomicUsize::new(0),
    map: AtomicUsize::new(0),
};
static COUNT: AtomicUsize = AtomicUsize::new(0);
static LOCK: AtomicU32 = AtomicU32::new(0);
static REGIONS: Global<[Region; REGIONS_MAX]> = Global::new([Region::ZERO; REGIONS_MAX]);
/// One for each part of a region, in the order of [`Parts`].
static SPANS: Global<[[Span; 4]; REGIONS_MAX]> = Global::new([[Span::ZERO; 4]; REGIONS_MAX]);
/// The limit of the address space that regions were made for; all bits set: none.
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// How many bytes of the reservation of a region each of its parts takes, in the order in which they lie.
struct Parts {
    copy: usize,
    map: usize,
    slabs: usize,
    segments: usize,
    heap: usize,
}

impl Parts {
    /// The parts of region number `index`, with `size` bytes of heap. The pool of segments lies in the first region alone.
    fn of(index: usize, size: usize) -> Self {
        let units = size / UNIT;
        Self {
            copy: if index == 0 { copy::ROOM } else { 0 },
            map: round_up(units, UNIT),
            slabs: round_up(units * size_of::<Slab>(), UNIT),
            segments: match index {
                0 => round_up(segments_of(units).max(UNIT), UNIT),
                _ => 0,
            },
            heap: size,
        }
    }

    fn total(&self) -> usize {
        self.copy + self.map + self.slabs + self.segments + self.heap
    }
}

/// Bytes of the segments that so many units need: a block alone in its unit has a tag and a free rest in its own arena, a span
/// marker there, and a tag in the top arena. Where that is not enough, the pool maps more.
const fn segments_of(units: usize) -> usize {
    units * 4 * size_of::<Segment>()
}

/// What the unit that holds an address is used for, for addresses in the committed part of the first region;
/// [`unit::UNUSED`] for all others, about which [`unit_kind`] knows more.
#[inline(always)]
pub fn first_unit_kind(address: usize) -> u8 {
    let offset = address.wrapping_sub(FIRST.base.load(Ordering::Relaxed));
    if offset >= FIRST.committed.load(Ordering::Relaxed) {
        return unit::UNUSED;
    }
    // SAFETY: the map is committed for every unit of the committed part, before that part is.
    unsafe { byte(FIRST.map.load(Ordering::Relaxed), offset >> UNIT_SHIFT) }.get()
}

/// What the fast path of free has to know of the first region.
#[derive(Clone, Copy)]
pub struct FirstRegion {
    /// Address of the heap.
    pub base: usize,
    /// Its bytes that are committed: they grow, and the map covers them all.
    pub committed: usize,
    /// Address of the map of units.
    pub map: usize,
}

/// The first region now.
#[inline]
pub fn first_region() -> FirstRegion {
    FirstRegion {
        committed: FIRST.committed.load(Ordering::Acquire),
        base: FIRST.base.load(Ordering::Relaxed),
        map: FIRST.map.load(Ordering::Relaxed),
    }
}

fn region(index: usize) -> RegionRef {
    debug_assert!(index < REGIONS_MAX);
    // SAFETY: an element of a static array that is only accessed through handles.
    unsafe { RegionRef::from_address(REGIONS.get() as usize + index * size_of::<Region>()) }
}

/// Reserves the first region. False: there is no address space at all.
pub fn initialize() -> bool {
    LIMIT.store(
        memory::address_space_limit().unwrap_or(usize::MAX),
        Ordering::Relaxed,
    );
    grow_regions(0).is_some()
}

/// Makes a region with at least `need` bytes of heap. Called under [`LOCK`] or before there are threads.
fn grow_regions(need: usize) -> Option<RegionRef> {
    let index = COUNT.load(Ordering::Relaxed);
    if index == REGIONS_MAX {
        return None;
    }
    let most = memory::address_space_limit().map_or(usize::MAX, |limit| limit / LIMIT_PART);
    // One unit more, so that the heap can begin at a multiple of a unit, behind a page.
    let try_size = |size: usize| {
        let parts = Parts::of(index, size);
        memory::reserve(parts.total() + UNIT).map(|address| (address, parts))
    };
    let (base, parts) = SIZES
        .iter()
        .filter(|&&size| size >= need && size <= most)
        .find_map(|&size| try_size(size))
        .or_else(|| try_size(round_up(need.max(UNIT * 16), UNIT)))?;
    // An inaccessible page before it: no other mapping becomes one with the copy's, at whose start a reader looks for it.
    let start = round_up(base + PAGE, UNIT);
    let map = start + parts.copy;
    let slabs = map + parts.map;
    let segments = slabs + parts.slabs;
    let heap = segments + parts.segments;
    if index == 0 && !segment::initialize(segments, parts.segments) {
        return None;
    }
    publish_region(index, heap, parts.heap, map, slabs);
    // What lies before the first part and behind the last is reserved as well.
    publish_part(index, 0, base, slabs);
    publish_part(index, 1, slabs, segments);
    publish_part(index, 2, segments, heap);
    publish_part(index, 3, heap, base + parts.total() + UNIT);
    // Where nothing of the library lies lower, so that a core that is cut off has it as long as it has any of the heap.
    if index == 0 && memory::commit(start, parts.copy) {
        // SAFETY: fresh memory of the reservation, in front of its other parts.
        unsafe { copy::place(start) };
    }
    Some(region(index))
}

fn publish_region(index: usize, base: usize, size: usize, map: usize, slabs: usize) {
    let new = region(index);
    new.initialize(Region {
        base: base as u64,
        size: size as u64,
        map: map as u64,
        slabs: slabs as u64,
        ..Region::ZERO
    });
    match index {
        0 => {
            FIRST.map.store(map, Ordering::Relaxed);
            FIRST.base.store(base, Ordering::Release);
            root().regions().set(new.link());
        }
        _ => region(index - 1)
            .next()
            .store(new.link(), Ordering::Release),
    }
    COUNT.store(index + 1, Ordering::Release);
}

fn part(index: usize, number: usize) -> SpanRef {
    debug_assert!(index < REGIONS_MAX && number < 4);
    let span = SPANS.get() as usize + (index * 4 + number) * size_of::<Span>();
    // SAFETY: an element of a static array that is only accessed through handles.
    unsafe { SpanRef::from_address(span) }
}

fn publish_part(index: usize, number: usize, start: usize, end: usize) {
    let span = part(index, number).address();
    // SAFETY: an element of a static array of which each is used once.
    unsafe { raw::publish_span(span, start, end - start, span_kind::HEAP) };
}

// ---- limits that come later ----

/// Gives back what is reserved and not used, but for what a limit of the address space leaves to it, if the limit is lower than the one
/// that regions were made for. What is reserved counts against it, so the program could map nothing more.
pub fn heed_limit(limit: usize) {
    // A signal handler that has interrupted the allocator may have the lock; the next update sees the limit as well.
    if !sync::has_interrupted() && limit < LIMIT.swap(limit, Ordering::Relaxed) {
        trim(limit);
    }
}

/// As [`heed_limit`], for the limit that the kernel has: other processes may set it as well.
pub fn heed_own_limit() {
    heed_limit(memory::address_space_limit().unwrap_or(usize::MAX));
}

fn trim(limit: usize) {
    let _guard = sync::lock(&LOCK);
    let count = COUNT.load(Ordering::Relaxed);
    let unused = |region: RegionRef| (region.size().get() - region.committed().get()) as usize;
    let reserved: usize = (0..count).map(region).map(unused).sum();
    // What the program has mapped otherwise: where that is not known, nothing is kept.
    let used = memory::address_space().map_or(limit, |all| all.saturating_sub(reserved));
    let mut keep = limit.saturating_sub(used) / LIMIT_PART;
    // The last one is the one that grows.
    for index in (0..count).rev() {
        trim_region(index, keep);
        keep = keep.saturating_sub(unused(region(index)));
    }
    copy::refresh();
}

/// Gives the end of each part of a region back, so that at most `keep` bytes of its heap are reserved beyond what is in use.
fn trim_region(index: usize, keep: usize) {
    let region = region(index);
    let size = region.committed().get() as usize + (keep & !(UNIT - 1));
    if size >= region.size().get() as usize {
        return;
    }
    // From here on addresses behind are foreign.
    region.size().store(size as u64, Ordering::Release);
    let units = (size / UNIT).max(region.units().get() as usize);
    trim_part(index, 0, region.map().get() as usize + units);
    let slabs = region.slabs().get() as usize;
    trim_part(index, 1, slabs + units * size_of::<Slab>());
    if index == 0 {
        let (start, end) = bounds_of(part(index, 2));
        trim_part(index, 2, segment::trim(start, end, segments_of(units)));
    }
    trim_part(index, 3, region.base().get() as usize + size);
}

fn bounds_of(span: SpanRef) -> (usize, usize) {
    let start = span.base().get() as usize;
    (start, start + span.size().get() as usize)
}

/// Gives a part back from an address on.
fn trim_part(index: usize, number: usize, from: usize) {
    let span = part(index, number);
    let (start, end) = bounds_of(span);
    let from = round_up(from, PAGE);
    if from < end {
        span.size().store((from - start) as u64, Ordering::Release);
        // SAFETY: what lies there was never made accessible, and no longer belongs to a region.
        unsafe { memory::unmap(from, end - from) };
    }
}

/// Gets fresh memory for the top arena: at least `need` bytes, a multiple of units. The range reads as zero.
pub(super) fn grow(need: usize) -> Option<(usize, usize)> {
    let _guard = sync::lock(&LOCK);
    let regions = || (0..COUNT.load(Ordering::Relaxed)).rev().map(region);
    let committed: usize = regions()
        .map(|region| region.committed().get() as usize)
        .sum();
    let step = round_up(
        need.max((committed / 8).clamp(COMMIT_MIN, COMMIT_MAX)),
        UNIT,
    );
    let need = round_up(need, UNIT);
    regions()
        .find_map(|region| commit_in(region, step))
        .or_else(|| regions().find_map(|region| commit_in(region, need)))
        .or_else(|| commit_in(grow_regions(need)?, need))
}

fn commit_in(region: RegionRef, size: usize) -> Option<(usize, usize)> {
    let committed = region.committed().get() as usize;
    if committed.checked_add(size)? > region.size().get() as usize {
        return None;
    }
    let start = region.base().get() as usize + committed;
    if !commit_tables(region, (committed + size) / UNIT) || !memory::commit(start, size) {
        return None;
    }
    region
        .committed()
        .store((committed + size) as u64, Ordering::Release);
    if region.base().get() as usize == FIRST.base.load(Ordering::Relaxed) {
        FIRST.committed.store(committed + size, Ordering::Release);
    }
    copy::refresh();
    Some((start, size))
}

/// Makes map and slab table accessible for the first `units` units.
fn commit_tables(region: RegionRef, units: usize) -> bool {
    let have = region.units().get() as usize;
    let most = region.size().get() as usize / UNIT;
    let want = round_up(units, PAGE).min(most);
    if want <= have {
        return true;
    }
    let grow = |table: u64, stride: usize| {
        let from = round_up(table as usize + have * stride, PAGE);
        let to = round_up(table as usize + want * stride, PAGE);
        from >= to || memory::commit(from, to - from)
    };
    if !grow(region.map().get(), 1) || !grow(region.slabs().get(), size_of::<Slab>()) {
        return false;
    }
    region.units().store(want as u64, Ordering::Release);
    true
}

/// The region that holds an address, committed or not.
pub fn find_region(address: usize) -> Option<RegionRef> {
    (0..COUNT.load(Ordering::Acquire))
        .map(region)
        .find(|region| {
            address.wrapping_sub(region.base().get() as usize) < region.size().get() as usize
        })
}

fn unit_of(region: RegionRef, address: usize) -> Option<usize> {
    let unit = (address - region.base().get() as usize) >> UNIT_SHIFT;
    (unit < region.units().load(Ordering::Acquire) as usize).then_some(unit)
}

/// What the unit that holds an address is used for; [`unit::UNUSED`] for foreign addresses.
#[inline]
pub fn unit_kind(address: usize) -> u8 {
    match first_unit_kind(address) {
        unit::UNUSED => unit_kind_of_any(address),
        kind => kind,
    }
}

/// As [`unit_kind`], in whichever region the address is.
#[cold]
#[inline(never)]
fn unit_kind_of_any(address: usize) -> u8 {
    let Some(region) = find_region(address) else {
        return unit::UNUSED;
    };
    let Some(index) = unit_of(region, address) else {
        return unit::UNUSED;
    };
    // SAFETY: the map is committed for `units` units.
    unsafe { byte(region.map().get() as usize, index) }.load(Ordering::Acquire)
}

/// Sets the kind of every unit in a range of units.
pub fn mark_units(start: usize, size: usize, kind: u8) {
    let Some(region) = find_region(start) else {
        return;
    };
    for address in (start..start + size).step_by(UNIT) {
        if let Some(index) = unit_of(region, address) {
            // SAFETY: the map is committed for `units` units.
            unsafe { byte(region.map().get() as usize, index) }.store(kind, Ordering::Release);
        }
    }
}

/// The slab structure of the unit that holds an address, whatever its kind.
#[inline]
pub fn slab_slot(address: usize) -> Option<SlabRef> {
    let offset = address.wrapping_sub(FIRST.base.load(Ordering::Relaxed));
    if offset >= FIRST.committed.load(Ordering::Relaxed) {
        return slab_slot_of_any(address);
    }
    let table = region(0).slabs().get() as usize;
    // SAFETY: the slab table is committed for every unit of the committed part, and only accessed through handles.
    Some(unsafe { SlabRef::from_address(table + (offset >> UNIT_SHIFT) * size_of::<Slab>()) })
}

/// As [`slab_slot`], in whichever region the address is.
#[cold]
#[inline(never)]
fn slab_slot_of_any(address: usize) -> Option<SlabRef> {
    let region = find_region(address)?;
    let index = unit_of(region, address)?;
    // SAFETY: the slab table is committed for `units` units and only accessed through handles.
    Some(unsafe {
        SlabRef::from_address(region.slabs().get() as usize + index * size_of::<Slab>())
    })
}

/// Calls `visit` for each slab that there is. Slabs that are made or unmade meanwhile may be missed.
pub fn for_each_slab(mut visit: impl FnMut(SlabRef)) {
    for region in (0..COUNT.load(Ordering::Acquire)).map(region) {
        let base = region.base().get() as usize;
        for index in 0..region.units().load(Ordering::Acquire) as usize {
            let slab = slab_slot(base + index * UNIT)
                .filter(|slab| slab.kind().load(Ordering::Acquire) == slab_kind::SLAB);
            slab.into_iter().for_each(&mut visit);
        }
    }
}

fn is_head(slot: &SlabRef) -> bool {
    slot.kind().load(Ordering::Acquire) == slab_kind::SLAB
}

/// The slab that a link names. None: it names none, so that it was overwritten.
pub fn slab_of_link(link: u64) -> Option<SlabRef> {
    (0..COUNT.load(Ordering::Acquire))
        .map(region)
        .find_map(|region| {
            let offset = (link as usize).wrapping_sub(region.slabs().get() as usize);
            let size = region.units().load(Ordering::Acquire) as usize * size_of::<Slab>();
            // SAFETY: an element of the slab table, which is committed for `units` units.
            (offset < size && offset.is_multiple_of(size_of::<Slab>()))
                .then(|| unsafe { SlabRef::from_address(link as usize) })
        })
        .filter(is_head)
}

/// Whether the structure of a slab that is in use was overwritten.
#[inline]
pub fn is_damaged(slab: SlabRef) -> bool {
    // Read once more: the slab may have been unmade, or made anew, meanwhile.
    !slab.is_whole() && is_head(&slab) && !slab.is_whole()
}

/// The structure of the slab that holds an address, or of the unit, if it was overwritten.
#[cold]
pub fn damaged_slab_at(address: usize) -> Option<SlabRef> {
    let slot = slab_slot(address)?;
    match slot.kind().load(Ordering::Acquire) {
        slab_kind::UNUSED => None,
        slab_kind::SLAB | slab_kind::INTERIOR => match slab_at(address) {
            Some(slab) => is_damaged(slab).then_some(slab),
            None => Some(slot),
        },
        _ => Some(slot),
    }
}

/// The slab that holds an address.
#[inline]
pub fn slab_at(address: usize) -> Option<SlabRef> {
    let slot = slab_slot(address)?;
    match slot.kind().load(Ordering::Acquire) {
        slab_kind::SLAB => Some(slot),
        slab_kind::INTERIOR => {
            // The delta leads to the first unit of the slab, unless it was overwritten.
            let back = slot.head_delta().get() as usize * UNIT;
            slab_slot(address.wrapping_sub(back)).filter(is_head)
        }
        _ => None,
    }
}

/// The layer's lock, for fork.
pub(super) fn lock_words() -> [&'static AtomicU32; 1] {
    [&LOCK]
}
