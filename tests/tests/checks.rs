//! Items of UMEM_DEBUG and UMEM_LOGGING, one by one.

use std::{
    fs::{self, Permissions},
    mem::offset_of,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nix::{sys::signal::Signal, unistd::geteuid};
use serde_json::Value;
use umem_layout::{AuditRecord, Cache, Log, Region, Slab, UmemRoot};
use umem_tests::{
    NotRun, Outcome,
    artifacts::artifacts,
    command::{self, Answer},
    cores, need, need_program,
    umdb::Umdb,
    victim::{Start, scrub, sources},
};

/// Thousands of processes, on a machine that is busy.
const SLOW: Duration = Duration::from_secs(120);

fn misuse(debug: &str, kind: &str) -> Outcome<Answer> {
    let start = Start::new("misuse")?.args(["wrong", kind]);
    Ok(start.env("UMEM_DEBUG", debug).run())
}

fn headline(answer: &Answer) -> &str {
    answer.stderr.lines().next().unwrap_or_default()
}

#[test]
fn every_set_of_checks_with_redzones_finds_an_overrun_also_at_realloc() {
    let past = "umem allocator: redzone violation: write past end of buffer";
    for debug in [
        "guards",
        "audit",
        "audit=0",
        "contents,guards",
        "lite",
        "quarantine=1m",
        "nosignal",
        "guards,maxverify=8",
    ] {
        for kind in ["past_one", "past_then_realloc", "past_zero_in_code"] {
            let answer = need!(misuse(debug, kind));
            assert_eq!(headline(&answer), past, "{debug} {kind} {answer}");
        }
    }
}

/// Every byte behind a buffer up to the end of its trailer, at free, realloc and umem_verify; every byte of a freed buffer, by
/// umem_verify and when it is handed out again.
#[test]
fn no_byte_is_left_out() {
    for (kind, least) in [("every_byte_behind", 2000), ("every_byte_freed", 600)] {
        let start = need!(Start::new("misuse")).args(["ok", kind]);
        let answer = start.run_within(SLOW);
        let tried = answer
            .stdout
            .strip_prefix("tried ")
            .and_then(|rest| rest.strip_suffix(" missed 0\n"))
            .and_then(|count| count.parse::<u32>().ok());
        assert!(tried.is_some_and(|count| count >= least), "{answer}");
    }
}

#[test]
fn a_guard_page_stops_the_write_itself() {
    let answer = need!(misuse("firewall=1", "past_far_off"));
    assert_eq!(
        answer.status.signal(),
        Some(Signal::SIGSEGV as i32),
        "{answer}"
    );
    let small = need!(misuse("firewall=1000", "past_one"));
    assert_eq!(
        headline(&small),
        "umem allocator: redzone violation: write past end of buffer"
    );
    let late = need!(misuse("firewall=1", "twice"));
    assert_eq!(
        headline(&late),
        "umem allocator: duplicate free: buffer freed twice"
    );
    let mixed = need!(misuse("firewall=1", "delete_of_malloc"));
    assert_eq!(
        headline(&mixed),
        "umem allocator: bad free: buffer was allocated by another family of functions"
    );
}

#[test]
fn without_mappings_buffers_get_redzones_and_that_is_counted() {
    let start = need!(Start::new("misuse")).args(["ok", "many_then_wait"]);
    let victim = start.env("UMEM_DEBUG", "firewall=1").wait_ready();
    let answer = Umdb::pid(victim.pid()).exec("::umem_status").run();
    let dropped = answer
        .stdout
        .split("without a guard page: ")
        .nth(1)
        .and_then(|rest| rest.split(')').next())
        .and_then(|count| count.parse::<u64>().ok());
    assert!(dropped.is_some_and(|count| count > 1000), "{answer}");
    assert_eq!(victim.stderr(), "");
}

#[test]
fn noabort_goes_on() {
    let answer = need!(misuse("default,noabort", "twice"));
    assert!(answer.status.success(), "{answer}");
    assert_eq!(
        headline(&answer),
        "umem allocator: duplicate free: buffer freed twice"
    );
    assert!(
        answer
            .stderr
            .ends_with("umem: going on, as UMEM_DEBUG=noabort asks\n"),
        "{answer}"
    );
}

#[test]
fn out_of_memory_is_an_error_with_checknull_and_a_log_entry_with_fail() {
    let answer = need!(misuse("checknull", "too_large"));
    assert_eq!(headline(&answer), "umem allocator: out of heap space");
    assert!(
        answer.stderr.contains("misuse`too_large+"),
        "the caller is named: {answer}"
    );
    let start = need!(Start::new("misuse")).args(["wrong", "too_large_then_wait"]);
    let victim = start.env("UMEM_LOGGING", "fail").wait_ready();
    let answer = Umdb::pid(victim.pid()).exec("::umalog fail").run();
    assert!(answer.stdout.contains("too_large"), "{answer}");
}

#[test]
fn an_allocation_in_a_signal_handler_is_an_error_with_nosignal() {
    let answer = need!(misuse("nosignal", "in_handler"));
    assert_eq!(
        headline(&answer),
        "umem allocator: called from signal handler"
    );
    let without = need!(misuse("default", "in_handler"));
    assert_eq!(without.stderr, "");
}

#[test]
fn freed_contents_and_slabs_are_logged() {
    let start = need!(Start::new("misuse")).args(["wrong", "twice"]);
    let start = start.env("UMEM_LOGGING", "transaction,contents,slab");
    let (_, core) = need!(cores::of_abort(&start));
    let answer = Umdb::core(core.path())
        .exec("::umalog slab")
        .exec("::umem_status")
        .run();
    let made = answer
        .stdout
        .split("T-")
        .find(|slab| slab.contains("umem_alloc_32"));
    assert!(
        made.is_some_and(|slab| slab.contains("  slab 65536 bytes") && slab.contains("twice+")),
        "a slab is logged with who had it made: {answer}"
    );
    // The buffer held 24 times the letter a when it was freed; afterwards it holds the free pattern.
    let image = std::fs::read(core.path()).expect("the core can be read");
    let saved = image
        .windows(24)
        .filter(|bytes| bytes == &[b'a'; 24])
        .count();
    assert!(saved >= 1, "what was freed is saved");
}

/// What `::umalog` shows of the allocations of these sizes, newest first.
fn logged(umalog: &Value, sizes: std::ops::Range<u64>) -> Vec<Value> {
    let items = umalog["sections"][0]["items"].as_array();
    let is_wanted = |item: &&Value| {
        let size = item["bytes"].as_u64().unwrap_or(0);
        item["operation"] == "alloc" && sizes.contains(&size)
    };
    let items = items.into_iter().flatten().filter(is_wanted);
    items.cloned().collect()
}

/// Two threads allocate in turns and wait for each other, by a pipe and by a semaphore.
#[test]
fn records_are_in_the_order_in_which_threads_waited_for_each_other() {
    const FIRST: u64 = 10_000;
    const TURNS: u64 = 600;
    let start = need!(Start::new("ordered")).env("UMEM_LOGGING", "transaction=1m");
    let victim = start.wait_ready();
    let (umalog, answer) = Umdb::pid(victim.pid()).json("::umalog");
    let turns = logged(&umalog, FIRST..FIRST + TURNS);
    let expected: Vec<u64> = (FIRST..FIRST + TURNS).rev().collect();
    for key in ["sequence", "timestamp"] {
        let mut sorted = turns.clone();
        sorted.sort_by_key(|item| std::cmp::Reverse(item[key].as_u64()));
        let sizes: Vec<u64> = sorted
            .iter()
            .filter_map(|item| item["bytes"].as_u64())
            .collect();
        assert_eq!(sizes, expected, "by {key}: {answer}");
    }
}

/// The victim allocates between two looks at the clock.
#[test]
fn times_of_records_convert_to_the_time_of_day() {
    let now = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("it is later than 1970")
    };
    let before = now();
    let start = need!(Start::new("ordered")).env("UMEM_LOGGING", "transaction=1m");
    let victim = start.wait_ready();
    let after = now();
    // Ticks are measured more exactly the longer the program runs: this one has just begun.
    let slack = Duration::from_millis(20) + (after - before) / 50;
    let (umalog, answer) = Umdb::pid(victim.pid()).json("::umalog");
    let turns = logged(&umalog, 10_000..10_600);
    assert_eq!(turns.len(), 600, "{answer}");
    for turn in turns {
        let wall = Duration::from_nanos(turn["wall"].as_u64().unwrap_or(0));
        assert!(
            before - slack < wall && wall < after + slack,
            "{before:?} {wall:?} {after:?}"
        );
    }
}

