//! Debugging: options, stacks, records, logs, guards, and reports.
//!
//! **Owns** what is written around and about a buffer in a debugged cache, and the words in which an error is told.
//! **May use** `sys`, `raw`, `sync`, `unwind`, `vmem`. **Promises** that no lock is held while a stack is
//! captured or a report written, and that no report allocates.
//!
//! # Theory
//! 1. A debugged buffer is followed by a trailer: the redzone word with the size code, the address of the audit
//!    record, and that address XOR a state, so that one look at the bytes tells allocated, free or corrupt.
//!    Every byte from the requested size to the trailer holds the redzone byte. Free buffers hold deadbeef,
//!    fresh ones baddcafe.
//! 2. Records stand in one array a slab, outside of the buffers: a damaged trailer loses nothing. A record keeps
//!    who allocated and who freed; libumem overwrites the first with the second.
//! 3. The state byte of a buffer decides races: a free moves it from allocated to transit by compare-and-swap,
//!    so of two threads that free the same buffer one finds a double free. While a buffer is in
//!    transit its bytes belong to the thread that moved it, and a debugger judges nothing about it.
//! 4. Stacks are interned in the depot; a record holds 32 bits. The depot, the transaction log and the message ring are
//!    lock-free: a thread that dies or is stopped inside of them blocks nobody.
#![allow(unsafe_code)]

pub mod buffer;
pub mod depot;
pub mod fill;
pub mod inject;
pub mod log;
pub mod message;
pub mod operators;
pub mod options;
mod place;
pub mod report;
pub mod time;
pub mod tuning;

use umem_layout::{error_code, family};

/// By which function memory comes back.
#[derive(Clone, Copy, Debug)]
pub struct Return {
    /// Its name.
    pub function: &'static str,
    /// The family of functions whose memory it takes: `umem_layout::family`. None: of all.
    pub family: u8,
    /// The size that the program says it has.
    pub size: usize,
}

impl Return {
    /// Nothing was said of the size.
    pub const ANY_SIZE: usize = usize::MAX;

    const fn new(function: &'static str, family: u8) -> Self {
        Self {
            function,
            family,
            size: Self::ANY_SIZE,
        }
    }

    /// The program says that the memory has this size.
    #[must_use]
    pub const fn of_size(self, size: usize) -> Self {
        Self { size, ..self }
    }
    /// free(3).
    pub const FREE: Self = Self::new("free", family::MALLOC);
    /// realloc(3).
    pub const REALLOC: Self = Self::new("realloc", family::MALLOC);
    /// `operator delete`.
    pub const DELETE: Self = Self::new("operator delete", family::NEW);
    /// `operator delete[]`.
    pub const DELETE_ARRAY: Self = Self::new("operator delete[]", family::NEW_ARRAY);
    /// umem_free.
    pub const UMEM_FREE: Self = Self::new("umem_free", family::UMEM);
    /// umem_free_align.
    pub const UMEM_FREE_ALIGN: Self = Self::new("umem_free_align", family::UMEM);
    /// umem_cache_free.
    pub const CACHE_FREE: Self = Self::new("umem_cache_free", family::CACHE);

    /// Whether memory of a family may come back this way.
    pub const fn takes(self, allocated: u8) -> bool {
        allocated == self.family
            || allocated == family::NONE
            || self.family == family::NONE
            || (self.family == family::MALLOC && allocated == family::MEMALIGN)
    }

    /// Memory of another family came back.
    pub fn mismatch(self, allocated: u8) -> buffer::Damage {
        buffer::Damage {
            expected: allocated.into(),
            found: self.family.into(),
            ..buffer::Damage::new(error_code::BAD_FAMILY)
        }
    }
}

/// Who calls the allocator, for records and reports.
#[derive(Clone, Copy)]
pub struct Call {
    /// Time in record units.
    pub time: u64,
    /// Kernel's thread identifier.
    pub thread: u32,
    /// Stack in the depot, zero when none was taken.
    pub stack: u32,
}
