//! `::formats`, and the verbs `/` `\` `?` `@` `=` that show memory and values in these formats.

use super::{Context, Dcmd, Error, Group, Invocation, Run};
use crate::report::Report;

pub(super) const DCMD: Dcmd = Dcmd {
    name: "formats",
    group: Group::Addresses,
    summary: "list the formats of / and =",
    help: HELP,
    run: Run::Report(list),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Lists the letters that may follow / and =.

    > ::formats";

fn list(_: &Context<'_>, _: &Invocation) -> Result<Report, Error> {
    Ok(Report::default())
}

/// Whether a format is one.
///
/// # Errors
/// For the first letter that is none.
pub fn check(_: char, _: &str) -> Result<(), Error> {
    Err(Error::failed("formats are not supported yet"))
}

/// Shows memory at an address, or the address itself.
///
/// # Errors
/// When nothing can be read there.
pub fn run(
    _: &Context<'_>,
    _: char,
    _: &str,
    _: Option<u64>,
    _: Option<u64>,
) -> Result<Report, Error> {
    Err(Error::failed("formats are not supported yet"))
}
