//! JSON: one object a report. `docs/json.md` says what each field means.

use serde_json::{Map, Value, json};

use super::text::sentence_text;
use crate::report::{
    Cell, Column, DumpRow, Frame, Item, List, Piece, Report, Row, Section, Sentence, Stack, Status,
    Table, Total, Warning,
};

/// The name of the schema.
const SCHEMA: &str = "umdb-report/1";

/// Writes the reports of one command as one object, piece by piece: rows go out as they come.
#[derive(Debug, Default)]
pub struct JsonWriter {
    has_begun: bool,
    /// A section stands before the next one.
    has_section: bool,
    /// The section that the next report may go on with, without its rows or items.
    open: Option<Section>,
    /// A row or item stands before the next one.
    has_row: bool,
}

impl JsonWriter {
    /// The next report; `command` is the command as typed. Status and warnings come at the end.
    #[must_use]
    pub fn write(&mut self, command: &str, report: &Report) -> String {
        let mut out = String::new();
        self.begin(command, &mut out);
        for next in &report.sections {
            if !self.open.as_ref().is_some_and(|open| open.continues(next)) {
                self.close(&mut out);
                if std::mem::replace(&mut self.has_section, true) {
                    out.push(',');
                }
                self.open_section(next, &mut out);
            }
            self.rows(next, &mut out);
        }
        out
    }

    /// Whether something of the object was written.
    #[must_use]
    pub const fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// The end of the object.
    #[must_use]
    pub fn finish(mut self, command: &str, status: Status, warnings: &[Warning]) -> String {
        let mut out = String::new();
        self.begin(command, &mut out);
        self.close(&mut out);
        let warnings: Vec<Value> = warnings
            .iter()
            .map(|warning| json!({"message": warning.what, "hint": warning.hint}))
            .collect();
        let (status, warnings) = (json!(status.name()), Value::Array(warnings));
        out += &format!("],\"status\":{status},\"warnings\":{warnings}}}\n");
        out
    }

    fn begin(&mut self, command: &str, out: &mut String) {
        if !std::mem::replace(&mut self.has_begun, true) {
            let (schema, command) = (json!(SCHEMA), json!(command));
            *out += &format!("{{\"schema\":{schema},\"command\":{command},\"sections\":[");
        }
    }

    /// Begins a section; one that nothing can be added to is written as a whole.
    fn open_section(&mut self, next: &Section, out: &mut String) {
        let (kind, name, rows) = match next {
            Section::Table(table) => ("table", table.key, "rows"),
            Section::List(list) => ("list", list.key, "items"),
            other => return out.push_str(&section(other).to_string()),
        };
        let (kind, name) = (json!(kind), json!(name));
        *out += &format!("{{\"kind\":{kind},\"name\":{name},\"{rows}\":[");
        self.open = Some(next.without_rows());
        self.has_row = false;
    }

    fn rows(&mut self, next: &Section, out: &mut String) {
        match next {
            Section::Table(table) => {
                for row_ in &table.rows {
                    self.row(&row(&table.columns, row_), out);
                }
            }
            Section::List(list) => {
                for item_ in &list.items {
                    self.row(&item(item_), out);
                }
            }
            _ => {}
        }
    }

    fn row(&mut self, row: &Value, out: &mut String) {
        if std::mem::replace(&mut self.has_row, true) {
            out.push(',');
        }
        *out += &row.to_string();
    }

    fn close(&mut self, out: &mut String) {
        let total = match self.open.take() {
            None => return,
            Some(Section::Table(table)) => table.total,
            Some(_) => None,
        };
        out.push(']');
        if let Some(total) = total {
            *out += &format!(",\"total\":{}", total_value(&total));
        }
        out.push('}');
    }
}

