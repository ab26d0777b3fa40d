//! `::whatis`: what lies at an address.

use super::{
    Address, Context, Dcmd, Error, Group, Invocation, Opt, Run,
    parts::{
        answers::{Answer, IDENTIFIERS, SOURCES, Source, is},
        record::Show,
    },
};
use crate::report::{Cell, Item, List, Report, Section, Sentence, Table};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "whatis",
    group: Group::Addresses,
    address: Address::Required,
    options: &[
        Opt::flag('a', "all answers, not the first alone"),
        Opt::flag('b', "accepted: the bufctl is always shown"),
        Opt::flag(
            'i',
            "also what the number names as an identifier, as of a thread",
        ),
        Opt::flag(
            'k',
            "accepted: answers always come in the order of the addresses",
        ),
        Opt::flag('q', "without the record of the buffer"),
        Opt::flag('v', "which sources were asked"),
    ],
    operands: "",
    see: &["bufctl", "ugrep", "umem_verify"],
    summary: "given an address, return information",
    help: HELP,
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Says what lies at an address: a buffer, and where in it; its redzone; the room
between buffers; a structure of the allocator; a function or datum; the stack of
a thread; a mapping. For an audited buffer the record follows, with the stacks of
who allocated it and who freed it.

    > 7f0aa0c5efd0::whatis

    > main::whatis

Sources are asked in turn, and the first that knows the address answers; with -a
all do, so that a buffer is also shown as part of its arenas and of its mapping.";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    if invocation.is_piped {
        return Err(DCMD.misused("it cannot be output into a pipe"));
    }
    let address = invocation.address.unwrap_or_default();
    let mut report = Report::default();
    let mut known = 0;
    let identifiers = invocation.has('i').then_some(&IDENTIFIERS);
    for source in identifiers.into_iter().chain(&SOURCES) {
        if invocation.has('v') {
            report.push(progress(source));
        }
        let answers = (source.ask)(cx, address);
        let wanted = if invocation.has('a') {
            answers.len()
        } else {
            1
        };
        for answer in answers.into_iter().take(wanted) {
            add(cx, address, answer, invocation.has('q'), &mut report);
            known += 1;
        }
        if known > 0 && !invocation.has('a') {
            break;
        }
    }
    if known == 0 {
        report.push(sentence_of(address, is(address).words("unknown"), false));
        report.incomplete(format!("whatis: no mapping for address {address:#x}"));
    }
    // Sections of one answer stand together.
    let sections = std::mem::take(&mut report.sections);
    report.push(crate::report::Group {
        key: "whatis",
        sections,
    });
    Ok(report)
}

fn progress(source: &Source) -> List {
    let sentence = Sentence::new()
        .words("Searching ")
        .value("source", Cell::text(source.name))
        .words("...");
    List::one("progress", sentence)
}

/// Adds an answer and the record that follows it.
fn add(cx: &Context<'_>, address: u64, answer: Answer, quiet: bool, report: &mut Report) {
    let object = answer.record.filter(|_| !quiet);
    let table: Option<Table> =
        object.and_then(|object| cx.record_table(object, Show::Both, report));
    report.push(sentence_of(address, answer.sentence, table.is_some()));
    report.sections.extend(table.map(Section::from));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dcmds::parts::{
            answers::UNUSED,
            testing::{run_published, text},
        },
        heap::synthetic::{Builder, DATA, META, REGION, STACK, victim},
        render::write_text,
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

    #[test]
    fn all_answers_and_identifiers_come_on_demand() {
        let mut builder = Builder::new();
        let arena = builder.arena("heap", None, &[64, 64]);
        builder.publish();
        let heap = builder.heap();
        let piece = heap.segments(&heap.arenas[0]).elements[1].1.start;
        assert_eq!(line(&mut builder, piece), "allocated from heap vmem arena");
        assert_eq!(
            line(&mut builder, piece + 0x48),
            format!("{:x}+8, freed from heap vmem arena", piece + 0x40)
        );
        let (all, _) = text(&mut builder, &DCMD, Some(arena), &["-a"]);
        let expected = format!(
            "{arena:x} is the arena heap
{arena:x} is in the allocator's own structures
{arena:x} is in [ anon ] [{META:x},{:x})
",
            META + 0x100_0000
        );
        assert_eq!(all, expected);
        let (verbose, _) = text(&mut builder, &DCMD, Some(7), &["-iv"]);
        let expected = "Searching identifiers...\n7 is the identifier of thread 7\n";
        assert_eq!(verbose, expected);
    }

    #[test]
    fn segments_and_log_entries_are_known() {
        let (mut builder, [kept, ..]) = victim();
        let block = builder.block(20_000, 0);
        builder.publish();
        let heap = builder.heap();
        let segment = heap.blocks[0].segment;
        let entry = heap.log(1).unwrap().entry_address(1).unwrap();
        let answer = |at: u64| {
            let report = run_published(&builder, &DCMD, Some(at), &["-q"]).unwrap();
            write_text(&report)
        };
        assert_eq!(
            answer(segment),
            format!("{segment:x} is the segment of block {block:x}\n")
        );
        assert_eq!(
            answer(entry),
            format!(
                "{entry:x} is entry 1 of the transaction log: alloc of buffer {:x}\n",
                kept.address
            )
        );
        let inside = entry + 0x10;
        let start = format!("{inside:x} is {entry:x}+10, in entry 1 of the transaction log");
        assert!(answer(inside).starts_with(&start));
    }
}
