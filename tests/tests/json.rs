//! Answers for machines: every command, answered well or not, is what `docs/umdb-report-1.schema.json` says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use jsonschema::Validator;
use serde_json::Value;
use umem_tests::{
    artifacts::workspace,
    command::Answer,
    cores, need,
    umdb::{Umdb, expect_no_debris},
    victim::{Start, Victim},
};

fn schema() -> Validator {
    let path = workspace().join("docs/umdb-report-1.schema.json");
    let text = fs::read_to_string(&path).expect("the schema can be read");
    let schema = serde_json::from_str(&text).expect("the schema is JSON");
    jsonschema::draft202012::meta::validate(&schema).expect("the schema is one");
    jsonschema::validator_for(&schema).expect("the schema can be used")
}

/// What each command is asked, so that it shows all that it can; `FILE` is a file that does not exist yet, `OLD` a core of the
/// same process.
const ASKED: &[&str] = &[
    "<thread::allocdby",
    "medium::array struct session * 3",
    "umem_alloc_112::walk freectl | ::bufctl -hv",
    "umem_alloc_112::walk bufctl | ::bufctl",
    "umem_alloc_112::walk bufctl | ::bufctl_audit",
    "::walk umem | ::count",
    "::dcmds",
    "::demangle on",
    "::diff -d OLD",
    "main::dis -b",
    "*head,40::dump -s",
    "::echo a b $[1]",
    "*head::eval \"::whatis; .=K\"",
    "::findleaks -dfv",
    "::findleaks -imr",
    "::walk thread | ::findstack -v",
    "::formats",
    "<thread::freedby",
    "::gcore -o FILE",
    "::getenv",
    "::walk umem | ::grep 1 | ::head -3",
    "::help",
    "::help bufctl",
    "*head::list struct session next s",
    "::log FILE; ::log -d; ::log",
    "::walk umem | ::map \".+1\" | ::tail -2",
    "::mappings",
    "::nm known",
    "::objects -v",
    "::offsetof struct session high",
    "*head::path",
    "*head::print -at struct session",
    "::print",
    "::radix",
    "*head::refs",
    "::regs",
    "::retained",
    "::set",
    "::setenv A=b",
    "::unsetenv B; ::setenv",
    "::sizeof Cache",
    "::snapshot",
    "::walk umem | ::sort -ru | ::head -1",
    "::source /dev/null",
    "::stack -p",
    "::status -r",
    "::threads",
    "::typeset a b",
    "*head::ugrep -v",
    "::umalog",
    "::umalog fail",
    "::umalog slab",
    "::umastat",
    "::umausers -ef",
    "::umem_cache",
    "::umem_debug; ::findleaks; ::umem_debug",
    "::umem_log",
    "::umem_malloc_dist",
    "::umem_malloc_dist -d",
    "::umem_malloc_info -g",
    "::umem_status",
    "::umem_verify",
    "umem_alloc_112::umem_verify -v",
    "::unset a",
    "::vars",
    "::vmem",
    "umem_oversize::walk vmem_seg | ::vmem_seg -v",
    "umem_oversize::walk vmem_seg | ::vmem_seg -s",
    "::walk umem_cache",
    "::walkers",
    "*head::whatis -abikv",
    "main,3/Xsia",
    "0t1000=XDEpY\"text\"",
    "0/K",
    "::no_such_command",
    "1::dump -~",
    "5 5",
    "! true",
    "::quit",
];

/// The objects of an answer, one a line, each as the schema says.
fn objects(schema: &Validator, answer: &Answer) -> Vec<Value> {
    expect_no_debris(answer);
    let objects = answer.stdout.lines().map(|line| {
        let value: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("no JSON: {error}: {line}"));
        let wrong: Vec<String> = schema
            .iter_errors(&value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(wrong.is_empty(), "{}\n{wrong:#?}", value["command"]);
        value
    });
    objects.collect()
}

fn ask(umdb: Umdb, schema: &Validator, commands: &[String]) -> Vec<Value> {
    objects(
        schema,
        &umdb.args(["-S", "--json"]).run_with(&commands.join("\n")),
    )
}

fn of_command<'v>(answers: &'v [Value], command: &str) -> &'v Value {
    answers
        .iter()
        .find(|answer| answer["command"] == command)
        .unwrap_or_else(|| panic!("no answer to {command}"))
}

