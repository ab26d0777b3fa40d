//! `::umem_malloc_info`: how well the caches of malloc fit what is asked for.

use umem_layout::{AuditRecord, policy};

use super::{
    Address, Context, Dcmd, Error, Group, Invocation, Run,
    parts::{
        distribution::{self, Shape, Sizes},
        requests::{Requests, add_unknown},
    },
};
use crate::{
    heap::{Cache, Counts},
    report::{self, Cell, Column, Report, Table},
};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "umem_malloc_info",
    group: Group::Overview,
    address: Address::Optional,
    options: &distribution::OPTIONS,
    operands: "",
    address_name: "cache",
    pipes: Some("caches"),
    columns: &[
        ("CACHE", "address of the cache"),
        ("BUFSZ", "bytes of a buffer"),
        (
            "MAXMAL",
            "largest request that it serves: the same, since buffers have no header",
        ),
        ("BUFMALLC", "buffers that the program holds"),
        ("AVG_MAL", "mean of their requested sizes"),
        ("MALLOCED", "sum of these"),
        (
            "OVERHEAD",
            "what the buffers take beyond that: rounding, redzones, their part of unused ends of slabs and of records",
        ),
        ("%OVER", "the overhead as part of what was asked for"),
    ],
    see: &["umem_malloc_dist", "umastat"],
    summary: "report information about malloc()s by cache",
    help: HELP,
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Shows for each cache that serves malloc, or for the one at an address or with a
name, how many of its buffers the program holds and what they cost beyond what
was asked for.

Any of the options adds the distribution of the requested sizes of each cache.

    > umem_alloc_64::umem_malloc_info -b 0t8

What was asked for is known with UMEM_DEBUG=guards, audit or default; otherwise
the size of the buffer is taken, and that is said.";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let shape = Shape::was_asked_for(invocation)
        .then(|| Shape::of(cx, invocation))
        .transpose()?;
    let numbers = match invocation.address {
        None => (0..cx.heap.caches.len() as u32)
            .filter(|&number| serves_malloc(&cx.heap.caches[number as usize]))
            .collect(),
        Some(address) => vec![one(cx, address)?],
    };
    let mut report = Report::default();
    let mut all = Table::new("caches", columns());
    let mut unknown = 0;
    for number in numbers {
        let cache = &cx.heap.caches[number as usize];
        let requests = cx.requests(cache, &mut report)?;
        unknown += requests.unknown;
        let cells = cells(cx, cache, &cx.heap.counts(number), &requests);
        match &shape {
            None => all.push(cells),
            Some(shape) => report.push(with_distribution(cx, cache, cells, shape, &requests)),
        }
    }
    if shape.is_none() {
        report.push(all);
    }
    add_unknown(DCMD.name, unknown, &mut report);
    Ok(report)
}

/// The row of a cache and the distribution of the sizes that it serves.
fn with_distribution(
    cx: &Context<'_>,
    cache: &Cache,
    cells: Vec<Cell>,
    shape: &Shape,
    requests: &Requests,
) -> report::Group {
    let mut table = Table::new("caches", columns());
    table.push(cells);
    let mut sizes = Sizes::default();
    requests.sizes.iter().for_each(|&size| sizes.add(size));
    let range = (smallest(cx, cache), cache.record.buffer_size);
    report::Group {
        key: "cache",
        sections: vec![table.into(), shape.histogram(&sizes, range)],
    }
}

fn serves_malloc(cache: &Cache) -> bool {
    cache.is_user() && cache.record.policy & policy::SIZED != 0
}

fn one(cx: &Context<'_>, address: u64) -> Result<u32, Error> {
    let number = cx.heap.cache_number(address).ok_or_else(|| {
        Error::with_hint(
            format!("umem_malloc_info: {address:x} is not a cache"),
            "::umem_cache lists the caches; their names can be used as addresses",
        )
    })?;
    let cache = &cx.heap.caches[number as usize];
    if serves_malloc(cache) {
        return Ok(number);
    }
    Err(Error::failed(format!(
        "umem_malloc_info: cache \"{}\" is not used by malloc()",
        cache.name
    )))
}

/// The smallest request that a cache serves: one more than the cache before it.
fn smallest(cx: &Context<'_>, cache: &Cache) -> u64 {
    let sizes = cx.heap.caches.iter().filter(|other| serves_malloc(other));
    sizes
        .map(|other| other.record.buffer_size)
        .filter(|&size| size < cache.record.buffer_size)
        .max()
        .map_or(0, |below| below + 1)
}

