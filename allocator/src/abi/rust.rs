//! The allocator as Rust's global allocator.

use crate::{malloc, unwind::Entry};
use core::alloc::{GlobalAlloc, Layout};
use umem_layout::family;

/// The allocator, for `#[global_allocator]`.
///
/// It serves Rust code only: no `malloc` is exported, so C code in the same program keeps its own. Its state is
/// published all the same, so that `umdb` finds the leaks of such a program; `UMEM_DEBUG` works as for `libumem.so`.
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: umem::Umem = umem::Umem;
///
/// let numbers: Vec<u64> = (0..1000).collect();
/// let totals = umem::stats::totals();
/// assert!(totals.in_use >= numbers.len() * size_of::<u64>());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Umem;

/// Registers the fork handlers, early, because the handler registered first prepares last.
#[unsafe(link_section = ".init_array")]
#[used]
static CONSTRUCTOR: extern "C" fn() = {
    extern "C" fn construct() {
        crate::fork::register();
    }
    construct
};

/// `entry! { allocate(size, align) => do_allocate, "rdx", "rcx" }`: a naked function that adds the stack pointer and the frame
/// pointer of its entry as the next two arguments, so that stacks begin at its caller.
macro_rules! entry {
    ($($(#[$doc:meta])* $name:ident($($argument:ident),*) $(-> $result:ty)? => $body:ident, $first:literal, $second:literal;)*) => { $(
        $(#[$doc])*
        #[cfg(target_arch = "x86_64")]
        #[unsafe(naked)]
        unsafe extern "C" fn $name($($argument: usize),*) $(-> $result)? {
            core::arch::naked_asm!(
                concat!("mov ", $first, ", rsp"),
                concat!("mov ", $second, ", rbp"),
                "jmp {body}",
                body = sym $body,
            )
        }
        $(#[$doc])*
        #[cfg(not(target_arch = "x86_64"))]
        unsafe extern "C" fn $name($($argument: usize),*) $(-> $result)? {
            // SAFETY: promised by the caller.
            unsafe { $body($($argument,)* 0, 0) }
        }
    )* };
}
pub(super) use entry;

entry! {
    allocate_aligned(size, align) -> usize => do_allocate_aligned, "rdx", "rcx";
    allocate_zeroed(size) -> usize => do_allocate_zeroed, "rsi", "rdx";
    reallocate(address, size) -> usize => do_reallocate, "rdx", "rcx";
}

/// As `entry!`, for what has a fast path: the first function is where that fails, the second one is called where there is none.
macro_rules! fast_entry {
    ($macro:ident $name:ident($argument:ident) $(-> $result:ty)? => $body:ident, $all:expr) => {
        #[cfg(target_arch = "x86_64")]
        #[unsafe(naked)]
        unsafe extern "C" fn $name($argument: usize) $(-> $result)? {
            crate::$macro!([] ["mov rsi, rsp", "mov rdx, rbp", "jmp {body}"] body = sym $body)
        }
        #[cfg(not(target_arch = "x86_64"))]
        unsafe extern "C" fn $name($argument: usize) $(-> $result)? {
            $all
        }
    };
}

#[cfg(not(target_arch = "x86_64"))]
const NOWHERE: Entry = Entry { sp: 0, fp: 0 };

fast_entry!(allocate_entry allocate(size) -> usize => do_allocate, malloc::allocate(size, family::MALLOC, NOWHERE));
// SAFETY: the contract of `GlobalAlloc::dealloc`.
fast_entry!(release_entry release(address) => do_release, unsafe { malloc::release(address, NOWHERE) });

#[cfg(target_arch = "x86_64")]
unsafe extern "C" fn do_allocate(size: usize, sp: usize, fp: usize) -> usize {
    malloc::allocate_slow(size, Entry { sp, fp }, family::MALLOC)
}

unsafe extern "C" fn do_allocate_aligned(size: usize, align: usize, sp: usize, fp: usize) -> usize {
    malloc::allocate_aligned(size, align, family::MALLOC, Entry { sp, fp })
}

unsafe extern "C" fn do_allocate_zeroed(size: usize, sp: usize, fp: usize) -> usize {
    malloc::allocate_zeroed(1, size, Entry { sp, fp })
}

unsafe extern "C" fn do_reallocate(address: usize, size: usize, sp: usize, fp: usize) -> usize {
    // SAFETY: the contract of `GlobalAlloc::realloc`.
    unsafe { malloc::reallocate(address, size, Entry { sp, fp }) }
}

#[cfg(target_arch = "x86_64")]
unsafe extern "C" fn do_release(address: usize, sp: usize, fp: usize) {
    malloc::release_slow(address, Entry { sp, fp });
}

fn pointer(address: usize) -> *mut u8 {
    core::ptr::with_exposed_provenance_mut(address)
}

// SAFETY: buffers do not overlap, are as large and as aligned as asked for, and stay until they are given back; nothing
// in here unwinds.
unsafe impl GlobalAlloc for Umem {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: any size and any power of two will do.
        pointer(unsafe {
            match layout.align() <= malloc::ALIGN {
                true => allocate(layout.size()),
                false => allocate_aligned(layout.size(), layout.align()),
            }
        })
    }

    #[inline]
    unsafe fn dealloc(&self, address: *mut u8, _layout: Layout) {
        // SAFETY: promised by the caller.
        unsafe { release(address.expose_provenance()) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= malloc::ALIGN {
            // SAFETY: any size will do.
            return pointer(unsafe { allocate_zeroed(layout.size()) });
        }
        // SAFETY: promised by the caller.
        let new = unsafe { self.alloc(layout) };
        if !new.is_null() {
            // SAFETY: the buffer is as large as the layout says.
            unsafe { new.write_bytes(0, layout.size()) };
        }
        new
    }

    #[inline]
    unsafe fn realloc(&self, address: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if layout.align() <= malloc::ALIGN {
            // SAFETY: promised by the caller.
            return pointer(unsafe { reallocate(address.expose_provenance(), size) });
        }
        // SAFETY: promised by the caller: the size is not zero and the layout that results is valid.
        let new = unsafe { self.alloc(Layout::from_size_align_unchecked(size, layout.align())) };
        if !new.is_null() {
            // SAFETY: both buffers are live, distinct, and of at least that many bytes.
            unsafe {
                new.copy_from_nonoverlapping(address, layout.size().min(size));
                self.dealloc(address, layout);
            }
        }
        new
    }
}
