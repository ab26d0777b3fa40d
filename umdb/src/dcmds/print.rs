//! `::print`: a value by its type.

use std::cell::Cell;

use super::{
    Address, Context, Dcmd, Error, Group, Invocation, Opt, Run,
    parts::{
        places::Place,
        scalars::Style,
        show::Printer,
        types::{Kind, Step, parse_steps},
    },
};
use crate::{report::Report, symbols::Shape};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "print",
    group: Group::Addresses,
    address: Address::Required,
    pipes: Some("values of members, else addresses"),
    options: &[
        Opt::flag('a', "the address of each member"),
        Opt::flag('C', "whole strings"),
        Opt::value('c', "limit", "bytes of a string (0t for decimal)"),
        Opt::flag('d', "all numbers decimal"),
        Opt::flag('h', "holes between members"),
        Opt::flag('i', "the address is the value itself"),
        Opt::flag('L', "whole arrays"),
        Opt::value('l', "limit", "elements of an array (0t for decimal)"),
        Opt::flag('p', "accepted: addresses are those of the process"),
        Opt::value('s', "depth", "structures within structures"),
        Opt::flag('t', "the type of each member"),
        Opt::flag('x', "all numbers hexadecimal"),
    ],
    operands: "[type] [member ...]",
    summary: "print the contents of a data structure",
    help: HELP,
    see: &["sizeof", "offsetof", "whatis"],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Shows what is at an address as a value of a type. Types are those of the program,
where it has debug information (DWARF), and the structures that libumem.so
publishes: Cache, Slab, Arena, Segment, AuditRecord, Thread, UmemRoot and others,
some also by their old names, as umem_cache_t or struct umem_cache.

    > umem_alloc_64::print Cache name buffers

    > 7f0aa0c5efc0::print -t struct session next->name

Without a type that of the variable or structure at the address is taken. With
members only these are shown; a member may be a way of several steps, with . or ->
(both follow pointers) and [index].

Signed numbers are decimal, unsigned ones and pointers hexadecimal. Pointers to
char are followed by their text, those to functions by the name. Names of enums
follow their numbers. In a pipe the values of the members are handed on, so that a
list is followed by

    > list_head::print struct node next | ::print struct node";

/// Elements of an array, bytes of a string, structures within structures, unless told otherwise.
const ELEMENTS: u64 = 256;
const DEPTH: u64 = 16;
/// No array or string is shown beyond this.
const ELEMENTS_MAX: u64 = 1 << 20;

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let style = style(cx, invocation)?;
    let address = invocation.address.unwrap_or_default();
    let (kind, members) = kind(cx, invocation, address)?;
    if invocation.has('i') {
        return immediate(cx, style, &kind, address);
    }
    let place = Place {
        kind,
        at: address,
        bits: None,
    };
    let mut printer = Printer::new(cx, style);
    if members.is_empty() {
        if invocation.is_piped {
            cx.emit(address)?;
            return Ok(Report::default());
        }
        printer.show("", &place);
    }
    for (text, steps) in &members {
        let found = printer.step(place.clone(), steps).map_err(|what| {
            what.error(
                &DCMD,
                &format!("{text}: "),
                "::print without members shows all",
            )
        })?;
        if invocation.is_piped {
            let value = printer
                .number(&found)
                .filter(|_| is_number(cx, &found.kind));
            cx.emit(value.unwrap_or(found.at))?;
        } else {
            printer.show(text, &found);
        }
    }
    let mut report = Report::default();
    if !invocation.is_piped {
        printer.finish(&mut report);
    }
    Ok(report)
}

/// A value that a pipe can hand on.
fn is_number(cx: &Context<'_>, kind: &Kind) -> bool {
    let shape = cx.resolved(kind).map(|found| found.shape);
    matches!(
        shape,
        Some(Shape::Base(_) | Shape::Pointer(_) | Shape::Enum(_))
    )
}

fn style(cx: &Context<'_>, invocation: &Invocation) -> Result<Style, Error> {
    let limit = |all: char, limit: char, set: &Cell<Option<u64>>| {
        let set = set.get().unwrap_or(ELEMENTS);
        match cx.option(invocation, limit) {
            _ if invocation.has(all) => Ok(ELEMENTS_MAX),
            given => given.map(|given| given.unwrap_or(set).min(ELEMENTS_MAX)),
        }
    };
    Ok(Style {
        addresses: invocation.has('a'),
        types: invocation.has('t'),
        decimal: invocation.has('d'),
        hexadecimal: invocation.has('x'),
        holes: invocation.has('h'),
        characters: limit('C', 'c', &cx.state().string_limit)?,
        elements: limit('L', 'l', &cx.state().array_limit)?,
        depth: cx.option(invocation, 's')?.unwrap_or(DEPTH).min(64),
    })
}

/// The type that was named, or that of what is at the address, and the members.
type Asked = (Kind, Vec<(String, Vec<Step>)>);

