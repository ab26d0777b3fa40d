//! `::radix`: the radix of numbers that are typed without prefix.

use super::{Address, Context, Dcmd, Error, Group, Invocation, Run, Shorthand};
use crate::report::{Cell, List, Report, Sentence};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "radix",
    group: Group::Session,
    address: Address::Optional,
    address_name: "radix",
    summary: "show or set the radix of numbers",
    help: HELP,
    see: &["set"],
    shorthands: &[Shorthand::of("$d")],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Numbers are typed in this radix unless they begin with 0x, 0t (decimal), 0o
(octal) or 0i (binary). It is 2 to 16; what is shown stays hexadecimal where it is
an address. $d is the same.

    > 0t10::radix";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    if let Some(radix) = invocation.address {
        let radix = u32::try_from(radix).ok().filter(|r| (2..=16).contains(r));
        let Some(radix) = radix else {
            return Err(DCMD.misused("expected a radix from 2 to 16, as in 0t10::radix"));
        };
        cx.state().radix.set(radix);
        return Ok(Report::default());
    }
    let sentence = Sentence::new()
        .words("radix = ")
        .value("radix", Cell::Number(cx.state().radix.get().into()))
        .words(" base ten");
    Ok(Report::of(List::one("radix", sentence)))
}
