//! Searches names and summaries, as `::dcmds` and `::walkers` do.

use regex_lite::{Regex, RegexBuilder};

use super::{
    args::{Dcmd, Invocation},
    context::Error,
};

/// Bytes that a compiled expression may take.
const SIZE_MAX: usize = 1 << 20;

/// What is searched for.
pub struct Search {
    expression: Option<Regex>,
    in_names: bool,
}

impl Search {
    /// The operand of a command, a regular expression; `-n` searches names alone.
    pub fn new(dcmd: &Dcmd, invocation: &Invocation) -> Result<Self, Error> {
        let expression = match invocation.operands.as_slice() {
            [] => None,
            [one] => Some(
                RegexBuilder::new(one)
                    .case_insensitive(true)
                    .size_limit(SIZE_MAX)
                    .build()
                    .map_err(|error| {
                        dcmd.misused(format!("\"{one}\" is no regular expression: {error}"))
                    })?,
            ),
            [_, other, ..] => {
                return Err(dcmd.misused(format!("unexpected argument \"{other}\"")));
            }
        };
        Ok(Self {
            expression,
            in_names: invocation.has('n'),
        })
    }

    /// Whether it is found.
    pub fn finds(&self, name: &str, summary: &str) -> bool {
        self.expression.as_ref().is_none_or(|expression| {
            expression.is_match(name) || (!self.in_names && expression.is_match(summary))
        })
    }
}
