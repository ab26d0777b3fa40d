//! `freemem`: the buffers that the program does not hold.

use umem_layout::buffer_state;

use super::{
    Start, Steps, WalkError, Walker, steps,
    umem::{caches, is_in_slab},
};
use crate::{
    analysis::Subject,
    heap::{Buffer, Object},
};

pub(super) const WALKER: Walker = Walker {
    name: "freemem",
    summary: "walk the free buffers of a cache, or of all: in magazines, then waiting, then in slabs",
    start: Start::Optional("cache"),
    yields: "buffers",
    walk,
};

/// What a state says about a free buffer, in the order of the walk.
const ORDER: [fn(u8) -> bool; 3] = [
    |state| state == buffer_state::MAGAZINE,
    |state| {
        let others = [buffer_state::ALLOCATED, buffer_state::MAGAZINE];
        !others.contains(&state) && !is_in_slab(state)
    },
    is_in_slab,
];

/// All chunks of slabs, those that were never handed out too: they are what ::umastat counts.
fn walk<'a>(subject: &'a Subject<'a>, start: Option<u64>) -> Result<Steps<'a>, WalkError> {
    let heap = subject.heap;
    let of_cache = move |cache: &'a crate::heap::Cache| {
        ORDER.into_iter().flat_map(move |is_meant| {
            let chunks = cache.slabs.iter().flat_map(move |&slab| {
                let states = heap.states_of(&heap.slabs[slab as usize]);
                (0..)
                    .zip(states)
                    .map(move |(index, &state)| (Buffer { slab, index }, state))
            });
            chunks.filter(move |&(_, state)| is_meant(state))
        })
    };
    let free = caches(heap, start)?.flat_map(of_cache);
    Ok(steps(
        free.map(|(buffer, _)| heap.address(Object::Buffer(buffer))),
    ))
}
