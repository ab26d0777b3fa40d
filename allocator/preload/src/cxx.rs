//! C++ `operator new` and `operator delete` in all their forms.
//!
//! When memory is short, `operator new` calls the program's new-handler and tries again; without one it throws
//! `std::bad_alloc`. Both the handler and the throw may unwind through this frame, so it is a few
//! instructions of assembly with unwind information, and no Rust function is on the stack then. `libstdc++` is reached by weak
//! references: in a program without it nobody calls these operators, or the process ends with a message.
//!
//! # Programs with operators of their own
//! The C++ library defines most forms by others: `new[]` calls `new`, `delete[]` and the sized forms call `delete`, and so on
//! ([new.delete]). A program that replaces a basic form expects that of the derived ones. So each derived form
//! looks, when some basic form was replaced, whether its own was, and then jumps there. The nothrow forms must catch what a
//! replaced `new` or a new-handler throws; that is left to libstdc++'s, which is the next definition of the symbol.

use crate::pointer;
use core::ffi::c_void;
#[cfg(target_arch = "x86_64")]
use umem_core::{allocate_entry, release_entry};
use umem_core::{
    debug::{Return, message},
    malloc,
    sys::process,
    unwind::Entry,
};
use umem_layout::family;

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".weak _ZSt15get_new_handlerv",
    ".weak _ZSt17__throw_bad_allocv",
);

// Where the fast path of the throwing forms fails.

extern "C" fn new_object(size: usize, sp: usize, fp: usize) -> *mut c_void {
    pointer(malloc::allocate_slow(size, Entry { sp, fp }, family::NEW))
}

extern "C" fn new_array(size: usize, sp: usize, fp: usize) -> *mut c_void {
    pointer(malloc::allocate_slow(
        size,
        Entry { sp, fp },
        family::NEW_ARRAY,
    ))
}

extern "C" fn try_object(size: usize, sp: usize, fp: usize) -> *mut c_void {
    pointer(malloc::allocate(size, family::NEW, Entry { sp, fp }))
}

extern "C" fn try_array(size: usize, sp: usize, fp: usize) -> *mut c_void {
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

unsafe extern "C" fn free_object(old: *mut c_void, sp: usize, fp: usize) {
    malloc::release_object_slow(old.expose_provenance(), Entry { sp, fp });
}

unsafe extern "C" fn free_array(old: *mut c_void, sp: usize, fp: usize) {
    malloc::release_array_slow(old.expose_provenance(), Entry { sp, fp });
}

unsafe extern "C" fn free_object_of(old: *mut c_void, size: usize, sp: usize, fp: usize) {
    let how = Return::DELETE.of_size(size);
    malloc::release_sized_slow(how, old.expose_provenance(), Entry { sp, fp });
}

unsafe extern "C" fn free_array_of(old: *mut c_void, size: usize, sp: usize, fp: usize) {
    let how = Return::DELETE_ARRAY.of_size(size);
    malloc::release_sized_slow(how, old.expose_provenance(), Entry { sp, fp });
}

extern "C" fn without_libstdcxx() -> ! {
    message::tell(
        b"umem: operator new: out of memory, and there is no libstdc++ to throw std::bad_alloc\n",
    );
    process::abort()
}

// Set when the program or another library replaces a basic form. Derived forms look there first.
#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".pushsection .bss.umem_operators_replaced,\"aw\",@nobits",
    ".hidden umem_operators_replaced",
    ".globl umem_operators_replaced",
    "umem_operators_replaced: .zero 1",
    ".popsection",
);

/// The basic forms, by which the C++ library defines the others.
#[cfg(target_arch = "x86_64")]
macro_rules! any_replaced {
    ($($base:literal)*) => {
        core::arch::naked_asm!(
            $(
                concat!("mov rax, qword ptr [rip + ", $base, "@GOTPCREL]"),
                concat!("lea rcx, [rip + umem_own", $base, "]"),
                "cmp rax, rcx",
                "jne 7f",
            )*
            "ret",
            "7:",
            "mov byte ptr [rip + umem_operators_replaced], 1",
            "ret",
        )
    };
}