/// A stray pointer may have hit the allocator's own data: the report comes, and comes to its end.
#[test]
fn a_report_survives_damage_of_the_allocators_own_data() {
    let offsets = [
        offset_of!(UmemRoot, unit_size),
        offset_of!(UmemRoot, regions),
        offset_of!(UmemRoot, threads),
        offset_of!(UmemRoot, logs),
        offset_of!(UmemRoot, depot),
        offset_of!(Region, base),
        offset_of!(Region, slabs),
        size_of::<Slab>(),
        offset_of!(Slab, head_delta),
        offset_of!(Slab, cache),
        offset_of!(Slab, base),
        offset_of!(Slab, records),
        offset_of!(Slab, chunk_size),
        offset_of!(Cache, name),
        offset_of!(Cache, trailer_offset),
        size_of::<Cache>(),
        size_of::<AuditRecord>(),
        offset_of!(AuditRecord, requested),
        offset_of!(Log, base),
    ]
    .map(|offset| offset.to_string());
    let kinds = [
        "record", "cache", "name", "trailer", "slab", "chunk", "depot", "thread", "log", "entries",
        "around",
    ];
    for kind in kinds {
        for misuse in ["twice", "past"] {
            let start = need!(Start::new("scribble"))
                .args([kind, misuse])
                .args(&offsets);
            let answer = start.run();
            assert_eq!(
                answer.status.signal(),
                Some(Signal::SIGABRT as i32),
                "{kind} {misuse} {answer}"
            );
            assert!(
                answer.stderr.starts_with("umem allocator: "),
                "{kind} {answer}"
            );
            let last = answer.stderr.lines().last().unwrap_or_default();
            assert!(
                last.starts_with("umem: heap corruption detected"),
                "{kind} {misuse} {answer}"
            );
        }
    }
}

