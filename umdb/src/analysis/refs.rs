//! Who points to something: every aligned word in roots, allocated objects and transit memory whose value lies in it.

use super::{
    Cancelled, Scene,
    nodes::{CANDIDATE, Nodes},
    ranges::Range,
    roots::{self, RootKind, Roots},
    scan::{PIECE, Source, pieces, share_out, words},
};
use crate::heap::Object;

/// References that are kept; more are counted.
const KEPT_MAX: usize = 1 << 16;

/// What holds a pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// Memory or a register of the program.
    Root(RootKind),
    /// An allocated object, so many bytes from its start.
    Object(Object, u64),
    /// Private memory of unknown owner, or a segment of a vmem arena, that begins at the address.
    Transit(u64),
}

/// A word that points to what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Where it is; zero for a register.
    pub address: u64,
    /// The word.
    pub value: u64,
    /// What holds it.
    pub holder: Holder,
}

/// All references to something.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct References {
    /// Registers first, then roots, then objects, each in order of address.
    pub found: Vec<Reference>,
    /// Those that were not kept.
    pub more: u64,
    /// Why there may be more.
    pub doubts: Vec<String>,
}

/// A piece of memory to look at.
#[derive(Clone, Copy)]
enum Work {
    Root(usize, Range),
    Unit(usize),
}

/// Finds all references to a range.
///
/// # Errors
/// When it was cancelled.
pub fn find(scene: &Scene<'_>, wanted: Range) -> Result<References, Cancelled> {
    let mut roots = roots::find(scene);
    let nodes = Nodes::new(scene.heap, std::mem::take(&mut roots.transit));
    let mut references = References::default();
    references.doubts.append(&mut roots.doubts);
    references.found = in_values(&roots, wanted);
    let of_roots = roots.ranges.iter().enumerate();
    let of_roots = of_roots.flat_map(|(i, root)| pieces(root.range).map(move |p| Work::Root(i, p)));
    let work: Vec<Work> = of_roots.chain((0..nodes.units()).map(Work::Unit)).collect();
    let new = || Search {
        nodes: &nodes,
        roots: &roots,
        wanted,
        source: Source::new(scene.heap.reader.memory(), scene.cancel),
        found: Vec::new(),
        more: 0,
    };
    let mut unread = 0;
    let mut found = Vec::new();
    let each = |search: &mut Search<'_>, index: usize| search.work(work[index]);
    share_out(work.len(), scene.cancel, new, each, |search| {
        found.extend(search.found);
        references.more += search.more;
        unread += search.source.unread;
    });
    scene.cancel.check()?;
    found.sort_by_key(|reference| {
        let is_root = matches!(reference.holder, Holder::Root(_));
        (!is_root, reference.address)
    });
    references.found.append(&mut found);
    if unread > 0 {
        references
            .doubts
            .push(format!("{unread} bytes could not be read"));
    }
    Ok(references)
}

/// The registers and the like that point there.
pub(super) fn in_values(roots: &Roots, (start, end): Range) -> Vec<Reference> {
    let values = roots.values.iter();
    let hits = values.filter(|root| start <= root.value && root.value < end);
    hits.map(|root| Reference {
        address: 0,
        value: root.value,
        holder: Holder::Root(root.kind.clone()),
    })
    .collect()
}

/// One thread of a search.
struct Search<'a> {
    nodes: &'a Nodes<'a>,
    roots: &'a Roots,
    wanted: Range,
    source: Source<'a>,
    found: Vec<Reference>,
    more: u64,
}

impl Search<'_> {
    fn work(&mut self, work: Work) {
        match work {
            Work::Root(index, range) => {
                let kind = &self.roots.ranges[index].kind;
                let unread = self.source.unread;
                self.source.range(range, |at, bytes| {
                    let hits = hits(self.wanted, at, bytes);
                    keep(&mut self.found, &mut self.more, hits, |_| {
                        Holder::Root(kind.clone())
                    });
                });
                if !self.roots.ranges[index].required {
                    self.source.unread = unread;
                }
            }
            Work::Unit(unit) => self.unit(unit),
        }
    }

    fn unit(&mut self, unit: usize) {
        let nodes = self.nodes;
        let Some(Object::Buffer(_)) = nodes.object_at(unit, 0) else {
            return self.large(unit);
        };
        let mut is_listed = false;
        let list = |found: &mut Vec<u32>| {
            found.clear();
            if !std::mem::replace(&mut is_listed, true) {
                nodes.select(unit, CANDIDATE, 0, found);
            }
        };
        self.source.unit(nodes, unit, list, |index, at, bytes| {
            let start = nodes.range(unit, index).0;
            keep(
                &mut self.found,
                &mut self.more,
                hits(self.wanted, at, bytes),
                |address| holder(nodes, unit, index, address - start),
            );
        });
    }

    /// A block or a transit range.
    fn large(&mut self, unit: usize) {
        let (nodes, range) = (self.nodes, self.nodes.range(unit, 0));
        let is_transit = nodes.object_at(unit, 0).is_none();
        if !is_transit && nodes.get(nodes.node(unit, 0)) & CANDIDATE == 0 {
            return;
        }
        self.source.range(range, |at, bytes| {
            keep(
                &mut self.found,
                &mut self.more,
                hits(self.wanted, at, bytes),
                |address| holder(nodes, unit, 0, address - range.0),
            );
        });
    }
}

