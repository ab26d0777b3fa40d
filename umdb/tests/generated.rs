//! What is made from the tables of commands and walkers and lies in `docs/`: reference, man page, completions.
//!
//! `UMDB_DOCS=rewrite cargo test -p umdb --test generated` writes it anew; without that the test says what is stale.

use std::{env, fs, path::PathBuf};

use clap_complete::{Shell, generate};
use umdb::{
    dcmds::{
        DCMDS, Dcmd, Group, fields,
        page::{Body, page},
    },
    front::command_line,
    lang::{DEFAULT_RADIX, Parser},
    walkers::{Start, WALKERS},
};

/// Says in each file where it comes from.
const MADE: &str =
    "Made from the tables of umdb by `UMDB_DOCS=rewrite cargo test -p umdb --test generated`.";

#[test]
fn what_is_made_from_the_tables_is_as_they_are() {
    let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let rewrites = env::var_os("UMDB_DOCS").is_some_and(|value| value == "rewrite");
    let mut stale = Vec::new();
    for (name, text) in files() {
        let path = docs.join(name);
        if fs::read_to_string(&path).is_ok_and(|kept| kept == text) {
            continue;
        }
        if rewrites {
            let folder = path.parent().expect("it lies in a folder");
            fs::create_dir_all(folder).expect("a folder can be made");
            fs::write(&path, text).expect("a file can be written");
        } else {
            stale.push(name);
        }
    }
    assert!(stale.is_empty(), "stale: {stale:?}. {MADE}");
}

fn files() -> Vec<(&'static str, String)> {
    let completion = |shell| {
        let mut bytes = Vec::new();
        generate(shell, &mut command_line(), "umdb", &mut bytes);
        String::from_utf8(bytes).expect("completions are text")
    };
    vec![
        ("reference/dcmds.md", dcmds()),
        ("reference/walkers.md", walkers()),
        ("reference/json-fields.md", json_fields()),
        ("man/umdb.1", man()),
        ("man/umdb-run.1", man_of("run")),
        ("man/umdb-snapshot.1", man_of("snapshot")),
        ("man/umdb-diff.1", man_of("diff")),
        ("completions/umdb.bash", completion(Shell::Bash)),
        ("completions/_umdb", completion(Shell::Zsh)),
        ("completions/umdb.fish", completion(Shell::Fish)),
    ]
}

fn groups() -> Vec<Group> {
    let mut groups: Vec<Group> = DCMDS.iter().map(|dcmd| dcmd.group).collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

fn of(group: Group) -> impl Iterator<Item = &'static Dcmd> {
    DCMDS
        .iter()
        .copied()
        .filter(move |dcmd| dcmd.group == group)
}

