//! `::vmem_seg`: a segment of an arena.

use umem_layout::{Segment, cache_flag, segment_kind};

use super::{
    Address, Context, Dcmd, Error, Group, Invocation, Opt, Run,
    parts::filter::{self, Filter, Transaction},
};
use crate::report::{Cell, Column, Report, Row, StackView, Table};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "vmem_seg",
    group: Group::Addresses,
    address: Address::Required,
    options: &[
        Opt::flag('v', "the whole segment with the stack of its allocation"),
        Opt::flag('s', "size instead of end"),
        filter::CALLER,
        filter::EARLIEST,
        filter::LATEST,
        Opt::value('m', "minsize", "only of this size or larger"),
        Opt::value('M', "maxsize", "only of this size or smaller"),
        filter::THREAD,
        Opt::value(
            'T',
            "type",
            "only of this type: ALLOC FREE SPAN ROTOR WALKER",
        ),
    ],
    operands: "",
    address_name: "segment",
    pipes: Some("segments"),
    columns: &[
        ("TYPE", "ALLC, FREE, SPAN, ROTR or WLKR"),
        ("START", "first address"),
        ("END", "one past the last"),
        ("SIZE", "bytes"),
        ("WHO", "caller of the allocation function"),
    ],
    see: &["vmem", "whatis"],
    summary: "print or filter a vmem_seg",
    help: HELP,
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Shows the segment (boundary tag) at an address: a span of an arena, or an
allocated or free piece of one. The address of an allocated block of
umem_oversize or umem_memalign will do as well.

Who allocated is recorded for blocks only, and with audit on. Segments
without that record pass none of -c, -e, -l and -t. Sizes and times are
hexadecimal, as all numbers are.

    > umem_oversize::walk vmem_alloc | ::vmem_seg -s";

/// Names of types: what the option takes, and what is shown.
const TYPES: [(&[&str], &str, u32); 5] = [
    (&["ALLOC", "ALLC"], "ALLC", segment_kind::ALLOC),
    (&["FREE"], "FREE", segment_kind::FREE),
    (&["SPAN"], "SPAN", segment_kind::SPAN),
    (&["ROTOR", "ROTR"], "ROTR", segment_kind::ROTOR),
    (&["WALKER", "WLKR"], "WLKR", segment_kind::WALKER),
];

/// What the options ask for.
struct Wanted {
    filter: Filter,
    sizes: (u64, u64),
    kind: Option<u32>,
}

impl Wanted {
    fn of(cx: &Context<'_>, invocation: &Invocation) -> Result<Self, Error> {
        let kind = invocation.value('T').map(kind_named).transpose()?;
        let least = cx.option(invocation, 'm')?.unwrap_or(0);
        let most = cx.option(invocation, 'M')?.unwrap_or(u64::MAX);
        Ok(Self {
            filter: Filter::of(cx, invocation)?,
            sizes: (least, most),
            kind,
        })
    }

    fn passes(&self, cx: &Context<'_>, segment: &Segment) -> bool {
        let size = segment.end - segment.start;
        let is_recorded = transaction(segment).is_some_and(|t| self.filter.passes(cx, &t));
        size >= self.sizes.0
            && size <= self.sizes.1
            && self.kind.is_none_or(|kind| kind == segment.kind)
            && (self.filter.is_open() || is_recorded)
    }
}

fn kind_named(text: &str) -> Result<u32, Error> {
    let kind = TYPES.iter().find(|(names, _, _)| names.contains(&text));
    kind.map(|(_, _, kind)| *kind)
        .ok_or_else(|| DCMD.misused(format!("\"{text}\" is not a recognized vmem_seg type")))
}

/// The last transaction of a block whose record is kept.
fn transaction(segment: &Segment) -> Option<Transaction> {
    let is_audited = u32::from(segment.flags) & cache_flag::AUDIT != 0;
    if !is_audited || segment.kind != segment_kind::ALLOC {
        return None;
    }
    Some(Transaction::last(&segment.record))
}

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let wanted = Wanted::of(cx, invocation)?;
    let given = invocation.address.unwrap_or_default();
    let block = cx.heap.block_at(given).map(|block| cx.heap.block(block));
    let address = block
        .filter(|block| block.buffer == given)
        .map_or(given, |block| block.segment);
    let segment = cx.heap.segment(address).map_err(|damage| {
        Error::Missing(format!("couldn't read vmem_seg at {given:x}: {damage}"))
    })?;
    if !is_known(segment.kind) {
        let what = format!("vmem_seg: no segment is at {address:x}");
        return Err(Error::with_hint(
            what,
            format!("{address:x}::whatis says what is there"),
        ));
    }
    let mut report = Report::default();
    if !wanted.passes(cx, &segment) {
        return Ok(report);
    }
    let neighbour = cx.heap.segment(segment.next);
    if neighbour.is_ok_and(|next| next.prev != address) || segment.next == 0 {
        report.incomplete(format!(
            "vmem_seg: {address:x} may be no segment, or damaged: its neighbour does not point back"
        ));
    }
    let table = if invocation.has('v') {
        verbose(cx, address, &segment, &mut report)
    } else {
        short(cx, address, &segment, invocation.has('s'))
    };
    report.push(table);
    Ok(report)
}

fn is_known(kind: u32) -> bool {
    TYPES.iter().any(|(_, _, known)| *known == kind)
}

fn type_name(kind: u32) -> &'static str {
    let known = TYPES.iter().find(|(_, _, known)| *known == kind);
    known.map_or("????", |(_, name, _)| name)
}

