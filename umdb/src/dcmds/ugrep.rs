//! `::ugrep`: where in memory a value is.

use std::ops::Range;

use super::{
    Address, Context, Dcmd, Error, Filter, Group, Invocation, Opt, Run,
    parts::scan::{self, Hit, How, Pattern},
};
use crate::report::{Cell, Item, List, Report, Sentence};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "ugrep",
    group: Group::Addresses,
    address: Address::Required,
    options: &[
        Opt::flag('v', "also the value that was found"),
        Opt::value(
            'd',
            "dist",
            "values from this one up to so many above it, exclusively",
        ),
        Opt::value('m', "mask", "compare only these bits"),
        Opt::value('M', "invmask", "compare all but these bits"),
        Opt::value('a', "minaddr", "search only from this address on"),
        Opt::value('A', "maxaddr", "search only below this address"),
        Opt::value('s', "size", "unit of the search in bytes: 1, 2, 4 or 8"),
    ],
    operands: "",
    address_name: "value",
    pipes: Some("addresses"),
    see: &["whatis", "findleaks"],
    summary: "search user address space for a pointer",
    help: HELP,
    run: Run::Filter(begin),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Searches all readable memory for a value, as a rule the address of a buffer: who
points to it? The address of each place that holds it is listed, in order. Places
are aligned to the unit of the search, which is 8 bytes.

With -d pointers into a buffer are found as well: those to any of its bytes when
the distance is its size.

    > 7f0aa0c5efc0::ugrep -d 0t50

Memory of the allocator is searched too: magazines and logs hold addresses of
buffers that are free. ::whatis tells what holds a pointer.

    > 7f0aa0c5efc0::ugrep | ::whatis -q

Behind a pipe values are collected, 65536 at a time, and memory is searched once for
all of them; the places of one value stand together. With -v it is seen which is
which.

    > ::walk leakbuf | ::ugrep -v";

/// Values that are searched for at once.
const TOGETHER: usize = 1 << 16;
/// Places that are kept to be shown by value; of more, those found first are shown first.
const KEPT_MAX: usize = 1 << 22;

/// Collects values, so that memory is searched once for many of them.
struct Ugrep {
    how: How,
    within: Range<u64>,
    with_value: bool,
    is_piped: bool,
    values: Vec<u64>,
}

fn begin(cx: &Context<'_>, invocation: &Invocation) -> Result<Box<dyn Filter>, Error> {
    let from = cx.option(invocation, 'a')?.unwrap_or(0);
    let to = cx.option(invocation, 'A')?.unwrap_or(u64::MAX);
    Ok(Box::new(Ugrep {
        how: how(cx, invocation)?,
        within: from..to,
        with_value: invocation.has('v'),
        is_piped: invocation.is_piped,
        values: Vec::new(),
    }))
}

impl Filter for Ugrep {
    fn take(&mut self, cx: &Context<'_>, value: u64) -> Result<(), Error> {
        let mask = self.how.mask;
        if value & !mask != 0 {
            return Err(Error::with_hint(
                format!(
                    "ugrep: pattern does not match mask: no value has the bits of {value:x} under {mask:x}"
                ),
                "choose another -m, -M or -s",
            ));
        }
        self.values.push(value);
        if self.values.len() == TOGETHER {
            let report = self.search(cx)?;
            cx.show(report)?;
        }
        Ok(())
    }

    fn finish(&mut self, cx: &Context<'_>) -> Result<Report, Error> {
        if self.values.is_empty() {
            return Ok(Report::default());
        }
        self.search(cx)
    }
}

impl Ugrep {
    /// Searches memory for the values that wait. Places of one value stand together, in the order of the values.
    fn search(&mut self, cx: &Context<'_>) -> Result<Report, Error> {
        let values = std::mem::take(&mut self.values);
        let kept_max = match (values.len(), self.is_piped) {
            (1, true) => 1,
            (1, false) => SHOWN,
            _ => KEPT_MAX,
        };
        let pattern = Pattern::new(&values, self.how);
        let (mut hits, mut closed) = (Vec::new(), Ok(()));
        let searched = scan::memory(cx, &pattern, self.within.clone(), |hit| {
            hits.push(hit);
            if hits.len() >= kept_max {
                closed = self.give(cx, &mut hits);
            }
            closed.is_ok()
        })?;
        closed?;
        self.give(cx, &mut hits)?;
        let mut report = Report::default();
        if searched == 0 {
            report.incomplete("ugrep: warning: nothing searched");
        }
        Ok(report)
    }

