//! `libumem.so`: the malloc family and libumem's own functions over the `umem` crate, for LD_PRELOAD and for linking.
//!
//! Every entry is a naked function that hands its stack pointer and frame pointer to the function that does
//! the work, so that stacks begin at the caller of malloc and not inside of the allocator.
#![cfg_attr(not(test), no_std)]

use core::ffi::{c_int, c_void};
use umem_core::{
    malloc::{self, ALIGN},
    sys::{memory::PAGE, process},
    unwind::Entry,
};
use umem_layout::family;

const EINVAL: c_int = 22;
const ENOMEM: c_int = 12;

#[cfg(not(test))]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    umem_core::debug::message::panic(info)
}

/// Registers the fork handlers: early, because the handler registered first prepares last.
#[unsafe(link_section = ".init_array")]
#[used]
static CONSTRUCTOR: extern "C" fn() = {
    extern "C" fn construct() {
        umem_core::init::ensure();
        umem_core::fork::register();
        glibc::look_for_fork();
        if glibc::frees_for_all() {
            umem_core::init::serve_loader();
        }
        #[cfg(target_arch = "x86_64")]
        cxx::look_for_replacements();
    }
    construct
};

/// `entry! { malloc(size) => do_malloc, "rsi", "rdx" }`: the exported name is a naked function that adds the stack pointer and
/// the frame pointer of its entry as the next two arguments.
macro_rules! entry {
    ($($name:ident($($argument:ident: $kind:ty),*) $(-> $result:ty)? => $body:ident, $first:literal, $second:literal;)*) => { $(
        #[doc = concat!("See ", stringify!($name), "(3).")]
        ///
        /// # Safety
        /// As for the function of the same name in libc.
        #[cfg(target_arch = "x86_64")]
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name($($argument: $kind),*) $(-> $result)? {
            core::arch::naked_asm!(
                concat!("mov ", $first, ", rsp"),
                concat!("mov ", $second, ", rbp"),
                "jmp {body}",
                body = sym $body,
            )
        }
    )* };
}

/// As `entry!`, for the two functions that have fast paths: the function in Rust is where those fail.
macro_rules! fast_entry {
    ($macro:ident: $($name:ident($argument:ident: $kind:ty) $(-> $result:ty)? => $body:ident;)*) => { $(
        #[doc = concat!("See ", stringify!($name), "(3).")]
        ///
        /// # Safety
        /// As for the function of the same name in libc.
        #[cfg(target_arch = "x86_64")]
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name($argument: $kind) $(-> $result)? {
            umem_core::$macro!([] ["mov rsi, rsp", "mov rdx, rbp", "jmp {body}"] body = sym $body)
        }
    )* };
}

mod cxx;
mod glibc;
mod limits;
mod umem;
mod vmem;

entry! {
    calloc(count: usize, size: usize) -> *mut c_void => do_calloc, "rdx", "rcx";
    realloc(pointer: *mut c_void, size: usize) -> *mut c_void => do_realloc, "rdx", "rcx";
    reallocarray(pointer: *mut c_void, count: usize, size: usize) -> *mut c_void => do_reallocarray, "rcx", "r8";
    memalign(align: usize, size: usize) -> *mut c_void => do_memalign, "rdx", "rcx";
    aligned_alloc(align: usize, size: usize) -> *mut c_void => do_aligned_alloc, "rdx", "rcx";
    posix_memalign(out: *mut *mut c_void, align: usize, size: usize) -> c_int => do_posix_memalign, "rcx", "r8";
    valloc(size: usize) -> *mut c_void => do_valloc, "rsi", "rdx";
    pvalloc(size: usize) -> *mut c_void => do_pvalloc, "rsi", "rdx";
    // The names that glibc gives its own functions; a few programs call them.
    __libc_calloc(count: usize, size: usize) -> *mut c_void => do_calloc, "rdx", "rcx";
    __libc_realloc(pointer: *mut c_void, size: usize) -> *mut c_void => do_realloc, "rdx", "rcx";
    __libc_memalign(align: usize, size: usize) -> *mut c_void => do_memalign, "rdx", "rcx";
    __libc_valloc(size: usize) -> *mut c_void => do_valloc, "rsi", "rdx";
    __libc_pvalloc(size: usize) -> *mut c_void => do_pvalloc, "rsi", "rdx";
    __libc_reallocarray(pointer: *mut c_void, count: usize, size: usize) -> *mut c_void => do_reallocarray, "rcx", "r8";
}

fast_entry! { allocate_entry:
    malloc(size: usize) -> *mut c_void => do_malloc;
    __libc_malloc(size: usize) -> *mut c_void => do_malloc;
}

