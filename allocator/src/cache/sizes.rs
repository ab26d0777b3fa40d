//! The size classes of malloc.
//!
//! The table of classes is libumem's without 8, since every malloc result is 16-aligned, and with more sizes above 16 KiB.
//! `size_add`, `size_remove` and `size_clear` of UMEM_OPTIONS change it before the caches are made, and never later.
//! Without debugging there are classes above 128 KiB as well: as blocks of an arena such buffers cost ten times as much. With it
//! they are blocks, which are checked one by one and of which only pages that are touched take memory.

use super::{cache, create_class, create_twin};
use crate::{
    debug::{
        message::{Text, note},
        tuning::{self, SizeChange},
    },
    raw::{CacheRef, Cell, root},
    sys::memory::PAGE,
    vmem::round_up,
};
use core::{
    fmt::Write,
    sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering},
};
use umem_layout::{ThreadCache, unit};

const DEFAULT: [u32; 55] = [
    16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1152,
    1344, 1600, 2048, 2304, 2688, 4096, 4544, 8192, 9216, 12288, 16384, 20480, 24576, 28672, 32768,
    40960, 49152, 57344, 65536, 73728, 81920, 90112, 98304, 106_496, 114_688, 122_880, 131_072,
    163_840, 196_608, 229_376, 262_144, 327_680, 393_216, 458_752, 524_288,
];
/// Most classes that there can be.
pub const CLASSES: usize = 64;
/// Largest size that a class can serve: see [`limit`].
pub const LARGEST: usize = 512 << 10;
/// Largest size that a class always serves.
const LARGEST_CHECKED: usize = 128 << 10;
const STEP: usize = 16;

/// What [`limit`] returns.
static LIMIT: AtomicUsize = AtomicUsize::new(LARGEST);

/// Largest size that a class serves now. Larger buffers are blocks.
#[inline]
pub fn limit() -> usize {
    LIMIT.load(Ordering::Relaxed)
}

/// Sizes of the classes in ascending order; zero behind the last.
static SIZES: [AtomicU32; CLASSES] = {
    let mut sizes = [const { AtomicU32::new(0) }; CLASSES];
    let mut class = 0;
    while class < DEFAULT.len() {
        sizes[class] = AtomicU32::new(DEFAULT[class]);
        class += 1;
    }
    sizes
};
/// For each power of two up to a page and each entry of a class the entry of the smallest class from there on whose every buffer
/// is a multiple of it; zero where there is none that is not much larger.
static ALIGNED: [[AtomicU8; CLASSES + 1]; PAGE.trailing_zeros() as usize + 1] =
    [const { [const { AtomicU8::new(0) }; CLASSES + 1] }; PAGE.trailing_zeros() as usize + 1];
static COUNT: AtomicUsize = AtomicUsize::new(DEFAULT.len());

/// For each size in steps of 16 bytes the offset of its class's entry in a thread's array of magazines: element i serves sizes
/// up to 16 * i. The offset, and not the number of the class, saves the fast path two instructions. Sizes above [`limit`]
/// have the entry at zero, which no class has, so that it is always empty.
pub static OFFSET_OF: [AtomicU32; LARGEST / STEP + 1] = {
    let mut table = [const { AtomicU32::new(0) }; LARGEST / STEP + 1];
    let (mut step, mut class) = (0, 0);
    while step < table.len() {
        while (DEFAULT[class] as usize) < step * STEP {
            class += 1;
        }
        table[step] = AtomicU32::new(offset_of(class));
        step += 1;
    }
    table
};

const _: () = assert!(
    CLASSES <= unit::SLAB_CLASS_LAST as usize && DEFAULT[DEFAULT.len() - 1] as usize == LARGEST
);

/// The class that serves a size of at most [`limit`]; no class for one of at most [`LARGEST`].
#[inline(always)]
pub fn class_for(size: usize) -> usize {
    (entry_offset(size) / size_of::<ThreadCache>()).wrapping_sub(slot_of_class(0))
}

