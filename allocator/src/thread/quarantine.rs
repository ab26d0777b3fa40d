//! Freed buffers of a thread that wait before they are used again, so that a write through a stale pointer still finds the free
//! pattern, which is looked at when the buffer is handed out.
//!
//! Each thread has a ring of its own, so that waiting takes no lock; what leaves it goes back to its slab. The ring holds at most
//! [`SLOTS`] buffers and `UMEM_DEBUG=quarantine=BYTES` bytes.

use super::{Local, local, map_part, stage};
use crate::{
    debug::{buffer::Buffer, report},
    raw::{Cell, ThreadRef, root},
    vmem,
};
use core::sync::atomic::Ordering;
use umem_layout::buffer_state;

/// Buffers that wait at most.
const SLOTS: usize = 2048;

/// A thread's ring. Zero bytes are an empty one.
#[repr(C)]
pub struct Ring {
    bytes: usize,
    first: usize,
    count: usize,
    /// A signal handler that frees while the thread is at the ring goes past it.
    busy: usize,
    slots: [usize; SLOTS],
}

/// The thread's ring, which is made when the thread first frees a debugged buffer.
fn ring_for_freed(local: &Local) -> Option<&'static mut Ring> {
    if local.ring.get() == 0 {
        // SAFETY: a thread in service has a record.
        let thread = unsafe { ThreadRef::from_address(local.thread.get()) };
        let ring = map_part(size_of::<Ring>(), align_of::<Ring>());
        thread.ring().set(ring as u64);
        local.ring.set(ring);
    }
    ring(local)
}

fn ring(local: &Local) -> Option<&'static mut Ring> {
    // SAFETY: the ring lives as long as the thread's record, and only its thread, while it is not `busy`, comes here.
    let ring = unsafe { (local.ring.get() as *mut Ring).as_mut() }?;
    (ring.busy == 0).then_some(ring)
}

/// Has a freed buffer wait. False: it is to go back at once.
pub fn quarantine(buffer: Buffer) -> bool {
    let local = local();
    let most = root().options().quarantine_bytes as usize;
    let size = buffer.cache.chunk_size().get() as usize;
    if size > most || local.stage.get() != stage::LIVE {
        return false;
    }
    let Some(ring) = ring_for_freed(local) else {
        return false;
    };
    ring.busy = 1;
    while ring.count > 0 && (ring.count == SLOTS || ring.bytes + size > most) {
        ring.evict();
    }
    if let Some(state) = buffer.state() {
        state.store(buffer_state::QUARANTINED, Ordering::Release);
    }
    let at = (ring.first + ring.count) % SLOTS;
    ring.slots[at] = buffer.address;
    ring.count += 1;
    ring.bytes += size;
    ring.busy = 0;
    true
}

/// Gives everything back, when the thread ends.
pub(super) fn flush(local: &Local) {
    if let Some(ring) = ring(local) {
        ring.busy = 1;
        while ring.count > 0 {
            ring.evict();
        }
        ring.busy = 0;
    }
}

impl Ring {
    /// Gives the buffer back that has waited longest.
    fn evict(&mut self) {
        let address = self.slots[self.first % SLOTS];
        self.first = (self.first + 1) % SLOTS;
        self.count -= 1;
        if let Some(buffer) = vmem::slab_at(address).and_then(|slab| Buffer::at(slab, address).ok())
        {
            self.bytes = self
                .bytes
                .saturating_sub(buffer.cache.chunk_size().get() as usize);
            super::give_back(buffer);
        } else if let Some(slab) = vmem::damaged_slab_at(address) {
            report::damaged_slab_late(slab.link(), address, None);
        }
    }
}
