//! `::findstack`: the stack of a thread by its identifier.

use super::{Address, Context, Dcmd, Error, Group, Invocation, Opt, Run};
use crate::report::{Cell, Item, List, Report, Sentence, StackView};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "findstack",
    group: Group::Process,
    address: Address::Optional,
    address_name: "thread",
    options: &[Opt::flag('v', "also where the frames lie on the stack")],
    summary: "show the stack of a thread",
    help: HELP,
    see: &["threads", "stack", "regs"],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Shows the stack pointer and the stack of the thread with an identifier, or of the
current thread.

    > ::walk thread | ::findstack";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let thread = cx.thread(invocation.address)?;
    let mut report = Report::default();
    let mut sentence = Sentence::new()
        .words("stack pointer for thread ")
        .value("thread", Cell::Number(thread.tid.into()));
    if let Some(name) = cx.thread_name(thread) {
        sentence = sentence
            .words(" [")
            .value("name", Cell::text(name))
            .words("]");
    }
    sentence = sentence.words(": ").value(
        "sp",
        thread
            .registers
            .map_or(Cell::Unknown, |r| Cell::Address(r.rsp)),
    );
    if invocation.has('v') {
        for frame in cx.symbols.frames(cx.target, thread, 64) {
            sentence = sentence.line().words(format!(
                "[ {:016x} {} ]",
                frame.sp,
                cx.symbols.lookup(frame.pc)
            ));
        }
    }
    let stack = cx.thread_stack(thread, &mut report);
    report.push(List {
        key: "stacks",
        items: vec![Item {
            sentence,
            stacks: vec![stack],
        }],
        stacks: StackView::Indented(2),
        ..List::default()
    });
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dcmds::parts::testing::text, heap::synthetic::Builder};

    #[test]
    fn the_thread_is_named() {
        let mut builder = Builder::new();
        let tid = builder.target().threads[0].tid;
        let (text, _) = text(&mut builder, &DCMD, Some(tid.into()), &[]);
        assert!(
            text.starts_with(&format!("stack pointer for thread {tid}")),
            "{text}"
        );
    }
}
