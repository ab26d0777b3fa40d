//! Tables and stacks.

use super::{Cell, Frame, Sentence};

/// Rows under columns. The header of a column may stand on a second or third line; a row then takes
/// as many lines.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    /// Name in JSON.
    pub key: &'static str,
    /// The columns in order.
    pub columns: Vec<Column>,
    /// The rows; each has one cell a column.
    pub rows: Vec<Row>,
    /// How stacks of rows are shown in text.
    pub stacks: StackView,
    /// An empty line after each row.
    pub spaced: bool,
    /// Dashes below the header and below the rows.
    pub ruled: bool,
    /// Without header: the columns are those of the table before.
    pub headless: bool,
    /// What is said below the rows: the count column's value, then words.
    pub total: Option<Total>,
}

impl Table {
    /// A table without rows.
    #[must_use]
    pub fn new(key: &'static str, columns: Vec<Column>) -> Self {
        Self {
            key,
            columns,
            ..Self::default()
        }
    }

    /// Adds a row without stacks.
    pub fn push(&mut self, cells: Vec<Cell>) {
        self.rows.push(Row {
            cells,
            stacks: Vec::new(),
        });
    }
}

impl Table {
    /// Whether another table has the same columns, so that its rows can stand below ours.
    #[must_use]
    pub fn continues(&self, next: &Self) -> bool {
        self.key == next.key
            && self.columns == next.columns
            && self.total.is_none()
            && next.total.is_none()
            && !self.ruled
    }

    /// The addresses of the column that goes down a pipe.
    pub fn piped_addresses(&self) -> impl Iterator<Item = u64> {
        let column = self.columns.iter().position(|column| column.is_piped);
        let cells = self
            .rows
            .iter()
            .filter_map(move |row| row.cells.get(column?));
        cells.filter_map(|cell| match cell {
            Cell::Address(value) | Cell::Value(value) | Cell::Number(value) => Some(*value),
            _ => None,
        })
    }
}

/// The line below a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Total {
    /// Width of the label, then of the leading count: those of the first two columns.
    pub widths: (usize, usize),
    /// The count that leads.
    pub count: u64,
    /// Name of that count in JSON.
    pub key: &'static str,
    /// What follows.
    pub rest: Sentence,
}

/// Where cells stand in their column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Align {
    /// At the left.
    #[default]
    Left,
    /// At the right.
    Right,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name in JSON.
    pub key: &'static str,
    /// Name in the header; it may have several lines.
    pub title: &'static str,
    /// Characters.
    pub width: usize,
    /// Where cells stand.
    pub align: Align,
    /// Where its name stands in the header.
    pub title_align: Align,
    /// Addresses are filled with zeros to 16 digits.
    pub padded: bool,
    /// Line of the row on which it stands.
    pub line: usize,
    /// Only machines see it.
    pub hidden: bool,
    /// Its addresses are what goes down a pipe.
    pub is_piped: bool,
}

impl Column {
    /// A column with cells at the left.
    #[must_use]
    pub const fn left(key: &'static str, title: &'static str, width: usize) -> Self {
        Self {
            key,
            title,
            width,
            align: Align::Left,
            title_align: Align::Left,
            padded: false,
            line: 0,
            hidden: false,
            is_piped: false,
        }
    }

    /// A column with cells at the right.
    #[must_use]
    pub const fn right(key: &'static str, title: &'static str, width: usize) -> Self {
        Self {
            align: Align::Right,
            title_align: Align::Right,
            ..Self::left(key, title, width)
        }
    }

    /// A column that only machines see.
    #[must_use]
    pub const fn hidden(key: &'static str) -> Self {
        Self {
            hidden: true,
            ..Self::left(key, "", 0)
        }
    }

    /// The same with addresses of 16 digits.
    #[must_use]
    pub const fn padded(self) -> Self {
        Self {
            padded: true,
            ..self
        }
    }

    /// The same with its name at the left.
    #[must_use]
    pub const fn titled_left(self) -> Self {
        Self {
            title_align: Align::Left,
            ..self
        }
    }

    /// The same, whose addresses go down a pipe.
    #[must_use]
    pub const fn piped(self) -> Self {
        Self {
            is_piped: true,
            ..self
        }
    }

    /// The same on another line.
    #[must_use]
    pub const fn on_line(self, line: usize) -> Self {
        Self { line, ..self }
    }
}

/// A row.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Row {
    /// One cell a column.
    pub cells: Vec<Cell>,
    /// The stacks that belong to it.
    pub stacks: Vec<Stack>,
}

/// How stacks are shown in text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StackView {
    /// Not at all.
    #[default]
    Hidden,
    /// Each frame behind so many blanks.
    Indented(usize),
    /// Each frame behind a tab and a blank.
    Tabbed,
}

/// A stack, innermost frame first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stack {
    /// Name in JSON: what happened there.
    pub key: &'static str,
    /// What people read above it.
    pub label: Option<String>,
    /// The frames.
    pub frames: Vec<Frame>,
    /// Why it may end before the outermost frame.
    pub cut: Option<&'static str>,
}
