//! `::findleaks`: buffers that no root can reach.

use std::path::Path;

use umem_layout::ready;

use super::{
    Address, Context, Dcmd, Error, Group, Invocation, Opt, Run,
    parts::{
        estimates,
        groups::{Shown, add_tables, holding},
        record::Show,
        suppressed,
    },
};
use crate::{
    analysis::{
        estimate::{self, Estimate},
        leaks::{self, Alive, Kind, Leaks},
        suppressions::Suppressions,
    },
    report::{self, Cell, Column, Item, List, Report, Section, Sentence, Status, Table},
};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "findleaks",
    group: Group::Leaks,
    address: Address::Optional,
    address_name: "caller",
    pipes: Some("the record of the oldest buffer of each group"),
    options: &[
        Opt::flag(
            'd',
            "detail of each: who allocated it, when, with the whole stack",
        ),
        Opt::flag('f', "search again instead of using what was found before"),
        Opt::flag(
            'i',
            "also what only pointers into the middle keep alive, by stack",
        ),
        Opt::flag('m', "also mappings of unknown owner that nothing points to"),
        Opt::flag('r', "also what is still reachable, by stack"),
        Opt::flag('v', "statistics of the search"),
        Opt::value(
            'x',
            "file",
            "leave out the leaks that a file of suppressions names; - leaves out none",
        ),
    ],
    operands: "",
    summary: "search for memory leaks",
    help: HELP,
    columns: &[
        ("CACHE", "address of the cache, or size of the blocks"),
        ("LEAKED", "buffers that are lost"),
        (
            "BUFCTL",
            "record of the oldest one, for ::bufctl; or its segment",
        ),
        ("BUFFER", "its address, where there are no records"),
        ("HELD", "bytes that are lost through them"),
        ("CALLER", "who called the allocation function"),
    ],
    see: &["bufctl", "whatis", "path", "retained", "diff"],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Lists allocated buffers that nothing alive points to. Alive are the data of all
modules, the stacks and registers of all threads, and whatever they lead to;
a pointer into the middle of a buffer counts as well.

What only a lost buffer leads to is lost through it: it is not listed but counted
with its head, so that a lost list is one buffer that holds the others. A cycle
has one head, its oldest buffer.

Leaks are grouped by cache and allocating stack. LEAKED says how many buffers a
group has, HELD how many bytes are lost through them, BUFCTL is the record of the
oldest one (see ::bufctl), CALLER is who called the allocation function. Blocks
too large for any cache come first, with their size and the address of their
segment. Groups that lose most bytes come first. Byte totals are what the
program asked for, where that is known.

Where the program takes samples (UMEM_DEBUG=sample), the tables above are exact,
but only samples have stacks. What the samples stand for follows by stack: about
how many bytes in how many buffers, lost by themselves or through others, each
with its standard error. Two times in three the truth is within one of them, 19
times in 20 within two, if there are some dozens of samples.

With an address, only leaks whose stack holds this address, or a place in the
function that begins there, are listed.

    > ::findleaks -d

    > ::findleaks | ::bufctl -v

Leaks that are known are left out by a file of suppressions (-x here, ::set -x for
the session, umdb --suppressions for both). A line of it is a rule:

    leak:parse_header               as for LeakSanitizer: in the name of a function,
                                    module or source file of any frame
    fun:cache_* obj:libssl.so* size:..64
                                    all of: function, module, bytes of each buffer;
                                    src: is the source file, * stands for any text

A line that begins with # is a comment. How much was left out is said below the
leaks, and so is which rules never matched; -v shows what each did. Walkers and
::diff know all leaks.

