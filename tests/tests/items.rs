//! Items of UMEM_DEBUG that decide which bytes are looked at, which caches are, and which allocations fail.

use std::{collections::BTreeSet, os::unix::process::ExitStatusExt};

use nix::sys::signal::Signal;
use umem_tests::{Outcome, cores, need, umdb::Umdb, victim::Start};

/// Whether a mistake of the victim ends it with a report.
fn finds(debug: &str, kind: &str) -> Outcome<bool> {
    let start = Start::new("misuse")?.args(["wrong", kind]);
    let answer = start.env("UMEM_DEBUG", debug).run();
    let told = answer.stderr.starts_with("umem allocator: ");
    assert_eq!(
        answer.code(),
        if told { 134 } else { 0 },
        "{debug} {kind}\n{answer}"
    );
    Ok(told)
}

/// The kinds write into a freed buffer of 32 bytes, at its first byte and its last, of 4096 bytes, at byte 4000, and behind live
/// ones of 24 and of 4096 bytes.
#[test]
fn the_bytes_that_are_looked_at_can_be_limited() {
    let cases = [
        ("guards", [true, true, true, true, true]),
        ("guards,maxverify=16", [true, false, false, true, true]),
        ("guards,maxverify=4096", [true, true, true, true, true]),
        ("lite", [true, false, false, true, false]),
    ];
    let kinds = [
        "after_first",
        "after_last",
        "after_class",
        "past_one",
        "past_page",
    ];
    for (debug, expected) in cases {
        for (kind, expected) in kinds.into_iter().zip(expected) {
            assert_eq!(need!(finds(debug, kind)), expected, "{debug} {kind}");
        }
    }
}

/// 100 bytes, and a write 30 bytes behind them: the trailer is hit, or the page that cannot be written.
#[test]
fn buffers_of_the_least_size_get_a_guard_page_and_smaller_ones_do_not() {
    for (debug, signal) in [
        ("firewall=100", Signal::SIGSEGV),
        ("firewall=101", Signal::SIGABRT),
        ("firewall=1k", Signal::SIGABRT),
        ("firewall", Signal::SIGSEGV),
    ] {
        let start = need!(Start::new("misuse")).args(["wrong", "past_far_off"]);
        let answer = start.env("UMEM_DEBUG", debug).run();
        assert_eq!(answer.status.signal(), Some(signal as i32), "{answer}");
    }
}

/// Frames of the stack of allocation, below 100 calls.
fn depth(debug: &str) -> Outcome<usize> {
    let start = Start::new("misuse")?.args(["wrong", "deep"]);
    let answer = start.env("UMEM_DEBUG", debug).run();
    let lines = answer.stderr.lines();
    let stack = lines.skip_while(|line| !line.starts_with("allocated by "));
    Ok(stack
        .skip(1)
        .take_while(|line| line.starts_with("    ") && !line.contains("no stack"))
        .count())
}

#[test]
fn stacks_have_as_many_frames_as_audit_says() {
    for (debug, frames) in [
        ("audit", 16),
        ("default", 16),
        ("audit=0", 1),
        ("audit=1", 1),
        ("default,audit=5", 5),
        ("audit=40", 40),
        ("audit=64", 64),
        ("audit=1000", 64),
        ("audit=5,audit=7", 7),
    ] {
        assert_eq!(need!(depth(debug)), frames, "{debug}");
    }
}

/// How many buffers are allocated and freed before the first one is used again.
fn turns(debug: &str, kind: &str) -> Outcome<usize> {
    let start = Start::new("misuse")?.args(["ok", kind]);
    let answer = start.env("UMEM_DEBUG", debug).run();
    answer.expect_code(0);
    Ok(answer.stdout.trim().parse().expect("a number"))
}

