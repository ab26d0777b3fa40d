//! Tables of groups of objects: one cache and one stack a row.

use super::{context::Context, state::Format};
use crate::{
    analysis::leaks::{self, Kind},
    heap::Object,
    report::{Cell, Column, Report, Row, Sentence, Stack, Table, Total},
};

/// What tables show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// What is lost.
    Lost,
    /// What only pointers into the middle keep alive.
    Interior,
    /// What is alive.
    Reachable,
}

/// One table for each kind of groups there is.
pub fn add_tables(cx: &Context<'_>, groups: &[&leaks::Group], shown: Shown, report: &mut Report) {
    for kind in [Kind::Block, Kind::Plain, Kind::Audited] {
        let groups: Vec<&leaks::Group> = groups
            .iter()
            .copied()
            .filter(|group| group.kind == kind)
            .collect();
        if !groups.is_empty() {
            let table = table(cx, kind, shown, &groups, report);
            report.push(table);
        }
    }
}

/// One section: its title and columns depend on the kind.
fn table(
    cx: &Context<'_>,
    kind: Kind,
    shown: Shown,
    groups: &[&leaks::Group],
    report: &mut Report,
) -> Table {
    let (key, first, address) = match kind {
        Kind::Block => (
            "oversized",
            Column::left("bytes_each", "BYTES", 16),
            Column::right("segment", "VMEM_SEG", 16),
        ),
        Kind::Plain => (
            "buffers",
            cache_column(),
            Column::right("buffer", "BUFFER", 16).padded(),
        ),
        Kind::Audited => (
            "audited_buffers",
            cache_column(),
            Column::right("bufctl", "BUFCTL", 16).padded().piped(),
        ),
    };
    let leaked = match shown {
        Shown::Lost => Column::right("leaked", "LEAKED", 7),
        Shown::Interior | Shown::Reachable => Column::right("count", "COUNT", 7),
    };
    let caller = Column::left("caller", "CALLER", 0);
    // Only lists, trees and cycles take more room than mdb's columns.
    let held = if groups.iter().any(|group| !group.held.is_empty()) {
        Column::right("held_bytes", "HELD", 12)
    } else {
        Column::hidden("held_bytes")
    };
    let columns = vec![
        first,
        leaked,
        address,
        held,
        caller,
        Column::hidden("held"),
        Column::hidden("bytes"),
        Column::hidden("owner"),
        Column::hidden("oldest_buffer"),
    ];
    let mut table = Table::new(key, columns);
    for group in groups {
        table.rows.push(Row {
            cells: cells(cx, group),
            stacks: stacks(cx, group, report),
        });
    }
    table.total = Some(total(kind, shown, groups));
    table
}

/// Who allocated a group, in full. Text shows the caller alone: then frames and lines that nobody sees are not looked up.
fn stacks(cx: &Context<'_>, group: &leaks::Group, report: &mut Report) -> Vec<Stack> {
    if group.stack == 0 {
        return Vec::new();
    }
    if cx.state().format.get() != Format::Text {
        return vec![cx.stack("allocated", group.stack, report)];
    }
    if let Err(damage) = cx.heap.stack(group.stack) {
        report.incomplete(damage.to_string());
    }
    Vec::new()
}

fn cache_column() -> Column {
    Column::left("cache", "CACHE", 16).padded()
}

fn cells(cx: &Context<'_>, group: &leaks::Group) -> Vec<Cell> {
    let oldest = group.representative;
    let first = match group.kind {
        Kind::Block => Cell::ByteRange(group.sizes.0, group.sizes.1),
        Kind::Plain | Kind::Audited => Cell::Address(group.owner),
    };
    let control = match oldest {
        Object::Block(index) => cx.heap.block(index).segment,
        Object::Buffer(_) => cx
            .heap
            .record_address(oldest)
            .unwrap_or_else(|| cx.heap.address(oldest)),
    };
    vec![
        first,
        Cell::Count(group.count),
        Cell::Address(control),
        Cell::Bytes(group.held_bytes),
        cx.caller(group.stack),
        Cell::Count(group.held.len() as u64),
        Cell::Bytes(group.bytes),
        Cell::text(cx.heap.owner_name(oldest)),
        Cell::Address(cx.heap.address(oldest)),
    ]
}

fn total(kind: Kind, shown: Shown, groups: &[&leaks::Group]) -> Total {
    let count = groups.iter().map(|group| group.count).sum();
    let bytes = groups.iter().map(|group| group.bytes).sum();
    let noun = match (kind, shown) {
        (Kind::Block, Shown::Lost) => "oversized leak",
        (Kind::Block, _) => "oversized block",
        _ => "buffer",
    };
    let plural = if count == 1 { "" } else { "s" };
    let rest = Sentence::new()
        .words(format!(" {noun}{plural}, "))
        .bytes("bytes", bytes);
    let held = groups.iter().map(|group| group.held.len() as u64).sum();
    let held_bytes = groups.iter().map(|group| group.held_bytes).sum();
    Total {
        widths: (16, 7),
        count,
        key: match shown {
            Shown::Lost => "leaked",
            Shown::Interior | Shown::Reachable => "count",
        },
        rest: holding(rest, held, held_bytes),
    }
}

/// Adds how many others are held, if any.
pub fn holding(sentence: Sentence, held: u64, bytes: u64) -> Sentence {
    if held == 0 {
        return sentence;
    }
    sentence
        .words(", holding ")
        .counted("held", held, "other")
        .words(" of ")
        .bytes("held_bytes", bytes)
}
