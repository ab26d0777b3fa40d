//! What is given up when memory has run out, before an allocation fails.
//!
//! **Owns** the order in which that happens. **May use** all layers before `malloc`. **Promises** that no function of the program is called:
//! caches with destructors keep what they have.
//!
//! Debugged caches keep their empty slabs, and freed buffers and blocks wait, so that late writes are found. In a limited address space that
//! may be all there is. Everything is looked at a last time before it goes.

use crate::{
    cache, checked,
    debug::{
        buffer::{self, Buffer},
        report::{self, Subject},
    },
    raw::Cell,
    sync, thread,
    unwind::Entry,
    vmem::{self, arenas},
};
use core::sync::atomic::AtomicU32;

static LOCK: AtomicU32 = AtomicU32::new(0);

/// Tries an allocation of `size` bytes once more that has failed, when what is free could be enough for it.
#[cold]
#[inline(never)]
pub fn again<T>(size: usize, entry: Entry, attempt: impl FnOnce() -> Option<T>) -> Option<T> {
    if size as u64 > arenas().top.total().get() {
        return None;
    }
    give_up(entry);
    attempt()
}

fn give_up(entry: Entry) {
    let _guard = keep_slabs();
    thread::give_all();
    checked::flush_blocks(entry);
    let mut last = 0;
    while let Some(hold) = cache::next_held(last) {
        let cache = hold.cache();
        last = cache.id().get();
        if cache.destructor().get() == 0 {
            cache::reap(cache);
            cache::destroy_empty(cache, |buffer| look_at(buffer, entry));
        }
    }
    vmem::give_kept(arenas().oversize);
    vmem::give_kept(arenas().memalign);
}

/// Looks for a write into a free buffer whose slab goes.
fn look_at(buffer: Buffer, entry: Entry) {
    if let Err(damage) = buffer::check_unused(buffer) {
        let subject = Subject::buffer(buffer, buffer.address);
        report::report(&damage, &subject, &thread::call_for_report(entry));
    }
}

/// While the result lives the slabs of debugged caches stay, also in other threads.
pub fn keep_slabs() -> sync::Guard<'static> {
    sync::lock(&LOCK)
}

/// The lock, for fork.
pub fn lock_word() -> &'static AtomicU32 {
    &LOCK
}
