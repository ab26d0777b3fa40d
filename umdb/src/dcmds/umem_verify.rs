//! `::umem_verify`: are redzones and fills as the allocator left them?

use super::{
    Address, Context, Dcmd, Error, Group, Invocation, Opt, Run,
    parts::record::{Show, state_name},
};
use crate::{
    analysis::verify::{self, Corrupt, Fault, Finding, Verified},
    heap::Arena,
    report::{Cell, Column, Item, List, Report, Sentence, Stack, StackView, Status, Table},
};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "umem_verify",
    group: Group::Corruption,
    address: Address::Optional,
    options: &[Opt::flag('v', "the damaged buffers of all caches")],
    operands: "",
    address_name: "cache",
    pipes: Some("damaged buffers"),
    columns: &[
        ("Cache Name", "the cache, or the arena of blocks"),
        ("Addr", "its address"),
        (
            "Cache Integrity",
            "clean, or how many of its buffers are damaged",
        ),
    ],
    see: &["whatis", "bufctl", "umem_status"],
    summary: "check integrity of umem-managed memory",
    help: HELP,
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Checks every byte that the allocator laid around and into buffers: the redzone
behind each allocated one, from the requested size on, and the fill of each free
one. Without address all caches with redzones are listed; with the address or
name of a cache (or of an arena of blocks) its damaged buffers are, each with the
place, what should be there and what is, who allocated it, and who freed it.

    > umem_alloc_64::umem_verify

Behind a pipe it lists each cache on a line, without those that have no redzones;
before one it hands on the damaged buffers:

    > ::umem_verify | ::whatis

Needs UMEM_DEBUG=default (or guards) when the program is started.";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    cx.check_features(DCMD.name)?;
    match invocation.address {
        _ if invocation.is_piped => emit_damaged(cx, invocation.address),
        Some(address) if invocation.in_loop => one_of_many(cx, address),
        Some(address) => one(cx, address),
        None => all(cx, invocation.has('v')),
    }
}

/// Hands on the damaged buffers of one cache or arena, or of all.
fn emit_damaged(cx: &Context<'_>, address: Option<u64>) -> Result<Report, Error> {
    let results = verify_all(cx, address)?;
    let mut report = Report::default();
    for corrupt in results.iter().flat_map(|verified| &verified.corrupt) {
        report.worsen(Status::Found);
        cx.emit(cx.heap.address(corrupt.object))?;
    }
    add_unread(&results, &mut report);
    Ok(report)
}

/// A line for a cache that a pipe or loop names; none for one without redzones.
fn one_of_many(cx: &Context<'_>, address: u64) -> Result<Report, Error> {
    let results = verify_all(cx, Some(address))?;
    let mut report = Report::default();
    if results.iter().any(|verified| !verified.corrupt.is_empty()) {
        report.worsen(Status::Found);
    }
    report.push(table(&results));
    add_unread(&results, &mut report);
    Ok(report)
}

/// Verifies all caches and arenas with redzones, or the one at an address.
fn verify_all(cx: &Context<'_>, address: Option<u64>) -> Result<Vec<Verified>, Error> {
    let is_meant = |other: u64| address.is_none_or(|address| address == other);
    let mut results = Vec::new();
    for cache in cx.heap.caches.iter().filter(|cache| cache.has_redzone()) {
        if is_meant(cache.address) {
            results.push(verify::cache(cx.heap, cache, cx.cancel)?);
        }
    }
    for (index, arena) in (0..).zip(&cx.heap.arenas) {
        if is_meant(arena.address) {
            results.extend(verify::arena(cx.heap, index, cx.cancel)?);
        }
    }
    Ok(results)
}

