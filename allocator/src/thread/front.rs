//! Chunks of the debugged classes that a thread has at hand, so that it takes the lock of a slab layer once for several.
//!
//! # Theory
//! 1. A chunk comes from its slab some calls before it is handed out, and goes back some calls after it was freed. In
//!    between it is free as if it lay in its slab: its state says so, its bytes hold the free pattern, and they are looked at only
//!    when it is handed out. So nothing is found later than it would be, and a debugger sees a free buffer.
//! 2. What is freed here is not what is handed out next: it goes to its slab first, which hands out what has been free for longest.
//! 3. A chunk that was never handed out is taken when it is needed, not before: that is what `Slab::carved` says.
//! 4. It belongs to the thread, which gives it back when it ends; a signal handler that interrupts the few instructions in which a
//!    chunk is put or taken is served by `reserve`, as one is that has interrupted the slab layer.

use super::{Local, local};
use crate::{
    cache,
    debug::{
        Call,
        buffer::Buffer,
        report::{self, Subject},
    },
    raw::{CacheRef, Cell, SlabRef},
    sync,
    vmem::{self, arenas},
};
use core::sync::atomic::{Ordering, compiler_fence};
use umem_layout::buffer_state;

/// Chunks of a class at most, each way.
const MOST: usize = 16;
/// And bytes of them: what is large costs more to fill than to fetch.
const BYTES: usize = 8 << 10;

/// A chunk of a class.
#[derive(Clone, Copy)]
struct Chunk {
    address: usize,
    slab: usize,
    index: usize,
}

impl Chunk {
    #[inline(always)]
    fn of(buffer: Buffer) -> Self {
        Self {
            address: buffer.address,
            slab: buffer.slab.address(),
            index: buffer.index,
        }
    }

    #[inline(always)]
    fn buffer(self, cache: CacheRef) -> Buffer {
        Buffer {
            address: self.address,
            cache,
            // SAFETY: made from a buffer, whose slab lives as long as one of its chunks is taken.
            slab: unsafe { SlabRef::from_address(self.slab) },
            index: self.index,
        }
    }
}

/// Chunks of a class.
struct Shelf {
    /// How many there may be each way; zero: all goes past the shelf.
    most: usize,
    /// How many of `ready` are to be handed out, from the last to the first.
    count: usize,
    /// How many of `freed` are to go back.
    waiting: usize,
    ready: [Chunk; MOST],
    freed: [Chunk; MOST],
}

/// What a thread has at hand, by class.
type Front = [Shelf; cache::CLASSES];

/// Makes the front of a thread that comes into service. Zero: no class is debugged, or there is no memory; then all goes past it.
pub(super) fn create() -> usize {
    let is_debugged = |class| cache::is_tagged(cache::classes(class));
    if !(0..cache::class_count()).all(is_debugged) {
        return 0;
    }
    let Some(memory) = vmem::alloc(arenas().internal, size_of::<Front>(), 64) else {
        return 0;
    };
    let address = memory.start().get() as usize;
    for class in 0..cache::CLASSES {
        let chunk = cache::classes(class).chunk_size().get() as usize;
        let most = BYTES.checked_div(chunk).unwrap_or(0).min(MOST);
        let shelf = (address as *mut Shelf).wrapping_add(class);
        // SAFETY: an element of fresh memory for a `Front` that nothing else uses; chunks are only read below the counts.
        unsafe {
            (&raw mut (*shelf).most).write(if most > 1 { most } else { 0 });
            (&raw mut (*shelf).count).write(0);
            (&raw mut (*shelf).waiting).write(0);
        }
    }
    address
}

/// Gives everything back.
pub(super) fn flush(local: &Local) {
    for class in 0..cache::class_count() {
        let (cache, _section) = (cache::classes(class), sync::section());
        // SAFETY: in a section, and the only reference.
        if let Some(shelf) = unsafe { shelf_of(local, cache) } {
            shelf.send_back(cache);
            (shelf.freed, shelf.waiting) = (shelf.ready, shelf.count);
            shelf.count = 0;
            shelf.send_back(cache);
        }
    }
}

