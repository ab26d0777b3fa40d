//! The fast paths of malloc and free, as assembly that stands at the very start of the entries.
//!
//! # Why assembly
//! An entry hands its stack pointer and frame pointer to the slow path, so that stacks begin at its caller: only a naked function has
//! them, and one that first jumps to Rust code takes six instructions a pair more. What the paths read of the thread they read by way of
//! the segment register, in the instructions that use it: that is another ten.
//!
//! The texts do what [`super::pop`] and [`super::push`] do, store by store, and the slow paths go on with those. They change no
//! register that may hold an argument but, in free, those behind the first. On other machines the entries call
//! `malloc::allocate` and `malloc::release`.

use super::Local;
use crate::{sys::rseq, vmem};
use core::{
    cell::Cell as LocalCell,
    mem::offset_of,
    sync::atomic::{Ordering, compiler_fence},
};
use umem_layout::{Magazine, ThreadCache};

/// What the fast paths read of a thread. All zero for a thread that is not in service, whose every call takes the slow path.
#[repr(C)]
pub struct Fast {
    /// Address of the array of [`ThreadCache`], or zero.
    caches: LocalCell<usize>,
    /// One more than the largest size of a class.
    sizes: LocalCell<usize>,
    /// The first region, its committed bytes, and its map of units, as the thread last saw them.
    base: LocalCell<usize>,
    committed: LocalCell<usize>,
    map: LocalCell<usize>,
    /// Where the mark of `sys::rseq` lies.
    mark: LocalCell<usize>,
}

impl Fast {
    /// Address of the array of [`ThreadCache`], or zero.
    #[inline(always)]
    pub(super) fn caches(&self) -> usize {
        self.caches.get()
    }

    /// Puts the thread into service. A signal handler that comes in between finds the paths open or closed.
    pub(super) fn open(&self, caches: usize) {
        self.caches.set(caches);
        compiler_fence(Ordering::SeqCst);
        if caches != 0 {
            self.mark.set(rseq::mark());
            self.sizes.set(crate::cache::LARGEST + 1);
            self.see_region();
        }
    }

    /// Whether the kernel tells the thread when it has paused.
    pub(super) fn has_mark(&self) -> bool {
        self.mark.get() != 0
    }

    /// Takes the thread out of service.
    pub(super) fn close(&self) {
        self.sizes.set(0);
        self.committed.set(0);
        compiler_fence(Ordering::SeqCst);
        self.caches.set(0);
    }

    /// Looks how far the first region reaches by now.
    #[inline]
    pub(super) fn see_region(&self) {
        let first = vmem::first_region();
        if self.caches.get() != 0 && self.committed.get() != first.committed {
            self.base.set(first.base);
            self.map.set(first.map);
            compiler_fence(Ordering::SeqCst);
            self.committed.set(first.committed);
        }
    }
}

/// Whether the kernel has scheduled the thread out since it last set its mark, or handed it a signal.
#[inline(always)]
pub fn has_paused() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        let mark: usize;
        // SAFETY: reads two words of the thread's own storage; a mark of zero stands for the thread pointer.
        unsafe {
            core::arch::asm!(
                "mov {r}, qword ptr [rip + umem_tls_block@GOTTPOFF]",
                "mov {r}, qword ptr fs:[{r} + {mark}]",
                "mov {r}, qword ptr fs:[{r}]",
                r = out(reg) mark,
                mark = const local::MARK,
                options(readonly, nostack, preserves_flags),
            );
        }
        mark == 0
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Sets the mark.
#[inline]
pub(super) fn set_mark(fast: &Fast) {
    rseq::set(fast.mark.get());
}

