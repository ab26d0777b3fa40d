//! Memory that a program got from vmem arenas: its own ones, or the library's heap arena.
//!
//! It is no candidate, for its owner is an arena and no allocation function; but what it points to is alive once
//! something alive points into it.

use umem_layout::{policy, segment_kind};

use super::ranges::{Range, RangeSet};
use crate::heap::{Arena, Heap};

/// Segments of such arenas are slabs, blocks, or the allocator's own.
const NO_PROGRAM: u32 =
    policy::USER | policy::METADATA | policy::TOP | policy::QUANTUM | policy::BLOCKS;

/// The segments of arenas.
#[derive(Default)]
struct Segments {
    /// Allocated, with the arena.
    allocated: Vec<(Range, u64)>,
    /// Spans, with the arena that they were imported from.
    spans: Vec<(Range, u64)>,
    doubts: Vec<String>,
}

/// The allocated segments of such arenas that lie in the library's regions: sorted, disjoint. Of arenas that import
/// from each other the innermost counts. Also what could not be read.
pub(super) fn program_memory(heap: &Heap) -> (Vec<Range>, Vec<String>) {
    let mut segments = Segments::default();
    let arenas = heap.arenas.iter();
    for arena in arenas.filter(|arena| is_program(arena)) {
        segments.add(heap, arena);
    }
    let Segments {
        mut allocated,
        mut spans,
        doubts,
    } = segments;
    spans.sort_unstable();
    let is_span = |(start, end): Range, arena| {
        let next = spans.partition_point(|(span, _)| span.0 < start);
        let mut inside = spans[next..].iter().take_while(|(span, _)| span.0 < end);
        inside.any(|&(span, source)| source == arena && span.1 <= end)
    };
    let regions = RangeSet::new(
        heap.regions
            .iter()
            .map(|region| (region.base, region.end())),
    );
    let is_ours = |(start, end): Range| {
        let holds = |address| heap.slab_at(address).is_some() || heap.block_at(address).is_some();
        regions.contains(start) && regions.contains(end - 1) && !holds(start)
    };
    allocated.retain(|&(range, arena)| is_ours(range) && !is_span(range, arena));
    allocated.sort_unstable();
    let mut disjoint: Vec<Range> = Vec::new();
    for (range, _) in allocated {
        match disjoint.last_mut() {
            Some(last) if range.0 < last.1 => last.1 = last.1.max(range.1),
            _ => disjoint.push(range),
        }
    }
    (disjoint, doubts)
}

const fn is_program(arena: &Arena) -> bool {
    arena.record.policy & NO_PROGRAM == 0 && arena.record.segments != 0
}

impl Segments {
    fn add(&mut self, heap: &Heap, arena: &Arena) {
        let list = heap.segments(arena);
        for (_, segment) in list.elements {
            let range = (segment.start, segment.end);
            match segment.kind {
                _ if range.0 >= range.1 => {}
                segment_kind::ALLOC => self.allocated.push((range, arena.address)),
                segment_kind::SPAN => self.spans.push((range, arena.record.source)),
                _ => {}
            }
        }
        self.doubts
            .extend(list.damage.map(|damage| damage.to_string()));
    }
}
