//! `::offsetof`: where a member is in its structure.

use super::{
    Address, Context, Dcmd, Error, Group, Invocation, Run,
    parts::{
        places::Place,
        scalars::Style,
        show::Printer,
        types::{Step, member_steps},
    },
};
use crate::report::{Cell, List, Report, Sentence};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "offsetof",
    group: Group::Addresses,
    address: Address::Forbidden,
    pipes: Some("the offset"),
    operands: "type member",
    summary: "print the offset of a member in its structure",
    help: HELP,
    see: &["sizeof", "print"],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Shows how many bytes a member is behind the start of its structure, and its size,
as hexadecimal numbers. A bitfield is shown with the number of its first bit.

    > ::offsetof struct session next

    > ::offsetof Cache name";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    const EXPECTED: &str = "a type and one member";
    let (kind, rest) = cx.typed_operands(&DCMD, &invocation.operands, EXPECTED)?;
    let [member] = rest else {
        return Err(DCMD.misused(format!("expected {EXPECTED}")));
    };
    let steps = member_steps(&DCMD, member)?;
    let follows = member.contains("->");
    if follows || !matches!(steps.first(), Some(Step::Member(_))) {
        return Err(DCMD.misused(format!("{member} is no member of one structure")));
    }
    let start = Place {
        kind: kind.clone(),
        at: 0,
        bits: None,
    };
    let place = Printer::new(cx, Style::default())
        .step(start, &steps)
        .map_err(|what| what.error(&DCMD, "", "ADDRESS::print TYPE shows all members"))?;
    let size = cx.type_size(&place.kind);
    let mut sentence = Sentence::new()
        .words("offsetof (")
        .value("type", Cell::text(cx.type_name(&kind)))
        .words(", ")
        .value("member", Cell::text(member.as_str()))
        .words(format!(") = {:#x}", place.at))
        .hidden("offset", Cell::Bytes(place.at));
    if let Some((bit, count)) = place.bits {
        sentence = sentence.words(format!(", bit {bit}, {count} bits"));
    } else if let Some(size) = size {
        sentence = sentence
            .words(format!(", sizeof (...->{member}) = {size:#x}"))
            .hidden("bytes", Cell::Bytes(size));
    }
    Ok(Report::of(List {
        piped: "offset",
        ..List::one("offset", sentence)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dcmds::parts::testing::{run, text},
        heap::synthetic::victim,
    };

    #[test]
    fn offsets_and_sizes_of_members() {
        let (mut builder, _) = victim();
        let mut shown = |words: &[&str]| text(&mut builder, &DCMD, None, words).0;
        assert_eq!(
            shown(&["Cache", "name"]),
            "offsetof (struct Cache, name) = 0x10, sizeof (...->name) = 0x20\n"
        );
        assert_eq!(
            shown(&["UmemRoot", "options.log_bytes[2]"]),
            "offsetof (struct UmemRoot, options.log_bytes[2]) = 0x118, sizeof (...->options.log_bytes[2]) = 0x8\n"
        );
        for wrong in [
            &["Cache"][..],
            &["Cache", "x"],
            &["Cache", "[3]"],
            &["Cache", "a", "b"],
            &[],
        ] {
            assert!(run(&mut builder, &DCMD, None, wrong).is_err(), "{wrong:?}");
        }
    }
}
