//! Which part of the stack may be read.
//!
//! A range of whole pages around the last stack pointer that were found readable. It grows outwards as frames need it, by asking the
//! kernel about each new page once; a stack pointer outside of it starts a new range. So no assumption is
//! made about where stacks are: main thread, threads, alternate signal stacks and coroutines are alike.
//! The pages of a stack stay mapped as long as frames on it are live, which is as long as the range is used.

use crate::sys::memory::{PAGE, is_readable};

/// A frame larger than this ends the walk: the tables are wrong, or the stack is smashed.
const FRAME_MAX: usize = 16 << 20;
/// A stack pointer this close below the range extends it; one further away starts a new range.
const GAP_MAX: usize = 64 << 10;

/// What is known of the current stack: `[low, high)` is readable. Zero means nothing.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Bounds {
    low: usize,
    high: usize,
}

impl Bounds {
    /// Begins at a stack pointer. None: not even its page is readable.
    #[inline]
    pub(super) fn enter(&mut self, sp: usize) -> Option<()> {
        if sp.wrapping_sub(self.low) < self.high.wrapping_sub(self.low) {
            Some(())
        } else {
            self.enter_new(sp)
        }
    }

    #[cold]
    fn enter_new(&mut self, sp: usize) -> Option<()> {
        let page = sp & !(PAGE - 1);
        if page < self.low
            && self.low - page <= GAP_MAX
            && (page..self.low).step_by(PAGE).all(is_readable)
        {
            self.low = page;
            return Some(());
        }
        (self.low, self.high) = (0, 0);
        if !is_readable(page) {
            return None;
        }
        (self.low, self.high) = (page, page + PAGE);
        Some(())
    }

    /// Makes sure that everything up to `end` is readable.
    #[inline]
    pub(super) fn reach(&mut self, end: usize) -> bool {
        end <= self.high || self.reach_new(end)
    }

    #[cold]
    fn reach_new(&mut self, end: usize) -> bool {
        if end - self.high > FRAME_MAX {
            return false;
        }
        while self.high < end {
            if !is_readable(self.high) {
                return false;
            }
            self.high += PAGE;
        }
        true
    }

    /// Whether everything from a stack pointer up to `end` is known to be readable.
    #[inline(always)]
    pub(super) fn covers(&self, sp: usize, end: usize) -> bool {
        self.low <= sp && end <= self.high
    }

    /// One past the last address that is known to be readable.
    pub(super) fn end(&self) -> usize {
        self.high
    }

    /// Reads a word inside of the range.
    #[inline]
    pub(super) fn read(&self, address: usize) -> Option<usize> {
        if address < self.low || address > self.high.wrapping_sub(8) || !address.is_multiple_of(8) {
            return None;
        }
        // SAFETY: the word lies in pages of the live stack that were found readable.
        Some(unsafe { (address as *const usize).read_volatile() })
    }

    /// Reads a word.
    ///
    /// # Safety
    /// It lies inside of the range, and is aligned.
    #[inline(always)]
    pub(super) unsafe fn read_inside(&self, address: usize) -> usize {
        debug_assert!(self.low <= address && address + 8 <= self.high);
        // SAFETY: promised by the caller; pages of the live stack that were found readable.
        unsafe { (address as *const usize).read_volatile() }
    }

    /// Reads a word that must lie at or above `floor`, reaching out to it if need be.
    #[inline]
    pub(super) fn read_from(&mut self, floor: usize, address: usize) -> Option<usize> {
        if address < floor || !self.reach(address.checked_add(8)?) {
            return None;
        }
        self.read(address)
    }
}
