//! `::umem_status`: the allocator as a whole.

use umem_layout::{cache_flag, clock_kind, error_code, log_kind, ready, span_kind, thread_state};

use super::{Address, Context, Dcmd, Error, Group, Invocation, Run};
use crate::{
    heap::LogView,
    report::{self, Cell, Fields, Report, Sentence, Text},
};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "umem_status",
    group: Group::Overview,
    address: Address::Forbidden,
    options: &[],
    operands: "",
    see: &["umastat", "umem_verify"],
    summary: "Print umem status and message buffer",
    help: HELP,
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Says whether the allocator is in service, how many threads have magazines of their
own (Concurrency), which logs it keeps, which options are in force, how much memory it has mapped and for what, the last error that it
found, and its messages.

    > ::umem_status";

/// Names of states.
const STATES: [(u32, &str); 4] = [
    (ready::UNINITIALIZED, "uninitialized"),
    (ready::INITIALIZING, "initialization in process"),
    (ready::FAILED, "initialization failed"),
    (ready::READY, "ready and active"),
];

/// Names of logs.
const LOGS: [(u32, &str); 4] = [
    (log_kind::TRANSACTION, "transaction"),
    (log_kind::CONTENTS, "content"),
    (log_kind::FAIL, "fail"),
    (log_kind::SLAB, "slab"),
];

/// Names of flags as UMEM_DEBUG has them, or as near as can be.
const FLAGS: [(u32, &str); 12] = [
    (cache_flag::AUDIT, "audit"),
    (cache_flag::DEADBEEF, "deadbeef"),
    (cache_flag::REDZONE, "redzone"),
    (cache_flag::CONTENTS, "contents"),
    (cache_flag::CHECKSIGNAL, "checksignal"),
    (cache_flag::NOMAGAZINE, "nomagazine"),
    (cache_flag::FIREWALL, "firewall"),
    (cache_flag::LITE, "lite"),
    (cache_flag::HASH, "hash"),
    (cache_flag::RANDOMIZE, "random"),
    (cache_flag::CHECKNULL, "checknull"),
    (cache_flag::SAMPLED, "sampled"),
];

/// Names of what mappings hold.
const SPANS: [(u32, &str, &str); 4] = [
    (span_kind::HEAP, "reserved", "reserved"),
    (span_kind::METADATA, "metadata", "metadata"),
    (span_kind::LOG, "logs", "logs"),
    (span_kind::DEPOT, "stacks", "stacks"),
];

/// Names of errors.
const ERRORS: [(u32, &str); 11] = [
    (error_code::MODIFIED, "buffer modified after being freed"),
    (error_code::REDZONE, "write past end of buffer"),
    (error_code::DUPLICATE_FREE, "buffer freed twice"),
    (error_code::BAD_ADDRESS, "invalid free: buffer not in cache"),
    (error_code::BAD_TRAILER, "boundary tag corrupted"),
    (error_code::BAD_RECORD, "bufctl corrupted"),
    (error_code::WRONG_CACHE, "buffer freed to wrong cache"),
    (error_code::BAD_SIZE, "bad free: wrong size"),
    (error_code::BAD_BASE, "bad free: address inside of a buffer"),
    (
        error_code::BAD_FAMILY,
        "bad free: allocated by another family of functions",
    ),
    (error_code::INTERNAL, "structure of the allocator damaged"),
];

fn run(cx: &Context<'_>, _: &Invocation) -> Result<Report, Error> {
    let mut report = Report::default();
    let mut fields = Fields {
        key: "status",
        ..Fields::default()
    };
    fields.push(
        "Status",
        text(
            "state",
            name_in(
                &STATES,
                cx.heap.root.record.state,
                "unknown (umem_ready invalid)",
            ),
        ),
    );
    fields.push("Concurrency", concurrency(cx));
    fields.push("Logs", logs(cx, &mut report));
    fields.push("Version", version(cx));
    fields.push("Options", options(cx));
    fields.push("Memory", memory(cx));
    fields.push("Threads", threads(cx));
    fields.push("Stacks", stacks(cx));
    if cx.heap.root.record.abort_info.code != error_code::NONE {
        fields.push("Last error", last_error(cx));
    }
    for damage in &cx.heap.damage.kept {
        fields.push("Damage", text("damage", &damage.to_string()));
    }
    if cx.heap.damage.more > 0 {
        fields.push(
            "Damage",
            text("damage", &format!("and {} more", cx.heap.damage.more)),
        );
    }
    let mut sections = vec![fields.into()];
    let body = match cx.heap.messages() {
        Ok((bytes, cut)) => messages(&bytes, cut),
        Err(damage) => {
            report.incomplete(damage.to_string());
            String::new()
        }
    };
    sections.push(
        Text {
            key: "messages",
            body: format!("Message buffer:\n{body}"),
        }
        .into(),
    );
    report.push(report::Group {
        key: "umem_status",
        sections,
    });
    cx.add_damage(&mut report);
    Ok(report)
}