When threads or memory could not be read, no verdict is given: the reasons are
named, and what is listed may be wrong.";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    if let Some(text) = no_leaks_possible(cx.heap.root.record.state) {
        let mut report = Report::default();
        report.push(List::one("leaks", Sentence::new().words(text)));
        return Ok(report);
    }
    cx.check_features(DCMD.name)?;
    let (leaks, was_known) = cx.leaks(invocation.has('f'))?;
    let mut report = Report::default();
    report.sections.extend(cx.coverage().map(Section::from));
    if invocation.has('v') {
        report.push(if was_known {
            cached()
        } else {
            statistics(cx, &leaks)
        });
    }
    let rules = rules(cx, invocation)?;
    let suppressed = suppressed::find(cx, &rules, &leaks.groups)?;
    let groups: Vec<&leaks::Group> = leaks
        .groups
        .iter()
        .zip(&suppressed.is_hidden)
        .filter(|(_, is_hidden)| !**is_hidden)
        .map(|(group, _)| group)
        .filter(|group| {
            invocation
                .address
                .is_none_or(|pc| is_through(cx, group.stack, pc))
        })
        .collect();
    add_doubts(&leaks, &mut report);
    if groups.is_empty() {
        report.push(List::one(
            "leaks",
            nothing_found(cx, invocation.address, &leaks),
        ));
    } else {
        report.worsen(Status::Found);
        add_tables(cx, &groups, Shown::Lost, &mut report);
    }
    let estimates: Vec<Estimate> = estimates(cx, &leaks)
        .into_iter()
        .filter(|estimate| !suppressed.hides(cx, estimate.sizes, estimate.stack))
        .filter(|estimate| {
            let filter = invocation.address;
            filter.is_none_or(|pc| is_through(cx, estimate.stack, pc))
        })
        .collect();
    if !estimates.is_empty() || !groups.is_empty() {
        estimates::add(cx, "lost by stack", &estimates, &mut report);
    }
    suppressed.add_to(&mut report, invocation.has('v'));
    if invocation.has('d') {
        for group in groups {
            let detail = detail(cx, group, &mut report);
            report.push(detail);
        }
    }
    for (letter, shown, alive) in [
        ('i', Shown::Interior, Alive::Interior),
        ('r', Shown::Reachable, Alive::Reachable),
    ] {
        if invocation.has(letter) {
            let all = leaks.alive(cx.heap, alive, cx.cancel)?;
            let wanted = |group: &&leaks::Group| {
                let filter = invocation.address;
                filter.is_none_or(|pc| is_through(cx, group.stack, pc))
            };
            let groups: Vec<&leaks::Group> = all.iter().filter(wanted).collect();
            report.push(heading(shown, &groups));
            add_tables(cx, &groups, shown, &mut report);
        }
    }
    if invocation.has('m') {
        report.push(foreign(&leaks));
    }
    Ok(report)
}

/// The suppressions that count: those of `-x`, else those of the session.
fn rules(cx: &Context<'_>, invocation: &Invocation) -> Result<Suppressions, Error> {
    let mut rules = Suppressions::default();
    let files = || {
        invocation
            .values
            .iter()
            .filter(|(letter, _)| *letter == 'x')
    };
    if files().next().is_none() {
        return Ok(cx.state().suppressions.borrow().clone());
    }
    for (_, file) in files().filter(|(_, file)| file != "-") {
        rules
            .add_file(Path::new(file))
            .map_err(|refused| Error::failed(format!("findleaks: {refused}")))?;
    }
    Ok(rules)
}

/// Says what the tables that follow show, since it is no finding.
fn heading(shown: Shown, groups: &[&leaks::Group]) -> Section {
    let count = groups.iter().map(|group| group.count).sum();
    let text = match shown {
        Shown::Interior => " reached only by pointers into the middle",
        _ => " still reachable",
    };
    let key = match shown {
        Shown::Interior => "interior",
        _ => "reachable",
    };
    let sentence = Sentence::new().words("not lost: ");
    List::one(
        key,
        sentence.counted("buffers", count, "buffer").words(text),
    )
    .into()
}

/// Mappings that nothing leads to: of other allocators, stacks of threads that have ended, and the like.
fn foreign(leaks: &Leaks) -> Section {
    let mut table = Table::new(
        "foreign_mappings",
        vec![
            Column::right("start", "MAPPING", 16),
            Column::right("end", "END", 16),
            Column::right("bytes", "BYTES", 16),
        ],
    );
    for &(start, end) in &leaks.foreign {
        table.push(vec![
            Cell::Address(start),
            Cell::Address(end),
            Cell::Bytes(end.saturating_sub(start)),
        ]);
    }
    let bytes = leaks.foreign.iter().map(|range| range.1 - range.0).sum();
    let count = leaks.foreign.len() as u64;
    let sentence = Sentence::new()
        .words("not of umem, and not counted as leaks: ")
        .counted("mappings", count, "mapping")
        .words(" that nothing points to, ")
        .bytes("bytes", bytes);
    let mut sections: Vec<Section> = vec![List::one("foreign", sentence).into()];
    if !leaks.foreign.is_empty() {
        sections.push(table.into());
    }
    report::Group {
        key: "foreign",
        sections,
    }
    .into()
}

/// What is said when the allocator was never in service.
fn no_leaks_possible(state: u32) -> Option<&'static str> {
    match state {
        ready::READY => None,
        ready::FAILED => Some("findleaks: umem initialization failed -- no possible leaks."),
        _ => Some("findleaks: No allocations have occurred -- no possible leaks."),
    }
}

fn nothing_found(cx: &Context<'_>, filter: Option<u64>, leaks: &Leaks) -> Sentence {
    let text = Sentence::new();
    match filter {
        _ if !leaks.doubts.is_empty() => {
            text.words("findleaks: nothing found in what could be read")
        }
        None => text.words("findleaks: no memory leaks detected"),
        Some(pc) => text
            .words("findleaks: no memory leaks matching ")
            .value("filter", Cell::Symbol(cx.symbols.lookup(pc).into()))
            .words(" found"),
    }
}

