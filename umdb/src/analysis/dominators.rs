//! Dominators of a graph: the semi-NCA algorithm of Georgiadis and Tarjan.
//!
//! Everything is kept in arrays of 32-bit numbers, for graphs of ten million nodes: while the graph is turned round, 20
//! bytes a node and 8 an edge, afterwards 28 and 4. Nothing is recursive.

/// No node.
const NONE: u32 = u32::MAX;

/// A graph whose nodes are numbered from 1, in parts that were made by several threads.
pub(super) struct Graph {
    /// What the roots lead to.
    pub(super) roots: Vec<u32>,
    /// Parts in order of their nodes.
    pub(super) parts: Vec<Part>,
    /// Nodes.
    pub(super) count: u32,
}

/// The edges of a run of nodes.
pub(super) struct Part {
    /// Number of the first node.
    pub(super) first: u32,
    /// Where the edges of each begin, and where the last one's end.
    pub(super) starts: Vec<u32>,
    pub(super) edges: Vec<u32>,
}

impl Graph {
    /// What a node leads to. Node 0 stands for the roots.
    fn edges(&self, node: u32) -> &[u32] {
        if node == 0 {
            return &self.roots;
        }
        let after = self.parts.partition_point(|part| part.first <= node);
        let Some(part) = after.checked_sub(1).and_then(|index| self.parts.get(index)) else {
            return &[];
        };
        let index = (node - part.first) as usize;
        match part.starts.get(index..index + 2) {
            Some(&[from, to]) => &part.edges[from as usize..to as usize],
            _ => &[],
        }
    }
}

/// Who dominates whom. Nodes are numbered anew in the order of a search in depth; 0 stands for the roots.
pub(super) struct Dominators {
    /// Number in the graph of each.
    pub(super) nodes: Vec<u32>,
    /// Immediate dominator of each, always a smaller number; of 0 it is 0.
    pub(super) parents: Vec<u32>,
}

/// A search in depth.
struct Search {
    /// New number of each node of the graph.
    number: Vec<u32>,
    /// Node of each new number.
    nodes: Vec<u32>,
    /// Parent of each new number in the tree of the search.
    parents: Vec<u32>,
}

/// Finds the dominators of all nodes that the roots lead to.
pub(super) fn find(graph: Graph) -> Dominators {
    let search = Search::run(&graph);
    let (starts, edges) = predecessors(&graph, &search);
    drop(graph);
    let Search {
        nodes,
        parents,
        number,
    } = search;
    drop(number);
    let parents = semi_nca(parents, &starts, &edges);
    Dominators { nodes, parents }
}

impl Search {
    fn run(graph: &Graph) -> Self {
        let count = graph.count as usize + 1;
        let mut search = Self {
            number: vec![NONE; count],
            nodes: Vec::with_capacity(count),
            parents: Vec::with_capacity(count),
        };
        // Of each node on the way from the root, how many of its edges were followed.
        let mut way: Vec<(u32, u32)> = Vec::new();
        search.enter(0, 0, &mut way);
        while let Some((node, followed)) = way.last_mut() {
            let parent = search.number[*node as usize];
            match graph.edges(*node).get(*followed as usize) {
                None => {
                    way.pop();
                }
                Some(&next) => {
                    *followed += 1;
                    if search.number.get(next as usize) == Some(&NONE) {
                        search.enter(next, parent, &mut way);
                    }
                }
            }
        }
        search
    }

    fn enter(&mut self, node: u32, parent: u32, way: &mut Vec<(u32, u32)>) {
        self.number[node as usize] = self.nodes.len() as u32;
        self.nodes.push(node);
        self.parents.push(parent);
        way.push((node, 0));
    }
}

/// Who leads to each node, in new numbers: where the list of each begins, and the lists.
fn predecessors(graph: &Graph, search: &Search) -> (Vec<u32>, Vec<u32>) {
    let count = search.nodes.len();
    let mut starts = vec![0_u32; count + 1];
    let targets = |node: u32| {
        let edges = graph.edges(node).iter();
        edges.map(|&to| search.number[to as usize] as usize)
    };
    for &node in &search.nodes {
        targets(node).for_each(|to| starts[to + 1] += 1);
    }
    for i in 0..count {
        starts[i + 1] += starts[i];
    }
    let mut edges = vec![0_u32; starts[count] as usize];
    // The lists are filled from their ends, so that the starts are right again at the end.
    let mut ends = starts.split_off(1);
    for (from, &node) in search.nodes.iter().enumerate() {
        for to in targets(node) {
            ends[to] -= 1;
            edges[ends[to] as usize] = from as u32;
        }
    }
    ends.push(edges.len() as u32);
    (ends, edges)
}

/// Immediate dominators from the parents in the tree of a search, and the lists of predecessors.
fn semi_nca(parents: Vec<u32>, starts: &[u32], edges: &[u32]) -> Vec<u32> {
    let count = parents.len();
    let ways = parents.iter().zip(0..);
    let mut forest = Forest {
        ways: ways.map(|(&above, least)| Way { above, least }).collect(),
        path: Vec::new(),
    };
    let mut semi = vec![0; count];
    for node in (1..count).rev() {
        let mut least = parents[node];
        for &from in &edges[starts[node] as usize..starts[node + 1] as usize] {
            least = least.min(forest.least(from, node as u32));
        }
        semi[node] = least;
        forest.ways[node].least = least;
    }
    drop(forest);
    let mut dominators = parents;
    for node in 1..count {
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

    fn graph(count: u32, roots: &[u32], edges: &[(u32, u32)]) -> Graph {
        let part = |first: u32, last: u32| {
            let mut part = Part {
                first,
                starts: vec![0],
                edges: Vec::new(),
            };
            for node in first..=last {
                let own = edges
                    .iter()
                    .filter(|edge| edge.0 == node)
                    .map(|edge| edge.1);
                part.edges.extend(own);
                part.starts.push(part.edges.len() as u32);
            }
            part
        };
        let middle = count / 2;
        Graph {
            roots: roots.to_vec(),
            parts: vec![part(1, middle), part(middle + 1, count)],
            count,
        }
    }

    /// The immediate dominator of each node by its number in the graph; none where the roots do not lead to it.
    fn by_node(count: u32, roots: &[u32], edges: &[(u32, u32)]) -> Vec<Option<u32>> {
        let found = find(graph(count, roots, edges));
        let mut by_node = vec![None; count as usize + 1];
        for (index, &node) in found.nodes.iter().enumerate() {
            assert!(found.parents[index] <= index as u32);
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
            let found = by_node(count, &roots, &edges);
            assert_eq!(
                found,
                by_definition(count, &roots, &edges),
                "round {round}: {roots:?} {edges:?}"
            );
        }
    }

    #[test]
    fn a_long_list_needs_no_stack() {
        let count = 200_000;
        let edges: Vec<u32> = (2..=count).collect();
        let part = Part {
            first: 1,
            starts: (0..count).chain([count - 1]).collect(),
            edges,
        };
        let found = find(Graph {
            roots: vec![1],
            parts: vec![part],
            count,
        });
        assert_eq!(found.parents.last(), Some(&(count - 1)));
    }
}
