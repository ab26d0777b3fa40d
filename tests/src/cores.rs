//! Cores of victims: the kernel's and gcore's.

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::{
    NotRun, Outcome, command, need_program,
    victim::{Victim, need_core_limit, scrub},
};

/// Where the kernel says how it names cores.
const PATTERN: &str = "/proc/sys/kernel/core_pattern";
/// gcore starts a whole gdb.
const GCORE_LIMIT: Duration = Duration::from_secs(120);

/// A core file, in a directory that is removed with it.
#[derive(Debug)]
pub struct Core {
    path: PathBuf,
    program: PathBuf,
    directory: TempDir,
}

impl Core {
    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The program that it is a core of.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Path of another file beside it, for a changed copy.
    #[must_use]
    pub fn beside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// Ends a victim by a signal whose default is a core, and gives the core that the kernel dumps.
pub fn kernel_core(victim: Victim, signal: Signal) -> Outcome<Core> {
    need_core_limit()?;
    let pattern = fs::read_to_string(PATTERN).unwrap_or_default();
    let pattern = pattern.trim();
    if pattern.starts_with('|') || pattern.contains('/') {
        return Err(NotRun::because(format!(
            "{PATTERN} sends cores to {pattern}"
        )));
    }
    let program = victim.program().to_owned();
    let (status, directory) = victim.end(signal);
    assert!(
        status.core_dumped(),
        "{}: {status} without a core",
        program.display()
    );
    // The directory held nothing but the victim's standard error.
    let path = fs::read_dir(directory.path())
        .expect("the victim's directory can be read")
        .map(|entry| entry.expect("the victim's directory can be read").path())
        .find(|path| path.file_name().is_some_and(|name| name != "stderr"))
        .unwrap_or_else(|| panic!("{}: no core appeared", program.display()));
    Ok(Core {
        path,
        program,
        directory,
    })
}

/// The core that gcore makes of a victim, which lives on.
pub fn gcore(victim: &Victim) -> Outcome<Core> {
    let gcore = need_program("gcore")?;
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let prefix = directory.path().join("core");
    let mut command = Command::new(gcore);
    scrub(&mut command)
        .env("HOME", directory.path())
        .arg("-o")
        .arg(&prefix)
        .arg(victim.pid().to_string());
    let answer = command::run_with(&mut command, "", GCORE_LIMIT);
    let path = directory.path().join(format!("core.{}", victim.pid()));
    assert!(path.is_file(), "gcore made no core: {answer}");
    Ok(Core {
        path,
        program: victim.program().to_owned(),
        directory,
    })
}
