//! `::allocdby`: what a thread has allocated.

use super::{
    Context, Dcmd, Error, Invocation, Run,
    parts::by_thread::{self, help_of},
};
use crate::{analysis::by_thread::By, report::Report};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "allocdby",
    see: &["freedby", "bufctl", "umausers"],
    summary: "given a thread, print its allocated buffers",
    help: HELP,
    run: Run::Report(run),
    ..by_thread::BASE
};

const HELP: &str = help_of!(
    "\
Lists the records of all buffers that a thread has allocated and that the program
still holds, newest first: the record, when it was allocated, and who called.",
    "allocdby"
);

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    by_thread::table(cx, &DCMD, By::Allocation, invocation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dcmds::parts::testing::text, heap::synthetic::victim};

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
}
