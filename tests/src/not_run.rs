//! Tests that cannot run here say so, and are counted.

use std::{
    env,
    fmt::{self, Display},
    fs::OpenOptions,
    io::{self, Write},
    path::{Path, PathBuf},
    thread,
};

/// File to which a line is added for every test that did not run; `tests/run` counts its lines.
const LIST: &str = "UMEM_NOT_RUN";

/// Why a test cannot run on this machine. It is no failure of what is tested, and it is no success.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a test that did not run has to say so"]
pub struct NotRun(String);

/// What a test needs, or why it cannot be had here.
pub type Outcome<T> = Result<T, NotRun>;

impl NotRun {
    /// A reason.
    pub fn because(why: impl Into<String>) -> Self {
        Self(why.into())
    }

    /// Says it on standard error, past the capture of the test runner, and adds a line to the list of tests that
    /// did not run. A test calls it once and returns.
    pub fn report(&self) {
        self.report_as(thread::current().name().unwrap_or("?"));
    }

    /// As [`NotRun::report`], for tests whose thread does not have their name.
    pub fn report_as(&self, test: &str) {
        let text = format!("NOT RUN: {test}: {self}\n");
        // A closed standard error is no reason to fail a test.
        let _ = io::stderr().write_all(text.as_bytes());
        if let Some(list) = env::var_os(LIST) {
            let written = OpenOptions::new()
                .append(true)
                .create(true)
                .open(&list)
                .and_then(|mut file| file.write_all(text.as_bytes()));
            if let Err(error) = written {
                panic!("{}: {error}", Path::new(&list).display());
            }
        }
    }
}

impl Display for NotRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Gives the value of an [`Outcome`], or reports why the test does not run and leaves it.
#[macro_export]
macro_rules! need {
    ($outcome:expr) => {
        match $outcome {
            Ok(value) => value,
            Err(why) => {
                let why: $crate::NotRun = why;
                why.report();
                return;
            }
        }
    };
}

/// Where `PATH` has a program that a test needs. The system's own come first: what stands before them is
/// often a wrapper that wants more of the environment than a test gives.
pub fn need_program(name: &str) -> Outcome<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = [PathBuf::from("/usr/bin"), PathBuf::from("/bin")];
    system
        .into_iter()
        .chain(env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| NotRun::because(format!("{name} is not installed")))
}
