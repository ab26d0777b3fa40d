//! `::dump`: memory as bytes and characters.

use super::{Address, Context, Dcmd, Error, Group, Invocation, Opt, Run};
use crate::report::{Dump, DumpRow, Report};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "dump",
    group: Group::Addresses,
    address: Address::Required,
    takes_count: true,
    options: &[
        Opt::flag(
            'e',
            "little-endian words of the group's size, without characters",
        ),
        Opt::value('g', "bytes", "bytes that stand together: 1, 2, 4 or 8 (4)"),
        Opt::value(
            'l',
            "length",
            "bytes to show (10); a count before the command does the same",
        ),
        Opt::flag('q', "without characters"),
        Opt::flag('r', "distances from the address instead of addresses"),
        Opt::flag('s', "leave out lines that repeat"),
        Opt::flag('t', "only the bytes asked for, not whole lines"),
        Opt::flag('u', "lines begin at the address, not at a multiple of 16"),
        Opt::value(
            'w',
            "paragraphs",
            "16 bytes so often on a line, 1 to 16 (1)",
        ),
    ],
    summary: "show memory as bytes and characters",
    help: HELP,
    see: &["formats", "whatis"],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Shows memory from the address on, in lines of 16 bytes that begin at multiples of
16; \\/ and v in the header mark the byte that was asked for. Numbers are
hexadecimal.

    > main::dump -l 20

    > main,40::dump -e -g 8";

/// Bytes on a line, times -w.
const LINE: u64 = 16;
/// Bytes that are read and shown together.
const PIECE: u64 = 1 << 16;

/// What is asked for.
struct Plan {
    start: u64,
    /// One past the last byte asked for; may lie behind the end of the address space.
    end: u128,
    /// First byte of the first line.
    first: u64,
    width: u64,
    group: u64,
}

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let plan = plan(invocation)?;
    let state = cx.state();
    let length = u64::try_from(plan.end - u128::from(plan.start)).unwrap_or(u64::MAX);
    state.increment.set(length);
    let piece = (PIECE / plan.width).max(1) * plan.width;
    let mut at = u128::from(plan.first);
    let mut header = !invocation.in_loop || invocation.is_first;
    let mut last = None;
    while at < plan.end {
        cx.cancel.check()?;
        // Whole lines are shown, so that what stands around the bytes is seen.
        let first = u128::from(plan.first);
        let until = first + (plan.end - first).next_multiple_of(u128::from(plan.width));
        let count = (until - at).min(u128::from(piece));
        let from = at as u64;
        let mut bytes = vec![0; count as usize];
        let wanted = plan.end.min(at + count);
        let got = cx.heap.reader.fill(from, &mut bytes) as u128;
        bytes.truncate(got as usize);
        let is_short = at + got < wanted;
        let mut rows = rows(&plan, invocation, from, &bytes);
        if invocation.has('s') {
            squeeze(&mut rows, &mut last);
        }
        let mut part = Report::default();
        if !rows.is_empty() {
            part.push(Dump {
                key: "memory",
                rows,
                width: plan.width as usize,
                group: plan.group as usize,
                is_words: invocation.has('e'),
                has_text: !invocation.has('e') && !invocation.has('q'),
                marked: header.then(|| (plan.start - plan.first) as usize),
            });
            header = false;
        }
        if is_short {
            let hole = from.wrapping_add(got as u64).max(plan.start);
            part.incomplete(format!(
                "failed to read data at {hole:#x}: no mapping for address"
            ));
            return Ok(part);
        }
        at += count;
        if at >= plan.end {
            return Ok(part);
        }
        cx.show(part)?;
    }
    Ok(Report::default())
}

fn plan(invocation: &Invocation) -> Result<Plan, Error> {
    let start = invocation.address.unwrap_or_default();
    let number = |letter| invocation.number(&DCMD, letter);
    let group = number('g')?.unwrap_or(4);
    if !matches!(group, 1 | 2 | 4 | 8) {
        return Err(DCMD.misused("-g expects 1, 2, 4 or 8"));
    }
    let paragraphs = number('w')?.unwrap_or(1);
    if !(1..=16).contains(&paragraphs) {
        return Err(DCMD.misused("-w expects 1 to 10, which is sixteen"));
    }
    let length = number('l')?.or(invocation.count).unwrap_or(LINE);
    let first = if invocation.has('u') {
        start
    } else {
        start & !(LINE - 1)
    };
    Ok(Plan {
        start,
        end: u128::from(start) + u128::from(length),
        first,
        width: LINE * paragraphs,
        group,
    })
}

