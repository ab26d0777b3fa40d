//! `::list`: the elements of a linked list of the program.

use std::collections::HashSet;

use super::{
    Address, Context, Dcmd, Error, Group, Invocation, Run,
    parts::{
        places::Place,
        scalars::Style,
        show::Printer,
        types::{Step, member_steps},
    },
};
use crate::report::Report;

pub(super) const DCMD: Dcmd = Dcmd {
    name: "list",
    group: Group::Pipes,
    address: Address::Required,
    pipes: Some("the elements"),
    operands: "type member [variable]",
    summary: "walk a linked list of the program",
    help: HELP,
    see: &["array", "print", "walk"],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Gives the address of each element of a list: that at the address, then the one that
its member points to, and so on up to a null pointer or to an element that was there
before. With the name of a variable each address is its value for the commands that
follow in the pipe.

    > *list_head::list struct node next | ::print struct node

    > umem_alloc_64::list Cache next | ::print Cache name buffers

Types are those of ::print.";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    const EXPECTED: &str = "a type and the member that points on";
    let (kind, rest) = cx.typed_operands(&DCMD, &invocation.operands, EXPECTED)?;
    let (member, variable) = match rest {
        [member] => (member, None),
        [member, variable] => (member, Some(variable)),
        _ => return Err(DCMD.misused(format!("expected {EXPECTED}"))),
    };
    let steps = member_steps(&DCMD, member)?;
    let mut seen = HashSet::new();
    let mut at = invocation.address.unwrap_or_default();
    while at != 0 && seen.insert(at) {
        if let Some(name) = variable {
            let set = cx.state().set_variable(name, at);
            set.map_err(|what| DCMD.misused(what))?;
        }
        let place = Place {
            kind: kind.clone(),
            at,
            bits: None,
        };
        let following = next(cx, place, &steps);
        if let Err(mistake @ Error::Usage { .. }) = following {
            return Err(mistake);
        }
        cx.emit(at)?;
        at = following?;
    }
    Ok(Report::default())
}

fn next(cx: &Context<'_>, place: Place, steps: &[Step]) -> Result<u64, Error> {
    let at = place.at;
    let mut printer = Printer::new(cx, Style::default());
    let found = printer
        .step(place, steps)
        .map_err(|what| what.error(&DCMD, "", "ADDRESS::print TYPE shows all members"))?;
    printer.number(&found).ok_or_else(|| {
        Error::Missing(format!(
            "list: failed to read data at {:#x}, in the element at {at:#x}",
            found.at
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dcmds::parts::testing::{emitted, run},
        heap::synthetic::victim,
    };

    #[test]
    fn lists_end_and_may_be_circles() {
        let (mut builder, _) = victim();
        builder.cache("umem_alloc_128", 128, 0);
        builder.publish();
        let caches: Vec<u64> = builder.caches.iter().map(|cache| cache.0).collect();
        let walked =
            |builder: &mut _, words: &[&str]| emitted(builder, &DCMD, Some(caches[0]), words);
        assert_eq!(walked(&mut builder, &["Cache", "next"]), Ok(caches.clone()));
        // The last one leads back.
        builder.write_word(caches[1], caches[0]);
        let report = super::super::parts::testing::run_published(
            &builder,
            &DCMD,
            Some(caches[0]),
            &["Cache", "next"],
        );
        assert!(report.is_ok());
        let error = run(&mut builder, &DCMD, Some(8), &["Cache", "next"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "list: failed to read data at 0x8, in the element at 0x8"
        );
        for wrong in [
            &["Cache"][..],
            &["Cache", "a", "b", "c"],
            &["Cache", "nothing"],
        ] {
            assert!(run(&mut builder, &DCMD, Some(caches[0]), wrong).is_err());
        }
    }
}
