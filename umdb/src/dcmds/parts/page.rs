//! The page of a command: what `::help NAME`, the man page and the reference show, all from its descriptor.

use std::fmt::Write;

use super::args::{Address, Dcmd, Run};

/// A section of a page: its title and its lines.
pub struct Section {
    /// In capital letters.
    pub title: &'static str,
    /// What it says.
    pub body: Body,
}

/// What a section says.
pub enum Body {
    /// Lines as they are; those that begin with four blanks are examples.
    Text(String),
    /// Terms and what they mean.
    Terms(Vec<(String, String)>),
}

/// The sections of the page of a command, in the order of mdb.
#[must_use]
pub fn page(dcmd: &Dcmd) -> Vec<Section> {
    let mut sections = vec![
        text("NAME", format!("{} - {}", dcmd.name, dcmd.summary)),
        text("SYNOPSIS", dcmd.usage()),
        text("DESCRIPTION", dcmd.help.to_owned()),
    ];
    let options = dcmd.options.iter().map(|option| {
        let typed = option.value.map_or(format!("-{}", option.letter), |value| {
            format!("-{} {value}", option.letter)
        });
        (typed, option.summary.to_owned())
    });
    terms(&mut sections, "OPTIONS", options.collect());
    let columns = dcmd.columns.iter();
    let columns = columns.map(|(title, meaning)| ((*title).to_owned(), (*meaning).to_owned()));
    terms(&mut sections, "COLUMNS", columns.collect());
    if let Some(body) = pipes(dcmd) {
        sections.push(text("PIPES", body));
    }
    let shorthands = dcmd.shorthands.iter().map(|shorthand| {
        let words = shorthand.words.iter().map(|word| format!(" {word}"));
        let typed = format!("::{}{}", dcmd.name, words.collect::<String>());
        (shorthand.name.to_owned(), typed)
    });
    terms(&mut sections, "OLDER NAMES", shorthands.collect());
    if !dcmd.see.is_empty() {
        let names: Vec<String> = dcmd.see.iter().map(|name| format!("::{name}")).collect();
        sections.push(text("SEE ALSO", names.join(", ")));
    }
    sections
}

fn text(title: &'static str, body: String) -> Section {
    Section {
        title,
        body: Body::Text(body),
    }
}

fn terms(sections: &mut Vec<Section>, title: &'static str, terms: Vec<(String, String)>) {
    if !terms.is_empty() {
        sections.push(Section {
            title,
            body: Body::Terms(terms),
        });
    }
}

/// What it does with a pipe before and behind it.
fn pipes(dcmd: &Dcmd) -> Option<String> {
    let takes = match (dcmd.address, &dcmd.run) {
        (Address::Forbidden, _) => None,
        (_, Run::Filter(_)) => Some("It takes all addresses of a pipe.".to_owned()),
        _ => Some(format!(
            "Behind a pipe it is run for each address ({}).",
            dcmd.address_name
        )),
    };
    let gives = dcmd
        .pipes
        .map(|what| format!("Before a pipe it hands on {what}."));
    let both: Vec<String> = takes.into_iter().chain(gives).collect();
    (!both.is_empty()).then(|| both.join("\n"))
}

/// What mdb says of each command at the end of its page: the same of all of ours.
const ATTRIBUTES: [(&str, &str); 3] = [
    ("Target", "process or core"),
    ("Module", "umdb"),
    (
        "Interface Stability",
        "evolving; JSON by the number of its schema",
    ),
];

/// A page as `::help` shows it.
#[must_use]
pub fn page_text(dcmd: &Dcmd) -> String {
    let mut out = String::new();
    let mut sections = page(dcmd);
    let attributes = ATTRIBUTES.map(|(name, value)| (name.to_owned(), value.to_owned()));
    terms(&mut sections, "ATTRIBUTES", attributes.to_vec());
    for (index, section) in sections.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        let _ = writeln!(out, "{}", section.title);
        match &section.body {
            Body::Text(text) => {
                for line in text.lines() {
                    out.push_str(format!("  {line}").trim_end());
                    out.push('\n');
                }
            }
            Body::Terms(terms) => {
                let widest = terms.iter().map(|(term, _)| term.chars().count()).max();
                let width = widest.unwrap_or(0).clamp(10, 16);
                for (term, meaning) in terms {
                    let _ = writeln!(out, "  {term:<width$} {meaning}");
                }
            }
        }
    }
    out
}
