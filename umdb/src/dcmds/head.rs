//! `::head`: the first addresses of a pipe.

use super::{
    Address, Context, Dcmd, Error, Filter, Group, Invocation, Run, parts::operands::how_many,
};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "head",
    group: Group::Pipes,
    address: Address::Optional,
    pipes: Some("the first addresses"),
    operands: "[-number]",
    summary: "let the first addresses of a pipe through",
    help: HELP,
    see: &["tail", "count"],
    run: Run::Filter(begin),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Hands on the first 10 addresses, or as many as a decimal number says, and then
stops the commands before it.

    > ::walk umem | ::head -3";

struct Head {
    left: u64,
}

fn begin(_: &Context<'_>, invocation: &Invocation) -> Result<Box<dyn Filter>, Error> {
    let left = how_many(&DCMD, invocation)?;
    Ok(Box::new(Head { left }))
}

impl Filter for Head {
    fn take(&mut self, cx: &Context<'_>, address: u64) -> Result<(), Error> {
        if self.left == 0 {
            return Err(Error::Closed);
        }
        self.left -= 1;
        cx.emit(address)?;
        if self.left == 0 {
            return Err(Error::Closed);
        }
        Ok(())
    }
}
