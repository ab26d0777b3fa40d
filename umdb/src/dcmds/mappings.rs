//! `::mappings`: the address space.

use super::{
    Address, Completes, Context, Dcmd, Error, Group, Invocation, Run, Shorthand,
    parts::operands::optional,
};
use crate::{
    report::{Cell, Column, Report, Table},
    target::Mapping,
};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "mappings",
    group: Group::Process,
    address: Address::Optional,
    pipes: Some("first addresses of mappings"),
    operands: "[name]",
    completes: Completes::Objects,
    summary: "list the mappings of the address space",
    help: HELP,
    columns: &[
        ("BASE", "first address"),
        ("LIMIT", "one past the last address"),
        ("SIZE", "bytes, hexadecimal"),
        ("PROT", "r readable, w writable, x executable, s shared"),
        ("NAME", "the file, or what the kernel calls it"),
    ],
    see: &["objects", "whatis"],
    shorthands: &[Shorthand::of("$m")],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Lists all mappings; with a name those of that file or kind (heap, stack, anon), or
else those whose file has it somewhere in its path; with an address the one that
holds it.

    > ::mappings stack";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let name = optional(&DCMD, invocation)?;
    let mut mappings: Vec<&Mapping> = match (invocation.address, name) {
        (Some(address), _) => {
            let held = cx.target.mapping_at(address);
            let found = held.ok_or_else(|| {
                Error::failed(format!(
                    "failed to obtain mapping: no mapping for address {address:#x}"
                ))
            })?;
            vec![found]
        }
        (None, name) => cx
            .target
            .mappings
            .iter()
            .filter(|mapping| name.is_none_or(|name| is_called(mapping, name)))
            .collect(),
    };
    // Nobody types the version behind the name of a library.
    if let (true, Some(name)) = (mappings.is_empty(), name) {
        let all = cx.target.mappings.iter();
        mappings = all.filter(|m| shown_name(m).contains(name)).collect();
    }
    if let (true, Some(name)) = (mappings.is_empty(), name) {
        let what = format!("failed to obtain mapping: no mapping is called {name}");
        return Err(invocation.senseless(&what, "::mappings lists them"));
    }
    let mut table = Table::new(
        "mappings",
        vec![
            Column::right("base", "BASE", 16).piped(),
            Column::right("limit", "LIMIT", 16),
            Column::right("size", "SIZE", 16),
            Column::left("protection", "PROT", 4),
            Column::left("name", "NAME", 0),
            Column::hidden("offset"),
        ],
    );
    for mapping in mappings {
        table.push(vec![
            Cell::Address(mapping.start),
            Cell::Address(mapping.end),
            Cell::Address(mapping.end.saturating_sub(mapping.start)),
            Cell::text(protection(mapping)),
            Cell::text(shown_name(mapping)),
            Cell::Bytes(mapping.offset),
        ]);
    }
    Ok(Report::of(table))
}

fn shown_name(mapping: &Mapping) -> String {
    match mapping.name.as_deref() {
        None => "[ anon ]".to_owned(),
        Some(name) => match name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'))
        {
            Some(inner) => format!("[ {inner} ]"),
            None => name.to_owned(),
        },
    }
}

fn is_called(mapping: &Mapping, wanted: &str) -> bool {
    let name = shown_name(mapping);
    name == wanted
        || name.rsplit('/').next() == Some(wanted)
        || name.trim_matches(['[', ']', ' ']) == wanted
}

fn protection(mapping: &Mapping) -> String {
    let letter = |set: bool, letter: char| if set { letter } else { '-' };
    [
        letter(mapping.read, 'r'),
        letter(mapping.write, 'w'),
        letter(mapping.execute, 'x'),
        if mapping.shared { 's' } else { 'p' },
    ]
    .iter()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dcmds::parts::testing::{run, text},
        heap::synthetic::{Builder, STACK},
    };

    #[test]
    fn mappings_are_found_by_address_and_name() {
        let (all, _) = text(&mut Builder::new(), &DCMD, None, &[]);
        let (one, _) = text(&mut Builder::new(), &DCMD, Some(STACK), &[]);
        assert!(all.lines().count() > one.lines().count());
        assert_eq!(one.lines().count(), 2, "{one}");
        let error = run(&mut Builder::new(), &DCMD, Some(8), &[]).unwrap_err();
        assert!(error.to_string().starts_with("failed to obtain mapping"));
        assert!(run(&mut Builder::new(), &DCMD, None, &["nothing"]).is_err());
    }
}
