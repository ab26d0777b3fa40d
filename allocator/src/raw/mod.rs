//! Views of published memory: cells, handles, bitmaps, lists.
//!
//! **Owns** the conversion of addresses into references: above this folder the code handles [`SlabRef`],
//! [`CacheRef`] and their kin, each of which names one live published structure. **May use** the layout crate.
//! **Promises** that every access to a published field is a single relaxed atomic one, so that counters may be
//! read by other threads at any time, and that a handle, once made, stays valid for ever: structures
//! are recycled but never unmapped.
#![allow(unsafe_code)]

mod bitmap;
mod cell;
pub mod copy;
mod handle;

pub use bitmap::Bitmap;
pub use cell::{Cell, Global};
pub use handle::{
    ArenaRef, CacheRef, LogEntryRef, LogRef, MagazineRef, ModuleRef, RecordRef, RegionRef, RootRef,
    SegmentRef, SlabRef, SpanRef, StackEntryRef, ThreadCacheRef, ThreadRef, TrailerRef,
};

use core::sync::atomic::Ordering;
use umem_layout::{Plain, Span, UmemRoot};

/// The root record, found by its symbol and by the note in `publish`.
#[unsafe(export_name = "umem_root")]
pub static ROOT: Global<UmemRoot> = Global::new(UmemRoot::ZERO);

/// The root record.
#[inline]
pub fn root() -> RootRef {
    // SAFETY: the static lives for ever and is only accessed through the handle's atomic cells.
    unsafe { RootRef::from_address(ROOT.get() as usize) }
}

/// Adds a mapping to the list of the library's spans.
///
/// # Safety
/// `span` is room for a span that nothing else uses and that is never unmapped.
pub unsafe fn publish_span(span: usize, base: usize, size: usize, kind: u32) {
    // SAFETY: promised by the caller.
    let span = unsafe { SpanRef::from_address(span) };
    let head = root().spans();
    let mut next = head.load(Ordering::Acquire);
    loop {
        span.initialize(Span {
            next,
            base: base as u64,
            size: size as u64,
            kind,
            reserved: 0,
        });
        match head.compare_exchange(next, span.link(), Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return,
            Err(now) => next = now,
        }
    }
}

/// Address of the byte array at `address + index` as an atomic cell.
///
/// # Safety
/// `address + index` is a byte of a live array of the allocator that is only accessed through cells.
#[inline(always)]
pub unsafe fn byte(address: usize, index: usize) -> &'static core::sync::atomic::AtomicU8 {
    // SAFETY: promised by the caller.
    unsafe { core::sync::atomic::AtomicU8::from_ptr((address + index) as *mut u8) }
}

/// The 64-bit word number `index` of an array at `address` as an atomic cell.
///
/// # Safety
/// As for [`byte`], with an aligned array of words.
#[inline(always)]
pub unsafe fn word(address: usize, index: usize) -> &'static core::sync::atomic::AtomicU64 {
    // SAFETY: promised by the caller.
    unsafe { core::sync::atomic::AtomicU64::from_ptr((address + index * 8) as *mut u64) }
}

/// Copies a name into a published name field: what does not fit is cut, the rest is zero.
pub fn padded_name<const N: usize>(name: &[u8]) -> [u8; N] {
    let mut padded = [0; N];
    for (to, from) in padded.iter_mut().zip(name.iter().take(N - 1)) {
        *to = *from;
    }
    padded
}
