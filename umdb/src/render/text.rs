//! Text in the shapes that mdb users know.

use std::fmt::Write;

use super::table::write_table;
use crate::report::{
    Cell, Column, Frame, List, Piece, Report, Section, Sentence, Stack, StackView,
};

/// Characters of a label in a list of fields.
const LABEL: usize = 16;

/// The sections of a report as text; warnings are not part of it.
#[must_use]
pub fn write_text(report: &Report) -> String {
    TextWriter::default().write(report)
}

/// Writes the reports of one command: a table that goes on in the next report has its header once.
#[derive(Debug, Default)]
pub struct TextWriter {
    /// The last section was a table with these columns and no total.
    header: Option<(&'static str, Vec<Column>)>,
    /// Something was written, and whether an empty line stands at its end.
    last: Option<bool>,
    style: Style,
}

/// What a terminal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Style {
    /// Headers are bold.
    pub is_bold: bool,
    /// Rows of tables are cut here; what is cut ends in an ellipsis.
    pub width: Option<usize>,
}

impl TextWriter {
    /// Writes for a terminal.
    #[must_use]
    pub fn styled(style: Style) -> Self {
        Self {
            style,
            ..Self::default()
        }
    }

    /// The next report as text.
    #[must_use]
    pub fn write(&mut self, report: &Report) -> String {
        let mut out = String::new();
        for section in &report.sections {
            let continued = match (section, &self.header) {
                (Section::Table(table), Some((key, columns))) => {
                    table.key == *key && table.columns == *columns && table.total.is_none()
                }
                _ => false,
            };
            let is_apart = if out.is_empty() {
                self.last.is_none_or(|is_empty_line| is_empty_line)
            } else {
                out.ends_with("\n\n")
            };
            // Lists and texts of one loop stand line below line.
            let is_part = out.is_empty() && !matches!(section, Section::Table(_));
            if !is_apart && !continued && !is_part {
                out.push('\n');
            }
            match section {
                Section::Table(table) => {
                    write_table(&mut out, table, !continued, self.style);
                    self.header = (table.total.is_none() && !table.ruled)
                        .then(|| (table.key, table.columns.clone()));
                }
                other => {
                    write_section(&mut out, other, self.style);
                    self.header = None;
                }
            }
        }
        if !out.is_empty() {
            self.last = Some(out.ends_with("\n\n"));
        }
        out
    }
}

fn write_section(out: &mut String, section: &Section, style: Style) {
    match section {
        Section::Table(table) => write_table(out, table, true, style),
        Section::List(list) => write_list(out, list),
        Section::Fields(fields) => {
            for field in &fields.fields {
                let label = format!("{}:", field.label);
                line(
                    out,
                    &format!("{label:<LABEL$}{}", sentence_text(&field.value)),
                );
            }
        }
        Section::Dump(dump) => super::dump::write_dump(out, dump),
        Section::Text(text) => {
            out.push_str(&text.body);
            if !text.body.ends_with('\n') {
                out.push('\n');
            }
        }
        Section::Group(group) => group
            .sections
            .iter()
            .for_each(|part| write_section(out, part, style)),
    }
}

fn write_list(out: &mut String, list: &List) {
    for item in &list.items {
        if list.spaced {
            out.push('\n');
        }
        sentence_lines(&item.sentence)
            .iter()
            .for_each(|text| line(out, text));
        write_stacks(out, &item.stacks, list.stacks);
    }
}

pub(super) fn write_stacks(out: &mut String, stacks: &[Stack], view: StackView) {
    let indent = match view {
        StackView::Hidden => return,
        StackView::Indented(blanks) => " ".repeat(blanks),
        StackView::Tabbed => "\t ".to_owned(),
    };
    for stack in stacks {
        if let Some(label) = &stack.label {
            // Four blanks less, so that the frames stand out.
            line(
                out,
                &format!("{}{label}", indent.strip_prefix("    ").unwrap_or(&indent)),
            );
        }
        for frame in &stack.frames {
            line(out, &format!("{indent}{}", frame_text(frame)));
        }
        if let Some(cut) = stack.cut {
            line(out, &format!("{indent}({cut})"));
        }
    }
}

/// Words and shown values of a sentence, line by line.
fn sentence_lines(sentence: &Sentence) -> Vec<String> {
    let mut lines = vec![String::new()];
    for piece in &sentence.0 {
        let text = lines.last_mut().map(|last| last as &mut String);
        match (piece, text) {
            (Piece::Line, _) => lines.push(String::new()),
            (Piece::Words(words), Some(text)) => text.push_str(words),
            (
                Piece::Value {
                    cell, shown: true, ..
                },
                Some(text),
            ) => text.push_str(&cell_text(cell)),
            _ => {}
        }
    }
    lines
}