fn section(section_: &Section) -> Value {
    match section_ {
        Section::Table(table_) => table(table_),
        Section::List(list_) => list(list_),
        Section::Fields(fields) => {
            let map: Map<String, Value> = fields
                .fields
                .iter()
                .map(|field| (key_of(field.label), field_value(&field.value)))
                .collect();
            json!({"kind": "fields", "name": fields.key, "fields": map})
        }
        Section::Dump(dump) => json!({
            "kind": "dump",
            "name": dump.key,
            "rows": dump.rows.iter().map(dump_row).collect::<Vec<_>>(),
        }),
        Section::Text(text) => json!({"kind": "text", "name": text.key, "text": text.body}),
        Section::Group(group) => json!({
            "kind": "group",
            "name": group.key,
            "sections": group.sections.iter().map(section).collect::<Vec<_>>(),
        }),
    }
}

/// Bytes that are not shown are two question marks.
fn dump_row(row: &DumpRow) -> Value {
    let bytes: String = row
        .bytes
        .iter()
        .map(|byte| byte.map_or("??".to_owned(), |byte| format!("{byte:02x}")))
        .collect();
    json!({"address": hex(row.address), "bytes": bytes, "repeated": row.repeated})
}

/// The label of a field as a name: small letters, `_` for blanks.
fn key_of(label: &str) -> String {
    label.to_lowercase().replace(' ', "_")
}

/// The values of a field, or its text when it has none.
fn field_value(value: &Sentence) -> Value {
    let map = sentence_map(value);
    if map.is_empty() {
        Value::String(sentence_text(value))
    } else {
        Value::Object(map)
    }
}

fn table(table: &Table) -> Value {
    let mut value = json!({
        "kind": "table",
        "name": table.key,
        "rows": table.rows.iter().map(|row_| row(&table.columns, row_)).collect::<Vec<_>>(),
    });
    if let Some(total) = &table.total {
        value["total"] = total_value(total);
    }
    value
}

fn total_value(total: &Total) -> Value {
    let mut map = Map::new();
    map.insert(total.key.to_owned(), total.count.into());
    map.extend(sentence_map(&total.rest));
    Value::Object(map)
}

fn row(columns: &[Column], row: &Row) -> Value {
    let mut map: Map<String, Value> = columns
        .iter()
        .zip(&row.cells)
        .map(|(column, value)| (column.key.to_owned(), cell(value)))
        .collect();
    add_stacks(&mut map, &row.stacks);
    Value::Object(map)
}

fn list(list: &List) -> Value {
    let items: Vec<Value> = list.items.iter().map(item).collect();
    json!({"kind": "list", "name": list.key, "items": items})
}

fn item(item: &Item) -> Value {
    let mut map = Map::new();
    map.insert("text".to_owned(), sentence_text(&item.sentence).into());
    map.extend(sentence_map(&item.sentence));
    add_stacks(&mut map, &item.stacks);
    Value::Object(map)
}

/// The values of a sentence by name; where a name comes again, the first counts.
fn sentence_map(sentence: &Sentence) -> Map<String, Value> {
    let mut map = Map::new();
    for piece in &sentence.0 {
        if let Piece::Value {
            key, cell: value, ..
        } = piece
        {
            map.entry(*key).or_insert_with(|| cell(value));
        }
    }
    map
}

fn add_stacks(map: &mut Map<String, Value>, stacks: &[Stack]) {
    if stacks.is_empty() {
        return;
    }
    let stacks: Map<String, Value> = stacks
        .iter()
        .map(|stack| {
            let frames: Vec<Value> = stack.frames.iter().map(frame).collect();
            (
                stack.key.to_owned(),
                json!({"frames": frames, "cut": stack.cut}),
            )
        })
        .collect();
    map.insert("stacks".to_owned(), Value::Object(stacks));
}

fn hex(value: u64) -> Value {
    Value::String(format!("{value:#x}"))
}