fn dcmds() -> String {
    let mut text = format!("<!-- {MADE} -->\n# Commands of umdb\n");
    for group in groups() {
        text += &format!("\n**{}**\n\n", group.title());
        for dcmd in of(group) {
            text += &format!("- [`::{0}`](#{0}) – {1}\n", dcmd.name, dcmd.summary);
        }
    }
    for dcmd in DCMDS {
        let summary = capital(dcmd.summary);
        text += &format!("\n## {}\n\n{summary}.\n\n    {}\n", dcmd.name, dcmd.usage());
        for section in page(dcmd).into_iter().skip(2) {
            if section.title != "DESCRIPTION" {
                text += &format!("\n{}:\n", capital(&section.title.to_lowercase()));
            }
            text += &match section.body {
                Body::Text(body) => format!("\n{body}\n"),
                Body::Terms(terms) => {
                    let items = terms
                        .iter()
                        .map(|(term, meaning)| format!("- `{term}` – {meaning}\n"));
                    format!("\n{}", items.collect::<String>())
                }
            };
        }
    }
    text
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

fn start(start: Start) -> String {
    match start {
        Start::Nothing => String::new(),
        Start::Optional(what) => format!("[{what}]"),
        Start::Required(what) => what.to_owned(),
    }
}

/// What each command answers in JSON.
fn json_fields() -> String {
    let mut text = format!(
        "<!-- {MADE} -->\n# Fields of JSON\n\nWhat the parts of each answer hold, for [json.md](../json.md). Any field may \
         be null, and fields may be added. Addresses that a command hands on and no other takes are the part \
         `{}`; what stands in a group is listed as if it stood alone. `x of the total` is what stands \
         below a table. Commands that are not listed show nothing of their own.\n",
        fields::ADDRESSES_LEFT.name
    );
    for dcmd in DCMDS {
        let sections = fields::answers(dcmd.name);
        if sections.is_empty() {
            continue;
        }
        text += &format!("\n## ::{}\n", dcmd.name);
        for section in sections {
            text += &format!("\n{} `{}`", section.kind, section.name);
            if section.fields.is_empty() {
                text += ": no fields but those of every such part.\n";
                continue;
            }
            text += "\n\n| field | value | what it is |\n|---|---|---|\n";
            for field in section.fields {
                let (holds, meaning) = (field.holds.text(), field.meaning);
                let name = match field.name.strip_prefix("total.") {
                    Some(name) => format!("`{name}` of the total"),
                    None => format!("`{}`", field.name),
                };
                text += &format!("| {name} | {holds} | {meaning} |\n");
            }
        }
    }
    text
}

fn walkers() -> String {
    let mut text = format!(
        "<!-- {MADE} -->\n# Walkers of umdb\n\n\
         `::walk NAME` gives the addresses of a walker; `ADDRESS::walk NAME` begins at an address. Beside these the name\n\
         of each cache is a walker of its allocated buffers.\n\n\
         | walker | begins at | gives | what it walks |\n|---|---|---|---|\n"
    );
    for walker in WALKERS {
        text += &format!(
            "| `{}` | {} | {} | {} |\n",
            walker.name,
            start(walker.start),
            walker.yields,
            walker.summary
        );
    }
    text
}

/// The page of clap, then the commands and walkers.
fn man() -> String {
    let command = command_line().after_long_help(None::<&str>);
    let mut bytes = Vec::new();
    clap_mangen::Man::new(command)
        .manual("User Commands")
        .render(&mut bytes)
        .expect("a page can be written to memory");
    let mut text = String::from_utf8(bytes).expect("a page is text");
    text += ".SH COMMANDS\n";
    for group in groups() {
        text += &format!(".SS {}\n", roff(group.title()));
        for dcmd in of(group) {
            text += &format!(".TP\n.B {}\n{}\n", roff(&dcmd.usage()), roff(dcmd.summary));
            for option in dcmd.options {
                let value = option
                    .value
                    .map_or(String::new(), |value| format!(" {value}"));
                let line = format!("-{}{value}  {}", option.letter, option.summary);
                text += &format!(".br\n{}\n", roff(&line));
            }
        }
    }
    text += ".SH WALKERS\n";
    for walker in WALKERS {
        let typed = format!("{}::walk {}", start(walker.start), walker.name);
        text += &format!(".TP\n.B {}\n{}\n", roff(&typed), roff(walker.summary));
    }
    text + ".SH FILES\n.TP\n.B ~/.umdbrc\nCommands that are run when a session begins, unless \\-S is given.\n\
            .TP\n.B ~/.umdb_history\nLines that were typed.\n\
            .SH ENVIRONMENT\nPAGER, SHELL, HISTSIZE, NO_COLOR, HOME, UMDB_SUPPRESSIONS.\n"
}

/// The page of `umdb run` and its kin.
fn man_of(name: &str) -> String {
    let mut command = command_line();
    command.build();
    let found = command.find_subcommand(name).expect("it is in the table");
    let page = format!("umdb-{name}");
    let mut bytes = Vec::new();
    clap_mangen::Man::new(found.clone().display_name(page.clone()))
        .title(page)
        .source("umdb")
        .manual("User Commands")
        .render(&mut bytes)
        .expect("a page can be written to memory");
    String::from_utf8(bytes).expect("a page is text")
}

/// Text whose signs mean nothing to roff.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) {
        format!("\\&{text}")
    } else {
        text
    }
}

/// Every page has the example that help promises, and every line of an example is a command.
#[test]
fn examples_stand_in_pages() {
    for dcmd in DCMDS {
        let lines = dcmd.help.lines();
        let examples = lines.filter_map(|line| line.strip_prefix("    > "));
        assert!(examples.clone().count() > 0, "{}", dcmd.name);
        for example in examples {
            let mut parser = Parser::new(example);
            while let Some(command) = parser.next(DEFAULT_RADIX) {
                assert!(command.is_ok(), "{}: {example}: {command:?}", dcmd.name);
            }
        }
    }
}
