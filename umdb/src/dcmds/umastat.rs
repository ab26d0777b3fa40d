//! `::umastat`: how many buffers there are, and how much memory they take.

use std::collections::BTreeMap;

use super::{Address, Context, Dcmd, Error, Group, Invocation, Run};
use crate::{
    heap::{Branch, Counts},
    report::{self, Cell, Column, Report, Table},
};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "umastat",
    group: Group::Overview,
    address: Address::Forbidden,
    options: &[],
    operands: "",
    columns: &[
        ("buf size", "bytes of a buffer"),
        ("buf in use", "buffers that the program holds"),
        (
            "buf in mags",
            "buffers that are free in magazines, of threads and in the depot",
        ),
        (
            "buf free",
            "buffers that are free otherwise: in slabs, in quarantine, withdrawn, on their way",
        ),
        ("buf total", "all buffers, the sum of the three"),
        (
            "memory in use",
            "of a cache: bytes of its slabs; of an arena: bytes allocated from it",
        ),
        ("memory total", "bytes that the arena has"),
        (
            "memory import",
            "of these, bytes that it imported from the arena above",
        ),
        (
            "alloc succeed",
            "allocations since the start, each counted once",
        ),
        ("alloc fail", "allocations that failed"),
        (
            "% cap",
            "part of what a thread may keep, where there is a limit",
        ),
    ],
    see: &["umem_cache", "vmem", "umausers", "umem_malloc_info"],
    summary: "umem allocator stats",
    help: HELP,
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Three tables: what the magazines of each thread hold (where there are any), the
caches with a total for each arena that they take memory from, and the arenas.

Arenas are indented below the one that they take memory from. umem_oversize and umem_memalign hand out blocks too large or too aligned for
any cache: they stand here only.

    > ::umastat

Samples (UMEM_DEBUG=sample) are counted with the twins of their caches,
umem_sample_SIZE; twins that took none are left out.

libumem counts what threads keep as in use, and an allocation that had to reload
a magazine more than once; here both are counted as what they are.";

fn run(cx: &Context<'_>, _: &Invocation) -> Result<Report, Error> {
    let mut report = Report::default();
    let counts: Vec<Counts> = (0..cx.heap.caches.len() as u32)
        .map(|index| cx.heap.counts(index))
        .collect();
    cx.cancel.check()?;
    if let Some(table) = threads(cx) {
        report.push(table);
    }
    let sections = vec![caches(cx, &counts).into(), totals(cx, &counts).into()];
    report.push(report::Group {
        key: "caches",
        sections,
    });
    report.push(arenas(cx));
    let unknown: u64 = counts.iter().map(|counts| counts.unknown).sum();
    if unknown > 0 {
        report.incomplete(format!(
            "umastat: the state of {unknown} buffers is not known; they count as free"
        ));
    }
    cx.add_damage(&mut report);
    Ok(report)
}

fn cache_columns() -> Vec<Column> {
    vec![
        Column::left("name", "cache\nname", 25),
        Column::right("buffer_size", "buf\nsize", 6),
        Column::right("in_use", "buf\nin use", 7),
        Column::right("in_magazines", "buf\nin mags", 7),
        Column::right("rest", "buf\nfree", 7),
        Column::right("buffers", "buf\ntotal", 7),
        Column::right("slab_bytes", "memory\nin use", 7),
        Column::right("allocs", "alloc\nsucceed", 9),
        Column::right("fails", "alloc\nfail", 5),
        Column::hidden("in_threads"),
        Column::hidden("free"),
        Column::hidden("quarantined"),
        Column::hidden("abandoned"),
        Column::hidden("in_transit"),
        Column::hidden("unknown"),
        Column::hidden("frees"),
        Column::hidden("address"),
    ]
}

fn caches(cx: &Context<'_>, counts: &[Counts]) -> Table {
    let mut table = Table::new("caches", cache_columns());
    table.ruled = true;
    for (cache, counts) in cx.heap.caches.iter().zip(counts) {
        // Twins that took no sample yet would double the table.
        if cache.is_twin() && counts.allocs == 0 && counts.total == 0 {
            continue;
        }
        let mut cells = vec![
            Cell::text(cache.name.as_str()),
            Cell::Bytes(cache.record.buffer_size),
        ];
        let mut sum = Sum::default();
        sum.add(counts, cache.record.fails);
        cells.extend(sum.cells());
        cells.extend([
            Cell::Count(counts.in_threads),
            Cell::Count(counts.free),
            Cell::Count(counts.quarantined),
            Cell::Count(counts.abandoned),
            Cell::Count(counts.in_transit),
            Cell::Count(counts.unknown),
            Cell::Count(counts.frees),
            Cell::Address(cache.address),
        ]);
        table.push(cells);
    }
    table
}