/// Offset in a thread's array of magazines of the entry that serves a size of at most [`LARGEST`].
#[inline(always)]
pub fn entry_offset(size: usize) -> usize {
    debug_assert!(size <= LARGEST);
    // SAFETY: size <= LARGEST, so the index is at most LARGEST / STEP.
    let entry = unsafe { OFFSET_OF.get_unchecked(size.div_ceil(STEP)) };
    entry.load(Ordering::Relaxed) as usize
}

/// The entry of a class in a thread's array: the byte that marks the units of its slabs. So free finds the entry without
/// a test; the entries of other kinds of units stay empty.
pub const fn slot_of_class(class: usize) -> usize {
    class + 1
}

const fn offset_of(class: usize) -> u32 {
    (slot_of_class(class) * size_of::<ThreadCache>()) as u32
}

/// Size of the buffers of a class.
#[inline(always)]
pub fn class_size(class: usize) -> usize {
    debug_assert!(class < CLASSES);
    // SAFETY: callers have the class from `class_for` or `class_of_unit`.
    unsafe { SIZES.get_unchecked(class) }.load(Ordering::Relaxed) as usize
}

/// The entry in a thread's array of magazines of the smallest class whose every buffer lies at a multiple of `align`, a power of
/// two. Zero, which is the entry of no class: a block is better.
#[inline(always)]
pub fn aligned_slot(size: usize, align: usize) -> usize {
    const { assert!(LARGEST.is_multiple_of(PAGE)) };
    if size > LARGEST || align > PAGE {
        return 0;
    }
    let own = entry_offset(round_up(size.max(1), align)) / size_of::<ThreadCache>();
    let row = &ALIGNED[align.trailing_zeros() as usize];
    // SAFETY: the entry is zero or that of a class.
    usize::from(unsafe { row.get_unchecked(own) }.load(Ordering::Relaxed))
}

/// The class of [`aligned_slot`].
pub fn aligned_class(size: usize, align: usize) -> Option<usize> {
    aligned_slot(size, align).checked_sub(slot_of_class(0))
}

/// Notes for the classes up to this one, from the last of their kind on, that its every buffer is a multiple of `align`.
/// Called for each class in ascending order. Up to a page a class is better than a block of whole pages however much larger
/// than the request it is, beyond that one of twice the size.
pub(super) fn set_alignment(class: usize, align: usize) {
    for (shift, row) in ALIGNED.iter().enumerate() {
        if align < 1 << shift {
            continue;
        }
        let slot = slot_of_class(class);
        row[slot].store(slot as u8, Ordering::Relaxed);
        for smaller in (0..class).rev() {
            let entry = &row[slot_of_class(smaller)];
            let most = PAGE.max(2 * class_size(smaller));
            if entry.load(Ordering::Relaxed) != 0 || class_size(class) > most {
                break;
            }
            entry.store(slot as u8, Ordering::Relaxed);
        }
    }
}

/// Number of classes.
pub fn class_count() -> usize {
    COUNT.load(Ordering::Relaxed)
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

/// Rounds of the first magazines of a cache: many for small chunks, few for large ones, so that a magazine holds at most
/// 72 KiB, but one at least. Not more for the smallest: after frees in random order each round keeps a slab.
pub(super) const fn rounds_for(size: usize) -> u32 {
    match size {
        0..=1152 => 63,
        1153..=4096 => 15,
        4097..=16384 => 5,
        16385..=32768 => 3,
        32769..=65536 => 2,
        _ => 1,
    }
}

// ---- changes of the table, before the caches exist ----

/// Why the table was not changed as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unchanged {
    /// A size of zero.
    Zero,
    /// A size above [`LARGEST_CHECKED`].
    TooLarge,
    /// The size is there already.
    Known,
    /// No room for one more.
    Full,
    /// The size is not there.
    Unknown,
    /// The largest sizes stay.
    Needed,
}

