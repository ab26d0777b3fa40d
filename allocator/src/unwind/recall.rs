//! Captures that need no walk: what earlier walks have read, by call site and stack pointer.
//!
//! # Theory
//! A walk is a function of the registers at the entry, of the rules, and of the words that it reads from the stack. So
//! when the registers are the same, the rules are of the same generation, and every word that an earlier walk from there has
//! read still has the same value, a new walk would come to the same result, and is not needed. Words that the walk passed over have
//! no part in it: a saved frame pointer counts only when an outer frame was found through it. Nothing is assumed about
//! what the program did in between.
//!
//! A thread keeps its last walks in a small table, since most calls come from few places in loops. A program that has one function around
//! malloc calls it from many places with the same stack pointer, so a few walks share a place in the table. Walks through
//! signal frames or guessed frames are not kept, nor those that read more words than a slot has room for.

use super::{Bounds, Entry, Stack, rules, tables::Tables};

/// Words that a slot has room for: at 16 frames a return address each, and nearly as many saved frame pointers.
const READS: usize = 32;
/// As many as most walks read.
const FEW: usize = 16;
/// Words are compared so many at a time.
const STEP: usize = 4;
/// Walks that begin with the same registers and return address are kept so many at a time.
const WAYS: usize = 4;
const SET_BITS: u32 = 5;
const SETS: usize = 1 << SET_BITS;

/// A word of the stack.
#[repr(C)]
#[derive(Clone, Copy)]
struct Read {
    value: usize,
    address: usize,
}

/// What a walk has read from the stack.
pub(super) struct Reads {
    words: [Read; READS],
    count: usize,
    /// Whether the frame pointer register of the entry had a part in it.
    uses_fp: bool,
    /// False: the walk cannot be kept.
    complete: bool,
}

impl Reads {
    pub const fn new() -> Self {
        Self {
            words: [Read {
                value: 0,
                address: 0,
            }; READS],
            count: 0,
            uses_fp: false,
            complete: true,
        }
    }

    pub fn clear(&mut self) {
        (self.count, self.uses_fp, self.complete) = (0, false, true);
    }

    #[inline(always)]
    pub fn push(&mut self, address: usize, value: usize) {
        match self.words.get_mut(self.count) {
            Some(word) => {
                *word = Read { value, address };
                self.count += 1;
            }
            None => self.complete = false,
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
    /// All words lie below this address.
    end: usize,
    id: u32,
    /// Words that were read, in steps; the last one is filled up with the first word.
    steps: u16,
    uses_fp: u16,
    words: [Read; READS],
}

// An odd number of cache lines, so that slots do not all begin in the same few sets of the cache.
const _: () = assert!(size_of::<Kept>() / 64 % 2 == 1);

/// A thread's table, and room for its next walk: a signal handler may run on a stack that has little. Zero bytes are an
/// empty one.
#[repr(C)]
pub struct Recall {
    slots: [[Kept; WAYS]; SETS],
    /// Which walk of a set is replaced next, reduced to the number of ways.
    next: [u8; SETS],
    stack: Stack,
    tables: Tables,
}

impl Kept {
    /// Whether the walk began here, and what it has read can be read.
    #[inline(always)]
    fn began_at(&self, entry: Entry, generation: u64, bounds: &Bounds) -> bool {
        self.sp == entry.sp
            && self.generation == generation
            && (self.uses_fp == 0 || self.fp == entry.fp)
            && bounds.covers(entry.sp, self.end)
    }

    /// Whether every word that was read has the same value, in order, and none behind one that has changed: a walk would not go there.
    #[inline(always)]
    fn is_unchanged(&self) -> bool {
        // SAFETY: the word lies between the stack pointer and `end`, where the stack is readable, and is aligned.
        let now = |word: &Read| unsafe { (word.address as *const usize).read_volatile() };
        let (steps, _) = self.words.as_chunks::<STEP>();
        for step in steps.get(..usize::from(self.steps)).unwrap_or(&[]) {
            for word in step {
                if now(word) != word.value {
                    return false;
                }
            }
        }
        true
    }
}

impl Recall {
    #[inline(always)]
    fn set(entry: Entry, pc: usize) -> usize {
        let mixed = (pc ^ entry.sp << 16).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed >> (usize::BITS - SET_BITS)
    }

    /// The depot's identifier of the stack that a walk from here would find, if that is known without one. Nothing is read of the
    /// stack but its top word, unless `bounds` covers it.
    #[inline(always)]
    pub fn find(&self, entry: Entry, bounds: &Bounds) -> Option<u32> {
        let set = Self::set(entry, entry.caller());
        let generation = rules::generation();
        for kept in self.slots.get(set)? {
            if kept.began_at(entry, generation, bounds) && kept.is_unchanged() {
                return Some(kept.id);
            }
        }
        None
    }

    /// Room for a walk, whose contents are of no meaning, and for reading tables.
    pub fn room(&mut self) -> (&mut Stack, &mut Tables) {
        (&mut self.stack, &mut self.tables)
    }

    /// Keeps the walk that was made in [`Recall::room`], in place of the oldest one in its set, with the identifier that its stack has in
    /// the depot.
    pub fn keep(&mut self, entry: Entry, bounds: &Bounds, id: u32) {
        let Self {
            slots, next, stack, ..
        } = self;
        let reads = &mut stack.reads;
        if !reads.complete || reads.count == 0 {
            return;
        }
        let first = reads.words[0];
        let set = Self::set(entry, first.value);
        let way = next[set] as usize % WAYS;
        next[set] = next[set].wrapping_add(1);
        let kept = &mut slots[set][way];
        let count = reads.count.next_multiple_of(STEP).min(READS);
        if let Some(rest) = reads.words.get_mut(reads.count..count) {
            rest.fill(first);
        }
        // Until it is whole the slot matches nothing: a signal handler may come in between.
        kept.generation = 0;
        core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
        (kept.sp, kept.fp, kept.id) = (entry.sp, entry.fp, id);
        (kept.steps, kept.uses_fp) = ((count / STEP) as u16, reads.uses_fp.into());
        kept.end = bounds.end();
        // Of constant length, which is shorter than to count.
        if count <= FEW {
            kept.words[..FEW].copy_from_slice(&reads.words[..FEW]);
        } else {
            kept.words = reads.words;
        }
        core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
        kept.generation = stack.generation;
    }
}
