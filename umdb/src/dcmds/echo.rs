//! `::echo`: its words.

use super::{Address, Context, Dcmd, Error, Group, Invocation, Run};
use crate::report::{List, Report, Sentence};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "echo",
    group: Group::Session,
    address: Address::Optional,
    pipes: Some("the values of its words"),
    operands: "[word ...]",
    summary: "show words",
    help: HELP,
    see: &["log"],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Shows its words with a blank between them. $[expression] is the value of an
expression. In a pipe each word is an expression whose value is handed on.

    > ::echo main is at $[main]";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let mut report = Report::default();
    if invocation.is_piped {
        let dot = invocation.address.or(cx.state().dot.get()).unwrap_or(0);
        for word in &invocation.operands {
            cx.emit(cx.evaluate(word, dot)?)?;
        }
    } else {
        let sentence = Sentence::new().words(invocation.operands.join(" "));
        report.push(List::one("echo", sentence));
    }
    Ok(report)
}
