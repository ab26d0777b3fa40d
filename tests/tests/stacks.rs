//! Stacks are what gdb sees, and what the source says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use nix::sys::signal::Signal;
use serde_json::Value;
use umem_tests::{
    NotRun, Outcome,
    artifacts::{artifacts, workspace},
    command::{self, Answer},
    cores, need, need_program,
    umdb::Umdb,
    victim::{Victim, scrub},
};

/// Starting gdb and going through hundreds of stops takes its time.
const GDB_LIMIT: Duration = Duration::from_secs(120);
/// The functions of each leak's stack that are the program's own, innermost first.
const CHAINS: [&[&str]; 5] = [
    &["last", "middle", "first", "main", "_start"],
    &["last", "compare", "sort", "main", "_start"],
    &["duplicate", "main", "_start"],
    &["print", "main", "_start"],
    &["read_line", "main", "_start"],
];

/// The stacks of all leaks that `::findleaks` knows, as lists of (address, symbol, whether of the program).
fn leak_stacks(umdb: Umdb) -> Vec<Vec<Frame>> {
    let (value, answer) = umdb.json("::findleaks");
    assert_eq!(answer.stderr, "", "{answer}");
    let mut found = Vec::new();
    collect(&value, &mut found);
    found
}

struct Frame {
    address: u64,
    symbol: String,
    object: String,
}

fn collect(value: &Value, found: &mut Vec<Vec<Frame>>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
        Value::Object(map) => {
            for (key, value) in map {
                match value.get("frames").and_then(Value::as_array) {
                    Some(frames) if key != "freed" => found.push(own_frames(frames)),
                    _ => collect(value, found),
                }
            }
        }
        _ => {}
    }
}

/// Those with a return address of their own: the others are inlined into them.
fn own_frames(frames: &[Value]) -> Vec<Frame> {
    let own = frames.iter().filter(|frame| frame["inlined"] == false);
    own.map(frame).collect()
}

fn frame(value: &Value) -> Frame {
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    Frame {
        address: address(&text("address")),
        symbol: text("symbol"),
        object: text("object"),
    }
}

/// Without frame pointers, through callbacks and callees of libc: nobody is missing and nobody is out of order.
#[test]
fn chains_of_calls_are_complete() {
    let victim = need!(Victim::start("chain", &[]));
    let program = victim
        .program()
        .file_name()
        .expect("a program has a name")
        .to_string_lossy()
        .into_owned();
    let stacks = leak_stacks(Umdb::pid(victim.pid()));
    let own: BTreeSet<Vec<String>> = stacks
        .iter()
        .map(|stack| {
            let of_program = stack.iter().filter(|frame| frame.object == program);
            of_program.map(|frame| frame.symbol.clone()).collect()
        })
        .collect();
    let expected: BTreeSet<Vec<String>> = CHAINS
        .iter()
        .map(|chain| chain.iter().map(|&name| name.to_owned()).collect())
        .collect();
    assert_eq!(own, expected);
    assert_eq!(stacks.len(), CHAINS.len(), "each once");
    for (stack, through) in [(1, "qsort"), (2, "strdup"), (3, "asprintf"), (4, "getline")] {
        let of = CHAINS[stack][0];
        let whole = stacks
            .iter()
            .find(|frames| {
                CHAINS[stack]
                    .iter()
                    .all(|name| frames.iter().any(|frame| frame.symbol == *name))
            })
            .unwrap_or_else(|| panic!("no stack of {of}"));
        let names: Vec<&str> = whole.iter().map(|frame| frame.symbol.as_str()).collect();
        let in_libc = whole.iter().any(|frame| frame.object.starts_with("libc."));
        assert!(
            in_libc,
            "{through} is between {of} and its caller: {names:?}"
        );
    }
}

/// How programs are compiled to be compared.
const LEVELS: [&str; 2] = ["0", "2"];
/// Distinct stacks that are compared, at least.
const STACKS: usize = 1000;

fn paths(file: &str) -> PathBuf {
    workspace().join("tests/paths").join(file)
}

