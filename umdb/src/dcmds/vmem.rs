//! `::vmem`: the arenas.

use super::{Address, Context, Dcmd, Error, Group, Invocation, Run};
use crate::{
    heap::Branch,
    report::{Cell, Column, Report, Table},
};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "vmem",
    group: Group::Overview,
    address: Address::Optional,
    options: &[],
    operands: "",
    address_name: "arena",
    pipes: Some("arenas"),
    columns: &[
        ("NAME", "what it is called in expressions"),
        ("ADDR", "address of the arena"),
        ("INUSE", "bytes allocated from it"),
        ("TOTAL", "bytes that it has"),
        ("SUCCEED", "allocations since the start"),
        ("FAIL", "allocations that failed"),
    ],
    see: &["vmem_seg", "umastat"],
    summary: "print a vmem arena",
    help: HELP,
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Lists all arenas, each indented below the one that it takes memory from, or the
one at an address or with a name.

What an arena imports is in use in its source.

    > umem_oversize::vmem";

/// Blanks by which an arena stands further in than the one that it takes memory from.
const INDENT: usize = 2;
/// Characters of a name that are shown.
const NAME: usize = 21;

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let mut tree = cx.heap.arena_tree();
    if let Some(address) = invocation.address {
        tree.retain(|branch| cx.heap.arenas[branch.arena as usize].address == address);
        if tree.is_empty() {
            return Err(Error::with_hint(
                format!("couldn't read vmem at {address:x}: no arena is there"),
                "::vmem lists the arenas; their names can be used as addresses",
            ));
        }
    }
    let mut report = Report::default();
    let mut table = Table::new("arenas", columns());
    for branch in tree {
        table.push(cells(cx, branch));
    }
    report.push(table);
    if invocation.address.is_none() {
        cx.add_damage(&mut report);
    }
    Ok(report)
}

fn columns() -> Vec<Column> {
    vec![
        Column::left("address", "ADDR", 16).padded().piped(),
        Column::left("name", "NAME", 22),
        Column::right("in_use", "INUSE", 10),
        Column::right("total", "TOTAL", 12),
        Column::right("allocs", "SUCCEED", 9),
        Column::right("fails", "FAIL", 5),
        Column::hidden("imported"),
        Column::hidden("frees"),
        Column::hidden("quantum"),
        Column::hidden("source"),
        Column::hidden("depth"),
    ]
}

fn cells(cx: &Context<'_>, Branch { arena, depth }: Branch) -> Vec<Cell> {
    let arena = &cx.heap.arenas[arena as usize];
    let record = &arena.record;
    let blanks = (depth as usize * INDENT).min(NAME / 2);
    vec![
        Cell::Address(arena.address),
        Cell::Nested {
            blanks,
            name: arena.name.chars().take(NAME - blanks).collect(),
        },
        Cell::Bytes(record.in_use),
        Cell::Bytes(record.total),
        Cell::Count(record.allocs),
        Cell::Count(record.fails),
        Cell::Bytes(record.imported),
        Cell::Count(record.frees),
        Cell::Bytes(record.quantum),
        Cell::Address(record.source),
        Cell::Number(depth.into()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dcmds::parts::testing::{run, text},
        heap::synthetic::Builder,
    };

    #[test]
    fn arenas_stand_below_their_sources() {
        let mut builder = Builder::new();
        let top = builder.arena("mmap_top", None, &[1024, 4096]);
        let child = builder.arena("umem_default", Some(top), &[512, 512]);
        let (all, _) = text(&mut builder, &DCMD, None, &[]);
        let header =
            "ADDR             NAME                        INUSE        TOTAL   SUCCEED  FAIL\n";
        let first =
            format!("{top:016x} mmap_top                     1024         5120         2     0\n");
        let second = |blanks| {
            format!(
                "{child:016x} {blanks}umem_default{:<8}        512         1024         2     0\n",
                ""
            )
        };
        assert_eq!(all, format!("{header}{first}{}", second("  ")));
        let (one, _) = text(&mut builder, &DCMD, Some(child), &[]);
        assert_eq!(one, format!("{header}{}", second("  ")));
        let error = run(&mut builder, &DCMD, Some(8), &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "couldn't read vmem at 8: no arena is there"
        );
    }
}
