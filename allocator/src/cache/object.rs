//! Caches of programs: how they are made and how they end.

use super::{Constructor, Destructor, Reclaim, chunk_size, describe, list, magazine, sizes, slab};
use crate::{
    debug::buffer::Buffer,
    raw::{ArenaRef, CacheRef, Cell, padded_name, root},
    sys::memory::PAGE,
    vmem::{self, UNIT, arenas},
};
use umem_layout::{Cache, cache_flag, create_flag, policy};

/// Chunks of a slab are at least so many, unless much fewer waste little.
const CHUNKS_WANTED: usize = 8;
/// The part of a slab that may stay unused in larger slabs.
const WASTE_PART: usize = 8;
/// Larger chunks get no magazines: the threads would keep too much.
const MAGAZINE_CHUNK_MAX: usize = UNIT;
/// Largest chunk, so that the numbers of a slab have room.
const CHUNK_MAX: usize = 1 << 31;

/// What a cache is made from.
#[derive(Clone, Copy)]
pub struct Blueprint<'a> {
    /// Name; its first 31 bytes are kept.
    pub name: &'a [u8],
    /// Bytes of an object.
    pub size: usize,
    /// Alignment of objects; zero: 8, or 16 for objects of 16 bytes and more.
    pub align: usize,
    /// Makes an object.
    pub constructor: Option<Constructor>,
    /// Ends one.
    pub destructor: Option<Destructor>,
    /// Asks for objects back.
    pub reclaim: Option<Reclaim>,
    /// What the three are given.
    pub private: u64,
    /// Where slabs come from; none: the default arena. Its numbers are addresses of the heap.
    pub source: Option<ArenaRef>,
    /// `umem_layout::create_flag`.
    pub cflags: u32,
}

/// Why a cache could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// An argument is not allowed.
    Invalid,
    /// Objects are too large.
    TooLarge,
    /// No memory for the cache itself.
    NoMemory,
}

/// The debug flags that a cache of a program gets.
fn flags_for(cflags: u32, size: usize, align: usize) -> u32 {
    match cflags & (create_flag::NODEBUG | create_flag::NOTOUCH) {
        0 => super::checks_for(size, align),
        _ => 0,
    }
}

fn align_for(blueprint: &Blueprint<'_>) -> Result<usize, Refusal> {
    let most = blueprint
        .source
        .map_or(PAGE, |source| source.quantum().get() as usize);
    match blueprint.align {
        0 if blueprint.size > 8 => Ok(16),
        0 => Ok(8),
        align if align.is_power_of_two() && align <= most => Ok(align.max(8)),
        _ => Err(Refusal::Invalid),
    }
}

/// Bytes of the slabs for chunks of a size: the fewest units that waste little.
pub(super) fn slab_for(chunk: usize) -> usize {
    let least = chunk.div_ceil(UNIT);
    let most = (chunk * CHUNKS_WANTED).div_ceil(UNIT);
    (least..=most)
        .map(|units| units * UNIT)
        .find(|slab| slab % chunk <= slab / WASTE_PART)
        .unwrap_or(most * UNIT)
}

fn check(blueprint: &Blueprint<'_>) -> Result<(usize, u32), Refusal> {
    let both = create_flag::NOHASH | create_flag::NOTOUCH;
    if blueprint.size == 0 || blueprint.cflags & both == both {
        return Err(Refusal::Invalid);
    }
    let align = align_for(blueprint)?;
    if blueprint.size > CHUNK_MAX {
        return Err(Refusal::TooLarge);
    }
    if blueprint.cflags & create_flag::NOHASH != 0 && blueprint.size > PAGE {
        return Err(Refusal::Invalid);
    }
    Ok((align, flags_for(blueprint.cflags, blueprint.size, align)))
}

/// Creates a cache of the program and puts it at the end of the list.
///
/// # Errors
/// As told in [`Refusal`].
pub fn create_object(blueprint: &Blueprint<'_>) -> Result<CacheRef, Refusal> {
    let (align, flags) = check(blueprint)?;
    let chunk = chunk_size(blueprint.size, align, flags);
    let slab = slab_for(chunk);
    let memory = vmem::alloc(arenas().internal, size_of::<Cache>(), 64).ok_or(Refusal::NoMemory)?;
    // SAFETY: fresh metadata, aligned to 64, that nothing else uses.
    let new = unsafe { CacheRef::from_address(memory.start().get() as usize) };
    let without = create_flag::NOMAGAZINE | create_flag::NOTOUCH;
    let magazines = flags == 0
        && blueprint.cflags & without == 0
        && root().options().nomagazines == 0
        && chunk <= MAGAZINE_CHUNK_MAX;
    new.initialize(Cache {
        name: padded_name(blueprint.name),
        cflags: blueprint.cflags,
        policy: policy::USER,
        magazine_rounds: if magazines {
            sizes::rounds_for(chunk)
        } else {
            0
        },
        arena: blueprint.source.unwrap_or(arenas().default).link(),
        constructor: blueprint
            .constructor
            .map_or(0, |function| function as usize as u64),
        destructor: blueprint
            .destructor
            .map_or(0, |function| function as usize as u64),
        reclaim: blueprint
            .reclaim
            .map_or(0, |function| function as usize as u64),
        private: blueprint.private,
        ..describe(blueprint.size, align, flags, slab)
    });
    if blueprint.cflags & create_flag::NOMAGAZINE != 0 {
        new.flags().set(new.flags().get() | cache_flag::NOMAGAZINE);
    }
    list::append(new);
    if magazines {
        list::take_slot(new);
    }
    Ok(new)
}

/// Functions of a cache that has ended: calls of them fault and so show where a cache is used after its end.
const ENDED: u64 = 1;

/// Ends a cache of which no thread has magazines any more; `look_at` is called for each chunk of its slabs that was ever handed out.
/// False: the program still has objects of it. Their slabs and the cache then stay where they are, on the list, so that a debugger
/// can tell whose they are.
pub fn end_object(cache: CacheRef, look_at: impl Fn(Buffer)) -> bool {
    list::begin_end(cache);
    list::give_slot(cache);
    magazine::reap(cache);
    magazine::free_all(cache);
    slab::destroy_empty(cache, look_at);
    cache.reclaim().set(0);
    cache.constructor().set(ENDED);
    cache.destructor().set(ENDED);
    let empty = cache.buffers().get() == 0;
    if empty {
        list::withdraw(cache);
        vmem::free(arenas().internal, cache.address());
    }
    empty
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slabs_hold_their_chunks_and_waste_little() {
        for chunk in (8..200_000)
            .step_by(8)
            .chain([1 << 20, (1 << 20) + 8, 10 << 20, CHUNK_MAX])
        {
            let slab = slab_for(chunk);
            assert!(slab >= chunk && slab.is_multiple_of(UNIT), "{chunk}");
            assert!(slab % chunk <= slab / 4, "{chunk}: {slab}");
            assert!(slab <= chunk * CHUNKS_WANTED + UNIT, "{chunk}: {slab}");
        }
        assert_eq!(slab_for(48), UNIT);
    }
}
