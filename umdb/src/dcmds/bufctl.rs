//! `::bufctl`: the record of a buffer.

use super::{
    Address, Context, Dcmd, Error, Group, Invocation, Opt, Run,
    parts::record::{Show, last_transaction},
};
use crate::{
    heap::{Location, Object},
    report::{Cell, Column, Report, Table},
};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "bufctl",
    group: Group::Addresses,
    address: Address::Required,
    options: &[Opt::flag(
        'v',
        "the whole record with the stacks of allocation and free",
    )],
    operands: "",
    summary: "print or filter a bufctl",
    help: HELP,
    run: Run::Report(run),
};

const HELP: &str = "\
Shows the record of a buffer: when it was last allocated or freed, by which
thread, and who called. The address is that of the record, as ::findleaks and
::whatis print it; that of the buffer or of its segment will do as well.

    > 7f0aa0c71d20::bufctl -v

TIMESTAMP is hexadecimal, in nanoseconds of the monotonic clock.";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let address = invocation.address.unwrap_or_default();
    let object = object(cx, address)?;
    let mut report = Report::default();
    if invocation.has('v') {
        let table = cx.record_table(object, Show::Both, &mut report);
        report.sections.extend(table.map(Into::into));
        return Ok(report);
    }
    let Some(record) = cx.heap.record(object).transpose()? else {
        return Ok(report);
    };
    let (time, thread) = last_transaction(&record);
    let stack = if time == record.alloc_time {
        record.alloc_stack
    } else {
        record.free_stack
    };
    let mut table = Table::new("record", columns());
    table.push(vec![
        Cell::Address(cx.heap.record_address(object).unwrap_or(address)),
        Cell::Address(cx.heap.address(object)),
        Cell::Time(cx.heap.clock.monotonic(time)),
        Cell::Number(thread.into()),
        cx.caller(stack),
    ]);
    report.push(table);
    Ok(report)
}

fn columns() -> Vec<Column> {
    vec![
        Column::left("bufctl", "ADDR", 16).padded(),
        Column::left("buffer", "BUFADDR", 16).padded(),
        Column::left("timestamp", "TIMESTAMP", 12),
        Column::right("thread", "THRD", 5),
        Column::left("caller", "CALLER", 0),
    ]
}

/// The object whose record, buffer or segment is at an address.
fn object(cx: &Context<'_>, address: u64) -> Result<Object, Error> {
    let heap = cx.heap;
    if let Some(object) = heap.object_of_record(address) {
        return Ok(object);
    }
    let by_address = match heap.find(address) {
        Some(Location::Buffer(buffer, 0)) => Some(Object::Buffer(buffer)),
        Some(Location::Block(index, 0)) => Some(Object::Block(index)),
        _ => heap
            .blocks
            .iter()
            .position(|block| block.segment == address)
            .map(|i| Object::Block(i as u32)),
    };
    match by_address {
        Some(object) if heap.record_address(object).is_some() => Ok(object),
        Some(object) => Err(Error::with_hint(
            format!("bufctl: {} keeps no records", heap.owner_name(object)),
            "start the program with UMEM_DEBUG=default",
        )),
        None if heap.reader.fill(address, &mut [0; 8]) == 0 => Err(Error::Missing(format!(
            "couldn't read bufctl at {address:x}: no mapping for address"
        ))),
        None => Err(Error::with_hint(
            format!("bufctl: no record of a buffer is at {address:x}"),
            format!("{address:x}::whatis says what is there"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dcmds::parts::testing::{run, text},
        heap::synthetic::{DATA, victim},
        report::Status,
    };

    #[test]
    fn the_whole_record_has_both_stacks() {
        let (mut builder, [.., freed]) = victim();
        let cache = builder.caches[0].0;
        let (shown, _) = text(&mut builder, &DCMD, Some(freed.record), &["-v"]);
        let log = builder.heap().log(1).unwrap().entry_address(4).unwrap();
        let expected = format!(
            "            ADDR          BUFADDR        TIMESTAMP           THREAD
                            CACHE          LASTLOG         CONTENTS
                        REQUESTED            STATE           FAMILY
{:>16x} {:>16x}              410                8
                 {cache:>16x} {log:>16x}                0
                               50             free
             allocated by thread 7:
                 victim+0x300
                 victim+0x10
             freed by thread 8 0.000000010 s later:
                 victim+0x300
                 victim+0x10

",
            freed.record, freed.address
        );
        assert_eq!(shown, expected);
        let (by_buffer, _) = text(&mut builder, &DCMD, Some(freed.address), &["-v"]);
        assert_eq!(
            by_buffer,
            expected.replace(&format!("{log:>16x}"), &by_buffer_log(&builder))
        );
    }

    fn by_buffer_log(builder: &crate::heap::synthetic::Builder) -> String {
        format!(
            "{:>16x}",
            builder.heap().log(1).unwrap().entry_address(4).unwrap()
        )
    }

    #[test]
    fn the_short_form_is_one_line() {
        let (mut builder, [_, lost, _]) = victim();
        let (text, _) = text(&mut builder, &DCMD, Some(lost.record), &[]);
        let expected = format!(
            "ADDR             BUFADDR          TIMESTAMP     THRD CALLER
{:016x} {:016x} 3fc              7 victim+0x200
",
            lost.record, lost.address
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn what_is_no_record_is_said() {
        let (mut builder, _) = victim();
        let error = run(&mut builder, &DCMD, Some(8), &["-v"]).unwrap_err();
        assert_eq!(Report::from(error).status, Status::Incomplete);
        let error = run(&mut builder, &DCMD, Some(DATA), &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "bufctl: no record of a buffer is at 400000"
        );
        assert!(run(&mut builder, &DCMD, None, &[]).is_err());
    }
}
