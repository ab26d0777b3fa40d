//! The size classes of malloc.

use super::{cache, create_class};
use crate::{debug::message::Text, raw::CacheRef};
use core::fmt::Write;
use umem_layout::unit;

/// Sizes of the classes: libumem's table without 8, since every malloc result is 16-aligned.
const SIZES: [u16; CLASSES] = [
    16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1152,
    1344, 1600, 2048, 2304, 2688, 4096, 4544, 8192, 9216, 12288, 16384,
];
/// Number of classes.
pub const CLASSES: usize = 31;
/// Largest size that a class serves.
pub const LARGEST: usize = 16384;
const STEP: usize = 16;

/// Class of each size in steps of 16 bytes: entry i serves sizes up to 16 * i.
static CLASS_OF: [u8; LARGEST / STEP + 1] = {
    let mut table = [0; LARGEST / STEP + 1];
    let (mut step, mut class) = (0, 0);
    while step < table.len() {
        while (SIZES[class] as usize) < step * STEP {
            class += 1;
        }
        table[step] = class as u8;
        step += 1;
    }
    table
};

static CLASS_SIZES: [u16; CLASSES] = SIZES;

const _: () =
    assert!(CLASSES <= unit::SLAB_CLASS_LAST as usize && SIZES[CLASSES - 1] as usize == LARGEST);

/// The class that serves a size of at most [`LARGEST`].
#[inline(always)]
pub fn class_for(size: usize) -> usize {
    debug_assert!(size <= LARGEST);
    // SAFETY: size <= LARGEST, so the index is at most LARGEST / STEP.
    usize::from(unsafe { *CLASS_OF.get_unchecked(size.div_ceil(STEP)) })
}

/// Size of the buffers of a class.
#[inline(always)]
pub fn class_size(class: usize) -> usize {
    debug_assert!(class < CLASSES);
    // SAFETY: callers have the class from `class_for` or `class_of_unit`.
    usize::from(unsafe { *CLASS_SIZES.get_unchecked(class) })
}

/// The class of a slab's unit, from its byte in the region's map.
#[inline(always)]
pub fn class_of_unit(kind: u8) -> Option<usize> {
    let class = usize::from(kind).wrapping_sub(1);
    (class < CLASSES).then_some(class)
}

/// The cache of a class.
#[inline(always)]
pub fn classes(class: usize) -> CacheRef {
    debug_assert!(class < CLASSES);
    cache(class)
}

/// Rounds of a magazine: many for small chunks, few for large ones, so that a magazine holds at most 64 KiB or so.
pub(super) const fn rounds_for(size: usize) -> u32 {
    match size {
        0..=256 => 63,
        257..=1152 => 31,
        1153..=4096 => 15,
        _ => 5,
    }
}

/// Creates the caches of all classes.
pub fn initialize() {
    for (class, &size) in SIZES.iter().enumerate() {
        let mut name = Text::<32>::new();
        let _ = write!(name, "umem_alloc_{size}");
        let size = usize::from(size);
        create_class(name.as_bytes(), size, class, rounds_for(size));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_size_is_served_by_the_smallest_class_that_fits() {
        for size in 0..=LARGEST {
            let class = class_for(size);
            assert!(usize::from(SIZES[class]) >= size, "{size}");
            assert!(
                class == 0 || usize::from(SIZES[class - 1]) < size.max(1),
                "{size}"
            );
        }
    }
}
