//! C++ `operator new` and `operator delete` in all their forms.
//!
//! When memory is short, `operator new` calls the program's new-handler and tries again; without one it throws
//! `std::bad_alloc`. Both the handler and the throw may unwind through this frame, so it is a few
//! instructions of assembly with unwind information, and no Rust function is on the stack then. `libstdc++` is reached by weak
//! references: in a program without it nobody calls these operators, or the process ends with a message.

use crate::pointer;
use core::ffi::c_void;
use umem_core::{debug::message, malloc, sys::process, unwind::Entry};
use umem_layout::family;

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".weak _ZSt15get_new_handlerv",
    ".weak _ZSt17__throw_bad_allocv",
);

extern "C" fn new_object(size: usize, sp: usize, fp: usize) -> *mut c_void {
    pointer(malloc::allocate(size, family::NEW, Entry { sp, fp }))
}

extern "C" fn new_array(size: usize, sp: usize, fp: usize) -> *mut c_void {
    pointer(malloc::allocate(size, family::NEW_ARRAY, Entry { sp, fp }))
}

fn aligned(size: usize, align: usize, family: u8, entry: Entry) -> *mut c_void {
    pointer(malloc::allocate_aligned(
        size,
        align.next_power_of_two(),
        family,
        entry,
    ))
}

extern "C" fn new_object_aligned(size: usize, align: usize, sp: usize, fp: usize) -> *mut c_void {
    aligned(size, align, family::NEW, Entry { sp, fp })
}

extern "C" fn new_array_aligned(size: usize, align: usize, sp: usize, fp: usize) -> *mut c_void {
    aligned(size, align, family::NEW_ARRAY, Entry { sp, fp })
}

unsafe extern "C" fn delete_object(old: *mut c_void, sp: usize, fp: usize) {
    // SAFETY: the contract of `operator delete`.
    unsafe { malloc::release_object(old.expose_provenance(), Entry { sp, fp }) }
}

unsafe extern "C" fn delete_array_of(old: *mut c_void, sp: usize, fp: usize) {
    // SAFETY: the contract of `operator delete[]`.
    unsafe { malloc::release_array(old.expose_provenance(), Entry { sp, fp }) }
}

extern "C" fn without_libstdcxx() -> ! {
    message::tell(
        b"umem: operator new: out of memory, and there is no libstdc++ to throw std::bad_alloc\n",
    );
    process::abort()
}

/// What both kinds of throwing operator share: call the allocation, and on failure the new-handler, until one of
/// them ends the loop. The arguments are kept on the stack for the next try.
#[cfg(target_arch = "x86_64")]
macro_rules! throwing_new {
    ($($symbol:literal $name:ident($($argument:ident),*) => $body:ident, $sp:literal, $fp:literal;)*) => { $(
        /// `operator new`; throws when there is no memory.
        ///
        /// # Safety
        /// As in C++.
        #[unsafe(export_name = $symbol)]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name($($argument: usize),*) -> *mut c_void {
            core::arch::naked_asm!(
                ".cfi_startproc",
                "push rdi",
                ".cfi_adjust_cfa_offset 8",
                "push rsi",
                ".cfi_adjust_cfa_offset 8",
                "sub rsp, 8",
                ".cfi_adjust_cfa_offset 8",
                "2:",
                concat!("lea ", $sp, ", [rsp + 24]"),
                concat!("mov ", $fp, ", rbp"),
                "call {body}",
                "test rax, rax",
                "jz 3f",
                "add rsp, 24",
                ".cfi_adjust_cfa_offset -24",
                "ret",
                ".cfi_adjust_cfa_offset 24",
                "3:",
                "mov rax, qword ptr [rip + _ZSt15get_new_handlerv@GOTPCREL]",
                "test rax, rax",
                "jz 4f",
                "call rax",
                "test rax, rax",
                "jz 4f",
                "call rax",
                "mov rsi, qword ptr [rsp + 8]",
                "mov rdi, qword ptr [rsp + 16]",
                "jmp 2b",
                "4:",
                "add rsp, 24",
                ".cfi_adjust_cfa_offset -24",
                "mov rax, qword ptr [rip + _ZSt17__throw_bad_allocv@GOTPCREL]",
                "test rax, rax",
                "jz {no_library}",
                "jmp rax",
                ".cfi_endproc",
                body = sym $body,
                no_library = sym without_libstdcxx,
            )
        }
    )* };
}

#[cfg(target_arch = "x86_64")]
throwing_new! {
    "_Znwm" operator_new(size) => new_object, "rsi", "rdx";
    "_Znam" operator_new_array(size) => new_array, "rsi", "rdx";
    "_ZnwmSt11align_val_t" operator_new_aligned(size, align) => new_object_aligned, "rdx", "rcx";
    "_ZnamSt11align_val_t" operator_new_array_aligned(size, align) => new_array_aligned, "rdx", "rcx";
}

/// `nothrow` forms call the throwing one in libstdc++ and catch; ours give null at once, without the new-handler.
macro_rules! tail {
    ($($symbol:literal $name:ident => $body:ident, $sp:literal, $fp:literal;)*) => { $(
        /// An operator that hands its registers on.
        ///
        /// # Safety
        /// As in C++.
        #[cfg(target_arch = "x86_64")]
        #[unsafe(export_name = $symbol)]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                concat!("mov ", $sp, ", rsp"),
                concat!("mov ", $fp, ", rbp"),
                "jmp {body}",
                body = sym $body,
            )
        }
    )* };
}

tail! {
    "_ZnwmRKSt9nothrow_t" new_nothrow => new_object, "rsi", "rdx";
    "_ZnamRKSt9nothrow_t" new_array_nothrow => new_array, "rsi", "rdx";
    "_ZnwmSt11align_val_tRKSt9nothrow_t" new_aligned_nothrow => new_object_aligned, "rdx", "rcx";
    "_ZnamSt11align_val_tRKSt9nothrow_t" new_array_aligned_nothrow => new_array_aligned, "rdx", "rcx";
    "_ZdlPv" delete => delete_object, "rsi", "rdx";
    "_ZdaPv" delete_array => delete_array_of, "rsi", "rdx";
    "_ZdlPvm" delete_sized => delete_object, "rsi", "rdx";
    "_ZdaPvm" delete_array_sized => delete_array_of, "rsi", "rdx";
    "_ZdlPvRKSt9nothrow_t" delete_nothrow => delete_object, "rsi", "rdx";
    "_ZdaPvRKSt9nothrow_t" delete_array_nothrow => delete_array_of, "rsi", "rdx";
    "_ZdlPvSt11align_val_t" delete_aligned => delete_object, "rsi", "rdx";
    "_ZdaPvSt11align_val_t" delete_array_aligned => delete_array_of, "rsi", "rdx";
    "_ZdlPvmSt11align_val_t" delete_sized_aligned => delete_object, "rsi", "rdx";
    "_ZdaPvmSt11align_val_t" delete_array_sized_aligned => delete_array_of, "rsi", "rdx";
    "_ZdlPvSt11align_val_tRKSt9nothrow_t" delete_aligned_nothrow => delete_object, "rsi", "rdx";
    "_ZdaPvSt11align_val_tRKSt9nothrow_t" delete_array_aligned_nothrow => delete_array_of, "rsi", "rdx";
}
