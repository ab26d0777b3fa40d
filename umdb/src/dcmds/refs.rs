//! `::refs`: who points to a buffer.

use super::{
    Address, Context, Dcmd, Error, Group, Invocation, Run,
    parts::{context::with_others, holder},
};
use crate::{
    analysis::refs,
    heap::Heap,
    heap::Object,
    report::{List, Report, Sentence, Table},
};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "refs",
    group: Group::Leaks,
    address: Address::Required,
    pipes: Some("addresses of pointers"),
    summary: "list who points to a buffer",
    help: HELP,
    columns: holder::COLUMNS,
    see: &["path", "retained", "findleaks", "ugrep"],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Lists every pointer to a buffer, to its start or into its middle: in registers,
variables, stacks and TLS, in other buffers, in memory of vmem arenas and of other
allocators. Buffers that are lost themselves are listed as well; ::path tells
what keeps a buffer alive.

The address may lie anywhere in the buffer, or be that of its record. For an
address in no buffer the pointers to that very address are listed.

    > 7f0aa0c5efc0::refs";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let address = invocation.address.unwrap_or(0);
    let object = cx.object_at(address);
    let wanted = object.map_or((address, address.saturating_add(1)), |o| range(cx.heap, o));
    let references = refs::find(&cx.subject().scene(), wanted)?;
    let mut report = Report::default();
    if references.found.is_empty() {
        let sentence = Sentence::new()
            .words("refs: nothing points to ")
            .value("address", crate::report::Cell::Address(address));
        report.push(List::one("references", sentence));
    } else {
        let mut table = Table::new("references", holder::columns());
        let rows = references
            .found
            .iter()
            .map(|reference| cx.reference(reference));
        rows.for_each(|row| table.push(row));
        report.push(table);
    }
    if references.more > 0 {
        report.warn(format!("refs: {} more are not shown", references.more));
    }
    if let Some((first, others)) = references.doubts.split_first() {
        report.incomplete(format!("refs: {}", with_others(first, others.len())));
    }
    Ok(report)
}

/// First address of an object and one past the last that belongs to it; at least one byte.
pub(super) fn range(heap: &Heap, object: Object) -> (u64, u64) {
    let start = heap.address(object);
    (start, start.saturating_add(heap.size(object).max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dcmds::parts::testing::text,
        heap::synthetic::{DATA, victim},
        report::Status,
    };

    #[test]
    fn the_stack_frame_and_the_variable_are_listed() {
        let (mut builder, [kept, lost, _]) = victim();
        builder.write_word(DATA + 0x40, kept.address + 8);
        let (text_of_kept, status) = text(&mut builder, &DCMD, Some(kept.address + 4), &[]);
        assert_eq!(status, Status::Clean);
        let lines: Vec<&str> = text_of_kept.lines().collect();
        assert_eq!(lines.len(), 3, "{text_of_kept}");
        assert!(
            lines[1].contains(&format!("{:x}", DATA + 0x40)),
            "{text_of_kept}"
        );
        assert!(
            lines[1].contains("data ") && lines[1].ends_with("victim+0x40"),
            "{text_of_kept}"
        );
        assert!(lines[2].contains("stack of thread 7"), "{text_of_kept}");
        let (none, _) = text(&mut builder, &DCMD, Some(lost.address), &[]);
        assert_eq!(
            none,
            format!("refs: nothing points to {:x}\n", lost.address)
        );
    }
}
