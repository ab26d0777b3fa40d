//! What a command found out, as plain data.
//!
//! **Owns** the types that dcmds fill and `render` reads. **May use** nothing. **Promises** that cells are
//! typed and never formatted beforehand: text, JSON and whatever comes later are readers of the same data.
//!
//! ```text
//! Report ─┬─ sections ─┬─ Table   columns, rows (each with stacks), a total
//!         │            ├─ List    items: one sentence each, with stacks
//!         │            ├─ Fields  label and value
//!         │            ├─ Dump    bytes of memory
//!         │            ├─ Text    as it is
//!         │            └─ Group   sections that belong together
//!         ├─ warnings    what could not be had
//!         └─ status      what it means for the exit status
//! ```

mod dump;
mod table;

pub use dump::{Dump, DumpRow};
pub use table::{Align, Column, Row, Stack, StackView, Table, Total};

/// The answer to one command.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// Its parts, in order.
    pub sections: Vec<Section>,
    /// What could not be had.
    pub warnings: Vec<Warning>,
    /// What it means.
    pub status: Status,
}

impl Report {
    /// A report of one section.
    #[must_use]
    pub fn of(section: impl Into<Section>) -> Self {
        Self {
            sections: vec![section.into()],
            ..Self::default()
        }
    }

    /// Adds a section.
    pub fn push(&mut self, section: impl Into<Section>) {
        self.sections.push(section.into());
    }

    /// Adds a warning without changing the status.
    pub fn warn(&mut self, what: impl Into<String>) {
        self.warnings.push(Warning {
            what: what.into(),
            hint: None,
        });
    }

    /// Adds a warning about a part of the answer that is missing.
    pub fn incomplete(&mut self, what: impl Into<String>) {
        self.warn(what);
        self.worsen(Status::Incomplete);
    }

    /// Adds what another report says: rows to the last table where they have the same columns, sentences to the
    /// last list of the same name, else sections.
    pub fn append(&mut self, other: Report) {
        for section in other.sections {
            let last = self.sections.last_mut();
            let last = last.filter(|last| last.continues(&section));
            match (last, section) {
                (Some(Section::Table(last)), Section::Table(table)) => last.rows.extend(table.rows),
                (Some(Section::List(last)), Section::List(list)) => last.items.extend(list.items),
                (_, section) => self.sections.push(section),
            }
        }
        self.warnings.extend(other.warnings);
        self.worsen(other.status);
    }

    /// The addresses that it hands to the next command of a pipe.
    #[must_use]
    pub fn piped_addresses(&self) -> Vec<u64> {
        let mut addresses = Vec::new();
        self.sections
            .iter()
            .for_each(|section| section.collect_piped(&mut addresses));
        addresses
    }

    /// Sets the status unless it is already worse.
    pub fn worsen(&mut self, status: Status) {
        self.status = self.status.max(status);
    }
}

/// What a report means, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Status {
    /// Nothing was found.
    #[default]
    Clean,
    /// Leaks, corruption: what the command looks for.
    Found,
    /// Part of the answer is missing.
    Incomplete,
    /// The command could not do its work.
    Failed,
}

impl Status {
    /// The exit status of a debugger whose worst command ended like this.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Found => 1,
            Self::Failed => 2,
            Self::Incomplete => 3,
        }
    }

    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Found => "found",
            Self::Incomplete => "incomplete",
            Self::Failed => "failed",
        }
    }
}

/// Something that could not be had or done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// One line: what, of which object.
    pub what: String,
    /// The next step to try.
    pub hint: Option<String>,
}

/// A part of a report.
#[derive(Debug, Clone, PartialEq)]
pub enum Section {
    /// Rows under columns.
    Table(Table),
    /// Sentences.
    List(List),
    /// Labels and values.
    Fields(Fields),
    /// Bytes of memory.
    Dump(Dump),
    /// Text as it is.
    Text(Text),
    /// Sections that belong together.
    Group(Group),
}

impl Section {
    /// Whether the rows or sentences of another section can stand below ours.
    #[must_use]
    pub fn continues(&self, next: &Self) -> bool {
        match (self, next) {
            (Self::Table(last), Self::Table(table)) => last.continues(table),
            (Self::List(last), Self::List(list)) => last.key == list.key,
            _ => false,
        }
    }

