//! `umem_cpu`, `umem_cpu_cache`: who has magazines. libumem gives them to processors; here threads have them.

use super::{Start, Steps, WalkError, Walker, steps, umem::cache};
use crate::analysis::Subject;

pub(super) const WALKER: Walker = Walker {
    name: "umem_cpu",
    summary: "walk the records of threads, which have the magazines that libumem gives to processors",
    start: Start::Nothing,
    yields: "threads",
    walk: |subject, _| {
        let threads = subject.heap.threads.iter();
        Ok(steps(threads.map(|&(address, _)| address)))
    },
};

pub(super) const CACHE: Walker = Walker {
    name: "umem_cpu_cache",
    summary: "walk what each thread has of a cache: its magazines and their rounds",
    start: Start::Required("cache"),
    yields: "thread caches",
    walk: of_cache,
};

fn of_cache<'a>(subject: &'a Subject<'a>, start: Option<u64>) -> Result<Steps<'a>, WalkError> {
    let address = start.unwrap_or_default();
    let number = subject
        .heap
        .cache_number(cache(subject.heap, address)?.address);
    let held = subject.heap.held_of(number.unwrap_or(u32::MAX)).iter();
    Ok(steps(held.map(|held| held.address)))
}
