//! What findleaks finds: for each kind of root and each shape of what is lost the exact set, and a twin that loses nothing.
//!
//! What is expected follows from the victims' sources: how many buffers each function loses, and how many others these
//! hold.

use std::{path::Path, process::Command};

use nix::{sys::signal::Signal, unistd::Pid};
use serde_json::Value;
use umem_tests::{
    Outcome,
    command::Answer,
    cores, need, need_program,
    umdb::Umdb,
    victim::{self, Start, Victim},
};

/// A function, how many buffers it lost, and how many others are lost through them.
type Lost<'a> = (&'a str, u64, u64);

/// What `lose` in roots.c loses.
const ONE: &[Lost<'_>] = &[("lose", 1, 0)];

/// The leaks that a run of findleaks reports must be these and no others.
fn expect(umdb: Umdb, lost: &[Lost<'_>]) {
    let (value, answer) = umdb.json("::findleaks");
    assert_eq!(answer.stderr, "", "{answer}");
    answer.expect_code(i32::from(!lost.is_empty()));
    let mut rows = Vec::new();
    collect(&value, &mut rows);
    assert_eq!(rows.len(), lost.len(), "{lost:?}\n{answer}");
    for &(function, leaked, held) in lost {
        let is_through = |row: &&&Value| {
            row["stacks"]["allocated"]["frames"]
                .as_array()
                .is_some_and(|frames| frames.iter().any(|frame| is_named(frame, function)))
        };
        let row = rows.iter().find(is_through);
        let row = row.unwrap_or_else(|| panic!("nothing from {function}\n{answer}"));
        assert_eq!(
            (&row["leaked"], &row["held"]),
            (&leaked.into(), &held.into()),
            "{answer}"
        );
    }
}

fn is_named(frame: &Value, function: &str) -> bool {
    let symbol = frame["symbol"].as_str().unwrap_or("");
    symbol.split(['(', ':']).any(|part| part == function)
}

fn collect<'a>(value: &'a Value, rows: &mut Vec<&'a Value>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| collect(value, rows)),
        Value::Object(map) if map.contains_key("leaked") && map.contains_key("caller") => {
            rows.push(value);
        }
        Value::Object(map) => map.values().for_each(|value| collect(value, rows)),
        _ => {}
    }
}

/// A scenario of roots.c and its twin.
fn roots(scenario: &str) -> Outcome<(Victim, Victim)> {
    let library = victim::program("library")?;
    let start = || Ok(Start::new("roots")?.arg(scenario).arg(&library));
    Ok((start()?.wait_ready(), start()?.arg("twin").wait_ready()))
}

