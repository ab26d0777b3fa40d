//! Always-on sampling: what samples say of a program agrees with what the program did.

use serde_json::Value;
use umem_tests::{
    Outcome, need,
    umdb::Umdb,
    victim::{Start, Victim},
};

/// Mean distance of samples in the runs below: small, so that each place has dozens of samples.
const MEAN: f64 = 65536.0;
/// Runs, each with other random numbers.
const RUNS: usize = 3;
/// Standard errors that an estimate may be off: once in two million times it is more.
const ERRORS: f64 = 5.0;
/// Buffers that a search may take for alive, since something that looks like their address was left in a register or on a
/// stack.
const LEFT_OVER: f64 = 4.0;

/// A function of sampled.c, how many buffers it loses, their size, and the size that decides about samples: that of the class, or
/// for blocks what was asked for.
const PLACES: [(&str, f64, f64, f64); 12] = [
    ("smallest", 400_000.0, 16.0, 16.0),
    ("paired", 40_000.0, 100.0, 112.0),
    ("second", 40_000.0, 300.0, 320.0),
    ("zeroed", 5_000.0, 2000.0, 2048.0),
    // The smallest class whose buffers are all multiples of 256.
    ("aligned", 5_000.0, 1024.0, 2048.0),
    ("grown", 5_000.0, 900.0, 1152.0),
    ("page", 3_000.0, 4000.0, 4096.0),
    ("grown_block", 100.0, 150_000.0, 150_000.0),
    ("large", 100.0, 200_000.0, 229_376.0),
    ("largest", 20.0, 1_048_576.0, 1_048_576.0),
    ("burst", 40_000.0, 48.0, 48.0),
    ("threaded", 200_000.0, 64.0, 64.0),
];

fn sampled() -> Outcome<Victim> {
    let start = Start::new("sampled")?.without("UMEM_LOGGING");
    Ok(start.env("UMEM_DEBUG", "sample=64k").wait_ready())
}

/// Rows of the table with this name, wherever it stands.
fn rows<'a>(value: &'a Value, table: &str) -> Vec<&'a Value> {
    match value {
        Value::Object(map)
            if map.get("name").is_some_and(|name| name == table) && map.contains_key("rows") =>
        {
            map["rows"]
                .as_array()
                .map_or_else(Vec::new, |rows| rows.iter().collect())
        }
        Value::Object(map) => map.values().flat_map(|value| rows(value, table)).collect(),
        Value::Array(values) => values.iter().flat_map(|value| rows(value, table)).collect(),
        _ => Vec::new(),
    }
}

fn number(row: &Value, key: &str) -> f64 {
    row[key]
        .as_f64()
        .unwrap_or_else(|| panic!("{key} in {row}"))
}

fn goes_through(row: &Value, function: &str) -> bool {
    let frames = row["stacks"]["allocated"]["frames"].as_array();
    frames.is_some_and(|frames| frames.iter().any(|frame| frame["symbol"] == function))
}

#[test]
fn estimates_agree_with_what_was_lost() {
    for _ in 0..RUNS {
        let victim = need!(sampled());
        let (value, answer) = Umdb::pid(victim.pid()).json("::findleaks");
        answer.expect_code(1);
        let estimates = rows(&value, "estimates_by_stack");
        for (function, count, size, picked_by) in PLACES {
            let of_place = || estimates.iter().filter(|row| goes_through(row, function));
            let sum = |key| -> f64 { of_place().map(|row| number(row, key)).sum() };
            let chance = -(-picked_by / MEAN).exp_m1();
            let error = (count * (1.0 - chance) / chance).sqrt();
            let bound = ERRORS * error + LEFT_OVER / chance;
            let estimate = sum("count");
            assert!(
                (estimate - count).abs() <= bound,
                "{function}: {estimate} of {count}, may be off {bound}"
            );
            // Places keep all of a size, so the estimates of count and bytes differ by that factor, and by rounding.
            assert!((sum("bytes") - estimate * size).abs() <= size, "{function}");
            let told = of_place().map(|row| number(row, "count_error").powi(2));
            let (told, samples) = (told.sum::<f64>().sqrt(), sum("samples"));
            if samples >= 30.0 && error > 10.0 {
                assert!(
                    (told / error - 1.0).abs() < 0.6,
                    "{function}: {told} {error}"
                );
            }
        }
    }
}

#[test]
fn what_is_lost_is_counted_exactly() {
    let victim = need!(sampled());
    let (value, answer) = Umdb::pid(victim.pid()).json("::findleaks");
    let lost: f64 = ["oversized", "buffers", "audited_buffers"]
        .iter()
        .flat_map(|table| rows(&value, table))
        .map(|row| number(row, "leaked") + number(row, "held"))
        .sum();
    let truth: f64 = PLACES.iter().map(|&(_, count, _, _)| count).sum();
    let left_over = LEFT_OVER * PLACES.len() as f64;
    assert!(
        (truth - left_over..=truth).contains(&lost),
        "{lost} of {truth}\n{answer}"
    );
}

#[test]
fn counters_add_up_and_samples_are_whole() {
    let victim = need!(sampled());
    let (value, _) = Umdb::pid(victim.pid()).json("::umastat");
    let caches = rows(&value, "caches");
    // A class and its twin together have served what the program asked of that class, and hold what it has not freed.
    let of = |size: &str, key: &str| -> f64 {
        let names = [format!("umem_alloc_{size}"), format!("umem_sample_{size}")];
        let rows = caches.iter();
        rows.filter(|row| names.iter().any(|name| row["name"] == name.as_str()))
            .map(|row| number(row, key))
            .sum()
    };
    assert_eq!(of("16", "allocs"), 400_000.0);
    assert_eq!(of("112", "allocs"), 80_000.0);
    assert_eq!(of("112", "in_use"), 40_000.0);
    assert_eq!(of("48", "allocs"), 4_000_000.0);
    assert_eq!(of("48", "in_use"), 40_000.0);
    assert_eq!(of("64", "in_use"), 200_000.0);
    let verified = Umdb::pid(victim.pid()).exec("::umem_verify").run();
    verified.expect_code(0);
    let status = Umdb::pid(victim.pid()).exec("::umem_status").run();
    assert!(status.stdout.contains(" sample=65536 "), "{status}");
    let users = Umdb::pid(victim.pid()).exec("::umausers").run();
    assert!(
        users
            .stdout
            .contains("allocations with data size 16, from "),
        "{users}"
    );
}

/// With a mean distance of a byte every allocation is a sample.
#[test]
fn samples_are_checked() {
    let run = |kind| -> Outcome<_> {
        let start = Start::new("sampled")?.without("UMEM_LOGGING").arg(kind);
        Ok(start.env("UMEM_DEBUG", "sample=1").run())
    };
    let overflow = need!(run("overflow"));
    for words in ["write past end of buffer", "size=24", "umem_sample_32"] {
        assert!(overflow.stderr.contains(words), "{words}\n{overflow}");
    }
    let late = need!(run("late"));
    for words in [
        "buffer modified after being freed",
        "offset 0x64",
        "size=900000",
    ] {
        assert!(late.stderr.contains(words), "{words}\n{late}");
    }
    let none = need!(run("none"));
    none.expect_code(0);
    assert_eq!(none.stderr, "", "{none}");
}
