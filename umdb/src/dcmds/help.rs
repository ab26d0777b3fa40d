//! `::help`: what the commands are, and what one does.

use super::{Address, Context, DCMDS, Dcmd, Error, Group, Invocation, Run, find, similar};
use crate::report::{Report, Text};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "help",
    group: Group::Session,
    address: Address::Forbidden,
    options: &[],
    operands: "[command]",
    summary: "list the commands, or say what one does",
    help: HELP,
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Without a name it lists the commands; with one it says how that command is typed
and what it does.

    > ::help findleaks";

const SYNTAX: &str = "\
A command is [address]::name [options]. Addresses are hexadecimal; names of
functions, data and caches can be used, as object`name or name, and computed
with. Commands on one line are separated by ;. // begins a comment, $q quits.
";

fn run(_: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let body = match invocation.operands.as_slice() {
        [] => overview(),
        [name] => {
            let name = name.trim_start_matches("::");
            details(find(name).ok_or_else(|| unknown(name))?)
        }
        [_, other, ..] => {
            return Err(Error::failed(format!(
                "help: unexpected argument \"{other}\""
            )));
        }
    };
    let mut report = Report::default();
    report.push(Text { key: "help", body });
    Ok(report)
}

fn unknown(name: &str) -> Error {
    let what = format!("help: unknown command: {name}");
    let hint = similar(name).map_or("::dcmds lists the commands".to_owned(), |near| {
        format!("did you mean {near}?")
    });
    Error::with_hint(what, hint)
}

fn overview() -> String {
    let mut groups: Vec<Group> = DCMDS.iter().map(|dcmd| dcmd.group).collect();
    groups.sort_unstable();
    groups.dedup();
    let mut text = SYNTAX.to_owned();
    for group in groups {
        text += &format!("\n{}\n", group.title());
        for dcmd in DCMDS.iter().filter(|dcmd| dcmd.group == group) {
            text += &format!("  {:<32} {}\n", dcmd.usage(), dcmd.summary);
        }
    }
    text + "\n::help name says more.\n"
}

/// The page of a command, in the sections of mdb.
fn details(dcmd: &Dcmd) -> String {
    let mut text = format!(
        "NAME\n  {} - {}\n\nSYNOPSIS\n  {}\n\nDESCRIPTION\n",
        dcmd.name,
        dcmd.summary,
        dcmd.usage()
    );
    for line in dcmd.help.lines() {
        text += format!("  {line}").trim_end();
        text.push('\n');
    }
    if !dcmd.options.is_empty() {
        text += "\nOPTIONS\n";
        for option in dcmd.options {
            let typed = option.value.map_or(format!("-{}", option.letter), |value| {
                format!("-{} {value}", option.letter)
            });
            text += &format!("  {typed:<10} {}\n", option.summary);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dcmds::parts::testing::{run, text},
        heap::synthetic::Builder,
    };

    #[test]
    fn the_overview_names_every_command_once() {
        let (text, _) = text(&mut Builder::new(), &DCMD, None, &[]);
        for dcmd in DCMDS {
            let usage = format!("  {} ", dcmd.usage());
            assert_eq!(text.matches(&usage).count(), 1, "{}", dcmd.name);
        }
    }

    #[test]
    fn a_page_has_synopsis_description_and_options() {
        let (text, _) = text(&mut Builder::new(), &DCMD, None, &["::findleaks"]);
        assert!(text.starts_with("NAME\n  findleaks - search for memory leaks\n\nSYNOPSIS\n  [address]::findleaks [-dfimrv]\n"));
        assert!(text.contains("\nOPTIONS\n  -d         detail"));
        let error = run(&mut Builder::new(), &DCMD, None, &["findleak"]).unwrap_err();
        assert_eq!(
            error,
            Error::with_hint("help: unknown command: findleak", "did you mean findleaks?")
        );
    }
}
