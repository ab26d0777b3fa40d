//! `umem_slab`, `umem_slab_partial`: the slabs of a cache.

use super::{
    Start, Steps, WalkError, Walker, steps,
    umem::{cache, is_in_slab},
};
use crate::{analysis::Subject, heap::Slab};

pub(super) const WALKER: Walker = Walker {
    name: "umem_slab",
    summary: "walk the slabs of a cache in order of address",
    start: Start::Required("cache"),
    yields: "slabs",
    walk: |subject, start| walk(subject, start, |_, _| true),
};

pub(super) const PARTIAL: Walker = Walker {
    name: "umem_slab_partial",
    summary: "walk the slabs of a cache that have free buffers",
    start: Start::Required("cache"),
    yields: "slabs",
    walk: |subject, start| {
        walk(subject, start, |subject, slab| {
            subject
                .heap
                .states_of(slab)
                .iter()
                .any(|&state| is_in_slab(state))
        })
    },
};

fn walk<'a>(
    subject: &'a Subject<'a>,
    start: Option<u64>,
    is_wanted: fn(&Subject<'_>, &Slab) -> bool,
) -> Result<Steps<'a>, WalkError> {
    let heap = subject.heap;
    let slabs = cache(heap, start.unwrap_or_default())?.slabs.iter();
    let slabs = slabs
        .map(|&index| &heap.slabs[index as usize])
        .filter(move |slab| is_wanted(subject, slab));
    Ok(steps(slabs.map(|slab| slab.address)))
}
