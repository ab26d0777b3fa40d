//! `umem`: the buffers that the program holds. Named as a cache it gives those of that cache.

use super::{Start, Steps, WalkError, Walker, steps};
use crate::{analysis::Subject, heap::Object};

pub(super) const WALKER: Walker = Walker {
    name: "umem",
    summary: "walk the allocated buffers of a cache, or of all caches",
    start: Start::Optional("cache"),
    yields: "buffers",
    walk,
};

fn walk<'a>(subject: &'a Subject<'a>, start: Option<u64>) -> Result<Steps<'a>, WalkError> {
    let heap = subject.heap;
    let one = start
        .map(|address| {
            heap.cache_at(address).ok_or_else(|| {
                WalkError::Failed(format!("{address:x} is not a valid umem_cache_t"))
            })
        })
        .transpose()?;
    let caches = heap
        .caches
        .iter()
        .filter(move |cache| one.map_or(cache.is_user(), |one| one.address == cache.address));
    let buffers = caches
        .flat_map(|cache| heap.carved_of(cache))
        .filter(|&buffer| heap.is_held(buffer))
        .map(|buffer| heap.address(Object::Buffer(buffer)));
    Ok(steps(buffers))
}
