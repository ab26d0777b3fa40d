//! `::count`: how many addresses came down a pipe.

use super::{Address, Context, Dcmd, Error, Filter, Group, Run, Shorthand};
use crate::report::{Cell, List, Report, Sentence};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "count",
    group: Group::Pipes,
    address: Address::Optional,
    pipes: Some("the number"),
    summary: "count the addresses of a pipe",
    help: HELP,
    see: &["head", "sort"],
    shorthands: &[Shorthand::of("::wc")],
    run: Run::Filter(|_, _| Ok(Box::new(Count(0)))),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Says how many addresses came down the pipe, in decimal digits. ::wc is the same.

    > ::walk umem_alloc_64 | ::count";

struct Count(u64);

impl Filter for Count {
    fn take(&mut self, _: &Context<'_>, _: u64) -> Result<(), Error> {
        self.0 += 1;
        Ok(())
    }

    fn finish(&mut self, _: &Context<'_>) -> Result<Report, Error> {
        let mut report = Report::default();
        let sentence = Sentence::new().value("count", Cell::Count(self.0));
        report.push(List {
            piped: "count",
            ..List::one("count", sentence)
        });
        Ok(report)
    }
}
