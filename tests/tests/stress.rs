//! Much at once: many threads, sizes, forks, short lives. Each victim checks its contents; afterwards umdb counts what is in use from
//! slabs, bitmaps and magazines, and that has to be what the counters of allocations and frees say.

use std::time::Duration;

use serde_json::Value;
use umem_tests::{Outcome, need, umdb::Umdb, victim::Start};

/// All of this shares a machine with other tests.
const SLOW: Duration = Duration::from_secs(300);
const DEFAULT: &[(&str, &str)] = &[("UMEM_DEBUG", "default"), ("UMEM_LOGGING", "transaction")];

fn number(value: &Value, key: &str) -> u64 {
    value[key]
        .as_u64()
        .unwrap_or_else(|| panic!("{key} is a number in {value}"))
}

/// The section of this name, wherever it stands.
fn section<'a>(of: &'a Value, name: &str) -> Option<&'a Vec<Value>> {
    of["sections"].as_array()?.iter().find_map(|inner| {
        let found = inner["name"] == name && inner["kind"] == "table";
        if found {
            inner["rows"].as_array()
        } else {
            section(inner, name)
        }
    })
}

/// Runs a victim to its end, where it says what its counters give, and compares them with what is really there.
fn expect_adds_up(victim: &str, args: &[&str], env: &[(&str, &str)]) -> Outcome<()> {
    let mut start = Start::new(victim)?.plain().args(args).env("HOLD", "1");
    for (key, value) in env {
        start = start.env(key, value);
    }
    let held = start.wait_ready_within(SLOW);
    let said = held.stderr();
    let told: u64 = said
        .strip_suffix(" bytes in use\n")
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("it says nothing but its account: {said}"));
    let (report, answer) = Umdb::pid(held.pid()).json("::umastat");
    assert_eq!(answer.code(), 0, "{answer}");

    let caches = section(&report, "caches").expect("a table of caches");
    let mut in_use = 0;
    for cache in caches {
        let [allocs, frees, live] =
            ["allocs", "frees", "in_use"].map(|column| number(cache, column));
        assert_eq!(allocs, frees + live, "allocated = freed + live\n{cache}");
        let parts = ["in_use", "in_magazines", "rest"].map(|column| number(cache, column));
        assert_eq!(
            parts.iter().sum::<u64>(),
            number(cache, "buffers"),
            "{cache}"
        );
        for lost in ["unknown", "in_transit", "abandoned"] {
            assert_eq!(number(cache, lost), 0, "{lost}\n{cache}");
        }
        in_use += live * number(cache, "buffer_size");
    }
    assert!(
        caches.iter().any(|cache| number(cache, "allocs") > 1000),
        "it was busy\n{report}"
    );
    let arenas = section(&report, "arenas").expect("a table of arenas");
    for name in ["umem_oversize", "umem_memalign"] {
        let arena = arenas.iter().find(|arena| arena["name"] == name);
        in_use += arena.map_or(0, |arena| number(arena, "in_use"));
    }
    assert_eq!(in_use, told, "the debugger and the program agree");
    Ok(())
}

#[test]
fn forty_threads_exchange_buffers_and_fork() {
    need!(expect_adds_up("stress", &["40", "6000"], &[]));
    need!(expect_adds_up("stress", &["40", "2000"], DEFAULT));
}

#[test]
fn one_thread_forks() {
    need!(expect_adds_up("stress", &["1", "20000"], &[]));
    need!(expect_adds_up("stress", &["1", "20000"], DEFAULT));
}

#[test]
fn threads_free_each_others_buffers() {
    need!(expect_adds_up("life", &["sums"], &[]));
    // Blocks in quarantine are in use until they leave it.
    need!(expect_adds_up(
        "life",
        &["sums"],
        &[("UMEM_DEBUG", "default,quarantine=0")]
    ));
}

#[test]
fn a_hundred_thousand_threads_come_and_go() {
    need!(expect_adds_up("life", &["threads", "25000"], &[]));
    need!(expect_adds_up("life", &["threads", "1000"], DEFAULT));
}

#[test]
fn ten_thousand_forks() {
    need!(expect_adds_up("life", &["storm", "10000"], &[]));
    need!(expect_adds_up("life", &["storm", "500"], DEFAULT));
}

/// Once a magazine of the old size counted as one of the new, and its neighbour in memory was overwritten.
#[test]
fn magazines_grow_while_they_are_in_use() {
    need!(expect_adds_up(
        "life",
        &["contend"],
        &[("UMEM_OPTIONS", "reap_interval=1,max_contention=1")]
    ));
}
