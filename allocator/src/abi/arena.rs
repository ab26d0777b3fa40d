//! Arenas for programs: vmem_create(3) and its kin.
//!
//! A call that breaks the contract ends the process with a message, as in libumem: an account of ranges that
//! is wrong once is of no use.

use super::reap;
use crate::{
    cache,
    debug::message::{Text, note, tell},
    init,
    raw::{ArenaRef, CacheRef, Cell, ThreadCacheRef, byte, word},
    sys::process,
    thread,
    vmem::{self, BadFree, Blueprint, Fit, Piece, Request, arenas},
};
use core::{
    ffi::c_int,
    fmt::{self, Write},
    sync::atomic::Ordering,
};
use umem_layout::segment_kind;

/// A failure ends the process.
pub const VM_PANIC: c_int = 0x2;
/// The smallest range that fits.
pub const VM_BESTFIT: c_int = 0x100;
/// The first range that fits.
pub const VM_FIRSTFIT: c_int = 0x200;
/// The first range that fits behind the last one.
pub const VM_NEXTFIT: c_int = 0x400;

fn fit_for(flags: c_int) -> Fit {
    match flags {
        _ if flags & VM_NEXTFIT != 0 => Fit::Next,
        _ if flags & VM_FIRSTFIT != 0 => Fit::First,
        _ if flags & VM_BESTFIT != 0 => Fit::Best,
        _ => Fit::Instant,
    }
}

/// Name of an arena, for messages.
struct Name([u8; 32]);

impl Name {
    fn of(arena: ArenaRef) -> Self {
        let address = arena.address() + core::mem::offset_of!(umem_layout::Arena, name);
        Self(core::array::from_fn(|index| {
            // SAFETY: the name is part of the arena's structure.
            unsafe { byte(address, index) }.get()
        }))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.split(|&byte| byte == 0).next().unwrap_or(&[]);
        to.write_str(core::str::from_utf8(name).unwrap_or("?"))
    }
}

/// Ends the process with a message.
#[cold]
fn panic(what: fmt::Arguments<'_>) -> ! {
    let mut text = Text::<512>::new();
    let _ = writeln!(text, "umem allocator: {what}");
    tell(text.as_bytes());
    process::abort()
}

/// Creates an arena with a first span, unless both numbers are zero. None: no memory, or the quantum is no power of two.
/// Ranges of up to `quantum_cache_max` get quantum caches.
pub fn create(
    blueprint: &Blueprint<'_>,
    base: usize,
    size: usize,
    quantum_cache_max: usize,
) -> Option<ArenaRef> {
    if !init::ensure() || !blueprint.quantum.is_power_of_two() {
        return None;
    }
    let arena = vmem::create_foreign(blueprint)?;
    if (base != 0 || size != 0) && !add(arena, base, size) {
        vmem::destroy_foreign(arena);
        return None;
    }
    create_quantum_caches(arena, blueprint.name, quantum_cache_max);
    Some(arena)
}

// ---- quantum caches ----

/// Most quantum caches of an arena, as in libumem.
const QUANTUM_CACHES: usize = 16;

/// Without memory for them the arena serves all ranges itself.
fn create_quantum_caches(arena: ArenaRef, name: &[u8], most: usize) {
    let quantum = arena.quantum().get() as usize;
    let count = (most / quantum).min(QUANTUM_CACHES);
    if count == 0 {
        return;
    }
    let Some(table) = vmem::alloc(arenas().internal, count * size_of::<u64>(), 64) else {
        return;
    };
    let table = table.start().get() as usize;
    for index in 0..count {
        let size = (index + 1) * quantum;
        let mut full = Text::<32>::new();
        let kept = core::str::from_utf8(name).unwrap_or("arena");
        let _ = write!(full, "{}_{size}", kept.get(..20).unwrap_or(kept));
        let cache = cache::create_quantum(arena, full.as_bytes(), size);
        // SAFETY: the table has `count` words and is not published yet.
        unsafe { word(table, index) }.set(cache.map_or(0, CacheRef::link));
    }
    arena.quantum_cache_max().set((count * quantum) as u64);
    arena
        .quantum_caches()
        .store(table as u64, Ordering::Release);
}

