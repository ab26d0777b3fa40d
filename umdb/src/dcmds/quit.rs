//! `::quit`: the end of the session.

use super::{Address, Dcmd, Group, Run, Shorthand};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "quit",
    group: Group::Session,
    address: Address::Forbidden,
    options: &[],
    operands: "",
    summary: "quit the debugger and let a stopped process go on",
    help: HELP,
    shorthands: &[Shorthand::of("$q"), Shorthand::of("$Q")],
    run: Run::Quit,
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Ends the session, as $q and the end of input do. A process that was stopped goes
on as if nothing had happened.

    > ::quit";
