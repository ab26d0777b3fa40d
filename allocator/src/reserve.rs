//! What a signal handler gets that calls malloc while the thread is inside of the allocator.
//!
//! **Owns** a small piece of memory and a list of buffers whose free has to wait. **May use** `raw`. **Promises** no lock, no
//! system call, and nothing that belongs to the interrupted code.
//!
//! # Theory
//! 1. POSIX forbids it, glibc hangs or damages its heap then, and programs do it all the same: a handler that prints, a profiler, a reporter
//!    of crashes. With debugging nearly all of a call is spent under locks, so that such a handler would soon meet one.
//! 2. The reserve is a few arrays of slots, each with a word of bits for those taken. Nobody checks these buffers, and no debugger looks
//!    into them.
//! 3. A buffer of the heap that such a handler frees is noted, and freed by the next call that may.
#![allow(unsafe_code)]

use crate::{debug::Return, raw::Global};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Slots of one size.
struct Class {
    size: usize,
    count: u32,
    /// A bit for each slot that is taken.
    taken: AtomicU64,
    /// Where its slots start in [`MEMORY`].
    start: usize,
}

impl Class {
    const fn new(size: usize, count: u32, start: usize) -> Self {
        Self {
            size,
            count,
            taken: AtomicU64::new(0),
            start,
        }
    }

    const fn end(&self) -> usize {
        self.start + self.size * self.count as usize
    }

    /// Takes the first free slot, and returns its place in [`MEMORY`].
    fn take(&self) -> Option<usize> {
        let free = |taken: u64| Some(taken.trailing_ones()).filter(|&slot| slot < self.count);
        let before = self
            .taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
                free(taken).map(|slot| taken | 1 << slot)
            })
            .ok()?;
        free(before).map(|slot| self.start + slot as usize * self.size)
    }
}

/// Ascending, each behind those of more bytes: so every slot lies at a multiple of its size, up to a page.
static CLASSES: [Class; 4] = [
    Class::new(128, 64, 832 << 10),
    Class::new(1 << 10, 64, 768 << 10),
    Class::new(8 << 10, 32, 512 << 10),
    Class::new(64 << 10, 8, 0),
];
/// Bytes of the reserve; pages that nobody touches cost nothing.
const SIZE: usize = 840 << 10;
const _: () = assert!(Class::new(128, 64, 832 << 10).end() == SIZE);
const ALIGN: usize = 16;
const PAGE: usize = 4096;

#[repr(C, align(4096))]
struct Memory([u8; SIZE]);
static MEMORY: Global<Memory> = Global::new(Memory([0; SIZE]));

/// Allocates `size` bytes, which hold anything, at a multiple of `align`, a power of two. None: there is no room for that.
#[cold]
pub fn allocate(size: usize, align: usize) -> Option<usize> {
    let fits = |class: &&Class| class.size >= size.max(align) && align <= PAGE;
    let place = CLASSES.iter().filter(fits).find_map(Class::take)?;
    Some(MEMORY.get() as usize + place)
}

/// Whether an address lies in the reserve.
#[inline]
pub fn contains(address: usize) -> bool {
    address.wrapping_sub(MEMORY.get() as usize) < SIZE
}

/// The class and slot of a buffer that was handed out.
fn slot_of(address: usize) -> Option<(&'static Class, u64)> {
    let place = address.wrapping_sub(MEMORY.get() as usize);
    let class = CLASSES
        .iter()
        .find(|class| (class.start..class.end()).contains(&place))?;
    let offset = place - class.start;
    let bit = 1 << (offset / class.size);
    let is_live =
        offset.is_multiple_of(class.size) && class.taken.load(Ordering::Acquire) & bit != 0;
    is_live.then_some((class, bit))
}

/// Bytes of a buffer of the reserve. None: it is none.
pub fn size_of(address: usize) -> Option<usize> {
    slot_of(address).map(|(class, _)| class.size)
}

/// Gives a buffer of the reserve back. False: it is none, or was given back already.
pub fn release(address: usize) -> bool {
    slot_of(address)
        .is_some_and(|(class, bit)| class.taken.fetch_and(!bit, Ordering::AcqRel) & bit != 0)
}

