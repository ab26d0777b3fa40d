//! A heap as programs have it: a tree with pointers across, strings, and large tables.
//!
//! Of the buffers 45 % hold no pointers (strings, numbers); the others begin with two to five: to children, one of
//! them now and then to any other buffer. The rest of a buffer is text, small numbers and zeros. Sizes are spread around
//! the mean as those of programs are: many small ones, few large ones. Everything is reached from one static; of 20
//! functions each loses its share of 10,004 buffers.

use std::{
    alloc::{Layout, alloc},
    ptr::null_mut,
    sync::atomic::{AtomicPtr, Ordering},
};

const LOST: usize = 10_004;
const SITES: usize = 20;
/// Buffers that may still get children.
const OPEN_MAX: usize = 100_000;

pub static TOP: AtomicPtr<u64> = AtomicPtr::new(null_mut());

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 16) as usize % limit.max(1)
    }
}

/// Allocates so many words.
fn words(count: usize) -> *mut u64 {
    let layout = Layout::array::<u64>(count).expect("a size");
    // SAFETY: the layout is not empty; the caller gives at least two words.
    let buffer = unsafe { alloc(layout) }.cast::<u64>();
    assert!(!buffer.is_null(), "no memory");
    buffer
}

macro_rules! sites {
    ($($name:ident)*) => {
        $(#[inline(never)]
        fn $name(random: &mut Random) {
            let buffer = words(4);
            for at in 0..4 {
                // SAFETY: the buffer has four words.
                unsafe { buffer.add(at).write(random.next() >> 40) };
            }
            // Each site says something else, or they would be merged into one.
            std::hint::black_box((buffer, stringify!($name)));
        })*
        /// Functions that lose a buffer each time.
        const LOSERS: [fn(&mut Random); SITES] = [$($name),*];
    };
}
sites!(lose_a lose_b lose_c lose_d lose_e lose_f lose_g lose_h lose_i lose_j lose_k lose_l lose_m lose_n lose_o
       lose_p lose_q lose_r lose_s lose_t);

/// Makes a heap, says `ready`, and waits to be ended.
pub fn make(buffers: usize, mean: usize) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    // Slots that wait for a child; they are forgotten before the heap is looked at.
    let mut open: Vec<*mut u64> = Vec::with_capacity(OPEN_MAX + 8);
    let top = words(8);
    TOP.store(top, Ordering::Relaxed);
    for at in 0..8 {
        // SAFETY: the buffer has eight words.
        let slot = unsafe { top.add(at) };
        // SAFETY: as above.
        unsafe { slot.write(0) };
        open.push(slot);
    }
    let mut last = top;
    let lost_every = (buffers / LOST).max(1);
    let mut lost = 0;
    for number in 1..buffers {
        if number % lost_every == 0 && lost < LOST {
            LOSERS[lost % SITES](&mut random);
            lost += 1;
        }
        last = one(&mut random, &mut open, mean, last);
    }
    while lost < LOST {
        LOSERS[lost % SITES](&mut random);
        lost += 1;
    }
    drop(open);
    println!("ready");
    loop {
        std::thread::park();
        // Read again, so that the static is not optimized away.
        assert!(!TOP.load(Ordering::Relaxed).is_null());
    }
}

/// Makes one buffer and hangs it into a slot. Returns a buffer that others may point to.
#[inline(never)]
fn one(random: &mut Random, open: &mut Vec<*mut u64>, mean: usize, other: *mut u64) -> *mut u64 {
    // Between a quarter of the mean and seven times as much.
    let spread = [1, 1, 1, 2, 2, 2, 3, 3, 4, 4, 5, 6, 8, 12, 24][random.below(15)];
    let count = (mean * spread / 4 / 8 + random.below(3)).max(2);
    let buffer = words(count);
    let is_leaf = open.len() > 64 && random.below(100) < 45;
    let slots = if is_leaf {
        0
    } else {
        (2 + random.below(4)).min(count)
    };
    for at in 0..count {
        let word = match random.next() % 10 {
            _ if at < slots => 0,
            0..4 => 0,
            4..7 => random.next() >> 48,
            _ => u64::from_ne_bytes(*b"text of "),
        };
        // SAFETY: the buffer has that many words.
        unsafe { buffer.add(at).write(word) };
    }
    let chosen = random.below(open.len());
    let slot = open.swap_remove(chosen);
    // SAFETY: slots are words of buffers that are never freed.
    unsafe { slot.write(buffer as u64) };
    for at in 0..slots {
        // SAFETY: the buffer has more words than slots.
        let slot = unsafe { buffer.add(at) };
        if at > 0 && random.below(5) == 0 || open.len() >= OPEN_MAX {
            // SAFETY: as above.
            unsafe { slot.write(other as u64) };
        } else {
            open.push(slot);
        }
    }
    if random.below(16) == 0 { buffer } else { other }
}
