//! Address space: reserve, commit, purge.
#![allow(unsafe_code)]

use syscalls::{Sysno, syscall};

/// Bytes of a page. The allocator is built for 4 KiB pages; [`page_size_fits`] checks it at start.
pub const PAGE: usize = 4096;

const PROT_NONE: usize = 0;
const PROT_READ_WRITE: usize = 1 | 2;
const MAP_PRIVATE_ANONYMOUS: usize = 0x02 | 0x20;
const MAP_NORESERVE: usize = 0x4000;
const MADV_DONTNEED: usize = 4;
const MADV_DONTDUMP: usize = 16;
const MADV_DODUMP: usize = 17;

/// Whether the system's pages are no larger than [`PAGE`].
pub fn page_size_fits() -> bool {
    const AT_PAGESZ: u64 = 6;
    super::environment::auxiliary(AT_PAGESZ).is_none_or(|size| size as usize <= PAGE)
}

/// Reserves address space that is neither accessible, nor charged, nor dumped.
pub fn reserve(size: usize) -> Option<usize> {
    // SAFETY: a new anonymous mapping at an address that the kernel chooses touches no memory of ours.
    let address = unsafe {
        syscall!(
            Sysno::mmap,
            0,
            size,
            PROT_NONE,
            MAP_PRIVATE_ANONYMOUS | MAP_NORESERVE,
            usize::MAX,
            0
        )
    }
    .ok()?;
    // SAFETY: the range was mapped just above and holds no data.
    let _ = unsafe { syscall!(Sysno::madvise, address, size, MADV_DONTDUMP) };
    Some(address)
}

/// Makes reserved pages readable, writable and part of cores. They read as zero. False: no memory.
pub fn commit(address: usize, size: usize) -> bool {
    // SAFETY: callers commit only ranges that `reserve` gave them; access is widened, data kept.
    let done = unsafe { syscall!(Sysno::mprotect, address, size, PROT_READ_WRITE) }.is_ok();
    if done {
        // SAFETY: as above; the advice changes what is dumped, not what is stored.
        let _ = unsafe { syscall!(Sysno::madvise, address, size, MADV_DODUMP) };
    }
    done
}

/// How many mappings the kernel keeps for a process.
pub fn mappings_limit() -> usize {
    const USUAL: usize = 65_530;
    let mut text = [0; 24];
    let length = super::environment::read_file(c"/proc/sys/vm/max_map_count", &mut text);
    let digits = text.get(..length).unwrap_or(&[]).trim_ascii();
    core::str::from_utf8(digits)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(USUAL)
}

/// Makes pages inaccessible. False: the kernel keeps no more mappings.
pub fn protect(address: usize, size: usize) -> bool {
    // SAFETY: callers name pages of their own that nothing uses.
    unsafe { syscall!(Sysno::mprotect, address, size, PROT_NONE) }.is_ok()
}

/// Makes pages accessible again that [`protect`] made inaccessible.
pub fn unprotect(address: usize, size: usize) -> bool {
    // SAFETY: access is widened, data kept.
    unsafe { syscall!(Sysno::mprotect, address, size, PROT_READ_WRITE) }.is_ok()
}

/// Maps readable and writable memory, zeroed.
pub fn map(size: usize) -> Option<usize> {
    // SAFETY: a new anonymous mapping at an address that the kernel chooses touches no memory of ours.
    unsafe {
        syscall!(
            Sysno::mmap,
            0,
            size,
            PROT_READ_WRITE,
            MAP_PRIVATE_ANONYMOUS,
            usize::MAX,
            0
        )
    }
    .ok()
}

/// Maps memory that reads as zero in the child of a fork. None: no memory, or the kernel (before 4.14) cannot do it.
pub fn map_wiped_on_fork(size: usize) -> Option<usize> {
    const MADV_WIPEONFORK: usize = 18;
    let address = map(size)?;
    // SAFETY: the range was mapped just above and holds no data.
    let done = unsafe { syscall!(Sysno::madvise, address, size, MADV_WIPEONFORK) }.is_ok();
    if !done {
        // SAFETY: nobody knows the range.
        unsafe { unmap(address, size) };
    }
    done.then_some(address)
}

/// Gives a whole mapping back.
///
/// # Safety
/// Nothing may use the range any more.
pub unsafe fn unmap(address: usize, size: usize) {
    // SAFETY: promised by the caller.
    let _ = unsafe { syscall!(Sysno::munmap, address, size) };
}

/// Gives the pages of a committed range back to the system; they read as zero afterwards. False: they were locked (mlock), and
/// nothing has changed.
///
/// # Safety
/// The range is page-aligned and holds nothing that is still needed.
pub unsafe fn purge(address: usize, size: usize) -> bool {
    // SAFETY: promised by the caller.
    unsafe { syscall!(Sysno::madvise, address, size, MADV_DONTNEED) }.is_ok()
}

/// Moves the contents of whole pages by moving the pages; the old ones read as zero afterwards. False: the kernel (before 5.7) cannot do it,
/// or not for these pages, and nothing has changed.
///
/// # Safety
/// Both ranges are readable and writable memory of the allocator, they do not overlap, and nothing uses them meanwhile.
pub unsafe fn move_pages(from: usize, to: usize, size: usize) -> bool {
    const HOW: usize = 1 | 2 | 4; // MREMAP_MAYMOVE, MREMAP_FIXED, MREMAP_DONTUNMAP: the old range stays mapped.
    // SAFETY: promised by the caller.
    unsafe { syscall!(Sysno::mremap, from, size, size, HOW, to) }.is_ok()
}

/// Limit of the process's address space in bytes, if there is one.
pub fn address_space_limit() -> Option<usize> {
    const RLIMIT_AS: usize = 9;
    let mut limit = [u64::MAX; 2];
    // SAFETY: prlimit64 of this process writes two 64-bit numbers to the array.
    unsafe { syscall!(Sysno::prlimit64, 0, RLIMIT_AS, 0, limit.as_mut_ptr()) }.ok()?;
    (limit[0] != u64::MAX).then_some(limit[0] as usize)
}

/// Bytes of address space that the process has mapped, as its limit counts them. None: /proc is not there.
pub fn address_space() -> Option<usize> {
    let mut text = [0; 24];
    let length = super::environment::read_file(c"/proc/self/statm", &mut text);
    let pages = text.get(..length)?.split(|&byte| byte == b' ').next()?;
    let pages: usize = core::str::from_utf8(pages).ok()?.parse().ok()?;
    pages.checked_mul(PAGE)
}

/// Whether the 8 bytes at an address that is a multiple of 8 can be read: the kernel copies a signal set from there before it finds the first
/// argument invalid. The call changes nothing, and sandboxes that forbid more telling ones (process_vm_readv) allow it.
#[cold]
pub fn is_readable(address: usize) -> bool {
    const INVALID_HOW: usize = 0x7fff;
    const EFAULT: i32 = 14;
    // SAFETY: with an invalid first argument the call has no effect; a bad address is reported, not faulted on.
    let result = unsafe { syscall!(Sysno::rt_sigprocmask, INVALID_HOW, address, 0, 8) };
    !matches!(result, Err(error) if error.into_raw() == EFAULT)
}
