//! The debugger, as a user starts it.

use std::{ffi::OsStr, path::Path, process::Command};

use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    artifacts::artifacts,
    command::{self, Answer, WATCHDOG},
    victim::scrub,
};

/// A command line of umdb.
#[derive(Debug)]
pub struct Umdb {
    command: Command,
    /// Its home: no history or settings of the developer's.
    home: TempDir,
}

impl Umdb {
    /// `umdb` and nothing else.
    #[must_use]
    pub fn new() -> Self {
        Self::of(&artifacts().umdb)
    }

    /// Another copy of umdb.
    #[must_use]
    pub fn of(file: &Path) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory can be made");
        let mut command = Command::new(file);
        scrub(&mut command).env("HOME", home.path());
        Self { command, home }
    }

    /// `umdb -p PID`.
    #[must_use]
    pub fn pid(pid: Pid) -> Self {
        Self::new().arg("-p").arg(pid.to_string())
    }

    /// `umdb CORE`.
    #[must_use]
    pub fn core(core: &Path) -> Self {
        Self::new().arg(core)
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item: AsRef<OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// Adds `-e COMMAND`.
    #[must_use]
    pub fn exec(self, command: &str) -> Self {
        self.arg("-e").arg(command)
    }

    /// The command line, to start it in another way.
    #[must_use]
    pub fn into_command(self) -> (Command, TempDir) {
        (self.command, self.home)
    }

    /// Runs it to its end.
    #[must_use]
    pub fn run(self) -> Answer {
        self.run_with("")
    }

    /// Runs it to its end with commands on its standard input.
    #[must_use]
    pub fn run_with(mut self, input: &str) -> Answer {
        command::run_with(&mut self.command, input, WATCHDOG)
    }

    /// Runs one command with `--json` and gives the answer as a value.
    #[must_use]
    pub fn json(self, command: &str) -> (Value, Answer) {
        let answer = self.arg("--json").exec(command).run();
        let value = serde_json::from_str(&answer.stdout)
            .unwrap_or_else(|error| panic!("{command}: no JSON: {error}\n{answer}"));
        (value, answer)
    }
}

impl Default for Umdb {
    fn default() -> Self {
        Self::new()
    }
}

/// Panics unless standard error is a complaint a person can act on: one line that begins with the program's
/// name and holds every one of `mentions`, at most two more lines with the next step and the synopsis, and no trace of a panic or of a
/// debugging format.
pub fn expect_complaint(answer: &Answer, mentions: &[&str]) {
    let lines: Vec<&str> = answer.stderr.lines().collect();
    let is_one = match lines.as_slice() {
        [_] => true,
        [_, next] => next.starts_with(' '),
        [_, next, synopsis] => next.starts_with(' ') && synopsis.starts_with("      Usage: "),
        _ => false,
    };
    assert!(
        is_one,
        "not one complaint, with at most the next step and a synopsis\n{answer}"
    );
    let text = lines[0]
        .strip_prefix("umdb: ")
        .unwrap_or_else(|| panic!("does not begin with umdb:\n{answer}"));
    assert!(text.len() > 10, "says nothing\n{answer}");
    for mention in mentions {
        assert!(
            answer.stderr.contains(mention),
            "does not mention {mention}\n{answer}"
        );
    }
    expect_no_debris(answer);
}

/// Panics when a panic or a debugging format shows in what was said.
pub fn expect_no_debris(answer: &Answer) {
    for debris in [
        "panicked",
        "RUST_BACKTRACE",
        "Os {",
        "Error(",
        "Err(",
        "Some(",
        "umdb: umdb:",
        "unwrap",
    ] {
        assert!(
            !answer.stderr.contains(debris),
            "standard error holds {debris}\n{answer}"
        );
        assert!(
            !answer.stdout.contains(debris),
            "standard output holds {debris}\n{answer}"
        );
    }
    assert_ne!(answer.code(), 101, "panicked\n{answer}");
    assert!(answer.status.code().is_some(), "died of a signal\n{answer}");
}