/// Verifies one cache or arena and shows all that is damaged.
fn one(cx: &Context<'_>, address: u64) -> Result<Report, Error> {
    let verified = if let Some(cache) = cx.heap.cache_at(address) {
        cache
            .has_redzone()
            .then(|| verify::cache(cx.heap, cache, cx.cancel))
            .transpose()?
    } else if let Some(index) = cx
        .heap
        .arenas
        .iter()
        .position(|arena| arena.address == address)
    {
        verify::arena(cx.heap, index as u32, cx.cancel)?
    } else {
        return Err(Error::with_hint(
            format!("umem_verify: {address:#x} is not a cache"),
            "::umem_cache lists the caches; their names can be used as addresses",
        ));
    };
    let Some(verified) = verified else {
        let arena = |arena: &Arena| {
            format!(
                "arena {address:x} ({}) has no blocks with redzones",
                arena.name
            )
        };
        let cache = cx.heap.cache_at(address).map(|cache| {
            format!(
                "cache {address:x} ({}) does not have redzone checking enabled",
                cache.name
            )
        });
        let what = cache
            .or_else(|| cx.heap.arena_at(address).map(arena))
            .unwrap_or_default();
        return Err(Error::with_hint(
            what,
            "start the program with UMEM_DEBUG=default",
        ));
    };
    let mut report = Report::default();
    add_summary(cx, &verified, &mut report);
    add_unread(std::slice::from_ref(&verified), &mut report);
    Ok(report)
}

/// Verifies all caches and arenas with redzones.
fn all(cx: &Context<'_>, verbose: bool) -> Result<Report, Error> {
    let results = verify_all(cx, None)?;
    if results.is_empty() {
        return Err(Error::with_hint(
            "umem_verify: no cache has redzone checking enabled",
            "start the program with UMEM_DEBUG=default",
        ));
    }
    let mut report = Report::default();
    report.push(table(&results));
    for verified in results
        .iter()
        .filter(|verified| !verified.corrupt.is_empty())
    {
        report.worsen(Status::Found);
        if verbose {
            add_summary(cx, verified, &mut report);
        } else {
            report.push(List::one("next", next_step(verified)));
        }
    }
    add_unread(&results, &mut report);
    cx.add_damage(&mut report);
    Ok(report)
}

fn table(results: &[Verified]) -> Table {
    let columns = vec![
        Column::left("cache", "Cache Name", 31),
        Column::right("address", "Addr", 16).titled_left(),
        Column::left("integrity", "Cache Integrity", 20),
        Column::hidden("corrupt"),
        Column::hidden("checked"),
    ];
    let mut table = Table::new("caches", columns);
    for verified in results {
        let corrupt = verified.corrupt.len() as u64;
        table.push(vec![
            Cell::text(verified.name.as_str()),
            Cell::Address(verified.owner),
            Cell::text(integrity(corrupt)),
            Cell::Count(corrupt),
            Cell::Count(verified.checked),
        ]);
    }
    table
}

fn integrity(corrupt: u64) -> String {
    match corrupt {
        0 => "clean".to_owned(),
        1 => "1 corrupt buffer".to_owned(),
        many => format!("{many} corrupt buffers"),
    }
}

/// What to type to see the damage.
fn next_step(verified: &Verified) -> Sentence {
    Sentence::new()
        .value(
            "command",
            Cell::text(format!("{}::umem_verify", verified.name)),
        )
        .words(" shows the damage")
}

/// Adds the damaged buffers of a cache.
fn add_summary(cx: &Context<'_>, verified: &Verified, report: &mut Report) {
    let title = Sentence::new()
        .words("Summary for cache '")
        .value("cache", Cell::text(verified.name.as_str()))
        .words("'");
    let mut list = List {
        key: "corrupt_buffers",
        stacks: StackView::Indented(10),
        ..List::default()
    };
    list.items.push(Item {
        sentence: title,
        stacks: Vec::new(),
    });
    if verified.corrupt.is_empty() {
        list.items.push(Item {
            sentence: Sentence::new().words("  clean"),
            stacks: Vec::new(),
        });
    } else {
        report.worsen(Status::Found);
    }
    for corrupt in &verified.corrupt {
        let item = item(cx, corrupt, report);
        list.items.push(item);
    }
    report.push(list);
}

