//! The arguments of the command.

use std::{
    ffi::OsString,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::dcmds::{DCMDS, Group};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, error::ErrorKind};

use crate::target::Attach;

/// The last lines of help.
const AFTER: &str = "\
Without -e, commands are read from standard input, with a prompt on a terminal; try ::help.
Exit status: 0 nothing found, 1 found something, 2 could not do it, 3 incomplete answer.";

/// Looks at the heap of a process that runs under libumem.so, or at its core.
#[derive(Debug, Parser)]
#[command(
    name = "umdb",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    override_usage = "umdb -p PID [-e CMD]... [--json]\n       umdb [PROGRAM] CORE [-e CMD]... [--json]\n       umdb run [-e CMD]... [--json] [--library PATH] [--error-exitcode N] -- PROGRAM [ARGUMENT]...\n       umdb snapshot -p PID -o FILE\n       umdb diff BEFORE AFTER",
    after_help = AFTER
)]
struct Arguments {
    /// Looks at a process: at a frozen copy where that is possible, else it is stopped meanwhile
    #[arg(short, long, value_name = "PID", conflicts_with = "files")]
    pid: Option<u32>,
    /// Stops the process while it is looked at
    #[arg(long, requires = "pid", conflicts_with = "snapshot")]
    hold: bool,
    /// Looks at a frozen copy of the process, or not at all
    #[arg(long, requires = "pid")]
    snapshot: bool,
    /// Reads a process that another debugger traces, without its registers: no verdict about leaks
    #[arg(short = 'F', long, requires = "pid", conflicts_with_all = ["hold", "snapshot"])]
    force: bool,
    /// Looks for the files of a core below a folder, such as the root of its container
    #[arg(long, value_name = "DIR", requires = "files", conflicts_with = "pid")]
    sysroot: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
    /// A core file, or the program and its core file
    #[arg(value_name = "FILE", num_args = 0..=2)]
    files: Vec<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Args)]
struct Common {
    /// Runs commands (separated by ;) and ends
    #[arg(
        short,
        long = "execute",
        value_name = "CMD",
        allow_hyphen_values = true
    )]
    execute: Vec<String>,
    /// Answers in JSON, one object a command
    #[arg(long)]
    json: bool,
    /// Switches settings on (::set lists them), with commas between; +o switches them off
    #[arg(short = 'o', value_name = "OPTION")]
    set: Vec<String>,
    /// Switches settings off, as +o does
    #[arg(long = "clear", value_name = "OPTION", hide = true)]
    clear: Vec<String>,
    /// Leaves out of ::findleaks the leaks that a file names (::help findleaks); UMDB_SUPPRESSIONS names one too
    #[arg(long, value_name = "FILE")]
    suppressions: Vec<PathBuf>,
    /// Does not read ~/.umdbrc
    #[arg(short = 'S')]
    no_startup: bool,
    /// What stands before each line that is typed
    #[arg(short = 'P', value_name = "PROMPT")]
    prompt: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Writes the heap of a process, and what belongs to it, to a file that opens like a core
    Snapshot {
        /// The process
        #[arg(short, long, value_name = "PID")]
        pid: u32,
        /// The file, compressed (zstd) when its name ends in .zst
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Stops the process until the file is written
        #[arg(long)]
        hold: bool,
    },
    /// Lists what grew between two snapshots or cores, new leaks first; status 1 when there are new leaks
    Diff {
        /// The snapshot or core that was taken first
        #[arg(value_name = "BEFORE")]
        before: PathBuf,
        /// The one that was taken later
        #[arg(value_name = "AFTER")]
        after: PathBuf,
        /// Shows the whole stack of each
        #[arg(short, long)]
        details: bool,
        /// Shows so many lines instead of 20
        #[arg(short = 'n', long, value_name = "COUNT")]
        lines: Option<u32>,
        /// Answers in JSON
        #[arg(long)]
        json: bool,
        /// Looks for files below a folder, such as the root of the container
        #[arg(long, value_name = "DIR")]
        sysroot: Option<PathBuf>,
    },
    /// Runs a program under libumem.so and looks at its heap when it ends
    Run {
        #[command(flatten)]
        common: Common,
        /// The allocator, when it does not lie beside umdb
        #[arg(long, value_name = "PATH")]
        library: Option<PathBuf>,
        /// Ends with this status when something was found, instead of the program's own
        #[arg(long, value_name = "N")]
        error_exitcode: Option<u8>,
        /// The program and its arguments
        #[arg(
            required = true,
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "PROGRAM"
        )]
        program: Vec<OsString>,
    },
}

/// The command line as clap understands it, for help, the man page and completions; the commands of the language stand
/// at the end of its long help.
#[must_use]
pub fn command_line() -> clap::Command {
    Arguments::command().after_long_help(after_help())
}