/// Reasons that are named; more are counted.
const REASONS: usize = 3;

/// Says why there is no verdict.
fn add_doubts(leaks: &Leaks, report: &mut Report) {
    if leaks.doubts.is_empty() {
        return;
    }
    let named = leaks
        .doubts
        .iter()
        .take(REASONS)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join("; ");
    let more = match leaks.doubts.len().saturating_sub(REASONS) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    report.incomplete(format!("findleaks: no verdict: {named}{more}"));
    if !leaks.groups.is_empty() {
        report.push(List::one(
            "certainty",
            Sentence::new().words("not certain, since not all could be read:"),
        ));
    }
}

/// What the samples among all that is lost stand for, lost by itself or through others.
fn estimates(cx: &Context<'_>, leaks: &Leaks) -> Vec<Estimate> {
    let groups = leaks.groups.iter();
    let lost = groups.flat_map(|group| group.members.iter().chain(&group.held));
    match cx.heap.sample_bytes() {
        Some(_) => estimate::by_stack(cx.heap, lost.copied()),
        None => Vec::new(),
    }
}

/// Whether a stack goes through an address, or through the function that begins there.
fn is_through(cx: &Context<'_>, stack: u32, wanted: u64) -> bool {
    let trace = cx.heap.stack(stack).unwrap_or_default();
    trace.pcs.iter().any(|&pc| {
        let place = cx.place_of(&trace, pc);
        let is_now = place.symbol.is_some() && !place.unloaded;
        pc == wanted || (is_now && pc.wrapping_sub(place.offset) == wanted)
    })
}

/// The oldest of a group in full.
fn detail(cx: &Context<'_>, group: &leaks::Group, report: &mut Report) -> Section {
    let count = group.count;
    let (noun, end) = match group.kind {
        Kind::Block => ("vmem_seg", ""),
        Kind::Plain => ("buffer", ","),
        Kind::Audited => ("buffer", ""),
    };
    let name = cx.heap.owner_name(group.representative);
    let mut sentence = Sentence::new()
        .value("owner", Cell::text(name))
        .words(" leak: ")
        .counted("leaked", count, noun)
        .words(", ");
    if count > 1 {
        let each = Cell::ByteRange(group.sizes.0, group.sizes.1);
        sentence = sentence.value("bytes_each", each).words(" bytes each, ");
    }
    sentence = sentence
        .bytes("bytes", group.bytes)
        .words(if count > 1 { " total" } else { "" });
    sentence = holding(sentence, group.held.len() as u64, group.held_bytes).words(end);
    let mut sections: Vec<Section> = vec![List::one("summary", sentence).into()];
    match cx.record_table(group.representative, Show::Allocation, report) {
        Some(table) => sections.push(table.into()),
        None => {
            let address = Cell::Address(cx.heap.address(group.representative));
            let sample = Sentence::new()
                .words("    sample addr ")
                .value("buffer", address);
            sections.push(List::one("sample", sample).into());
        }
    }
    report::Group {
        key: "leak",
        sections,
    }
    .into()
}

fn cached() -> Section {
    let text = "findleaks: using cached results (use '-f' to force a full run)";
    List::one("statistics", Sentence::new().words(text)).into()
}