fn short(cx: &Context<'_>, address: u64, segment: &Segment, with_size: bool) -> Table {
    let end = if with_size {
        Column::right("size", "SIZE", 16)
    } else {
        Column::right("end", "END", 16).padded()
    };
    let columns = vec![
        Column::right("address", "ADDR", 16).padded().piped(),
        Column::right("type", "TYPE", 4),
        Column::right("start", "START", 16).padded(),
        end,
        Column::left("who", "WHO", 0),
    ];
    let mut table = Table::new("segments", columns);
    let who = transaction(segment).filter(|transaction| transaction.stack != 0);
    table.push(vec![
        Cell::Address(address),
        Cell::text(type_name(segment.kind)),
        Cell::Address(segment.start),
        if with_size {
            Cell::Bytes(segment.end - segment.start)
        } else {
            Cell::Address(segment.end)
        },
        who.map_or(Cell::Empty, |transaction| cx.caller(transaction.stack)),
    ]);
    table
}

fn verbose(cx: &Context<'_>, address: u64, segment: &Segment, report: &mut Report) -> Table {
    let columns = vec![
        Column::right("address", "ADDR", 16).padded().piped(),
        Column::right("type", "TYPE", 4),
        Column::right("start", "START", 16).padded(),
        Column::right("end", "END", 16).padded(),
        Column::right("size", "SIZE", 16),
        Column::right("thread", "THREAD", 38).on_line(1),
        Column::right("timestamp", "TIMESTAMP", 16).on_line(1),
    ];
    let mut table = Table::new("segments", columns);
    table.stacks = StackView::Indented(17);
    table.spaced = true;
    let known = transaction(segment);
    let (thread, time) = known.map_or((Cell::Empty, Cell::Empty), |known| {
        let time = cx.heap.clock.monotonic(known.time);
        (Cell::Number(known.thread.into()), Cell::Time(time))
    });
    let stacks = known
        .filter(|known| known.stack != 0)
        .map(|known| cx.stack("allocated", known.stack, report));
    table.rows.push(Row {
        cells: vec![
            Cell::Address(address),
            Cell::text(type_name(segment.kind)),
            Cell::Address(segment.start),
            Cell::Address(segment.end),
            Cell::Bytes(segment.end - segment.start),
            thread,
            time,
        ],
        stacks: stacks.into_iter().collect(),
    });
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dcmds::parts::testing::{run, run_published, text},
        heap::synthetic::Builder,
        render::write_text,
    };

    fn block() -> (Builder, u64, u64) {
        let mut builder = Builder::new();
        let stack = builder.stack(&[0x40_0100, 0x40_0010]);
        let block = builder.block(20_000, stack);
        builder.publish();
        let segment = builder.heap().blocks[0].segment;
        (builder, block, segment)
    }

    #[test]
    fn a_segment_is_found_by_its_address_and_by_that_of_its_block() {
        let (mut builder, block, segment) = block();
        let (short, _) = text(&mut builder, &DCMD, Some(segment), &[]);
        let end = block + 20_480;
        let expected = format!(
            "            ADDR TYPE            START              END WHO\n{segment:016x} ALLC {block:016x} {end:016x} victim+0x100\n"
        );
        assert_eq!(short, expected);
        let (same, _) = text(&mut builder, &DCMD, Some(block), &[]);
        assert_eq!(same, expected);
        let (sized, _) = text(&mut builder, &DCMD, Some(segment), &["-s"]);
        assert!(sized.ends_with(&format!("{block:016x}            20480 victim+0x100\n")));
        let (verbose, _) = text(&mut builder, &DCMD, Some(segment), &["-v"]);
        let expected = format!(
            "            ADDR TYPE            START              END             SIZE
                                THREAD        TIMESTAMP
{segment:016x} ALLC {block:016x} {end:016x}            20480
                                     7              3f2
                 victim+0x100
                 victim+0x10

"
        );
        assert_eq!(verbose, expected);
    }

    #[test]
    fn each_filter_lets_its_own_pass() {
        let (builder, _, segment) = block();
        let is_shown = |words: &[&str]| {
            let report = run_published(&builder, &DCMD, Some(segment), words).unwrap();
            !write_text(&report).is_empty()
        };
        for words in [
            ["-m", "5000"],
            ["-M", "5000"],
            ["-T", "ALLOC"],
            ["-t", "7"],
            ["-c", "400100"],
            ["-e", "3f2"],
            ["-l", "3f2"],
        ] {
            assert!(is_shown(&words), "{words:?}");
        }
        for words in [
            ["-m", "5001"],
            ["-M", "4fff"],
            ["-T", "FREE"],
            ["-t", "8"],
            ["-c", "400108"],
            ["-e", "3f3"],
            ["-l", "3f1"],
        ] {
            assert!(!is_shown(&words), "{words:?}");
        }
    }

    #[test]
    fn what_is_no_segment_or_type_is_named() {
        let (mut builder, block, segment) = block();
        let mut error = |address, words: &[&str]| {
            run(&mut builder, &DCMD, Some(address), words)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            error(segment, &["-T", "X"]),
            "vmem_seg: \"X\" is not a recognized vmem_seg type"
        );
        let start = format!("couldn't read vmem_seg at {:x}", 0x4141_4140);
        assert!(error(0x4141_4140, &[]).starts_with(&start));
        assert_eq!(
            error(block + 0x1000, &[]),
            format!("vmem_seg: no segment is at {:x}", block + 0x1000)
        );
        assert!(error(segment, &["-m", "xyz"]).starts_with("-m xyz: "));
    }
}
