//! Captures that need no walk: what earlier walks have read, by call site and stack pointer.
//!
//! # Theory
//! A walk is a function of the registers at the entry, of the rules, and of the words that it reads from the stack. So
//! when the registers are the same, the rules are of the same generation, and every word that an earlier walk from there has
//! read still has the same value, a new walk would come to the same result, and is not needed. Words that the walk passed over have
//! no part in it: a saved frame pointer counts only when an outer frame was found through it. Nothing is assumed about
//! what the program did in between.
//!
//! A thread keeps its last walks in a direct-mapped table, since most calls come from few places in loops. Walks through
//! signal frames or guessed frames are not kept, nor those that read more words than a slot has room for.

use super::{Bounds, Entry, rules};

/// Words that a slot has room for: at 16 frames a return address each, and as many saved frame pointers.
const READS: usize = 33;
const SLOT_BITS: u32 = 7;

/// What a walk has read from the stack.
pub(super) struct Reads {
    values: [usize; READS],
    /// Distance of each from the stack pointer at the entry, in bytes.
    distances: [u32; READS],
    count: usize,
    /// Whether the frame pointer register of the entry had a part in it.
    uses_fp: bool,
    /// False: the walk cannot be kept.
    complete: bool,
}

impl Reads {
    pub const fn new() -> Self {
        Self {
            values: [0; READS],
            distances: [0; READS],
            count: 0,
            uses_fp: false,
            complete: true,
        }
    }

    pub fn clear(&mut self) {
        (self.count, self.uses_fp, self.complete) = (0, false, true);
    }

    #[inline(always)]
    pub fn push(&mut self, entry: Entry, address: usize, value: usize) {
        let Ok(distance) = u32::try_from(address.wrapping_sub(entry.sp)) else {
            return self.give_up();
        };
        if let (Some(to), Some(at)) = (
            self.values.get_mut(self.count),
            self.distances.get_mut(self.count),
        ) {
            (*to, *at) = (value, distance);
            self.count += 1;
        } else {
            self.complete = false;
        }
    }

    pub fn use_fp(&mut self) {
        self.uses_fp = true;
    }

    /// The walk rests on more than words of the stack.
    pub fn give_up(&mut self) {
        self.complete = false;
    }
}

/// A walk that was kept. Zero bytes are an empty slot.
#[repr(C, align(64))]
struct Kept {
    sp: usize,
    fp: usize,
    generation: u64,
    /// One past the last word, as distance.
    reach: u32,
    id: u32,
    count: u32,
    uses_fp: u32,
    distances: [u32; READS],
    values: [usize; READS],
}

// An odd number of cache lines, so that slots do not all begin in the same few sets of the cache.
const _: () = assert!(size_of::<Kept>() / 64 % 2 == 1);

/// A thread's table. Zero bytes are an empty one.
#[repr(C)]
pub struct Recall {
    slots: [Kept; 1 << SLOT_BITS],
}

impl Recall {
    #[inline(always)]
    fn slot(entry: Entry, pc: usize) -> usize {
        let mixed = (pc ^ entry.sp << 16).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed >> (usize::BITS - SLOT_BITS)
    }

    /// The depot's identifier of the stack that a walk from here would find, if that is known without one.
    #[inline]
    pub fn find(&self, entry: Entry, bounds: &mut Bounds) -> Option<u32> {
        bounds.enter(entry.sp)?;
        let pc = bounds.read(entry.sp)?;
        let kept = self.slots.get(Self::slot(entry, pc))?;
        let same = kept.sp == entry.sp
            && kept.generation == rules::generation()
            && (kept.uses_fp == 0 || kept.fp == entry.fp)
            && bounds.reach(entry.sp + kept.reach as usize);
        if !same {
            return None;
        }
        let count = kept.count as usize;
        let (distances, values) = (kept.distances.get(..count)?, kept.values.get(..count)?);
        let unchanged = distances.iter().zip(values).all(|(&distance, &value)| {
            // SAFETY: distances are below `reach`, up to which the stack is readable, and multiples of 8.
            let word = unsafe { ((entry.sp + distance as usize) as *const usize).read_volatile() };
            word == value
        });
        unchanged.then_some(kept.id)
    }

    /// Keeps a walk, in place of the last one in its slot.
    pub(super) fn keep(&mut self, entry: Entry, generation: u64, reads: &Reads, id: u32) {
        let Some(&pc) = reads.values.first() else {
            return;
        };
        let Some(kept) = self.slots.get_mut(Self::slot(entry, pc)) else {
            return;
        };
        // Until it is whole the slot matches nothing: a signal handler may come in between.
        kept.generation = 0;
        core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
        (kept.sp, kept.fp, kept.id) = (entry.sp, entry.fp, id);
        (kept.count, kept.uses_fp) = (reads.count as u32, reads.uses_fp.into());
        kept.reach = 0;
        let from = reads.values.iter().zip(&reads.distances).take(reads.count);
        let to = kept.values.iter_mut().zip(&mut kept.distances);
        for ((value, distance), from) in to.zip(from) {
            (*value, *distance) = (*from.0, *from.1);
            kept.reach = kept.reach.max(*from.1 + 8);
        }
        core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
        if reads.complete {
            kept.generation = generation;
        }
    }
}