fn rows(plan: &Plan, invocation: &Invocation, from: u64, bytes: &[u8]) -> Vec<DumpRow> {
    let is_trimmed = invocation.has('t');
    let chunks = bytes.chunks(plan.width as usize).enumerate();
    let rows = chunks.map(|(index, chunk)| {
        let address = from.wrapping_add(index as u64 * plan.width);
        let shown = (address..)
            .zip(chunk)
            .map(|(at, &byte)| (!is_trimmed || is_asked(plan, at)).then_some(byte));
        let label = if invocation.has('r') {
            address.wrapping_sub(plan.first)
        } else {
            address
        };
        let mut bytes: Vec<Option<u8>> = shown.collect();
        bytes.resize(plan.width as usize, None);
        DumpRow {
            label,
            address,
            bytes,
            repeated: 0,
        }
    });
    rows.collect()
}

fn is_asked(plan: &Plan, address: u64) -> bool {
    address >= plan.start && u128::from(address) < plan.end
}

/// Takes lines away that are like the one before, and counts them there.
fn squeeze(rows: &mut Vec<DumpRow>, last: &mut Option<Vec<Option<u8>>>) {
    let mut kept: Vec<DumpRow> = Vec::new();
    for row in rows.drain(..) {
        if last.as_ref() == Some(&row.bytes) {
            // The line that is repeated may have been shown with the piece before.
            if let Some(before) = kept.last_mut() {
                before.repeated += 1;
            }
            continue;
        }
        *last = Some(row.bytes.clone());
        kept.push(row);
    }
    *rows = kept;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dcmds::parts::testing::{run, text},
        heap::synthetic::{Builder, DATA},
        report::Status,
    };

    fn builder() -> Builder {
        let mut builder = Builder::new();
        let bytes: Vec<u8> = (0..0x40).map(|i| b'A' + (i & 15)).collect();
        builder.image.write(DATA, &bytes);
        builder
    }

    #[test]
    fn lines_begin_at_multiples_of_sixteen() {
        let (text, status) = text(&mut builder(), &DCMD, Some(DATA + 4), &["-l", "10"]);
        let expected = "                0 1 2 3 \\/ 5 6 7  8 9 a b  c d e f  0123v56789abcdef
      400000:  41424344 45464748 494a4b4c 4d4e4f50  ABCDEFGHIJKLMNOP
      400010:  41424344 45464748 494a4b4c 4d4e4f50  ABCDEFGHIJKLMNOP
";
        assert_eq!(text, expected);
        assert_eq!(status, Status::Clean);
    }

    #[test]
    fn options_change_the_lines() {
        let line = |words: &[&str], number| {
            let (text, _) = text(&mut builder(), &DCMD, Some(DATA + 4), words);
            text.lines().nth(number).unwrap_or_default().to_owned()
        };
        assert_eq!(
            line(&["-e", "-g", "8"], 1),
            "      400000:  4847464544434241 504f4e4d4c4b4a49"
        );
        assert_eq!(
            line(&["-tq", "-l", "4"], 1),
            "      400000:           45464748"
        );
        assert_eq!(
            line(&["-u", "-l", "4"], 1),
            "      400004:  45464748 494a4b4c 4d4e4f50 41424344  EFGHIJKLMNOPABCD"
        );
        assert_eq!(
            line(&["-r", "-l", "20"], 2),
            "          10:  41424344 45464748 494a4b4c 4d4e4f50  ABCDEFGHIJKLMNOP"
        );
        assert_eq!(line(&["-s", "-l", "30"], 2), "*");
    }

    #[test]
    fn what_cannot_be_read_is_named_and_the_rest_shown() {
        let report = run(
            &mut builder(),
            &DCMD,
            Some(DATA + 0x1ff0),
            &["-l", "ffffffffffffffff"],
        )
        .unwrap();
        assert_eq!(report.status, Status::Incomplete);
        assert_eq!(
            report.warnings[0].what,
            "failed to read data at 0x402000: no mapping for address"
        );
        let report = run(&mut builder(), &DCMD, Some(0), &["-l", "ffffffffffffffff"]).unwrap();
        assert_eq!(
            report.warnings[0].what,
            "failed to read data at 0x0: no mapping for address"
        );
        let report = run(&mut builder(), &DCMD, Some(u64::MAX), &["-l", "10"]).unwrap();
        assert_eq!(report.status, Status::Incomplete);
        for wrong in [["-g", "3"], ["-w", "0"], ["-l", "x"]] {
            assert!(run(&mut builder(), &DCMD, Some(DATA), &wrong).is_err());
        }
    }
}
