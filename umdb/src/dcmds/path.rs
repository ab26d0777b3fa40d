//! `::path`: why a buffer is alive.

use super::{Address, Context, Dcmd, Error, Group, Invocation, Run, parts::holder};
use crate::{
    analysis::{leaks::Group as Leaked, path},
    report::{Cell, List, Report, Sentence, Table},
};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "path",
    group: Group::Leaks,
    address: Address::Required,
    pipes: Some("addresses of pointers"),
    summary: "show a shortest chain of pointers from a root to a buffer",
    help: HELP,
    columns: holder::COLUMNS,
    see: &["refs", "retained", "findleaks"],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Tells why a buffer is alive: a chain of pointers that begins in a variable, a
stack, a register or TLS, and leads through other buffers to this one. Of all
chains it is one of the shortest; there may be others, see ::refs.

Each line is a pointer of the chain, the root first; the last one points to the
buffer. The address may lie anywhere in the buffer, or be that of its record.

    > 7f0aa0c5efc0::path

    > ::walk umem | ::head -1 | ::path

For a lost buffer there is none: the head through which it was lost is named.";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let address = invocation.address.unwrap_or(0);
    let object = cx
        .object_at(address)
        .filter(|&object| cx.heap.object_state(object) == umem_layout::buffer_state::ALLOCATED);
    let Some(object) = object else {
        let what = format!("path: {address:x} is in no allocated buffer");
        return Err(Error::with_hint(what, format!("try {address:x}::whatis")));
    };
    let mut report = Report::default();
    match path::find(&cx.subject().scene(), object)? {
        path::Path::Chain(chain) => {
            let mut table = Table::new("path", holder::columns());
            let rows = chain.iter().map(|reference| cx.reference(reference));
            rows.for_each(|row| table.push(row));
            report.push(table);
        }
        path::Path::TooMany => {
            return Err(Error::failed("path: there are too many buffers"));
        }
        path::Path::Lost => {
            let (leaks, _) = cx.subject().leaks(false)?;
            let sentence = Sentence::new()
                .words("path: no root leads to ")
                .value("buffer", Cell::Address(cx.heap.address(object)));
            let group = leaks.group_of(object);
            report.push(List::one("path", lost_through(cx, sentence, group)));
            if let Some(first) = leaks.doubts.first() {
                report.incomplete(format!("path: no verdict: {first}"));
            }
        }
    }
    Ok(report)
}

/// Says through what an object was lost.
fn lost_through(cx: &Context<'_>, sentence: Sentence, group: Option<&Leaked>) -> Sentence {
    let Some(group) = group else { return sentence };
    sentence
        .words(": lost with the leak of ")
        .value(
            "oldest_buffer",
            Cell::Address(cx.heap.address(group.representative)),
        )
        .words(" and its like, from ")
        .value("caller", cx.caller(group.stack))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dcmds::parts::testing::text, heap::synthetic::victim, report::Status};

    #[test]
    fn a_chain_ends_at_the_buffer_and_a_lost_one_has_none() {
        let (mut builder, [kept, lost, _]) = victim();
        let (chain, status) = text(&mut builder, &DCMD, Some(kept.address), &[]);
        assert_eq!(
            (chain.lines().count(), status),
            (2, Status::Clean),
            "{chain}"
        );
        let expected = format!(
            "path: no root leads to {0:x}: lost with the leak of {0:x} and its like, from victim+0x200\n",
            lost.address
        );
        assert_eq!(
            text(&mut builder, &DCMD, Some(lost.address), &[]).0,
            expected
        );
        builder.write_word(kept.address + 8, lost.address);
        let (chain, _) = text(&mut builder, &DCMD, Some(lost.address), &[]);
        assert_eq!(chain.lines().count(), 3, "{chain}");
        assert!(
            chain
                .lines()
                .nth(2)
                .unwrap()
                .contains("umem_alloc_64 buffer"),
            "{chain}"
        );
    }
}
