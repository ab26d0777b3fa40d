//! Real programs that do not know the library is there: what they say of themselves is the same with it and without.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use umem_tests::{
    NotRun, Outcome,
    artifacts::{artifacts, workspace},
    command::{self, Answer},
    need,
    victim::scrub,
};

const LIMIT: Duration = Duration::from_secs(30);
/// So many of the list have to be there for the test to mean something.
const ENOUGH: usize = 300;
const THREADS: usize = 2;

/// The programs of the list that this machine has.
fn programs() -> Vec<PathBuf> {
    let list = workspace().join("tests/programs.txt");
    let text = fs::read_to_string(&list).unwrap_or_else(|error| panic!("{list:?}: {error}"));
    text.lines()
        .map(|name| Path::new("/usr/bin").join(name))
        .filter(|path| path.exists())
        .collect()
}

/// Runs a program in an empty folder of its own, which is its home as well.
///
/// # Errors
/// What it said until then, when it does not end.
fn run(program: &Path, argument: &str, env: &[(&str, &str)]) -> Result<Answer, Answer> {
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let mut command = Command::new(program);
    scrub(&mut command)
        .arg(argument)
        .envs(env.iter().copied())
        .env("HOME", folder.path())
        .env("LC_ALL", "C")
        .env("TERM", "dumb")
        .current_dir(folder.path())
        .stdin(Stdio::null());
    command::try_run_with(&mut command, "", LIMIT)
}

fn differs(program: &Path, argument: &str, env: &[(&str, &str)]) -> Option<String> {
    let library = artifacts().library.to_str().expect("its path is text");
    let with: Vec<_> = env
        .iter()
        .copied()
        .chain([("LD_PRELOAD", library)])
        .collect();
    // Some say something else now and then: another process, a time. What two runs without the library disagree on proves nothing.
    for _ in 0..3 {
        // One that waits for something by itself says nothing of the library.
        let plain = run(program, argument, &[]).ok()?;
        let answer = match run(program, argument, &with) {
            Ok(answer) if answer == plain => return None,
            Ok(answer) => answer.to_string(),
            Err(answer) => format!("still running after {LIMIT:?}\n{answer}"),
        };
        let again = run(program, argument, &[]).ok()?;
        if again == plain {
            return Some(format!(
                "{} {argument} {env:?}\nwithout: {plain}\nwith: {answer}",
                program.display()
            ));
        }
    }
    None
}

/// Runs each program with each argument, on all threads.
fn sweep(programs: &[PathBuf], env: &[(&str, &str)]) {
    let next = AtomicUsize::new(0);
    let different = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(program) = programs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = ["--version", "--help"]
                        .iter()
                        .find_map(|argument| differs(program, argument, env));
                    if let Some(text) = found {
                        different.lock().expect("no thread panicked").push(text);
                    }
                }
            });
        }
    });
    let different = different.into_inner().expect("no thread panicked");
    assert!(
        different.is_empty(),
        "{} of {} programs differ:\n{}",
        different.len(),
        programs.len(),
        different.join("\n\n")
    );
}

fn enough() -> Outcome<Vec<PathBuf>> {
    let programs = programs();
    if programs.len() < ENOUGH {
        return Err(NotRun::because(format!(
            "of tests/programs.txt only {} are installed, of {ENOUGH} wanted",
            programs.len()
        )));
    }
    Ok(programs)
}

#[test]
fn programs_say_the_same_with_the_library() {
    sweep(&need!(enough()), &[]);
}

#[test]
fn every_fifth_program_says_the_same_with_debugging() {
    let some: Vec<_> = need!(enough()).into_iter().step_by(5).collect();
    sweep(
        &some,
        &[("UMEM_DEBUG", "default"), ("UMEM_LOGGING", "transaction")],
    );
}
