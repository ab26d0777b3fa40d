//! Code that a debugger lets one stopped thread run, to get a frozen copy of the process.
//!
//! The allocator never calls it. A debugger that has stopped all threads saves the registers of one of them in
//! [`SnapshotArea`], sets its instruction pointer to `umem_snapshot_start` and lets it run:
//!
//! 1. All signals are blocked, so that no handler runs on top of this code.
//! 2. clone makes a helper that shares the memory (`CLONE_VM`, no signal at its end).
//! 3. The helper makes the copy, by clone without `CLONE_VM`, and ends; the thread waits for it. So the copy is nobody's
//!    child here: the process that adopts orphans reaps it, and nothing is left for the program to wait for.
//! 4. The copy gives up its file descriptors and ends, unless a debugger holds it before.
//! 5. The thread takes its registers and signal mask back from the area and goes on where it was.
//!
//! The last step is for the debugger that dies half-way: then nobody else can put the registers back. A living one does
//! that itself when the thread is done waiting. Nothing is written to the stack, and no register matters
//! to the code between its system calls but the ones that these return.
#![allow(unsafe_code)]

use umem_layout::{NOTE_TYPE_SNAPSHOT, SNAPSHOT_VERSION, SnapshotArea};

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".section .bss.umem_snapshot,\"aw\",@nobits",
    ".p2align 6",
    ".globl umem_snapshot_area",
    ".hidden umem_snapshot_area",
    ".type umem_snapshot_area,@object",
    ".size umem_snapshot_area, {size}",
    "umem_snapshot_area:",
    ".zero {size}",
    ".section .text.umem_snapshot,\"ax\",@progbits",
    ".p2align 4",
    ".globl umem_snapshot_start",
    ".hidden umem_snapshot_start",
    ".type umem_snapshot_start,@function",
    "umem_snapshot_start:",
    // rt_sigprocmask(SIG_SETMASK, all, NULL, 8)
    "mov eax, 14",
    "mov edi, 2",
    "lea rsi, [rip + 20f]",
    "mov edx, 0",
    "mov r10d, 8",
    "syscall",
    // helper = clone(CLONE_VM | CLONE_FS | CLONE_FILES, 0, ...)
    "mov eax, 56",
    "mov edi, 0x700",
    "mov esi, 0",
    "mov edx, 0",
    "mov r10d, 0",
    "mov r8d, 0",
    "syscall",
    "test rax, rax",
    "jz 5f",
    "js 4f",
    // wait4(helper, NULL, __WALL, NULL)
    "mov rbx, rax",
    "3:",
    "mov eax, 61",
    "mov rdi, rbx",
    "mov esi, 0",
    "mov edx, 0x40000000",
    "mov r10d, 0",
    "syscall",
    "cmp rax, -4",
    "je 3b",
    // Back to where it was. Flags first: none of what follows changes them.
    "4:",
    "lea rsp, [rip + umem_snapshot_area + {flags}]",
    "popfq",
    "mov rsp, [rip + umem_snapshot_area + {rsp}]",
    // rt_sigprocmask(SIG_SETMASK, mask, NULL, 8)
    "mov eax, 14",
    "mov edi, 2",
    "lea rsi, [rip + umem_snapshot_area + {mask}]",
    "mov edx, 0",
    "mov r10d, 8",
    "syscall",
    "mov rax, [rip + umem_snapshot_area + {rax}]",
    "mov rbx, [rip + umem_snapshot_area + {rbx}]",
    "mov rcx, [rip + umem_snapshot_area + {rcx}]",
    "mov rdx, [rip + umem_snapshot_area + {rdx}]",
    "mov rsi, [rip + umem_snapshot_area + {rsi}]",
    "mov rdi, [rip + umem_snapshot_area + {rdi}]",
    "mov rbp, [rip + umem_snapshot_area + {rbp}]",
    "mov r8, [rip + umem_snapshot_area + {r8}]",
    "mov r9, [rip + umem_snapshot_area + {r8} + 8]",
    "mov r10, [rip + umem_snapshot_area + {r8} + 16]",
    "mov r11, [rip + umem_snapshot_area + {r8} + 24]",
    "mov r12, [rip + umem_snapshot_area + {r8} + 32]",
    "mov r13, [rip + umem_snapshot_area + {r8} + 40]",
    "mov r14, [rip + umem_snapshot_area + {r8} + 48]",
    "mov r15, [rip + umem_snapshot_area + {r8} + 56]",
    "mov qword ptr [rip + umem_snapshot_area + {busy}], 0",
    "jmp qword ptr [rip + umem_snapshot_area + {rip}]",
    // The helper: clone(CLONE_FS | CLONE_FILES, 0, ...), then exit(0).
    "5:",
    "mov eax, 56",
    "mov edi, 0x600",
    "mov esi, 0",
    "mov edx, 0",
    "mov r10d, 0",
    "mov r8d, 0",
    "syscall",
    "test rax, rax",
    "jz 6f",
    "mov eax, 60",
    "mov edi, 0",
    "syscall",
    "ud2",
    // The copy: close_range(0, ~0, CLOSE_RANGE_UNSHARE), then exit_group(0).
    "6:",
    "mov eax, 436",
    "mov edi, 0",
    "mov esi, 0xffffffff",
    "mov edx, 2",
    "syscall",
    "mov eax, 231",
    "mov edi, 0",
    "syscall",
    "ud2",
    ".globl umem_snapshot_end",
    ".hidden umem_snapshot_end",
    "umem_snapshot_end:",
    ".p2align 3",
    "20:",
    ".quad -1",
    ".size umem_snapshot_start, . - umem_snapshot_start",
    // Where the code and the area are, as distances from the descriptor's own words.
    ".section .note.umem,\"a\"",
    ".p2align 2",
    ".globl umem_snapshot_note",
    ".hidden umem_snapshot_note",
    "umem_snapshot_note:",
    ".long 5, 32, {kind}",
    ".asciz \"UMEM\"",
    ".p2align 2",
    ".quad {version}",
    ".quad umem_snapshot_start - .",
    ".quad umem_snapshot_end - .",
    ".quad umem_snapshot_area - .",
    ".text",
    size = const size_of::<SnapshotArea>(),
    busy = const core::mem::offset_of!(SnapshotArea, busy),
    flags = const core::mem::offset_of!(SnapshotArea, flags),
    rsp = const core::mem::offset_of!(SnapshotArea, rsp),
    rip = const core::mem::offset_of!(SnapshotArea, rip),
    mask = const core::mem::offset_of!(SnapshotArea, mask),
    rax = const core::mem::offset_of!(SnapshotArea, rax),
    rbx = const core::mem::offset_of!(SnapshotArea, rbx),
    rcx = const core::mem::offset_of!(SnapshotArea, rcx),
    rdx = const core::mem::offset_of!(SnapshotArea, rdx),
    rsi = const core::mem::offset_of!(SnapshotArea, rsi),
    rdi = const core::mem::offset_of!(SnapshotArea, rdi),
    rbp = const core::mem::offset_of!(SnapshotArea, rbp),
    r8 = const core::mem::offset_of!(SnapshotArea, r8_to_r15),
    kind = const NOTE_TYPE_SNAPSHOT,
    version = const SNAPSHOT_VERSION,
);

#[cfg(target_arch = "x86_64")]
unsafe extern "C" {
    #[link_name = "umem_snapshot_note"]
    static NOTE: u8;
}

/// Keeps the linker from dropping the note, and with it the code and the area.
#[cfg(target_arch = "x86_64")]
#[used]
static KEEP: Keep = Keep(&raw const NOTE);
#[cfg(target_arch = "x86_64")]
struct Keep(#[allow(dead_code)] *const u8);
#[cfg(target_arch = "x86_64")]
// SAFETY: the pointer is never read.
unsafe impl Sync for Keep {}
