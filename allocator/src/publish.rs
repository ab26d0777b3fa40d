//! How a debugger finds the root: a symbol, and a note in a loaded segment.
#![allow(unsafe_code)]

use crate::raw::{Cell, root};
use crate::{
    sys::{clock, memory, process},
    vmem,
};
use umem_layout::{
    BYTE_ORDER, LAYOUT_MAJOR, LAYOUT_MINOR, ROOT_MAGIC, STRUCTS, clock_kind, feature,
};

/// Fills in what the root says of itself.
pub fn identify() {
    let root = root();
    let mut sizes = [0; 32];
    for (slot, (_, size, _)) in sizes.iter_mut().zip(STRUCTS) {
        *slot = *size as u32;
    }
    root.set_struct_sizes(sizes);
    root.major().set(LAYOUT_MAJOR);
    root.minor().set(LAYOUT_MINOR);
    root.byte_order().set(BYTE_ORDER);
    root.pointer_width().set(usize::BITS);
    root.root_size()
        .set(size_of::<umem_layout::UmemRoot>() as u32);
    require(feature::MAGAZINES | feature::HOT_ROUNDS);
    root.pid().set(process::process_id());
    root.page_size().set(memory::PAGE as u64);
    root.unit_size().set(vmem::UNIT as u64);
    root.clock_kind().set(clock_kind::MONOTONIC);
    root.clock_base().set(clock::monotonic());
    root.clock_base_monotonic().set(root.clock_base().get());
    root.clock_base_wall().set(clock::wall());
    root.magic()
        .store(ROOT_MAGIC, core::sync::atomic::Ordering::Release);
}

/// Says that a reader has to know a feature.
pub fn require(feature: u64) {
    for cell in [root().features_required(), root().features_present()] {
        cell.set(cell.get() | feature);
    }
}

// The note: name "UMEM", type 1, and as descriptor the distance from the descriptor to the root. The root is
// marked protected, so that the distance is known when the library is linked and the note needs no
// relocation.
core::arch::global_asm!(
    ".protected umem_root",
    ".section .note.umem,\"a\"",
    ".p2align 2",
    ".globl umem_note",
    ".hidden umem_note",
    "umem_note:",
    ".long 5, 8, {kind}",
    ".asciz \"UMEM\"",
    ".p2align 2",
    ".quad umem_root - .",
    ".previous",
    kind = const umem_layout::NOTE_TYPE,
);

unsafe extern "C" {
    #[link_name = "umem_note"]
    static NOTE: u8;
}

/// Keeps the linker from dropping the note.
#[used]
static KEEP: Keep = Keep(&raw const NOTE);
struct Keep(#[allow(dead_code)] *const u8);
// SAFETY: the pointer is never read.
unsafe impl Sync for Keep {}