fn end_quantum_caches(arena: ArenaRef) {
    let quantum = arena.quantum().get() as usize;
    let most = arena.quantum_cache_max().get() as usize;
    for size in (quantum..=most).step_by(quantum) {
        if let Some(cache) = quantum_cache(arena, size) {
            thread::withdraw(cache);
            cache::end_quantum(cache);
        }
    }
    let table = arena.quantum_caches().get() as usize;
    if table != 0 {
        arena.quantum_cache_max().set(0);
        arena.quantum_caches().set(0);
        vmem::free(arenas().internal, table);
    }
}

/// Gives the ranges in the depots back to the arena. False: it has no quantum caches.
fn reap_quantum_caches(arena: ArenaRef) -> bool {
    let quantum = arena.quantum().get() as usize;
    let most = arena.quantum_cache_max().get() as usize;
    (quantum..=most)
        .step_by(quantum)
        .filter_map(|size| quantum_cache(arena, size))
        .for_each(cache::reap);
    most != 0
}

/// The cache that serves ranges of a size.
fn quantum_cache(arena: ArenaRef, size: usize) -> Option<CacheRef> {
    if size == 0 || size > arena.quantum_cache_max().get() as usize {
        return None;
    }
    let index = size.div_ceil(arena.quantum().get() as usize) - 1;
    let table = arena.quantum_caches().load(Ordering::Acquire) as usize;
    // SAFETY: the table has one word for each quantum up to `quantum_cache_max`: zero or a cache that ends with the arena.
    unsafe { CacheRef::from_link(word(table, index).get()) }
}

/// The calling thread's magazines of a quantum cache.
fn magazines(cache: CacheRef) -> Option<ThreadCacheRef> {
    let slot = cache.thread_slot().get().checked_sub(1)?;
    thread::register(thread::local());
    thread::fast_cache(slot as usize).filter(|_| thread::keeps(cache))
}

/// Ends an arena. What is still allocated is told.
///
/// # Safety
/// [`create`] made the arena, and nobody uses it any more.
pub unsafe fn destroy(arena: ArenaRef) {
    let name = Name::of(arena);
    end_quantum_caches(arena);
    let leaked = vmem::destroy_foreign(arena);
    if leaked != 0 {
        note(format_args!(
            "vmem_destroy('{name}'): leaked {leaked} bytes\n"
        ));
    }
}

/// Adds a span. False: no memory for its segments.
pub fn add(arena: ArenaRef, start: usize, size: usize) -> bool {
    let bad = |what: &str| {
        panic(format_args!(
            "vmem_add({}, {start:#x}, {size}): {what}",
            Name::of(arena)
        ))
    };
    let quantum = arena.quantum().get() as usize;
    if start == 0 || size == 0 || start.checked_add(size).is_none() {
        bad("bad arguments");
    }
    if (start | size) & (quantum - 1) != 0 {
        bad("misaligned");
    }
    if vmem::overlaps(arena, start, size) {
        bad("overlaps a span of the arena");
    }
    vmem::add(arena, start, size)
}

/// The constraints of [`allocate_constrained`]; zero stands for none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Constraints {
    /// Power of two.
    pub align: usize,
    /// The start modulo `align`.
    pub phase: usize,
    /// No multiple of this power of two is crossed.
    pub nocross: usize,
    /// First number that may be used.
    pub minimum: usize,
    /// One past the last number that may be used.
    pub maximum: usize,
}

/// Allocates a range. Zero: there is none.
pub fn allocate(arena: ArenaRef, size: usize, flags: c_int) -> usize {
    let any_place = flags & (VM_BESTFIT | VM_FIRSTFIT | VM_NEXTFIT) == 0;
    let Some(cache) = quantum_cache(arena, size) else {
        return allocate_constrained(arena, size, &Constraints::default(), flags);
    };
    let cached = magazines(cache)
        .filter(|_| any_place)
        .and_then(|entry| thread::pop(entry).or_else(|| thread::reload(cache, entry)));
    if let Some(start) = cached {
        return start;
    }
    let whole = cache.buffer_size().get() as usize;
    let start = allocate_constrained(arena, whole, &Constraints::default(), flags);
    if start != 0 {
        cache.allocs().fetch_add(1, Ordering::Relaxed);
    }
    start
}