fn after_help() -> String {
    let mut groups: Vec<Group> = DCMDS.iter().map(|dcmd| dcmd.group).collect();
    groups.sort_unstable();
    groups.dedup();
    let mut text = format!("{AFTER}\n\nCommands (::help NAME says more):\n");
    for group in groups {
        text += &format!("\n{}\n", group.title());
        for dcmd in DCMDS.iter().filter(|dcmd| dcmd.group == group) {
            text += &format!("  ::{:<18} {}\n", dcmd.name, dcmd.summary);
        }
    }
    text
}

/// What to do, and how.
pub(super) struct Options {
    /// Commands given by `-e`.
    pub(super) commands: Vec<String>,
    /// Answer in JSON.
    pub(super) json: bool,
    /// Settings to switch on or off: names with commas between.
    pub(super) settings: Vec<(String, bool)>,
    /// Files of leaks that are not reported.
    pub(super) suppressions: Vec<PathBuf>,
    /// `~/.umdbrc` is read.
    pub(super) reads_startup: bool,
    /// What stands before each line.
    pub(super) prompt: Option<String>,
    /// What to do.
    pub(super) task: Task,
}

/// What to do.
pub(super) enum Task {
    /// Look at something that exists.
    Look(What),
    /// Run a program and look at it when it ends.
    Run(RunTask),
    /// Compare a core (with the folder of its files) with one that was taken before, by `::diff` with these words.
    Diff(PathBuf, Option<PathBuf>, String),
    /// Write a process to a file.
    Save(u32, Attach, PathBuf),
}

/// What to look at.
pub(super) enum What {
    /// A live process, and how.
    Process(u32, Attach),
    /// A core file, its program when that was given, and the folder that stands for the root of its files.
    Core(PathBuf, Option<PathBuf>, Option<PathBuf>),
}

/// A program to run.
pub(super) struct RunTask {
    /// The program and its arguments.
    pub(super) program: Vec<OsString>,
    /// The allocator.
    pub(super) library: Option<PathBuf>,
    /// Exit status when something was found.
    pub(super) error_exitcode: Option<u8>,
}

/// Understands the arguments of the process. What they ask for may be help; then that is printed, and the
/// exit status returned.
pub(super) fn parse() -> Result<Options, ExitCode> {
    let matches = command_line()
        .try_get_matches_from(with_plus(std::env::args_os()))
        .map_err(|error| explain(&error))?;
    let arguments = Arguments::from_arg_matches(&matches).map_err(|error| explain(&error))?;
    options(arguments).map_err(|what| misused(&what))
}

/// Prints one line about a mistake, and returns the exit status.
pub(super) fn misused(what: &str) -> ExitCode {
    let _ = writeln!(
        std::io::stderr(),
        "umdb: {what}\n      umdb --help says how it is used"
    );
    ExitCode::from(2)
}

/// `+o` is no option for clap: it is `--clear`; and mdb's users ask with `-?`. What stands behind `--` or `run` is left
/// alone.
fn with_plus(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut is_ours = true;
    arguments
        .map(|argument| {
            is_ours &= argument != "--" && argument != "run";
            if is_ours && argument == "-?" {
                return "--help".into();
            }
            match argument.to_str().and_then(|text| text.strip_prefix("+o")) {
                Some("") if is_ours => "--clear".into(),
                Some(names) if is_ours => format!("--clear={names}").into(),
                _ => argument,
            }
        })
        .collect()
}

fn options(arguments: Arguments) -> Result<Options, String> {
    let Arguments {
        pid,
        hold,
        snapshot,
        force,
        sysroot,
        common,
        files,
        command,
    } = arguments;
    let how = match (hold, snapshot, force) {
        (true, ..) => Attach::Hold,
        (_, true, _) => Attach::Snapshot,
        (.., true) => Attach::Force,
        _ => Attach::Best,
    };
    let mut files = files.into_iter();
    let (common, task) = match (command, pid, files.next(), files.next()) {
        (
            Some(Command::Run {
                common,
                library,
                error_exitcode,
                program,
            }),
            ..,
        ) => (
            common,
            Task::Run(RunTask {
                program,
                library,
                error_exitcode,
            }),
        ),
        (Some(Command::Snapshot { pid, output, hold }), ..) => {
            let how = if hold { Attach::Hold } else { Attach::Best };
            (common, Task::Save(pid, how, output))
        }
        (
            Some(Command::Diff {
                before,
                after,
                details,
                lines,
                json,
                sysroot,
            }),
            ..,
        ) => {
            let words = diff_words(&before, details, lines)?;
            let common = Common { json, ..common };
            (common, Task::Diff(after, sysroot, words))
        }
        (None, Some(pid), ..) => (common, Task::Look(What::Process(pid, how))),
        (None, None, Some(core), None) => (common, Task::Look(What::Core(core, None, sysroot))),
        (None, None, Some(program), Some(core)) => {
            // `- core`: the core says what its program is.
            let program = (program != *"-").then_some(program);
            (common, Task::Look(What::Core(core, program, sysroot)))
        }
        (None, None, None, _) => {
            return Err("nothing to look at: give -p PID, a core file, or run".to_owned());
        }
    };
    let on = common.set.into_iter().map(|names| (names, true));
    let off = common.clear.into_iter().map(|names| (names, false));
    Ok(Options {
        commands: common.execute,
        json: common.json,
        settings: on.chain(off).collect(),
        suppressions: common.suppressions,
        reads_startup: !common.no_startup,
        prompt: common.prompt,
        task,
    })
}

