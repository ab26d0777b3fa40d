//! Tables as comma-separated values (RFC 4180).

use super::text::{cell_text, frame_text};
use crate::report::{Cell, Report, Section, Table};

/// The tables of a report, each with a line of column names; an empty line stands between two.
#[must_use]
pub fn to_csv(report: &Report) -> String {
    let mut tables = Vec::new();
    collect(&report.sections, &mut tables);
    tables.join("\n")
}

fn collect(sections: &[Section], tables: &mut Vec<String>) {
    for section in sections {
        match section {
            Section::Table(table) => tables.push(lines(table)),
            Section::Group(group) => collect(&group.sections, tables),
            _ => {}
        }
    }
}

fn lines(table: &Table) -> String {
    let keys = table.columns.iter().map(|column| column.key.to_owned());
    let mut text = record(keys);
    for row in &table.rows {
        text += &record(row.cells.iter().map(field));
    }
    text
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
    use crate::report::{Column, Sentence};

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
        assert_eq!(to_csv(&report), "at,name\n0x10,\"a,\"\"b\"\"\"\n");
    }
}
