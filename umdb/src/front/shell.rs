//! Programs that get the output of a command: shell commands and the pager.

use std::{
    env,
    ffi::OsString,
    io::{self, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::dcmds::EnvironmentChanges as Changes;

/// What runs commands when `SHELL` does not say.
const SHELL: &str = "/bin/sh";
/// Pagers that are looked for when `PAGER` does not say.
const PAGERS: [&str; 2] = ["less -FRX", "more"];

/// A program that reads what is written here.
pub(super) struct Reader {
    child: Child,
}

impl Reader {
    /// Starts `$SHELL -c line`.
    pub(super) fn shell(line: &str, changes: &Changes) -> io::Result<Self> {
        Self::start(line, Stdio::piped(), changes)
    }

    /// Starts the pager; none when none is wanted or there.
    pub(super) fn pager(changes: &Changes) -> Option<Self> {
        let named = variable(changes, "PAGER").and_then(|pager| pager.into_string().ok());
        let wanted = match named {
            Some(pager) => Some(pager).filter(|pager| !matches!(pager.trim(), "" | "cat")),
            None => PAGERS
                .iter()
                .find(|pager| is_installed(pager))
                .map(|&pager| pager.to_owned()),
        };
        Self::start(&wanted?, Stdio::piped(), changes).ok()
    }

    fn start(line: &str, input: Stdio, changes: &Changes) -> io::Result<Self> {
        let shell = variable(changes, "SHELL").filter(|shell| !shell.is_empty());
        let mut command = Command::new(shell.unwrap_or_else(|| SHELL.into()));
        command.arg("-c").arg(line).stdin(input);
        for (name, value) in changes {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let child = command.spawn()?;
        Ok(Self { child })
    }

    /// Writes to its standard input.
    pub(super) fn write(&mut self, text: &str) -> io::Result<()> {
        match &mut self.child.stdin {
            Some(input) => input.write_all(text.as_bytes()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Ends its input and waits until it has ended.
    pub(super) fn finish(mut self) {
        drop(self.child.stdin.take());
        // How it ended is for its own messages to say.
        let _ = self.child.wait();
    }
}

/// Runs a shell command with the terminal as its input.
pub(super) fn run(line: &str, changes: &Changes) -> io::Result<()> {
    Reader::start(line, Stdio::inherit(), changes).map(Reader::finish)
}

/// A variable as the programs will see it.
fn variable(changes: &Changes, name: &str) -> Option<OsString> {
    match changes.get(name) {
        Some(changed) => changed.clone().map(OsString::from),
        None => env::var_os(name),
    }
}

fn is_installed(pager: &str) -> bool {
    let program = pager.split(' ').next().unwrap_or(pager);
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| Path::new(&folder).join(program).is_file())
}
