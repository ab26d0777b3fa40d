//! `::sizeof`: the size of a type.

use super::{Address, Context, Dcmd, Error, Group, Invocation, Run};
use crate::report::{Cell, List, Report, Sentence};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "sizeof",
    group: Group::Addresses,
    address: Address::Forbidden,
    pipes: Some("the size"),
    operands: "type",
    summary: "print the size of a type",
    help: HELP,
    see: &["offsetof", "print"],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Shows how many bytes a value of a type takes, as a hexadecimal number. Types are
those of the program, where it has debug information, and those that libumem.so
publishes.

    > ::sizeof struct session";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let (kind, rest) = cx.typed_operands(&DCMD, &invocation.operands, "a type")?;
    if let Some(word) = rest.first() {
        return Err(DCMD.misused(format!("unexpected argument \"{word}\"")));
    }
    let name = cx.type_name(&kind);
    let size = cx
        .type_size(&kind)
        .ok_or_else(|| Error::failed(format!("sizeof: the size of {name} is not known")))?;
    let sentence = Sentence::new()
        .words("sizeof (")
        .value("type", Cell::text(name))
        .words(format!(") = {size:#x}"))
        .hidden("bytes", Cell::Bytes(size));
    Ok(Report::of(List {
        piped: "bytes",
        ..List::one("size", sentence)
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
    fn sizes_are_those_that_the_target_publishes() {
        let (mut builder, _) = victim();
        builder.root.struct_sizes[5] = 0x100;
        let (shown, _) = text(&mut builder, &DCMD, None, &["vmem_seg_t"]);
        assert_eq!(shown, "sizeof (struct Segment) = 0x100\n");
        let (shown, _) = text(&mut builder, &DCMD, None, &["Trailer", "*"]);
        assert_eq!(shown, "sizeof (struct Trailer *) = 0x8\n");
        assert!(run(&mut builder, &DCMD, None, &["nothing"]).is_err());
        assert!(run(&mut builder, &DCMD, None, &["Trailer", "x"]).is_err());
        assert!(run(&mut builder, &DCMD, None, &[]).is_err());
    }
}