#[test]
fn every_command_answers_as_the_schema_says() {
    let schema = schema();
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let file = folder.path().join("written");
    let logs = "transaction,contents,fail,slab";
    let modes = [("default", logs), ("audit", ""), ("", "")];
    let described = Described::read();
    for (debug, logging) in modes {
        let start = need!(Start::new("known"))
            .env("UMEM_DEBUG", debug)
            .env("UMEM_LOGGING", logging);
        let victim = start.wait_ready();
        let core = cores::saved(&victim);
        let asked: Vec<String> = ASKED
            .iter()
            .map(|line| {
                line.replace("FILE", &file.display().to_string())
                    .replace("OLD", &core.path().display().to_string())
            })
            .collect();
        let answers = ask(Umdb::pid(victim.pid()), &schema, &asked);
        of_command(&answers, "::walkers");
        let of_core = ask(Umdb::core(core.path()), &schema, &asked);
        // ::quit comes last, so that nothing was lost on the way.
        for answers in [&answers, &of_core] {
            let last = answers.last().map(|answer| &answer["command"]);
            assert_eq!(last, Some(&Value::from("::quit")), "{debug}");
            expect_all_commands(answers);
            answers.iter().for_each(|answer| described.check(answer));
        }
    }
}

/// What `docs/reference/json-fields.md` says: the kind of value of each field, by command, part and name.
struct Described(BTreeMap<(String, String, String), String>);

impl Described {
    fn read() -> Self {
        let path = workspace().join("docs/reference/json-fields.md");
        let text = fs::read_to_string(&path).expect("the page can be read");
        let mut fields = BTreeMap::new();
        let (mut command, mut part) = (String::new(), String::new());
        for line in text.lines() {
            let mut ticks = line.split('`');
            match (ticks.next(), ticks.next()) {
                (Some(heading), None) if heading.starts_with("## ::") => {
                    command = heading["## ::".len()..].to_owned();
                }
                (Some("| "), Some(field)) => {
                    let mut cells = line.split('|').skip(1).map(str::trim);
                    let is_of_total = cells
                        .next()
                        .is_some_and(|name| name.ends_with("of the total"));
                    let name = if is_of_total { "total." } else { "" }.to_owned() + field;
                    let holds = cells.next().unwrap_or_default().to_owned();
                    fields.insert((command.clone(), part.clone(), name), holds);
                }
                (Some(kind), Some(name)) if !command.is_empty() => {
                    part = format!("{kind}{name}");
                    let place = (command.clone(), part.clone(), String::new());
                    fields.insert(place, String::new());
                }
                _ => {}
            }
        }
        assert!(fields.len() > 300, "the page was understood");
        Self(fields)
    }

    /// The parts of an answer hold nothing else. Of a pipe the last command answers.
    fn check(&self, answer: &Value) {
        let typed = answer["command"].as_str().expect("a command");
        let last = typed.rsplit('|').next().unwrap_or(typed);
        let command = match last.split_once("::") {
            Some((_, rest)) => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                &rest[..end.unwrap_or(rest.len())]
            }
            None => "formats",
        };
        // It shows what others answer.
        if command != "eval" {
            for section in answer["sections"].as_array().expect("sections") {
                self.check_section(command, section, typed);
            }
        }
    }

    fn check_section(&self, command: &str, section: &Value, typed: &str) {
        let kind = section["kind"].as_str().expect("a kind");
        if kind == "group" {
            for inner in section["sections"].as_array().expect("sections") {
                self.check_section(command, inner, typed);
            }
            return;
        }
        let name = section["name"].as_str().expect("a name");
        let part = format!("{kind} {name}");
        let place = |field: &str| (command.to_owned(), part.clone(), field.to_owned());
        if part == "table addresses" {
            return;
        }
        assert!(
            self.0.contains_key(&place("")),
            "{typed}: {part} is not described"
        );
        let mut found: Vec<(String, &Value)> = Vec::new();
        for rows in [&section["rows"], &section["items"]] {
            let rows = rows
                .as_array()
                .into_iter()
                .flatten()
                .filter(|_| kind != "dump");
            for row in rows.filter_map(Value::as_object) {
                found.extend(row.iter().map(|(name, value)| (name.clone(), value)));
            }
        }
        if let Some(total) = section["total"].as_object() {
            found.extend(
                total
                    .iter()
                    .map(|(name, value)| (format!("total.{name}"), value)),
            );
        }
        for (name, value) in section["fields"].as_object().into_iter().flatten() {
            match value.as_object() {
                Some(inner) => found.extend(
                    inner
                        .iter()
                        .map(|(inner, value)| (format!("{name}.{inner}"), value)),
                ),
                None => found.push((name.clone(), value)),
            }
        }
        for (name, value) in found {
            // What people read, in every list.
            if kind == "list" && name == "text" {
                continue;
            }
            let holds = self.0.get(&place(&name));
            let holds =
                holds.unwrap_or_else(|| panic!("{typed}: {name} of {part} is not described"));
            assert!(
                is_a(holds, value),
                "{typed}: {name} of {part} is no {holds}: {value}"
            );
        }
    }
}

