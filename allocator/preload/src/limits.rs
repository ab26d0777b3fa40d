//! setrlimit(2) and prlimit(2): a limit of the address space counts what the heap has reserved, so the heap gives back what it does not use
//! before such a limit is set.

use core::ffi::c_int;
use umem_core::{
    init,
    sys::{memory, process},
    vmem,
};

/// `struct rlimit` and `struct rlimit64`, which are the same: the limit in force, and how far it may be raised.
#[repr(C)]
pub struct Limit {
    current: u64,
    most: u64,
}

/// What `RLIMIT_AS` stands for.
const ADDRESS_SPACE: c_int = 9;

/// See setrlimit(2).
///
/// # Safety
/// As for libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn setrlimit(resource: c_int, new: *const Limit) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { prlimit(0, resource, new, core::ptr::null_mut()) }
}

/// As [`setrlimit`].
///
/// # Safety
/// As for libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn setrlimit64(resource: c_int, new: *const Limit) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { prlimit(0, resource, new, core::ptr::null_mut()) }
}

/// See prlimit(2).
///
/// # Safety
/// As for libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn prlimit(
    process: c_int,
    resource: c_int,
    new: *const Limit,
    old: *mut Limit,
) -> c_int {
    let is_own = process == 0 || process as u32 == process::process_id();
    let address = new.addr();
    if resource == ADDRESS_SPACE
        && is_own
        && address != 0
        && memory::is_readable(address)
        && init::ensure()
    {
        // SAFETY: the number is readable; what calls it a limit may give it any alignment.
        vmem::heed_limit(unsafe { (&raw const (*new).current).read_unaligned() } as usize);
    }
    process::limits(process, resource, address, old.addr()).map_or_else(
        |errno| {
            process::set_errno(errno);
            -1
        },
        |()| 0,
    )
}

/// As [`prlimit`].
///
/// # Safety
/// As for libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn prlimit64(
    process: c_int,
    resource: c_int,
    new: *const Limit,
    old: *mut Limit,
) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { prlimit(process, resource, new, old) }
}