fn columns() -> Vec<Column> {
    vec![
        Column::left("cache", "CACHE", 16).padded().piped(),
        Column::right("buffer_size", "BUFSZ", 6),
        Column::right("largest", "MAXMAL", 6),
        Column::right("buffers", "BUFMALLC", 8),
        Column::right("average", "AVG_MAL", 8),
        Column::right("bytes", "MALLOCED", 10),
        Column::right("overhead", "OVERHEAD", 10),
        Column::right("overhead_share", "%OVER", 6),
        Column::hidden("name"),
        Column::hidden("unknown"),
    ]
}

fn cells(cx: &Context<'_>, cache: &Cache, counts: &Counts, requests: &Requests) -> Vec<Cell> {
    let held = requests.sizes.len() as u64;
    let bytes: u64 = requests.sizes.iter().sum();
    let taken = memory(cx, cache, counts, held);
    let overhead = taken.saturating_sub(bytes);
    let share = u128::from(overhead) * 1000 / u128::from(bytes.max(1));
    let size = cache.record.buffer_size;
    vec![
        Cell::Address(cache.address),
        Cell::Bytes(size),
        Cell::Bytes(size),
        Cell::Count(held),
        Cell::Bytes(bytes / held.max(1)),
        Cell::Bytes(bytes),
        Cell::Bytes(overhead),
        match bytes {
            0 => Cell::Empty,
            _ => Cell::Percent(share as u64),
        },
        Cell::text(cache.name.as_str()),
        Cell::Count(requests.unknown),
    ]
}

/// Bytes of slabs and records that held buffers take: their part of both.
fn memory(cx: &Context<'_>, cache: &Cache, counts: &Counts, held: u64) -> u64 {
    let record = if cache.is_audited() {
        cx.heap.reader.stride::<AuditRecord>() as u64
    } else {
        0
    };
    let records = counts.total.saturating_mul(record);
    let all = u128::from(counts.slab_bytes.saturating_add(records));
    (all * u128::from(held) / u128::from(counts.total.max(1))) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dcmds::parts::testing::{run, text},
        heap::synthetic::{Builder, DEBUG},
    };

    fn heap() -> Builder {
        let mut builder = Builder::new();
        for size in [16, 64] {
            let cache = builder.cache(&format!("umem_alloc_{size}"), size, DEBUG);
            let slab = builder.slab(cache);
            for _ in 0..10 {
                builder.alloc(slab, size - 6, 0);
            }
        }
        let own = builder.cache("program's own", 64, DEBUG);
        builder.caches[own].1.policy = policy::USER;
        builder
    }

    #[test]
    fn overhead_is_what_buffers_take_beyond_their_requests() {
        let mut builder = heap();
        let (shown, _) = text(&mut builder, &DCMD, None, &[]);
        // 16: chunks of 48, 1365 a slab, each with a record of 48: 65536 / 1365 + 48 a buffer.
        // 64: chunks of 96, 682 a slab: 65536 / 682 + 48.
        let expected = format!(
            "CACHE             BUFSZ MAXMAL BUFMALLC  AVG_MAL   MALLOCED   OVERHEAD  %OVER
{:016x}     16     16       10       10        100        860 860.0%
{:016x}     64     64       10       58        580        860 148.2%
",
            builder.caches[0].0, builder.caches[1].0
        );
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_distribution_has_the_sizes_of_its_cache() {
        let mut builder = heap();
        let cache = builder.caches[1].0;
        let (shown, _) = text(&mut builder, &DCMD, Some(cache), &["-b", "3"]);
        let rest: Vec<&str> = shown.lines().skip(2).collect();
        let expected = [
            "malloc size  ------------------ Distribution ------------------ count",
            "      17-32 |                                                   0",
            "      33-48 |                                                   0",
            "      49-64 |@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@ 10",
        ];
        assert_eq!(rest, expected);
    }

    #[test]
    fn other_caches_are_refused() {
        let mut builder = heap();
        let own = builder.caches[2].0;
        let error = run(&mut builder, &DCMD, Some(own), &[]).unwrap_err();
        let expected = "umem_malloc_info: cache \"program's own\" is not used by malloc()";
        assert_eq!(error.to_string(), expected);
        assert!(run(&mut builder, &DCMD, Some(8), &[]).is_err());
    }
}
