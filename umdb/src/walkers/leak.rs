//! `leak`, `leakbuf`: what ::findleaks finds.

use std::rc::Rc;

use super::{Start, Steps, WalkError, Walker};
use crate::{
    analysis::{Subject, leaks::Leaks},
    heap::{Heap, Object},
    layout::Damage,
};

pub(super) const WALKER: Walker = Walker {
    name: "leak",
    summary: "walk the leaks, or those of the group that holds one: records, segments of blocks, else buffers",
    start: Start::Optional("leak"),
    yields: "bufctls",
    walk: |subject, start| walk(subject, start, control),
};

pub(super) const LEAKBUF: Walker = Walker {
    name: "leakbuf",
    summary: "walk the leaked buffers, or those of the group that holds one",
    start: Start::Optional("leak"),
    yields: "buffers",
    walk: |subject, start| walk(subject, start, |heap, object| heap.address(object)),
};

/// What ::findleaks shows of a leak.
fn control(heap: &Heap, object: Object) -> u64 {
    match object {
        Object::Block(index) => heap.block(index).segment,
        Object::Buffer(_) => heap
            .record_address(object)
            .unwrap_or_else(|| heap.address(object)),
    }
}

/// The search is made when it has not been made before.
fn walk<'a>(
    subject: &'a Subject<'a>,
    start: Option<u64>,
    address: fn(&Heap, Object) -> u64,
) -> Result<Steps<'a>, WalkError> {
    let heap = subject.heap;
    let (leaks, _) = subject.leaks(false)?;
    let groups: Vec<usize> =
        match start {
            None => (0..leaks.groups.len()).collect(),
            Some(start) => vec![group_of(heap, &leaks, start).ok_or_else(|| {
                WalkError::Failed(format!("{start:x} is not a leaked ctl address"))
            })?],
        };
    let doubt = leaks.doubts.first().map(|doubt| {
        Err(Damage::Doubt(format!(
            "not certain, since not all could be read: {doubt}"
        )))
    });
    let leaks = Rc::clone(&leaks);
    let members = groups
        .into_iter()
        .flat_map(move |group| leaks.groups[group].members.clone());
    let addresses = members.map(move |object| Ok(address(heap, object)));
    Ok(Box::new(addresses.chain(doubt)))
}

/// The group that holds what has its record, segment or buffer at an address.
fn group_of(heap: &Heap, leaks: &Leaks, at: u64) -> Option<usize> {
    let names = |&object: &Object| control(heap, object) == at || heap.address(object) == at;
    let groups = || leaks.groups.iter();
    groups()
        .position(|group| names(&group.representative))
        .or_else(|| groups().position(|group| group.members.iter().any(names)))
}
