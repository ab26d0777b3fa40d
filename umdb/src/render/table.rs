//! Tables as text.

use super::text::{Style, cell_text, line, sentence_text, write_stacks};
use crate::report::{Align, Cell, Column, Row, Table, Total};

/// Characters of the line above a total.
const RULE: usize = 72;
/// Makes what follows bold.
const BOLD: &str = "\x1b[1m";
/// Ends that.
const PLAIN: &str = "\x1b[0m";

/// Adds a table.
pub(super) fn write_table(out: &mut String, table: &Table, has_header: bool, style: Style) {
    let has_header = has_header && !table.headless;
    if has_header {
        write_header(out, &table.columns, style);
    }
    if table.ruled && has_header {
        write_rule(out, &table.columns, style);
    }
    for row in &table.rows {
        let texts = row_texts(&table.columns, row);
        for text in lines(&table.columns, &texts, |column| column.align) {
            line(out, &cut(text, style));
        }
        write_stacks(out, &row.stacks, table.stacks);
        if table.spaced {
            out.push('\n');
        }
    }
    if table.ruled {
        write_rule(out, &table.columns, style);
    }
    if let Some(total) = &table.total {
        write_total(out, total);
    }
}

/// Titles, of which those with several lines end on the last line of the header.
fn write_header(out: &mut String, columns: &[Column], style: Style) {
    let shown = columns.iter().filter(|column| !column.hidden);
    let height = shown
        .map(|column| column.title.split('\n').count())
        .max()
        .unwrap_or(1);
    for number in 0..height {
        let titles: Vec<String> = columns
            .iter()
            .map(|column| {
                let lines: Vec<&str> = column.title.split('\n').collect();
                let at = (number + lines.len()).checked_sub(height);
                at.and_then(|at| lines.get(at))
                    .map_or(String::new(), |&line| line.to_owned())
            })
            .collect();
        for text in lines(columns, &titles, |column| column.title_align) {
            let start = out.len();
            line(out, &cut(text, style));
            if style.is_bold {
                let title = out.split_off(start);
                out.push_str(&format!("{BOLD}{}{PLAIN}\n", title.trim_end()));
            }
        }
    }
}

/// Dashes as wide as each column.
fn write_rule(out: &mut String, columns: &[Column], style: Style) {
    let dashes: Vec<String> = columns
        .iter()
        .map(|column| "-".repeat(column.width))
        .collect();
    for text in lines(columns, &dashes, |column| column.align) {
        line(out, &cut(text, style));
    }
}

fn row_texts(columns: &[Column], row: &Row) -> Vec<String> {
    columns
        .iter()
        .zip(&row.cells)
        .map(|(column, cell)| column_text(column, cell))
        .collect()
}

fn column_text(column: &Column, cell: &Cell) -> String {
    match cell {
        Cell::Address(address) if column.padded => format!("{address:016x}"),
        other => cell_text(other),
    }
}

/// Cells line by line; a line that no column stands on ends the row.
fn lines(columns: &[Column], texts: &[String], align: fn(&Column) -> Align) -> Vec<String> {
    let mut lines = Vec::new();
    for number in 0.. {
        let cells = columns
            .iter()
            .zip(texts)
            .filter(|(column, _)| column.line == number && !column.hidden);
        let padded: Vec<String> = cells
            .map(|(column, text)| pad(align(column), column.width, text))
            .collect();
        if padded.is_empty() {
            break;
        }
        lines.push(padded.join(" "));
    }
    lines
}

/// The line as far as the terminal shows it.
fn cut(text: String, style: Style) -> String {
    let Some(width) = style.width else {
        return text;
    };
    let text = text.trim_end();
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    kept + "…"
}

fn pad(align: Align, width: usize, text: &str) -> String {
    match align {
        Align::Left => format!("{text:<width$}"),
        Align::Right => format!("{text:>width$}"),
    }
}

fn write_total(out: &mut String, total: &Total) {
    line(out, &"-".repeat(RULE));
    let (label, count) = total.widths;
    let rest = sentence_text(&total.rest);
    line(
        out,
        &format!("{:>label$} {:>count$}{rest}", "Total", total.count),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_fit_a_terminal() {
        let mut table = Table::new(
            "t",
            vec![Column::left("a", "A", 4), Column::left("b", "B", 0)],
        );
        table.push(vec![Cell::text("x"), Cell::text("a long name")]);
        let mut out = String::new();
        let style = Style {
            is_bold: true,
            width: Some(10),
        };
        write_table(&mut out, &table, true, style);
        assert_eq!(out, "\x1b[1mA    B\x1b[0m\nx    a lo…\n");
    }
}
