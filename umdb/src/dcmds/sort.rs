//! `::sort`: the addresses of a pipe in order.

use super::{
    Address, Context, Dcmd, Error, Filter, Group, Invocation, Opt, Run, parts::operands::optional,
};
use crate::report::Report;

pub(super) const DCMD: Dcmd = Dcmd {
    name: "sort",
    group: Group::Pipes,
    address: Address::Optional,
    pipes: Some("the addresses in order"),
    options: &[
        Opt::flag('r', "the largest first"),
        Opt::flag('u', "each value once"),
    ],
    operands: "[expression]",
    summary: "sort the addresses of a pipe",
    help: HELP,
    see: &["head", "tail", "count"],
    run: Run::Filter(begin),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Hands on all addresses in order when the commands before it have ended: the
smallest first. With an expression they are in the order of its values, with each
address as dot; addresses of equal value stay in the order in which they came.

    > ::walk umem | ::sort -ru | ::head";

struct Sort {
    expression: Option<String>,
    is_reversed: bool,
    is_unique: bool,
    kept: Vec<(u64, u64)>,
}

fn begin(_: &Context<'_>, invocation: &Invocation) -> Result<Box<dyn Filter>, Error> {
    Ok(Box::new(Sort {
        expression: optional(&DCMD, invocation)?.map(str::to_owned),
        is_reversed: invocation.has('r'),
        is_unique: invocation.has('u'),
        kept: Vec::new(),
    }))
}

impl Filter for Sort {
    fn take(&mut self, cx: &Context<'_>, address: u64) -> Result<(), Error> {
        let key = match &self.expression {
            Some(expression) => cx.evaluate(expression, address)?,
            None => address,
        };
        self.kept.push((key, address));
        Ok(())
    }

    fn finish(&mut self, cx: &Context<'_>) -> Result<Report, Error> {
        let mut kept = std::mem::take(&mut self.kept);
        kept.sort_by_key(|&(key, _)| key);
        if self.is_unique {
            kept.dedup_by_key(|(key, _)| *key);
        }
        if self.is_reversed {
            kept.reverse();
        }
        kept.into_iter()
            .try_for_each(|(_, address)| cx.emit(address))?;
        Ok(Report::default())
    }
}
