//! `bufctl`, `freectl`, `umem_hash`: records of buffers.

use super::{
    Start, Steps, WalkError, Walker, steps,
    umem::{buffers, cache, is_in_slab},
};
use crate::{analysis::Subject, heap::Object};

pub(super) const WALKER: Walker = Walker {
    name: "bufctl",
    summary: "walk the records of the allocated buffers of a cache, or of all; caches without records have none",
    start: Start::Optional("cache"),
    yields: "bufctls",
    walk: |subject, start| walk(subject, start, |heap, buffer| heap.is_held(buffer)),
};

pub(super) const FREECTL: Walker = Walker {
    name: "freectl",
    summary: "walk the records of the free buffers of a cache, or of all, as far as they were ever handed out",
    start: Start::Optional("cache"),
    yields: "bufctls",
    walk: |subject, start| walk(subject, start, |heap, buffer| !heap.is_held(buffer)),
};

pub(super) const UMEM_HASH: Walker = Walker {
    name: "umem_hash",
    summary: "walk the records of all buffers that a cache took from its slabs, those in magazines too",
    start: Start::Required("cache"),
    yields: "bufctls",
    walk: |subject, start| {
        let address = start.unwrap_or_default();
        let cache = cache(subject.heap, address)?;
        if !cache.is_audited() {
            let what = format!("cache {address:x} doesn't have a hash table: it keeps no records");
            return Err(WalkError::Failed(what));
        }
        walk(subject, start, |heap, buffer| {
            !is_in_slab(heap.state(buffer))
        })
    },
};

type Wanted = fn(&crate::heap::Heap, crate::heap::Buffer) -> bool;

fn walk<'a>(
    subject: &'a Subject<'a>,
    start: Option<u64>,
    is_wanted: Wanted,
) -> Result<Steps<'a>, WalkError> {
    let heap = subject.heap;
    let records = buffers(heap, start)?
        .filter(move |&buffer| is_wanted(heap, buffer))
        .filter_map(|buffer| heap.record_address(Object::Buffer(buffer)));
    Ok(steps(records))
}