fn item(cx: &Context<'_>, corrupt: &Corrupt, report: &mut Report) -> Item {
    let address = cx.heap.address(corrupt.object);
    let state = state_name(corrupt.state);
    let mut sentence = Sentence::new()
        .hidden("buffer", Cell::Address(address))
        .hidden("state", Cell::text(state));
    for (number, finding) in corrupt.findings.iter().enumerate() {
        if number > 0 {
            sentence = sentence.line();
        }
        sentence = sentence.words(format!("  buffer {address:x} ({state}) {}", what(finding)));
        if finding.fault != Fault::Withdrawn {
            sentence = place(sentence.line(), finding);
        }
    }
    if let Some(requested) = corrupt.requested {
        sentence = sentence
            .line()
            .words("    requested size ")
            .bytes("requested", requested);
    }
    let record = cx.heap.record_address(corrupt.object);
    if let Some(record) = record {
        sentence = sentence
            .words(", bufctl ")
            .value("bufctl", Cell::Address(record));
    }
    let stacks = match cx.heap.record(corrupt.object) {
        Some(Ok(record)) => {
            let stacks = cx.stacks(&record, Show::Both, report).into_iter();
            stacks
                .map(|stack| labelled(stack, record.alloc_thread))
                .collect()
        }
        _ => Vec::new(),
    };
    Item { sentence, stacks }
}

/// A single stack needs its label here, since the line above does not tell what it is.
fn labelled(stack: Stack, thread: u32) -> Stack {
    let label = stack
        .label
        .clone()
        .unwrap_or_else(|| format!("allocated by thread {thread}:"));
    Stack {
        label: Some(label),
        ..stack
    }
}

/// The line of mdb.
fn what(finding: &Finding) -> String {
    let at = finding.at;
    match finding.fault {
        Fault::Modified => format!("seems corrupted, at {:x}", at & !7),
        Fault::PastEnd => format!("was written past its end, at {at:x}"),
        Fault::SizeCode => "has a corrupt redzone size encoding".to_owned(),
        Fault::Signature => "has a corrupt redzone signature".to_owned(),
        Fault::FreeRedzone => "seems to have a corrupt redzone pattern".to_owned(),
        Fault::Tag => "has a corrupt buftag".to_owned(),
        Fault::Withdrawn => "was found damaged by the allocator and withdrawn from use".to_owned(),
    }
}

/// Where the damage is, what should be there and what is.
fn place(sentence: Sentence, finding: &Finding) -> Sentence {
    sentence
        .words("    damage at offset ")
        .value("offset", Cell::Bytes(finding.offset))
        .words(format!(" ({:#x}), ", finding.offset))
        .bytes("damaged_bytes", finding.bytes)
        .words(": expected ")
        .value(
            "expected",
            Cell::Flags {
                bits: finding.expected,
                digits: 16,
            },
        )
        .words(", found ")
        .value(
            "found",
            Cell::Flags {
                bits: finding.found,
                digits: 16,
            },
        )
        .hidden("at", Cell::Address(finding.at))
        .hidden("fault", Cell::text(fault_name(finding.fault)))
}

fn fault_name(fault: Fault) -> &'static str {
    match fault {
        Fault::Modified => "modified_after_free",
        Fault::PastEnd => "written_past_end",
        Fault::SizeCode => "size_code",
        Fault::Signature => "redzone_signature",
        Fault::FreeRedzone => "free_redzone",
        Fault::Tag => "tag",
        Fault::Withdrawn => "withdrawn",
    }
}