/// Allocates a range that meets constraints. Zero: there is none.
pub fn allocate_constrained(
    arena: ArenaRef,
    size: usize,
    constraints: &Constraints,
    flags: c_int,
) -> usize {
    let Some(request) = request_for(arena, size, constraints) else {
        return fail(arena, size, flags);
    };
    let attempt = || vmem::alloc_request(arena, &request, size, fit_for(flags), flags);
    let found = attempt()
        .or_else(|| reap_quantum_caches(arena).then(attempt)?)
        .or_else(|| reap::request().then(attempt)?);
    match found {
        Some(segment) => segment.start().get() as usize,
        None => fail(arena, size, flags),
    }
}

fn fail(arena: ArenaRef, size: usize, flags: c_int) -> usize {
    if flags & VM_PANIC != 0 {
        let name = Name::of(arena);
        panic(format_args!(
            "vmem_xalloc({name}, {size}): cannot satisfy mandatory allocation"
        ));
    }
    0
}

/// Checks the arguments. None: the size is beyond all numbers.
fn request_for(arena: ArenaRef, size: usize, wanted: &Constraints) -> Option<Request> {
    let quantum = arena.quantum().get() as usize;
    let bad = |what: &str| {
        panic(format_args!(
            "vmem_xalloc({}, {size}, {wanted:?}): {what}",
            Name::of(arena)
        ))
    };
    let align = if wanted.align == 0 {
        quantum
    } else {
        wanted.align
    };
    if size == 0 {
        panic(format_args!("vmem_xalloc(): size == 0"));
    }
    if wanted.phase != 0 && wanted.phase >= align {
        bad("invalid phase");
    }
    let powers =
        align.is_power_of_two() && (wanted.nocross == 0 || wanted.nocross.is_power_of_two());
    if !powers || (align | wanted.phase | wanted.nocross) & (quantum - 1) != 0 {
        bad("parameters not vm_quantum aligned");
    }
    let request = Request {
        size: size.checked_next_multiple_of(quantum)?,
        align,
        phase: wanted.phase,
        nocross: wanted.nocross,
        minimum: wanted.minimum.checked_next_multiple_of(quantum)?,
        maximum: wanted.maximum & !(quantum - 1),
    };
    let offset = wanted.phase & wanted.nocross.wrapping_sub(1);
    if wanted.nocross != 0 && request.size.checked_add(offset)? > wanted.nocross {
        bad("overconstrained allocation");
    }
    // A range that ends below the first quantum: zero would mean that there is no limit.
    (wanted.maximum == 0 || request.maximum != 0).then_some(request)
}

/// Frees a range that [`allocate`] gave for this size.
pub fn free(arena: ArenaRef, start: usize, size: usize) {
    let Some(cache) = quantum_cache(arena, size) else {
        return free_constrained(arena, start, size);
    };
    let kept = magazines(cache).is_some_and(|entry| {
        !thread::is_last_freed(entry, start)
            && (thread::push(entry, start) || thread::drain(cache, entry, start))
    });
    if !kept {
        free_constrained(arena, start, cache.buffer_size().get() as usize);
        cache.frees().fetch_add(1, Ordering::Relaxed);
    }
}

/// Frees a range that [`allocate_constrained`] gave for this size.
pub fn free_constrained(arena: ArenaRef, start: usize, size: usize) {
    let name = || Name::of(arena);
    match vmem::free_exact(arena, start, size) {
        Ok(()) => {}
        Err(BadFree::Unknown) => panic(format_args!(
            "vmem_hash_delete({}, {start:#x}, {size}): bad free",
            name()
        )),
        Err(BadFree::Size(expected)) => panic(format_args!(
            "vmem_hash_delete({}, {start:#x}, {size}): wrong size (expect {expected})",
            name()
        )),
    }
}

/// Sizes of the pieces that the mask names: allocated, free, or both.
pub fn size(arena: ArenaRef, mask: u32) -> usize {
    let (in_use, total) = (arena.in_use().get() as usize, arena.total().get() as usize);
    let allocated = if mask & segment_kind::ALLOC != 0 {
        in_use
    } else {
        0
    };
    let free = if mask & segment_kind::FREE != 0 {
        total.saturating_sub(in_use)
    } else {
        0
    };
    allocated + free
}

/// Calls `visit` for each piece whose kind is in the mask, as the arena was when the walk began. No lock is held, so `visit` may use
/// the arena.
pub fn walk(arena: ArenaRef, mask: u32, mut visit: impl FnMut(usize, usize)) {
    vmem::for_each_piece(arena, |Piece { kind, start, size }| {
        if kind & mask != 0 {
            visit(start, size);
        }
    });
}
