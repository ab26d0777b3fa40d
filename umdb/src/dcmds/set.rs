//! `::set`: the settings of the session.

use super::{Context, Dcmd, Error, Format, Group, Invocation, Opt, Run, State};
use crate::report::{Cell, Column, Report, Table};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "set",
    group: Group::Session,
    options: &[Opt::value('o', "option", "switch an option on")],
    operands: "[+o option] ...",
    summary: "show or change the settings of the session",
    help: HELP,
    columns: &[
        ("NAME", "what is typed behind -o"),
        ("VALUE", "its value now"),
        ("SUMMARY", "what it does"),
    ],
    see: &["radix", "log"],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Without words it lists the settings. -o name switches one on, +o name off; several
may stand together with commas between. umdb takes the same options.

    > ::set -o json

With json each command answers with one JSON object on a line, with csv its tables
are comma-separated values.";

/// A setting.
struct Setting {
    name: &'static str,
    summary: &'static str,
    get: fn(&State) -> bool,
    set: fn(&State, bool),
}

/// All settings, in the order of the alphabet.
const SETTINGS: [Setting; 6] = [
    Setting {
        name: "autowrap",
        summary: "long rows of tables go on in the next line of a terminal",
        get: |state| state.wraps.get(),
        set: |state, on| state.wraps.set(on),
    },
    Setting {
        name: "csv",
        summary: "tables are comma-separated values",
        get: |state| state.format.get() == Format::Csv,
        set: |state, on| set_format(state, Format::Csv, on),
    },
    Setting {
        name: "ignoreeof",
        summary: "the end of input (Ctrl-D) does not end the session",
        get: |state| state.ignores_end.get(),
        set: |state, on| state.ignores_end.set(on),
    },
    Setting {
        name: "json",
        summary: "each answer is a JSON object",
        get: |state| state.format.get() == Format::Json,
        set: |state, on| set_format(state, Format::Json, on),
    },
    Setting {
        name: "pager",
        summary: "long answers are shown page by page on a terminal",
        get: |state| state.pager.get(),
        set: |state, on| state.pager.set(on),
    },
    Setting {
        name: "repeatlast",
        summary: "an empty line repeats the last command",
        get: |state| state.repeats.get(),
        set: |state, on| state.repeats.set(on),
    },
];

fn set_format(state: &State, format: Format, on: bool) {
    state
        .format
        .set(if on { format } else { Format::default() });
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
            Some(setting) => (setting.set)(state, on),
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
    for (_, names) in &invocation.values {
        switch(cx.state(), names, true).map_err(|what| DCMD.misused(what))?;
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
        let value = if (setting.get)(state) { "on" } else { "off" };
        table.push(vec![
            Cell::text(setting.name),
            Cell::text(value),
            Cell::text(setting.summary),
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