fast_entry! { release_entry:
    free(pointer: *mut c_void) => do_free;
    cfree(pointer: *mut c_void) => do_free;
    __libc_free(pointer: *mut c_void) => do_free;
}

fn pointer(address: usize) -> *mut c_void {
    core::ptr::with_exposed_provenance_mut(address)
}

fn fail(errno: c_int) -> *mut c_void {
    process::set_errno(errno);
    core::ptr::null_mut()
}

unsafe extern "C" fn do_malloc(size: usize, sp: usize, fp: usize) -> *mut c_void {
    pointer(malloc::allocate_slow(
        size,
        Entry { sp, fp },
        family::MALLOC,
    ))
}

unsafe extern "C" fn do_calloc(count: usize, size: usize, sp: usize, fp: usize) -> *mut c_void {
    pointer(malloc::allocate_zeroed(count, size, Entry { sp, fp }))
}

unsafe extern "C" fn do_realloc(
    old: *mut c_void,
    size: usize,
    sp: usize,
    fp: usize,
) -> *mut c_void {
    // SAFETY: the contract of realloc(3).
    pointer(unsafe { malloc::reallocate(old.expose_provenance(), size, Entry { sp, fp }) })
}

unsafe extern "C" fn do_reallocarray(
    old: *mut c_void,
    count: usize,
    size: usize,
    sp: usize,
    fp: usize,
) -> *mut c_void {
    let Some(total) = count.checked_mul(size) else {
        return fail(ENOMEM);
    };
    // SAFETY: the contract of reallocarray(3).
    pointer(unsafe { malloc::reallocate(old.expose_provenance(), total, Entry { sp, fp }) })
}

unsafe extern "C" fn do_free(old: *mut c_void, sp: usize, fp: usize) {
    malloc::release_slow(old.expose_provenance(), Entry { sp, fp });
}

/// glibc rounds an alignment that is no power of two up to one.
unsafe extern "C" fn do_memalign(align: usize, size: usize, sp: usize, fp: usize) -> *mut c_void {
    match align.max(ALIGN).checked_next_power_of_two() {
        Some(align) => pointer(malloc::allocate_aligned(
            size,
            align,
            family::MEMALIGN,
            Entry { sp, fp },
        )),
        None => fail(EINVAL),
    }
}

unsafe extern "C" fn do_aligned_alloc(
    align: usize,
    size: usize,
    sp: usize,
    fp: usize,
) -> *mut c_void {
    if !align.is_power_of_two() {
        return fail(EINVAL);
    }
    pointer(malloc::allocate_aligned(
        size,
        align,
        family::MEMALIGN,
        Entry { sp, fp },
    ))
}

unsafe extern "C" fn do_posix_memalign(
    out: *mut *mut c_void,
    align: usize,
    size: usize,
    sp: usize,
    fp: usize,
) -> c_int {
    if !align.is_power_of_two() || !align.is_multiple_of(size_of::<*mut c_void>()) {
        return EINVAL;
    }
    match malloc::allocate_aligned_quickly(size, align.max(ALIGN)) {
        Some(address) => {
            // SAFETY: the contract of posix_memalign(3).
            unsafe { *out = pointer(address) };
            0
        }
        // SAFETY: as above.
        None => unsafe { do_posix_memalign_slow(out, align.max(ALIGN), size, sp, fp) },
    }
}

/// Goes on where the fast path fails: apart, so that the fast path saves no registers.
#[cold]
#[inline(never)]
unsafe extern "C" fn do_posix_memalign_slow(
    out: *mut *mut c_void,
    align: usize,
    size: usize,
    sp: usize,
    fp: usize,
) -> c_int {
    let entry = Entry { sp, fp };
    let Some(address) = malloc::allocate_aligned_slow(size, align, family::MEMALIGN, entry) else {
        return ENOMEM;
    };
    // SAFETY: the contract of posix_memalign(3).
    unsafe { *out = pointer(address) };
    0
}

unsafe extern "C" fn do_valloc(size: usize, sp: usize, fp: usize) -> *mut c_void {
    pointer(malloc::allocate_aligned(
        size,
        PAGE,
        family::MEMALIGN,
        Entry { sp, fp },
    ))
}

unsafe extern "C" fn do_pvalloc(size: usize, sp: usize, fp: usize) -> *mut c_void {
    match size.max(1).checked_next_multiple_of(PAGE) {
        Some(size) => pointer(malloc::allocate_aligned(
            size,
            PAGE,
            family::MEMALIGN,
            Entry { sp, fp },
        )),
        None => fail(ENOMEM),
    }
}

/// See malloc_usable_size(3).
///
/// # Safety
/// The pointer is null or that of a live buffer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc_usable_size(pointer: *mut c_void) -> usize {
    malloc::usable_size(pointer.expose_provenance()).unwrap_or(0)
}