/// Gives everything back, when the thread ends.
pub(super) fn end(local: &Local) {
    flush(local);
    let front = local.front.replace(0);
    if front != 0 {
        vmem::free(arenas().internal, front);
    }
}

/// The calling thread's shelf for a class. None: there is none.
///
/// # Safety
/// The caller is in a section, and makes no second reference while it has this one.
#[inline(always)]
unsafe fn shelf_of<'a>(local: &Local, cache: CacheRef) -> Option<&'a mut Shelf> {
    let class = (cache.size_class().get() as usize).wrapping_sub(1);
    let front = local.front.get();
    if front == 0 || class >= cache::CLASSES {
        return None;
    }
    // SAFETY: an element of the thread's front; the caller keeps others out.
    let shelf = unsafe { &mut *(front as *mut Shelf).add(class) };
    (shelf.most != 0).then_some(shelf)
}

impl Shelf {
    fn send_back(&mut self, cache: CacheRef) {
        let chunks = &self.freed[..self.waiting.min(MOST)];
        cache::give_back_run(cache, chunks.len(), |index| {
            Some(chunks[index].buffer(cache))
        });
        self.waiting = 0;
    }

    /// Takes chunks that were handed out before from their slab; or one that was not, which is then the result.
    #[cold]
    #[inline(never)]
    fn fetch(&mut self, cache: CacheRef, who: &dyn Fn() -> Call) -> Option<cache::Taken> {
        let mut count = 0;
        let first = cache::take_used(cache, self.most, who, |buffer| {
            self.ready[count] = Chunk::of(buffer);
            count += 1;
        });
        // Those that have been free for longest are handed out first.
        self.ready[..count].reverse();
        self.count = count;
        first
    }
}

/// Takes a chunk of a debugged cache, in transit. None: no memory. For `who` see [`cache::take`].
#[inline(always)]
pub fn take(cache: CacheRef, who: impl Fn() -> Call) -> Option<cache::Taken> {
    let local = local();
    let section = sync::section();
    // SAFETY: in a section, and the only reference.
    let Some(shelf) = (unsafe { shelf_of(local, cache) }) else {
        drop(section);
        return cache::take(cache, who);
    };
    let Some(last) = shelf.count.checked_sub(1).filter(|&last| last < MOST) else {
        return shelf.fetch(cache, &who);
    };
    shelf.count = last;
    let buffer = shelf.ready[last].buffer(cache);
    if let Some(next) = last.checked_sub(1) {
        shelf.ready[next].buffer(cache).prefetch();
    }
    drop(section);
    if !buffer.slab.is_whole() {
        return take_other(buffer, &who);
    }
    if let Some(state) = buffer.state() {
        state.store(buffer_state::TRANSIT, Ordering::Release);
    }
    // Who checks free buffers meanwhile must see the state change before the bytes do.
    compiler_fence(Ordering::SeqCst);
    Some(cache::Taken {
        buffer,
        fresh: false,
        clean: false,
    })
}

/// The structure of a chunk's slab was overwritten.
#[cold]
#[inline(never)]
fn take_other(buffer: Buffer, who: &dyn Fn() -> Call) -> Option<cache::Taken> {
    let subject = Subject {
        cache: Some(buffer.cache),
        ..Subject::address(0)
    };
    report::damaged_slab(buffer.slab.link(), subject, &who());
    cache::take(buffer.cache, who)
}

/// Gives a chunk of a debugged cache back, which was in transit.
#[inline(always)]
pub fn give_back(buffer: Buffer) {
    let local = local();
    let section = sync::section();
    // SAFETY: in a section, and the only reference.
    let Some(shelf) = (unsafe { shelf_of(local, buffer.cache) }) else {
        drop(section);
        cache::give_back(buffer);
        return;
    };
    if let Some(state) = buffer.state() {
        state.store(buffer_state::FREE, Ordering::Release);
    }
    if shelf.waiting >= shelf.most {
        shelf.send_back(buffer.cache);
    }
    if let Some(place) = shelf.freed.get_mut(shelf.waiting) {
        *place = Chunk::of(buffer);
        shelf.waiting += 1;
    }
}