/// What holds a word at an offset of something.
pub(super) fn holder(nodes: &Nodes<'_>, unit: usize, index: u32, offset: u64) -> Holder {
    let object = nodes.object_at(unit, index);
    object.map_or_else(
        || Holder::Transit(nodes.range(unit, index).0),
        |object| Holder::Object(object, offset),
    )
}

/// The words of some bytes that lie in a range, with their addresses.
fn hits((start, end): Range, at: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, u64)> + use<'_> {
    let words = (at..).step_by(8).zip(words(bytes));
    words.filter(move |&(_, word)| start <= word && word < end)
}

fn keep(
    found: &mut Vec<Reference>,
    more: &mut u64,
    hits: impl Iterator<Item = (u64, u64)>,
    holder: impl Fn(u64) -> Holder,
) {
    for (address, value) in hits {
        if found.len() < KEPT_MAX {
            found.push(Reference {
                address,
                value,
                holder: holder(address),
            });
        } else {
            *more += 1;
        }
    }
}

/// The first word in roots that points into a range.
pub(super) fn first_root(
    source: &mut Source<'_>,
    roots: &Roots,
    wanted: Range,
) -> Option<Reference> {
    for root in &roots.ranges {
        let mut first = None;
        for piece in pieces(root.range) {
            source.range(piece, |at, bytes| {
                first = first.or_else(|| hits(wanted, at, bytes).next());
            });
            if let Some((address, value)) = first {
                let holder = Holder::Root(root.kind.clone());
                return Some(Reference {
                    address,
                    value,
                    holder,
                });
            }
        }
    }
    in_values(roots, wanted).into_iter().next()
}

/// The first word of something that points into a range, with its address.
pub(super) fn first_word(
    source: &mut Source<'_>,
    within: Range,
    wanted: Range,
) -> Option<(u64, u64)> {
    let mut first = None;
    let mut at = within.0;
    while first.is_none() && at < within.1 {
        let end = at.saturating_add(PIECE).min(within.1);
        source.range((at, end), |at, bytes| {
            first = first.or_else(|| hits(wanted, at, bytes).next());
        });
        at = end;
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        analysis::Cancel,
        heap::synthetic::{Builder, DATA, DEBUG, STACK},
    };

    #[test]
    fn registers_globals_stacks_and_buffers_that_point_there_are_listed() {
        let mut builder = Builder::new();
        let cache = builder.cache("umem_alloc_64", 64, DEBUG);
        let slab = builder.slab(cache);
        let made = [(); 3].map(|()| builder.alloc(slab, 50, 0).address);
        builder.registers.push(made[0] + 4);
        builder.write_word(DATA + 0x20, made[0]);
        builder.write_word(STACK + 0x900, made[0] + 49);
        builder.write_word(STACK + 0x100, made[0]);
        builder.write_word(made[1] + 16, made[0]);
        builder.write_word(made[2] + 16, made[0] + 50);
        builder.publish();
        let (target, heap, cancel) = (builder.target(), builder.heap(), Cancel::new());
        let scene = Scene {
            target: &target,
            heap: &heap,
            stacks: &builder,
            cancel: &cancel,
        };
        let references = find(&scene, (made[0], made[0] + 50)).unwrap();
        assert_eq!(references.doubts, Vec::<String>::new());
        let found: Vec<(u64, u64)> = references
            .found
            .iter()
            .map(|found| (found.address, found.value))
            .collect();
        let expected = [
            (0, made[0] + 4),
            (DATA + 0x20, made[0]),
            (STACK + 0x900, made[0] + 49),
            (made[1] + 16, made[0]),
        ];
        assert_eq!(found, expected);
        assert_eq!(references.found[2].holder, Holder::Root(RootKind::Stack(7)));
        assert!(matches!(references.found[3].holder, Holder::Object(_, 16)));
    }
}
