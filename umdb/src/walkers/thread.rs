//! `thread`: the threads of the target.

use super::{Start, Walker, steps};

pub(super) const WALKER: Walker = Walker {
    name: "thread",
    summary: "walk the threads of the target, by their identifiers",
    start: Start::Nothing,
    yields: "threads",
    walk: |subject, _| {
        let threads = subject.target.threads_by_identifier().into_iter();
        Ok(steps(threads.map(|thread| u64::from(thread.tid))))
    },
};
