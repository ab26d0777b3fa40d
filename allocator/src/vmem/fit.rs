//! Where in an arena a request is placed: one function a policy, and the constraints of vmem_xalloc.
//!
//! The arenas of the library use the unconstrained instant fit of `arena`, which looks at a bounded number of segments. What
//! is here serves arenas of programs: it finds a place whenever there is one.

use super::arena::{link, list_of, neighbour};
use crate::raw::{ArenaRef, Cell, SegmentRef};
use umem_layout::segment_kind;

/// What is asked of an arena. All numbers but `minimum` and `maximum` are in multiples of its quantum.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Length of the range.
    pub size: usize,
    /// The start is `phase` modulo this power of two.
    pub align: usize,
    /// See `align`; less than it.
    pub phase: usize,
    /// The range crosses no multiple of this power of two; zero: it may.
    pub nocross: usize,
    /// The range starts here or behind.
    pub minimum: usize,
    /// The range ends here or before; zero: anywhere.
    pub maximum: usize,
}

impl Request {
    /// Any place for `size` at a multiple of `align`.
    pub(super) fn plain(size: usize, align: usize) -> Self {
        Self {
            size,
            align,
            phase: 0,
            nocross: 0,
            minimum: 0,
            maximum: 0,
        }
    }

    /// Whether a fresh span can meet it, wherever it lies.
    pub(super) fn may_import(&self) -> bool {
        self.nocross == 0 && self.minimum == 0 && self.maximum == 0
    }

    /// The first place in a range of free numbers.
    fn place(&self, start: usize, end: usize) -> Option<usize> {
        let end = match self.maximum {
            0 => end,
            maximum => end.min(maximum),
        };
        let mut at = self.aligned(start.max(self.minimum))?;
        if self.crosses(at) {
            at = self.aligned(at.checked_next_multiple_of(self.nocross)?)?;
        }
        let fits = !self.crosses(at) && at.checked_add(self.size)? <= end;
        fits.then_some(at)
    }

    /// The first number from `from` on that is `phase` modulo `align`.
    fn aligned(&self, from: usize) -> Option<usize> {
        let behind = from.wrapping_sub(self.phase) & (self.align - 1);
        match behind {
            0 => Some(from),
            _ => from.checked_add(self.align - behind),
        }
    }

    fn crosses(&self, at: usize) -> bool {
        let last = at.saturating_add(self.size - 1);
        self.nocross != 0 && at / self.nocross != last / self.nocross
    }
}

/// The policies of vmem_alloc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Any segment of a list whose segments are all large enough: constant time. Best fit when there is none.
    Instant,
    /// The smallest segment with a place.
    Best,
    /// The first segment with a place in the order of the address list.
    First,
    /// The first segment with a place behind the last allocation, then from the start on.
    Next,
}

impl Fit {
    /// A free segment and the place in it. Under the arena's lock.
    pub(super) fn find(self, arena: ArenaRef, request: &Request) -> Option<(SegmentRef, usize)> {
        match self {
            Self::Instant => instant(arena, request).or_else(|| best(arena, request)),
            Self::Best => best(arena, request),
            Self::First => first(arena, request),
            Self::Next => next(arena, request),
        }
    }
}

/// The free segment with the place that a request has in it.
fn place_in(segment: SegmentRef, request: &Request) -> Option<(SegmentRef, usize)> {
    let (start, end) = (segment.start().get() as usize, segment.end().get() as usize);
    let is_free = segment.kind().get() == segment_kind::FREE;
    let at = if is_free {
        request.place(start, end)?
    } else {
        return None;
    };
    Some((segment, at))
}

fn free_list(arena: ArenaRef, index: u32) -> impl Iterator<Item = SegmentRef> {
    core::iter::successors(link(arena.free_list(index as usize).get()), |segment| {
        link(segment.kin_next().get())
    })
}

/// The lists that are not empty, from that of `size` on; those behind it hold larger segments only.
fn lists(arena: ArenaRef, size: usize) -> impl Iterator<Item = u32> {
    let mask = arena.free_mask().get() >> list_of(size) << list_of(size);
    core::iter::successors(Some(mask), |mask| Some(mask & mask.wrapping_sub(1)))
        .take_while(|&mask| mask != 0)
        .map(u64::trailing_zeros)
}

fn instant(arena: ArenaRef, request: &Request) -> Option<(SegmentRef, usize)> {
    // All segments of a list fit when its smallest does: from the list of the next power of two on.
    let sure = request.size.checked_next_power_of_two()?;
    lists(arena, sure).find_map(|index| {
        let segment = free_list(arena, index).next()?;
        place_in(segment, request)
    })
}

fn best(arena: ArenaRef, request: &Request) -> Option<(SegmentRef, usize)> {
    lists(arena, request.size).find_map(|index| {
        free_list(arena, index)
            .filter_map(|segment| place_in(segment, request))
            .min_by_key(|(segment, _)| segment.end().get() - segment.start().get())
    })
}

/// The segments of the address list from `from` to the one before `to`.
fn between(from: SegmentRef, to: SegmentRef) -> impl Iterator<Item = SegmentRef> {
    core::iter::successors(Some(from), |segment| Some(neighbour(segment.next().get())))
        .take_while(move |&segment| segment != to)
}

fn first(arena: ArenaRef, request: &Request) -> Option<(SegmentRef, usize)> {
    let anchor = neighbour(arena.segments().get());
    between(neighbour(anchor.next().get()), anchor).find_map(|segment| place_in(segment, request))
}

fn next(arena: ArenaRef, request: &Request) -> Option<(SegmentRef, usize)> {
    let anchor = neighbour(arena.segments().get());
    let Some(rotor) = link(arena.rotor().get()) else {
        return first(arena, request);
    };
    let after = neighbour(rotor.next().get());
    let place = |segment| place_in(segment, request);
    between(after, anchor)
        .find_map(place)
        .or_else(|| between(neighbour(anchor.next().get()), after).find_map(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(size: usize, align: usize, phase: usize, nocross: usize) -> Request {
        Request {
            size,
            align,
            phase,
            nocross,
            minimum: 0,
            maximum: 0,
        }
    }

    #[test]
    fn a_place_is_found_exactly_when_there_is_one() {
        let mut seen = 0;
        for (size, align, phase) in [(1, 1, 0), (3, 4, 1), (8, 8, 0), (5, 16, 7), (16, 1, 0)] {
            for nocross in [0, 16, 32] {
                let wanted = request(size, align, phase, nocross);
                for start in 0..40 {
                    for end in start..60 {
                        let fits = |&at: &usize| {
                            at % align == phase && at + size <= end && !wanted.crosses(at)
                        };
                        let expected = (start..end).find(fits);
                        assert_eq!(
                            wanted.place(start, end),
                            expected,
                            "{wanted:?} {start} {end}"
                        );
                        seen += usize::from(expected.is_some());
                    }
                }
            }
        }
        assert!(seen > 1000);
    }

    #[test]
    fn the_end_of_all_numbers_is_no_place() {
        let top = usize::MAX - 100;
        assert_eq!(request(64, 64, 0, 0).place(top, usize::MAX), None);
        assert_eq!(
            request(8, 8, 0, 0).place(top, usize::MAX),
            Some(top.next_multiple_of(8))
        );
        let bounded = Request {
            minimum: 20,
            maximum: 40,
            ..request(8, 8, 0, 0)
        };
        assert_eq!(bounded.place(0, 100), Some(24));
        assert_eq!(bounded.place(30, 100), Some(32));
        assert_eq!(bounded.place(33, 100), None);
    }
}
