//! `::nm`: the symbols of the target.

use super::{
    Address, Completes, Context, Dcmd, Error, Group, Invocation, Opt, Run,
    parts::operands::optional,
};
use crate::{
    report::{Cell, Column, Report, Table},
    symbols::Listed,
};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "nm",
    group: Group::Process,
    address: Address::Optional,
    pipes: Some("addresses of symbols"),
    options: &[
        Opt::flag('g', "only global and weak symbols"),
        Opt::flag('n', "in order of name"),
        Opt::flag('v', "in order of value (as without an option)"),
        Opt::flag('h', "no header"),
    ],
    operands: "[object]",
    completes: Completes::Objects,
    summary: "list symbols",
    help: HELP,
    columns: &[
        ("VALUE", "address in the target"),
        ("SIZE", "bytes, hexadecimal"),
        ("BIND", "LOCL, GLOB or WEAK"),
        ("NAME", "the name as it stands in the symbol table"),
    ],
    see: &["objects", "whatis"],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Lists the symbols of the program, or those of an object. With an address it shows
the symbol that covers it.

    > ::nm -g libumem.so";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let module = match (invocation.address, optional(&DCMD, invocation)?) {
        (Some(address), _) => cx.target.module_at(address),
        (None, Some(name)) => cx.target.modules.iter().find(|m| m.name == name),
        (None, None) => cx.target.modules.iter().find(|m| m.is_program),
    };
    let Some(module) = module else {
        return Err(match invocation.address {
            Some(_) => Error::failed("nm: no symbol corresponds to address"),
            None => Error::with_hint("nm: unknown object file name", "::objects lists them"),
        });
    };
    let mut symbols = cx.symbols.list(module);
    if let Some(address) = invocation.address {
        let start = cx.symbols.lookup(address);
        let first = address.wrapping_sub(start.offset);
        symbols.retain(|symbol| symbol.address == first && start.symbol.is_some());
        if symbols.is_empty() {
            return Err(Error::failed("nm: no symbol corresponds to address"));
        }
    }
    symbols.retain(|symbol| !(invocation.has('g') && symbol.is_local));
    if invocation.has('n') {
        symbols.sort_by(|a, b| a.name.cmp(b.name));
    }
    let mut report = Report::default();
    report.push(table(&symbols, invocation.has('h')));
    Ok(report)
}

fn table(symbols: &[Listed<'_>], headless: bool) -> Table {
    let mut table = Table::new(
        "symbols",
        vec![
            Column::right("value", "VALUE", 16).padded().piped(),
            Column::right("size", "SIZE", 16).padded(),
            Column::left("bind", "BIND", 4),
            Column::left("name", "NAME", 0),
        ],
    );
    table.headless = headless;
    for symbol in symbols {
        let bind = match (symbol.is_local, symbol.is_weak) {
            (true, _) => "LOCL",
            (false, true) => "WEAK",
            (false, false) => "GLOB",
        };
        table.push(vec![
            Cell::Address(symbol.address),
            Cell::Address(symbol.size),
            Cell::text(bind),
            Cell::text(symbol.name),
        ]);
    }
    table
}