/// Words and shown values of a sentence on one line.
pub(super) fn sentence_text(sentence: &Sentence) -> String {
    let lines = sentence_lines(sentence);
    let mut parts = lines.iter().enumerate().map(|(i, text)| {
        if i == 0 {
            text.as_str()
        } else {
            text.trim_start()
        }
    });
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + "; " + part)
}

pub(super) fn cell_text(cell: &Cell) -> String {
    match cell {
        Cell::Empty => String::new(),
        Cell::Unknown => "?".to_owned(),
        Cell::Address(value) | Cell::Time(value) => format!("{value:x}"),
        Cell::Value(value) => format!("{value:#x}"),
        Cell::Bytes(value) | Cell::Count(value) | Cell::Number(value) => value.to_string(),
        Cell::Signed(value) => value.to_string(),
        Cell::ByteRange(least, most) if least == most => least.to_string(),
        Cell::ByteRange(least, most) => format!("{least}-{most}"),
        Cell::Ago(ns) => format!("T-{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000),
        Cell::Duration(ns) => format!(
            "{}.{:03} seconds",
            ns / 1_000_000_000,
            ns / 1_000_000 % 1000
        ),
        Cell::Symbol(frame) => symbol_text(frame),
        Cell::Frame(frame) => frame_text(frame),
        Cell::List(cells) => cells.iter().map(cell_text).collect::<Vec<_>>().join(" "),
        Cell::Flags { bits, digits } => format!("{bits:0width$x}", width = usize::from(*digits)),
        Cell::Memory(bytes) => memory_text(bytes),
        Cell::Scaled(bytes) => scaled_text(*bytes),
        Cell::Percent(tenths) => format!("{}.{}%", tenths / 10, tenths % 10),
        Cell::Bar(part, whole) => bar_text(*part, *whole),
        Cell::Nested { blanks, name } => format!("{:blanks$}{name}", ""),
        Cell::Text(text) => text.clone(),
    }
}

/// A number of bytes as mdb writes it: plain below 1024, whole with a suffix where it divides, else three digits.
fn scaled_text(bytes: u64) -> String {
    let unit = (bytes.max(1).ilog2() / 10) as usize;
    let Some(suffix) = unit.checked_sub(1).and_then(|i| b"KMGTPE".get(i)) else {
        return bytes.to_string();
    };
    let suffix = char::from(*suffix);
    let shift = unit * 10;
    if bytes.trailing_zeros() as usize >= shift {
        return format!("{}{suffix}", bytes >> shift);
    }
    let value = bytes as f64 / (1_u64 << shift) as f64;
    match value {
        ..9.995 => format!("{value:.2}{suffix}"),
        ..99.95 => format!("{value:.1}{suffix}"),
        _ => format!("{value:.0}{suffix}"),
    }
}

/// Characters of a whole bar.
const BAR: u64 = 50;

fn bar_text(part: u64, whole: u64) -> String {
    let length = u128::from(part.min(whole)) * u128::from(BAR) / u128::from(whole.max(1));
    format!("|{}", "@".repeat(length as usize))
}

fn memory_text(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// ``object`symbol+0xoff``, without object for the main program; what is unknown is left out.
fn symbol_text(frame: &Frame) -> String {
    let offset = |name: &str| match frame.offset {
        0 => name.to_owned(),
        offset => format!("{name}+{offset:#x}"),
    };
    match (&frame.object, &frame.symbol) {
        (Some(object), Some(symbol)) if !frame.is_program => format!("{object}`{}", offset(symbol)),
        (_, Some(symbol)) => offset(symbol),
        (Some(object), None) => format!("{object}+{:#x}", frame.offset),
        (None, None) => format!("{:#x}", frame.address),
    }
}

/// A line of a stack: the symbol, then where its source is, as far as known.
#[must_use]
pub fn frame_text(frame: &Frame) -> String {
    let mut text = symbol_text(frame);
    if frame.inlined {
        text.push_str(" (inlined)");
    }
    if let Some(file) = &frame.file {
        let name = file.rsplit('/').next().unwrap_or(file);
        let _ = write!(text, " at {name}");
        if let Some(number) = frame.line {
            let _ = write!(text, ":{number}");
        }
    }
    if frame.guessed {
        text.push_str(" (guessed)");
    }
    if frame.unloaded {
        text.push_str(" (unloaded)");
    }
    text
}

/// Adds a line without blanks at its end, with control characters made visible.
pub(super) fn line(out: &mut String, text: &str) {
    for character in text.trim_end_matches(' ').chars() {
        match character {
            '\t' => out.push('\t'),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Row, Table, Total};

    fn main_frame() -> Frame {
        Frame {
            address: 0x40112f,
            is_program: true,
            object: Some("victim".into()),
            symbol: Some("main".into()),
            offset: 0x2f,
            file: Some("/src/victim.c".into()),
            line: Some(12),
            ..Frame::default()
        }
    }

    fn leaks() -> Table {
        let mut table = Table::new(
            "buffers",
            vec![
                Column::left("cache", "CACHE", 16).padded(),
                Column::right("leaked", "LEAKED", 7),
                Column::right("bufctl", "BUFCTL", 16).padded(),
                Column::left("caller", "CALLER", 0),
                Column::hidden("bytes"),
            ],
        );
        table.push(vec![
            Cell::Address(0x45_8a08),
            Cell::Count(12),
            Cell::Address(0x4a_1c40),
            Cell::Symbol(main_frame()),
            Cell::Bytes(384),
        ]);
        table.total = Some(Total {
            widths: (16, 7),
            count: 12,
            key: "buffers",
            rest: Sentence::new().words(" buffers, ").bytes("bytes", 384),
        });
        table
    }

    #[test]
    fn findleaks_has_the_shape_of_mdb() {
        let report = Report {
            sections: vec![leaks().into()],
            ..Report::default()
        };
        let expected = "\
CACHE             LEAKED           BUFCTL CALLER
0000000000458a08      12 00000000004a1c40 main+0x2f
------------------------------------------------------------------------
           Total      12 buffers, 384 bytes
";
        assert_eq!(write_text(&report), expected);
    }

    #[test]
    fn rows_of_several_lines_carry_their_stacks() {
        let mut table = Table::new(
            "bufctl",
            vec![
                Column::right("bufctl", "ADDR", 16),
                Column::right("buffer", "BUFADDR", 16),
                Column::right("cache", "CACHE", 33).on_line(1),
            ],
        );
        table.stacks = StackView::Indented(17);
        table.spaced = true;
        table.rows.push(Row {
            cells: vec![
                Cell::Address(0x10),
                Cell::Address(0x20),
                Cell::Address(0x30),
            ],
            stacks: vec![Stack {
                key: "allocated",
                frames: vec![main_frame()],
                ..Stack::default()
            }],
        });
        let report = Report {
            sections: vec![table.into()],
            ..Report::default()
        };
        let expected = "            ADDR          BUFADDR
                            CACHE
              10               20
                               30
                 main+0x2f at victim.c:12

";
        assert_eq!(write_text(&report), expected);
    }

    #[test]
    fn sizes_are_scaled_as_mdb_does() {
        let expected = [
            (0, "0"),
            (1023, "1023"),
            (1024, "1K"),
            (64 << 10, "64K"),
            (10_250, "10.0K"),
            (1_279_262, "1.22M"),
            (19_503_513, "18.6M"),
            (1023 << 20, "1023M"),
            ((1023 << 20) + 1, "1023M"),
            (1 << 60, "1E"),
            (u64::MAX, "16.0E"),
        ];
        for (bytes, text) in expected {
            assert_eq!(scaled_text(bytes), text);
        }
    }

    #[test]
    fn a_ruled_table_has_its_header_on_several_lines() {
        let mut table = Table::new(
            "t",
            vec![
                Column::left("name", "cache\nname", 8),
                Column::right("size", "size", 6),
            ],
        );
        table.ruled = true;
        let name = "a".to_owned();
        table.push(vec![Cell::Nested { blanks: 2, name }, Cell::Scaled(2048)]);
        let report = Report {
            sections: vec![table.into()],
            ..Report::default()
        };
        let expected = "\
cache
name       size
-------- ------
  a          2K
-------- ------
";
        assert_eq!(write_text(&report), expected);
    }

    #[test]
    fn symbols_name_what_is_known() {
        let library = Frame {
            is_program: false,
            object: Some("libc.so.6".into()),
            ..main_frame()
        };
        assert_eq!(symbol_text(&library), "libc.so.6`main+0x2f");
        assert_eq!(
            symbol_text(&Frame {
                offset: 0,
                ..library.clone()
            }),
            "libc.so.6`main"
        );
        assert_eq!(
            symbol_text(&Frame {
                symbol: None,
                ..library.clone()
            }),
            "libc.so.6+0x2f"
        );
        assert_eq!(
            symbol_text(&Frame {
                address: 0xbeef,
                ..Frame::default()
            }),
            "0xbeef"
        );
    }

    #[test]
    fn control_characters_of_the_target_do_not_reach_the_terminal() {
        let list = List::one(
            "x",
            Sentence::new().value("name", Cell::text("a\x1b[2Jb\n")),
        );
        let report = Report {
            sections: vec![list.into()],
            ..Report::default()
        };
        assert_eq!(write_text(&report), "a\\u{1b}[2Jb\\n\n");
    }

    #[test]
    fn times_before_the_newest_event_have_nine_digits() {
        assert_eq!(cell_text(&Cell::Ago(1_000_000_042)), "T-1.000000042");
    }
}