/// Leaves no address of a free buffer behind in a register. It may be handed out next and be lost, and a register that nobody uses, or
/// the context that a signal or a coroutine saves of it, would keep it alive for who looks for leaks.
#[inline(always)]
pub(super) fn forget(address: u64) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: clears the register that holds the value, which is used no more.
    unsafe {
        core::arch::asm!("xor {0:e}, {0:e}", inout(reg) address => _, options(nomem, nostack));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// The same at the end of a slow path, which has looked at other free buffers: clears all registers but the result's that a function need not
/// preserve. The dynamic linker stores vector registers as well, on the stack, when it looks up the next function.
#[inline(always)]
pub fn forget_all() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: clears registers that the compiler is told of.
    unsafe {
        core::arch::asm!(
            "xor ecx, ecx", "xor edx, edx", "xor esi, esi", "xor edi, edi",
            "xor r8d, r8d", "xor r9d, r9d", "xor r10d, r10d", "xor r11d, r11d",
            "pxor xmm0, xmm0", "pxor xmm1, xmm1", "pxor xmm2, xmm2", "pxor xmm3, xmm3",
            "pxor xmm4, xmm4", "pxor xmm5, xmm5", "pxor xmm6, xmm6", "pxor xmm7, xmm7",
            "pxor xmm8, xmm8", "pxor xmm9, xmm9", "pxor xmm10, xmm10", "pxor xmm11, xmm11",
            "pxor xmm12, xmm12", "pxor xmm13, xmm13", "pxor xmm14, xmm14", "pxor xmm15, xmm15",
            out("rcx") _, out("rdx") _, out("rsi") _, out("rdi") _,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
            out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
            out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
            out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
            options(nomem, nostack)
        );
    }
}

/// Places within a thread's block of storage.
pub mod local {
    use super::{Fast, Local, offset_of};
    /// Address of the array of entries.
    pub const CACHES: usize = offset_of!(Local, fast) + offset_of!(Fast, caches);
    /// One more than the largest size.
    pub const SIZES: usize = offset_of!(Local, fast) + offset_of!(Fast, sizes);
    /// The first region.
    pub const BASE: usize = offset_of!(Local, fast) + offset_of!(Fast, base);
    /// Its committed bytes.
    pub const COMMITTED: usize = offset_of!(Local, fast) + offset_of!(Fast, committed);
    /// Its map.
    pub const MAP: usize = offset_of!(Local, fast) + offset_of!(Fast, map);
    /// Where the mark lies.
    pub const MARK: usize = offset_of!(Local, fast) + offset_of!(Fast, mark);
}

/// Places within an entry and a magazine.
pub mod entry {
    use super::{Magazine, ThreadCache, offset_of};
    /// `hot`.
    pub const HOT: usize = offset_of!(ThreadCache, hot);
    /// `allocs`.
    pub const ALLOCS: usize = offset_of!(ThreadCache, allocs);
    /// `frees`.
    pub const FREES: usize = offset_of!(ThreadCache, frees);
    /// `loaded_rounds`.
    pub const ROUNDS: usize = offset_of!(ThreadCache, loaded_rounds);
    /// `capacity`.
    pub const CAPACITY: usize = offset_of!(ThreadCache, capacity);
    /// `loaded`.
    pub const LOADED: usize = offset_of!(ThreadCache, loaded);
    /// From a magazine to the word before its first round: see `cache::top`.
    pub const BELOW: usize = size_of::<Magazine>() - 8;
    /// Binary logarithm of the size of an entry.
    pub const SHIFT: u32 = size_of::<ThreadCache>().trailing_zeros();
    const _: () = assert!(size_of::<ThreadCache>().is_power_of_two());
}