fn cell(value: &Cell) -> Value {
    match value {
        Cell::Empty | Cell::Unknown => Value::Null,
        Cell::Address(value) | Cell::Value(value) => hex(*value),
        Cell::Bytes(value)
        | Cell::Count(value)
        | Cell::Number(value)
        | Cell::Time(value)
        | Cell::Ago(value)
        | Cell::Duration(value)
        | Cell::Scaled(value) => (*value).into(),
        Cell::Percent(tenths) => (*tenths as f64 / 10.0).into(),
        Cell::Bar(part, whole) => (*part as f64 / (*whole).max(1) as f64).into(),
        Cell::Nested { name, .. } => name.as_str().into(),
        Cell::Signed(value) => (*value).into(),
        Cell::ByteRange(least, most) => json!([least, most]),
        Cell::Symbol(value) | Cell::Frame(value) => frame(value),
        Cell::List(values) => values.iter().map(cell).collect(),
        Cell::Flags { bits, .. } => (*bits).into(),
        Cell::Memory(bytes) => bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
            .into(),
        Cell::Text(text) => text.as_str().into(),
    }
}

fn frame(frame: &Frame) -> Value {
    json!({
        "address": hex(frame.address),
        "object": frame.object,
        "symbol": frame.symbol,
        "offset": frame.offset,
        "file": frame.file,
        "line": frame.line,
        "inlined": frame.inlined,
        "guessed": frame.guessed,
        "unloaded": frame.unloaded,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Group;

    /// What is written piece by piece is what the pieces make together.
    #[test]
    fn pieces_make_one_object() {
        let table = |key, rows: std::ops::Range<u64>| {
            let mut table = Table::new(key, vec![Column::left("at", "AT", 4)]);
            rows.for_each(|row| table.push(vec![Cell::Count(row)]));
            table
        };
        let said = |words: &str| List::one("said", Sentence::new().words(words));
        let mut last = table("b", 0..1);
        last.total = Some(Total {
            widths: (1, 1),
            count: 7,
            key: "all",
            rest: Sentence::new(),
        });
        let group = Group {
            key: "both",
            sections: vec![table("c", 0..2).into(), said("x").into()],
        };
        let parts: Vec<Vec<Section>> = vec![
            vec![table("a", 0..0).into()],
            vec![table("a", 0..2).into(), table("a", 2..3).into()],
            vec![table("b", 0..1).into(), said("\"1\"\n").into()],
            vec![],
            vec![said("2").into(), group.into(), said("3").into()],
            vec![
                table("b", 4..5).into(),
                last.into(),
                table("b", 8..9).into(),
            ],
        ];
        let (mut whole, mut writer, mut text) =
            (Report::default(), JsonWriter::default(), String::new());
        for sections in parts {
            let report = Report {
                sections,
                ..Report::default()
            };
            text += &writer.write("::x \"y\"", &report);
            whole.append(report);
        }
        whole.incomplete("gone");
        text += &writer.finish("::x \"y\"", whole.status, &whole.warnings);
        let value: Value = serde_json::from_str(&text).unwrap();
        let sections: Vec<Value> = whole.sections.iter().map(section).collect();
        assert_eq!(value["sections"], Value::Array(sections));
        assert_eq!(value["command"], "::x \"y\"");
        assert_eq!(value["status"], "incomplete");
        assert_eq!(
            value["warnings"],
            json!([{"message": "gone", "hint": null}])
        );
        assert_eq!(text.matches('\n').count(), 1);
        let empty = JsonWriter::default().finish("::y", Status::Clean, &[]);
        let value: Value = serde_json::from_str(&empty).unwrap();
        assert_eq!(value["sections"], json!([]));
    }

    #[test]
    fn addresses_are_strings_and_numbers_are_numbers() {
        let mut table = Table::new("t", vec![Column::left("at", "AT", 4), Column::hidden("n")]);
        table.push(vec![Cell::Address(0x7f00), Cell::Count(3)]);
        let report = Report {
            sections: vec![table.into()],
            status: Status::Found,
            ..Report::default()
        };
        let mut writer = JsonWriter::default();
        let text = writer.write("::x", &report) + &writer.finish("::x", report.status, &[]);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["status"], "found");
        assert_eq!(
            value["sections"][0]["rows"][0],
            json!({"at": "0x7f00", "n": 3})
        );
    }

    #[test]
    fn sentences_give_their_values_by_name() {
        let list = List::one("x", Sentence::new().words("leaked ").bytes("bytes", 50));
        assert_eq!(
            section(&list.into())["items"][0],
            json!({"text": "leaked 50 bytes", "bytes": 50})
        );
    }
}
