//! `::threads`: the threads of the target.

use super::{Context, Dcmd, Error, Group, Invocation, Opt, Run, Shorthand};
use crate::{
    report::{Cell, Column, List, Report, Sentence, Table},
    target::Thread,
};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "threads",
    group: Group::Process,
    pipes: Some("identifiers of threads"),
    options: &[
        Opt::flag('c', "the current thread alone"),
        Opt::flag('i', "identifiers alone, in a sentence; with -c the number"),
    ],
    summary: "list the threads",
    help: HELP,
    columns: &[
        ("TID", "the kernel's identifier of the thread, decimal"),
        ("NAME", "its name, where that is known"),
        ("PC", "where it executes"),
        ("SP", "its stack pointer"),
        ("FUNCTION", "what is there"),
    ],
    see: &["findstack", "regs", "allocdby"],
    shorthands: &[
        Shorthand {
            name: "$L",
            words: &["-i"],
        },
        Shorthand {
            name: "$l",
            words: &["-ci"],
        },
    ],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Lists the threads: the current one first, which is the one that got the signal.

    > ::threads

    > ::threads | ::findstack

$L says which threads there are in a sentence, $l is the identifier of the
current one.

    > $L";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    if invocation.has('i') {
        return Ok(identifiers(cx, invocation.has('c')));
    }
    let mut table = Table::new(
        "threads",
        vec![
            Column::right("tid", "TID", 8).piped(),
            Column::left("name", "NAME", 16),
            Column::right("pc", "PC", 16),
            Column::right("sp", "SP", 16),
            Column::left("function", "FUNCTION", 0),
        ],
    );
    for thread in shown(cx, invocation.has('c')) {
        let of = |value: fn(&crate::target::Registers) -> u64| {
            thread
                .registers
                .as_ref()
                .map_or(Cell::Unknown, |r| Cell::Address(value(r)))
        };
        let function = thread.registers.map_or(Cell::Unknown, |r| {
            Cell::Symbol(cx.symbols.lookup(r.rip).into())
        });
        table.push(vec![
            Cell::Number(thread.tid.into()),
            cx.thread_name(thread).map_or(Cell::Empty, Cell::text),
            of(|r| r.rip),
            of(|r| r.rsp),
            function,
        ]);
    }
    Ok(Report::of(table))
}

/// All threads in order of their identifiers, or the current one.
fn shown<'a>(cx: &Context<'a>, current: bool) -> Vec<&'a Thread> {
    if current {
        cx.target.threads.first().into_iter().collect()
    } else {
        cx.target.threads_by_identifier()
    }
}

/// What mdb's `$L` says, or its `$l`.
fn identifiers(cx: &Context<'_>, current: bool) -> Report {
    const KEY: &str = "tids";
    let all = shown(cx, current).into_iter();
    let all: Vec<u32> = all.map(|thread| thread.tid).collect();
    let number = |&tid: &u32| Cell::Number(tid.into());
    let sentence = match (all.as_slice(), current) {
        ([tid], true) => Sentence::new().value(KEY, number(tid)),
        _ => Sentence::new()
            .words(sentence_of(&all, cx.target.pid(), cx.target.dead))
            .hidden(KEY, Cell::List(all.iter().map(number).collect())),
    };
    Report::of(List {
        piped: KEY,
        ..List::one("threads", sentence)
    })
}

fn sentence_of(tids: &[u32], live: Option<u32>, dead: Option<u32>) -> String {
    let place = match (live, dead) {
        (Some(process), _) => format!("process {process}"),
        (None, Some(process)) => format!("core of process {process}"),
        (None, None) => "core of a process".to_owned(),
    };
    let words: Vec<String> = tids.iter().map(u32::to_string).collect();
    match words.as_slice() {
        [] => format!("no lwps are known in {place}."),
        [only] => format!("lwpid {only} is the only lwp in {place}."),
        [first @ .., last] => format!("lwpids {} and {last} are in {place}.", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dcmds::parts::testing::text, heap::synthetic::Builder};

    #[test]
    fn each_thread_has_a_row() {
        let (text, _) = text(&mut Builder::new(), &DCMD, None, &[]);
        assert_eq!(text.lines().count(), 2);
        assert!(text.trim_start().starts_with("TID NAME"));
    }

    #[test]
    fn the_name_that_the_library_noted_stands_in_for_a_missing_one() {
        let mut builder = Builder::new();
        let cache = builder.cache("umem_alloc_16", 16, 0);
        builder.thread(7, cache, &[], (0, 0));
        builder.name_thread(0, "noted");
        let (text, _) = text(&mut builder, &DCMD, None, &[]);
        assert!(text.contains(" 7 noted "), "{text}");
    }

    #[test]
    fn identifiers_stand_in_a_sentence() {
        for (tids, live, dead, expected) in [
            (
                &[7][..],
                Some(7),
                None,
                "lwpid 7 is the only lwp in process 7.",
            ),
            (&[7, 9], Some(7), None, "lwpids 7 and 9 are in process 7."),
            (
                &[9, 7, 8],
                None,
                Some(7),
                "lwpids 9, 7 and 8 are in core of process 7.",
            ),
        ] {
            assert_eq!(sentence_of(tids, live, dead), expected);
        }
    }
}