fn kind(cx: &Context<'_>, invocation: &Invocation, address: u64) -> Result<Asked, Error> {
    let words = &invocation.operands;
    let of_address = cx.type_of_address(address);
    let named = if words.is_empty() {
        None
    } else {
        Some(cx.parse_type(words))
    };
    let (kind, taken) = match (named, of_address) {
        (Some(Ok(named)), _) => named,
        // No type of that name: a member of what is at the address.
        (Some(Err(_)), Some(kind)) | (None, Some(kind)) => (kind, 0),
        (Some(Err(error)), None) => return Err(DCMD.unknown_type(error)),
        (None, None) => {
            return Err(Error::with_hint(
                format!("print: the type of what is at {address:x} is not known"),
                format!("{address:x}::print TYPE; {address:x}::whatis says what is there"),
            ));
        }
    };
    let members = words[taken..]
        .iter()
        .map(|text| Ok((text.clone(), parse_steps(text)?)))
        .collect::<Result<Vec<_>, String>>()
        .map_err(|what| DCMD.misused(what))?;
    Ok((kind, members))
}

/// The address itself as a value.
fn immediate(cx: &Context<'_>, style: Style, kind: &Kind, value: u64) -> Result<Report, Error> {
    if !is_number(cx, kind) {
        let what = format!("-i: {} is no number, pointer or enum", cx.type_name(kind));
        return Err(DCMD.misused(what));
    }
    let mut printer = Printer::new(cx, style);
    printer.show_value(kind, value);
    let mut report = Report::default();
    printer.finish(&mut report);
    Ok(report)
}

#[cfg(test)]
mod tests {
    use umem_layout::{TRAILER_ALLOCATED, redzone_word};

    use super::*;
    use crate::{
        dcmds::parts::testing::{emitted, run, run_published, text},
        heap::synthetic::{Builder, ROOT, victim},
        render::write_text,
    };

    #[test]
    fn published_structures_are_shown_by_member_and_as_a_whole() {
        let (mut builder, [kept, ..]) = victim();
        builder.publish();
        let cache = Some(builder.caches[0].0);
        let shown = |address, words: &[&str]| {
            let report = run_published(&builder, &DCMD, address, words).unwrap();
            write_text(&report)
        };
        let expected = "name = [ \"umem_alloc_64\" ]\nbuffers = 0x2aa\nalign = 0x10\n";
        assert_eq!(
            shown(cache, &["Cache", "name", "buffers", "align"]),
            expected
        );
        for old in ["umem_cache_t", "umem_cache", "struct umem_cache"] {
            assert_eq!(
                shown(cache, &["-d", old, "buffers"]),
                "buffers = 682\n",
                "{old}"
            );
        }
        let at = builder.caches[0].0 + 0x48;
        let expected = format!("{at:x} u64 chunk_size = 0x60\n");
        assert_eq!(shown(cache, &["-at", "Cache", "chunk_size"]), expected);
        let expected = format!(
            "{{\n    redzone = {:#x}\n    record = {:#x}\n    state = {:#x}\n}}\n",
            redzone_word(50),
            kept.record,
            kept.record ^ TRAILER_ALLOCATED
        );
        assert_eq!(shown(Some(kept.address + 64), &["Trailer"]), expected);
        let options = shown(
            Some(ROOT),
            &["UmemRoot", "options.audit_depth", "struct_sizes[2]"],
        );
        assert_eq!(options, "options.audit_depth = 0\nstruct_sizes[2] = 0x70\n");
    }

    #[test]
    fn the_type_of_a_structure_of_the_allocator_is_known() {
        let (mut builder, [kept, ..]) = victim();
        let (text, _) = text(
            &mut builder,
            &DCMD,
            Some(kept.record),
            &["alloc_thread", "requested"],
        );
        assert_eq!(text, "alloc_thread = 0x7\nrequested = 0x32\n");
    }

    #[test]
    fn values_of_members_go_down_the_pipe() {
        let (mut builder, _) = victim();
        let first = builder.caches[0].0;
        builder.cache("umem_alloc_128", 128, 0);
        builder.publish();
        let second = builder.caches[1].0;
        let emitted = emitted(&mut builder, &PIPED, Some(first), &["Cache", "next"]).unwrap();
        assert_eq!(emitted, [second]);
    }

    /// The command as it is in a pipe.
    const PIPED: Dcmd = Dcmd {
        run: Run::Report(|cx, invocation| {
            let piped = Invocation {
                is_piped: true,
                ..invocation.clone()
            };
            super::run(cx, &piped)
        }),
        ..DCMD
    };

    #[test]
    fn what_there_is_not_is_named() {
        let (mut builder, _) = victim();
        let cache = Some(builder.caches[0].0);
        let error = |builder: &mut Builder, address, words: &[&str]| {
            run(builder, &DCMD, address, words).unwrap_err().to_string()
        };
        assert_eq!(
            error(&mut builder, cache, &["Cache", "nothing"]),
            "print: nothing: struct Cache has no member nothing"
        );
        assert_eq!(
            error(&mut builder, cache, &["Cache", "align.x"]),
            "print: align.x: u64 is no structure: it has no member x"
        );
        assert_eq!(
            error(&mut builder, Some(8), &["struct nothing"]),
            "failed to find type struct nothing: no type of that name"
        );
        assert_eq!(
            error(&mut builder, Some(8), &[]),
            "print: the type of what is at 8 is not known"
        );
        let report = run(&mut builder, &DCMD, Some(8), &["Cache", "align"]).unwrap();
        assert_eq!(write_text(&report), "align = ???\n");
        assert_eq!(report.warnings[0].what, "print: failed to read data at 58");
    }
}
