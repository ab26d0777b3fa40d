//! vmem_create and its kin; `include/umem.h` declares them.

use crate::{pointer, umem::bytes};
use core::ffi::{c_char, c_int, c_void};
use umem_core::{
    abi::arena::{self, Constraints},
    init,
    raw::ArenaRef,
    vmem::{self, Blueprint, Import, Release},
};

/// # Safety
/// The pointer is that of an arena.
unsafe fn arena_of(arena: *mut c_void) -> ArenaRef {
    // SAFETY: promised by the caller.
    unsafe { ArenaRef::from_address(arena.expose_provenance()) }
}

/// Creates an arena. Null when there is no memory, or the quantum is no power of two. Ranges of up to
/// `quantum_cache_max`, but no more than 16 quanta, get quantum caches.
///
/// # Safety
/// `name` is null or a C string; the functions do what is asked of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_create(
    name: *const c_char,
    base: *mut c_void,
    size: usize,
    quantum: usize,
    import: Option<Import>,
    release: Option<Release>,
    source: *mut c_void,
    quantum_cache_max: usize,
    _flags: c_int,
) -> *mut c_void {
    let blueprint = Blueprint {
        // SAFETY: promised by the caller.
        name: unsafe { bytes(name) }.unwrap_or(b"unnamed"),
        quantum,
        import,
        release,
        source: source.expose_provenance(),
    };
    match arena::create(
        &blueprint,
        base.expose_provenance(),
        size,
        quantum_cache_max,
    ) {
        Some(arena) => pointer(arena.address()),
        None => core::ptr::null_mut(),
    }
}

/// Ends an arena.
///
/// # Safety
/// vmem_create gave the pointer, and nobody uses the arena any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_destroy(arena: *mut c_void) {
    // SAFETY: promised by the caller.
    unsafe { arena::destroy(arena_of(arena)) };
}

/// Adds a span to an arena and returns its address, or null.
///
/// # Safety
/// vmem_create gave the pointer of the arena.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_add(
    arena: *mut c_void,
    address: *mut c_void,
    size: usize,
    _flags: c_int,
) -> *mut c_void {
    // SAFETY: promised by the caller.
    let arena = unsafe { arena_of(arena) };
    match arena::add(arena, address.expose_provenance(), size) {
        true => address,
        false => core::ptr::null_mut(),
    }
}

/// Allocates a range of an arena, or returns null.
///
/// # Safety
/// The arena is live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_alloc(arena: *mut c_void, size: usize, flags: c_int) -> *mut c_void {
    // SAFETY: promised by the caller.
    pointer(arena::allocate(unsafe { arena_of(arena) }, size, flags))
}

/// Frees a range of an arena, of exactly the size that it was allocated with.
///
/// # Safety
/// The arena is live, and nobody uses the range any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_free(arena: *mut c_void, address: *mut c_void, size: usize) {
    // SAFETY: promised by the caller.
    arena::free(
        unsafe { arena_of(arena) },
        address.expose_provenance(),
        size,
    );
}

/// Allocates a range of an arena that meets constraints, or returns null.
///
/// # Safety
/// The arena is live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_xalloc(
    arena: *mut c_void,
    size: usize,
    align: usize,
    phase: usize,
    nocross: usize,
    minimum: *mut c_void,
    maximum: *mut c_void,
    flags: c_int,
) -> *mut c_void {
    let constraints = Constraints {
        align,
        phase,
        nocross,
        minimum: minimum.expose_provenance(),
        maximum: maximum.expose_provenance(),
    };
    // SAFETY: promised by the caller.
    let arena = unsafe { arena_of(arena) };
    pointer(arena::allocate_constrained(
        arena,
        size,
        &constraints,
        flags,
    ))
}

/// Frees what vmem_xalloc gave.
///
/// # Safety
/// As for [`vmem_free`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_xfree(arena: *mut c_void, address: *mut c_void, size: usize) {
    // SAFETY: promised by the caller.
    arena::free_constrained(
        unsafe { arena_of(arena) },
        address.expose_provenance(),
        size,
    );
}

/// 1 when a range lies wholly in one span of an arena.
///
/// # Safety
/// The arena is live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_contains(
    arena: *mut c_void,
    address: *mut c_void,
    size: usize,
) -> c_int {
    // SAFETY: promised by the caller.
    vmem::contains(
        unsafe { arena_of(arena) },
        address.expose_provenance(),
        size,
    )
    .into()
}

/// What vmem_walk calls for each piece.
type Visitor = unsafe extern "C" fn(*mut c_void, *mut c_void, usize);

/// Calls `visit(datum, start, size)` for each piece of an arena whose type is in the mask. The pieces are those of the moment
/// of the call, and no lock is held, whether VMEM_REENTRANT is given or not.
///
/// # Safety
/// The arena is live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_walk(
    arena: *mut c_void,
    mask: c_int,
    visit: Visitor,
    datum: *mut c_void,
) {
    // SAFETY: promised by the caller.
    arena::walk(unsafe { arena_of(arena) }, mask as u32, |start, size| {
        // SAFETY: the program's function and its datum.
        unsafe { visit(datum, pointer(start), size) };
    });
}

/// Bytes of the pieces of an arena that the mask names: VMEM_ALLOC, VMEM_FREE, or both.
///
/// # Safety
/// The arena is live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_size(arena: *mut c_void, mask: c_int) -> usize {
    // SAFETY: promised by the caller.
    arena::size(unsafe { arena_of(arena) }, mask as u32)
}

/// The type of [`vmem_alloc`].
type Allocate = unsafe extern "C" fn(*mut c_void, usize, c_int) -> *mut c_void;
/// The type of [`vmem_free`].
type Free = unsafe extern "C" fn(*mut c_void, *mut c_void, usize);

/// The arena of the heap and the functions that allocate from it, for arenas that import from it. Null when the allocator cannot
/// be set up.
///
/// # Safety
/// Each pointer is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_heap_arena(allocate: *mut Allocate, free: *mut Free) -> *mut c_void {
    if !init::ensure() {
        return core::ptr::null_mut();
    }
    // SAFETY: promised by the caller.
    unsafe {
        if !allocate.is_null() {
            allocate.write(vmem_alloc);
        }
        if !free.is_null() {
            free.write(vmem_free);
        }
    }
    pointer(vmem::arenas().heap.address())
}