/// Looks once, from the library's constructor, whether the operators that others reach by these names are ours.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
pub extern "C" fn look_for_replacements() {
    any_replaced!(
        "_Znwm" "_Znam" "_ZnwmSt11align_val_t" "_ZnamSt11align_val_t" "_ZdlPv" "_ZdaPv" "_ZdlPvSt11align_val_t"
        "_ZdaPvSt11align_val_t"
    )
}

/// Jumps to the basic form where it was replaced. Leaves all arguments as they are.
#[cfg(target_arch = "x86_64")]
macro_rules! unless_replaced {
    ($base:literal) => {
        concat!(
            "cmp byte ptr [rip + umem_operators_replaced], 0\n",
            "je 6f\n",
            "mov rax, qword ptr [rip + ",
            $base,
            "@GOTPCREL]\n",
            "lea r10, [rip + umem_own",
            $base,
            "]\n",
            "cmp rax, r10\n",
            "je 6f\n",
            "jmp rax\n",
            "6:",
        )
    };
}

/// As `allocate_entry!`, for an entry without a fast path.
#[cfg(target_arch = "x86_64")]
macro_rules! plain_entry {
    ([$($before:expr),*] [$($slow:expr),* $(,)?] $($operands:tt)*) => {
        core::arch::naked_asm!($($before,)* $($slow,)* $($operands)*)
    };
}

/// What both kinds of throwing operator share: call the allocation, and on failure the new-handler, until one of
/// them ends the loop. The arguments are kept on the stack for the next try.
#[cfg(target_arch = "x86_64")]
macro_rules! throwing_new {
    ($($entry:ident $symbol:literal $name:ident($($argument:ident),*) => $body:ident, $sp:literal, $fp:literal $(, $base:literal)*;)*) => { $(
        /// `operator new`; throws when there is no memory.
        ///
        /// # Safety
        /// As in C++.
        #[unsafe(export_name = $symbol)]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name($($argument: usize),*) -> *mut c_void {
            $entry!(
                [".cfi_startproc", concat!("umem_own", $symbol, ":") $(, unless_replaced!($base))*]
                [
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
                ]
                body = sym $body,
                no_library = sym without_libstdcxx,
            )
        }
    )* };
}

#[cfg(target_arch = "x86_64")]
throwing_new! {
    allocate_entry "_Znwm" operator_new(size) => new_object, "rsi", "rdx";
    allocate_entry "_Znam" operator_new_array(size) => new_array, "rsi", "rdx", "_Znwm";
    plain_entry "_ZnwmSt11align_val_t" operator_new_aligned(size, align) => new_object_aligned, "rdx", "rcx";
    plain_entry "_ZnamSt11align_val_t" operator_new_array_aligned(size, align) => new_array_aligned, "rdx", "rcx",
        "_ZnwmSt11align_val_t";
}

/// The next definition of a nothrow form, which is libstdc++'s; null where there is none. It calls the throwing form, with the
/// new-handler and all, and catches.
unsafe extern "C" fn next_definition(symbol: *const core::ffi::c_char) -> *mut c_void {
    // SAFETY: the callers' symbols are strings that end with a zero byte.
    unsafe { libc::dlsym(libc::RTLD_NEXT, symbol) }
}

/// `nothrow` forms: ours as long as there is memory, else the next definition.
#[cfg(target_arch = "x86_64")]
macro_rules! nothrow_new {
    ($($symbol:literal $name:ident => $body:ident, $sp:literal, $fp:literal, $($base:literal)*;)*) => { $(
        /// `operator new` that gives null when there is no memory.
        ///
        /// # Safety
        /// As in C++.
        #[unsafe(export_name = $symbol)]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() -> *mut c_void {
            core::arch::naked_asm!(
                ".cfi_startproc",
                "push rdi",
                ".cfi_adjust_cfa_offset 8",
                "push rsi",
                ".cfi_adjust_cfa_offset 8",
                "push rdx",
                ".cfi_adjust_cfa_offset 8",
                "cmp byte ptr [rip + umem_operators_replaced], 0",
                "je 6f",
                $(
                    concat!("mov rax, qword ptr [rip + ", $base, "@GOTPCREL]"),
                    concat!("lea r10, [rip + umem_own", $base, "]"),
                    "cmp rax, r10",
                    "jne 3f",
                )*
                "6:",
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
                "lea rdi, [rip + 8f]",
                "call {next}",
                "pop rdx",
                ".cfi_adjust_cfa_offset -8",
                "pop rsi",
                ".cfi_adjust_cfa_offset -8",
                "pop rdi",
                ".cfi_adjust_cfa_offset -8",
                "test rax, rax",
                "jz 4f",
                "jmp rax",
                "4:",
                "ret",
                concat!("8: .asciz \"", $symbol, "\""),
                ".cfi_endproc",
                body = sym $body,
                next = sym next_definition,
            )
        }
    )* };
}