/// A line of the statistics: what people read, the name in JSON, the value, and whether it is shown as a share
/// of all words.
type Figure = (
    &'static str,
    &'static str,
    fn(&Context<'_>, &Leaks) -> u64,
    bool,
);

/// The statistics, in the order of mdb as far as it has them.
const FIGURES: [Figure; 13] = [
    (
        "actual buffers",
        "candidates",
        |_, leaks| leaks.stats.candidates,
        false,
    ),
    (
        "still reachable",
        "reachable",
        |_, leaks| leaks.reachable,
        false,
    ),
    (
        "by interior pointers only",
        "interior",
        |_, leaks| leaks.interior,
        false,
    ),
    (
        "potential pointers",
        "words",
        |_, leaks| leaks.stats.words,
        false,
    ),
    (
        "dismissals",
        "dismissals",
        |_, leaks| leaks.stats.dismissals,
        true,
    ),
    ("misses", "misses", |_, leaks| leaks.stats.misses, true),
    ("dups", "dups", |_, leaks| leaks.stats.dups, true),
    ("follows", "follows", |_, leaks| leaks.stats.follows, true),
    (
        "modules",
        "modules",
        |cx, _| {
            // Cores have the kernel's page of code for it or have not; no data is in it.
            let modules = cx.target.modules.iter();
            modules.filter(|module| module.path != "[vdso]").count() as u64
        },
        false,
    ),
    (
        "threads",
        "threads",
        |cx, _| cx.target.threads.len() as u64,
        false,
    ),
    (
        "root bytes scanned",
        "root_bytes",
        |_, leaks| leaks.stats.root_bytes,
        false,
    ),
    (
        "heap bytes scanned",
        "heap_bytes",
        |_, leaks| leaks.stats.heap_bytes,
        false,
    ),
    (
        "unreadable bytes",
        "unread",
        |_, leaks| leaks.stats.unread,
        false,
    ),
];

/// What was done, in the shape of mdb.
fn statistics(cx: &Context<'_>, leaks: &Leaks) -> Section {
    let line = |label: &str| Sentence::new().words(format!("findleaks: {label:>30} => "));
    let figures = FIGURES.iter().map(|&(label, key, value, is_share)| {
        let value = value(cx, leaks);
        let tenths = value.saturating_mul(1000) / leaks.stats.words.max(1);
        let share = if is_share {
            format!(" ({:>2}.{}%)", tenths / 10, tenths % 10)
        } else {
            String::new()
        };
        line(label).value(key, Cell::Count(value)).words(share)
    });
    let elapsed = Cell::Duration(leaks.elapsed.as_nanos() as u64);
    let sentences = figures.chain([line("elapsed wall time").value("elapsed", elapsed)]);
    let items = sentences
        .map(|sentence| Item {
            sentence,
            stacks: Vec::new(),
        })
        .collect();
    List {
        key: "statistics",
        items,
        ..List::default()
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dcmds::parts::testing::{run, run_published, text},
        heap::synthetic::{Builder, victim},
    };

    #[test]
    fn the_scenario_prints_one_leak_in_the_shape_of_mdb() {
        let (mut builder, [_, lost, _]) = victim();
        let (text, status) = text(&mut builder, &DCMD, None, &[]);
        let expected = format!(
            "CACHE             LEAKED           BUFCTL CALLER\n\
             {:016x}       1 {:016x} victim+0x200\n{}\n           Total       1 buffer, 50 bytes\n",
            builder.caches[0].0,
            lost.record,
            "-".repeat(72)
        );
        assert_eq!(text, expected);
        assert_eq!(status, Status::Found);
    }

    #[test]
    fn details_hold_record_and_stack() {
        let (mut builder, [_, lost, _]) = victim();
        let (text, _) = text(&mut builder, &DCMD, None, &["-d"]);
        assert!(
            text.contains("\n\numem_alloc_64 leak: 1 buffer, 50 bytes\n"),
            "{text}"
        );
        assert!(
            text.contains(&format!("{:>16x} {:>16x}", lost.record, lost.address)),
            "{text}"
        );
        assert!(
            text.ends_with(&format!(
                "{}victim+0x200\n{0}victim+0x10\n\n",
                " ".repeat(17)
            )),
            "{text}"
        );
    }

    #[test]
    fn an_address_filters_by_frame() {
        let (mut builder, _) = victim();
        assert_eq!(
            run(&mut builder, &DCMD, Some(0x40_0200), &[])
                .unwrap()
                .status,
            Status::Found
        );
        let (text, status) = text(&mut builder, &DCMD, Some(0x40_0100), &[]);
        assert_eq!(
            text,
            "findleaks: no memory leaks matching victim+0x100 found\n"
        );
        assert_eq!(status, Status::Clean);
    }

    #[test]
    fn oversized_leaks_have_a_section_of_their_own() {
        let mut builder = Builder::new();
        let stack = builder.stack(&[0x40_0100]);
        builder.block(20_000, stack);
        let (text, _) = text(&mut builder, &DCMD, None, &["-d"]);
        assert!(
            text.starts_with(
                "BYTES             LEAKED         VMEM_SEG CALLER\n20000                  1 "
            ),
            "{text}"
        );
        assert!(
            text.contains("           Total       1 oversized leak, 20000 bytes\n"),
            "{text}"
        );
        assert!(
            text.contains("umem_oversize leak: 1 vmem_seg, 20000 bytes\n"),
            "{text}"
        );
    }

    #[test]
    fn damage_leaves_the_answer_without_verdict() {
        let (mut builder, _) = victim();
        builder.publish();
        let first = builder.caches[0].0;
        builder.write_word(first, first);
        let report = run_published(&builder, &DCMD, None, &[]).unwrap();
        assert_eq!(report.status, Status::Incomplete);
        assert!(
            report.warnings[0]
                .what
                .starts_with("findleaks: no verdict: the list of caches loops")
        );
        assert!(matches!(&report.sections[1], Section::Table(table) if table.rows.len() == 1));
    }
}
