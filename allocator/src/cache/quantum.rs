//! Quantum caches: magazines in front of an arena of the program, for small multiples of its quantum.
//!
//! After Bonwick and Adams, "Magazines and Vmem", §4.4.4. A round is a range of the arena that stays allocated there, so that
//! a thread takes and gives it without the arena's lock, and the arena does not fall into pieces. There are no slabs: what
//! the magazines cannot serve comes from the arena itself, and goes back there.

use super::{list, magazine};
use crate::{
    raw::{ArenaRef, CacheRef, Cell, padded_name, root},
    vmem::{self, arenas},
};
use umem_layout::{Cache, Plain, policy};

/// Rounds of the first magazines.
const ROUNDS: u32 = 15;

/// Creates the cache of an arena for ranges of `size`, a multiple of its quantum. None: no memory.
pub fn create_quantum(arena: ArenaRef, name: &[u8], size: usize) -> Option<CacheRef> {
    let memory = vmem::alloc(arenas().internal, size_of::<Cache>(), 64)?;
    // SAFETY: fresh metadata, aligned to 64, that nothing else uses.
    let new = unsafe { CacheRef::from_address(memory.start().get() as usize) };
    let magazines = root().debug_flags().get() == 0 && root().options().nomagazines == 0;
    new.initialize(Cache {
        name: padded_name(name),
        policy: policy::QUANTUM,
        arena: arena.link(),
        buffer_size: size as u64,
        chunk_size: size as u64,
        align: arena.quantum().get(),
        magazine_rounds: if magazines { ROUNDS } else { 0 },
        ..Cache::ZERO
    });
    list::append(new);
    if magazines {
        list::take_slot(new);
    }
    Some(new)
}

/// Ends a quantum cache of which no thread has magazines any more; its rounds go back to the arena.
pub fn end_quantum(cache: CacheRef) {
    list::begin_end(cache);
    list::give_slot(cache);
    magazine::reap(cache);
    magazine::free_all(cache);
    list::withdraw(cache);
    vmem::free(arenas().internal, cache.address());
}

/// Whether the rounds of a cache are ranges of an arena.
pub(super) fn is_quantum(cache: CacheRef) -> bool {
    cache.policy().get() & policy::QUANTUM != 0
}

/// Gives a range back to its arena. False: the arena did not hand it out with this size.
pub(super) fn give_back(cache: CacheRef, address: usize) -> bool {
    // SAFETY: a quantum cache names the arena that it was created for, which outlives it.
    let arena = unsafe { ArenaRef::from_address(cache.arena().get() as usize) };
    vmem::free_exact(arena, address, cache.buffer_size().get() as usize).is_ok()
}
