//! Stacks are what gdb sees, and what the source says.

use std::{collections::BTreeSet, fs, process::Command, time::Duration};

use nix::sys::signal::Signal;
use serde_json::Value;
use umem_tests::{
    artifacts::artifacts,
    command, cores, need, need_program,
    umdb::Umdb,
    victim::{Victim, program, scrub},
};

/// Starting gdb and going through a hundred stops takes its time.
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
                    Some(frames) if key != "freed" => {
                        found.push(frames.iter().map(frame).collect())
                    }
                    _ => collect(value, found),
                }
            }
        }
        _ => {}
    }
}

fn frame(value: &Value) -> Frame {
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let address = text("address");
    let digits = address
        .strip_prefix("0x")
        .expect("addresses are hexadecimal");
    Frame {
        address: u64::from_str_radix(digits, 16).expect("addresses are hexadecimal"),
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

/// gdb stops at every malloc, calloc and realloc of the victim and prints the stack; then the process becomes a core.
/// Every stack that the library recorded for a leak is one of gdb's, frame by frame and address by address.
#[test]
fn gdb_sees_the_same_frames() {
    let gdb = need!(need_program("gdb"));
    let victim = need!(program("chain"));
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let core = folder.path().join("core");
    let script = folder.path().join("script");
    let mut text = format!(
        "set pagination off\nset confirm off\nset width 0\nset debuginfod enabled off\n\
         set backtrace past-main on\nset print frame-arguments none\nset print inferior-events off\n\
         set exec-wrapper env LD_PRELOAD={}\nbreak main\nrun",
        artifacts().library.display()
    );
    for name in ["malloc", "calloc", "realloc"] {
        text += &format!("\nbreak {name}\ncommands\nsilent\necho STACK\\n\nbt\ncontinue\nend");
    }
    text += &format!(
        "\nbreak done\ncontinue\ngenerate-core-file {}\nkill\nquit\n",
        core.display()
    );
    fs::write(&script, text).expect("a file can be written");
    let mut command = Command::new(gdb);
    scrub(&mut command)
        .env("HOME", folder.path())
        .env("UMEM_DEBUG", "default")
        .env("UMEM_LOGGING", "transaction")
        .args(["-nx", "-batch", "-x"])
        .arg(&script)
        .arg(&victim);
    let said = command::run_with(&mut command, "", GDB_LIMIT);
    assert!(core.is_file(), "gdb made no core\n{said}");
    let gdb_stacks: BTreeSet<Vec<u64>> = said
        .stdout
        .split("STACK\n")
        .skip(1)
        .map(gdb_frames)
        .collect();
    assert!(gdb_stacks.len() >= CHAINS.len(), "{said}");
    let stacks = leak_stacks(Umdb::core(&core));
    assert!(
        stacks.len() >= CHAINS.len() - 1,
        "the leaks are in the core: {}",
        stacks.len()
    );
    for stack in stacks {
        let addresses: Vec<u64> = stack.iter().map(|frame| frame.address).collect();
        let names: Vec<&str> = stack.iter().map(|frame| frame.symbol.as_str()).collect();
        assert!(
            gdb_stacks.contains(&addresses),
            "{names:?} {addresses:x?}\n{said}"
        );
    }
}

/// Addresses of the callers in a backtrace; frame 0 is the allocation function itself.
fn gdb_frames(text: &str) -> Vec<u64> {
    text.lines()
        .take_while(|line| line.starts_with('#'))
        .skip(1)
        .map(|line| {
            let address = line
                .split_whitespace()
                .nth(1)
                .and_then(|word| word.strip_prefix("0x"));
            let digits = address.unwrap_or_else(|| panic!("no address in {line}"));
            u64::from_str_radix(digits, 16).expect("addresses are hexadecimal")
        })
        .collect()
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
