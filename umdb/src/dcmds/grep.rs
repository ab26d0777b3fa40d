//! `::grep`: lets through what fulfils a condition.

use super::{Address, Context, Dcmd, Error, Group, Invocation, Run, parts::operands::expression};
use crate::report::Report;

pub(super) const DCMD: Dcmd = Dcmd {
    name: "grep",
    group: Group::Pipes,
    address: Address::Required,
    pipes: Some("the addresses that are let through"),
    operands: "expression",
    summary: "let through the addresses for which an expression is not zero",
    help: HELP,
    see: &["map", "head", "count"],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Evaluates the expression with each address as dot, and hands the address on when
the value is not zero. What the expression reads of memory is read for each
address; where that fails the address is dropped and named.

    > ::walk umem_alloc_64 | ::grep \"*. == 0\"";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let address = invocation.address.unwrap_or_default();
    if cx.evaluate(expression(&DCMD, invocation)?, address)? != 0 {
        cx.emit(address)?;
    }
    Ok(Report::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dcmds::parts::testing::{emitted, run},
        heap::synthetic::victim,
    };

    #[test]
    fn what_is_not_zero_goes_on() {
        let (mut builder, _) = victim();
        let mut passes = |words: &[&str]| emitted(&mut builder, &DCMD, Some(7), words);
        assert_eq!(passes(&["1"]), Ok(vec![7]));
        assert_eq!(passes(&["0"]), Ok(vec![]));
        let error = run(&mut victim().0, &DCMD, Some(7), &[]).unwrap_err();
        assert_eq!(error.to_string(), "grep: expected an expression");
    }
}
