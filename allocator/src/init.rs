//! Setting the allocator up, at the first call: before constructors, inside of resolvers, wherever it comes from.
//!
//! No constructor is needed, no symbol is looked up, nothing is allocated: everything starts from static storage.
//! One thread does the work; others wait. Calls from within find the stage set and fail as out of memory.
#![allow(unsafe_code)]

use crate::{
    cache,
    debug::{depot, log, message, options, time},
    fork, publish,
    raw::{Cell, copy, root},
    sync,
    sys::{memory, rseq},
    thread, unwind, vmem,
};
use core::sync::atomic::{AtomicU32, Ordering};
use umem_layout::{cache_flag, feature, ready};

static LOCK: AtomicU32 = AtomicU32::new(0);

/// Whether the allocator is in service; sets it up if that has not been tried.
#[inline]
pub fn ensure() -> bool {
    let ready = root().state().load(Ordering::Acquire) == ready::READY || set_up();
    fork::notice();
    ready
}

/// Whether the allocator is in service.
pub fn is_ready() -> bool {
    root().state().load(Ordering::Acquire) == ready::READY
}

#[cold]
#[inline(never)]
fn set_up() -> bool {
    let _guard = sync::lock(&LOCK);
    if root().state().load(Ordering::Acquire) == ready::UNINITIALIZED {
        root().state().store(ready::INITIALIZING, Ordering::Release);
        let state = if build() { ready::READY } else { ready::FAILED };
        root().state().store(state, Ordering::Release);
        copy::refresh();
    }
    root().state().load(Ordering::Acquire) == ready::READY
}

fn build() -> bool {
    publish::identify();
    message::initialize();
    if !memory::page_size_fits() {
        message::note(format_args!(
            "umem: pages are larger than {} bytes\n",
            memory::PAGE
        ));
        return false;
    }
    options::initialize();
    if root().options().quarantine_bytes != 0 {
        publish::require(feature::QUARANTINE);
    }
    let is_sampling = root().sample_bytes().get() != 0;
    if is_sampling {
        publish::require(feature::SAMPLING);
    }
    let keeps_stacks = is_sampling || root().debug_flags().get() & cache_flag::AUDIT != 0;
    if keeps_stacks {
        time::initialize();
    }
    // The kernel gives new mappings lower and lower addresses: depot and logs lie below the heap, so that a core that is cut
    // off has them as long as it has any of the heap.
    let has_region = vmem::initialize();
    if keeps_stacks && !depot::initialize() {
        message::note(format_args!("umem: no memory for stacks\n"));
    }
    log::initialize();
    if !has_region || !vmem::create_all() {
        message::note(format_args!("umem: no memory for the first arenas\n"));
        return false;
    }
    if let Some(memory) = vmem::alloc(vmem::arenas().internal, rseq::SIZE, 64) {
        // SAFETY: memory of our own that is never freed; regions are never unmapped.
        unsafe { rseq::initialize(memory.start().get() as usize) };
    }
    cache::configure();
    cache::initialize();
    thread::initialize();
    time::settle();
    fork::initialize();
    true
}

/// Says that the loader's memory comes from here. Called from a constructor, where it is so.
pub fn serve_loader() {
    // Where stacks are kept no free takes the fast path, so that none of the loader's is missed.
    if is_ready() && root().debug_flags().get() & cache_flag::AUDIT != 0 {
        unwind::follow();
    }
}

/// The lock of this layer, for fork.
pub fn lock_word() -> &'static AtomicU32 {
    &LOCK
}
