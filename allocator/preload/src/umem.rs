//! umem_alloc(3), umem_cache_create(3) and their kin; `include/umem.h` declares them.

use crate::pointer;
use core::ffi::{CStr, c_char, c_int, c_uint, c_void};
use umem_core::{
    abi::{
        nofail::{self, Callback},
        object, reap, sized,
    },
    cache::{Blueprint, Constructor, Destructor, Reclaim, Refusal},
    debug::inject,
    raw::{ArenaRef, CacheRef},
    sys::process,
    unwind::Entry,
};

const EAGAIN: c_int = 11;
const ENOMEM: c_int = 12;
const EINVAL: c_int = 22;

entry! {
    umem_alloc(size: usize, flags: c_int) -> *mut c_void => do_alloc, "rdx", "rcx";
    umem_zalloc(size: usize, flags: c_int) -> *mut c_void => do_zalloc, "rdx", "rcx";
    umem_alloc_align(size: usize, align: usize, flags: c_int) -> *mut c_void => do_alloc_align, "rcx", "r8";
    umem_free(buffer: *mut c_void, size: usize) => do_free_sized, "rdx", "rcx";
    umem_free_align(buffer: *mut c_void, size: usize) => do_free_align, "rdx", "rcx";
    umem_cache_alloc(cache: *mut c_void, flags: c_int) -> *mut c_void => do_cache_alloc, "rdx", "rcx";
    umem_cache_destroy(cache: *mut c_void) => do_cache_destroy, "rsi", "rdx";
    umem_cache_free(cache: *mut c_void, buffer: *mut c_void) => do_cache_free, "rdx", "rcx";
}

unsafe extern "C" fn do_alloc(size: usize, flags: c_int, sp: usize, fp: usize) -> *mut c_void {
    pointer(sized::allocate(size, flags, Entry { sp, fp }))
}

unsafe extern "C" fn do_zalloc(size: usize, flags: c_int, sp: usize, fp: usize) -> *mut c_void {
    pointer(sized::allocate_zeroed(size, flags, Entry { sp, fp }))
}

unsafe extern "C" fn do_alloc_align(
    size: usize,
    align: usize,
    flags: c_int,
    sp: usize,
    fp: usize,
) -> *mut c_void {
    pointer(sized::allocate_aligned(
        size,
        align,
        flags,
        Entry { sp, fp },
    ))
}

unsafe extern "C" fn do_free_sized(buffer: *mut c_void, size: usize, sp: usize, fp: usize) {
    // SAFETY: the contract of umem_free(3).
    unsafe { sized::free(buffer.expose_provenance(), size, Entry { sp, fp }) }
}

unsafe extern "C" fn do_free_align(buffer: *mut c_void, size: usize, sp: usize, fp: usize) {
    // SAFETY: the contract of umem_free_align(3).
    unsafe { sized::free_aligned(buffer.expose_provenance(), size, Entry { sp, fp }) }
}

/// # Safety
/// The pointer is one that umem_cache_create gave.
unsafe fn cache_of(cache: *mut c_void) -> CacheRef {
    // SAFETY: promised by the caller.
    unsafe { CacheRef::from_address(cache.expose_provenance()) }
}

unsafe extern "C" fn do_cache_alloc(
    cache: *mut c_void,
    flags: c_int,
    sp: usize,
    fp: usize,
) -> *mut c_void {
    // SAFETY: the contract of umem_cache_alloc(3).
    let cache = unsafe { cache_of(cache) };
    pointer(object::allocate(cache, flags, Entry { sp, fp }))
}

unsafe extern "C" fn do_cache_free(cache: *mut c_void, buffer: *mut c_void, sp: usize, fp: usize) {
    // SAFETY: the contract of umem_cache_free(3).
    unsafe {
        object::free(
            cache_of(cache),
            buffer.expose_provenance(),
            Entry { sp, fp },
        )
    }
}

unsafe extern "C" fn do_cache_destroy(cache: *mut c_void, sp: usize, fp: usize) {
    // SAFETY: the contract of umem_cache_destroy(3).
    unsafe { object::destroy(cache_of(cache), Entry { sp, fp }) };
}

/// Bytes of a C string, or nothing for null.
///
/// # Safety
/// The pointer is null or that of a C string that outlives the slice.
pub(crate) unsafe fn bytes<'a>(name: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: promised by the caller.
    (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_bytes())
}

/// See umem_cache_create(3). Null with `errno` EINVAL, EAGAIN or ENOMEM.
///
/// # Safety
/// The functions do what the manual asks of them, and `source` is null or an arena.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umem_cache_create(
    name: *const c_char,
    size: usize,
    align: usize,
    constructor: Option<Constructor>,
    destructor: Option<Destructor>,
    reclaim: Option<Reclaim>,
    private: *mut c_void,
    source: *mut c_void,
    cflags: c_int,
) -> *mut c_void {
    // SAFETY: promised by the caller.
    let created = unsafe { bytes(name) }
        .ok_or(Refusal::Invalid)
        .and_then(|name| {
            object::create(&Blueprint {
                name,
                size,
                align,
                constructor,
                destructor,
                reclaim,
                private: private.expose_provenance() as u64,
                // SAFETY: null or an arena, as promised by the caller.
                source: unsafe { ArenaRef::from_link(source.expose_provenance() as u64) },
                cflags: cflags as u32,
            })
        });
    match created {
        Ok(cache) => pointer(cache.address()),
        Err(refusal) => {
            process::set_errno(match refusal {
                Refusal::Invalid => EINVAL,
                Refusal::TooLarge => ENOMEM,
                Refusal::NoMemory => EAGAIN,
            });
            core::ptr::null_mut()
        }
    }
}

/// See umem_nofail_callback(3). Null restores the default, which ends the process with status 255.
#[unsafe(no_mangle)]
pub extern "C" fn umem_nofail_callback(callback: Option<Callback>) {
    nofail::set_callback(callback);
}

/// See umem_setmtbf(3): with guards on, an allocation fails when the nanosecond clock is a multiple of the interval.
#[unsafe(no_mangle)]
pub extern "C" fn umem_setmtbf(interval: c_uint) {
    inject::set_interval(interval);
}

/// Checks every buffer of the caches that are debugged, and reports the first that is damaged as any other error: the process ends, unless
/// `noabort` is set. Returns how many are damaged.
#[cfg(target_arch = "x86_64")]
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub extern "C" fn umem_verify() -> usize {
    core::arch::naked_asm!("mov rdi, rsp", "mov rsi, rbp", "jmp {}", sym do_verify)
}

extern "C" fn do_verify(sp: usize, fp: usize) -> usize {
    umem_core::abi::verify::all(umem_core::unwind::Entry { sp, fp })
}

/// Gives free memory back, at most once in a reap interval.
#[unsafe(no_mangle)]
pub extern "C" fn umem_reap() {
    reap::request();
}
