//! `allocdby`, `freedby`: records by the thread of their last transaction.

use super::{Start, Steps, WalkError, Walker};
use crate::analysis::{
    Subject,
    by_thread::{self, By},
};

pub(super) const WALKER: Walker = Walker {
    name: "allocdby",
    summary: "walk the records of the allocated buffers of a thread, newest first",
    start: Start::Required("thread"),
    yields: "bufctls",
    walk: |subject, start| walk(subject, start, By::Allocation),
};

pub(super) const FREEDBY: Walker = Walker {
    name: "freedby",
    summary: "walk the records of the free buffers that a thread was the last to free, newest first",
    start: Start::Required("thread"),
    yields: "bufctls",
    walk: |subject, start| walk(subject, start, By::Free),
};

fn walk<'a>(subject: &'a Subject<'a>, start: Option<u64>, by: By) -> Result<Steps<'a>, WalkError> {
    let thread = start.unwrap_or_default();
    let (found, damages) = by_thread::find(subject.heap, by, thread, subject.cancel)?;
    let addresses = found.into_iter().map(|found| Ok(found.record));
    Ok(Box::new(addresses.chain(damages.into_iter().map(Err))))
}
