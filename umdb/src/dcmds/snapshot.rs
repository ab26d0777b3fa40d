//! `::snapshot`: the process as it is now.

use super::{Address, Dcmd, Group, Run};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "snapshot",
    group: Group::Session,
    address: Address::Forbidden,
    options: &[],
    operands: "",
    summary: "look at the process anew, as it is now",
    help: HELP,
    see: &["gcore", "diff", "status"],
    run: Run::Again,
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Gives up the frozen copy of a live process and makes another one, as umdb -p did.
A process that is stopped instead runs on for a moment. Settings, variables and
dot are kept. What follows in the same line is not run. A core stays as it is.

To compare two moments, umdb snapshot -p PID -o FILE keeps one as a file.

    > ::snapshot";