/// Runs `slabs` with one field of a slab's structure overwritten: its bytes and offset, with buffers of a size.
fn overwrite(
    debug: &str,
    action: &str,
    buffer: usize,
    (bytes, field): (usize, usize),
    value: &str,
) -> Outcome<Answer> {
    let numbers = |numbers: &[usize]| numbers.iter().map(usize::to_string).collect::<Vec<_>>();
    let start = Start::new("slabs")?
        .args([action])
        .args(numbers(&[buffer, bytes, field]))
        .args([value])
        .args(numbers(&[
            offset_of!(UmemRoot, unit_size),
            offset_of!(UmemRoot, regions),
            offset_of!(Region, base),
            offset_of!(Region, slabs),
            size_of::<Slab>(),
            offset_of!(Slab, head_delta),
        ]));
    Ok(start.env("UMEM_DEBUG", debug).run())
}

fn expect_damage_is_told(answer: &Answer, what: &str) {
    assert_eq!(
        answer.status.signal(),
        Some(Signal::SIGABRT as i32),
        "{what} {answer}"
    );
    assert_eq!(
        headline(answer),
        "umem allocator: allocator structures corrupted",
        "{what} {answer}"
    );
    let second = answer.stderr.lines().nth(1).unwrap_or_default();
    assert!(
        second.starts_with("slab structure at 0x") && second.ends_with(" is damaged"),
        "{what} {answer}"
    );
    let last = answer.stderr.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("umem: heap corruption detected; look with: umdb"),
        "{what} {answer}"
    );
}

/// Each pointer of a slab's structure, overwritten by what is no address, by one of other memory, and by one of the slab: whatever the
/// program does next with the slab, the damage is told.
#[test]
fn overwritten_pointers_of_a_slab_are_told() {
    let fields = [
        offset_of!(Slab, next),
        offset_of!(Slab, prev),
        offset_of!(Slab, cache),
        offset_of!(Slab, base),
        offset_of!(Slab, bitmap),
        offset_of!(Slab, states),
        offset_of!(Slab, families),
        offset_of!(Slab, records),
    ];
    let values = ["0x4141414141414141", "8", "stack", "self", "buffer"];
    for (index, field) in fields.into_iter().enumerate() {
        for (number, value) in values.into_iter().enumerate() {
            // umem_verify looks at buffers, not at lists.
            let actions: &[&str] = match index {
                0 | 1 => &["free", "allocate", "realloc", "usable"],
                _ => &["free", "allocate", "realloc", "usable", "verify"],
            };
            for &action in actions {
                // All sets of checks in turn.
                let debug = ["default", "guards", "lite", "audit"][(index + number) % 4];
                let answer = need!(overwrite(debug, action, 24, (8, field), value));
                expect_damage_is_told(&answer, &format!("{debug} {action} {field:#x} {value}"));
            }
        }
    }
}

