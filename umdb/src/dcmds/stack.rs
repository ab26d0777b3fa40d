//! `::stack`: the stack of the current thread, or from a frame pointer on.

use super::{
    Address, Context, Dcmd, Error, Group, Invocation, Opt, Run, Shorthand,
    parts::{operands::optional, stacks, threads::FRAMES_MAX},
};
use crate::report::{Cell, Column, Frame, Report, Table};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "stack",
    group: Group::Process,
    address: Address::Optional,
    options: &[Opt::flag('p', "the frame's address before each line")],
    operands: "[arguments]",
    summary: "show the stack of a thread, or from a frame pointer on",
    help: HELP,
    columns: &[
        (
            "FRAME",
            "the canonical frame address: the caller's stack pointer, zero when unknown",
        ),
        ("FUNCTION", "where the frame executes or will return to"),
    ],
    see: &["findstack", "threads", "regs"],
    shorthands: &[
        Shorthand::of("$c"),
        Shorthand {
            name: "$C",
            words: &["-p"],
        },
    ],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Shows the stack of the current thread, which is the one that got the signal. With
an address it is that of the thread with this identifier, else what a chain of
frame pointers gives from there on. Frames are followed by the unwind tables of the
modules, not by frame pointers. $c is the same, $C is ::stack -p. A number of
arguments is taken for the sake of mdb: on x86-64 they are in registers and lost.

    > ::stack";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    if let Some(text) = optional(&DCMD, invocation)? {
        invocation.number_in(&DCMD, text)?;
    }
    let mut report = Report::default();
    let thread = cx.thread(invocation.address);
    let frames = match (invocation.address, thread) {
        (_, Ok(thread)) => {
            let stack = cx.thread_stack(thread, &mut report);
            let frames = cx.symbols.frames(cx.target, thread, FRAMES_MAX);
            let cfas = frames.iter().map(|frame| frame.cfa.unwrap_or(0));
            with_addresses(cfas, stack.frames)
        }
        (None, Err(error)) => return Err(error),
        (Some(pointer), Err(_)) => chain(cx, pointer)?,
    };
    let mut frame = Column::left("frame", "FRAME", 16).padded();
    frame.hidden = !invocation.has('p');
    let mut table = Table::new(
        "stack",
        vec![frame, Column::left("function", "FUNCTION", 0)],
    );
    table.headless = true;
    for (cfa, frame) in frames {
        table.push(vec![Cell::Address(cfa), Cell::Frame(frame)]);
    }
    report.push(table);
    Ok(report)
}

/// Frames with their addresses: what is inlined has that of the frame it is in.
fn with_addresses(mut cfas: impl Iterator<Item = u64>, frames: Vec<Frame>) -> Vec<(u64, Frame)> {
    let mut own = cfas.next();
    let frames = frames.into_iter().map(|frame| {
        let cfa = own.unwrap_or(0);
        if !frame.inlined {
            own = cfas.next();
        }
        (cfa, frame)
    });
    frames.collect()
}

/// Return addresses by a chain of frame pointers, each above the one before.
fn chain(cx: &Context<'_>, pointer: u64) -> Result<Vec<(u64, Frame)>, Error> {
    let mut frames = Vec::new();
    let mut at = pointer;
    while frames.len() < FRAMES_MAX {
        cx.cancel.check()?;
        let memory = &cx.target.memory;
        let words = memory
            .read_u64(at)
            .zip(at.checked_add(8).and_then(|above| memory.read_u64(above)));
        let Some((next, pc)) = words.filter(|&(_, pc)| pc != 0) else {
            break;
        };
        for mut frame in stacks::frames(cx.symbols.lookup_return(pc)) {
            frame.guessed = true;
            frames.push((at, frame));
        }
        if next <= at {
            break;
        }
        at = next;
    }
    if frames.is_empty() {
        return Err(Error::Missing(format!(
            "stack: failed to read a frame at {pointer:#x}"
        )));
    }
    Ok(frames)
}
