//! `::umem_cache`: all caches.

use super::{Address, Context, Dcmd, Error, Group, Invocation, Run};
use crate::{
    heap::{Cache, Counts},
    report::{Cell, Column, Report, Sentence, Table, Total},
};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "umem_cache",
    group: Group::Overview,
    address: Address::Optional,
    options: &[],
    operands: "",
    address_name: "cache",
    pipes: Some("caches"),
    columns: &[
        ("NAME", "what it is called in expressions"),
        ("ADDR", "address of the cache"),
        (
            "FLAG",
            "what it does for debugging: 1 audit, 2 deadbeef, 4 redzone, 8 contents, 20 no magazines, 200 records outside of the buffers",
        ),
        ("CFLAG", "how it was created"),
        ("BUFSIZE", "bytes of a buffer"),
        ("BUFTOTL", "buffers in its slabs"),
        ("INUSE", "of these, held by the program"),
        (
            "FREE",
            "of these, not held: free in slabs or magazines, waiting, or withdrawn",
        ),
    ],
    see: &["umastat", "umem_verify"],
    summary: "print a umem cache",
    help: HELP,
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Lists all caches in order of creation, or the one at an address or with a name.

    > umem_alloc_64::umem_cache";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let numbers: Vec<u32> = match invocation.address {
        None => (0..cx.heap.caches.len() as u32).collect(),
        Some(address) => vec![cx.heap.cache_number(address).ok_or_else(|| {
            Error::with_hint(
                format!("couldn't read umem_cache at {address:x}: no cache is there"),
                "::umem_cache lists the caches; their names can be used as addresses",
            )
        })?],
    };
    let mut report = Report::default();
    let mut table = Table::new("caches", columns());
    let mut sum = Counts::default();
    for &number in &numbers {
        cx.cancel.check()?;
        let counts = cx.heap.counts(number);
        table.push(cells(&cx.heap.caches[number as usize], &counts));
        sum.total += counts.total;
        sum.in_use += counts.in_use;
        sum.slab_bytes += counts.slab_bytes;
    }
    if invocation.address.is_none() {
        table.total = Some(total(numbers.len() as u64, &sum));
        cx.add_damage(&mut report);
    }
    report.push(table);
    Ok(report)
}

fn columns() -> Vec<Column> {
    vec![
        Column::left("address", "ADDR", 16).padded().piped(),
        Column::left("name", "NAME", 25),
        Column::right("flags", "FLAG", 4),
        Column::right("cflags", "CFLAG", 8),
        Column::right("buffer_size", "BUFSIZE", 8),
        Column::right("buffers", "BUFTOTL", 8),
        Column::right("in_use", "INUSE", 8),
        Column::right("free", "FREE", 8),
        Column::hidden("in_magazines"),
        Column::hidden("slab_bytes"),
        Column::hidden("chunk_size"),
    ]
}

fn cells(cache: &Cache, counts: &Counts) -> Vec<Cell> {
    let record = &cache.record;
    vec![
        Cell::Address(cache.address),
        Cell::text(cache.name.as_str()),
        Cell::Flags {
            bits: record.flags.into(),
            digits: 4,
        },
        Cell::Flags {
            bits: record.cflags.into(),
            digits: 8,
        },
        Cell::Bytes(record.buffer_size),
        Cell::Count(counts.total),
        Cell::Count(counts.in_use),
        Cell::Count(counts.total - counts.in_use),
        Cell::Count(counts.in_magazines),
        Cell::Bytes(counts.slab_bytes),
        Cell::Bytes(record.chunk_size),
    ]
}

fn total(caches: u64, sum: &Counts) -> Total {
    let plural = if caches == 1 { "" } else { "s" };
    let rest = Sentence::new()
        .words(format!(" cache{plural}, "))
        .counted("buffers", sum.total, "buffer")
        .words(": ")
        .value("in_use", Cell::Count(sum.in_use))
        .words(" in use, ")
        .value("free", Cell::Count(sum.total - sum.in_use))
        .words(" free, ")
        .bytes("slab_bytes", sum.slab_bytes)
        .words(" in slabs");
    Total {
        widths: (16, 7),
        count: caches,
        key: "caches",
        rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dcmds::parts::testing::{run, run_published, text},
        heap::synthetic::victim,
        report::Status,
    };

    #[test]
    fn caches_have_the_columns_of_mdb_and_totals_add_up() {
        let (mut builder, _) = victim();
        let cache = builder.caches[0].0;
        let (text, status) = text(&mut builder, &DCMD, None, &[]);
        let expected = format!(
            "ADDR             NAME                      FLAG    CFLAG  BUFSIZE  BUFTOTL    INUSE     FREE
{cache:016x} umem_alloc_64             002f 00000000       64      682        2      680
{}
           Total       1 cache, 682 buffers: 2 in use, 680 free, 65536 bytes in slabs
",
            "-".repeat(72)
        );
        assert_eq!(text, expected);
        assert_eq!(status, Status::Clean);
        let error = run(&mut builder, &DCMD, Some(8), &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "couldn't read umem_cache at 8: no cache is there"
        );
    }

    #[test]
    fn a_damaged_list_gives_the_rest_and_status_3() {
        let (mut builder, _) = victim();
        builder.cache("umem_alloc_128", 128, 0);
        builder.publish();
        let first = builder.caches[0].0;
        builder.write_word(first, first + 8);
        let report = run_published(&builder, &DCMD, None, &[]).unwrap();
        assert_eq!(report.status, Status::Incomplete);
        assert_eq!(report.sections.len(), 1);
        assert_eq!(report.warnings.len(), 1);
    }
}
