//! `::whatis`: what lies at an address.
//!
//! Each source explains its own addresses; the first that knows one answers: buffers and blocks, the
//! allocator's structures, modules, thread stacks, mappings.

use umem_layout::{Cache, buffer_state, span_kind};

use super::{
    Address, Context, Dcmd, Error, Group, Invocation, Opt, Run,
    parts::record::{Show, is_held},
};
use crate::{
    heap::{Buffer, Location, Object},
    report::{Cell, Item, List, Report, Section, Sentence, Table},
};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "whatis",
    group: Group::Addresses,
    address: Address::Required,
    options: &[Opt::flag('q', "without the record of the buffer")],
    operands: "",
    summary: "given an address, return information",
    help: HELP,
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Says what lies at an address: a buffer, and where in it; its redzone; the room
between buffers; a structure of the allocator; a function or datum; the stack of
a thread; a mapping. For an audited buffer the record follows, with the stacks of
who allocated and who freed it.

    > 7f0aa0c5efd0::whatis";

/// What one source knows: a sentence, and the record that follows it.
struct Answer {
    sentence: Sentence,
    record: Option<Object>,
}

/// A source of answers.
type Source = fn(&Context<'_>, u64) -> Option<Answer>;

/// The sources in the order in which they are asked.
const SOURCES: [Source; 6] = [heap, record, structure, module, stack, mapping];

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let address = invocation.address.unwrap_or_default();
    let mut report = Report::default();
    let answer = SOURCES.iter().find_map(|source| source(cx, address));
    let Some(Answer { sentence, record }) = answer else {
        report.push(sentence_of(address, is(address).words("unknown"), false));
        report.incomplete(format!("whatis: no mapping for address {address:#x}"));
        return Ok(report);
    };
    let object = record.filter(|_| !invocation.has('q'));
    let table = object.and_then(|object| cx.record_table(object, Show::Both, &mut report));
    report.push(sentence_of(address, sentence, table.is_some()));
    if let Some(table) = table {
        report.sections = vec![joined(std::mem::take(&mut report.sections), table)];
    }
    Ok(report)
}

/// The sentence and the record without an empty line between.
fn joined(mut sections: Vec<Section>, table: Table) -> Section {
    sections.push(table.into());
    crate::report::Group {
        key: "whatis",
        sections,
    }
    .into()
}

fn sentence_of(address: u64, sentence: Sentence, has_record: bool) -> List {
    let sentence = sentence
        .words(if has_record { ":" } else { "" })
        .hidden("address", Cell::Address(address));
    List {
        key: "answer",
        items: vec![Item {
            sentence,
            stacks: Vec::new(),
        }],
        ..List::default()
    }
}

/// `X is `.
fn is(address: u64) -> Sentence {
    Sentence::new().words(format!("{address:x} is "))
}

fn answer(sentence: Sentence) -> Option<Answer> {
    Some(Answer {
        sentence,
        record: None,
    })
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

/// Records of buffers.
fn record(cx: &Context<'_>, address: u64) -> Option<Answer> {
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
const UNUSED: &str = "in memory of the allocator that no slab or block uses";

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
    if cx
        .heap
        .regions
        .iter()
        .any(|region| region.base <= address && address < region.end())
    {
        return answer(is(address).words(UNUSED));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dcmds::parts::testing::text,
        heap::synthetic::{Builder, DATA, META, REGION, STACK, victim},
        report::Status,
    };

    /// The first line of the answer for an address.
    fn line(builder: &mut Builder, address: u64) -> String {
        let (text, _) = text(builder, &DCMD, Some(address), &["-q"]);
        text.lines()
            .next()
            .unwrap_or_default()
            .replace(&format!("{address:x} is "), "")
    }

    #[test]
    fn buffers_say_where_in_them() {
        let (mut builder, [kept, _, freed]) = victim();
        let at = kept.address;
        let tail = format!(
            "bufctl {:x} allocated from umem_alloc_64, requested size 50 bytes",
            kept.record
        );
        assert_eq!(line(&mut builder, at), tail);
        assert_eq!(line(&mut builder, at + 16), format!("{at:x}+10, {tail}"));
        assert_eq!(
            line(&mut builder, at + 50),
            format!("{at:x}+32, past the end of a buffer {tail}")
        );
        assert_eq!(
            line(&mut builder, at + 70),
            format!("{at:x}+46, in the trailer of a buffer {tail}")
        );
        let tail = format!(
            "bufctl {:x} freed from umem_alloc_64, requested size 50 bytes",
            freed.record
        );
        assert_eq!(line(&mut builder, freed.address), tail);
        assert_eq!(
            line(&mut builder, freed.address + 96),
            "never allocated from umem_alloc_64"
        );
    }

    #[test]
    fn the_record_of_an_audited_buffer_follows() {
        let (mut builder, [.., freed]) = victim();
        let (text, status) = text(&mut builder, &DCMD, Some(freed.record), &[]);
        assert!(text.starts_with(&format!(
            "{:x} is the bufctl of buffer {:x}:\n    ",
            freed.record, freed.address
        )));
        assert!(text.contains("freed by thread 8"));
        assert_eq!(status, Status::Clean);
    }

    #[test]
    fn every_kind_of_address_has_an_answer() {
        let mut builder = Builder::new();
        let cache = builder.cache("umem_alloc_64", 64, 0);
        builder.slab(cache);
        let stack = builder.stack(&[0x40_0100]);
        let block = builder.block(20_000, stack);
        let tail = "allocated from umem_oversize vmem arena, requested size 20000 bytes";
        assert_eq!(line(&mut builder, block), tail);
        assert_eq!(
            line(&mut builder, block + 16),
            format!("{block:x}+10, {tail}")
        );
        assert_eq!(
            line(&mut builder, block + 20_000),
            format!("{block:x}+4e20, in the trailer of a buffer {tail}")
        );
        assert_eq!(
            line(&mut builder, block + 0x6000),
            format!(
                "{:x}+1000, freed from umem_oversize vmem arena",
                block + 0x5000
            )
        );
        assert_eq!(line(&mut builder, META), "the cache umem_alloc_64");
        assert_eq!(
            line(&mut builder, META + 8),
            format!("{META:x}+8, in the cache umem_alloc_64")
        );
        assert_eq!(line(&mut builder, REGION + 0x30_0000), UNUSED);
        assert_eq!(line(&mut builder, DATA + 8), "in the data of /bin/victim");
        assert_eq!(
            line(&mut builder, STACK + 8),
            "below the stack pointer of thread 7"
        );
        assert_eq!(
            line(&mut builder, STACK + 0x900),
            "in the stack of thread 7"
        );
    }

    #[test]
    fn an_address_that_is_not_mapped_is_unknown_with_status_3() {
        let (mut builder, _) = victim();
        let (text, status) = text(&mut builder, &DCMD, Some(8), &[]);
        assert_eq!(text, "8 is unknown\n");
        assert_eq!(status, Status::Incomplete);
    }
}
