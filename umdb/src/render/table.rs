//! Tables as text.

use std::borrow::Cow;

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
    let columns = fitted(table, style);
    if has_header {
        write_header(out, &columns, style);
    }
    if table.ruled && has_header {
        write_rule(out, &columns);
    }
    for row in &table.rows {
        let texts = row_texts(&columns, row);
        for text in lines(&columns, &texts, style, |column| column.align) {
            line(out, &text);
        }
        write_stacks(out, &row.stacks, table.stacks);
        if table.spaced {
            out.push('\n');
        }
    }
    if table.ruled {
        write_rule(out, &columns);
    }
    if let Some(total) = &table.total {
        write_total(out, total);
    }
}

/// The columns, without the room that no cell takes where the terminal is too narrow for them.
fn fitted(table: &Table, style: Style) -> Cow<'_, [Column]> {
    let Some(width) = style.width else {
        return Cow::Borrowed(&table.columns);
    };
    let mut widest: Vec<usize> = table
        .columns
        .iter()
        .map(|column| column.title.split('\n').map(length).max().unwrap_or(0))
        .collect();
    for row in &table.rows {
        let texts = row_texts(&table.columns, row);
        for (most, text) in widest.iter_mut().zip(&texts) {
            *most = (*most).max(length(text));
        }
    }
    let lines = table.columns.iter().map(|column| column.line).max();
    let is_wide = (0..=lines.unwrap_or(0)).any(|number| {
        let shown = table.columns.iter().zip(&widest);
        let shown = shown.filter(|(column, _)| column.line == number && !column.hidden);
        shown
            .map(|(column, &most)| column.width.max(most) + 1)
            .sum::<usize>()
            > width + 1
    });
    if !is_wide {
        return Cow::Borrowed(&table.columns);
    }
    let narrowed = table.columns.iter().zip(&widest).map(|(column, &most)| {
        let width = column.width.min(most);
        Column {
            width,
            ..column.clone()
        }
    });
    narrowed.collect()
}

fn length(text: &str) -> usize {
    text.chars().count()
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
        for text in lines(columns, &titles, style, |column| column.title_align) {
            let start = out.len();
            line(out, &text);
            if style.is_bold {
                let title = out.split_off(start);
                out.push_str(&format!("{BOLD}{}{PLAIN}\n", title.trim_end()));
            }
        }
    }
}

/// Dashes as wide as each column.
fn write_rule(out: &mut String, columns: &[Column]) {
    let dashes: Vec<String> = columns
        .iter()
        .map(|column| "-".repeat(column.width))
        .collect();
    for text in lines(columns, &dashes, Style::default(), |column| column.align) {
        line(out, &text);
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

/// Cells line by line; a line that no column stands on ends the row. A name or path at the end of a line is cut to
/// the terminal, a number never.
fn lines(
    columns: &[Column],
    texts: &[String],
    style: Style,
    align: fn(&Column) -> Align,
) -> Vec<String> {
    let mut lines = Vec::new();
    for number in 0.. {
        let cells = columns
            .iter()
            .zip(texts)
            .filter(|(column, _)| column.line == number && !column.hidden);
        let mut padded: Vec<String> = cells
            .map(|(column, text)| pad(align(column), column.width, text))
            .collect();
        let Some(last) = padded.pop() else {
            break;
        };
        let before: usize = padded.iter().map(|text| length(text) + 1).sum();
        let room = style.width.map(|width| width.saturating_sub(before));
        padded.push(cut(last, room));
        lines.push(padded.join(" "));
    }
    lines
}

/// Shorter texts are not worth to be cut.
const CUT_MIN: usize = 8;

/// A name as far as there is room: of a path the end, of others the beginning.
fn cut(text: String, room: Option<usize>) -> String {
    let kept = text.trim_end();
    let is_name = kept.contains(|c: char| !c.is_ascii_hexdigit());
    let room = room.filter(|&room| room >= CUT_MIN && is_name && length(kept) > room);
    let Some(room) = room else {
        return text;
    };
    if kept.starts_with('/') {
        let skipped = length(kept) - (room - 1);
        return format!("…{}", kept.chars().skip(skipped).collect::<String>());
    }
    kept.chars().take(room - 1).collect::<String>() + "…"
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

    fn written(width: usize, cells: [&str; 3]) -> String {
        let columns = vec![
            Column::left("a", "A", 12),
            Column::right("b", "B", 6),
            Column::left("c", "C", 0),
        ];
        let mut table = Table::new("t", columns);
        table.push(cells.map(Cell::text).to_vec());
        let mut out = String::new();
        let style = Style {
            is_bold: false,
            width: Some(width),
        };
        write_table(&mut out, &table, true, style);
        out
    }

    #[test]
    fn rows_fit_a_terminal() {
        assert_eq!(
            written(40, ["x", "1", "a name"]),
            "A                 B C\nx                 1 a name\n"
        );
        assert_eq!(written(20, ["x", "1", "a name"]), "A B C\nx 1 a name\n");
        assert_eq!(
            written(14, ["x", "1", "a_long_name_of_it"]),
            "A B C\nx 1 a_long_na…\n"
        );
        assert_eq!(
            written(14, ["x", "1", "/usr/lib/libc.so"]),
            "A B C\nx 1 …b/libc.so\n"
        );
        let number = "0123456789abcdef0123";
        assert!(written(14, ["x", "1", number]).ends_with(&format!("{number}\n")));
    }

    #[test]
    fn headers_may_be_bold() {
        let mut table = Table::new("t", vec![Column::left("a", "A", 4)]);
        table.push(vec![Cell::text("x")]);
        let mut out = String::new();
        let style = Style {
            is_bold: true,
            width: None,
        };
        write_table(&mut out, &table, true, style);
        assert_eq!(out, "\x1b[1mA\x1b[0m\nx\n");
    }
}
