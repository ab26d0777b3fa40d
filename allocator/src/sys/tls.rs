//! The thread's block of initial-exec storage.
//!
//! Declared in assembly because stable Rust has no way to ask for the initial-exec model: a `thread_local!` in a
//! shared object costs a call of `__tls_get_addr`, which may allocate, and registers destructors. The block
//! is zero in every new thread, so an untouched thread simply takes the slow path.
#![allow(unsafe_code)]

/// Bytes of the block. glibc lends preloaded libraries little static storage (dlopen of such a library
/// fails above 1664 bytes), so it stays well below 1 KiB.
pub const BLOCK: usize = 512;

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".section .tbss.umem_tls_block,\"awT\",@nobits",
    ".p2align 6",
    ".globl umem_tls_block",
    ".hidden umem_tls_block",
    ".type umem_tls_block,@object",
    ".size umem_tls_block, {size}",
    "umem_tls_block:",
    ".zero {size}",
    ".text",
    size = const BLOCK,
);

#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    ".section .tbss.umem_tls_block,\"awT\",%nobits",
    ".p2align 6",
    ".globl umem_tls_block",
    ".hidden umem_tls_block",
    ".type umem_tls_block,%object",
    ".size umem_tls_block, {size}",
    "umem_tls_block:",
    ".zero {size}",
    ".text",
    size = const BLOCK,
);

/// Address of the calling thread's block.
#[inline(always)]
pub fn block() -> *mut u8 {
    let address: *mut u8;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: reads the thread pointer and the link-time offset of the block; both never change in a thread.
    unsafe {
        core::arch::asm!(
            "mov {r}, qword ptr fs:[0]",
            "add {r}, qword ptr [rip + umem_tls_block@GOTTPOFF]",
            r = out(reg) address,
            options(pure, nomem, nostack),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: reads the thread pointer and the link-time offset of the block; both never change in a thread.
    unsafe {
        core::arch::asm!(
            "mrs {r}, tpidr_el0",
            "adrp {o}, :gottprel:umem_tls_block",
            "ldr {o}, [{o}, :gottprel_lo12:umem_tls_block]",
            "add {r}, {r}, {o}",
            r = out(reg) address,
            o = out(reg) _,
            options(pure, readonly, nostack),
        );
    }
    address
}

/// Where in the block the thread's identifier is kept: its last four bytes.
#[inline(always)]
pub(super) fn id_cell() -> *mut u32 {
    // SAFETY: within the block.
    unsafe { block().add(BLOCK - size_of::<u32>()).cast() }
}

/// Where in the block is kept how many sections the thread is in that must not be entered twice: see `sync`.
const SECTIONS: usize = BLOCK - 2 * size_of::<u32>();

/// How many sections the thread is in.
#[inline(always)]
pub fn sections() -> u32 {
    // SAFETY: within the thread's own block, and aligned.
    unsafe { block().add(SECTIONS).cast::<u32>().read() }
}

/// Adds to the number of sections, which wraps around. A signal handler that comes in between leaves the number as it found it.
#[inline(always)]
pub fn add_sections(more: u32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: changes a word of the thread's own block, by the link-time offset of the block.
    unsafe {
        core::arch::asm!(
            "mov {r}, qword ptr [rip + umem_tls_block@GOTTPOFF]",
            "add dword ptr fs:[{r} + {at}], {more:e}",
            r = out(reg) _,
            at = const SECTIONS,
            more = in(reg) more,
            options(nostack),
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: within the thread's own block, and aligned.
    unsafe {
        let cell = block().add(SECTIONS).cast::<u32>();
        cell.write(cell.read().wrapping_add(more));
    }
}

/// Bytes of the block that the layers above may use.
pub const ROOM: usize = BLOCK - 64;

/// The first word of the calling thread's block, in one instruction less than through [`block`].
#[inline(always)]
pub fn first_word() -> usize {
    let value: usize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: reads a word of the thread's own block.
    unsafe {
        core::arch::asm!(
            "mov {r}, qword ptr [rip + umem_tls_block@GOTTPOFF]",
            "mov {r}, qword ptr fs:[{r}]",
            r = out(reg) value,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: the block is aligned and lives as long as the thread.
    unsafe {
        value = block().cast::<usize>().read();
    }
    value
}

/// The thread pointer: base of the thread control block.
#[inline]
pub fn thread_pointer() -> usize {
    let pointer: usize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the first word of the control block is its own address (ELF TLS ABI).
    unsafe {
        core::arch::asm!("mov {r}, qword ptr fs:[0]", r = out(reg) pointer, options(pure, nomem, nostack));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: reads a register.
    unsafe {
        core::arch::asm!("mrs {r}, tpidr_el0", r = out(reg) pointer, options(pure, nomem, nostack));
    }
    pointer
}
