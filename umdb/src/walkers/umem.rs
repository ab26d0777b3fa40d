//! `umem`: the buffers that the program holds. Named as a cache it gives those of that cache.

use umem_layout::buffer_state;

use super::{Start, Steps, WalkError, Walker, steps};
use crate::{
    analysis::Subject,
    heap::{Buffer, Cache, Heap, Object},
};

pub(super) const WALKER: Walker = Walker {
    name: "umem",
    summary: "walk the allocated buffers of a cache, or of all caches",
    start: Start::Optional("cache"),
    yields: "buffers",
    walk,
};

fn walk<'a>(subject: &'a Subject<'a>, start: Option<u64>) -> Result<Steps<'a>, WalkError> {
    let heap = subject.heap;
    let held = buffers(heap, start)?.filter(move |&buffer| heap.is_held(buffer));
    Ok(steps(
        held.map(|buffer| heap.address(Object::Buffer(buffer))),
    ))
}

/// The cache at an address, or all caches of the program.
pub(super) fn caches(
    heap: &Heap,
    start: Option<u64>,
) -> Result<impl Iterator<Item = &Cache>, WalkError> {
    let one = start.map(|address| cache(heap, address)).transpose()?;
    let is_wanted =
        move |cache: &&Cache| one.map_or(cache.is_user(), |one| one.address == cache.address);
    Ok(heap.caches.iter().filter(is_wanted))
}

/// The cache at an address.
pub(super) fn cache(heap: &Heap, address: u64) -> Result<&Cache, WalkError> {
    heap.cache_at(address)
        .ok_or_else(|| WalkError::Failed(format!("{address:x} is not a valid umem_cache_t")))
}

/// The buffers of a cache that were ever handed out, or of all caches of the program.
pub(super) fn buffers<'a>(
    heap: &'a Heap,
    start: Option<u64>,
) -> Result<impl Iterator<Item = Buffer> + 'a, WalkError> {
    Ok(caches(heap, start)?.flat_map(|cache| heap.carved_of(cache)))
}

/// Whether a state means that the slab layer has the buffer.
pub(super) fn is_in_slab(state: u8) -> bool {
    state == buffer_state::FREE
}
