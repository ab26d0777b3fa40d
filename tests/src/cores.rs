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
    umdb::Umdb,
    victim::{Start, Victim, need_core_limit, scrub},
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

/// The kernel writes cores to the directory of the process.
fn need_plain_pattern() -> Outcome<()> {
    let pattern = fs::read_to_string(PATTERN).unwrap_or_default();
    let pattern = pattern.trim();
    if pattern.starts_with('|') || pattern.contains('/') {
        return Err(NotRun::because(format!(
            "{PATTERN} sends cores to {pattern}"
        )));
    }
    Ok(())
}

/// The directory held nothing but the victim's standard error.
fn find_core(directory: &Path, program: &Path) -> PathBuf {
    fs::read_dir(directory)
        .expect("the victim's directory can be read")
        .map(|entry| entry.expect("the victim's directory can be read").path())
        .find(|path| path.file_name().is_some_and(|name| name != "stderr"))
        .unwrap_or_else(|| panic!("{}: no core appeared", program.display()))
}

/// Ends a victim by a signal whose default is a core, and gives the core that the kernel dumps.
pub fn kernel_core(victim: Victim, signal: Signal) -> Outcome<Core> {
    need_core_limit()?;
    need_plain_pattern()?;
    let program = victim.program().to_owned();
    let (status, directory) = victim.end(signal);
    assert!(
        status.core_dumped(),
        "{}: {status} without a core",
        program.display()
    );
    let path = find_core(directory.path(), &program);
    Ok(Core {
        path,
        program,
        directory,
    })
}

/// Runs a program that ends itself by SIGABRT, and gives what it wrote to standard error and its core.
pub fn of_abort(start: &Start) -> Outcome<(String, Core)> {
    need_core_limit()?;
    need_plain_pattern()?;
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let answer = start.run_in(directory.path());
    assert_eq!(
        answer.status.signal(),
        Some(Signal::SIGABRT as i32),
        "{}: {answer}",
        start.path().display()
    );
    let path = find_core(directory.path(), start.path());
    let core = Core {
        path,
        program: start.path().to_owned(),
        directory,
    };
    Ok((answer.stderr, core))
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

/// What `umdb snapshot` writes of a victim, which lives on.
pub fn saved(victim: &Victim) -> Core {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let path = directory.path().join("snapshot.zst");
    let answer = Umdb::new()
        .args(["snapshot", "-p", &victim.pid().to_string(), "-o"])
        .arg(&path)
        .run();
    answer.expect_code(0);
    assert!(path.is_file(), "umdb wrote no file: {answer}");
    Core {
        path,
        program: victim.program().to_owned(),
        directory,
    }
}
