//! Arenas as trees, and their segments.

use std::collections::HashMap;

use umem_layout::{Segment, segment_kind};

use super::{Arena, Heap};
use crate::layout::{Damage, Listed};

/// An arena in its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Branch {
    /// Index in [`Heap::arenas`].
    pub arena: u32,
    /// Arenas between it and the root.
    pub depth: u32,
}

/// A piece of an arena, without what is kept about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PieceOfArena {
    /// First number.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// Address of its segment.
    pub address: u64,
    /// [`umem_layout::segment_kind`]: allocated or free.
    pub kind: u32,
}

impl Heap {
    /// The allocated or free piece of the arena with an index that holds an address. The segments of all arenas are read
    /// when this is first asked.
    #[must_use]
    pub fn piece_at(&self, arena: u32, address: u64) -> Option<PieceOfArena> {
        let pieces = self
            .pieces
            .get_or_init(|| {
                self.arenas
                    .iter()
                    .map(|arena| self.pieces_of(arena))
                    .collect()
            })
            .get(arena as usize)?;
        let after = pieces.partition_point(|piece| piece.start <= address);
        let piece = *pieces.get(after.checked_sub(1)?)?;
        (address < piece.end).then_some(piece)
    }

    /// Allocated and free pieces in order of address.
    fn pieces_of(&self, arena: &Arena) -> Vec<PieceOfArena> {
        let segments = self.segments(arena).elements.into_iter();
        let mut pieces: Vec<PieceOfArena> = segments
            .filter(|(_, segment)| matches!(segment.kind, segment_kind::ALLOC | segment_kind::FREE))
            .map(|(address, segment)| PieceOfArena {
                start: segment.start,
                end: segment.end,
                address,
                kind: segment.kind,
            })
            .collect();
        pieces.sort_unstable_by_key(|piece| piece.start);
        pieces
    }

    /// The segments of an arena in order of address, without the anchor.
    #[must_use]
    pub fn segments(&self, arena: &Arena) -> Listed<Segment> {
        let anchor = arena.record.segments;
        let none = |damage| Listed {
            elements: Vec::new(),
            damage,
        };
        if anchor == 0 {
            return none(None);
        }
        match self.reader.one::<Segment>(anchor) {
            Err(damage) => none(Some(damage)),
            Ok(first) => self.reader.list_until(
                first.next,
                anchor,
                |segment: &Segment| segment.next,
                backwards,
            ),
        }
    }

    /// The segment at an address.
    ///
    /// # Errors
    /// When it cannot be read or cannot be one.
    pub fn segment(&self, address: u64) -> Result<Segment, Damage> {
        let segment = self.reader.one::<Segment>(address)?;
        match backwards(&segment) {
            None => Ok(segment),
            Some(detail) => Err(Damage::Implausible {
                what: "a segment".to_owned(),
                address,
                detail,
            }),
        }
    }

    /// All arenas, parents before their children and siblings in order of creation. An arena whose source is no
    /// arena, or whose sources go round in a circle, is a root.
    #[must_use]
    pub fn arena_tree(&self) -> Vec<Branch> {
        let mut children: Vec<Vec<u32>> = vec![Vec::new(); self.arenas.len()];
        let mut roots = Vec::new();
        let number: HashMap<u64, usize> = self
            .arenas
            .iter()
            .enumerate()
            .map(|(index, arena)| (arena.address, index))
            .collect();
        for (index, arena) in self.arenas.iter().enumerate() {
            let index = index as u32;
            match number.get(&arena.record.source) {
                Some(&parent) => children[parent].push(index),
                None => roots.push(index),
            }
        }
        let mut seen = vec![false; self.arenas.len()];
        let mut tree = Vec::new();
        let in_circles = 0..self.arenas.len() as u32;
        for root in roots.into_iter().chain(in_circles) {
            let mut waiting = vec![Branch {
                arena: root,
                depth: 0,
            }];
            while let Some(branch) = waiting.pop() {
                if std::mem::replace(&mut seen[branch.arena as usize], true) {
                    continue;
                }
                tree.push(branch);
                let depth = branch.depth + 1;
                let below = children[branch.arena as usize].iter().rev();
                waiting.extend(below.map(|&arena| Branch { arena, depth }));
            }
        }
        tree
    }

    /// The same with children before their parents.
    #[must_use]
    pub fn arena_tree_postfix(&self) -> Vec<Branch> {
        let mut waiting: Vec<Branch> = Vec::new();
        let mut tree = Vec::new();
        for branch in self.arena_tree() {
            while let Some(done) = waiting.pop_if(|above| above.depth >= branch.depth) {
                tree.push(done);
            }
            waiting.push(branch);
        }
        tree.extend(waiting.into_iter().rev());
        tree
    }
}

/// Arenas of programs may hold any numbers, so that only the order tells.
fn backwards(segment: &Segment) -> Option<String> {
    (segment.start > segment.end)
        .then(|| format!("it goes from {:#x} to {:#x}", segment.start, segment.end))
}