fn check(scenario: &str, lost: &[Lost<'_>]) -> Outcome<()> {
    let (victim, twin) = roots(scenario)?;
    expect(Umdb::pid(victim.pid()), lost);
    expect(Umdb::pid(twin.pid()), &[]);
    Ok(())
}

/// Live, and from the cores of the kernel.
fn check_all(scenario: &str, lost: &[Lost<'_>]) -> Outcome<()> {
    let (victim, twin) = roots(scenario)?;
    expect(Umdb::pid(victim.pid()), lost);
    let core = cores::kernel_core(victim, Signal::SIGABRT)?;
    expect(Umdb::core(core.path()), lost);
    let core = cores::kernel_core(twin, Signal::SIGABRT)?;
    expect(Umdb::core(core.path()), &[]);
    Ok(())
}

/// One test for each scenario, so that they run side by side.
macro_rules! scenarios {
    ($($check:ident $lost:ident: $($name:ident)*;)*) => {
        $($(#[test]
        fn $name() {
            need!($check(stringify!($name), $lost));
        })*)*
    };
}
scenarios! {
    check_all ONE: bss thread_tls thread_keys thread_result signal_stack coroutine_runs own_arena loaded redzone;
    check ONE: data stack register tls thread_stack threads_ended leader_ended thread_signal_stack coroutine_waits;
    check ONE: jumped mapped shared foreign code brk_area large interior heap_arena thread_loaded pool;
}

/// Each node but the first is held by the first, and so is each payload.
#[test]
fn list() {
    need!(check("list", &[("make_list", 1, 39_999)]));
}

#[test]
fn cycle() {
    need!(check("cycle", &[("make_list", 1, 13)]));
}

/// The library is gone, and with it the names of its functions.
#[test]
fn what_an_unloaded_library_lost_is_found() {
    let (victim, twin) = need!(roots("unloaded"));
    let (value, answer) = Umdb::pid(victim.pid()).json("::findleaks");
    let mut rows = Vec::new();
    collect(&value, &mut rows);
    assert_eq!(rows.len(), 1, "{answer}");
    assert_eq!(
        (&rows[0]["leaked"], &rows[0]["bytes"]),
        (&1.into(), &40.into()),
        "{answer}"
    );
    expect(Umdb::pid(twin.pid()), &[]);
}

/// A child of fork has what its parent had, and its own leak.
#[test]
fn the_child_of_a_fork_is_looked_at() {
    let (victim, twin) = need!(roots("child"));
    for (parent, lost) in [(&victim, ONE), (&twin, &[])] {
        let child = child_of(parent.pid());
        expect(Umdb::pid(child), lost);
        nix::sys::signal::kill(child, Signal::SIGKILL).expect("the child lives");
    }
}

fn child_of(parent: Pid) -> Pid {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let children = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let first = children
        .split_whitespace()
        .next()
        .and_then(|pid| pid.parse().ok());
    Pid::from_raw(first.unwrap_or_else(|| panic!("{path}: no child")))
}

/// Main's frame is dead when it has returned, and alive while it calls exit.
#[test]
fn what_main_held_is_lost_when_it_returns() {
    let program = need!(victim::program("exits"));
    let run = |arguments: &[&str]| {
        Umdb::new()
            .arg("run")
            .arg("--json")
            .arg("-e")
            .arg("::findleaks")
            .arg("--")
            .arg(&program)
            .args(arguments)
            .run()
    };
    let rows = |answer: &Answer| -> Vec<(String, u64)> {
        let value: Value = serde_json::from_str(&answer.stdout).expect("JSON");
        let mut rows = Vec::new();
        collect(&value, &mut rows);
        let name = |row: &&Value| row["caller"]["symbol"].as_str().unwrap_or("").to_owned();
        rows.iter()
            .map(|row| (name(row), row["leaked"].as_u64().unwrap_or(0)))
            .collect()
    };
    let returned = run(&[]);
    assert_eq!(
        rows(&returned),
        [("own".to_owned(), 40), ("lose".to_owned(), 1)],
        "{returned}"
    );
    let exited = run(&["exit"]);
    assert_eq!(rows(&exited), [("lose".to_owned(), 1)], "{exited}");
}

/// What is no finding is shown on request, and changes no status.
#[test]
fn what_is_not_lost_is_shown_on_request() {
    let (_victim, twin) = need!(roots("foreign"));
    let (value, answer) = Umdb::pid(twin.pid()).json("::findleaks -m");
    answer.expect_code(0);
    let mappings = sizes_in(&value);
    assert_eq!(mappings, [1 << 16], "{answer}");
    let (_victim, twin) = need!(roots("interior"));
    for (flag, words) in [
        ("-i", "only by pointers into the middle"),
        ("-r", "still reachable"),
    ] {
        let answer = Umdb::pid(twin.pid())
            .exec(&format!("::findleaks {flag}"))
            .run();
        answer.expect_code(0);
        assert!(answer.stdout.contains(words), "{answer}");
        assert!(answer.stdout.contains("keep+"), "{answer}");
    }
}

/// Bytes of mappings, wherever they are listed.
fn sizes_in(value: &Value) -> Vec<u64> {
    match value {
        Value::Array(values) => values.iter().flat_map(sizes_in).collect(),
        Value::Object(map) if map.contains_key("start") && map.contains_key("bytes") => {
            map["bytes"].as_u64().into_iter().collect()
        }
        Value::Object(map) => map.values().flat_map(sizes_in).collect(),
        _ => Vec::new(),
    }
}

fn check_shapes(file: &str, lost: &[Lost<'_>]) -> Outcome<()> {
    let program = victim::program_of(file)?;
    expect(
        Umdb::pid(Start::program(program.clone()).wait_ready().pid()),
        lost,
    );
    let twin = Start::program(program).arg("twin").wait_ready();
    expect(Umdb::pid(twin.pid()), &[]);
    Ok(())
}

/// A cycle of two partners with a string each; a table, its buckets, ten nodes and their strings.
#[test]
fn cxx() {
    need!(check_shapes(
        "shapes.cc",
        &[("lose_partners", 1, 3), ("lose_table", 1, 21)]
    ));
}

/// The same cycle, and a vector of ten strings.
#[test]
fn rust() {
    need!(check_shapes(
        "shapes.rs",
        &[("lose_partners", 1, 3), ("lose_strings", 1, 10)]
    ));
}

/// An object that has a reference too many, and a buffer. Python is told to take its objects from malloc.
#[test]
fn a_python_extension() {
    need!(check_extension());
}

fn check_extension() -> Outcome<()> {
    let python = need_program("python3")?;
    let flags = command_output(Command::new(need_program("python3-config")?).arg("--includes"))?;
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let module = folder.path().join("extension.so");
    let mut compiler = Command::new(need_program("gcc")?);
    compiler
        .args(["-g", "-O0", "-fno-builtin", "-shared", "-fPIC", "-o"])
        .arg(&module);
    compiler
        .arg(victim::sources().join("extension.c"))
        .args(flags.split_whitespace());
    command_output(&mut compiler)?;
    for (call, lost) in [
        ("pass", &[][..]),
        (
            "extension.lose(object())",
            &[("lose", 1, 0), ("PyEval_EvalCode", 1, 0)][..],
        ),
    ] {
        let script = format!(
            "import sys, time; sys.path.insert(0, {:?}); import extension; extension.keep([1, 2]); {call}; \
             print('ready', flush=True); time.sleep(600)",
            folder.path().to_string_lossy()
        );
        let start = Start::program(python.clone()).env("PYTHONMALLOC", "malloc");
        expect_python(&start.args(["-c", &script]).wait_ready(), lost);
    }
    Ok(())
}

/// What the extension lost; what Python itself may lose at its start is not looked at.
fn expect_python(victim: &Victim, lost: &[Lost<'_>]) {
    let (value, answer) = Umdb::pid(victim.pid()).json("::findleaks");
    let mut rows = Vec::new();
    collect(&value, &mut rows);
    assert_eq!(rows.len(), lost.len(), "{answer}");
    let by_lose = rows
        .iter()
        .filter(|row| row["caller"]["symbol"] == "lose")
        .count();
    assert_eq!(by_lose, usize::from(!lost.is_empty()), "{answer}");
}

/// Output of a command that must succeed; a header that is missing is no failure of ours.
fn command_output(command: &mut Command) -> Outcome<String> {
    let output = command.output().expect("it starts");
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    if complaint.contains("Python.h") {
        return Err(umem_tests::NotRun::because("python3-dev is not installed"));
    }
    panic!("{command:?}: {complaint}");
}

/// Without debugging leaks are found as well, by cache and without stacks.
#[test]
fn without_debugging_leaks_have_no_stack() {
    let program = need!(victim::program("roots"));
    let start = |twin: &[&str]| {
        let start = Start::program(program.clone())
            .plain()
            .args(["bss", "none"])
            .args(twin);
        start.wait_ready()
    };
    let (value, answer) = Umdb::pid(start(&[]).pid()).json("::findleaks");
    answer.expect_code(1);
    let mut rows = Vec::new();
    collect(&value, &mut rows);
    assert_eq!(rows.len(), 1, "{answer}");
    assert_eq!(rows[0]["owner"], "umem_alloc_48", "{answer}");
    assert_eq!(
        (&rows[0]["leaked"], &rows[0]["caller"]),
        (&1.into(), &Value::Null),
        "{answer}"
    );
    expect(Umdb::pid(start(&["twin"]).pid()), &[]);
}

/// `::refs` and `::path` name what holds a buffer.
#[test]
fn what_holds_a_buffer_is_named() {
    let (victim, _twin) = need!(roots("bss"));
    let umdb = |line: &str| Umdb::pid(victim.pid()).exec(line).run();
    let kept = umdb("in_bss/J").stdout;
    let kept = kept.split_whitespace().last().expect("a word").to_owned();
    for command in ["refs", "path"] {
        let answer = umdb(&format!("{kept}::{command}"));
        answer.expect_code(0);
        let row = answer.stdout.lines().last().unwrap_or("").to_owned();
        assert!(
            row.contains(" data ") && row.ends_with("in_bss"),
            "{answer}"
        );
    }
    let retained = umdb(&format!("{kept}::retained"));
    retained.expect_code(0);
    let own: Vec<&str> = retained
        .stdout
        .lines()
        .nth(1)
        .unwrap_or("")
        .split_whitespace()
        .collect();
    assert_eq!(own.get(..2), Some(&["72", "2"][..]), "{retained}");
    let lost = umdb("::findleaks; ::walk leakbuf | ::path");
    assert!(
        lost.stdout.contains("no root leads to") && lost.stdout.contains("lose+"),
        "{lost}"
    );
    assert!(Path::new("/proc").join(victim.pid().to_string()).exists());
}

/// Peak of the memory of a umdb that runs a command on a process, in bytes.
fn peak(pid: Pid, command: &str) -> (u64, Answer) {
    let peak = "!grep VmHWM /proc/$PPID/status";
    let answer = Umdb::pid(pid).exec(command).exec(peak).run();
    answer.expect_code(0);
    let last = answer.stdout.lines().last().unwrap_or("");
    let kib = last
        .split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse::<u64>().ok());
    (kib.unwrap_or_else(|| panic!("{answer}")) << 10, answer)
}

/// What `::retained` and `::path` need is bounded by the number of buffers, however many pointers these hold.
#[test]
fn memory_is_bounded_whatever_the_number_of_pointers() {
    const FIXED: u64 = 8 << 20;
    for (buffers, pointers) in [(200_000_u64, 4_u64), (200_000, 20), (20_000, 200)] {
        let args = [buffers.to_string(), pointers.to_string()];
        let victim = need!(Start::new("dense")).plain().args(&args).wait_ready();
        let (base, _) = peak(victim.pid(), "::umem_status");
        let most = base + FIXED + 64 * buffers;
        let (retained, answer) = peak(victim.pid(), "::retained -n 1");
        assert!(retained <= most, "{retained} of {most} with {pointers}");
        // Everything is reached through the first.
        let row: Vec<&str> = answer
            .stdout
            .lines()
            .nth(1)
            .unwrap_or("")
            .split_whitespace()
            .collect();
        let bytes = (buffers * pointers * 8).to_string();
        let expected = [&*bytes, &args[0]];
        assert_eq!(row.get(..2), Some(&expected[..]), "{answer}");
        let (path, answer) = peak(victim.pid(), "*first::path");
        assert!(path <= most, "{path} of {most} with {pointers}");
        assert!(answer.stdout.contains(" first\n"), "{answer}");
    }
}
