//! `::quit`: the end of the session.

use super::{Address, Dcmd, Group, Opt, Run, Shorthand};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "quit",
    group: Group::Session,
    address: Address::Forbidden,
    options: &[
        Opt::flag(
            'a',
            "accepted, as of ::release: nothing was changed that would have to be undone",
        ),
        Opt::flag('u', "accepted: a process always goes on"),
    ],
    operands: "",
    summary: "quit the debugger and let a stopped process go on",
    help: HELP,
    see: &["snapshot"],
    shorthands: &[
        Shorthand::of("$q"),
        Shorthand::of("$Q"),
        Shorthand::of("::release"),
        Shorthand::of(":R"),
    ],
    run: Run::Quit,
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Ends the session, as $q, ::release, :R and the end of input do. A process that was
stopped goes on as if nothing had happened.

    > ::quit";
