//! What lies at an address: the sources of `::whatis`.
//!
//! Each source explains its own addresses: buffers and blocks, the allocator's structures, modules, thread stacks,
//! mappings.

use umem_layout::{Cache, buffer_state, policy, segment_kind, span_kind};

use super::{
    context::Context,
    log::{log_name, operation_name},
    record::is_held,
};
use crate::{
    heap::{Buffer, Location, Object},
    report::{Cell, Sentence},
};

/// What one source knows: a sentence, and the record that follows it.
pub struct Answer {
    /// What is said.
    pub sentence: Sentence,
    /// Whose record follows.
    pub record: Option<Object>,
}

/// A source of answers, and what it is called.
pub struct Source {
    /// Its name.
    pub name: &'static str,
    /// Everything that it knows about an address.
    pub ask: fn(&Context<'_>, u64) -> Vec<Answer>,
}

impl Source {
    const fn new(name: &'static str, ask: fn(&Context<'_>, u64) -> Vec<Answer>) -> Self {
        Self { name, ask }
    }
}

/// The sources in the order in which they are asked.
pub const SOURCES: [Source; 8] = [
    Source::new("buffers and blocks", |cx, at| all(heap(cx, at))),
    Source::new("records and logs", |cx, at| all(record(cx, at))),
    Source::new("caches and arenas", |cx, at| all(structure(cx, at))),
    Source::new("vmem arenas", arenas),
    Source::new("memory of the allocator", |cx, at| all(own(cx, at))),
    Source::new("modules", |cx, at| all(module(cx, at))),
    Source::new("stacks", |cx, at| all(stack(cx, at))),
    Source::new("mappings", |cx, at| all(mapping(cx, at))),
];

/// What identifiers name, which are no addresses.
pub const IDENTIFIERS: Source = Source::new("identifiers", identifiers);

fn all(answer: Option<Answer>) -> Vec<Answer> {
    answer.into_iter().collect()
}

fn identifiers(cx: &Context<'_>, number: u64) -> Vec<Answer> {
    let threads = cx.target.threads.iter();
    threads
        .filter(|thread| u64::from(thread.tid) == number)
        .filter_map(|thread| {
            let sentence = is(number)
                .words("the identifier of thread ")
                .value("thread", Cell::Number(number));
            answer(match cx.thread_name(thread) {
                Some(name) => sentence.words(" ").value("name", Cell::text(name)),
                None => sentence,
            })
        })
        .collect()
}

/// `X is `.
pub fn is(address: u64) -> Sentence {
    Sentence::new().words(format!("{address:x} is "))
}

fn answer(sentence: Sentence) -> Option<Answer> {
    Some(Answer {
        sentence,
        record: None,
    })
}

/// Pieces of arenas, children before their parents. Arenas of programs need not hold addresses.
fn arenas(cx: &Context<'_>, address: u64) -> Vec<Answer> {
    let tree = cx.heap.arena_tree_postfix();
    let in_arena = |branch: crate::heap::Branch| {
        let arena = &cx.heap.arenas[branch.arena as usize];
        if arena.record.policy & policy::FOREIGN != 0 && arena.record.import == 0 {
            return None;
        }
        let piece = cx.heap.piece_at(branch.arena, address)?;
        let verb = if piece.kind == segment_kind::ALLOC {
            "allocated from "
        } else {
            "freed from "
        };
        answer(
            base_and_offset(is(address), piece.start, address - piece.start)
                .words(verb)
                .value("arena", Cell::text(arena.name.as_str()))
                .words(" vmem arena")
                .hidden("segment", Cell::Address(piece.address)),
        )
    };
    tree.into_iter().filter_map(in_arena).collect()
}

/// Buffers, blocks, and the room between them.
fn heap(cx: &Context<'_>, address: u64) -> Option<Answer> {
    match cx.heap.find(address)? {
        Location::Buffer(buffer, offset) => Some(in_buffer(cx, address, buffer, offset)),
        Location::Slab(index) => {
            let slab = &cx.heap.slabs[index as usize];
            let name = &cx.heap.caches[slab.cache as usize].name;
            answer(
                is(address)
                    .words("in no buffer of a slab of ")
                    .value("cache", Cell::text(name.as_str())),
            )
        }
        Location::Block(index, offset) => Some(in_block(cx, address, index, offset)),
        Location::Gap(index) => {
            let gap = &cx.heap.gaps[index as usize];
            let base = base_and_offset(is(address), gap.start, address - gap.start);
            let name = &cx.heap.arenas[gap.arena as usize].name;
            answer(
                base.words("freed from ")
                    .value("arena", Cell::text(name.as_str()))
                    .words(" vmem arena"),
            )
        }
    }
}

