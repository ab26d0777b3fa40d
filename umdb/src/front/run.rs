//! `umdb run`: starts a program under the allocator and looks at it when it ends.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use super::{
    announce,
    cli::RunTask,
    open::{self, Failure, LIBRARY},
    output::Output,
    run_lines,
};
use crate::{
    report::Status,
    target::{ExitKind, RunOutcome, RunSpec, Target},
};

/// What is run when no command was given.
const DEFAULT_COMMAND: &str = "::findleaks -d";

/// The environment of the program, unless it is set already.
const DEFAULTS: [(&str, &str); 2] = [("UMEM_DEBUG", "default"), ("UMEM_LOGGING", "transaction")];

/// Runs the program and the commands; returns the exit status.
pub(super) fn run(task: &RunTask, commands: &[String], output: &mut Output) -> u8 {
    match start(task) {
        Err(failure) => super::fail(&failure, output),
        Ok(RunOutcome::Gone(how)) => {
            output.error(
                &format!(
                    "the program was killed before it could be looked at ({})",
                    describe(how)
                ),
                None,
            );
            status_of(how)
        }
        Ok(RunOutcome::Exiting(target)) => {
            let (how, status) = look(*target, commands, output);
            judge(task, how, status)
        }
    }
}

fn start(task: &RunTask) -> Result<RunOutcome, Failure> {
    let library = library(task.library.as_deref())?;
    let (program, arguments) = task
        .program
        .split_first()
        .ok_or_else(|| failure("no program to run", None))?;
    let spec = RunSpec {
        program: program.clone(),
        args: arguments.to_vec(),
        env: environment(&library),
    };
    Ok(Target::run(&spec)?)
}

fn failure(what: impl Into<String>, hint: Option<&str>) -> Failure {
    Failure {
        what: what.into(),
        hint: hint.map(str::to_owned),
    }
}

/// Where the allocator is: as given, beside umdb, or in `../lib`.
fn library(given: Option<&Path>) -> Result<PathBuf, Failure> {
    let beside = env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().map(Path::to_path_buf));
    let candidates: Vec<PathBuf> = match given {
        Some(path) => vec![path.to_path_buf()],
        None => beside
            .iter()
            .flat_map(|folder| [folder.join(LIBRARY), folder.join("../lib").join(LIBRARY)])
            .collect(),
    };
    let hint = Some("--library PATH says where it is");
    let found = candidates
        .iter()
        .find_map(|path| path.canonicalize().ok().filter(|path| path.is_file()));
    let Some(path) = found else {
        let places: Vec<String> = candidates
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        return Err(failure(
            format!("cannot find {LIBRARY}: looked for {}", places.join(" and ")),
            hint,
        ));
    };
    let is_separable = path.to_string_lossy().contains([' ', ':']);
    if is_separable {
        let what = format!(
            "cannot preload {}: the loader takes blanks and colons for separators",
            path.display()
        );
        return Err(failure(what, hint));
    }
    Ok(path)
}

/// What is set in the environment of the program.
fn environment(library: &Path) -> Vec<(OsString, OsString)> {
    let mut preload = library.as_os_str().to_owned();
    if let Some(others) = env::var_os("LD_PRELOAD").filter(|others| !others.is_empty()) {
        preload.push(":");
        preload.push(others);
    }
    let mut environment = vec![(OsString::from("LD_PRELOAD"), preload)];
    let unset = DEFAULTS
        .iter()
        .filter(|(name, _)| env::var_os(name).is_none());
    environment.extend(unset.map(|(name, value)| (OsString::from(name), OsString::from(value))));
    environment
}

/// Runs the commands on a program that stands at its end, and lets it end.
fn look(target: Target, commands: &[String], output: &mut Output) -> (Option<ExitKind>, Status) {
    match open::model(target) {
        Err(refused) => {
            let (target, failure) = *refused;
            super::fail(&failure, output);
            (target.finish(), Status::Failed)
        }
        Ok(opened) => {
            let session = super::session(&opened, output);
            announce(&opened, &session, output);
            let default = [DEFAULT_COMMAND.to_owned()];
            let commands = if commands.is_empty() {
                &default[..]
            } else {
                commands
            };
            run_lines(
                &session,
                commands.iter().map(|line| (None, line.clone())),
                output,
            );
            if output.state().again.take() {
                output.error("snapshot: the program stands at its end", None);
                session.worsen(Status::Failed);
            }
            let status = session.status();
            (opened.target.finish(), status)
        }
    }
}

/// The program's own status, unless the command line asks for a judgement.
fn judge(task: &RunTask, how: Option<ExitKind>, status: Status) -> u8 {
    match (task.error_exitcode, status) {
        (Some(code), Status::Found) => code,
        (Some(_), Status::Failed | Status::Incomplete) => status.exit_code(),
        _ => how.map_or(Status::Failed.exit_code(), status_of),
    }
}

fn status_of(how: ExitKind) -> u8 {
    (how.status() & 0xff) as u8
}

fn describe(how: ExitKind) -> String {
    match how {
        ExitKind::Exited(status) => format!("exit status {status}"),
        ExitKind::Signaled(signal, _) => format!("signal {signal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_own_status_counts_unless_asked_to_judge() {
        let task = |error_exitcode| RunTask {
            program: Vec::new(),
            library: None,
            error_exitcode,
        };
        let exited = Some(ExitKind::Exited(7));
        assert_eq!(judge(&task(None), exited, Status::Found), 7);
        assert_eq!(
            judge(
                &task(None),
                Some(ExitKind::Signaled(11, true)),
                Status::Clean
            ),
            139
        );
        assert_eq!(judge(&task(Some(9)), exited, Status::Found), 9);
        assert_eq!(judge(&task(Some(9)), exited, Status::Clean), 7);
        assert_eq!(judge(&task(Some(9)), exited, Status::Incomplete), 3);
        assert_eq!(judge(&task(Some(9)), exited, Status::Failed), 2);
    }

    #[test]
    fn a_library_that_is_not_there_is_named() {
        let failure = library(Some(Path::new("/nowhere/libumem.so"))).unwrap_err();
        assert_eq!(
            failure.what,
            "cannot find libumem.so: looked for /nowhere/libumem.so"
        );
        assert!(failure.hint.is_some());
    }
}