/// Says that buffers could not be read: the first place, and how many there are besides.
fn add_unread(results: &[Verified], report: &mut Report) {
    let mut all = results
        .iter()
        .flat_map(|verified| verified.unread.iter().map(move |damage| (verified, damage)));
    if let Some((verified, damage)) = all.next() {
        let others = match all.count() {
            0 => String::new(),
            others => format!(" (and {others} more)"),
        };
        report.incomplete(format!("umem_verify: {}: {damage}{others}", verified.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        analysis::Cancel,
        dcmds::parts::testing::{run, text},
        heap::synthetic::{Builder, victim},
        render::write_text,
        symbols::Symbols,
    };

    #[test]
    fn the_scenario_names_place_damage_and_both_stacks() {
        let (mut builder, [.., freed]) = victim();
        let cache = builder.caches[0].0;
        let (text, status) = text(&mut builder, &DCMD, None, &["-v"]);
        let buffer = freed.address;
        let expected = format!(
            "Cache Name                      Addr             Cache Integrity
umem_alloc_64                   {cache:>16x} 1 corrupt buffer

Summary for cache 'umem_alloc_64'
  buffer {buffer:x} (free) seems corrupted, at {buffer:x}
    damage at offset 5 (0x5), 1 byte: expected deadbeefdeadbeef, found dead21efdeadbeef
    requested size 50 bytes, bufctl {:x}
      allocated by thread 7:
          victim+0x300
          victim+0x10
      freed by thread 8 0.000000010 s later:
          victim+0x300
          victim+0x10
",
            freed.record
        );
        assert_eq!(text, expected);
        assert_eq!(status, Status::Found);
    }

    #[test]
    fn without_option_the_table_names_the_next_command() {
        let (mut builder, _) = victim();
        let (text, status) = text(&mut builder, &DCMD, None, &[]);
        assert!(
            text.ends_with(" 1 corrupt buffer\n\numem_alloc_64::umem_verify shows the damage\n"),
            "{text}"
        );
        assert_eq!(status, Status::Found);
    }

    #[test]
    fn a_cache_is_verified_alone() {
        let (mut builder, _) = victim();
        let cache = builder.caches[0].0;
        assert_eq!(
            run(&mut builder, &DCMD, Some(cache), &[]).unwrap().status,
            Status::Found
        );
        let error = run(&mut builder, &DCMD, Some(cache + 8), &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("umem_verify: {:#x} is not a cache", cache + 8)
        );
    }

    #[test]
    fn without_redzones_it_cannot_do_its_work() {
        let mut builder = Builder::new();
        let cache = builder.cache("umem_alloc_64", 64, 0);
        builder.slab(cache);
        let error = run(&mut builder, &DCMD, None, &[]).unwrap_err();
        assert_eq!(Report::from(error).status, Status::Failed);
        let address = builder.caches[0].0;
        let error = run(&mut builder, &DCMD, Some(address), &[]).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("(umem_alloc_64) does not have redzone checking enabled")
        );
    }

    #[test]
    fn in_a_loop_each_cache_has_a_line_and_in_a_pipe_its_damage() {
        let (mut builder, _) = victim();
        let cache = builder.caches[0].0;
        let second = builder.cache("umem_alloc_128", 128, 0);
        builder.publish();
        let plain = builder.caches[second].0;
        let run_as = |address, is_piped| {
            let (target, heap, cancel) = (builder.target(), builder.heap(), Cancel::new());
            let symbols = Symbols::new(&target);
            let cx = Context::new(&target, &symbols, &heap, &cancel);
            let invocation = Invocation {
                address: Some(address),
                in_loop: true,
                is_piped,
                ..Invocation::default()
            };
            super::run(&cx, &invocation).unwrap()
        };
        let report = run_as(cache, false);
        assert!(write_text(&report).contains("1 corrupt buffer\n"));
        assert_eq!(report.status, Status::Found);
        let empty = write_text(&run_as(plain, false));
        assert_eq!(empty.lines().count(), 1, "the header alone: {empty}");
        assert_eq!(run_as(cache, true).status, Status::Found);
    }
}
