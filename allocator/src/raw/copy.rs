//! The copy of the library's own data in front of the heap, for cores that are cut off before it: see [`umem_layout::CopyHeader`].
//!
//! It is written as a whole where lists change, and at every update; it takes some 30 KB. No list of things
//! that go away is followed: caches and arenas of the library stand in tables, whose ends their owners name.

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};

use super::{Cell, LogRef, RegionRef, SpanRef, root, word};
use crate::sys::{clock, memory};
use umem_layout::{
    COPY_MAGIC, COPY_ROOM, COPY_VERSION, CopyHeader, Log, Region, Span, UmemRoot, ready,
};

/// Bytes of the copy's place.
pub const ROOM: usize = COPY_ROOM as usize;

/// Where the copy is, zero while there is none.
static START: AtomicUsize = AtomicUsize::new(0);
/// Somebody writes it.
static BUSY: AtomicBool = AtomicBool::new(false);
/// Address and bytes of the tables.
static TABLES: [(AtomicUsize, AtomicUsize); 3] =
    [const { (AtomicUsize::new(0), AtomicUsize::new(0)) }; 3];

/// A table whose elements are published.
#[derive(Clone, Copy)]
pub enum Table {
    /// Arenas of the library.
    Arenas,
    /// Caches of the size classes.
    Caches,
    /// Caches that serve their samples.
    Twins,
}

/// Gives the copy its place.
///
/// # Safety
/// [`ROOM`] bytes from `start` on are zero, readable and writable, and nothing else uses them.
pub unsafe fn place(start: usize) {
    START.store(start, Ordering::Release);
}

/// A table has come to be this long: it is part of the copy from the next one on.
pub fn table(table: Table, address: usize, bytes: usize) {
    let (start, length) = &TABLES[table as usize];
    start.store(address, Ordering::Relaxed);
    length.store(bytes, Ordering::Release);
}

/// Writes the copy anew. Nothing happens before the allocator is in service, and when another thread is at it.
pub fn refresh() {
    if root().state().load(Ordering::Acquire) == ready::READY {
        write(Writer::everything);
    }
}

/// In the child of a fork the thread that wrote the copy may be gone.
pub fn after_fork() {
    BUSY.store(false, Ordering::Relaxed);
    let is_whole = header().is_none_or(|header| word_of(header, 3).get().is_multiple_of(2));
    // The rest is as the parent had it, and its pages stay shared.
    write(if is_whole {
        Writer::head
    } else {
        Writer::everything
    });
}

/// The header's address.
fn header() -> Option<usize> {
    Some(START.load(Ordering::Acquire)).filter(|&start| start != 0)
}

/// A word of the structure at an address.
fn word_of(address: usize, index: usize) -> &'static AtomicU64 {
    // SAFETY: callers name words of the copy's place, or of structures of the library, which are never unmapped.
    unsafe { word(address, index) }
}

fn write(pieces: fn(&mut Writer)) {
    let Some(header) = header() else { return };
    if BUSY.swap(true, Ordering::Acquire) {
        return;
    }
    let sequence = word_of(header, 3);
    sequence.set(sequence.get() | 1);
    fence(Ordering::Release);
    let fields = [COPY_MAGIC, COPY_VERSION, header as u64];
    for (index, value) in fields.into_iter().enumerate() {
        word_of(header, index).set(value);
    }
    word_of(header, 4).set(root().address() as u64);
    let mut writer = Writer {
        at: header + size_of::<CopyHeader>(),
        end: header + ROOM,
    };
    pieces(&mut writer);
    sequence.store((sequence.get() | 1).wrapping_add(1), Ordering::Release);
    BUSY.store(false, Ordering::Release);
}

/// Appends pieces.
struct Writer {
    at: usize,
    end: usize,
}

impl Writer {
    fn head(&mut self) {
        self.piece(root().address(), size_of::<UmemRoot>());
    }

    fn everything(&mut self) {
        self.head();
        let root = root();
        // SAFETY: links of lists that only grow, whose elements are never unmapped; zero ends them.
        unsafe {
            let mut next = RegionRef::from_link(root.regions().load(Ordering::Acquire));
            while let Some(region) = next {
                if !self.readable_piece(region.address(), size_of::<Region>()) {
                    break;
                }
                next = RegionRef::from_link(region.next().load(Ordering::Acquire));
            }
            let mut next = LogRef::from_link(root.logs().load(Ordering::Acquire));
            while let Some(log) = next {
                if !self.readable_piece(log.address(), size_of::<Log>()) {
                    break;
                }
                next = LogRef::from_link(log.next().load(Ordering::Acquire));
            }
        }
        for (start, length) in &TABLES {
            let length = length.load(Ordering::Acquire);
            self.piece(start.load(Ordering::Relaxed), length);
        }
        let written = root.messages_written().get();
        let kept = written.min(root.messages_size().get()) as usize;
        self.piece(
            root.messages_base().get() as usize,
            kept.next_multiple_of(8),
        );
        // SAFETY: as above.
        unsafe {
            let mut next = SpanRef::from_link(root.spans().load(Ordering::Acquire));
            while let Some(span) = next {
                if !self.readable_piece(span.address(), size_of::<Span>()) {
                    break;
                }
                next = SpanRef::from_link(span.next().load(Ordering::Acquire));
            }
        }
        let start = self.end - ROOM;
        word_of(start, 5).set((self.at - start - size_of::<CopyHeader>()) as u64);
        word_of(start, 6).set(clock::coarse());
    }

    /// As [`Writer::piece`], of an element of a list of which a program may have overwritten the links. False: there is nothing to read, or
    /// no room, so that the list is left.
    fn readable_piece(&mut self, address: usize, size: usize) -> bool {
        let Some(last) = address.checked_add(size - 8) else {
            return false;
        };
        let is_whole = address.is_multiple_of(8)
            && memory::is_readable(address)
            && memory::is_readable(last)
            && self.end - self.at >= 16 + size;
        if is_whole {
            self.piece(address, size);
        }
        is_whole
    }

    /// Copies `size` bytes, a multiple of 8, at an aligned address of the library's own. Pieces that find no room are left out.
    fn piece(&mut self, address: usize, size: usize) {
        if size == 0 || self.end - self.at < 16 + size {
            return;
        }
        debug_assert!(address.is_multiple_of(8) && size.is_multiple_of(8));
        word_of(self.at, 0).set(address as u64);
        word_of(self.at, 1).set(size as u64);
        for index in 0..size / 8 {
            word_of(self.at + 16, index).set(word_of(address, index).get());
        }
        self.at += 16 + size;
    }
}