    /// Hands places on, or shows them.
    fn give(&self, cx: &Context<'_>, hits: &mut Vec<Hit>) -> Result<(), Error> {
        hits.sort_by_key(|hit| hit.number);
        if self.is_piped {
            return hits.drain(..).try_for_each(|hit| cx.emit(hit.address));
        }
        for some in hits.chunks(SHOWN) {
            let mut report = Report::default();
            report.push(List {
                key: "places",
                items: some.iter().map(|hit| self.item(hit)).collect(),
                ..List::default()
            });
            cx.show(report)?;
        }
        hits.clear();
        Ok(())
    }

    fn item(&self, hit: &Hit) -> Item {
        let sentence = Sentence::new().value("address", Cell::Address(hit.address));
        Item::from(if self.with_value {
            sentence
                .words(":\t")
                .value("value", Cell::Address(hit.found))
        } else {
            sentence
        })
    }
}

/// Places that are shown together.
const SHOWN: usize = 4096;

fn how(cx: &Context<'_>, invocation: &Invocation) -> Result<How, Error> {
    let size = cx.option(invocation, 's')?.unwrap_or(8);
    if !matches!(size, 1 | 2 | 4 | 8) {
        return Err(DCMD.misused("size must be a power of 2, at most 8"));
    }
    let all = u64::MAX >> (64 - 8 * size);
    let [distance, mask, inverse] = ['d', 'm', 'M'].map(|letter| cx.option(invocation, letter));
    let (distance, mask, inverse) = (distance?, mask?, inverse?);
    if [distance, mask, inverse].iter().flatten().count() > 1 {
        return Err(DCMD.misused("only one of -d, -m and -M may be specified"));
    }
    Ok(How {
        mask: mask.or(inverse.map(|bits| !bits)).unwrap_or(all) & all,
        distance: distance.unwrap_or(1),
        size: size as usize,
    })
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
    fn places_are_found_by_value_distance_mask_and_size() {
        let (mut builder, _) = victim();
        builder.write_word(DATA + 0x10, 0x7000_1234);
        builder.write_word(DATA + 0x1ff8, 0x7000_1236);
        builder
            .image
            .write(DATA + 0x105, &0x7000_1234_u64.to_le_bytes());
        let mut shown = |value, words: &[&str]| {
            let (text, status) = text(&mut builder, &DCMD, Some(value), words);
            assert_eq!(status, Status::Clean);
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(shown(0x7000_1234, &[]), ["400010"]);
        assert_eq!(shown(0x7000_1234, &["-v"]), ["400010:\t70001234"]);
        assert_eq!(shown(0x7000_1234, &["-d", "3"]), ["400010", "401ff8"]);
        assert_eq!(shown(0x7000_1235, &["-d", "1"]), [""; 0]);
        assert_eq!(
            shown(0x7000_1230, &["-m", "fffffff0"]),
            ["400010", "401ff8"]
        );
        assert_eq!(shown(0x7000_1230, &["-M", "f"]), ["400010", "401ff8"]);
        assert_eq!(shown(0x7000_1234, &["-d", "3", "-a", "400011"]), ["401ff8"]);
        assert_eq!(shown(0x7000_1234, &["-d", "3", "-A", "401ff8"]), ["400010"]);
        assert_eq!(shown(0x7000_1234, &["-s", "4"]), ["400010"]);
        assert_eq!(
            shown(0x34, &["-s", "1", "-A", "400200"]),
            ["400010", "400105"]
        );
    }

    #[test]
    fn wrong_options_are_named() {
        let (mut builder, _) = victim();
        let mut error = |words: &[&str]| {
            run(&mut builder, &DCMD, Some(0x1ff), words)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            error(&["-d", "2", "-m", "ff"]),
            "ugrep: only one of -d, -m and -M may be specified"
        );
        assert_eq!(
            error(&["-s", "3"]),
            "ugrep: size must be a power of 2, at most 8"
        );
        assert!(error(&["-m", "ff"]).starts_with("ugrep: pattern does not match mask"));
        assert!(error(&["-s", "1"]).starts_with("ugrep: pattern does not match mask"));
        let end = ["-a", "ffffffffffffffff"];
        assert!(run(&mut builder, &DCMD, Some(1), &end).is_ok());
        let report = run(&mut builder, &DCMD, Some(1), &["-A", "100"]).unwrap();
        assert_eq!(report.status, Status::Incomplete);
        assert_eq!(report.warnings[0].what, "ugrep: warning: nothing searched");
    }
}
