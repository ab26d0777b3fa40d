//! `vmem`, `vmem_postfix`: the arenas.

use super::{Start, Steps, WalkError, Walker, steps};
use crate::{analysis::Subject, heap::Branch};

pub(super) const WALKER: Walker = Walker {
    name: "vmem",
    summary: "walk the arenas, parents before their children; from one on, when an address is given",
    start: Start::Optional("arena"),
    yields: "arenas",
    walk: |subject, start| walk(subject, start, subject.heap.arena_tree()),
};

pub(super) const POSTFIX: Walker = Walker {
    name: "vmem_postfix",
    summary: "walk the arenas, children before their parents; from one on, when an address is given",
    start: Start::Optional("arena"),
    yields: "arenas",
    walk: |subject, start| walk(subject, start, subject.heap.arena_tree_postfix()),
};

fn walk<'a>(
    subject: &'a Subject<'a>,
    start: Option<u64>,
    tree: Vec<Branch>,
) -> Result<Steps<'a>, WalkError> {
    let arenas = &subject.heap.arenas;
    let mut addresses: Vec<u64> = tree
        .into_iter()
        .map(|branch| arenas[branch.arena as usize].address)
        .collect();
    if let Some(start) = start {
        let first = addresses.iter().position(|&address| address == start);
        let first =
            first.ok_or_else(|| WalkError::Failed(format!("{start:x} is not a valid vmem_t")))?;
        addresses.drain(..first);
    }
    Ok(steps(addresses.into_iter()))
}
