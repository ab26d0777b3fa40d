//! `::dis`: instructions.

use super::{
    Address, Context, Dcmd, Error, Group, Invocation, Opt, Run,
    parts::{disassembly::Decoded, operands::optional},
};
use crate::report::{Cell, Column, Report, Table};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "dis",
    group: Group::Process,
    address: Address::Required,
    options: &[
        Opt::flag('a', "addresses instead of names"),
        Opt::flag('b', "also the bytes"),
        Opt::flag(
            'f',
            "accepted: what the target has in memory is shown, as it would run",
        ),
        Opt::flag('w', "only the instructions around the address"),
        Opt::value(
            'n',
            "number",
            "instructions before and behind the address (a)",
        ),
    ],
    operands: "[address]",
    summary: "show instructions",
    help: HELP,
    columns: &[
        ("ADDRESS", "where the instruction is"),
        ("BYTES", "its bytes, with -b"),
        ("INSTRUCTION", "what it does, in the syntax of GNU as"),
    ],
    see: &["stack", "regs", "nm"],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Shows the function that begins at the address; at another address ten instructions
before and behind it, as far as they belong to the same function.

    > main::dis

    > <rip::dis -n 3";

/// Instructions that are shown at most.
const MOST: usize = 1 << 20;
/// Instructions before and behind an address.
const AROUND: u64 = 10;

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let address = match optional(&DCMD, invocation)? {
        Some(text) => invocation.number_in(&DCMD, text)?,
        None => invocation.address.unwrap_or_default(),
    };
    let around = invocation.number(&DCMD, 'n')?;
    let place = cx.symbols.lookup(address);
    let start = match place.symbol {
        Some(_) => address.wrapping_sub(place.offset),
        None => address,
    };
    let is_whole =
        start == address && place.symbol.is_some() && around.is_none() && !invocation.has('w');
    let around = usize::try_from(around.unwrap_or(AROUND))
        .unwrap_or(MOST)
        .min(MOST);
    let (instructions, is_cut) = if is_whole {
        function(cx, start)?
    } else {
        window(cx, start, address, around)?
    };
    let mut report = Report::default();
    if instructions.is_empty() || is_cut {
        let hole = instructions.last().map_or(address, Decoded::next);
        report.incomplete(format!(
            "failed to read instruction at {hole:#x}: no mapping for address"
        ));
    }
    cx.state().increment.set(
        instructions
            .last()
            .map_or(0, |last| last.next().wrapping_sub(address)),
    );
    if !instructions.is_empty() {
        report.push(table(cx, invocation, &instructions));
    }
    Ok(report)
}

/// All instructions of the function that begins at an address; whether memory ended before it did.
fn function(cx: &Context<'_>, start: u64) -> Result<(Vec<Decoded>, bool), Error> {
    let mut found = Vec::new();
    let mut at = start;
    while found.len() < MOST {
        cx.cancel.check()?;
        let place = cx.symbols.lookup(at);
        if place.symbol.is_none() || at.wrapping_sub(place.offset) != start {
            return Ok((found, false));
        }
        let Some(instruction) = cx.instruction(at) else {
            return Ok((found, true));
        };
        at = instruction.next();
        found.push(instruction);
    }
    Ok((found, false))
}

/// The instructions around an address, decoded from the start of its function, since they have no fixed length.
fn window(
    cx: &Context<'_>,
    start: u64,
    address: u64,
    around: usize,
) -> Result<(Vec<Decoded>, bool), Error> {
    let mut before = std::collections::VecDeque::new();
    let mut at = start;
    while at < address {
        cx.cancel.check()?;
        let Some(instruction) = cx.instruction(at) else {
            break;
        };
        at = instruction.next();
        before.push_back(instruction);
        if before.len() > around {
            before.pop_front();
        }
    }
    let mut found: Vec<Decoded> = before.into();
    let mut at = if at < address {
        address
    } else {
        at.max(address)
    };
    for _ in 0..=around {
        cx.cancel.check()?;
        let Some(instruction) = cx.instruction(at) else {
            return Ok((found, true));
        };
        at = instruction.next();
        found.push(instruction);
    }
    Ok((found, false))
}

fn table(cx: &Context<'_>, invocation: &Invocation, instructions: &[Decoded]) -> Table {
    let places: Vec<Cell> = instructions
        .iter()
        .map(|instruction| {
            let mut place = cx.symbols.lookup(instruction.address);
            if invocation.has('a') || place.symbol.is_none() {
                return Cell::Address(instruction.address);
            }
            place.file = None;
            Cell::Symbol(place.into())
        })
        .collect();
    let width = instructions
        .iter()
        .map(|instruction| cx.symbols.lookup(instruction.address).to_string().len())
        .max()
        .unwrap_or(0);
    let mut bytes = Column::left("bytes", "BYTES", 30);
    bytes.hidden = !invocation.has('b');
    let mut table = Table::new(
        "instructions",
        vec![
            Column::left("place", "ADDRESS", width.clamp(16, 60)),
            bytes,
            Column::left("instruction", "INSTRUCTION", 0),
            Column::hidden("address"),
        ],
    );
    table.headless = true;
    for (instruction, place) in instructions.iter().zip(places) {
        table.push(vec![
            place,
            Cell::Memory(instruction.bytes.clone()),
            Cell::text(instruction.text.as_str()),
            Cell::Address(instruction.address),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dcmds::parts::testing::{run, text},
        heap::synthetic::{Builder, DATA},
        report::Status,
    };

    #[test]
    fn instructions_follow_each_other() {
        let mut builder = Builder::new();
        builder.image.write(DATA, &[0x55, 0x48, 0x89, 0xe5, 0xc3]);
        let (text, _) = text(&mut builder, &DCMD, Some(DATA), &["-abn", "2"]);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines[0], ["400000", "55", "push", "%rbp"]);
        assert_eq!(lines[1], ["400001", "4889e5", "mov", "%rsp,%rbp"]);
        assert_eq!(lines[2], ["400004", "c3", "ret"]);
    }

    #[test]
    fn where_nothing_is_there_are_no_instructions() {
        let report = run(&mut Builder::new(), &DCMD, Some(8), &[]).unwrap();
        assert_eq!(report.status, Status::Incomplete);
    }
}
