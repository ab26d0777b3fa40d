//! What glibc exports beside the malloc family: statistics, trimming, tuning.

use core::{ffi::c_int, fmt::Write};
use umem_core::{
    debug::message::Text,
    stats::{self, Totals},
    sys::process,
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
