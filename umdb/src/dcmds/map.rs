//! `::map`: replaces each address by the value of an expression.

use super::{Address, Context, Dcmd, Error, Group, Invocation, Run, parts::operands::expression};
use crate::report::Report;

pub(super) const DCMD: Dcmd = Dcmd {
    name: "map",
    group: Group::Pipes,
    address: Address::Required,
    pipes: Some("the values"),
    operands: "expression",
    summary: "replace each address by the value of an expression",
    help: HELP,
    see: &["grep", "eval"],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Evaluates the expression with each address as dot, and hands the value on.

    > ::walk umem_alloc_64 | ::map \".+8\" | ::whatis -q

    > 7f0aa0c5efc0 | ::map \"*.\" | ::whatis";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let address = invocation.address.unwrap_or_default();
    cx.emit(cx.evaluate(expression(&DCMD, invocation)?, address)?)?;
    Ok(Report::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dcmds::parts::testing::emitted, heap::synthetic::victim};

    #[test]
    fn the_value_goes_on() {
        let answer = emitted(&mut victim().0, &DCMD, Some(7), &["10"]);
        assert_eq!(answer, Ok(vec![0x10]));
    }
}
