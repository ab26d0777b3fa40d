//! Items of UMEM_DEBUG and UMEM_LOGGING, one by one.

use std::{os::unix::process::ExitStatusExt, time::Duration};

use nix::sys::signal::Signal;
use umem_tests::{Outcome, command::Answer, cores, need, umdb::Umdb, victim::Start};

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
    assert!(answer.stdout.contains("umem_alloc_32"), "{answer}");
    // The buffer held 24 times the letter a when it was freed; afterwards it holds the free pattern.
    let image = std::fs::read(core.path()).expect("the core can be read");
    let saved = image
        .windows(24)
        .filter(|bytes| bytes == &[b'a'; 24])
        .count();
    assert!(saved >= 1, "what was freed is saved");
}