// ---- frees that wait ----

const PLACES: usize = 256;
/// Addresses of buffers, which are multiples of 16 at least, and in the low bits by which function each came back.
static WAITING: [AtomicUsize; PLACES] = [const { AtomicUsize::new(0) }; PLACES];
/// How many wait, for those who look whether there are any.
static COUNT: AtomicUsize = AtomicUsize::new(0);

const WAYS: [Return; 5] = [
    Return::FREE,
    Return::DELETE,
    Return::DELETE_ARRAY,
    Return::UMEM_FREE,
    Return::UMEM_FREE_ALIGN,
];

fn way_of(how: Return) -> usize {
    WAYS.iter()
        .position(|way| way.function == how.function)
        .unwrap_or(0)
}

/// Has a buffer of the heap wait for a call that may free it. When too many wait, it is lost.
#[cold]
pub fn defer(address: usize, how: Return) {
    if !address.is_multiple_of(ALIGN) {
        return;
    }
    let value = address | way_of(how);
    let free = WAITING.iter().any(|place| {
        place
            .compare_exchange(0, value, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    });
    if free {
        COUNT.fetch_add(1, Ordering::AcqRel);
    }
}

/// Whether buffers wait to be freed.
#[inline]
pub fn has_waiting() -> bool {
    COUNT.load(Ordering::Relaxed) != 0
}

/// Calls `free` for the buffers that wait, each once.
#[cold]
pub fn for_each_waiting(mut free: impl FnMut(usize, Return)) {
    for place in &WAITING {
        let value = place.swap(0, Ordering::AcqRel);
        if value != 0 {
            COUNT.fetch_sub(1, Ordering::AcqRel);
            free(value & !(ALIGN - 1), WAYS[value & (ALIGN - 1)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test, since the reserve is one for the process.
    #[test]
    fn slots_are_taken_and_given_back_in_any_order() {
        let mut held = std::vec::Vec::new();
        for size in [0, 1, 128, 129, 5000, 8192, 65536] {
            let address = allocate(size, ALIGN).expect("room");
            let slot = size_of(address).expect("it is live");
            assert!(
                slot >= size && address.is_multiple_of(slot.min(PAGE)),
                "{size}"
            );
            held.push((address, slot));
        }
        assert!(allocate(1, PAGE).expect("room").is_multiple_of(PAGE));
        assert_eq!(allocate(65537, ALIGN), None);
        assert_eq!(allocate(1, 2 * PAGE), None);
        held.sort_unstable();
        assert!(held.windows(2).all(|two| two[0].0 + two[0].1 <= two[1].0));
        for (address, slot) in held {
            assert!(contains(address) && contains(address + slot - 1));
            assert!(!release(address + ALIGN), "it is inside");
            assert!(release(address));
            assert!(!release(address), "it was given back already");
            assert_eq!(size_of(address), None);
        }
        let first = allocate(1, ALIGN).expect("room");
        let more = core::iter::from_fn(|| allocate(1, ALIGN)).count();
        assert!(
            (100..200).contains(&more),
            "small ones go to larger slots: {more}"
        );
        assert!(release(first));
        assert_eq!(allocate(1, ALIGN), Some(first));
        assert!(!contains(MEMORY.get() as usize + SIZE) && !contains(0));
    }

    #[test]
    fn what_waits_is_freed_once() {
        defer(0x1000, Return::DELETE);
        defer(0x2000, Return::FREE);
        assert!(has_waiting());
        let mut freed = std::vec::Vec::new();
        for_each_waiting(|address, how| freed.push((address, how.function)));
        assert_eq!(freed, [(0x1000, "operator delete"), (0x2000, "free")]);
        assert!(!has_waiting());
        for_each_waiting(|_, _| panic!("nothing waits"));
        for address in 1..=2 * PLACES {
            defer(address * 16, Return::FREE);
        }
        let mut count = 0;
        for_each_waiting(|_, _| count += 1);
        assert_eq!(count, PLACES);
    }
}
