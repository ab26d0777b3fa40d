//! `::demangle`: whether names of C++ and Rust are shown as the source has them.

use super::{Context, Dcmd, Error, Group, Invocation, Run, Shorthand, parts::operands::optional};
use crate::report::{Cell, List, Report, Sentence};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "demangle",
    group: Group::Session,
    operands: "[on | off]",
    summary: "show names of C++ and Rust as the source has them, or as symbol tables do",
    help: HELP,
    see: &["nm", "stack"],
    shorthands: &[Shorthand::of("$G")],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Without a word it switches, as $G does. It begins as on; off shows what the linker
sees, to be compared with other tools.

    > ::demangle off";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let on = match optional(&DCMD, invocation)? {
        None => !cx.state().demangles.get(),
        Some("on") => true,
        Some("off") => false,
        Some(other) => return Err(DCMD.misused(format!("expected on or off, not \"{other}\""))),
    };
    cx.state().demangles.set(on);
    cx.symbols.set_demangled(on);
    let sentence = Sentence::new()
        .words("demangling is now ")
        .value("demangling", Cell::text(if on { "on" } else { "off" }));
    Ok(Report::of(List::one("demangle", sentence)))
}
