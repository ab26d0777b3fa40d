//! Commands that end: with their status and all that they wrote, or at the watchdog's hand.

use std::{
    io::{Read, Write},
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};

/// Longest that a command may take. What takes longer hangs.
pub const WATCHDOG: Duration = Duration::from_secs(30);

/// What a command left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Answer {
    /// Exit status as a shell shows it.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Panics with all that the command said unless it ended with this status.
    pub fn expect_code(&self, code: i32) -> &Self {
        assert_eq!(self.code(), code, "exit status\n{self}");
        self
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            status,
            stdout,
            stderr,
        } = self;
        write!(f, "{status}\n--- stdout\n{stdout}--- stderr\n{stderr}---")
    }
}

/// Runs a command to its end, with nothing on its standard input.
pub fn run(command: &mut Command) -> Answer {
    run_with(command, "", WATCHDOG)
}

/// Runs a command to its end; `input` is its standard input.
///
/// # Panics
/// When it takes longer than `limit`: it is killed, and that is a failure.
pub fn run_with(command: &mut Command, input: &str, limit: Duration) -> Answer {
    try_run_with(command, input, limit)
        .unwrap_or_else(|answer| panic!("{command:?}: still running after {limit:?}\n{answer}"))
}

/// Runs a command to its end; `input` is its standard input.
///
/// The command leads a process group of its own, and what is left of the group when the command has ended is killed.
///
/// # Errors
/// What it said until it was killed, when it takes longer than `limit`.
pub fn try_run_with(command: &mut Command, input: &str, limit: Duration) -> Result<Answer, Answer> {
    let mut child = command
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let group = pid_of(&child);
    let stdout = Collector::of(child.stdout.take().expect("stdout is piped"));
    let stderr = Collector::of(child.stderr.take().expect("stderr is piped"));
    // A command that ends without reading closes the pipe; that is its right.
    let _ = child
        .stdin
        .take()
        .expect("stdin is piped")
        .write_all(input.as_bytes());
    let ended = wait(child, limit);
    // Mostly there is nobody left.
    let _ = killpg(group, Signal::SIGKILL);
    let answer = |status| Answer {
        status,
        stdout: stdout.text(),
        stderr: stderr.text(),
    };
    match ended {
        Ok(status) => Ok(answer(status)),
        Err(status) => Err(answer(status)),
    }
}

/// Waits for a child; one that lives longer than `limit` is killed, and its status is the error.
///
/// # Errors
/// The status of the killed child.
pub fn wait(mut child: Child, limit: Duration) -> Result<ExitStatus, ExitStatus> {
    let pid = pid_of(&child);
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        // The receiver is gone only after a panic.
        let _ = sender.send(child.wait().expect("a child can be waited for"));
    });
    receiver.recv_timeout(limit).map_err(|_| {
        // It may have ended in this very moment.
        let _ = kill(pid, Signal::SIGKILL);
        receiver.recv().expect("a killed child ends")
    })
}

/// Process identifier of a child.
#[must_use]
pub fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("a process identifier is positive"))
}

/// How long a pipe may stay open after its command has ended: a process that left the group may hold it for ever.
const LATE: Duration = Duration::from_secs(2);

/// Reads a pipe on a thread of its own.
struct Collector {
    read: Arc<Mutex<Vec<u8>>>,
    closed: mpsc::Receiver<()>,
}

impl Collector {
    fn of(mut stream: impl Read + Send + 'static) -> Self {
        let read = Arc::<Mutex<Vec<u8>>>::default();
        let (sender, closed) = mpsc::channel();
        let shared = Arc::clone(&read);
        thread::spawn(move || {
            let mut bytes = [0; 1 << 16];
            // What could be read before an error is what a test wants to see.
            while let Ok(count @ 1..) = stream.read(&mut bytes) {
                let mut all = shared.lock().expect("no reader panics");
                all.extend_from_slice(&bytes[..count]);
            }
            drop(sender);
        });
        Self { read, closed }
    }

    /// All that came until the pipe was closed, or until that took too long.
    fn text(&self) -> String {
        let _ = self.closed.recv_timeout(LATE);
        let read = self.read.lock().expect("no reader panics");
        String::from_utf8_lossy(&read).into_owned()
    }
}
