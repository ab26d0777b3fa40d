//! `vmem_seg`, `vmem_alloc`, `vmem_free`, `vmem_span`: the segments of an arena.
//!
//! libumem's walkers begin with the anchor of the list, which is no segment of the arena; these do not.

use umem_layout::segment_kind;

use super::{Start, Steps, WalkError, Walker};
use crate::analysis::Subject;

pub(super) const WALKER: Walker = Walker {
    name: "vmem_seg",
    summary: "walk the segments of an arena in order of address",
    start: Start::Required("arena"),
    yields: "segments",
    walk: |subject, start| walk(subject, start, None),
};

pub(super) const ALLOC: Walker = Walker {
    name: "vmem_alloc",
    summary: "walk the allocated segments of an arena",
    walk: |subject, start| walk(subject, start, Some(segment_kind::ALLOC)),
    ..WALKER
};

pub(super) const FREE: Walker = Walker {
    name: "vmem_free",
    summary: "walk the free segments of an arena",
    walk: |subject, start| walk(subject, start, Some(segment_kind::FREE)),
    ..WALKER
};

pub(super) const SPAN: Walker = Walker {
    name: "vmem_span",
    summary: "walk the spans of an arena: what it got from its source or was made from",
    walk: |subject, start| walk(subject, start, Some(segment_kind::SPAN)),
    ..WALKER
};

fn walk<'a>(
    subject: &'a Subject<'a>,
    start: Option<u64>,
    kind: Option<u32>,
) -> Result<Steps<'a>, WalkError> {
    let address = start.unwrap_or_default();
    let arena = subject.heap.arena_at(address);
    let arena =
        arena.ok_or_else(|| WalkError::Failed(format!("{address:x} is not a valid vmem_t")))?;
    let segments = subject.heap.segments(arena);
    let found = segments
        .elements
        .into_iter()
        .filter(move |(_, segment)| kind.is_none_or(|kind| kind == segment.kind))
        .map(|(address, _)| Ok(address));
    Ok(Box::new(found.chain(segments.damage.map(Err))))
}
