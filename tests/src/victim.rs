//! Victims: small programs with one scenario each, run under the library.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    io::{Read, Write},
    os::{fd::AsFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        signal::{Signal, kill},
    },
    unistd::Pid,
};
use tempfile::TempDir;

use crate::{
    NotRun, Outcome,
    artifacts::{artifacts, lock, work_dir, workspace},
    command::{self, Answer, WATCHDOG, pid_of},
    need_program,
};

/// What a victim writes when its scenario is complete.
const MARKER: &str = "ready\n";
/// How victims are compiled unless their first line says otherwise.
const FLAGS: &str = "-g -O0 -fno-builtin";
/// Begins a first line that replaces [`FLAGS`].
const FLAGS_LINE: &str = "// flags:";

/// Folder of the victims' sources.
pub fn sources() -> PathBuf {
    workspace().join("tests/victims")
}

/// The compiled victim of this name.
pub fn program(name: &str) -> Outcome<PathBuf> {
    compile(
        &sources().join(format!("{name}.c")),
        &work_dir().join("victims"),
    )
}

/// The compiled victim of this file: C, C++ (`.cc`) or Rust (`.rs`).
pub fn program_of(file: &str) -> Outcome<PathBuf> {
    let (name, folder) = (file.replace('.', "_"), work_dir().join("victims"));
    if !file.ends_with(".rs") {
        return compile_as(&sources().join(file), &folder, &name);
    }
    let _lock = lock("victims");
    let (source, program) = (sources().join(file), folder.join(name));
    if !is_newer(&program, &source) {
        fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let fresh = program.with_extension("new");
        let mut command = Command::new(need_program("rustc")?);
        command
            .args(["--edition", "2024", "-g", "-Dwarnings", "-o"])
            .arg(&fresh)
            .arg(&source);
        let output = command.output().expect("rustc starts");
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{}: {complaints}",
            source.display()
        );
        fs::rename(&fresh, &program)
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    }
    Ok(program)
}

/// Compiles a C program into `folder`, unless what is there is newer than the source.
pub fn compile(source: &Path, folder: &Path) -> Outcome<PathBuf> {
    let name = source.file_stem().expect("a source has a name");
    compile_as(source, folder, &name.to_string_lossy())
}

fn compile_as(source: &Path, folder: &Path, name: &str) -> Outcome<PathBuf> {
    let is_cxx = source
        .extension()
        .is_some_and(|extension| extension == "cc");
    let compiler = need_program(if is_cxx { "g++" } else { "gcc" })?;
    let program = folder.join(name);
    let _lock = lock("victims");
    if is_newer(&program, source) {
        return Ok(program);
    }
    fs::create_dir_all(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let text =
        fs::read_to_string(source).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
    let flags = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix(FLAGS_LINE))
        .unwrap_or(FLAGS);
    // Another test may run the program at this moment: a busy file cannot be written, but it can be replaced.
    let fresh = program.with_extension("new");
    let output = Command::new(compiler)
        .args([
            "-Wall",
            "-Wextra",
            "-Wno-use-after-free",
            "-Wno-unused-result",
        ])
        .args(flags.split_whitespace())
        .arg("-o")
        .arg(&fresh)
        .arg(source)
        .output()
        .expect("gcc starts");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && complaints.is_empty(),
        "{}: {complaints}",
        source.display()
    );
    fs::rename(&fresh, &program).unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    Ok(program)
}

fn is_newer(made: &Path, from: &Path) -> bool {
    let time = |path| fs::metadata(path).and_then(|data| data.modified());
    matches!((time(made), time(from)), (Ok(made), Ok(from)) if made > from)
}

/// An environment that holds what every program needs and nothing of the developer's.
pub fn scrub(command: &mut Command) -> &mut Command {
    command
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap_or_default())
        .env("LC_ALL", "C")
        .env("TERM", "dumb")
}

/// How to start a victim.
#[derive(Debug, Clone)]
pub struct Start {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
}

impl Start {
    /// A victim by name, or by file for C++ and Rust, under the library with every check on and a transaction log.
    pub fn new(name: &str) -> Outcome<Self> {
        let program = if name.contains('.') {
            program_of(name)?
        } else {
            program(name)?
        };
        Ok(Self::program(program))
    }

    /// Any program, as [`Start::new`].
    #[must_use]
    pub fn program(program: PathBuf) -> Self {
        Self {
            program,
            args: Vec::new(),
            env: Vec::new(),
        }
        .env("LD_PRELOAD", &artifacts().library)
        .env("UMEM_DEBUG", "default")
        .env("UMEM_LOGGING", "transaction")
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item: AsRef<OsStr>>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self = self.without(key);
        self.env.push((key.into(), value.as_ref().to_owned()));
        self
    }