/// A buffer of 1000 bytes takes some 1200. When it has left quarantine, it waits once more for its turn among those of its slab, of
/// which there are fewer than 100.
#[test]
fn freed_buffers_wait_for_as_many_bytes_as_quarantine_says() {
    for (debug, least, most) in [
        ("guards", 1, 100),
        ("default,quarantine=0", 1, 100),
        ("quarantine=512", 1, 100),
        ("quarantine=128k", 110, 250),
        ("quarantine", 220, 400),
        ("default", 220, 400),
        ("quarantine=1m", 850, 1200),
        ("quarantine=100m", 2048, 2200),
    ] {
        let turns = need!(turns(debug, "turns_small"));
        assert!((least..=most).contains(&turns), "{debug}: {turns}");
    }
    assert_eq!(need!(turns("guards", "turns_large")), 1);
    let large = need!(turns("guards,quarantine", "turns_large"));
    assert!((32..=64).contains(&large), "{large}");
}

/// `verbose` changes nothing: errors are told without it as well.
#[test]
fn verbose_is_taken() {
    let report = |debug: &str| {
        let start = Start::new("misuse")?.args(["wrong", "past_one"]);
        let answer = start.env("UMEM_DEBUG", debug).run();
        Ok(answer.stderr.lines().next().map(str::to_owned))
    };
    let (with, without) = (need!(report("guards,verbose")), need!(report("guards")));
    assert!(with.is_some());
    assert_eq!(with, without);
    let start = need!(Start::new("first_light")).env("UMEM_DEBUG", "default,verbose");
    let status = Umdb::pid(start.wait_ready().pid())
        .exec("::umem_status")
        .run();
    assert!(!status.stdout.contains("unknown"), "{status}");
}

fn failures(debug: &str) -> Outcome<u32> {
    let answer = Start::new("fails")?.env("UMEM_DEBUG", debug).run();
    answer.expect_code(0);
    Ok(answer.stdout.trim().parse().expect("a number"))
}

#[test]
fn allocations_fail_at_the_interval_of_mtbf() {
    assert_eq!(need!(failures("guards")), 0);
    assert_eq!(need!(failures("guards,mtbf=1")), 10_000);
    // One in 50 nanoseconds: some hundreds, and neither none nor all however busy the machine is.
    let some = need!(failures("guards,mtbf=50"));
    assert!((1..5000).contains(&some), "{some}");
    assert_eq!(need!(failures("mtbf=1")), 0, "it works with trailers only");
}

/// The checks of each cache of malloc, as `::umem_cache` shows them.
fn flags(debug: &str) -> Outcome<BTreeSet<String>> {
    let victim = Start::new("first_light")?
        .env("UMEM_DEBUG", debug)
        .wait_ready();
    let (report, answer) = Umdb::pid(victim.pid()).json("::umem_cache");
    answer.expect_code(0);
    let rows = report["sections"][0]["rows"].as_array().cloned();
    let rows = rows.expect("rows").into_iter().filter(|row| {
        let name = row["name"].as_str().unwrap_or("");
        name.starts_with("umem_alloc_")
    });
    Ok(rows.map(|row| row["flags"].to_string()).collect())
}

#[test]
fn random_gives_caches_different_checks() {
    assert_eq!(need!(flags("default")).len(), 1);
    assert!(need!(flags("random")).len() > 2);
}

/// A freed buffer held 100 times one letter; what is saved of it is what the item says.
#[test]
fn contents_says_how_many_bytes_are_saved() {
    for (bytes, least, most) in [(32, 32, 40), (64, 64, 72)] {
        let start = need!(Start::new("misuse"))
            .args(["wrong", "letters"])
            .env("UMEM_DEBUG", format!("default,contents={bytes}"))
            .env("UMEM_LOGGING", "contents");
        let (_, core) = need!(cores::of_abort(&start));
        let image = std::fs::read(core.path()).expect("the core can be read");
        let longest = image
            .chunk_by(|one, other| one == other)
            .filter(|run| run[0] == b'q')
            .map(<[u8]>::len)
            .max();
        let longest = longest.unwrap_or(0);
        assert!((least..=most).contains(&longest), "{bytes}: {longest}");
    }
}