/// `BASE+OFF, `, unless the offset is zero.
fn base_and_offset(sentence: Sentence, base: u64, offset: u64) -> Sentence {
    let sentence = if offset == 0 {
        sentence
    } else {
        sentence.words(format!("{base:x}+{offset:x}, "))
    };
    sentence
        .hidden("buffer", Cell::Address(base))
        .hidden("offset", Cell::Bytes(offset))
}

fn in_buffer(cx: &Context<'_>, address: u64, buffer: Buffer, offset: u64) -> Answer {
    let object = Object::Buffer(buffer);
    let cache = cx.heap.cache(buffer);
    let was_used = buffer.index < cx.heap.slab(buffer).carved;
    let mut sentence = base_and_offset(is(address), cx.heap.address(object), offset);
    sentence = part_of_object(cx, object, offset, sentence);
    if let Some(record) = cx.heap.record_address(object).filter(|_| was_used) {
        sentence = sentence
            .words("bufctl ")
            .value("bufctl", Cell::Address(record))
            .words(" ");
    }
    let verb = if was_used {
        verb(cx.heap.state(buffer))
    } else {
        "never allocated from"
    };
    sentence = sentence.hidden("state", Cell::text(verb));
    sentence = sentence
        .words(format!("{verb} "))
        .value("cache", Cell::text(cache.name.as_str()));
    sentence = requested(cx, object, was_used, sentence);
    Answer {
        sentence,
        record: Some(object).filter(|_| was_used),
    }
}

fn in_block(cx: &Context<'_>, address: u64, index: u32, offset: i64) -> Answer {
    let block = cx.heap.block(index);
    let object = Object::Block(index);
    let sentence = match u64::try_from(offset) {
        Ok(offset) => part_of_object(
            cx,
            object,
            offset,
            base_and_offset(is(address), block.buffer, offset),
        ),
        Err(_) => is(address).words(format!(
            "{:x}-{:x}, before the start of a block, ",
            block.buffer, -offset
        )),
    };
    let name = cx.heap.owner_name(object);
    let sentence = sentence
        .words(format!("{} ", verb(block.state)))
        .value("arena", Cell::text(name))
        .words(" vmem arena")
        .hidden("segment", Cell::Address(block.segment));
    Answer {
        sentence: requested(cx, object, true, sentence),
        record: Some(object),
    }
}

/// Says when an offset is not in what the program asked for.
fn part_of_object(cx: &Context<'_>, object: Object, offset: u64, sentence: Sentence) -> Sentence {
    let buffer = cx.heap.address(object);
    let trailer = cx
        .heap
        .trailer_address(object)
        .map(|trailer| trailer - buffer);
    let is_past = is_held(cx.heap.object_state(object))
        && cx
            .heap
            .requested(object)
            .is_some_and(|size| offset >= size.max(1));
    match trailer {
        Some(trailer) if offset >= trailer => sentence.words("in the trailer of a buffer "),
        _ if is_past => sentence.words("past the end of a buffer "),
        _ => sentence,
    }
}

fn requested(cx: &Context<'_>, object: Object, was_used: bool, sentence: Sentence) -> Sentence {
    match cx.heap.requested(object).filter(|_| was_used) {
        Some(size) => sentence.words(", requested size ").bytes("requested", size),
        None => sentence,
    }
}

/// What happened to an object, by its state.
fn verb(state: u8) -> &'static str {
    match state {
        buffer_state::ALLOCATED => "allocated from",
        buffer_state::FREE => "freed from",
        buffer_state::MAGAZINE => "freed (in a magazine) from",
        buffer_state::QUARANTINED => "freed (in quarantine) from",
        buffer_state::ABANDONED => "withdrawn from use in",
        buffer_state::TRANSIT => "being allocated or freed in",
        _ => "in an unknown state in",
    }
}