/// A program whose stacks are compared: its name, its command line, and where a debugger begins and ends to look.
struct Compared {
    name: String,
    line: Vec<PathBuf>,
    ends: [&'static str; 2],
}

/// Programs in C, C++ and Rust at both levels, without frame pointers.
fn compile(folder: &Path) -> Outcome<Vec<Compared>> {
    let (c, cxx) = (need_program("gcc")?, need_program("g++")?);
    let rust = need_program("rustc")?;
    let of_c = ["-g", "-fno-builtin", "-fomit-frame-pointer", "-pthread"];
    let of_rust = ["-g", "--edition=2024", "-Cforce-frame-pointers=no"];
    let mut programs = Vec::new();
    for level in LEVELS {
        let optimized = format!("-O{level}");
        let of_rust_level = format!("-Copt-level={level}");
        for (compiler, flags, level_flag, file) in [
            (&c, &of_c[..], &optimized, "paths.c"),
            (&cxx, &of_c[..], &optimized, "paths.cc"),
            (&rust, &of_rust[..], &of_rust_level, "paths.rs"),
        ] {
            let name = format!("{file} at -O{level}");
            let program = folder.join(name.replace([' ', '.'], "_"));
            let mut command = Command::new(compiler);
            command.args(flags).arg(level_flag);
            command.arg("-o").arg(&program).arg(paths(file));
            command::run_with(&mut command, "", GDB_LIMIT).expect_code(0);
            programs.push(Compared {
                name,
                line: vec![program],
                ends: ["begin", "done"],
            });
        }
    }
    Ok(programs)
}

/// The system's CPython as it is: optimised, without frame pointers, most often stripped.
fn python() -> Outcome<Compared> {
    // What is found by name may be a script that starts it.
    let mut command = Command::new(need_program("python3")?);
    command.args(["-c", "import sys; print(sys.executable)"]);
    let found = command::run(&mut command);
    Ok(Compared {
        name: "CPython".to_owned(),
        line: vec![found.stdout.trim().into(), paths("paths.py")],
        ends: ["getppid"; 2],
    })
}

/// What happened to a thread: allocations and frees in order, with the callers.
type Calls = BTreeMap<u64, Vec<(String, Vec<u64>)>>;

/// gdb stops at every call of the allocator between the two ends and walks the stack; then the process becomes a core.
fn calls_by_gdb(gdb: &Path, program: &Compared, core: &Path) -> (Calls, Answer) {
    let wrapper = format!(
        "set exec-wrapper env LD_PRELOAD={} UMEM_DEBUG=audit=64 UMEM_LOGGING=transaction=128k PYTHONMALLOC=malloc",
        artifacts().library.display()
    );
    let mut command = Command::new(gdb);
    scrub(&mut command)
        .env("HOME", core.parent().expect("it is in a folder"))
        .env("BEGIN", program.ends[0])
        .env("END", program.ends[1])
        .env("CORE", core)
        .args(["-nx", "-batch", "-iex", "set debuginfod enabled off"])
        .args(["-ex", &wrapper, "-x"])
        .arg(paths("callers.py"))
        .arg("--args")
        .args(&program.line);
    let said = command::run_with(&mut command, "", GDB_LIMIT);
    assert!(core.is_file(), "{}: gdb made no core\n{said}", program.name);
    let mut calls = Calls::new();
    for line in said.stdout.lines() {
        let Some(rest) = line.strip_prefix("CALL ") else {
            continue;
        };
        let mut words = rest.split(' ');
        let mut word = || words.next().expect("thread and operation");
        let (thread, operation) = (word().parse().expect("a number"), word().to_owned());
        let of_thread = calls.entry(thread).or_default();
        of_thread.push((operation, words.map(address).collect()));
    }
    (calls, said)
}

/// The same as the transaction log has it, without what the library allocated for its own thread.
fn calls_by_log(core: &Path) -> Calls {
    let (value, answer) = Umdb::core(core).json("::umalog");
    assert_eq!(answer.stderr, "", "{answer}");
    let mut calls = Calls::new();
    let items = value["sections"][0]["items"].as_array();
    // The newest stands first.
    for item in items.expect("transactions").iter().rev() {
        let frames = item["stacks"]["stack"]["frames"].as_array();
        let frames = own_frames(frames.expect("a stack"));
        if frames.iter().any(|frame| frame.object == "libumem.so") {
            continue;
        }
        let operation = item["operation"].as_str().expect("an operation");
        let pcs = frames.iter().map(|frame| frame.address).collect();
        let thread = item["thread"].as_u64().expect("a thread");
        let of_thread = calls.entry(thread).or_default();
        of_thread.push((operation.to_owned(), pcs));
    }
    calls
}

/// Compares both, call by call and address by address. Returns the distinct stacks.
fn compare(gdb: &Path, program: &Compared, folder: &Path) -> BTreeSet<Vec<u64>> {
    let core = folder.join("core");
    let (by_gdb, said) = calls_by_gdb(gdb, program, &core);
    let by_log = calls_by_log(&core);
    fs::remove_file(&core).expect("the core is there");
    let mut stacks = BTreeSet::new();
    for (thread, calls) in by_gdb {
        let ours = by_log.get(&thread).map_or(&[][..], Vec::as_slice);
        let first = ours.len().checked_sub(calls.len());
        let first = first.unwrap_or_else(|| panic!("{}: calls are missing\n{said}", program.name));
        for (index, (theirs, ours)) in calls.into_iter().zip(&ours[first..]).enumerate() {
            assert_eq!(
                (&theirs.0, format!("{:x?}", theirs.1)),
                (&ours.0, format!("{:x?}", ours.1)),
                "{}: call {index} of thread {thread}: gdb on the left, the library on the right",
                program.name
            );
            stacks.insert(theirs.1);
        }
    }
    assert!(
        !stacks.is_empty(),
        "{}: nothing was called\n{said}",
        program.name
    );
    stacks
}

/// In C, C++, Rust and CPython the library has recorded exactly what gdb sees, in more than a thousand different stacks.
#[test]
fn gdb_sees_the_same_frames() {
    let gdb = need!(need_program("gdb"));
    let version =
        command::run(Command::new(&gdb).args(["-nx", "-batch", "-ex", "python print(1)"]));
    if version.stdout.trim() != "1" {
        return NotRun::because("this gdb has no Python").report();
    }
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let mut programs = need!(compile(folder.path()));
    programs.push(need!(python()));
    let stacks: usize = programs
        .iter()
        .map(|program| compare(&gdb, program, folder.path()).len())
        .sum();
    assert!(stacks >= STACKS, "{stacks} stacks were compared");
}

fn address(text: &str) -> u64 {
    let digits = text.strip_prefix("0x").expect("addresses are hexadecimal");
    u64::from_str_radix(digits, 16).expect("addresses are hexadecimal")
}

#[test]
fn a_core_has_the_same_stacks_as_the_process() {
    let victim = need!(Victim::start("chain", &[]));
    let addresses = |umdb| -> BTreeSet<Vec<u64>> {
        let stacks = leak_stacks(umdb).into_iter();
        stacks
            .map(|stack| stack.iter().map(|frame| frame.address).collect())
            .collect()
    };
    let live = addresses(Umdb::pid(victim.pid()));
    let core = need!(cores::kernel_core(victim, Signal::SIGABRT));
    assert_eq!(addresses(Umdb::core(core.path())), live);
}

/// Lines of an answer that follow a line which begins with the first, and begin as said.
fn expect_lines(answer: &Answer, begins: &[&str]) {
    let lines: Vec<&str> = answer.stdout.lines().map(str::trim).collect();
    let is_there = lines.windows(begins.len()).any(|lines| {
        lines
            .iter()
            .zip(begins)
            .all(|(line, begin)| line.starts_with(begin))
    });
    assert!(is_there, "{begins:?}\n{answer}");
}

/// Functions without code of their own have frames, marked as such, with the lines of the calls; rules match them.
#[test]
fn what_is_inlined_is_shown_and_matched() {
    let victim = need!(Victim::start("inlined", &[]));
    let leaked = Umdb::pid(victim.pid()).exec("::findleaks -d").run();
    leaked.expect_code(1);
    let allocated = [
        "inner (inlined) at inlined.c:22",
        "middle (inlined) at inlined.c:29",
        "outer+0x",
        "main+0x",
    ];
    expect_lines(&leaked, &allocated);
    let is_outer = |line: &str| line.contains("outer+0x") && line.ends_with(" at inlined.c:34");
    assert!(leaked.stdout.lines().any(is_outer), "{leaked}");
    let record = Umdb::pid(victim.pid())
        .exec("::walk leak | ::bufctl -v")
        .run();
    expect_lines(&record, &allocated);
    let stack = Umdb::pid(victim.pid()).exec("::stack").run();
    let waiting = [
        "inner_wait (inlined) at inlined.c:41",
        "outer_wait+0x",
        "main+0x",
    ];
    expect_lines(&stack, &waiting);
    for (rule, code) in [("fun:middle", 0), ("fun:outer", 0), ("fun:inner_wait", 1)] {
        let rules = file_of(rule);
        let umdb = Umdb::pid(victim.pid())
            .arg("--suppressions")
            .arg(rules.path());
        umdb.exec("::findleaks").run().expect_code(code);
    }
}

fn file_of(rule: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    fs::write(file.path(), rule).expect("it can be written");
    file
}
