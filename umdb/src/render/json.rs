//! JSON: one object a report. `docs/json.md` says what each field means.

use serde_json::{Map, Value, json};

use super::text::sentence_text;
use crate::report::{
    Cell, Column, DumpRow, Frame, List, Piece, Report, Row, Section, Sentence, Stack, Table,
};

/// The name of the schema.
const SCHEMA: &str = "umdb-report/1";

/// A report as JSON; `command` is the command as typed.
#[must_use]
pub fn to_json(command: &str, report: &Report) -> Value {
    json!({
        "schema": SCHEMA,
        "command": command,
        "status": report.status.name(),
        "sections": report.sections.iter().map(section).collect::<Vec<_>>(),
        "warnings": report.warnings.iter().map(|warning| json!({
            "message": warning.what,
            "hint": warning.hint,
        })).collect::<Vec<_>>(),
    })
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
        let mut map = Map::new();
        map.insert(total.key.to_owned(), total.count.into());
        map.extend(sentence_map(&total.rest));
        value["total"] = Value::Object(map);
    }
    value
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
    let items: Vec<Value> = list
        .items
        .iter()
        .map(|item| {
            let mut map = Map::new();
            map.insert("text".to_owned(), sentence_text(&item.sentence).into());
            map.extend(sentence_map(&item.sentence));
            add_stacks(&mut map, &item.stacks);
            Value::Object(map)
        })
        .collect();
    json!({"kind": "list", "name": list.key, "items": items})
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
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Status;

    #[test]
    fn addresses_are_strings_and_numbers_are_numbers() {
        let mut table = Table::new("t", vec![Column::left("at", "AT", 4), Column::hidden("n")]);
        table.push(vec![Cell::Address(0x7f00), Cell::Count(3)]);
        let report = Report {
            sections: vec![table.into()],
            status: Status::Found,
            ..Report::default()
        };
        let value = to_json("::x", &report);
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