/// Records of buffers, segments of blocks, entries of the transaction log.
fn record(cx: &Context<'_>, address: u64) -> Option<Answer> {
    if let Some(block) = cx.heap.block_of_segment(address) {
        let sentence = is(address)
            .words("the segment of block ")
            .value("buffer", Cell::Address(cx.heap.block(block).buffer));
        let record = Some(Object::Block(block));
        return Some(Answer { sentence, record });
    }
    if let Some((start, entry, kind)) = cx.heap.find_log_entry(address) {
        let sentence = if start == address {
            is(address)
        } else {
            is(address).words(format!("{start:x}+{:x}, in ", address - start))
        };
        return answer(
            sentence
                .words("entry ")
                .value("sequence", Cell::Number(entry.sequence))
                .words(format!(" of the {} log: ", log_name(kind)))
                .value("operation", Cell::text(operation_name(entry.operation)))
                .words(" of buffer ")
                .value("buffer", Cell::Address(entry.buffer)),
        );
    }
    let (object, offset) = cx.heap.find_record(address)?;
    let start = is(address).words(if offset == 0 {
        String::new()
    } else {
        format!("{:x}+{offset:x}, in ", address - offset)
    });
    let sentence = start
        .words("the bufctl of buffer ")
        .value("buffer", Cell::Address(cx.heap.address(object)));
    Some(Answer {
        sentence,
        record: Some(object),
    })
}

/// Memory of the heap that is in no slab and no arena of blocks.
pub const UNUSED: &str = "in memory of the allocator that no slab or block uses";

/// What a mapping of the library holds.
const SPANS: [(u32, &str); 4] = [
    (span_kind::HEAP, UNUSED),
    (span_kind::METADATA, "in the allocator's own structures"),
    (span_kind::LOG, "in the allocator's logs"),
    (span_kind::DEPOT, "in the allocator's stacks"),
];

/// Caches, arenas, and other memory of the allocator.
fn structure(cx: &Context<'_>, address: u64) -> Option<Answer> {
    if let Some(cache) = cx
        .heap
        .caches
        .iter()
        .find(|cache| address.wrapping_sub(cache.address) < size_of::<Cache>() as u64)
    {
        let start = base_and_offset(is(address), cache.address, address - cache.address);
        let words = if address == cache.address {
            "the cache "
        } else {
            "in the cache "
        };
        return answer(
            start
                .words(words)
                .value("cache", Cell::text(cache.name.as_str())),
        );
    }
    if let Some(arena) = cx.heap.arena_at(address) {
        return answer(
            is(address)
                .words("the arena ")
                .value("arena", Cell::text(arena.name.as_str())),
        );
    }
    None
}

/// Other memory of the allocator, by what its mappings hold.
fn own(cx: &Context<'_>, address: u64) -> Option<Answer> {
    if cx
        .heap
        .regions
        .iter()
        .any(|region| region.base <= address && address < region.end())
    {
        let is_used = cx.heap.find(address).is_some();
        let what = if is_used {
            "in the allocator's heap"
        } else {
            UNUSED
        };
        return answer(is(address).words(what));
    }
    let span = cx
        .heap
        .spans
        .iter()
        .find(|span| address >= span.base && address - span.base < span.size)?;
    let what = SPANS
        .iter()
        .find(|(kind, _)| *kind == span.kind)
        .map_or("in memory of the allocator", |(_, what)| what);
    answer(is(address).words(what))
}

/// Functions and data.
fn module(cx: &Context<'_>, address: u64) -> Option<Answer> {
    let module = cx.target.module_at(address)?;
    let segment = module.segment_at(address)?;
    let place = cx.symbols.lookup(address);
    let mut sentence = is(address).hidden("symbol", Cell::Symbol(place.clone().into()));
    if place.symbol.is_some() {
        sentence = sentence.words(format!("{place}, "));
    }
    sentence = sentence.words(if segment.execute {
        "in the text of "
    } else {
        "in the data of "
    });
    answer(sentence.value("object", Cell::text(module.path.as_str())))
}

/// Stacks of threads.
fn stack(cx: &Context<'_>, address: u64) -> Option<Answer> {
    let mapping = cx.target.mapping_at(address)?;
    let holds_stack = |pointer: u64| mapping.start <= pointer && pointer < mapping.end;
    let thread = cx
        .target
        .threads
        .iter()
        .find(|thread| thread.registers.is_some_and(|r| holds_stack(r.rsp)))?;
    let pointer = thread.registers.map_or(0, |registers| registers.rsp);
    let part = if address < pointer {
        "below the stack pointer"
    } else {
        "in the stack"
    };
    answer(
        is(address)
            .words(format!("{part} of thread "))
            .value("thread", Cell::Number(thread.tid.into())),
    )
}

/// Anything that is mapped.
fn mapping(cx: &Context<'_>, address: u64) -> Option<Answer> {
    let mapping = cx.target.mapping_at(address)?;
    let name = mapping.name.as_deref().unwrap_or("[ anon ]");
    let range = format!(" [{:x},{:x})", mapping.start, mapping.end);
    answer(
        is(address)
            .words("in ")
            .value("mapping", Cell::text(name))
            .words(range),
    )
}
