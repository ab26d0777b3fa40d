//! What commands expect behind them.

use super::{
    args::{Dcmd, Invocation},
    context::Error,
};

/// The only operand of a command: an expression.
pub fn expression<'i>(dcmd: &Dcmd, invocation: &'i Invocation) -> Result<&'i str, Error> {
    only(dcmd, invocation, "an expression")
}

/// The only operand of a command.
pub fn only<'i>(dcmd: &Dcmd, invocation: &'i Invocation, what: &str) -> Result<&'i str, Error> {
    match optional(dcmd, invocation)? {
        Some(operand) => Ok(operand),
        None => Err(dcmd.misused(format!("expected {what}"))),
    }
}

/// The operand of a command that takes at most one.
pub fn optional<'i>(dcmd: &Dcmd, invocation: &'i Invocation) -> Result<Option<&'i str>, Error> {
    match invocation.operands.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        [_, other, ..] => Err(dcmd.misused(format!("unexpected argument \"{other}\""))),
    }
}

/// Addresses when no number is given.
const MANY: u64 = 10;

/// `-5` of `::head -5`: a number of addresses, decimal as mdb has it.
pub fn how_many(dcmd: &Dcmd, invocation: &Invocation) -> Result<u64, Error> {
    let Some(text) = optional(dcmd, invocation)? else {
        return Ok(MANY);
    };
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits
        .strip_prefix("0t")
        .unwrap_or(digits)
        .parse()
        .map_err(|_| dcmd.misused(format!("expected a decimal number, not \"{text}\"")))
}