/// Whether a value is what a page says of it.
fn is_a(holds: &str, value: &Value) -> bool {
    let is_hexadecimal = |text: &str| text.starts_with("0x");
    match value {
        Value::Null => true,
        Value::Number(number) => {
            holds.starts_with("number")
                && (holds.contains("signed") || number.as_f64() >= Some(0.0))
        }
        Value::String(_) if holds == "string" => true,
        Value::String(text) => holds.starts_with("string, ") && is_hexadecimal(text),
        Value::Array(_) => holds.starts_with("array"),
        Value::Object(map) if holds.ends_with("symbol") => map.contains_key("symbol"),
        Value::Object(map) => {
            holds.ends_with("stacks") && map.values().all(|stack| stack["frames"].is_array())
        }
        Value::Bool(_) => false,
    }
}

/// Each command of `::dcmds` was asked and stands in an answer.
fn expect_all_commands(answers: &[Value]) {
    let rows = of_command(answers, "::dcmds")["sections"][0]["rows"].clone();
    let names: BTreeSet<String> = rows
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| row["name"].as_str().expect("a name").to_owned())
        .collect();
    assert!(names.len() > 50);
    let typed: Vec<&str> = answers
        .iter()
        .filter_map(|answer| answer["command"].as_str())
        .collect();
    for name in names {
        let verb = format!("::{name}");
        let is_asked = typed.iter().any(|command| {
            let mut behind = command.match_indices(&verb);
            behind.any(|(at, _)| {
                !command[at + verb.len()..].starts_with(|c: char| c == '_' || c.is_alphanumeric())
            })
        });
        assert!(is_asked, "::{name} is not asked by this test");
    }
}

#[test]
fn numbers_are_numbers_and_addresses_strings() {
    let victim = need!(Victim::start("known", &[]));
    let schema = schema();
    let commands = ["umem_alloc_112::umem_cache", "::threads", "*head::whatis"];
    let commands: Vec<String> = commands.iter().map(|&line| line.to_owned()).collect();
    let answers = ask(Umdb::pid(victim.pid()), &schema, &commands);
    let cache = &answers[0]["sections"][0]["rows"][0];
    assert_eq!(cache["buffer_size"], 112);
    assert_eq!(cache["in_use"], 20);
    assert!(
        cache["address"]
            .as_str()
            .is_some_and(|text| text.starts_with("0x"))
    );
    let thread = &answers[1]["sections"][0]["rows"][0];
    assert_eq!(thread["tid"], victim.pid().as_raw());
    assert_eq!(thread["function"]["object"], "libc.so.6");
    let stacks = answers[2].to_string();
    assert!(stacks.contains("\"symbol\":\"make_sessions\""), "{stacks}");
}

/// What could not be had stands in the answer itself.
#[test]
fn partial_answers_say_what_is_missing() {
    let victim = need!(Victim::start("known", &[]));
    let schema = schema();
    let commands = ["::bufctl", "<rsp,ffffffffffff::dump -s", "1 2"].map(str::to_owned);
    let answers = ask(Umdb::pid(victim.pid()), &schema, &commands);
    assert_eq!(answers[1]["status"], "incomplete");
    assert!(
        !answers[1]["sections"][0]["rows"]
            .as_array()
            .expect("rows")
            .is_empty()
    );
    assert!(
        answers[1]["warnings"][0]["message"]
            .as_str()
            .is_some_and(|text| text.contains("failed to read data"))
    );
    assert_eq!(answers[0]["status"], "failed");
    assert!(
        answers[0]["warnings"][0]["hint"]
            .as_str()
            .is_some_and(|text| text.starts_with("Usage: address::bufctl"))
    );
    assert!(
        answers[2]["warnings"][0]["message"]
            .as_str()
            .is_some_and(|text| text.contains("(column 3)"))
    );
}

/// The schema is no empty promise: it refuses what is not as it says.
#[test]
fn the_schema_refuses_what_is_wrong() {
    let schema = schema();
    let good = serde_json::json!({
        "schema": "umdb-report/1", "command": "::x", "status": "clean", "warnings": [],
        "sections": [{"kind": "table", "name": "t", "rows": [{"address": "0x10", "count": 3}]}],
    });
    assert!(schema.is_valid(&good));
    let changes: BTreeMap<&str, Value> = BTreeMap::from([
        ("/schema", "umdb-report/2".into()),
        ("/status", "fine".into()),
        ("/sections/0/kind", "rows".into()),
        ("/sections/0/rows/0/address", 16.into()),
        ("/sections/0/rows/0/count", true.into()),
        ("/sections/0/rows/0", "text".into()),
        ("/warnings", Value::Null),
    ]);
    for (place, wrong) in changes {
        let mut value = good.clone();
        *value.pointer_mut(place).expect("it is there") = wrong;
        assert!(!schema.is_valid(&value), "{place}");
    }
}
