//! The life of a process around the allocator: forks, handlers, threads that come and go, memory that goes back.

use std::time::Duration;

use umem_tests::{
    Outcome,
    command::Answer,
    need, need_program,
    umdb::Umdb,
    victim::{Start, Victim},
};

const SLOW: Duration = Duration::from_secs(120);

fn life(args: &[&str], env: &[(&str, &str)]) -> Outcome<Answer> {
    run_victim("life", args, env)
}

fn run_victim(victim: &str, args: &[&str], env: &[(&str, &str)]) -> Outcome<Answer> {
    let mut start = Start::new(victim)?.plain().args(args);
    for (key, value) in env {
        start = start.env(key, value);
    }
    Ok(start.run_within(SLOW))
}

fn expect_ok(args: &[&str], env: &[(&str, &str)]) -> Outcome<()> {
    expect_ok_for("life", args, env)
}

fn expect_ok_for(victim: &str, args: &[&str], env: &[(&str, &str)]) -> Outcome<()> {
    let answer = run_victim(victim, args, env)?;
    assert_eq!(
        (answer.code(), &*answer.stdout, &*answer.stderr),
        (0, "ok\n", ""),
        "{victim} {args:?} {env:?}\n{answer}"
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

/// Python sets the limit by its own module, makes threads and mappings, and meets the end of memory as an exception.
const LIMITED: &str = r#"
import mmap, resource, threading
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, -1))
threads = [threading.Thread(target=lambda: [bytes(size) for size in range(1000)]) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
mmap.mmap(-1, 128 << 20).close()
kept = []
try:
    while True: kept.append(bytearray(100_000))
except MemoryError:
    print(len(kept) * 100_000 > 1 << 29)
"#;

#[test]
fn a_limit_of_the_address_space_may_come_later() {
    for (mode, level) in [
        ("UMEM_DEBUG", ""),
        ("UMEM_DEBUG", "default"),
        ("UMEM_DEBUG", "sample"),
    ] {
        let env = [(mode, level), ("UMEM_OPTIONS", "reap_interval=1")];
        for what in ["own", "other", "forked"] {
            need!(expect_ok_for("limits", &[what], &env));
        }
        for allocator in ["malloc", "pymalloc"] {
            let python = need!(need_program("python3"));
            let answer = Start::program(python)
                .plain()
                .args(["-c", LIMITED])
                .env(mode, level)
                .env("PYTHONMALLOC", allocator)
                .run_within(SLOW);
            assert_eq!(
                (answer.code(), &*answer.stdout, &*answer.stderr),
                (0, "True\n", ""),
                "{level} {allocator}\n{answer}"
            );
        }
    }
}

/// Debugged caches keep their empty slabs, and what is freed waits, but not when memory has run out.
#[test]
fn what_was_freed_when_memory_ran_out_can_be_had_in_other_sizes() {
    for level in ["", "guards", "default", "sample=4k"] {
        need!(expect_ok_for(
            "limits",
            &["again"],
            &[("UMEM_DEBUG", level)]
        ));
    }
}

/// What the program maps where the heap had reserved room is the program's: it holds pointers, and free knows it for no buffer.
#[test]
fn room_that_was_given_back_is_no_part_of_the_heap() {
    let victim = need!(Victim::start("limits", &["foreign"]));
    let answer = Umdb::pid(victim.pid())
        .exec("::findleaks")
        .exec("::umem_verify")
        .run();
    answer.expect_code(0);
    assert!(answer.stdout.contains("no memory leaks"), "{answer}");
    assert_eq!(answer.stderr, "", "{answer}");
    let program = need!(Start::new("limits"));
    let answer = program.args(["foreign"]).run();
    answer.expect_code(134);
    assert!(
        answer
            .stderr
            .contains("address is in memory that the program has mapped itself"),
        "{answer}"
    );
}