fn text(key: &'static str, words: &str) -> Sentence {
    Sentence::new().value(key, Cell::text(words))
}

fn name_in<'a>(names: &[(u32, &'a str)], number: u32, otherwise: &'a str) -> &'a str {
    names
        .iter()
        .find(|(other, _)| *other == number)
        .map_or(otherwise, |(_, name)| name)
}

/// Logs with their sizes as UMEM_LOGGING takes them.
fn logs(cx: &Context<'_>, report: &mut Report) -> Sentence {
    let (logs, damage) = cx.heap.logs();
    if let Some(damage) = damage {
        report.incomplete(damage.to_string());
    }
    let known = |kind: u32| logs.iter().find(|log| log.record.kind == kind);
    let mut sentence = Sentence::new();
    for (kind, name) in LOGS {
        if let Some(log) = known(kind) {
            sentence = sentence
                .words(format!("{name}={} ", size(log)))
                .hidden(name, Cell::Bytes(log.bytes()));
        }
    }
    if logs.is_empty() {
        sentence.words("(inactive)")
    } else {
        sentence
    }
}

fn size(log: &LogView) -> String {
    let bytes = log.bytes();
    match bytes {
        0 => "0".to_owned(),
        _ if bytes.is_multiple_of(1 << 20) => format!("{}m", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{}k", bytes >> 10),
        _ => bytes.to_string(),
    }
}

fn version(cx: &Context<'_>) -> Sentence {
    let root = &cx.heap.root;
    let module = root.module.as_deref().unwrap_or("the program");
    Sentence::new()
        .words("layout ")
        .value(
            "layout",
            Cell::text(format!("{}.{}", root.record.major, root.record.minor)),
        )
        .words(", root record at ")
        .value("root", Cell::Address(root.address))
        .words(" in ")
        .value("module", Cell::text(module))
}

fn options(cx: &Context<'_>) -> Sentence {
    let options = &cx.heap.root.record.options;
    let names: Vec<&str> = FLAGS
        .iter()
        .filter(|(flag, _)| options.debug_flags & flag != 0)
        .map(|(_, name)| *name)
        .collect();
    let debug = if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(",")
    };
    let mut sentence = Sentence::new()
        .words("debug=")
        .value("debug", Cell::text(debug))
        .words(" depth=")
        .value("depth", Cell::Number(options.audit_depth.into()));
    let switches = [
        (options.noabort, "noabort"),
        (options.verbose, "verbose"),
        (options.nomagazines, "nomagazines"),
    ];
    for (_, name) in switches.iter().filter(|(value, _)| *value != 0) {
        sentence = sentence.words(" ").value(name, Cell::text(*name));
    }
    if options.quarantine_bytes != 0 {
        sentence = sentence
            .words(" quarantine=")
            .value("quarantine", Cell::Number(options.quarantine_bytes));
    }
    if options.sample_bytes != 0 {
        sentence = sentence
            .words(" sample=")
            .value("sample", Cell::Number(options.sample_bytes));
    }
    if options.firewall_min != 0 {
        sentence = sentence
            .words(" firewall=")
            .value("firewall", Cell::Number(options.firewall_min))
            .words(" (without a guard page: ")
            .value(
                "firewall_dropped",
                Cell::Number(cx.heap.root.record.firewall_dropped),
            )
            .words(")");
    }
    let clock = if cx.heap.root.record.clock.kind == clock_kind::COUNTER {
        "counter"
    } else {
        "monotonic"
    };
    sentence = sentence.words(" clock=").value("clock", Cell::text(clock));
    if options.secure != 0 {
        sentence = sentence.words(" (the environment was ignored: set-user-ID)");
    }
    sentence
}

