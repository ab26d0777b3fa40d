//! Tables as comma-separated values (RFC 4180).

use super::text::{cell_text, frame_text};
use crate::report::{Cell, Report, Section};

/// Writes the tables of the reports of one command, each with a line of column names; an empty line stands between two.
#[derive(Debug, Default)]
pub struct CsvWriter {
    /// A table stands before the next one.
    has_table: bool,
    /// The table that the next report may go on with, without its rows.
    open: Option<Section>,
}

impl CsvWriter {
    /// The tables of the next report.
    #[must_use]
    pub fn write(&mut self, report: &Report) -> String {
        let mut out = String::new();
        for section in &report.sections {
            let continued = self
                .open
                .as_ref()
                .is_some_and(|open| open.continues(section));
            self.section(section, continued, &mut out);
            // Only what stands for itself goes on.
            self.open = match section {
                Section::Table(_) => Some(section.without_rows()),
                _ => None,
            };
        }
        out
    }

    fn section(&mut self, section: &Section, continued: bool, out: &mut String) {
        match section {
            Section::Table(table) => {
                if !continued {
                    if std::mem::replace(&mut self.has_table, true) {
                        out.push('\n');
                    }
                    let keys = table.columns.iter().map(|column| column.key.to_owned());
                    *out += &record(keys);
                }
                for row in &table.rows {
                    *out += &record(row.cells.iter().map(field));
                }
            }
            Section::Group(group) => {
                for section in &group.sections {
                    self.section(section, false, out);
                }
            }
            _ => {}
        }
    }
}

fn record(fields: impl Iterator<Item = String>) -> String {
    let quoted: Vec<String> = fields.map(|field| quoted(&field)).collect();
    quoted.join(",") + "\n"
}

fn field(cell: &Cell) -> String {
    match cell {
        Cell::Empty | Cell::Unknown => String::new(),
        Cell::Address(value) | Cell::Value(value) => format!("{value:#x}"),
        Cell::Time(value) | Cell::Ago(value) | Cell::Duration(value) => value.to_string(),
        Cell::Flags { bits, .. } => bits.to_string(),
        Cell::Frame(frame) => frame_text(frame),
        other => cell_text(other),
    }
}

fn quoted(field: &str) -> String {
    if field.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Column, Sentence, Table};

    #[test]
    fn tables_are_lines_and_quotes_are_doubled() {
        let mut table = Table::new(
            "t",
            vec![Column::left("at", "AT", 4), Column::hidden("name")],
        );
        table.push(vec![Cell::Address(16), Cell::text("a,\"b\"")]);
        let mut report = Report::default();
        report.push(table);
        report.push(crate::report::List::one(
            "x",
            Sentence::new().words("no table"),
        ));
        let mut writer = CsvWriter::default();
        let first = "at,name\n0x10,\"a,\"\"b\"\"\"\n";
        assert_eq!(writer.write(&report), first);
        // A sentence stood between.
        assert_eq!(writer.write(&report), format!("\n{first}"));
        report.sections.truncate(1);
        assert_eq!(writer.write(&report), format!("\n{first}"));
        assert_eq!(writer.write(&report), "0x10,\"a,\"\"b\"\"\"\n");
    }
}
