//! What holds a pointer, as a row of a table.

use super::{context::Context, registers};
use crate::{
    analysis::{
        RootKind,
        refs::{Holder, Reference},
    },
    heap::{Location, Object},
    report::{Cell, Column},
    target::Thread,
};

/// Frames of a stack that are looked at.
const FRAMES_MAX: usize = 256;

/// Columns of [`Context::reference`].
pub fn columns() -> Vec<Column> {
    vec![
        Column::right("address", "ADDR", 16).piped(),
        Column::left("holder", "HOLDER", 30),
        Column::right("buffer", "BUFFER", 16),
        Column::right("offset", "OFFSET", 8),
        Column::left("name", "NAME", 0),
        Column::hidden("value"),
    ]
}

/// What the columns mean.
pub const COLUMNS: &[(&str, &str)] = &[
    ("ADDR", "where the pointer is; empty for a register"),
    ("HOLDER", "what that is: data, stack, TLS, register, buffer"),
    (
        "BUFFER",
        "start of the buffer, segment or mapping that holds the pointer",
    ),
    ("OFFSET", "where in it the pointer is"),
    (
        "NAME",
        "the variable, the frame's function, or who allocated the buffer",
    ),
];

impl Context<'_> {
    /// A reference as cells: where it is, what that is, and its name.
    pub fn reference(&self, reference: &Reference) -> Vec<Cell> {
        let Reference { address, value, .. } = *reference;
        let at = match address {
            0 => Cell::Empty,
            _ => Cell::Address(address),
        };
        let [holder, buffer, offset, name] = self.holder(reference);
        vec![at, holder, buffer, offset, name, Cell::Address(value)]
    }

    fn holder(&self, reference: &Reference) -> [Cell; 4] {
        let address = reference.address;
        match &reference.holder {
            Holder::Root(kind) => {
                let (holder, name) = self.root(kind, address, reference.value);
                [Cell::text(holder), Cell::Empty, Cell::Empty, name]
            }
            Holder::Object(object, offset) => {
                let (noun, owner) = match object {
                    Object::Buffer(_) => ("buffer", self.heap.owner_name(*object)),
                    Object::Block(_) => ("block", self.heap.owner_name(*object)),
                };
                let stack = match self.heap.record(*object) {
                    Some(Ok(record)) => record.alloc_stack,
                    _ => 0,
                };
                [
                    Cell::text(format!("{owner} {noun}")),
                    Cell::Address(self.heap.address(*object)),
                    Cell::Value(*offset),
                    self.caller(stack),
                ]
            }
            Holder::Transit(start) => {
                let is_own = self.heap.is_own(*start);
                let mapping = self.target.mapping_at(*start).filter(|_| !is_own);
                let name = mapping.and_then(|mapping| mapping.name.clone());
                [
                    Cell::text(if is_own { "vmem segment" } else { "mapping" }),
                    Cell::Address(*start),
                    Cell::Value(address.saturating_sub(*start)),
                    name.map_or(Cell::Empty, Cell::Text),
                ]
            }
        }
    }

    fn root(&self, kind: &RootKind, address: u64, value: u64) -> (String, Cell) {
        let thread = |tid: u32| self.target.threads.iter().find(|thread| thread.tid == tid);
        match kind {
            RootKind::Data(_) => {
                let place = self.symbols.lookup(address);
                ("data".to_owned(), Cell::Symbol(place.into()))
            }
            RootKind::Register(tid) => {
                let name = thread(*tid).and_then(|thread| register_with(thread, value));
                let name = name.unwrap_or("a register");
                (format!("{name} of thread {tid}"), Cell::Empty)
            }
            RootKind::Stack(tid) => {
                let name =
                    thread(*tid).map_or(Cell::Empty, |thread| self.frame_at(thread, address));
                (format!("stack of thread {tid}"), name)
            }
            RootKind::Tls(tid) => (format!("TLS of thread {tid}"), Cell::Empty),
            RootKind::EndedThread | RootKind::Code => (kind.to_string(), Cell::Empty),
            RootKind::Mapping(name) => ("mapping".to_owned(), Cell::text(name)),
        }
    }

    /// The function whose frame holds an address.
    fn frame_at(&self, thread: &Thread, address: u64) -> Cell {
        let frames = self.symbols.frames(self.target, thread, FRAMES_MAX);
        let holds = |frame: &&crate::symbols::Frame| {
            frame.sp <= address && frame.cfa.is_some_and(|cfa| address < cfa)
        };
        frames.iter().find(holds).map_or(Cell::Empty, |frame| {
            let place = if frame.interrupted {
                self.symbols.lookup(frame.pc)
            } else {
                self.symbols.lookup_return(frame.pc)
            };
            Cell::Symbol(place.into())
        })
    }

    /// The object at an address: that which holds it, or whose audit record or segment it is of.
    pub fn object_at(&self, address: u64) -> Option<Object> {
        match self.heap.find(address) {
            Some(Location::Buffer(buffer, _)) => Some(Object::Buffer(buffer)),
            Some(Location::Block(block, _)) => Some(Object::Block(block)),
            _ => self
                .heap
                .object_of_record(address)
                .or_else(|| self.heap.block_of_segment(address).map(Object::Block)),
        }
    }
}

/// A register of a thread that has a value.
fn register_with(thread: &Thread, value: u64) -> Option<&'static str> {
    let registers = registers::all(thread.registers.as_ref()?);
    let mut found = registers.into_iter().filter(|(_, held)| *held == value);
    found.next().map(|(name, _)| name)
}
