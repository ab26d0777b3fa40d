//! The life of a process around the allocator: forks, handlers, threads that come and go, memory that goes back.

use std::time::Duration;

use umem_tests::{Outcome, command::Answer, need, victim::Start};

const SLOW: Duration = Duration::from_secs(120);

fn life(args: &[&str], env: &[(&str, &str)]) -> Outcome<Answer> {
    let mut start = Start::new("life")?.plain().args(args);
    for (key, value) in env {
        start = start.env(key, value);
    }
    Ok(start.run_within(SLOW))
}

fn expect_ok(args: &[&str], env: &[(&str, &str)]) -> Outcome<()> {
    let answer = life(args, env)?;
    assert_eq!(
        (answer.code(), &*answer.stdout, &*answer.stderr),
        (0, "ok\n", ""),
        "{args:?} {env:?}\n{answer}"
    );
    Ok(())
}

fn expect_ok_with_and_without_debugging(args: &[&str]) -> Outcome<()> {
    expect_ok(args, &[])?;
    expect_ok(
        args,
        &[("UMEM_DEBUG", "default"), ("UMEM_LOGGING", "transaction")],
    )
}

#[test]
fn a_signal_handler_may_fork() {
    need!(expect_ok(&["handler", "500"], &[]));
    need!(expect_ok(&["handler", "50"], &[("UMEM_DEBUG", "default")]));
}

#[test]
fn a_child_of_a_fork_without_handlers_can_allocate() {
    need!(expect_ok(&["_fork", "300"], &[]));
    need!(expect_ok(&["_fork", "20"], &[("UMEM_DEBUG", "default")]));
}

/// Debugged caches take locks at every call, so that the handler soon meets one that its own thread holds.
#[test]
fn a_signal_handler_that_allocates_is_served() {
    need!(expect_ok(&["malloc", "5000"], &[("UMEM_DEBUG", "default")]));
}

#[test]
fn a_process_with_200_threads_forks_and_spawns() {
    need!(expect_ok(&["crowd", "200", "10"], &[]));
    need!(expect_ok(
        &["crowd", "200", "1"],
        &[("UMEM_DEBUG", "default")]
    ));
}

#[test]
fn a_process_ends_with_its_last_thread() {
    need!(expect_ok_with_and_without_debugging(&["last"]));
}

#[test]
fn all_threads_answer_to_setuid() {
    need!(expect_ok_with_and_without_debugging(&["setuid"]));
}

#[test]
fn a_program_without_threads_has_none_of_ours() {
    need!(expect_ok(
        &["alone"],
        &[("UMEM_OPTIONS", "reap_interval=1")]
    ));
}

#[test]
fn memory_goes_back_by_itself_in_a_program_with_threads() {
    need!(expect_ok(
        &["back", "2"],
        &[("UMEM_OPTIONS", "reap_interval=1")]
    ));
}

#[test]
fn memory_goes_back_at_the_next_call_in_a_program_without_threads() {
    need!(expect_ok(
        &["back", "0"],
        &[("UMEM_OPTIONS", "reap_interval=1")]
    ));
}

#[test]
fn an_idle_thread_keeps_no_more_than_it_may() {
    need!(expect_ok(
        &["keep"],
        &[("UMEM_OPTIONS", "reap_interval=1,perthread_cache=128k")]
    ));
}

#[test]
fn a_second_free_right_after_the_first_is_found_without_debugging() {
    for size in [
        "1", "64", "1000", "16384", "30000", "131072", "400000", "600000", "5000000",
    ] {
        let answer = need!(life(&["twice", size], &[]));
        assert_eq!(answer.code(), 134, "{size}\n{answer}");
        assert!(
            answer.stderr.contains("duplicate free: buffer freed twice"),
            "{size}\n{answer}"
        );
    }
}
