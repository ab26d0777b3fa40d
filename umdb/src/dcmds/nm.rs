//! `::nm`: the symbols of the target.

use object::elf;

use super::{
    Address, Completes, Context, Dcmd, Error, Group, Invocation, Opt, Run, Shorthand,
    parts::operands::optional,
};
use crate::{
    report::{Cell, Column, Report, Table},
    symbols::SymbolRow,
};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "nm",
    group: Group::Process,
    address: Address::Optional,
    pipes: Some("addresses of symbols"),
    options: &[
        Opt::flag('D', "the dynamic symbol table alone"),
        Opt::flag('P', "the symbols of the debugger's own: there are none"),
        Opt::flag('d', "values and sizes decimal"),
        Opt::flag('g', "only global and weak symbols"),
        Opt::flag('h', "no header"),
        Opt::flag('n', "in order of name"),
        Opt::flag('o', "values and sizes octal"),
        Opt::flag('p', "fields with | between, for scripts"),
        Opt::flag('u', "only undefined symbols"),
        Opt::flag('v', "in order of value (as without an option)"),
        Opt::flag('x', "values and sizes hexadecimal (as without an option)"),
        Opt::value(
            'f',
            "format",
            "columns, with commas between: ndx val sz type bind oth shndx name obj",
        ),
        Opt::value(
            't',
            "types",
            "types, with commas between: noty objt func sect file comm tls ifnc",
        ),
    ],
    operands: "[object]",
    completes: Completes::Objects,
    summary: "list symbols",
    help: HELP,
    columns: &[
        (
            "VALUE",
            "address in the target; for TLS the offset in its block",
        ),
        ("SIZE", "bytes, hexadecimal"),
        (
            "TYPE",
            "FUNC, OBJT (data), TLS, IFNC (resolved at start), NOTY, SECT, FILE, COMM",
        ),
        ("BIND", "LOCL, GLOB or WEAK"),
        (
            "OTHER",
            "visibility: DEFT, HIDD (hidden), PROT (protected), INTR",
        ),
        (
            "SHNDX",
            "name of the section; UNDEF when another object defines it, ABS for a number",
        ),
        ("NAME", "the name as it stands in the symbol table"),
    ],
    see: &["objects", "whatis"],
    shorthands: &[
        Shorthand {
            name: "$e",
            words: &["-g", "-t", "func,objt"],
        },
        Shorthand {
            name: "$f",
            words: &["-t", "file"],
        },
    ],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Lists the symbols of the program, or those of an object: what its tables define,
those of a separate debug file included. With an address it shows the symbol that
covers it.

    > ::nm -t objt -g

Symbols of files and sections, and undefined ones, come only with -t and -u.";

/// What `-f` may name: the word, and the column.
const FIELDS: [(&str, Column); 9] = [
    ("ndx", Column::right("index", "INDEX", 6)),
    ("val", Column::right("value", "VALUE", 16).padded().piped()),
    ("sz", Column::right("size", "SIZE", 16).padded()),
    ("type", Column::left("type", "TYPE", 5)),
    ("bind", Column::left("bind", "BIND", 5)),
    ("oth", Column::left("other", "OTHER", 5)),
    ("shndx", Column::left("section", "SHNDX", 12)),
    ("name", Column::left("name", "NAME", 0)),
    ("obj", Column::left("object", "OBJECT", 20)),
];

/// What is shown without `-f`.
const USUAL: &str = "val,sz,type,bind,oth,shndx,name";

/// Types of symbols, and whether they are listed without `-t`.
const TYPES: [(u8, &str, bool); 8] = [
    (elf::STT_NOTYPE.0, "NOTY", true),
    (elf::STT_OBJECT.0, "OBJT", true),
    (elf::STT_FUNC.0, "FUNC", true),
    (elf::STT_SECTION.0, "SECT", false),
    (elf::STT_FILE.0, "FILE", false),
    (elf::STT_COMMON.0, "COMM", true),
    (elf::STT_TLS.0, "TLS", true),
    (elf::STT_GNU_IFUNC.0, "IFNC", true),
];

const BINDINGS: [(u8, &str); 4] = [
    (elf::STB_LOCAL.0, "LOCL"),
    (elf::STB_GLOBAL.0, "GLOB"),
    (elf::STB_WEAK.0, "WEAK"),
    (elf::STB_GNU_UNIQUE.0, "UNIQ"),
];

