//! What glibc exports beside the malloc family: statistics, trimming, tuning, `_Fork`.

use core::{
    ffi::c_int,
    fmt::Write,
    sync::atomic::{AtomicUsize, Ordering},
};
use umem_core::{
    debug::message::Text,
    fork,
    stats::{self, Totals},
    sys::process,
    unwind,
};

/// `struct mallinfo2` of malloc.h: arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks, keepcost.
type MallInfo2 = [usize; 10];

fn info(totals: Totals) -> MallInfo2 {
    let free = totals.heap.saturating_sub(totals.in_use);
    [
        totals.heap,
        0,
        0,
        totals.blocks,
        totals.block_bytes,
        0,
        0,
        totals.in_use,
        free,
        0,
    ]
}

/// What mallinfo2 returns, by value.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Fields<T: Copy>([T; 10]);

/// See mallinfo2(3).
#[unsafe(no_mangle)]
pub extern "C" fn mallinfo2() -> Fields<usize> {
    Fields(info(stats::totals()))
}

/// See mallinfo(3): as mallinfo2, cut to int as the manual warns.
#[unsafe(no_mangle)]
pub extern "C" fn mallinfo() -> Fields<c_int> {
    Fields(info(stats::totals()).map(|value| c_int::try_from(value).unwrap_or(c_int::MAX)))
}

/// mallinfo(3) by the name that glibc gives its own.
#[unsafe(no_mangle)]
pub extern "C" fn __libc_mallinfo() -> Fields<c_int> {
    mallinfo()
}

/// See malloc_trim(3).
#[unsafe(no_mangle)]
pub extern "C" fn malloc_trim(_keep: usize) -> c_int {
    stats::trim().into()
}

/// See mallopt(3). Every parameter is taken and none has an effect: they tune glibc's own allocator.
#[unsafe(no_mangle)]
pub extern "C" fn mallopt(_parameter: c_int, _value: c_int) -> c_int {
    1
}

/// mallopt(3) by the name that glibc gives its own.
#[unsafe(no_mangle)]
pub extern "C" fn __libc_mallopt(parameter: c_int, value: c_int) -> c_int {
    mallopt(parameter, value)
}

/// See malloc_stats(3): totals on standard error.
#[unsafe(no_mangle)]
pub extern "C" fn malloc_stats() {
    let totals = stats::totals();
    let mut text = Text::<512>::new();
    let _ = write!(
        text,
        "libumem:\nsystem bytes     = {:>10}\nin use bytes     = {:>10}\nblocks           = {:>10}\nblock bytes      = {:>10}\n\
         buffers allocated= {:>10}\nbuffers freed    = {:>10}\n",
        totals.heap, totals.in_use, totals.blocks, totals.block_bytes, totals.allocs, totals.frees,
    );
    process::write_error(text.as_bytes());
}

/// See malloc_info(3): totals as XML. Returns -1 and sets `errno` for other options than zero.
///
/// # Safety
/// `stream` is an open stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc_info(options: c_int, stream: *mut libc::FILE) -> c_int {
    const EINVAL: c_int = 22;
    if options != 0 {
        process::set_errno(EINVAL);
        return -1;
    }
    let totals = stats::totals();
    let mut text = Text::<512>::new();
    let _ = write!(
        text,
        "<malloc version=\"1\" allocator=\"libumem\">\n<system type=\"current\" size=\"{}\"/>\n<total type=\"inuse\" size=\"{}\"/>\n\
         <total type=\"mmap\" count=\"{}\" size=\"{}\"/>\n</malloc>\n",
        totals.heap, totals.in_use, totals.blocks, totals.block_bytes,
    );
    // SAFETY: the stream is open, and the text is as long as said.
    let written = unsafe {
        libc::fwrite(
            text.as_bytes().as_ptr().cast(),
            1,
            text.as_bytes().len(),
            stream,
        )
    };
    if written == text.as_bytes().len() {
        0
    } else {
        -1
    }
}

// ---- _Fork ----

type Fork = unsafe extern "C" fn() -> c_int;
/// libc's `_Fork`, zero before it was looked for or when there is none.
static FORK: AtomicUsize = AtomicUsize::new(0);

/// Looks for libc's `_Fork`, from the library's constructor: a signal handler, in which `_Fork` is allowed, must not.
pub fn look_for_fork() {
    // SAFETY: the name ends with a zero byte.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, c"_Fork".as_ptr()) };
    FORK.store(found.expose_provenance(), Ordering::Release);
}

/// `_Fork(3)`, with the allocator at rest while the process is copied: libc's runs no handlers of pthread_atfork.
///
/// # Safety
/// As for libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _Fork() -> c_int {
    const ENOSYS: c_int = 38;
    // SAFETY: zero or the address of libc's function.
    let next = unsafe { core::mem::transmute::<usize, Option<Fork>>(FORK.load(Ordering::Acquire)) };
    match next {
        // SAFETY: promised by the caller.
        Some(next) => fork::around(|| unsafe { next() }),
        None => {
            process::set_errno(ENOSYS);
            -1
        }
    }
}

/// Whether `free` is ours for everybody, the loader included, and not that of a library before us.
pub fn frees_for_all() -> bool {
    let used: usize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: reads an entry of the global offset table.
    unsafe {
        core::arch::asm!(
            "mov {}, qword ptr [rip + free@GOTPCREL]",
            out(reg) used,
            options(pure, readonly, nostack)
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        used = 0;
    }
    unwind::same_object(used, frees_for_all as *const () as usize)
}
