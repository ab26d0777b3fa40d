//! `::umem_malloc_dist`: which sizes the program asked for.

use umem_layout::policy;

use super::{
    Address, Context, Dcmd, Error, Group, Invocation, Run,
    parts::{
        distribution::{self, Shape, Sizes},
        record::is_held,
        requests::add_unknown,
    },
};
use crate::report::Report;

pub(super) const DCMD: Dcmd = Dcmd {
    name: "umem_malloc_dist",
    group: Group::Overview,
    address: Address::Forbidden,
    options: &distribution::OPTIONS,
    operands: "",
    see: &["umem_malloc_info", "umausers"],
    summary: "report distribution of outstanding malloc()s",
    help: HELP,
    columns: &[
        (
            "malloc size",
            "the sizes of a bin: from the first to the last byte",
        ),
        (
            "Distribution",
            "a bar as long as the bin's share of all blocks",
        ),
        ("count", "blocks in the bin"),
    ],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Shows how the sizes of all blocks that the program got from malloc and still
holds are distributed: a line for each range of sizes, with a bar as long as its
share, and the number of blocks. Blocks too large for any cache are counted too,
which libumem's command leaves out.

Without option the bins are as -g makes them: each twice as wide as the one
before. With -b or -B they are equally wide. -d lists each size with its count.

    > ::umem_malloc_dist -b 0t10

What was asked for is known with UMEM_DEBUG=guards, audit or default; otherwise
the size of the buffer is taken, and that is said.";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let mut shape = Shape::of(cx, invocation)?;
    if !Shape::was_asked_for(invocation) {
        shape = Shape::geometric();
    }
    let mut report = Report::default();
    let (mut sizes, mut unknown) = (Sizes::default(), 0);
    let is_sized = |bits: u32| bits & policy::SIZED != 0;
    for cache in &cx.heap.caches {
        if cache.is_user() && is_sized(cache.record.policy) {
            let requests = cx.requests(cache, &mut report)?;
            requests.sizes.iter().for_each(|&size| sizes.add(size));
            unknown += requests.unknown;
        }
    }
    let blocks = cx.heap.blocks.iter().filter(|block| is_held(block.state));
    blocks.for_each(|block| sizes.add(block.requested));
    let largest = sizes.largest();
    report.push(shape.histogram(&sizes, (0, largest)));
    add_unknown(DCMD.name, unknown, &mut report);
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dcmds::parts::testing::{run, text},
        heap::synthetic::{Builder, DEBUG},
    };

    fn heap(flags: u32) -> Builder {
        let mut builder = Builder::new();
        let cache = builder.cache("umem_alloc_16", 16, flags);
        let slab = builder.slab(cache);
        for size in [1, 8, 8, 9] {
            builder.alloc(slab, size, 0);
        }
        builder
    }

    #[test]
    fn a_bar_is_as_long_as_its_share() {
        let mut builder = heap(DEBUG);
        let (shown, _) = text(&mut builder, &DCMD, None, &["-b", "0t5"]);
        let expected = "\
malloc size  ------------------ Distribution ------------------ count
        0-1 |@@@@@@@@@@@@                                       1
        2-3 |                                                   0
        4-5 |                                                   0
        6-7 |                                                   0
        8-9 |@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@              3
";
        assert_eq!(shown, expected);
        let (raw, _) = text(&mut builder, &DCMD, None, &["-d"]);
        assert_eq!(raw, "1\t1\n8\t2\n9\t1\n");
    }

    #[test]
    fn blocks_count_too() {
        let mut builder = heap(DEBUG);
        builder.block(20_000, 0);
        let (raw, _) = text(&mut builder, &DCMD, None, &["-d"]);
        assert_eq!(raw, "1\t1\n8\t2\n9\t1\n20000\t1\n");
    }

    #[test]
    fn where_sizes_are_not_kept_that_is_said() {
        let report = run(&mut heap(0), &DCMD, None, &["-d"]).unwrap();
        assert_eq!(crate::render::write_text(&report), "16\t4\n");
        assert!(
            report.warnings[0]
                .what
                .contains("requested size of 4 buffers is not known")
        );
        assert!(run(&mut heap(0), &DCMD, None, &["-b", "0"]).is_err());
    }
}
