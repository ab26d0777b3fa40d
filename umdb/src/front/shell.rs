//! Shell commands that get the output of a command.

use std::{
    env,
    io::{self, Write},
    process::{Child, Command, Stdio},
};

/// What runs commands when `SHELL` does not say.
const SHELL: &str = "/bin/sh";

/// A shell command that runs.
pub(super) struct Shell {
    child: Child,
}

impl Shell {
    /// Starts `$SHELL -c line`, which reads what is written here.
    pub(super) fn start(line: &str) -> io::Result<Self> {
        let shell = env::var_os("SHELL").filter(|shell| !shell.is_empty());
        let child = Command::new(shell.unwrap_or_else(|| SHELL.into()))
            .arg("-c")
            .arg(line)
            .stdin(Stdio::piped())
            .spawn()?;
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
