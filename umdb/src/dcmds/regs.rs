//! `::regs`: the registers of a thread.

use super::{Address, Context, Dcmd, Error, Group, Invocation, Run, Shorthand, registers};
use crate::report::{Cell, Column, Report, Table};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "regs",
    group: Group::Process,
    address: Address::Optional,
    address_name: "thread",
    summary: "show the registers of a thread",
    help: HELP,
    columns: &[
        ("REGISTER", "its name: <name is its value in an expression"),
        ("VALUE", "its value, hexadecimal"),
        ("SYMBOL", "what the value points to, where it has a name"),
    ],
    see: &["stack", "threads"],
    shorthands: &[Shorthand::of("$r")],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Shows the registers of the current thread (the one that got the signal, else the
first), or of that with an identifier. $r is the same.

    > ::regs

    > ::walk thread | ::regs";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    of_thread(cx, invocation.address)
}

/// The registers of a thread, or of the current one.
pub(super) fn of_thread(cx: &Context<'_>, thread: Option<u64>) -> Result<Report, Error> {
    let thread = cx.thread(thread)?;
    let Some(values) = &thread.registers else {
        return Err(Error::Missing(format!(
            "the registers of thread {} could not be read",
            thread.tid
        )));
    };
    let mut table = Table::new(
        "registers",
        vec![
            Column::left("register", "REGISTER", 10),
            Column::right("value", "VALUE", 16).padded(),
            Column::left("symbol", "SYMBOL", 0),
            Column::hidden("thread"),
        ],
    );
    for (name, value) in registers::all(values) {
        let place = cx.symbols.lookup(value);
        let symbol = match place.symbol {
            Some(_) => Cell::Symbol(place.into()),
            None => Cell::Empty,
        };
        table.push(vec![
            Cell::text(name),
            Cell::Address(value),
            symbol,
            Cell::Number(thread.tid.into()),
        ]);
    }
    Ok(Report::of(table))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dcmds::parts::testing::{run, text},
        heap::synthetic::{Builder, STACK},
    };

    #[test]
    fn registers_have_their_values() {
        let (text, _) = text(&mut Builder::new(), &DCMD, None, &[]);
        let line = text.lines().find(|line| line.starts_with("rsp")).unwrap();
        let value = u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap();
        assert!((STACK..STACK + 0x10000).contains(&value), "{text}");
        let error = run(&mut Builder::new(), &DCMD, Some(0xdead), &[]).unwrap_err();
        assert_eq!(error.to_string(), "invalid thread identifier: 0xdead");
    }
}
