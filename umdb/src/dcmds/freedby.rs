//! `::freedby`: what a thread has freed.

use super::{Address, Context, Dcmd, Error, Group, Invocation, Run, parts::by_thread};
use crate::{analysis::by_thread::By, report::Report};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "freedby",
    group: Group::Addresses,
    address: Address::Required,
    options: &[],
    operands: "",
    address_name: "thread",
    pipes: Some("bufctls"),
    columns: &[
        ("BUFCTL", "address of the record"),
        (
            "TIMESTAMP",
            "when, hexadecimal, in nanoseconds of the monotonic clock",
        ),
        ("CALLER", "who called"),
    ],
    see: &["allocdby", "bufctl", "umausers"],
    summary: "given a thread, print its freed buffers",
    help: HELP,
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Lists the records of all free buffers that a thread was the last to free, newest
first: the record, when it was freed, and who called.

The address is the number of the thread, as other commands show it; those are
decimal, and numbers are typed in hexadecimal unless they begin with 0t.

    > 0t1234::freedby

Needs UMEM_DEBUG=default (or audit) when the program is started. Buffers of a
program that runs without have no records.";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let thread = invocation.address.unwrap_or_default();
    by_thread::table(cx, DCMD.name, By::Free, thread)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dcmds::parts::testing::{run, text},
        heap::synthetic::{Builder, victim},
    };

    #[test]
    fn records_come_newest_first() {
        let (mut builder, [.., freed]) = victim();
        let (shown, _) = text(&mut builder, &DCMD, Some(8), &[]);
        let expected = format!(
            "BUFCTL           TIMESTAMP    CALLER
{:016x} 410          victim+0x300
",
            freed.record
        );
        assert_eq!(shown, expected);
        let (shown, _) = text(&mut builder, &DCMD, Some(7), &[]);
        assert_eq!(shown, "BUFCTL           TIMESTAMP    CALLER\n");
    }

    #[test]
    fn without_records_it_cannot_do_its_work() {
        let mut builder = Builder::new();
        let cache = builder.cache("umem_alloc_64", 64, 0);
        builder.slab(cache);
        let error = run(&mut builder, &DCMD, Some(7), &[]).unwrap_err();
        let expected = "freedby: UMF_AUDIT is not enabled for any caches";
        assert_eq!(error.to_string(), expected);
    }
}
