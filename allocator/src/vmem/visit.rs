//! Looking at all that an arena has handed out.

use super::arena::link;
use crate::{
    raw::{ArenaRef, Cell, SegmentRef, word},
    sync,
};

/// Segments that are looked at between two times of holding the lock.
const BATCH: usize = 64;

/// Calls `visit` with the segments that an arena has handed out; no lock is held then, so a segment may have gone back meanwhile. Those
/// that come and go during the visit may be missed or seen twice.
pub fn for_each_allocated(arena: ArenaRef, mut visit: impl FnMut(SegmentRef)) {
    let mut index = 0;
    let mut seen = 0;
    loop {
        let mut batch = [None; BATCH];
        let more = {
            let _guard = sync::lock(arena.lock());
            if index >= arena.hash_size().get() as usize {
                return;
            }
            // SAFETY: the table has `hash_size` words, and the lock keeps it from being replaced.
            let head = unsafe { word(arena.hash().get() as usize, index) }.get();
            let mut chain =
                core::iter::successors(link(head), |segment| link(segment.kin_next().get()))
                    .skip(seen);
            for (place, segment) in batch.iter_mut().zip(&mut chain) {
                *place = Some(segment);
            }
            chain.next().is_some()
        };
        batch.into_iter().flatten().for_each(&mut visit);
        (index, seen) = if more {
            (index, seen + BATCH)
        } else {
            (index + 1, 0)
        };
    }
}
