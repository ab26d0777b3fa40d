//! Stacks where there are many: of many threads at once, of deep recursion, more than the depot has room for; and where there is little room.

use serde_json::Value;
use umem_tests::{Outcome, need, umdb::Umdb, victim::Start};

/// Distinct stacks that the depot takes.
const DEPOT_MAX: u64 = 1 << 18;

/// The innermost object in JSON that has a field.
fn with_field<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    let within = match value {
        Value::Array(values) => values.iter().find_map(|value| with_field(value, name)),
        Value::Object(map) => map.values().find_map(|value| with_field(value, name)),
        _ => None,
    };
    within.or_else(|| value.get(name).map(|_| value))
}

/// What became of a victim: stacks in the depot, stacks dropped, and the frames of its leak.
struct After {
    stacks: u64,
    dropped: u64,
    leak: Option<Vec<String>>,
}

fn run(args: &[&str]) -> Outcome<After> {
    let start = Start::new("crowd")?.env("UMEM_DEBUG", "default,audit=32");
    let victim = start.args(args).wait_ready();
    assert_eq!(victim.stderr(), "");
    let (status, answer) = Umdb::pid(victim.pid()).json("::umem_status");
    assert_eq!(answer.stderr, "", "{answer}");
    let depot = with_field(&status, "dropped").unwrap_or_else(|| panic!("no depot\n{answer}"));
    let (leaks, _) = Umdb::pid(victim.pid()).json("::findleaks");
    let frames = with_field(&leaks, "frames").and_then(|stack| stack["frames"].as_array());
    let symbol = |frame: &Value| frame["symbol"].as_str().unwrap_or("?").to_owned();
    Umdb::pid(victim.pid())
        .exec("::umem_verify")
        .run()
        .expect_code(0);
    Ok(After {
        stacks: depot["stacks"].as_u64().expect("a number"),
        dropped: depot["dropped"].as_u64().expect("a number"),
        leak: frames.map(|frames| frames.iter().map(symbol).collect()),
    })
}

fn is_whole(leak: Option<&Vec<String>>) -> bool {
    leak.is_some_and(|frames| frames.starts_with(&["lose".to_owned(), "main".to_owned()]))
}

#[test]
fn threads_that_meet_new_stacks_at_once() {
    let after = need!(run(&["threads"]));
    // 1024 ways to malloc and as many to free. Threads that meet the same new stack at once may store it twice.
    assert!((2048..8 * 2048).contains(&after.stacks), "{}", after.stacks);
    assert_eq!(after.dropped, 0);
    assert!(is_whole(after.leak.as_ref()), "{:?}", after.leak);
}

#[test]
fn ten_thousand_frames() {
    let after = need!(run(&["deep"]));
    assert_eq!(after.dropped, 0);
    assert!(is_whole(after.leak.as_ref()), "{:?}", after.leak);
}

#[test]
fn a_hundred_thousand_stacks_have_room() {
    let after = need!(run(&["distinct", "100000"]));
    assert!(
        (200_000..DEPOT_MAX).contains(&after.stacks),
        "{}",
        after.stacks
    );
    assert_eq!(after.dropped, 0);
    assert!(is_whole(after.leak.as_ref()), "{:?}", after.leak);
}

#[test]
fn a_full_depot_is_counted_and_not_fatal() {
    let after = need!(run(&["distinct", "200000"]));
    assert!(
        (DEPOT_MAX - 64..=DEPOT_MAX).contains(&after.stacks),
        "{}",
        after.stacks
    );
    // Of a pair each stack counts: that of malloc and that of free.
    assert!(
        (135_000..145_000).contains(&after.dropped),
        "{}",
        after.dropped
    );
}

/// What a call takes of the stack that meets a new one, with what the handler itself takes.
const NARROW: &str = "5000";

#[test]
fn a_new_stack_is_captured_on_a_small_alternate_one() {
    let answer = need!(Start::new("narrow")).arg(NARROW).run();
    answer.expect_code(0);
    assert_eq!((&*answer.stdout, &*answer.stderr), ("ok\n", ""));
}