/// Bytes of the heap that can be used, and bytes mapped and reserved by what they hold.
fn memory(cx: &Context<'_>) -> Sentence {
    let committed = cx.heap.regions.iter().map(|region| region.committed);
    let mut sentence = Sentence::new().words("committed=").value(
        "committed",
        Cell::Bytes(committed.fold(0, u64::saturating_add)),
    );
    for (kind, key, name) in SPANS {
        let spans = cx.heap.spans.iter().filter(|span| span.kind == kind);
        let bytes = spans.fold(0, |sum: u64, span| sum.saturating_add(span.size));
        sentence = sentence
            .words(format!(" {name}="))
            .value(key, Cell::Bytes(bytes));
    }
    sentence
}

/// How many can allocate without a lock of their neighbours: libumem has magazines a processor, this one has them a
/// thread.
fn concurrency(cx: &Context<'_>) -> Sentence {
    let live = threads_in(cx, thread_state::LIVE);
    Sentence::new().value("concurrency", Cell::Count(live))
}

fn threads_in(cx: &Context<'_>, state: u32) -> u64 {
    let threads = cx.heap.threads.iter();
    threads.filter(|(_, thread)| thread.state == state).count() as u64
}

fn threads(cx: &Context<'_>) -> Sentence {
    Sentence::new()
        .value("live", Cell::Count(threads_in(cx, thread_state::LIVE)))
        .words(" live, ")
        .value("exited", Cell::Count(threads_in(cx, thread_state::EXITED)))
        .words(" ended")
}

fn stacks(cx: &Context<'_>) -> Sentence {
    let depot = &cx.heap.root.record.depot;
    Sentence::new()
        .value("stacks", Cell::Count(depot.stacks))
        .words(" in ")
        .value("used", Cell::Bytes(depot.used))
        .words(" of ")
        .bytes("capacity", depot.capacity)
        .words(", ")
        .value("dropped", Cell::Count(depot.dropped))
        .words(" dropped")
}

fn last_error(cx: &Context<'_>) -> Sentence {
    let info = &cx.heap.root.record.abort_info;
    Sentence::new()
        .value("error", Cell::text(name_in(&ERRORS, info.code, "unknown")))
        .words(", address ")
        .value("address", Cell::Address(info.address))
        .words(", buffer ")
        .value("buffer", Cell::Address(info.buffer))
        .words(", thread ")
        .value("thread", Cell::Number(info.thread.into()))
}

/// The ring as text: what was cut off is marked, control characters are made visible.
fn messages(bytes: &[u8], cut: bool) -> String {
    let mut text = String::from(if cut { "..." } else { "" });
    for c in String::from_utf8_lossy(bytes).chars() {
        if c.is_control() && c != '\n' && c != '\t' {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dcmds::parts::testing::text, heap::synthetic::victim};

    #[test]
    fn status_logs_and_messages_have_their_place() {
        let (mut builder, _) = victim();
        let ring = builder.room(64);
        builder.image.write(ring, b"umem: hello\x1b[31m\n");
        builder.root.messages = umem_layout::MessageRing {
            base: ring,
            size: 64,
            written: 17,
        };
        let (text, _) = text(&mut builder, &DCMD, None, &[]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "Status:         ready and active");
        assert!(lines[1].starts_with("Concurrency:    "), "{text}");
        assert_eq!(lines[2], "Logs:           transaction=4608");
        assert_eq!(
            lines[3],
            format!(
                "Version:        layout {}.{}, root record at 30000000 in libumem.so",
                umem_layout::LAYOUT_MAJOR,
                umem_layout::LAYOUT_MINOR
            )
        );
        assert_eq!(
            lines[lines.len() - 2..],
            ["Message buffer:", "umem: hello\\u{1b}[31m"]
        );
    }

    #[test]
    fn a_ring_that_has_wrapped_begins_with_its_oldest_text() {
        let (mut builder, _) = victim();
        let ring = builder.room(8);
        builder.image.write(ring, b"6789\n345");
        builder.root.messages = umem_layout::MessageRing {
            base: ring,
            size: 8,
            written: 13,
        };
        let (text, _) = text(&mut builder, &DCMD, None, &[]);
        assert!(text.ends_with("Message buffer:\n...3456789\n"), "{text}");
    }
}
