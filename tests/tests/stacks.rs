//! Stacks are what gdb sees, and what the source says.

use std::{collections::BTreeSet, fs, process::Command, time::Duration};

use nix::sys::signal::Signal;
use serde_json::Value;
use umem_tests::{
    NotRun,
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

/// Prints the program counters of all callers of the current frame. What was inlined, or jumped on
/// instead of calling, has no frame: gdb makes those up from debug information.
const CALLERS: &str = r#"
python
def callers():
    frame = gdb.newest_frame().older()
    pcs = []
    while frame is not None:
        if frame.type() not in (gdb.INLINE_FRAME, gdb.TAILCALL_FRAME):
            pcs.append(hex(frame.pc()))
        frame = frame.older()
    print("STACK", *pcs)
end
"#;

/// gdb stops at every malloc, calloc and realloc of the victim and walks the stack; then the process becomes a core.
/// Every stack that the library recorded for a leak is one of gdb's, frame by frame and address by address.
#[test]
fn gdb_sees_the_same_frames() {
    let gdb = need!(need_program("gdb"));
    let version =
        command::run(Command::new(&gdb).args(["-nx", "-batch", "-ex", "python print(1)"]));
    if version.stdout.trim() != "1" {
        return NotRun::because("this gdb has no Python").report();
    }
    let victim = need!(program("chain"));
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let core = folder.path().join("core");
    let script = folder.path().join("script");
    let mut text = format!(
        "set pagination off\nset confirm off\nset debuginfod enabled off\nset backtrace past-main on\n\
         set exec-wrapper env LD_PRELOAD={}{CALLERS}break main\nrun",
        artifacts().library.display()
    );
    for name in ["malloc", "calloc", "realloc"] {
        text += &format!("\nbreak {name}\ncommands\nsilent\npython callers()\ncontinue\nend");
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
        .lines()
        .filter_map(|line| line.strip_prefix("STACK "))
        .map(|pcs| pcs.split(' ').map(address).collect())
        .collect();
    assert!(gdb_stacks.len() >= CHAINS.len(), "{said}");
    let stacks = leak_stacks(Umdb::core(&core));
    assert_eq!(stacks.len(), CHAINS.len(), "the leaks are in the core");
    for stack in stacks {
        let addresses: Vec<u64> = stack.iter().map(|frame| frame.address).collect();
        let names: Vec<&str> = stack.iter().map(|frame| frame.symbol.as_str()).collect();
        assert!(
            gdb_stacks.contains(&addresses),
            "{names:?} {addresses:x?}\n{said}"
        );
    }
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
