//! Dominators of a graph: the semi-NCA algorithm of Georgiadis and Tarjan.
//!
//! Everything is kept in arrays of 32-bit numbers, for graphs of ten million nodes, and nothing is recursive. Besides the
//! graph, the search in depth takes 8 bytes a node, and 16 for each on the longest way; the rest takes 24 bytes a node, and 4
//! for each edge that there is room for. An edge from a smaller number is looked at once and forgotten. Of the others, those
//! that lead to a run of nodes are kept at a time, the last run first, and the graph is gone through once for each run.
//! So the room is known beforehand, however many edges there are.

use std::{
    ops::Range,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use super::{Cancel, Cancelled};

/// No node.
const NONE: u32 = u32::MAX;

/// A graph whose nodes are numbered from 1. Node 0 stands for the roots.
pub(super) trait Graph {
    /// Nodes, without node 0.
    fn count(&self) -> u32;

    /// The first edge of a node, from a position on, that leads to a wanted node: that node, and the position behind the edge.
    fn next(
        &mut self,
        node: u32,
        position: u64,
        is_wanted: impl Fn(u32) -> bool,
    ) -> Option<(u32, u64)>;

    /// Calls `each` with both ends of every edge but those of node 0, from several threads.
    fn sweep(&self, each: impl Fn(u32, u32) + Sync);
}

/// Who dominates whom. Nodes are numbered anew in the order of a search in depth; 0 stands for the roots.
pub(super) struct Dominators {
    /// Number in the graph of each.
    pub(super) nodes: Vec<u32>,
    /// New number of each node of the graph; where the roots do not lead to it, a larger one than any.
    pub(super) numbers: Vec<u32>,
    /// Immediate dominator of each, always a smaller number; of 0 it is 0.
    pub(super) parents: Vec<u32>,
}

/// Finds the dominators of all nodes that the roots lead to, with room for so many edges.
///
/// # Errors
/// When it was cancelled.
pub(super) fn find(
    mut graph: impl Graph,
    room: usize,
    cancel: &Cancel,
) -> Result<Dominators, Cancelled> {
    let Search { numbers, parents } = Search::run(&mut graph, cancel)?;
    let semi = semidominators(graph, &numbers, &parents, room, cancel)?;
    let parents = nearest(parents, &semi);
    drop(semi);
    let mut nodes = vec![0; parents.len()];
    for (node, &number) in (0..).zip(&numbers) {
        if let Some(slot) = nodes.get_mut(number as usize) {
            *slot = node;
        }
    }
    Ok(Dominators {
        nodes,
        numbers,
        parents,
    })
}

/// A search in depth.
struct Search {
    /// New number of each node of the graph.
    numbers: Vec<u32>,
    /// Parent of each new number in the tree of the search.
    parents: Vec<u32>,
}

impl Search {
    fn run(graph: &mut impl Graph, cancel: &Cancel) -> Result<Self, Cancelled> {
        let count = graph.count() as usize + 1;
        let mut search = Self {
            numbers: vec![NONE; count],
            parents: Vec::with_capacity(count),
        };
        // Of each node on the way from the root, up to where its edges were followed.
        let mut way: Vec<(u32, u64)> = Vec::new();
        search.enter(0, 0, &mut way);
        while let Some((node, position)) = way.last_mut() {
            cancel.check()?;
            let parent = search.numbers[*node as usize];
            let is_new = |to: u32| search.numbers.get(to as usize) == Some(&NONE);
            match graph.next(*node, *position, is_new) {
                None => {
                    way.pop();
                }
                Some((next, behind)) => {
                    *position = behind;
                    search.enter(next, parent, &mut way);
                }
            }
        }
        Ok(search)
    }

    fn enter(&mut self, node: u32, parent: u32, way: &mut Vec<(u32, u64)>) {
        self.numbers[node as usize] = self.parents.len() as u32;
        self.parents.push(parent);
        way.push((node, 0));
    }
}

/// Calls `each` with the new numbers of both ends of every edge between nodes that were found.
fn sweep(graph: &impl Graph, numbers: &[u32], each: impl Fn(u32, u32) + Sync) {
    graph.sweep(|from, to| {
        let number = |node: u32| numbers.get(node as usize).filter(|&&number| number != NONE);
        if let (Some(&from), Some(&to)) = (number(from), number(to)) {
            each(from, to);
        }
    });
}

/// Semidominators of all nodes, by their new numbers.
fn semidominators(
    mut graph: impl Graph,
    numbers: &[u32],
    parents: &[u32],
    room: usize,
    cancel: &Cancel,
) -> Result<Vec<u32>, Cancelled> {
    // What edges from smaller numbers say: these numbers themselves.
    let mut semi: Vec<AtomicU32> = parents.iter().map(|&parent| parent.into()).collect();
    let mut position = 0;
    while let Some((to, behind)) = graph.next(0, position, |_| true) {
        if let Some(semi) = semi.get_mut(numbers[to as usize] as usize) {
            *semi.get_mut() = 0;
        }
        position = behind;
    }
    let mut later = Later::new(parents.len());
    sweep(&graph, numbers, |from, to| {
        if from < to {
            semi[to as usize].fetch_min(from, Relaxed);
        } else if from > to {
            later.ends[to as usize].fetch_add(1, Relaxed);
        }
    });
    cancel.check()?;
    let mut graph = Some(graph);
    let mut forest = None;
    while later.choose(room) {
        if let Some(graph) = &graph {
            later.fill(graph, numbers);
        }
        if later.run.start == 1 {
            graph = None;
        }
        cancel.check()?;
        let forest = forest.get_or_insert_with(|| Forest::new(parents));
        for node in later.run.clone().rev() {
            let semi = semi[node].get_mut();
            for from in later.of(node) {
                *semi = forest.least(from.load(Relaxed), node as u32).min(*semi);
            }
            forest.ways[node].least = *semi;
        }
    }
    Ok(semi.into_iter().map(AtomicU32::into_inner).collect())
}

/// The edges from larger numbers to a run of nodes.
struct Later {
    run: Range<usize>,
    /// Of a node before the run, how many edges it has. Of one in the run, up to where there is room for its edges; when all
    /// are there, where they begin.
    ends: Vec<AtomicU32>,
    /// Where the edges come from, in order of the nodes that they lead to.
    edges: Vec<AtomicU32>,
}

impl Later {
    /// An empty run behind so many nodes.
    fn new(count: usize) -> Self {
        Self {
            run: count..count,
            ends: (0..count).map(|_| AtomicU32::new(0)).collect(),
            edges: Vec::new(),
        }
    }

    /// Goes on to the run before this one: as many nodes as there is room for their edges, but at least one. False: there is none.
    fn choose(&mut self, room: usize) -> bool {
        let end = self.run.start;
        let (mut start, mut total) = (end, 0);
        while start > 1 {
            let count = *self.ends[start - 1].get_mut() as usize;
            if start < end && total + count > room {
                break;
            }
            total += count;
            start -= 1;
        }
        self.run = start..end;
        let mut sum = 0_u32;
        for count in &mut self.ends[self.run.clone()] {
            sum = sum.wrapping_add(*count.get_mut());
            *count.get_mut() = sum;
        }
        self.edges.clear();
        self.edges.resize_with(total, AtomicU32::default);
        start < end
    }

    /// Looks for the edges. In a graph that has changed since they were counted, further ones are left out or stand with a
    /// neighbour, and missing ones come from node 0.
    fn fill(&self, graph: &impl Graph, numbers: &[u32]) {
        sweep(graph, numbers, |from, to| {
            if from > to && self.run.contains(&(to as usize)) {
                let place = self.ends[to as usize].fetch_sub(1, Relaxed).wrapping_sub(1);
                if let Some(edge) = self.edges.get(place as usize) {
                    edge.store(from, Relaxed);
                }
            }
        });
    }

    /// Where the edges to a node of the run come from.
    fn of(&self, node: usize) -> &[AtomicU32] {
        let start = self.ends[node].load(Relaxed) as usize;
        let end = match self.ends.get(node + 1) {
            Some(next) if node + 1 < self.run.end => next.load(Relaxed) as usize,
            _ => self.edges.len(),
        };
        self.edges.get(start..end).unwrap_or_default()
    }
}

/// Immediate dominators from the parents in the tree of a search, and the semidominators.
fn nearest(parents: Vec<u32>, semi: &[u32]) -> Vec<u32> {
    let mut dominators = parents;
    for node in 1..dominators.len() {
        let mut candidate = dominators[node];
        while candidate > semi[node] {
            candidate = dominators[candidate as usize];
        }
        dominators[node] = candidate;
    }
    dominators
}

/// A way up from a node: to which node it leads, and the least semidominator on it. Both lie side by side, for most of
/// the time goes into waiting for them.
#[derive(Clone, Copy)]
struct Way {
    above: u32,
    least: u32,
}

/// The part of the tree that was seen, with its ways shortened. A node that was not seen is its own semidominator.
struct Forest {
    ways: Vec<Way>,
    path: Vec<u32>,
}

impl Forest {
    fn new(parents: &[u32]) -> Self {
        let ways = parents.iter().zip(0..);
        Self {
            ways: ways.map(|(&above, least)| Way { above, least }).collect(),
            path: Vec::new(),
        }
    }

    /// The least semidominator on the way from `node` up to the last one that was seen; nodes above `last` were seen.
    fn least(&mut self, node: u32, last: u32) -> u32 {
        if node <= last {
            return node;
        }
        let mut at = node;
        let mut way = self.ways[at as usize];
        while way.above > last {
            self.path.push(at);
            at = way.above;
            way = self.ways[at as usize];
        }
        // `at` hangs on a node that was not seen yet. Shorten from there down.
        while let Some(below) = self.path.pop() {
            let below = &mut self.ways[below as usize];
            way.least = way.least.min(below.least);
            *below = way;
        }
        way.least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Lists {
        edges: Vec<Vec<u32>>,
        sweeps: AtomicU32,
    }

    impl Graph for &Lists {
        fn count(&self) -> u32 {
            self.edges.len() as u32 - 1
        }

        fn next(
            &mut self,
            node: u32,
            position: u64,
            is_wanted: impl Fn(u32) -> bool,
        ) -> Option<(u32, u64)> {
            let edges = self.edges[node as usize].iter().zip(1..);
            edges
                .skip(position as usize)
                .map(|(&to, behind)| (to, behind))
                .find(|&(to, _)| is_wanted(to))
        }

        fn sweep(&self, each: impl Fn(u32, u32) + Sync) {
            self.sweeps.fetch_add(1, Relaxed);
            for (from, edges) in (0..).zip(&self.edges).skip(1) {
                edges.iter().for_each(|&to| each(from, to));
            }
        }
    }

    fn lists(count: u32, roots: &[u32], edges: &[(u32, u32)]) -> Lists {
        let mut lists = vec![Vec::new(); count as usize + 1];
        lists[0] = roots.to_vec();
        for &(from, to) in edges {
            lists[from as usize].push(to);
        }
        Lists {
            edges: lists,
            sweeps: AtomicU32::new(0),
        }
    }

    /// The immediate dominator of each node by its number in the graph; none where the roots do not lead to it.
    fn by_node(graph: &Lists, room: usize) -> Vec<Option<u32>> {
        let found = find(graph, room, &Cancel::new()).unwrap();
        let mut by_node = vec![None; graph.edges.len()];
        for (index, &node) in found.nodes.iter().enumerate() {
            assert!(found.parents[index] <= index as u32);
            assert_eq!(found.numbers[node as usize], index as u32);
            by_node[node as usize] = Some(found.nodes[found.parents[index] as usize]);
        }
        by_node.split_off(1)
    }

    /// By definition: a node dominates what is out of reach without it; the immediate one is dominated by all others.
    fn by_definition(count: u32, roots: &[u32], edges: &[(u32, u32)]) -> Vec<Option<u32>> {
        let reach = |without: u32| {
            let mut seen = vec![false; count as usize + 1];
            let mut waiting: Vec<u32> = roots.to_vec();
            while let Some(node) = waiting.pop() {
                if node != without && !std::mem::replace(&mut seen[node as usize], true) {
                    waiting.extend(
                        edges
                            .iter()
                            .filter(|edge| edge.0 == node)
                            .map(|edge| edge.1),
                    );
                }
            }
            seen
        };
        let all = reach(0);
        let without: Vec<Vec<bool>> = (0..=count).map(reach).collect();
        let dominates = |above: u32, below: u32| {
            above != below && !without[above as usize][below as usize] && all[below as usize]
        };
        (1..=count)
            .map(|node| {
                all[node as usize].then(|| {
                    let above: Vec<u32> = (1..=count).filter(|&d| dominates(d, node)).collect();
                    let depth = |d: &&u32| above.iter().filter(|&&e| dominates(e, **d)).count();
                    above.iter().max_by_key(depth).copied().unwrap_or(0)
                })
            })
            .collect()
    }

    #[test]
    fn they_are_those_of_the_definition() {
        let mut seed = 88_172_645_463_325_252_u64;
        let mut random = |below: u32| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 33) as u32 % below
        };
        for round in 0..300 {
            let count = 2 + random(14);
            let edges: Vec<(u32, u32)> = (0..random(3 * count))
                .map(|_| (1 + random(count), 1 + random(count)))
                .collect();
            let roots: Vec<u32> = (0..1 + random(3)).map(|_| 1 + random(count)).collect();
            let expected = by_definition(count, &roots, &edges);
            let graph = lists(count, &roots, &edges);
            for room in [0, 1, 5, 1000] {
                let found = by_node(&graph, room);
                assert_eq!(
                    found, expected,
                    "round {round}, room {room}: {roots:?} {edges:?}"
                );
            }
        }
    }

    #[test]
    fn the_graph_is_gone_through_once_for_each_run_of_edges_that_fits() {
        // All lead to all that are before them, after a search that finds them in order.
        let count = 40;
        let edges: Vec<(u32, u32)> = (1..count)
            .map(|node| (node, node + 1))
            .chain((1..=count).flat_map(|from| (1..from).map(move |to| (from, to))))
            .collect();
        let graph = lists(count, &[1], &edges);
        let expected: Vec<Option<u32>> = (0..count).map(Some).collect();
        // 780 edges lead back: 39 to the first node, so that a run takes at least that many.
        for (room, most) in [(1000, 2), (100, 1 + 13), (39, 1 + 39)] {
            graph.sweeps.store(0, Relaxed);
            assert_eq!(by_node(&graph, room), expected);
            let sweeps = graph.sweeps.load(Relaxed);
            assert!((2..=most).contains(&sweeps), "{sweeps} with {room}");
        }
    }

    #[test]
    fn a_long_list_needs_no_stack() {
        let count = 200_000;
        let edges: Vec<(u32, u32)> = (1..count).map(|node| (node, node + 1)).collect();
        let found = find(&lists(count, &[1], &edges), 10, &Cancel::new()).unwrap();
        assert_eq!(found.parents.last(), Some(&(count - 1)));
    }
}
