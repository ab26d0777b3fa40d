//! The record of a buffer or block in full, as `::bufctl -v` shows it.

use umem_layout::{AuditRecord, buffer_state, family, operation};

use super::{context::Context, filter::Transaction};
use crate::{
    heap::{Event, Object},
    report::{Cell, Column, Report, Row, Stack, StackView, Table},
};

/// Blanks before the frames of a record's stacks.
const INDENT: usize = 17;

/// Whose stacks to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// That of the last allocation.
    Allocation,
    /// Also that of the last free.
    Both,
}

/// States by number.
const STATES: [&str; 6] = [
    "free",
    "allocated",
    "magazine",
    "quarantined",
    "abandoned",
    "in transit",
];

/// Families by number.
const FAMILIES: [&str; 7] = [
    "",
    "malloc",
    "new",
    "new[]",
    "memalign",
    "umem_alloc",
    "umem_cache",
];

/// What a state is called.
pub fn state_name(state: u8) -> &'static str {
    STATES.get(usize::from(state)).copied().unwrap_or("unknown")
}

/// What a family of functions is called.
pub fn family_name(number: u8) -> &'static str {
    FAMILIES
        .get(usize::from(number))
        .copied()
        .unwrap_or(FAMILIES[usize::from(family::NONE)])
}

/// Something that happened, and to what.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    /// What happened.
    pub event: Event,
    /// Address of the buffer.
    pub buffer: u64,
    /// Address of its cache or arena.
    pub owner: u64,
    /// The buffer as it is now, while it exists.
    pub object: Option<Object>,
}

/// What an operation did to a buffer.
fn event_name(number: u32) -> &'static str {
    match number {
        operation::ALLOC => "allocated",
        operation::FREE => "freed",
        operation::FAIL => "failed",
        operation::SLAB_CREATE => "slab",
        _ => "unknown",
    }
}

impl Context<'_> {
    /// The record of an object; none where none is kept. What cannot be read becomes a warning.
    pub fn record_table(&self, object: Object, show: Show, report: &mut Report) -> Option<Table> {
        let record = match self.heap.record(object)? {
            Ok(record) => record,
            Err(damage) => {
                report.incomplete(damage.to_string());
                return None;
            }
        };
        let mut table = Table::new("record", columns());
        table.stacks = StackView::Indented(INDENT);
        table.spaced = true;
        table.rows.push(Row {
            cells: self.cells(object, &record),
            stacks: self.stacks(&record, show, report),
        });
        Some(table)
    }

    fn cells(&self, object: Object, record: &AuditRecord) -> Vec<Cell> {
        let heap = self.heap;
        let Transaction { time, thread, .. } = Transaction::last(record);
        vec![
            heap.record_address(object)
                .map_or(Cell::Empty, Cell::Address),
            Cell::Address(heap.address(object)),
            Cell::Time(heap.clock.monotonic(time)),
            Cell::Number(thread.into()),
            Cell::Address(heap.owner_address(object)),
            Cell::Address(self.log_entry(record.last_log)),
            Cell::Address(self.contents(object, record)),
            heap.requested(object).map_or(Cell::Unknown, Cell::Bytes),
            Cell::text(state_name(heap.object_state(object))),
            Cell::text(family_name(heap.family(object))),
            Cell::text(heap.owner_name(object)),
        ]
    }

    /// Events in full, each with its stack.
    pub fn event_table(&self, lines: &[Line], report: &mut Report) -> Table {
        let mut table = Table::new("record", columns());
        table.stacks = StackView::Indented(INDENT);
        table.spaced = true;
        for line in lines {
            let event = &line.event;
            let stack = self.stack(event_name(event.operation), event.stack, report);
            table.rows.push(Row {
                cells: self.event_cells(line),
                stacks: vec![stack],
            });
        }
        table
    }

    fn event_cells(&self, line: &Line) -> Vec<Cell> {
        let (heap, event) = (self.heap, &line.event);
        let name = line.object.map_or("", |object| heap.owner_name(object));
        let family = line
            .object
            .map_or("", |object| family_name(heap.family(object)));
        vec![
            Cell::Address(event.address),
            Cell::Address(line.buffer),
            Cell::Time(heap.clock.monotonic(event.time)),
            Cell::Number(event.thread.into()),
            Cell::Address(line.owner),
            Cell::Address(self.log_entry(event.previous)),
            Cell::Address(0),
            Cell::Bytes(event.size),
            Cell::text(event_name(event.operation)),
            Cell::text(family),
            Cell::text(name),
        ]
    }

    /// Address of what the buffer held when it was freed last, zero when that is not kept.
    fn contents(&self, object: Object, record: &AuditRecord) -> u64 {
        let address = self.heap.record_address(object);
        let saved = address.and_then(|address| self.heap.saved_contents(address, record));
        saved.map_or(0, |(address, _)| address)
    }

    /// Address of the log entry with a sequence number, zero when it is no longer there.
    fn log_entry(&self, sequence: u64) -> u64 {
        let log = self.heap.log(umem_layout::log_kind::TRANSACTION);
        log.and_then(|log| log.entry_address(sequence)).unwrap_or(0)
    }

    /// Who allocated the object, and who freed it: now when it is free, else in its life before.
    pub fn stacks(&self, record: &AuditRecord, show: Show, report: &mut Report) -> Vec<Stack> {
        let mut stacks = vec![self.stack("allocated", record.alloc_stack, report)];
        if show == Show::Both && record.free_time != 0 {
            let is_free = record.free_time > record.alloc_time;
            let (earlier, later) = (
                record.alloc_time.min(record.free_time),
                record.alloc_time.max(record.free_time),
            );
            let seconds = seconds(self.heap.clock.between(earlier, later));
            let freed = Stack {
                label: Some(if is_free {
                    format!("freed by thread {} {seconds} s later:", record.free_thread)
                } else {
                    format!(
                        "freed before that by thread {} {seconds} s earlier:",
                        record.free_thread
                    )
                }),
                ..self.stack("freed", record.free_stack, report)
            };
            stacks[0].label = Some(format!("allocated by thread {}:", record.alloc_thread));
            stacks.push(freed);
        }
        stacks
    }
}

fn seconds(ns: u64) -> String {
    format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)
}

/// The columns of mdb on two lines, ours on a third.
fn columns() -> Vec<Column> {
    vec![
        Column::right("bufctl", "ADDR", 16).piped(),
        Column::right("buffer", "BUFADDR", 16),
        Column::right("timestamp", "TIMESTAMP", 16),
        Column::right("thread", "THREAD", 16),
        Column::right("cache", "CACHE", 33).on_line(1),
        Column::right("last_log", "LASTLOG", 16).on_line(1),
        Column::right("contents", "CONTENTS", 16).on_line(1),
        Column::right("requested", "REQUESTED", 33).on_line(2),
        Column::right("state", "STATE", 16).on_line(2),
        Column::right("family", "FAMILY", 16).on_line(2),
        Column::hidden("cache_name"),
    ]
}

/// Whether a state means that the program holds the object.
pub const fn is_held(state: u8) -> bool {
    state == buffer_state::ALLOCATED
}
