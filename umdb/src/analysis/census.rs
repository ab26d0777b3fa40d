//! Objects grouped by cache and allocating stack.

use std::collections::HashMap;

use umem_layout::AuditRecord;

use crate::heap::{Buffer, Heap, Object};

/// Records of a slab are read all at once when more than this are wanted.
const FEW: usize = 16;

/// What is known of where an object comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A block of an arena.
    Block,
    /// A buffer without record of who allocated it.
    Plain,
    /// A buffer with such a record.
    Audited,
}

/// Objects of one cache or arena with one stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What they are.
    pub kind: Kind,
    /// Address of the cache or arena.
    pub owner: u64,
    /// Stack of the allocation, in the depot; zero when unknown.
    pub stack: u32,
    /// The oldest one.
    pub representative: Object,
    /// How many there are.
    pub count: u64,
    /// Bytes that the program asked for.
    pub bytes: u64,
    /// Least and greatest size.
    pub sizes: (u64, u64),
    /// All of them in order of address, where they are lost.
    pub members: Vec<Object>,
    /// What is lost only through them, in order of address.
    pub held: Vec<Object>,
    /// Bytes of what is held.
    pub held_bytes: u64,
    /// When the oldest was allocated, as recorded.
    oldest: u64,
}

impl Group {
    /// Bytes of the members and of what they hold.
    #[must_use]
    pub const fn total_bytes(&self) -> u64 {
        self.bytes.saturating_add(self.held_bytes)
    }
}

/// Where an object comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    pub(super) kind: Kind,
    pub(super) stack: u32,
    pub(super) time: u64,
    /// Bytes that the program asked for, or that there are.
    pub(super) bytes: u64,
}

/// The origins of some buffers of a slab, by index.
pub(super) fn origins(heap: &Heap, slab: u32, indices: &[u32], mut each: impl FnMut(u32, Origin)) {
    let record = &heap.slabs[slab as usize];
    let room = heap.caches[record.cache as usize].record.buffer_size;
    if record.records != 0 && indices.len() > FEW {
        let mut wanted = indices.iter().copied().peekable();
        let last = indices.last().map_or(0, |&index| index as usize + 1);
        let read = heap
            .reader
            .array(record.records, last, |i, audit: AuditRecord| {
                if wanted.next_if_eq(&(i as u32)).is_some() {
                    each(i as u32, audited(&audit, room));
                }
            });
        if read.is_ok() {
            return;
        }
        // As far as they could not be read they are without record.
        for index in wanted {
            each(index, origin(heap, Object::Buffer(Buffer { slab, index })));
        }
        return;
    }
    for &index in indices {
        each(index, origin(heap, Object::Buffer(Buffer { slab, index })));
    }
}

fn audited(record: &AuditRecord, room: u64) -> Origin {
    let requested = u64::from(record.requested);
    Origin {
        kind: Kind::Audited,
        stack: record.alloc_stack,
        time: record.alloc_time,
        bytes: if requested <= room { requested } else { room },
    }
}

/// The origin of an object.
pub(super) fn origin(heap: &Heap, object: Object) -> Origin {
    let (stack, time) = match heap.record(object) {
        Some(Ok(record)) => (record.alloc_stack, record.alloc_time),
        _ => (0, 0),
    };
    let kind = match object {
        Object::Block(_) => Kind::Block,
        Object::Buffer(_) if heap.record_address(object).is_some() => Kind::Audited,
        Object::Buffer(_) => Kind::Plain,
    };
    Origin {
        kind,
        stack,
        time,
        bytes: heap.size(object),
    }
}

/// Groups under construction.
#[derive(Default)]
pub(super) struct Census {
    groups: Vec<Group>,
    /// Index in `groups` by kind, cache or arena, and stack.
    known: HashMap<(Kind, u64, u32), usize>,
}

impl Census {
    /// Counts an object, and returns the index of its group.
    pub(super) fn add(&mut self, heap: &Heap, object: Object, origin: Origin) -> usize {
        let owner = heap.owner_address(object);
        let key = (origin.kind, owner, origin.stack);
        let groups = &mut self.groups;
        let index = *self.known.entry(key).or_insert_with(|| {
            groups.push(Group {
                kind: origin.kind,
                owner,
                stack: origin.stack,
                representative: object,
                count: 0,
                bytes: 0,
                sizes: (u64::MAX, 0),
                members: Vec::new(),
                held: Vec::new(),
                held_bytes: 0,
                oldest: u64::MAX,
            });
            groups.len() - 1
        });
        let group = &mut self.groups[index];
        group.count += 1;
        group.bytes = group.bytes.saturating_add(origin.bytes);
        group.sizes = (
            group.sizes.0.min(origin.bytes),
            group.sizes.1.max(origin.bytes),
        );
        if origin.time < group.oldest {
            group.oldest = origin.time;
            group.representative = object;
        }
        index
    }

    /// The group with an index.
    pub(super) fn group(&mut self, index: usize) -> &mut Group {
        &mut self.groups[index]
    }

    /// The groups: blocks first, then plain buffers, then audited ones; in each kind the largest first.
    pub(super) fn finish(self, heap: &Heap) -> Vec<Group> {
        let mut groups = self.groups;
        groups.sort_by_key(|group| {
            let bytes = std::cmp::Reverse(group.total_bytes());
            (group.kind, bytes, heap.address(group.representative))
        });
        groups
    }
}
