//! Libraries that are closed: their leaks keep their names, and no stack is taken for that of a library that lay at the same address.

use std::{fs, path::Path, process::Command};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;
use umem_tests::{
    Outcome, cores, need, need_program,
    umdb::Umdb,
    victim::{Start, Victim, sources},
};

/// Of the same length, so that the libraries lay out alike.
const NAMES: [&str; 2] = ["lose_first", "lose_other"];

/// Builds a library whose `leak` goes through a function of a name.
fn build(folder: &Path, name: &str, more: &[&str]) -> Outcome<()> {
    let mut command = Command::new(need_program("gcc")?);
    command.args([
        "-g",
        "-O2",
        "-fno-builtin",
        "-fomit-frame-pointer",
        "-shared",
    ]);
    command.args(["-fPIC", "-Wl,--build-id"]).args(more);
    command
        .arg(format!("-DNAME={name}"))
        .arg("-o")
        .arg(folder.join(format!("{name}.so")))
        .arg(sources().join("closed.c"));
    let output = command.output().expect("gcc starts");
    assert!(output.status.success(), "{output:?}");
    Ok(())
}

/// A victim that has used these libraries in turn, and the folder with both.
fn start(libraries: &[&str]) -> Outcome<(Victim, TempDir)> {
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    for name in NAMES {
        build(folder.path(), name, &[])?;
    }
    let paths = libraries
        .iter()
        .map(|name| folder.path().join(format!("{name}.so")));
    Ok((Start::new("closing")?.args(paths).wait_ready(), folder))
}

/// A leak: how many buffers, and the two innermost frames as (object, symbol, unloaded).
type Leak = (u64, Vec<(String, Option<String>, bool)>);

fn leaks(umdb: Umdb) -> Vec<Leak> {
    let (value, answer) = umdb.json("::findleaks");
    assert_eq!(answer.stderr, "", "{answer}");
    let mut found = Vec::new();
    collect(&value, &mut found);
    assert!(!found.is_empty(), "{answer}");
    found.sort();
    found
}

fn collect(value: &Value, found: &mut Vec<Leak>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
        Value::Object(map) => {
            let frames = map
                .get("stacks")
                .and_then(|stacks| stacks["allocated"]["frames"].as_array());
            if let (Some(count), Some(frames)) = (map.get("leaked"), frames) {
                let frames = frames.iter().take(2).map(|frame| {
                    (
                        frame["object"].as_str().unwrap_or_default().to_owned(),
                        frame["symbol"].as_str().map(str::to_owned),
                        frame["unloaded"].as_bool().expect("a truth value"),
                    )
                });
                found.push((count.as_u64().unwrap_or_default(), frames.collect()));
            } else {
                map.values().for_each(|value| collect(value, found));
            }
        }
        _ => {}
    }
}

fn leak(count: u64, library: &str) -> Leak {
    let frame = |symbol: &str| (format!("{library}.so"), Some(symbol.to_owned()), true);
    (count, vec![frame(library), frame("leak")])
}

fn nameless(library: &str) -> Leak {
    (1, vec![(format!("{library}.so"), None, true); 2])
}

#[test]
fn libraries_at_the_same_address_are_told_apart() {
    let [first, other] = NAMES;
    let (victim, _folder) = need!(start(&[first, other, first]));
    // It has its stacks again, though there was another one in between.
    let expected = [leak(1, other), leak(2, first)];
    assert_eq!(leaks(Umdb::pid(victim.pid())), expected);
    assert_eq!(leaks(Umdb::pid(victim.pid()).arg("--hold")), expected);
    let saved = cores::saved(&victim);
    assert_eq!(leaks(Umdb::core(saved.path())), expected);
    let core = need!(cores::kernel_core(victim, Signal::SIGABRT));
    assert_eq!(leaks(Umdb::core(core.path())), expected);
}

#[test]
fn a_library_that_comes_back_has_its_stacks_again() {
    let first = NAMES[0];
    let (victim, _folder) = need!(start(&[first; 40]));
    assert_eq!(leaks(Umdb::pid(victim.pid())), [leak(40, first)]);
}

#[test]
fn another_file_gives_no_names() {
    let [first, other] = NAMES;
    let (victim, folder) = need!(start(&[first, other]));
    fs::remove_file(folder.path().join(format!("{other}.so"))).expect("it was there");
    let expected = [leak(1, first), nameless(other)];
    assert_eq!(leaks(Umdb::pid(victim.pid())), expected);
    need!(build(folder.path(), other, &["-DOTHER", "-O1"]));
    let file = folder.path().join(format!("{other}.so"));
    assert!(file.is_file());
    assert_eq!(leaks(Umdb::pid(victim.pid())), expected);
}

/// The report itself names the library that had the address when the buffer was allocated.
#[test]
fn a_report_names_the_library_that_was_there() {
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let mut start = need!(Start::new("closing")).arg("-2");
    for name in NAMES {
        need!(build(folder.path(), name, &[]));
        start = start.arg(folder.path().join(format!("{name}.so")));
    }
    let (said, _core) = need!(cores::of_abort(&start));
    let [first, other] = NAMES;
    let mut lines = said
        .lines()
        .skip_while(|line| !line.starts_with("allocated by"));
    let frames: Vec<&str> = lines.by_ref().skip(1).take(2).collect();
    for frame in frames {
        let name = frame.trim().strip_prefix(&format!("{first}.so+0x"));
        assert!(
            name.is_some_and(|rest| rest.ends_with(" (closed since)")),
            "{said}"
        );
    }
    assert!(!said.contains(other), "{said}");
}
