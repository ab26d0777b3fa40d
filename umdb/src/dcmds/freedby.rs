//! `::freedby`: what a thread has freed.

use super::{
    Context, Dcmd, Error, Invocation, Run,
    parts::by_thread::{self, help_of},
};
use crate::{analysis::by_thread::By, report::Report};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "freedby",
    see: &["allocdby", "bufctl", "umausers"],
    summary: "given a thread, print its freed buffers",
    help: HELP,
    run: Run::Report(run),
    ..by_thread::BASE
};

const HELP: &str = help_of!(
    "\
Lists the records of all free buffers that a thread was the last to free, newest
first: the record, when it was freed, and who called.",
    "freedby"
);

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    by_thread::table(cx, &DCMD, By::Free, invocation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dcmds::parts::testing::text, heap::synthetic::victim};

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
}
