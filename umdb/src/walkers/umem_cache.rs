//! `umem_cache`: the caches in order of creation.

use super::{Start, Walker, steps};

pub(super) const WALKER: Walker = Walker {
    name: "umem_cache",
    summary: "walk the caches in order of creation",
    start: Start::Nothing,
    yields: "caches",
    walk: |subject, _| {
        let caches = subject.heap.caches.iter();
        Ok(steps(caches.map(|cache| cache.address)))
    },
};