/// What one cache has, or the caches of one arena have together.
#[derive(Default)]
struct Sum {
    in_use: u64,
    in_magazines: u64,
    rest: u64,
    total: u64,
    slab_bytes: u64,
    allocs: u64,
    fails: u64,
}

impl Sum {
    fn add(&mut self, counts: &Counts, fails: u64) {
        self.in_use += counts.in_use;
        self.in_magazines += counts.in_magazines;
        self.rest += counts.rest();
        self.total += counts.total;
        self.slab_bytes += counts.slab_bytes;
        self.allocs = self.allocs.saturating_add(counts.allocs);
        self.fails = self.fails.saturating_add(fails);
    }

    /// The columns that both tables have.
    fn cells(&self) -> [Cell; 7] {
        [
            Cell::Count(self.in_use),
            Cell::Count(self.in_magazines),
            Cell::Count(self.rest),
            Cell::Count(self.total),
            Cell::Scaled(self.slab_bytes),
            Cell::Count(self.allocs),
            Cell::Count(self.fails),
        ]
    }
}

/// One line for each arena that caches take memory from.
fn totals(cx: &Context<'_>, counts: &[Counts]) -> Table {
    let mut sums: BTreeMap<u64, Sum> = BTreeMap::new();
    for (cache, counts) in cx.heap.caches.iter().zip(counts) {
        let sum = sums.entry(cache.record.arena).or_default();
        sum.add(counts, cache.record.fails);
    }
    let mut columns = cache_columns();
    columns.retain(|column| !column.hidden && column.key != "buffer_size");
    // The name takes the place of the size as well.
    columns[0].width += 7;
    let mut table = Table::new("totals", columns);
    (table.ruled, table.headless) = (true, true);
    let in_tree = cx.heap.arena_tree().into_iter().map(|branch| {
        let arena = &cx.heap.arenas[branch.arena as usize];
        (arena.name.clone(), sums.remove(&arena.address))
    });
    let mut rows: Vec<(String, Sum)> = in_tree
        .filter_map(|(name, sum)| Some((name, sum?)))
        .collect();
    rows.extend(
        sums.into_iter()
            .map(|(address, sum)| (format!("{address:x}"), sum)),
    );
    for (name, sum) in rows
        .into_iter()
        .filter(|(_, sum)| sum.allocs + sum.fails > 0)
    {
        let mut cells = vec![Cell::text(format!("Total [{name}]"))];
        cells.extend(sum.cells());
        table.push(cells);
    }
    table
}

/// Blanks by which an arena stands further in than the one that it takes memory from.
const INDENT: usize = 4;

fn arenas(cx: &Context<'_>) -> Table {
    let columns = vec![
        Column::left("name", "vmem\nname", 25),
        Column::right("in_use", "memory\nin use", 9),
        Column::right("total", "memory\ntotal", 10),
        Column::right("imported", "memory\nimport", 9),
        Column::right("allocs", "alloc\nsucceed", 9),
        Column::right("fails", "alloc\nfail", 5),
        Column::hidden("frees"),
        Column::hidden("depth"),
        Column::hidden("address"),
    ];
    let mut table = Table::new("arenas", columns);
    table.ruled = true;
    for Branch { arena, depth } in cx.heap.arena_tree() {
        let arena = &cx.heap.arenas[arena as usize];
        table.push(vec![
            Cell::Nested {
                blanks: (depth as usize).min(5) * INDENT,
                name: arena.name.clone(),
            },
            Cell::Scaled(arena.record.in_use),
            Cell::Scaled(arena.record.total),
            Cell::Scaled(arena.record.imported),
            Cell::Count(arena.record.allocs),
            Cell::Count(arena.record.fails),
            Cell::Count(arena.record.frees),
            Cell::Number(depth.into()),
            Cell::Address(arena.address),
        ]);
    }
    table
}

/// Caches that are named of each thread.
const NAMED: usize = 3;

