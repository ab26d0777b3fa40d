//! `::umalog`: the transaction log.

use umem_layout::{LogEntry, log_kind};

use super::{Address, Context, Dcmd, Error, Group, Invocation, Run, parts::log::operation_name};
use crate::report::{Cell, Item, List, Report, Sentence, StackView};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "umalog",
    group: Group::Corruption,
    address: Address::Forbidden,
    options: &[],
    operands: "[ fail | slab ]",
    pipes: Some("entries of the log"),
    see: &["umem_log", "bufctl"],
    summary: "display umem transaction log and stack traces",
    help: HELP,
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Lists what happened, newest first: the time before the newest transaction, the
buffer, its cache (or arena), what was done, the size asked for, the thread, and
the stack. With fail the allocations that failed, with slab the slabs created.

    > ::umalog

Needs UMEM_LOGGING=transaction (fail, slab) when the program is started. libumem's
command shows the transaction log when another one is asked for that is not kept;
this one says so.";

/// Kinds of logs, by operand: the option that switches them on, and their kind.
const LOGS: [(&str, &str, u32); 3] = [
    ("", "transaction", log_kind::TRANSACTION),
    ("fail", "fail", log_kind::FAIL),
    ("slab", "slab", log_kind::SLAB),
];

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let operand = match invocation.operands.as_slice() {
        [] => "",
        [one] => one,
        [_, other, ..] => {
            return Err(DCMD.misused(format!("unexpected argument \"{other}\"")));
        }
    };
    let Some(&(_, option, kind)) = LOGS.iter().find(|(name, _, _)| *name == operand) else {
        return Err(DCMD.misused(format!("there is no log \"{operand}\"")));
    };
    let (_, damage) = cx.heap.logs();
    let Some(log) = cx.heap.log(kind) else {
        if let Some(damage) = damage {
            return Err(damage.clone().into());
        }
        return Err(Error::with_hint(
            format!("umalog: the {option} log is disabled"),
            format!("start the program with UMEM_LOGGING={option}"),
        ));
    };
    let entries = cx.heap.log_entries(&log)?;
    let mut report = Report::default();
    if invocation.is_piped {
        for entry in &entries {
            cx.emit(log.entry_address(entry.sequence).unwrap_or(entry.buffer))?;
        }
        return Ok(report);
    }
    let mut list = List {
        key: "transactions",
        spaced: true,
        stacks: StackView::Tabbed,
        ..List::default()
    };
    let newest = entries.first().map_or(0, |entry| entry.time);
    for entry in &entries {
        cx.cancel.check()?;
        let stack = cx.stack("stack", entry.stack, &mut report);
        list.items.push(Item {
            sentence: sentence(cx, entry, newest),
            stacks: vec![stack],
        });
    }
    report.push(list);
    Ok(report)
}

fn sentence(cx: &Context<'_>, entry: &LogEntry, newest: u64) -> Sentence {
    Sentence::new()
        .value("ago", Cell::Ago(cx.heap.clock.between(entry.time, newest)))
        .words("  addr=")
        .value("buffer", Cell::Address(entry.buffer))
        .words("  ")
        .value("owner", owner(cx, entry))
        .words("  ")
        .value("operation", Cell::text(operation_name(entry.operation)))
        .words(" ")
        .bytes("bytes", entry.size)
        .words("  thread ")
        .value("thread", Cell::Number(entry.thread.into()))
        .hidden("sequence", Cell::Number(entry.sequence))
        .hidden("timestamp", Cell::Time(cx.heap.clock.monotonic(entry.time)))
        .hidden("wall", Cell::Number(cx.heap.clock.wall(entry.time)))
        .hidden("bufctl", Cell::Address(entry.record))
}

fn owner(cx: &Context<'_>, entry: &LogEntry) -> Cell {
    let arena = || {
        cx.heap
            .arena_at(entry.owner)
            .map(|arena| arena.name.as_str())
    };
    let cache = || {
        cx.heap
            .cache_at(entry.owner)
            .map(|cache| cache.name.as_str())
    };
    let name = if entry.owner_is_arena == 0 {
        cache()
    } else {
        arena()
    };
    name.map_or(Cell::Address(entry.owner), Cell::text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dcmds::parts::testing::{run, run_published, text},
        heap::synthetic::{ROOT, victim},
    };

    #[test]
    fn transactions_come_newest_first() {
        let (mut builder, [kept, _, freed]) = victim();
        let (text, _) = text(&mut builder, &DCMD, None, &[]);
        let freed = freed.address;
        let start = format!(
            "\nT-0.000000000  addr={freed:x}  umem_alloc_64  free 50 bytes  thread 7
\t victim+0x300
\t victim+0x10

T-0.000000010  addr={freed:x}  umem_alloc_64  alloc 50 bytes  thread 7
"
        );
        assert!(text.starts_with(&start), "{text}");
        assert_eq!(text.matches("T-").count(), 4);
        assert!(text.contains(&format!("T-0.000000030  addr={:x}", kept.address)));
    }

    #[test]
    fn a_log_that_is_off_or_unknown_is_named() {
        let (mut builder, _) = victim();
        let error = |words: &[&str], builder: &mut _| {
            run(builder, &DCMD, None, words).unwrap_err().to_string()
        };
        assert_eq!(
            error(&["fail"], &mut builder),
            "umalog: the fail log is disabled"
        );
        assert_eq!(error(&["x"], &mut builder), "umalog: there is no log \"x\"");
        assert_eq!(
            error(&["fail", "y"], &mut builder),
            "umalog: unexpected argument \"y\""
        );
    }

    #[test]
    fn a_damaged_log_is_no_panic() {
        let (mut builder, _) = victim();
        builder.publish();
        builder.write_word(ROOT + 0xd8, 0x4141_4140);
        let error = run_published(&builder, &DCMD, None, &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot read 48 bytes of a log at 0x41414140"
        );
    }
}
