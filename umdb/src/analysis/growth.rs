//! What grew between two moments of a process: allocated objects and leaks, by cache and allocating stack.
//!
//! Stacks are compared by module and offset, so that the moments may also be those of two runs of a program.

use std::collections::HashMap;

use super::{
    Cancelled, Subject,
    leaks::{Alive, Group, Kind, Leaks},
};

/// How much there is of one cache and one stack, before and now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Growth {
    /// Name of the cache or arena.
    pub owner: String,
    /// Stack of the allocation, in the depot of now; zero when unknown.
    pub stack: u32,
    /// Objects before and now.
    pub count: (u64, u64),
    /// Their bytes.
    pub bytes: (u64, u64),
    /// Heads of leaks among them.
    pub lost: (u64, u64),
}

impl Growth {
    /// Leaks that are new.
    #[must_use]
    pub const fn new_leaks(&self) -> u64 {
        self.lost.1.saturating_sub(self.lost.0)
    }

    /// Bytes more than before.
    #[must_use]
    pub const fn more_bytes(&self) -> u64 {
        self.bytes.1.saturating_sub(self.bytes.0)
    }

    /// Objects more than before.
    #[must_use]
    pub const fn more(&self) -> u64 {
        self.count.1.saturating_sub(self.count.0)
    }
}

/// A frame by module and offset, or by its address in no module.
type Frame = (Option<String>, u64);
/// What groups of two moments are compared by.
type Key = (Kind, String, Vec<Frame>);

/// What grew, new leaks first, then by bytes. What did not grow is left out.
///
/// # Errors
/// When it was cancelled.
pub fn compare(
    before: &Subject<'_>,
    leaks_before: &Leaks,
    now: &Subject<'_>,
    leaks_now: &Leaks,
) -> Result<Vec<Growth>, Cancelled> {
    let mut all: HashMap<Key, Growth> = HashMap::new();
    let moments = [(before, leaks_before, false), (now, leaks_now, true)];
    for (subject, leaks, is_now) in moments {
        let mut frames = HashMap::new();
        let groups = leaks.alive(subject.heap, Alive::Allocated, subject.cancel)?;
        for group in &groups {
            let growth = entry(&mut all, subject, group, &mut frames, is_now);
            *side(&mut growth.count, is_now) += group.count;
            *side(&mut growth.bytes, is_now) += group.bytes;
        }
        for group in &leaks.groups {
            let growth = entry(&mut all, subject, group, &mut frames, is_now);
            *side(&mut growth.lost, is_now) += group.count;
        }
    }
    let mut grown: Vec<Growth> = all
        .into_values()
        .filter(|growth| growth.new_leaks() + growth.more() + growth.more_bytes() > 0)
        .collect();
    grown.sort_by(|one, two| {
        let rank = |growth: &Growth| (growth.new_leaks() > 0, growth.more_bytes(), growth.more());
        let names = |growth: &Growth| (growth.owner.clone(), growth.stack);
        rank(two)
            .cmp(&rank(one))
            .then_with(|| names(one).cmp(&names(two)))
    });
    Ok(grown)
}

const fn side(pair: &mut (u64, u64), is_now: bool) -> &mut u64 {
    if is_now { &mut pair.1 } else { &mut pair.0 }
}

fn entry<'a>(
    all: &'a mut HashMap<Key, Growth>,
    subject: &Subject<'_>,
    group: &Group,
    frames: &mut HashMap<u32, Vec<Frame>>,
    is_now: bool,
) -> &'a mut Growth {
    let owner = subject.heap.owner_name(group.representative).to_owned();
    let stack = frames
        .entry(group.stack)
        .or_insert_with(|| frames_of(subject, group.stack));
    let growth = all
        .entry((group.kind, owner.clone(), stack.clone()))
        .or_insert(Growth {
            owner,
            stack: 0,
            count: (0, 0),
            bytes: (0, 0),
            lost: (0, 0),
        });
    if is_now {
        growth.stack = group.stack;
    }
    growth
}

fn frames_of(subject: &Subject<'_>, stack: u32) -> Vec<Frame> {
    let trace = subject.heap.stack(stack).unwrap_or_default();
    let frame = |&pc: &u64| {
        if let Some(era) = subject.past_module(&trace, pc) {
            let name = era.module.path.rsplit('/').next().map(str::to_owned);
            return (name, pc.wrapping_sub(era.module.base));
        }
        match subject.target.module_at(pc) {
            Some(module) => (Some(module.name.clone()), pc.wrapping_sub(module.start)),
            None => (None, pc),
        }
    };
    trace.pcs.iter().map(frame).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        analysis::Cancel,
        heap::synthetic::{Builder, DATA, DEBUG},
        symbols::Symbols,
    };

    fn with(counts: [usize; 3], lost: usize) -> Builder {
        let mut builder = Builder::new();
        let cache = builder.cache("umem_alloc_64", 64, DEBUG);
        let slab = builder.slab(cache);
        let stacks = [0x40_0100, 0x40_0200, 0x40_0300].map(|pc| builder.stack(&[pc]));
        let mut slot = DATA;
        for (stack, count) in stacks.into_iter().zip(counts) {
            for i in 0..count {
                let made = builder.alloc(slab, 50, stack);
                if stack != stacks[1] || i >= lost {
                    builder.write_word(slot, made.address);
                    slot += 8;
                }
            }
        }
        builder.publish();
        builder
    }

    #[test]
    fn new_leaks_come_first_and_what_shrank_is_left_out() {
        let (first, second) = (with([5, 2, 4], 1), with([9, 3, 2], 2));
        let cancel = Cancel::new();
        let (target_before, heap_before) = (first.target(), first.heap());
        let (target_now, heap_now) = (second.target(), second.heap());
        let symbols = (Symbols::new(&target_before), Symbols::new(&target_now));
        let before = Subject::new(&target_before, &symbols.0, &heap_before, &cancel);
        let now = Subject::new(&target_now, &symbols.1, &heap_now, &cancel);
        let found = |subject: &Subject<'_>, builder: &Builder| {
            let scene = crate::analysis::Scene {
                stacks: builder,
                ..subject.scene()
            };
            crate::analysis::leaks::find(&scene).unwrap()
        };
        let grown = compare(
            &before,
            &found(&before, &first),
            &now,
            &found(&now, &second),
        )
        .unwrap();
        let summary: Vec<_> = grown
            .iter()
            .map(|g| (g.new_leaks(), g.more(), g.more_bytes(), g.count))
            .collect();
        assert_eq!(summary, [(1, 1, 50, (2, 3)), (0, 4, 200, (5, 9))]);
    }
}