/// What the magazines of each thread hold.
fn threads(cx: &Context<'_>) -> Option<Table> {
    let mut by_thread: BTreeMap<u32, Vec<(u64, u64, u32)>> = BTreeMap::new();
    for held in cx.heap.held.iter().filter(|held| held.rounds > 0) {
        let size = cx.heap.caches[held.cache as usize].record.chunk_size;
        let bytes = held.rounds.saturating_mul(size);
        let of_thread = by_thread.entry(held.thread).or_default();
        of_thread.push((bytes, held.rounds, held.cache));
    }
    let columns = vec![
        Column::right("thread", "tid", 7),
        Column::right("buffers", "buf\ncached", 7),
        Column::right("bytes", "memory\ncached", 7),
        Column::right("of_limit", "% cap", 6),
        Column::left("largest", "most in", 49),
        Column::hidden("address"),
    ];
    let mut table = Table::new("threads", columns);
    table.ruled = true;
    let limit = cx.heap.root.record.options.perthread_cache;
    for (thread, mut held) in by_thread {
        held.sort_unstable_by(|a, b| b.cmp(a));
        let bytes: u64 = held.iter().map(|(bytes, _, _)| bytes).sum();
        let (address, record) = &cx.heap.threads[thread as usize];
        table.push(vec![
            Cell::Number(record.tid.into()),
            Cell::Count(held.iter().map(|(_, rounds, _)| rounds).sum()),
            Cell::Scaled(bytes),
            match limit {
                0 => Cell::Empty,
                limit => Cell::Percent((u128::from(bytes) * 1000 / u128::from(limit)) as u64),
            },
            Cell::text(most(cx, &held, bytes)),
            Cell::Address(*address),
        ]);
    }
    (!table.rows.is_empty()).then_some(table)
}

/// The caches of which a thread holds most, with their share.
fn most(cx: &Context<'_>, held: &[(u64, u64, u32)], total: u64) -> String {
    let share = |&(bytes, _, cache): &(u64, u64, u32)| {
        let name = &cx.heap.caches[cache as usize].name;
        let percent = u128::from(bytes) * 100 / u128::from(total.max(1));
        format!("{name} {percent}%")
    };
    let mut parts: Vec<String> = held.iter().take(NAMED).map(share).collect();
    if held.len() > NAMED {
        parts.push(format!("{} more", held.len() - NAMED));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dcmds::parts::testing::{run_published, text},
        heap::synthetic::Builder,
        report::Status,
    };

    #[test]
    fn caches_threads_and_arenas_have_their_tables_and_add_up() {
        let mut builder = Builder::new();
        let top = builder.arena("mmap_top", None, &[1024, 1024]);
        let source = builder.arena("umem_default", Some(top), &[1024]);
        let cache = builder.cache("umem_alloc_32", 32, 0);
        let slab = builder.slab(cache);
        let made = [(); 10].map(|()| builder.alloc(slab, 32, 0));
        builder.thread(7, cache, &made[..3], (9, 4));
        builder.caches[cache].1.depot_full = builder.magazine(&made[4..6]);
        let record = &mut builder.caches[cache].1;
        (record.allocs, record.fails, record.arena) = (100, 2, source);
        let (text, status) = text(&mut builder, &DCMD, None, &[]);
        let expected = "            buf  memory
    tid  cached  cached  % cap most in
------- ------- ------- ------ -------------------------------------------------
      7       3      96        umem_alloc_32 100%
------- ------- ------- ------ -------------------------------------------------

cache                        buf     buf     buf     buf     buf  memory     alloc alloc
name                        size  in use in mags    free   total  in use   succeed  fail
------------------------- ------ ------- ------- ------- ------- ------- --------- -----
umem_alloc_32                 32       5       5    2038    2048     64K       109     2
------------------------- ------ ------- ------- ------- ------- ------- --------- -----
Total [umem_default]                   5       5    2038    2048     64K       109     2
-------------------------------- ------- ------- ------- ------- ------- --------- -----

vmem                         memory     memory    memory     alloc alloc
name                         in use      total    import   succeed  fail
------------------------- --------- ---------- --------- --------- -----
mmap_top                         1K         2K         0         2     0
    umem_default                 1K         1K        1K         1     0
------------------------- --------- ---------- --------- --------- -----
";
        assert_eq!(text, expected);
        assert_eq!(status, Status::Clean);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let mut builder = Builder::new();
        let cache = builder.cache("umem_alloc_32", 32, 0);
        let slab = builder.slab(cache);
        for _ in 0..3 {
            builder.alloc(slab, 32, 0);
        }
        builder.publish();
        let bitmap = builder.heap().slabs[0].address + 0x28;
        builder.write_word(bitmap, 0x4141_4140);
        let report = run_published(&builder, &DCMD, None, &[]).unwrap();
        assert_eq!(report.status, Status::Incomplete);
        let expected = "umastat: the state of 3 buffers is not known; they count as free";
        assert_eq!(report.warnings[0].what, expected);
    }
}