    /// The same table or list without what it holds; other sections as they are.
    #[must_use]
    pub fn without_rows(&self) -> Self {
        match self {
            Self::Table(table) => Self::Table(Table {
                key: table.key,
                columns: table.columns.clone(),
                rows: Vec::new(),
                stacks: table.stacks,
                spaced: table.spaced,
                ruled: table.ruled,
                headless: table.headless,
                total: table.total.clone(),
            }),
            Self::List(list) => Self::List(List {
                key: list.key,
                items: Vec::new(),
                spaced: list.spaced,
                stacks: list.stacks,
                piped: list.piped,
            }),
            other => other.clone(),
        }
    }

    fn collect_piped(&self, addresses: &mut Vec<u64>) {
        match self {
            Self::Table(table) => addresses.extend(table.piped_addresses()),
            Self::Group(group) => group
                .sections
                .iter()
                .for_each(|section| section.collect_piped(addresses)),
            Self::List(list) => addresses.extend(list.piped_numbers()),
            Self::Fields(_) | Self::Dump(_) | Self::Text(_) => {}
        }
    }
}

macro_rules! section_from {
    ($($kind:ident)*) => { $(
        impl From<$kind> for Section {
            fn from(section: $kind) -> Self {
                Self::$kind(section)
            }
        }
    )* };
}
section_from!(Table List Fields Dump Text Group);

/// Sentences, each with its stacks.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct List {
    /// Name in JSON.
    pub key: &'static str,
    /// The sentences.
    pub items: Vec<Item>,
    /// An empty line before each.
    pub spaced: bool,
    /// How stacks are shown in text.
    pub stacks: StackView,
    /// Name of the values that go down a pipe; empty when none do.
    pub piped: &'static str,
}

impl List {
    /// The numbers that go down a pipe.
    fn piped_numbers(&self) -> impl Iterator<Item = u64> {
        let pieces = self.items.iter().flat_map(|item| &item.sentence.0);
        let values = pieces.filter_map(|piece| match piece {
            Piece::Value { key, cell, .. } if *key == self.piped => Some(cell.numbers()),
            _ => None,
        });
        values.flatten()
    }

    /// A list of one sentence.
    #[must_use]
    pub fn one(key: &'static str, sentence: Sentence) -> Self {
        Self {
            key,
            items: vec![Item {
                sentence,
                stacks: Vec::new(),
            }],
            ..Self::default()
        }
    }
}

/// One sentence of a list.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Item {
    /// What is said.
    pub sentence: Sentence,
    /// The stacks that belong to it.
    pub stacks: Vec<Stack>,
}

impl From<Sentence> for Item {
    fn from(sentence: Sentence) -> Self {
        Self {
            sentence,
            stacks: Vec::new(),
        }
    }
}

/// Words and typed values in turn. Machines read the values by name, people read it all.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sentence(pub Vec<Piece>);

impl Sentence {
    /// An empty sentence.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds words.
    #[must_use]
    pub fn words(mut self, words: impl Into<String>) -> Self {
        self.0.push(Piece::Words(words.into()));
        self
    }

    /// Begins a new line.
    #[must_use]
    pub fn line(mut self) -> Self {
        self.0.push(Piece::Line);
        self
    }

    /// Adds a value.
    #[must_use]
    pub fn value(mut self, key: &'static str, cell: Cell) -> Self {
        self.0.push(Piece::Value {
            key,
            cell,
            shown: true,
        });
        self
    }

    /// Adds a value that only machines see.
    #[must_use]
    pub fn hidden(mut self, key: &'static str, cell: Cell) -> Self {
        self.0.push(Piece::Value {
            key,
            cell,
            shown: false,
        });
        self
    }

    /// Adds a count with its noun: `1 buffer`, `3 buffers`.
    #[must_use]
    pub fn counted(self, key: &'static str, count: u64, noun: &str) -> Self {
        let plural = if count == 1 { "" } else { "s" };
        self.value(key, Cell::Count(count))
            .words(format!(" {noun}{plural}"))
    }

    /// Adds a number of bytes with its noun: `1 byte`, `50 bytes`.
    #[must_use]
    pub fn bytes(self, key: &'static str, bytes: u64) -> Self {
        let plural = if bytes == 1 { "" } else { "s" };
        self.value(key, Cell::Bytes(bytes))
            .words(format!(" byte{plural}"))
    }
}

