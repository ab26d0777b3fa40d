//! `::allocdby`: what a thread has allocated.

use super::{Address, Context, Dcmd, Error, Group, Invocation, Run, parts::by_thread};
use crate::{analysis::by_thread::By, report::Report};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "allocdby",
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
    see: &["freedby", "bufctl", "umausers"],
    summary: "given a thread, print its allocated buffers",
    help: HELP,
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Lists the records of all buffers that a thread has allocated and that the program
still holds, newest first: the record, when it was allocated, and who called.

The address is the number of the thread, as other commands show it; those are
decimal, and numbers are typed in hexadecimal unless they begin with 0t.

    > 0t1234::allocdby

Needs UMEM_DEBUG=default (or audit) when the program is started. Buffers of a
program that runs without have no records.";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let thread = invocation.address.unwrap_or_default();
    by_thread::table(cx, DCMD.name, By::Allocation, thread)
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
        let (mut builder, [kept, lost, _]) = victim();
        let (shown, _) = text(&mut builder, &DCMD, Some(7), &[]);
        let expected = format!(
            "BUFCTL           TIMESTAMP    CALLER
{:016x} 3fc          victim+0x200
{:016x} 3f2          victim+0x100
",
            lost.record, kept.record
        );
        assert_eq!(shown, expected);
        let (shown, _) = text(&mut builder, &DCMD, Some(8), &[]);
        assert_eq!(shown, "BUFCTL           TIMESTAMP    CALLER\n");
    }

    #[test]
    fn without_records_it_cannot_do_its_work() {
        let mut builder = Builder::new();
        let cache = builder.cache("umem_alloc_64", 64, 0);
        builder.slab(cache);
        let error = run(&mut builder, &DCMD, Some(7), &[]).unwrap_err();
        let expected = "allocdby: UMF_AUDIT is not enabled for any caches";
        assert_eq!(error.to_string(), expected);
    }
}