/// The naked body of an entry that allocates as many bytes as `rdi` says. Where the fast path fails it goes on with `slow`, all
/// arguments in place, and nothing was changed but the count of allocations of a sample.
#[doc(hidden)]
#[macro_export]
macro_rules! allocate_entry {
    ([$($before:expr),*] [$($slow:expr),* $(,)?] $($operands:tt)*) => {
        core::arch::naked_asm!(
            $($before,)*
            "mov r10, qword ptr [rip + umem_tls_block@GOTTPOFF]",
            // Whether the thread has paused: see `heed`.
            "mov r11, qword ptr fs:[r10 + {fast_mark}]",
            "cmp qword ptr fs:[r11], 0",
            "je 22f",
            "cmp rdi, qword ptr fs:[r10 + {fast_sizes}]",
            "jae 22f",
            // The entry of the class: see `cache::entry_offset`.
            "lea rax, [rdi + 15]",
            "shr rax, 4",
            "mov r11, qword ptr [rip + {fast_offsets}@GOTPCREL]",
            "mov r11d, dword ptr [r11 + 4 * rax]",
            "add r11, qword ptr fs:[r10 + {fast_caches}]",
            "mov eax, dword ptr [r11 + {fast_rounds}]",
            "sub eax, 1",
            "jb 22f",
            "add qword ptr [r11 + {fast_allocs}], 1",
            "jz 22f",
            // The last round but one becomes hot. While the number says so and the entry does not, a register holds it: a
            // debugger that stops the thread here, and takes what is still hot for free, finds the other one alive.
            "mov r10, qword ptr [r11 + {fast_loaded}]",
            "mov r10, qword ptr [r10 + 8 * rax + {fast_below}]",
            "mov dword ptr [r11 + {fast_rounds}], eax",
            "mov rax, qword ptr [r11 + {fast_hot}]",
            "mov qword ptr [r11 + {fast_hot}], r10",
            // See `forget`.
            "xor r10d, r10d",
            "ret",
            "22:",
            $($slow,)*
            fast_mark = const $crate::thread::fast::local::MARK,
            fast_sizes = const $crate::thread::fast::local::SIZES,
            fast_caches = const $crate::thread::fast::local::CACHES,
            fast_offsets = sym $crate::cache::OFFSET_OF,
            fast_hot = const $crate::thread::fast::entry::HOT,
            fast_allocs = const $crate::thread::fast::entry::ALLOCS,
            fast_rounds = const $crate::thread::fast::entry::ROUNDS,
            fast_loaded = const $crate::thread::fast::entry::LOADED,
            fast_below = const $crate::thread::fast::entry::BELOW,
            $($operands)*
        )
    };
}

/// The naked body of an entry that frees the address in `rdi`. Where the fast path fails it goes on with `slow`, the address in
/// place, and nothing was changed.
#[doc(hidden)]
#[macro_export]
macro_rules! release_entry {
    ([$($before:expr),*] [$($slow:expr),* $(,)?] $($operands:tt)*) => {
        core::arch::naked_asm!(
            $($before,)*
            "mov r10, qword ptr [rip + umem_tls_block@GOTTPOFF]",
            "mov r11, qword ptr fs:[r10 + {fast_mark}]",
            "cmp qword ptr fs:[r11], 0",
            "je 22f",
            "mov rax, rdi",
            "sub rax, qword ptr fs:[r10 + {fast_base}]",
            "cmp rax, qword ptr fs:[r10 + {fast_committed}]",
            "jae 22f",
            // The entry that the unit's byte in the map tells.
            "shr rax, {fast_unit}",
            "add rax, qword ptr fs:[r10 + {fast_map}]",
            "movzx eax, byte ptr [rax]",
            "shl eax, {fast_shift}",
            "add rax, qword ptr fs:[r10 + {fast_caches}]",
            "mov ecx, dword ptr [rax + {fast_rounds}]",
            "cmp ecx, dword ptr [rax + {fast_capacity}]",
            "je 22f",
            "mov rsi, qword ptr [rax + {fast_hot}]",
            "cmp rdi, rsi",
            "je 22f",
            // What was hot goes into its place.
            "mov rdx, qword ptr [rax + {fast_loaded}]",
            "mov qword ptr [rdx + 8 * rcx + {fast_below}], rsi",
            "mov qword ptr [rax + {fast_hot}], rdi",
            "inc dword ptr [rax + {fast_rounds}]",
            "inc qword ptr [rax + {fast_frees}]",
            "xor esi, esi",
            "ret",
            "22:",
            $($slow,)*
            fast_mark = const $crate::thread::fast::local::MARK,
            fast_base = const $crate::thread::fast::local::BASE,
            fast_committed = const $crate::thread::fast::local::COMMITTED,
            fast_map = const $crate::thread::fast::local::MAP,
            fast_caches = const $crate::thread::fast::local::CACHES,
            fast_unit = const $crate::vmem::UNIT.trailing_zeros(),
            fast_shift = const $crate::thread::fast::entry::SHIFT,
            fast_hot = const $crate::thread::fast::entry::HOT,
            fast_frees = const $crate::thread::fast::entry::FREES,
            fast_rounds = const $crate::thread::fast::entry::ROUNDS,
            fast_capacity = const $crate::thread::fast::entry::CAPACITY,
            fast_loaded = const $crate::thread::fast::entry::LOADED,
            fast_below = const $crate::thread::fast::entry::BELOW,
            $($operands)*
        )
    };
}