const VISIBILITIES: [(u8, &str); 4] = [
    (elf::STV_DEFAULT.0, "DEFT"),
    (elf::STV_INTERNAL.0, "INTR"),
    (elf::STV_HIDDEN.0, "HIDD"),
    (elf::STV_PROTECTED.0, "PROT"),
];

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let object = optional(&DCMD, invocation)?;
    let fields = fields(invocation.value('f').unwrap_or(USUAL))?;
    let types = invocation.value('t').map(types).transpose()?;
    let module = match (invocation.address, object) {
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
    let mut rows = if invocation.has('P') {
        Vec::new()
    } else {
        cx.symbols.rows(module, invocation.has('D'))
    };
    rows.retain(|row| is_wanted(row, invocation, types.as_deref()));
    if let Some(address) = invocation.address {
        let place = cx.symbols.lookup(address);
        let first = address.wrapping_sub(place.offset);
        rows.retain(|row| row.value == first && place.symbol.is_some() && is_address(row));
        if rows.is_empty() {
            return Err(Error::failed("nm: no symbol corresponds to address"));
        }
    }
    if invocation.has('n') {
        rows.sort_by(|a, b| a.name.cmp(&b.name));
    }
    let mut report = Report::default();
    let table = table(&rows, &fields, &module.name, invocation);
    if invocation.has('p') && !invocation.is_piped {
        report.push(with_bars(&table, invocation.has('h')));
    } else {
        report.push(table);
    }
    Ok(report)
}

/// Whether the value is an address in the target.
fn is_address(row: &SymbolRow) -> bool {
    row.kind != Some(elf::STT_TLS.0) && !row.is_undefined() && row.section.as_deref() != Some("ABS")
}

fn is_wanted(row: &SymbolRow, invocation: &Invocation, types: Option<&[u8]>) -> bool {
    let is_listed = match (types, row.kind) {
        (Some(types), Some(kind)) => types.contains(&kind),
        (Some(_), None) => false,
        (None, kind) => kind.is_none_or(|kind| {
            TYPES
                .iter()
                .any(|&(other, _, usual)| other == kind && usual)
        }),
    };
    is_listed
        && row.is_undefined() == invocation.has('u')
        && !(invocation.has('g') && row.binding == elf::STB_LOCAL.0)
        && (!invocation.is_piped || is_address(row))
}

/// The columns that `-f` names.
fn fields(text: &str) -> Result<Vec<(&'static str, Column)>, Error> {
    let field = |word: &str| {
        let found = FIELDS.iter().find(|(name, _)| *name == word);
        found.cloned().ok_or_else(|| {
            DCMD.misused(format!(
                "-f {word}: expected ndx, val, sz, type, bind, oth, shndx, name or obj"
            ))
        })
    };
    text.split(',').map(field).collect()
}

fn types(text: &str) -> Result<Vec<u8>, Error> {
    let number = |word: &str| {
        let found = TYPES
            .iter()
            .find(|(_, name, _)| name.eq_ignore_ascii_case(word));
        found.map(|&(number, ..)| number).ok_or_else(|| {
            DCMD.misused(format!(
                "-t {word}: expected noty, objt, func, sect, file, comm, tls or ifnc"
            ))
        })
    };
    text.split(',').map(number).collect()
}

fn table(
    rows: &[SymbolRow],
    fields: &[(&'static str, Column)],
    object: &str,
    invocation: &Invocation,
) -> Table {
    let mut columns: Vec<Column> = fields.iter().map(|(_, column)| column.clone()).collect();
    // The last one takes what is left of the line.
    if let Some(last) = columns.last_mut().filter(|last| !last.padded) {
        last.width = 0;
    }
    let mut table = Table::new("symbols", columns);
    table.headless = invocation.has('h');
    for row in rows {
        let cells = fields
            .iter()
            .map(|(name, _)| cell(row, name, object, invocation));
        table.push(cells.collect());
    }
    table
}

fn cell(row: &SymbolRow, field: &str, object: &str, invocation: &Invocation) -> Cell {
    let number = |value: u64| match () {
        () if invocation.is_piped => Cell::Address(value),
        () if invocation.has('d') => Cell::Number(value),
        () if invocation.has('o') => Cell::text(format!("{value:o}")),
        () => Cell::Address(value),
    };
    let named = |names: &[(u8, &str)], value: u8| {
        let found = names.iter().find(|(other, _)| *other == value);
        Cell::text(found.map_or_else(|| value.to_string(), |(_, name)| (*name).to_owned()))
    };
    match field {
        "ndx" => Cell::Number(row.index),
        "val" => number(row.value),
        "sz" => number(row.size),
        "type" => row.kind.map_or(Cell::Unknown, |kind| {
            named(&TYPES.map(|(number, name, _)| (number, name)), kind)
        }),
        "bind" => named(&BINDINGS, row.binding),
        "oth" => named(&VISIBILITIES, row.other & 3),
        "shndx" => row.section.as_ref().map_or(Cell::Unknown, Cell::text),
        "name" => Cell::text(row.name.as_str()),
        _ => Cell::text(object),
    }
}

/// `-p`: fields with bars between.
fn with_bars(table: &Table, headless: bool) -> crate::report::Text {
    let line = |cells: Vec<String>| cells.join("|") + "\n";
    let mut body = String::new();
    if !headless {
        body += &line(table.columns.iter().map(|c| c.title.to_owned()).collect());
    }
    for row in &table.rows {
        body += &line(row.cells.iter().map(plain).collect());
    }
    crate::report::Text {
        key: "symbols",
        body,
    }
}

fn plain(cell: &Cell) -> String {
    match cell {
        Cell::Address(value) => format!("0x{value:016x}"),
        Cell::Number(value) => value.to_string(),
        Cell::Text(text) => text.clone(),
        _ => "?".to_owned(),
    }
}
