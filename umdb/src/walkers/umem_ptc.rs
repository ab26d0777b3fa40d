//! `umem_ptc`, and `umem_ptc_SIZE` for each cache of malloc: the buffers in the magazines of threads.

use umem_layout::Magazine;

use super::{Start, Steps, WalkError, Walker};
use crate::{analysis::Subject, heap::Held, layout::Damage};

pub(super) const WALKER: Walker = Walker {
    name: "umem_ptc",
    summary: "walk the free buffers in the magazines of a thread, or of all; umem_ptc_64 of those of 64 bytes",
    start: Start::Optional("thread"),
    yields: "buffers",
    walk: |subject, start| walk(subject, start, None),
};

/// Names of walkers of one size begin so.
const PREFIX: &str = "umem_ptc_";

/// The walk of `umem_ptc_SIZE`; none for another name.
pub(super) fn of_size<'a>(
    subject: &'a Subject<'a>,
    name: &str,
    start: Option<u64>,
) -> Option<Result<Steps<'a>, WalkError>> {
    let size = name.strip_prefix(PREFIX)?;
    let cache = subject.heap.cache_named(&format!("umem_alloc_{size}"))?;
    let number = subject.heap.cache_number(cache.address)?;
    Some(walk(subject, start, Some(number)))
}

fn walk<'a>(
    subject: &'a Subject<'a>,
    start: Option<u64>,
    cache: Option<u32>,
) -> Result<Steps<'a>, WalkError> {
    let heap = subject.heap;
    let tid_of = |held: &Held| u64::from(heap.threads[held.thread as usize].1.tid);
    // A thread that never allocated has no magazines: the allocator does not know it.
    let lives = |tid| {
        let mut threads = subject.target.threads.iter();
        threads.any(|thread| u64::from(thread.tid) == tid)
    };
    let is_known = |tid| {
        let mut threads = heap.threads.iter();
        threads.any(|(_, thread)| u64::from(thread.tid) == tid)
    };
    if let Some(tid) = start.filter(|&tid| !lives(tid) && !is_known(tid)) {
        let what = format!("there is no thread {tid} (0t{tid} is decimal)");
        return Err(WalkError::Failed(what));
    }
    let held = heap.held.iter().filter(move |held| {
        start.is_none_or(|tid| tid == tid_of(held)) && cache.is_none_or(|cache| cache == held.cache)
    });
    Ok(Box::new(held.flat_map(|held| {
        let record = held.record;
        let (below, hot) = record.loaded_parts();
        let mut rounds = rounds_of(subject, record.loaded, below);
        rounds.extend(hot.map(Ok));
        rounds.extend(rounds_of(subject, record.previous, record.previous_rounds));
        rounds
    })))
}

/// Rounds that were found to be buffers when the heap was read; others are named.
fn rounds_of(subject: &Subject<'_>, magazine: u64, rounds: u32) -> Vec<Result<u64, Damage>> {
    if magazine == 0 || rounds == 0 || rounds > 1 << 16 {
        return Vec::new();
    }
    let reader = &subject.heap.reader;
    let first = magazine.wrapping_add(reader.stride::<Magazine>() as u64);
    match reader.words("the rounds of a magazine", first, rounds as usize) {
        Ok(addresses) => addresses.into_iter().map(Ok).collect(),
        Err(damage) => vec![Err(damage)],
    }
}
