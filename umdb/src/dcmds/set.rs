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
    /// A number, or that of the command.
    Limit(fn(&State) -> &Cell<Option<u64>>),
}

/// All settings, in the order of the alphabet.
const SETTINGS: [Setting; 8] = [
    Setting {
        name: "array_mem_limit",
        summary: "elements of an array that ::print shows (=number, decimal, or =none)",
        what: What::Limit(|state| &state.array_limit),
    },
    Setting {
        name: "array_str_limit",
        summary: "bytes of a string that ::print shows (=number, decimal, or =none)",
        what: What::Limit(|state| &state.string_limit),
    },
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
    fn shown(&self, state: &State) -> String {
        let is_on = match self.what {
            What::Switch(switch) => switch(state).get(),
            What::Format(format) => state.format.get() == format,
            What::Limit(limit) => {
                return match limit(state).get() {
                    None => "default".to_owned(),
                    Some(u64::MAX) => "none".to_owned(),
                    Some(number) => number.to_string(),
                };
            }
        };
        if is_on { "on" } else { "off" }.to_owned()
    }

    /// Switches it on or off, or sets its number. None: the value is none.
    fn set(&self, state: &State, on: bool, value: Option<&str>) -> Option<()> {
        match (&self.what, value) {
            (What::Switch(switch), None) => switch(state).set(on),
            (What::Format(format), None) if on => state.format.set(*format),
            (What::Format(_), None) => state.format.set(Format::default()),
            (What::Limit(limit), None) if !on => limit(state).set(None),
            (What::Limit(limit), Some("none")) if on => limit(state).set(Some(u64::MAX)),
            (What::Limit(limit), Some(number)) if on => {
                limit(state).set(Some(number.parse().ok()?));
            }
            _ => return None,
        }
        Some(())
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

/// Switches settings: names with commas between, some with = and a value.
///
/// # Errors
/// For a name that is none and for a value that is none, in one line.
pub fn switch(state: &State, names: &str, on: bool) -> Result<(), String> {
    for name in names.split(',') {
        let (bare, value) = match name.split_once('=') {
            Some((bare, value)) => (bare, Some(value)),
            None => (name, None),
        };
        match SETTINGS.iter().find(|setting| setting.name == bare) {
            Some(setting) if setting.set(state, on, value).is_some() => {}
            None if IGNORED.contains(&bare) => {}
            _ => return Err(format!("invalid debugger option -- {name}")),
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
            Column::left("name", "NAME", 15),
            Column::left("value", "VALUE", 7),
            Column::left("summary", "SUMMARY", 0),
        ],
    );
    for setting in &SETTINGS {
        table.push(vec![
            report::Cell::text(setting.name),
            report::Cell::text(setting.shown(state)),
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
        switch(&state, "array_mem_limit=5,array_str_limit=none", true).unwrap();
        let limits = |state: &State| (state.array_limit.get(), state.string_limit.get());
        assert_eq!(limits(&state), (Some(5), Some(u64::MAX)));
        switch(&state, "array_mem_limit", false).unwrap();
        assert_eq!(limits(&state), (None, Some(u64::MAX)));
        for bad in [
            "array_mem_limit",
            "array_mem_limit=x",
            "json=5",
            "pager=none",
        ] {
            assert!(switch(&state, bad, true).is_err(), "{bad}");
        }
        switch(&state, "nostop", true).unwrap();
        assert!(switch(&state, "nothing", true).is_err());
        assert!(SETTINGS.is_sorted_by_key(|setting| setting.name));
    }
}