/// A piece of a sentence.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// Words.
    Words(String),
    /// What follows stands on a new line.
    Line,
    /// A value.
    Value {
        /// Name in JSON.
        key: &'static str,
        /// The value.
        cell: Cell,
        /// People see it too.
        shown: bool,
    },
}

/// Labels and values.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Fields {
    /// Name in JSON.
    pub key: &'static str,
    /// The fields in order.
    pub fields: Vec<Field>,
}

impl Fields {
    /// Adds a field.
    pub fn push(&mut self, label: &'static str, value: Sentence) {
        self.fields.push(Field { label, value });
    }
}

/// A label and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// The label as people see it, without colon.
    pub label: &'static str,
    /// The value.
    pub value: Sentence,
}

/// Text as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Text {
    /// Name in JSON.
    pub key: &'static str,
    /// The text.
    pub body: String,
}

/// Sections that belong together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Group {
    /// Name in JSON.
    pub key: &'static str,
    /// The sections.
    pub sections: Vec<Section>,
}

/// A typed value.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Nothing to show.
    Empty,
    /// Not known.
    Unknown,
    /// An address in the target.
    Address(u64),
    /// A value of the target, shown with `0x`.
    Value(u64),
    /// A number of bytes.
    Bytes(u64),
    /// From the least to the greatest number of bytes.
    ByteRange(u64, u64),
    /// A number of things.
    Count(u64),
    /// A number that names something, as a thread does.
    Number(u64),
    /// A number with a sign.
    Signed(i64),
    /// Nanoseconds of the target's monotonic clock.
    Time(u64),
    /// Nanoseconds before the newest event.
    Ago(u64),
    /// Nanoseconds that something took.
    Duration(u64),
    /// A name for an address in code or data.
    Symbol(Frame),
    /// A frame of a stack: the name, and where its source is.
    Frame(Frame),
    /// Several values.
    List(Vec<Cell>),
    /// Bits, shown with this many hexadecimal digits.
    Flags {
        /// The bits.
        bits: u64,
        /// Digits.
        digits: u8,
    },
    /// Bytes of memory in order of address.
    Memory(Vec<u8>),
    /// A number of bytes that people read with a suffix: `1.22M`.
    Scaled(u64),
    /// Tenths of a percent.
    Percent(u64),
    /// A part of a whole, which people see as a bar.
    Bar(u64, u64),
    /// A name so many blanks further in than its parent's.
    Nested {
        /// Blanks.
        blanks: usize,
        /// The name.
        name: String,
    },
    /// Words.
    Text(String),
}

impl Cell {
    /// A cell of text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// The numbers that it hands down a pipe.
    fn numbers(&self) -> Vec<u64> {
        match self {
            Self::Address(value)
            | Self::Value(value)
            | Self::Number(value)
            | Self::Count(value)
            | Self::Bytes(value) => vec![*value],
            Self::Signed(value) => vec![value.cast_unsigned()],
            Self::List(cells) => cells.iter().flat_map(Self::numbers).collect(),
            _ => Vec::new(),
        }
    }
}

/// What an address in the target is called.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frame {
    /// The address.
    pub address: u64,
    /// Object; none when no module holds the address.
    pub object: Option<String>,
    /// The object is the main program.
    pub is_program: bool,
    /// Function or datum.
    pub symbol: Option<String>,
    /// Bytes from the symbol's start, or from the object's without a symbol.
    pub offset: u64,
    /// Source file.
    pub file: Option<String>,
    /// Line in it.
    pub line: Option<u32>,
    /// It was inlined into the frame that follows.
    pub inlined: bool,
    /// It was found by frame pointer and may be wrong.
    pub guessed: bool,
    /// The object was unloaded since.
    pub unloaded: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_status_is_could_not_then_incomplete_then_found() {
        let mut report = Report::default();
        for (status, code) in [
            (Status::Clean, 0),
            (Status::Found, 1),
            (Status::Incomplete, 3),
            (Status::Found, 3),
            (Status::Failed, 2),
            (Status::Incomplete, 2),
        ] {
            report.worsen(status);
            assert_eq!(report.status.exit_code(), code);
        }
    }
}
