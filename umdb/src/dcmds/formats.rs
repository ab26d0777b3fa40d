//! `::formats`, and the verbs `/` `\` `?` `@` `=` that show memory and values in these formats.

use super::{
    Context, Dcmd, Error, Group, Invocation, Run,
    parts::{
        format::{FORMATS, Item, parse},
        values_shown::{Line, shown},
    },
};
use crate::report::{Cell, Column, List, Report, Table};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "formats",
    group: Group::Addresses,
    summary: "list the formats of / and =",
    help: HELP,
    columns: &[
        ("LETTER", "what is typed behind / or ="),
        ("BYTES", "how many bytes of memory it takes"),
        ("SUMMARY", "what it shows"),
    ],
    see: &["dump", "dis"],
    run: Run::Report(list),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Lists the letters that may follow / and =. address/letters shows memory, and
value=letters the value itself; ? @ and \\ do what / does. A decimal number before
a letter repeats it, a count before the verb repeats all of them, and text in
double quotes is shown as it is. / without letters is /X, then an instruction.

    > main,4/i

    > 0t1000=X

When dot was 7f00 before, +/K shows what lies behind what was shown last. In a pipe
the numbers are handed on; of letters that show text each line is an expression:

    > umem_alloc_64,2/K | ::whatis";

fn list(_: &Context<'_>, _: &Invocation) -> Result<Report, Error> {
    let mut table = Table::new(
        "formats",
        vec![
            Column::left("letter", "LETTER", 6),
            Column::right("bytes", "BYTES", 5),
            Column::left("summary", "SUMMARY", 0),
        ],
    );
    for format in FORMATS {
        let bytes = match format.bytes {
            0 => Cell::Empty,
            bytes => Cell::Bytes(bytes),
        };
        table.push(vec![
            Cell::text(format.letter),
            bytes,
            Cell::text(format.summary),
        ]);
    }
    Ok(Report::of(table))
}

/// Lines that are shown together.
const TOGETHER: usize = 1024;
/// Values that one command may show of a value.
const COUNT_MAX: u64 = 1 << 20;

/// Whether a format is one.
///
/// # Errors
/// For the first letter that is none.
pub fn check(sign: char, format: &str) -> Result<(), Error> {
    parse(sign, format).map(drop).map_err(Error::failed)
}

/// Whether all that a format shows are numbers, which a pipe can hand on.
#[must_use]
pub fn gives_numbers(sign: char, format: &str) -> bool {
    let gives = |item: &Item| matches!(item, Item::Letter(format) if format.kind.gives_number());
    parse(sign, format).is_ok_and(|items| items.iter().all(gives))
}

/// Shows memory from an address on (dot where there is none), or the address itself. Sets the increment to the bytes that
/// were shown.
///
/// # Errors
/// When the format is none.
pub fn run(
    cx: &Context<'_>,
    sign: char,
    format: &str,
    address: Option<u64>,
    count: Option<u64>,
) -> Result<Report, Error> {
    let items = parse(sign, format).map_err(Error::failed)?;
    let address = address.or(cx.state().dot.get()).unwrap_or(0);
    let count = count.unwrap_or(1);
    if sign == '=' {
        return value(cx, &items, address, count);
    }
    memory(cx, &items, address, count)
}

fn value(cx: &Context<'_>, items: &[Item], value: u64, count: u64) -> Result<Report, Error> {
    if count > COUNT_MAX {
        return Err(Error::failed(format!(
            "the count {count:#x} is too large: a value is shown at most {COUNT_MAX:#x} times"
        )));
    }
    let mut line = Line::of_value();
    let mut list = lines_list();
    for _ in 0..count {
        for item in items {
            cx.cancel.check()?;
            shown(cx, item, Some(value), value).add_to(&mut line, &mut list);
        }
    }
    line.end(&mut list);
    Ok(Report::of(list))
}

fn lines_list() -> List {
    List {
        key: "values",
        piped: "values",
        ..List::default()
    }
}

fn memory(cx: &Context<'_>, items: &[Item], start: u64, count: u64) -> Result<Report, Error> {
    let before = cx.state().variable("1").unwrap_or(0);
    let _ = cx.state().set_variable("2", before);
    let _ = cx.state().set_variable("1", start);
    let mut at = start;
    let mut line = Line::of_memory(cx, start);
    let mut list = lines_list();
    for _ in 0..count {
        for item in items {
            cx.cancel.check()?;
            let shown = shown(cx, item, None, at);
            let Some(next) = shown.next else {
                line.end(&mut list);
                let mut report = Report::default();
                if !list.items.is_empty() {
                    report.push(list);
                }
                report.incomplete(shown.failure(at));
                cx.state().increment.set(at.wrapping_sub(start));
                return Ok(report);
            };
            line.begin_unless_begun(cx, at, &mut list);
            shown.add_to(&mut line, &mut list);
            at = next;
        }
        if list.items.len() >= TOGETHER {
            let mut part = Report::default();
            part.push(std::mem::replace(&mut list, lines_list()));
            cx.show(part)?;
        }
    }
    line.end(&mut list);
    cx.state().increment.set(at.wrapping_sub(start));
    Ok(Report::of(list))
}
