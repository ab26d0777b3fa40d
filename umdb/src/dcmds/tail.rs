//! `::tail`: the last addresses of a pipe.

use std::collections::VecDeque;

use super::{
    Address, Context, Dcmd, Error, Filter, Group, Invocation, Run, parts::operands::how_many,
};
use crate::report::Report;

pub(super) const DCMD: Dcmd = Dcmd {
    name: "tail",
    group: Group::Pipes,
    address: Address::Optional,
    pipes: Some("the last addresses"),
    operands: "[-number]",
    summary: "let the last addresses of a pipe through",
    help: HELP,
    see: &["head", "sort"],
    run: Run::Filter(begin),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Hands on the last 10 addresses, or as many as a decimal number says, when the
commands before it have ended.

    > ::walk umem | ::tail -3";

struct Tail {
    most: u64,
    kept: VecDeque<u64>,
}

fn begin(_: &Context<'_>, invocation: &Invocation) -> Result<Box<dyn Filter>, Error> {
    Ok(Box::new(Tail {
        most: how_many(&DCMD, invocation)?,
        kept: VecDeque::new(),
    }))
}

impl Filter for Tail {
    fn take(&mut self, _: &Context<'_>, address: u64) -> Result<(), Error> {
        self.kept.push_back(address);
        if self.kept.len() as u64 > self.most {
            self.kept.pop_front();
        }
        Ok(())
    }

    fn finish(&mut self, cx: &Context<'_>) -> Result<Report, Error> {
        std::mem::take(&mut self.kept)
            .into_iter()
            .try_for_each(|address| cx.emit(address))?;
        Ok(Report::default())
    }
}
