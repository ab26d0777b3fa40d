//! `::set`: the settings of the session.

use std::{cell::Cell, path::Path};

use super::{Context, Dcmd, Error, Format, Group, Invocation, Opt, Run, Shorthand, State};
use crate::report::{self, Column, Report, Table};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "set",
    group: Group::Session,
    options: &[
        Opt::value('o', "option", "switch an option on"),
        Opt::value(
            'x',
            "file",
            "::findleaks also leaves out the leaks that this file names; - forgets all files",
        ),
        Opt::value('P', "prompt", "what stands before each line that is typed"),
    ],
    operands: "[+o option] ...",
    summary: "show or change the settings of the session",
    help: HELP,
    columns: &[
        ("NAME", "what is typed behind -o"),
        ("VALUE", "its value now"),
        ("SUMMARY", "what it does"),
    ],
    see: &["radix", "log"],
    shorthands: &[Shorthand {
        name: "$P",
        words: &["-P"],
    }],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Without words it lists the settings. -o name switches one on, +o name off; several
may stand together with commas between. umdb takes the same options.

    > ::set -o json

With json each command answers with one JSON object on a line, with csv its tables
are comma-separated values. With -x ::findleaks leaves out known leaks (see there for
what stands in the file).";

/// A setting.
struct Setting {
    name: &'static str,
    summary: &'static str,
    what: What,
}

/// What a setting switches.
enum What {
    Switch(fn(&State) -> &Cell<bool>),
    Format(Format),
}

/// All settings, in the order of the alphabet.
const SETTINGS: [Setting; 6] = [
    Setting {
        name: "autowrap",
        summary: "long rows of tables go on in the next line of a terminal",
        what: What::Switch(|state| &state.wraps),
    },
    Setting {
        name: "csv",
        summary: "tables are comma-separated values",
        what: What::Format(Format::Csv),
    },
    Setting {
        name: "ignoreeof",
        summary: "the end of input (Ctrl-D) does not end the session",
        what: What::Switch(|state| &state.ignores_end),
    },
    Setting {
        name: "json",
        summary: "each answer is a JSON object",
        what: What::Format(Format::Json),
    },
    Setting {
        name: "pager",
        summary: "long answers are shown page by page on a terminal",
        what: What::Switch(|state| &state.pager),
    },
    Setting {
        name: "repeatlast",
        summary: "an empty line repeats the last command",
        what: What::Switch(|state| &state.repeats),
    },
];

impl Setting {
    fn is_on(&self, state: &State) -> bool {
        match self.what {
            What::Switch(switch) => switch(state).get(),
            What::Format(format) => state.format.get() == format,
        }
    }

    fn set(&self, state: &State, on: bool) {
        match self.what {
            What::Switch(switch) => switch(state).set(on),
            What::Format(format) if on => state.format.set(format),
            What::Format(_) => state.format.set(Format::default()),
        }
    }
}

/// Options of mdb that mean nothing here and may stand in an old file.
const IGNORED: [&str; 8] = [
    "adb",
    "follow_fork_mode",
    "noctf",
    "nomods",
    "nostop",
    "showlmid",
    "term",
    "write_readback",
];

/// Switches settings: names with commas between.
///
/// # Errors
/// For a name that is none, in one line.
pub fn switch(state: &State, names: &str, on: bool) -> Result<(), String> {
    for name in names.split(',') {
        let bare = name.split('=').next().unwrap_or(name);
        match SETTINGS.iter().find(|setting| setting.name == name) {
            Some(setting) => setting.set(state, on),
            None if IGNORED.contains(&bare) => {}
            None => return Err(format!("invalid debugger option -- {name}")),
        }
    }
    Ok(())
}

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    if invocation.operands.is_empty() && invocation.values.is_empty() {
        return Ok(list(cx.state()));
    }
    for (letter, value) in &invocation.values {
        match letter {
            'x' => suppress(cx.state(), value)?,
            'P' => *cx.state().prompt.borrow_mut() = value.clone(),
            _ => switch(cx.state(), value, true).map_err(|what| DCMD.misused(what))?,
        }
    }
    let mut words = invocation.operands.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let on = word.starts_with('-');
        let Some(joined) = word.strip_prefix("-o").or_else(|| word.strip_prefix("+o")) else {
            return Err(DCMD.misused(format!("expected -o or +o, not \"{word}\"")));
        };
        let names = if joined.is_empty() {
            words.next()
        } else {
            Some(joined)
        };
        let Some(names) = names else {
            return Err(DCMD.misused("option requires an argument -- o"));
        };
        switch(cx.state(), names, on).map_err(|what| DCMD.misused(what))?;
    }
    Ok(Report::default())
}

/// Adds a file of suppressions; `-` forgets all.
fn suppress(state: &State, file: &str) -> Result<(), Error> {
    let mut suppressions = state.suppressions.borrow_mut();
    if file == "-" {
        suppressions.rules.clear();
        return Ok(());
    }
    suppressions
        .add_file(Path::new(file))
        .map_err(|refused| Error::failed(format!("set: {refused}")))
}

fn list(state: &State) -> Report {
    let mut table = Table::new(
        "settings",
        vec![
            Column::left("name", "NAME", 12),
            Column::left("value", "VALUE", 6),
            Column::left("summary", "SUMMARY", 0),
        ],
    );
    for setting in &SETTINGS {
        let value = if setting.is_on(state) { "on" } else { "off" };
        table.push(vec![
            report::Cell::text(setting.name),
            report::Cell::text(value),
            report::Cell::text(setting.summary),
        ]);
    }
    let mut report = Report::default();
    report.push(table);
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_switched_by_name() {
        let state = State::default();
        switch(&state, "json,repeatlast", true).unwrap();
        assert_eq!(state.format.get(), Format::Json);
        assert!(state.repeats.get());
        switch(&state, "json", false).unwrap();
        assert_eq!(state.format.get(), Format::Text);
        switch(&state, "nostop", true).unwrap();
        assert!(switch(&state, "nothing", true).is_err());
        assert!(SETTINGS.is_sorted_by_key(|setting| setting.name));
    }
}
