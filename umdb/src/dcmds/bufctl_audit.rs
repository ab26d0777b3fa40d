//! `::bufctl_audit`: the whole record of a buffer.

use super::{Address, Context, Dcmd, Error, Group, Invocation, Run, bufctl};
use crate::report::Report;

pub(super) const DCMD: Dcmd = Dcmd {
    name: "bufctl_audit",
    group: Group::Addresses,
    address: Address::Required,
    options: &[],
    operands: "",
    pipes: Some("bufctls"),
    see: &["bufctl"],
    summary: "print a bufctl_audit",
    help: HELP,
    columns: bufctl::COLUMNS,
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
The same as ::bufctl -v: the whole record of a buffer, with the stacks of its last
allocation and its last free.

    > 7f0aa0c71d20::bufctl_audit

    > umem_alloc_64::walk bufctl | ::head -1 | ::bufctl_audit";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let verbose = Invocation {
        flags: vec!['v'],
        ..invocation.clone()
    };
    bufctl::run(cx, &verbose)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dcmds::parts::testing::{run, text},
        heap::synthetic::victim,
    };

    #[test]
    fn it_is_bufctl_with_its_option() {
        let (mut builder, [_, lost, _]) = victim();
        let (audit, _) = text(&mut builder, &DCMD, Some(lost.record), &[]);
        let (verbose, _) = text(&mut builder, &bufctl::DCMD, Some(lost.record), &["-v"]);
        assert!(audit.contains("victim+0x200"));
        // Each publishing puts the log elsewhere.
        let without_log = |text: &str| text.lines().filter(|line| !line.contains("2000")).count();
        assert_eq!(without_log(&audit), without_log(&verbose));
        assert!(run(&mut builder, &DCMD, Some(lost.record), &["-v"]).is_err());
    }
}