impl Unchanged {
    fn text(self) -> &'static str {
        match self {
            Self::Zero => "cannot add zero-sized cache",
            Self::TooLarge => "larger than the largest size",
            Self::Known => "already in table",
            Self::Full => "no space in table",
            Self::Unknown => "not found in table",
            Self::Needed => "cannot remove the largest size",
        }
    }
}

fn position(size: u32) -> Result<usize, usize> {
    let mut class = 0;
    while class < class_count() && class_size(class) < size as usize {
        class += 1;
    }
    if class < class_count() && class_size(class) == size as usize {
        Ok(class)
    } else {
        Err(class)
    }
}

fn rebuild() {
    let mut class = 0;
    LIMIT.store(class_size(class_count() - 1), Ordering::Relaxed);
    for (step, entry) in OFFSET_OF.iter().enumerate() {
        while class < class_count() && class_size(class) < step * STEP {
            class += 1;
        }
        let offset = if class < class_count() {
            offset_of(class)
        } else {
            0
        };
        entry.store(offset, Ordering::Relaxed);
    }
}

/// Cuts the classes off that exist without debugging only.
fn cut() {
    while class_size(class_count() - 1) > LARGEST_CHECKED {
        let last = class_count() - 1;
        SIZES[last].store(0, Ordering::Relaxed);
        COUNT.store(last, Ordering::Relaxed);
    }
    rebuild();
}

/// Adds a size, rounded up to a multiple of 16, and returns it.
///
/// # Errors
/// Why it was not added.
fn add_size(size: u64) -> Result<u32, Unchanged> {
    let size = match size {
        0 => return Err(Unchanged::Zero),
        _ if size > LARGEST_CHECKED as u64 => return Err(Unchanged::TooLarge),
        _ => (size as u32).next_multiple_of(STEP as u32),
    };
    let at = match position(size) {
        Ok(_) => return Err(Unchanged::Known),
        Err(_) if class_count() == CLASSES => return Err(Unchanged::Full),
        Err(at) => at,
    };
    for class in (at..class_count()).rev() {
        SIZES[class + 1].store(class_size(class) as u32, Ordering::Relaxed);
    }
    SIZES[at].store(size, Ordering::Relaxed);
    COUNT.store(class_count() + 1, Ordering::Relaxed);
    rebuild();
    Ok(size)
}

/// Removes a size.
///
/// # Errors
/// Why it was not removed.
fn remove_size(size: u64) -> Result<(), Unchanged> {
    if size >= LARGEST_CHECKED as u64 && position(size as u32).is_ok() {
        return Err(Unchanged::Needed);
    }
    let size = u32::try_from(size).map_err(|_| Unchanged::Unknown)?;
    let at = position(size).map_err(|_| Unchanged::Unknown)?;
    for (entry, next) in SIZES[at..].iter().zip(&SIZES[at + 1..]) {
        entry.store(next.load(Ordering::Relaxed), Ordering::Relaxed);
    }
    COUNT.store(class_count() - 1, Ordering::Relaxed);
    SIZES[CLASSES - 1].store(0, Ordering::Relaxed);
    rebuild();
    Ok(())
}

/// Removes all sizes but the largest one that always exists.
fn clear_sizes() {
    for entry in &SIZES {
        entry.store(0, Ordering::Relaxed);
    }
    SIZES[0].store(LARGEST_CHECKED as u32, Ordering::Relaxed);
    COUNT.store(1, Ordering::Relaxed);
    rebuild();
}