    /// Removes a variable.
    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        self.env.retain(|(name, _)| name != key);
        self
    }

    /// The library without any debugging.
    #[must_use]
    pub fn plain(self) -> Self {
        self.without("UMEM_DEBUG").without("UMEM_LOGGING")
    }

    /// Without the library.
    #[must_use]
    pub fn without_library(self) -> Self {
        self.plain().without("LD_PRELOAD")
    }

    /// The program.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.program
    }

    /// The program and its arguments, as typed behind `umdb run --`.
    pub fn line(&self) -> impl Iterator<Item = &OsStr> {
        std::iter::once(self.program.as_os_str()).chain(self.args.iter().map(OsString::as_os_str))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        scrub(&mut command).args(&self.args);
        command.envs(self.env.iter().map(|(key, value)| (key, value)));
        command
    }

    /// Runs it to its end.
    #[must_use]
    pub fn run(&self) -> Answer {
        self.run_within(WATCHDOG)
    }

    /// Runs it to its end, which must come within `limit`.
    #[must_use]
    pub fn run_within(&self, limit: Duration) -> Answer {
        command::run_with(&mut self.command(), "", limit)
    }

    /// Runs it to its end in a directory, where it may dump a core.
    #[must_use]
    pub fn run_in(&self, directory: &Path) -> Answer {
        let mut command = self.command();
        command.current_dir(directory);
        // SAFETY: the closure only makes system calls.
        unsafe { command.pre_exec(prepare) };
        command::run_with(&mut command, "", WATCHDOG)
    }

    /// Starts it in a directory of its own, where it may dump a core, and waits for its marker.
    #[must_use]
    pub fn wait_ready(&self) -> Victim {
        self.wait_ready_within(WATCHDOG)
    }

    /// As [`Start::wait_ready`], for a victim that may take so long until its marker, and until each of its answers.
    #[must_use]
    pub fn wait_ready_within(&self, patience: Duration) -> Victim {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let stderr = fs::File::create(directory.path().join("stderr")).expect("a file can be made");
        let mut command = self.command();
        command
            .current_dir(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr);
        // SAFETY: the closure only makes system calls.
        unsafe { command.pre_exec(prepare) };
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut victim = Victim {
            input: child.stdin.take().expect("stdin is piped"),
            output: child.stdout.take().expect("stdout is piped"),
            child,
            directory,
            program: self.program.clone(),
            patience,
        };
        let said = victim.read(MARKER.len());
        assert_eq!(
            said,
            MARKER,
            "{}: {}",
            self.program.display(),
            victim.stderr()
        );
        victim
    }
}

/// Runs in the child before exec: cores as large as allowed, and any process may trace it (where Yama restricts
/// tracing to ancestors; umdb is a sibling).
fn prepare() -> std::io::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_CORE)?;
    setrlimit(Resource::RLIMIT_CORE, most, most)?;
    // SAFETY: this call takes numbers only. Without Yama it fails, and is not needed.
    unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY, 0, 0, 0) };
    Ok(())
}

/// A running victim. It is killed when dropped.
#[derive(Debug)]
pub struct Victim {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    directory: TempDir,
    program: PathBuf,
    patience: Duration,
}

impl Victim {
    /// Starts the victim of this name with arguments, as [`Start::new`] says, and waits for its marker.
    pub fn start(name: &str, args: &[&str]) -> Outcome<Self> {
        Ok(Start::new(name)?.args(args).wait_ready())
    }

    /// Its process identifier.
    #[must_use]
    pub fn pid(&self) -> Pid {
        pid_of(&self.child)
    }

    /// Its program.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// What it wrote to standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.directory.path().join("stderr")).unwrap_or_default()
    }

    /// Sends one byte and gives the byte that it answers.
    ///
    /// # Panics
    /// When no answer comes within the watchdog's time.
    pub fn ask(&mut self, byte: u8) -> u8 {
        self.input
            .write_all(&[byte])
            .unwrap_or_else(|error| panic!("{} does not listen: {error}", self.program.display()));
        let mut answer = [0];
        let got = self.read_bytes(&mut answer);
        assert_eq!(
            got,
            1,
            "{} gives no answer: {}",
            self.program.display(),
            self.stderr()
        );
        answer[0]
    }

    /// A field of `/proc/PID/status`.
    #[must_use]
    pub fn status(&self, field: &str) -> String {
        let path = format!("/proc/{}/status", self.pid());
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value
            .unwrap_or_else(|| panic!("{path} has no {field}"))
            .trim()
            .to_owned()
    }

    /// Sends a signal and waits for the end; gives its status and the directory it ran in.
    pub fn end(mut self, signal: Signal) -> (ExitStatus, TempDir) {
        kill(self.pid(), signal).expect("a child that was not waited for can be signalled");
        let status = self.child.wait().expect("a child can be waited for");
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        (status, std::mem::replace(&mut self.directory, directory))
    }

    fn read(&mut self, length: usize) -> String {
        let mut bytes = vec![0; length];
        let got = self.read_bytes(&mut bytes);
        String::from_utf8_lossy(&bytes[..got]).into_owned()
    }

    /// Reads until the buffer is full, the victim closes its output, or the watchdog's time is over.
    fn read_bytes(&mut self, buffer: &mut [u8]) -> usize {
        let end = Instant::now() + self.patience;
        let mut got = 0;
        while got < buffer.len() {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut wanted = [PollFd::new(self.output.as_fd(), PollFlags::POLLIN)];
            match poll(&mut wanted, timeout) {
                Ok(0) => break,
                Ok(_) => match self.output.read(&mut buffer[got..]) {
                    Ok(0) | Err(_) => break,
                    Ok(more) => got += more,
                },
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => panic!("poll: {error}"),
            }
        }
        got
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // Both fail only when it has already been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether children can dump cores at all.
pub(crate) fn need_core_limit() -> Outcome<()> {
    match getrlimit(Resource::RLIMIT_CORE) {
        Ok((_, 0)) => Err(NotRun::because("the hard limit on core files is 0")),
        _ => Ok(()),
    }
}
