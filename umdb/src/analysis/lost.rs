//! Which of the lost objects are heads: what only they lead to is lost through them.
//!
//! The lost objects and the pointers between them are a graph. Its heads are one object of each strongly connected
//! component that nothing outside of it leads to: an object that nothing points to, or one of a cycle.
//!
//! 1. Search from every object in a given order, skipping what was reached; note where each search began. The search that
//!    comes to a source component first begins in it, and reaches all of it: so one beginning of each is on the list.
//! 2. Search from the beginnings in reverse order. One that is reached from another is no head: what leads to it
//!    began later. What a search reaches is held by its beginning.

use super::{
    Cancel, Cancelled,
    nodes::{CANDIDATE, MARKED, Nodes},
    pointers::Pointers,
    scan::{Source, words},
};

/// Pointers between lost objects, which are numbered in order of address.
struct Graph {
    /// Where the pointers of each begin in `edges`, and where the last one's end.
    starts: Vec<u32>,
    edges: Vec<u32>,
}

/// The head of each lost object, by index: itself for a head. `lost` holds numbers in ascending order, `order` the
/// indices in the order in which they are to be preferred as heads of a cycle.
pub(super) fn heads(
    nodes: &Nodes<'_>,
    pointers: Option<&Pointers>,
    lost: &[usize],
    order: &[u32],
    cancel: &Cancel,
) -> Result<Vec<u32>, Cancelled> {
    let graph = match pointers {
        Some(pointers) => Graph::of(nodes, pointers, lost),
        None => Graph::read(nodes, lost, cancel)?,
    };
    let mut head_of = vec![u32::MAX; lost.len()];
    let mut beginnings = Vec::new();
    let mut waiting = Vec::new();
    for &index in order {
        if head_of[index as usize] == u32::MAX {
            beginnings.push(index);
            graph.claim(index, &mut head_of, &mut waiting);
        }
    }
    cancel.check()?;
    head_of.fill(u32::MAX);
    for &index in beginnings.iter().rev() {
        if head_of[index as usize] == u32::MAX {
            graph.claim(index, &mut head_of, &mut waiting);
        }
    }
    Ok(head_of)
}

impl Graph {
    /// The pointers between lost objects among all pointers.
    fn of(nodes: &Nodes<'_>, pointers: &Pointers, lost: &[usize]) -> Self {
        let mut graph = Self {
            starts: vec![0],
            edges: Vec::new(),
        };
        for &node in lost {
            let next = pointers.of(nodes, node);
            let next = next.filter(|&(to, _)| to != node && nodes.get(to) & MARKED == 0);
            let next = next.filter_map(|(to, _)| lost.binary_search(&to).ok());
            graph.edges.extend(next.map(|to| to as u32));
            graph.starts.push(graph.edges.len() as u32);
        }
        graph
    }

    fn read(nodes: &Nodes<'_>, lost: &[usize], cancel: &Cancel) -> Result<Self, Cancelled> {
        let mut source = Source::new(nodes.heap.reader.memory(), cancel);
        let mut graph = Self {
            starts: Vec::with_capacity(lost.len() + 1),
            edges: Vec::new(),
        };
        let mut at = 0;
        while let Some(&first) = lost.get(at) {
            cancel.check()?;
            let (unit, _) = nodes.place(first);
            let is_same = |&&node: &&usize| nodes.place(node).0 == unit;
            let count = lost[at..].iter().take_while(is_same).count();
            graph.read_unit(nodes, unit, lost, at, &mut source);
            at += count;
            graph.starts.resize(at, graph.edges.len() as u32);
        }
        graph.starts.push(graph.edges.len() as u32);
        Ok(graph)
    }

    /// Adds the pointers of the lost objects of a unit, the first of which has index `first`.
    fn read_unit(
        &mut self,
        nodes: &Nodes<'_>,
        unit: usize,
        lost: &[usize],
        first: usize,
        source: &mut Source<'_>,
    ) {
        let mut is_listed = false;
        let list = |found: &mut Vec<u32>| {
            found.clear();
            if !std::mem::replace(&mut is_listed, true) {
                nodes.select(unit, CANDIDATE, MARKED, found);
            }
        };
        let end = lost.len();
        source.unit(nodes, unit, list, |index, _, bytes| {
            let Ok(own) = lost[first..].binary_search(&nodes.node(unit, index)) else {
                return;
            };
            let own = first + own;
            let begun = self.edges.len() as u32;
            self.starts
                .resize(self.starts.len().max(own + 1).min(end), begun);
            for word in words(bytes).filter(|&word| !nodes.is_dismissed(word)) {
                let hit = nodes.find(word);
                let target = hit.and_then(|hit| lost.binary_search(&hit.node).ok());
                let Some(target) = target.filter(|&target| target != own) else {
                    continue;
                };
                if self.edges.len() < u32::MAX as usize {
                    self.edges.push(target as u32);
                }
            }
        });
    }

    /// Gives `index` and all that it leads to, if nobody has it, to `index`.
    fn claim(&self, index: u32, head_of: &mut [u32], waiting: &mut Vec<u32>) {
        head_of[index as usize] = index;
        waiting.push(index);
        while let Some(from) = waiting.pop() {
            let edges =
                self.starts[from as usize] as usize..self.starts[from as usize + 1] as usize;
            for &to in &self.edges[edges] {
                if head_of[to as usize] == u32::MAX {
                    head_of[to as usize] = index;
                    waiting.push(to);
                }
            }
        }
    }
}