#[cfg(target_arch = "x86_64")]
nothrow_new! {
    "_ZnwmRKSt9nothrow_t" new_nothrow => try_object, "rsi", "rdx", "_Znwm";
    "_ZnamRKSt9nothrow_t" new_array_nothrow => try_array, "rsi", "rdx", "_Znam" "_Znwm";
    "_ZnwmSt11align_val_tRKSt9nothrow_t" new_aligned_nothrow => new_object_aligned, "rdx", "rcx", "_ZnwmSt11align_val_t";
    "_ZnamSt11align_val_tRKSt9nothrow_t" new_array_aligned_nothrow => new_array_aligned, "rdx", "rcx",
        "_ZnamSt11align_val_t" "_ZnwmSt11align_val_t";
}

/// Forms of `operator delete`, which all do the same unless the program replaces a basic one.
#[cfg(target_arch = "x86_64")]
macro_rules! delete {
    ($($symbol:literal $name:ident => $body:ident, $sp:literal, $fp:literal $(, $base:literal)*;)*) => { $(
        /// `operator delete`.
        ///
        /// # Safety
        /// As in C++.
        #[unsafe(export_name = $symbol)]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            release_entry!(
                [concat!("umem_own", $symbol, ":") $(, unless_replaced!($base))*]
                [concat!("mov ", $sp, ", rsp"), concat!("mov ", $fp, ", rbp"), "jmp {body}"]
                body = sym $body,
            )
        }
    )* };
}

#[cfg(target_arch = "x86_64")]
delete! {
    "_ZdlPv" delete => free_object, "rsi", "rdx";
    "_ZdaPv" delete_array => free_array, "rsi", "rdx", "_ZdlPv";
    "_ZdlPvm" delete_sized => free_object_of, "rdx", "rcx", "_ZdlPv";
    "_ZdaPvm" delete_array_sized => free_array_of, "rdx", "rcx", "_ZdaPv", "_ZdlPv";
    "_ZdlPvRKSt9nothrow_t" delete_nothrow => free_object, "rsi", "rdx", "_ZdlPv";
    "_ZdaPvRKSt9nothrow_t" delete_array_nothrow => free_array, "rsi", "rdx", "_ZdaPv", "_ZdlPv";
    "_ZdlPvSt11align_val_t" delete_aligned => free_object, "rsi", "rdx";
    "_ZdaPvSt11align_val_t" delete_array_aligned => free_array, "rsi", "rdx", "_ZdlPvSt11align_val_t";
    "_ZdlPvmSt11align_val_t" delete_sized_aligned => free_object_of, "rdx", "rcx", "_ZdlPvSt11align_val_t";
    "_ZdaPvmSt11align_val_t" delete_array_sized_aligned => free_array_of, "rdx", "rcx", "_ZdaPvSt11align_val_t", "_ZdlPvSt11align_val_t";
    "_ZdlPvSt11align_val_tRKSt9nothrow_t" delete_aligned_nothrow => free_object, "rsi", "rdx", "_ZdlPvSt11align_val_t";
    "_ZdaPvSt11align_val_tRKSt9nothrow_t" delete_array_aligned_nothrow => free_array, "rsi", "rdx", "_ZdaPvSt11align_val_t", "_ZdlPvSt11align_val_t";
}