/// Changes the table as debugging needs it and UMEM_OPTIONS asks, before [`initialize`].
pub fn configure() {
    if root().debug_flags().get() != 0 {
        cut();
    }
    for change in tuning::size_changes() {
        let result = match change {
            SizeChange::Add(size) => add_size(size).map(|rounded| {
                if u64::from(rounded) != size {
                    note(format_args!(
                        "UMEM_OPTIONS: size_add: rounding {size} up to {rounded}\n"
                    ));
                }
            }),
            SizeChange::Remove(size) => remove_size(size),
            SizeChange::Clear => {
                clear_sizes();
                Ok(())
            }
        };
        if let Err(why) = result {
            let why = why.text();
            let (item, size) = match change {
                SizeChange::Add(size) => ("size_add", size),
                SizeChange::Remove(size) => ("size_remove", size),
                SizeChange::Clear => ("size_clear", 0),
            };
            note(format_args!(
                "UMEM_OPTIONS: {item}: {size}: {why}. ignored\n"
            ));
        }
    }
}

/// Creates the caches of all classes, and their twins where samples are taken.
pub fn initialize() {
    let named = |kind: &str, size: usize| {
        let mut name = Text::<32>::new();
        let _ = write!(name, "umem_{kind}_{size}");
        name
    };
    for class in 0..class_count() {
        let size = class_size(class);
        let name = named("alloc", size);
        create_class(name.as_bytes(), size, class, rounds_for(size));
    }
    if root().sample_bytes().get() == 0 {
        return;
    }
    let twinned = |class: &usize| class_size(*class) <= LARGEST_CHECKED;
    for class in (0..class_count()).filter(twinned) {
        create_twin(named("sample", class_size(class)).as_bytes(), class);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each_size_is_served_by_the_smallest_class_that_fits() {
        assert_eq!(limit(), class_size(class_count() - 1));
        for size in limit() + 1..=LARGEST {
            assert_eq!(entry_offset(size), 0, "{size}");
        }
        for size in 0..=limit() {
            let class = class_for(size);
            assert!(class < class_count(), "{size}");
            assert!(class_size(class) >= size, "{size}");
            assert!(class == 0 || class_size(class - 1) < size.max(1), "{size}");
        }
    }

    /// One test, since the table is one for the process; it ends as it was.
    #[test]
    fn the_table_serves_all_sizes_whatever_was_changed() {
        each_size_is_served_by_the_smallest_class_that_fits();
        assert_eq!(add_size(1000), Ok(1008));
        assert_eq!(add_size(1008), Err(Unchanged::Known));
        assert_eq!(add_size(0), Err(Unchanged::Zero));
        assert_eq!(
            add_size(LARGEST_CHECKED as u64 + 1),
            Err(Unchanged::TooLarge)
        );
        assert_eq!(remove_size(LARGEST as u64), Err(Unchanged::Needed));
        each_size_is_served_by_the_smallest_class_that_fits();
        assert_eq!(remove_size(1008), Ok(()));
        assert_eq!(remove_size(1008), Err(Unchanged::Unknown));
        assert_eq!(remove_size(LARGEST as u64), Err(Unchanged::Needed));
        clear_sizes();
        each_size_is_served_by_the_smallest_class_that_fits();
        assert_eq!(class_size(class_for(1)), LARGEST_CHECKED);
        for size in 1..100 {
            let full = size >= CLASSES as u64;
            assert_eq!(add_size(size * 16).is_err(), full, "{size}");
        }
        each_size_is_served_by_the_smallest_class_that_fits();
        for (class, size) in DEFAULT.into_iter().enumerate() {
            SIZES[class].store(size, Ordering::Relaxed);
        }
        COUNT.store(DEFAULT.len(), Ordering::Relaxed);
        rebuild();
        each_size_is_served_by_the_smallest_class_that_fits();
        cut();
        assert_eq!(limit(), LARGEST_CHECKED);
        each_size_is_served_by_the_smallest_class_that_fits();
        for (class, size) in DEFAULT.into_iter().enumerate() {
            SIZES[class].store(size, Ordering::Relaxed);
        }
        COUNT.store(DEFAULT.len(), Ordering::Relaxed);
        rebuild();
    }
}
