//! Arenas for programs: vmem_create(3) and its kin.
//!
//! A call that breaks the contract ends the process with a message, as in libumem: an account of ranges that
//! is wrong once is of no use.

use super::reap;
use crate::{
    debug::message::{Text, note, tell},
    init,
    raw::{ArenaRef, Cell, byte},
    sys::process,
    vmem::{self, BadFree, Blueprint, Fit, Piece, Request},
};
use core::{
    ffi::c_int,
    fmt::{self, Write},
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
pub fn create(blueprint: &Blueprint<'_>, base: usize, size: usize) -> Option<ArenaRef> {
    if !init::ensure() || !blueprint.quantum.is_power_of_two() {
        return None;
    }
    let arena = vmem::create_foreign(blueprint)?;
    if (base != 0 || size != 0) && !add(arena, base, size) {
        vmem::destroy_foreign(arena);
        return None;
    }
    Some(arena)
}

/// Ends an arena. What is still allocated is told.
///
/// # Safety
/// [`create`] made the arena, and nobody uses it any more.
pub unsafe fn destroy(arena: ArenaRef) {
    let name = Name::of(arena);
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
    allocate_constrained(arena, size, &Constraints::default(), flags)
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
    let found = attempt().or_else(|| reap::request().then(attempt)?);
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

/// Frees a range, which was allocated with this size.
pub fn free(arena: ArenaRef, start: usize, size: usize) {
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
