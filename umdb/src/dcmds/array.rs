//! `::array`: the elements of an array of the program.

use super::{Address, Context, Dcmd, Error, Group, Invocation, Run};
use crate::report::Report;

pub(super) const DCMD: Dcmd = Dcmd {
    name: "array",
    group: Group::Pipes,
    address: Address::Required,
    pipes: Some("the elements"),
    operands: "type count",
    summary: "give the addresses of the elements of an array",
    help: HELP,
    see: &["list", "print", "sizeof"],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Gives the address of each element of an array that begins at the address. The count
is hexadecimal, as all numbers are, unless it begins with 0t.

    > table::array struct entry 0t100 | ::print struct entry

    > umem_alloc_64::array Cache 2 | ::print Cache name";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    const EXPECTED: &str = "a type and a count";
    let (kind, rest) = cx.typed_operands(&DCMD, &invocation.operands, EXPECTED)?;
    let [count] = rest else {
        return Err(DCMD.misused(format!("expected {EXPECTED}")));
    };
    let count = invocation.number_in(&DCMD, count)?;
    let size = cx.type_size(&kind).filter(|&size| size > 0);
    let size = size.ok_or_else(|| {
        Error::failed(format!(
            "array: the size of {} is not known",
            cx.type_name(&kind)
        ))
    })?;
    let start = invocation.address.unwrap_or_default();
    for index in 0..count {
        let at = index.checked_mul(size);
        let Some(at) = at.and_then(|offset| start.checked_add(offset)) else {
            return Err(Error::failed(format!(
                "array: element {index:#x} lies behind the last address"
            )));
        };
        cx.emit(at)?;
    }
    Ok(Report::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dcmds::parts::testing::{emitted, run},
        heap::synthetic::victim,
    };

    #[test]
    fn elements_stand_in_a_row() {
        let (mut builder, _) = victim();
        let elements = emitted(&mut builder, &DCMD, Some(0x1000), &["Trailer", "0t3"]);
        assert_eq!(elements, Ok(vec![0x1000, 0x1018, 0x1030]));
        for wrong in [&["Trailer"][..], &["Trailer", "x"], &["Trailer", "1", "2"]] {
            assert!(run(&mut builder, &DCMD, Some(0x1000), wrong).is_err());
        }
        let end = Some(u64::MAX - 0x20);
        let error = run(&mut builder, &DCMD, end, &["Trailer", "5"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "array: element 0x2 lies behind the last address"
        );
    }
}