/// The units of a slab behind its first lead back to it.
#[test]
fn an_overwritten_way_back_to_the_slab_is_told() {
    let delta = (4, offset_of!(Slab, head_delta));
    for value in ["0x41414141", "0xffffffff", "1000"] {
        for action in ["free", "realloc", "usable"] {
            let answer = need!(overwrite("default", action, 100_000, delta, value));
            expect_damage_is_told(&answer, &format!("{action} {value}"));
        }
    }
}

/// With `noabort` the slab is left alone, and the program goes on with others.
#[test]
fn a_program_goes_on_without_a_damaged_slab() {
    for field in [
        offset_of!(Slab, next),
        offset_of!(Slab, states),
        offset_of!(Slab, bitmap),
    ] {
        for action in ["free", "allocate"] {
            let (value, debug) = ("0x4141414141414141", "default,noabort");
            let answer = need!(overwrite(debug, action, 24, (8, field), value));
            assert_eq!(answer.code(), 0, "{action} {field:#x} {answer}");
            assert!(
                answer.stderr.contains("\nslab structure at 0x"),
                "{action} {field:#x} {answer}"
            );
        }
    }
}

/// A program that is linked to the library, in a folder that everybody may read, with these permissions.
fn linked(folder: &Path, mode: u32) -> Outcome<PathBuf> {
    let (library, program) = (folder.join("libumem.so"), folder.join("linked"));
    fs::set_permissions(folder, Permissions::from_mode(0o755)).expect("the folder is ours");
    fs::copy(&artifacts().library, &library).expect("the library can be copied");
    let mut compiler = Command::new(need_program("gcc")?);
    compiler
        .args([
            "-O0",
            "-fno-builtin",
            "-pthread",
            "-w",
            "-Wl,--no-as-needed",
        ])
        .arg(sources().join("misuse.c"))
        .arg(&library)
        .arg(format!("-Wl,-rpath,{}", folder.display()))
        .arg("-o")
        .arg(&program);
    let answer = command::run_with(&mut compiler, "", SLOW);
    assert!(answer.status.success(), "{answer}");
    fs::set_permissions(&program, Permissions::from_mode(mode)).expect("the program is ours");
    Ok(program)
}

/// Somebody else who runs a set-user-ID program gets no say, and is told nothing.
#[test]
fn with_raised_privileges_nothing_is_read_and_nothing_is_said() {
    if !geteuid().is_root() {
        return NotRun::because("only root can have a set-user-ID program run by somebody else")
            .report();
    }
    let setpriv = need!(need_program("setpriv"));
    let outcome = |mode: u32, kind: &str| {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let program = linked(folder.path(), mode)?;
        let mut command = Command::new(&setpriv);
        scrub(&mut command)
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
            .arg(&program)
            .args(["wrong", kind])
            .env("UMEM_DEBUG", "default")
            .current_dir("/");
        Ok(command::run_with(&mut command, "", SLOW))
    };
    let overrun = need!(outcome(0o755, "past_one"));
    assert_eq!(
        overrun.status.signal(),
        Some(Signal::SIGABRT as i32),
        "{overrun}"
    );
    let wild = need!(outcome(0o755, "wild"));
    assert!(
        wild.stderr.starts_with("umem allocator: invalid free"),
        "{wild}"
    );
    let overrun = need!(outcome(0o4755, "past_one"));
    assert_eq!(
        (overrun.code(), &*overrun.stderr),
        (0, ""),
        "UMEM_DEBUG counts: {overrun}"
    );
    let wild = need!(outcome(0o4755, "wild"));
    assert_eq!(wild.status.signal(), Some(Signal::SIGABRT as i32), "{wild}");
    assert_eq!(wild.stderr, "", "the error is not to be told");
}