/// What is typed behind `::diff`.
fn diff_words(before: &Path, details: bool, lines: Option<u32>) -> Result<String, String> {
    let name = before
        .to_str()
        .ok_or_else(|| format!("{}: the name is no UTF-8", before.display()))?;
    let quoted = name.replace('\\', r"\\").replace('"', r#"\""#);
    let details = if details { "-d " } else { "" };
    let lines = lines.map_or(String::new(), |lines| format!("-n 0t{lines} "));
    Ok(format!("{details}{lines}-- \"{quoted}\""))
}

/// Prints help as asked for, or one line about a mistake, and returns the exit status.
fn explain(error: &clap::Error) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    let lines = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    misused(lines.strip_prefix("error: ").unwrap_or(&lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Options, String> {
        let arguments =
            Arguments::try_parse_from(line.split(' ')).map_err(|error| error.to_string())?;
        options(arguments)
    }

    #[test]
    fn the_forms_of_the_command_are_understood() {
        Arguments::command().debug_assert();
        let options = parsed("umdb -p 12 -e -1=K").unwrap();
        assert_eq!(options.commands, ["-1=K"]);
        let options = parsed("umdb -p 12 -e ::a;::b -e ::c --json").unwrap();
        assert!(
            matches!(options.task, Task::Look(What::Process(12, Attach::Best))) && options.json
        );
        assert_eq!(options.commands, ["::a;::b", "::c"]);
        assert!(matches!(
            parsed("umdb core").unwrap().task,
            Task::Look(What::Core(_, None, None))
        ));
        let options = parsed("umdb prog core -e ::a").unwrap();
        assert!(
            matches!(options.task, Task::Look(What::Core(core, Some(program), None))
            if core == *"core" && program == *"prog")
        );
        assert!(matches!(
            parsed("umdb - core").unwrap().task,
            Task::Look(What::Core(_, None, None))
        ));
        let asked = with_plus(["umdb", "-?", "run", "-?"].iter().map(OsString::from));
        assert_eq!(asked, ["umdb", "--help", "run", "-?"]);
    }

    #[test]
    fn run_leaves_the_options_of_the_program_alone() {
        for line in [
            "umdb run -e ::a --library l -- prog -e --json x",
            "umdb run -e ::a --library l prog -e --json x",
        ] {
            let options = parsed(line).unwrap();
            assert_eq!(options.commands, ["::a"], "{line}");
            assert!(!options.json);
            let Task::Run(task) = options.task else {
                panic!("{line}")
            };
            assert_eq!(task.program, ["prog", "-e", "--json", "x"]);
        }
    }

    #[test]
    fn two_files_are_compared() {
        let options = parsed("umdb diff --json -n 30 a\"b\\c after").unwrap();
        assert!(options.json);
        let Task::Diff(after, None, words) = options.task else {
            panic!("another task")
        };
        assert_eq!(after, *"after");
        assert_eq!(words, r#"-n 0t30 -- "a\"b\\c""#);
        assert!(parsed("umdb diff before").is_err());
    }

    #[test]
    fn settings_are_switched_on_and_off() {
        let words = ["umdb", "+o", "pager", "-o", "json,csv", "core", "--", "+o"];
        let words = with_plus(words.iter().map(OsString::from));
        assert_eq!(words[1], "--clear");
        assert_eq!(words[7], "+o");
        let options = parsed("umdb --clear pager -o json -S -P % core").unwrap();
        assert_eq!(
            options.settings,
            [("json".to_owned(), true), ("pager".to_owned(), false)]
        );
        assert!(!options.reads_startup && options.prompt.as_deref() == Some("%"));
    }

    #[test]
    fn contradictions_are_refused() {
        assert!(parsed("umdb").is_err());
        assert!(parsed("umdb -p 1 core").is_err());
        assert!(parsed("umdb a b c").is_err());
        assert!(parsed("umdb run").is_err());
        assert!(parsed("umdb -p x").is_err());
    }
}
