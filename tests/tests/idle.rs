//! Programs that lose nothing, with and without threads: no leaks, neither live nor in cores.

use nix::sys::signal::Signal;
use umem_tests::{Outcome, cores, need, umdb::Umdb, victim::Victim};

/// What findleaks says when there is nothing to say.
const NONE: &str = "findleaks: no memory leaks detected\n";

#[test]
fn no_thread_beside_main() {
    need!(check("idle", &["0"]));
}

#[test]
fn one_thread() {
    need!(check("idle", &["1"]));
}

#[test]
fn eight_threads() {
    need!(check("idle", &["8"]));
}

#[test]
fn joined_threads_have_ended() {
    need!(check("ended", &[]));
}

#[test]
fn detached_threads_have_ended() {
    need!(check("ended", &["--detached"]));
}

#[test]
fn threads_still_wait_when_main_returns() {
    let victim = need!(umem_tests::victim::program("idle"));
    let answer = Umdb::new()
        .arg("run")
        .exec("::findleaks")
        .arg("--")
        .arg(victim)
        .args(["3", "--return"])
        .run();
    answer.expect_code(0);
    assert_eq!(answer.stdout, format!("ready\n{NONE}"), "{answer}");
    assert_eq!(answer.stderr, "", "{answer}");
}

fn check(victim: &str, args: &[&str]) -> Outcome<()> {
    let victim = Victim::start(victim, args)?;
    expect_none("live", Umdb::pid(victim.pid()));
    let made = cores::gcore(&victim).map(|core| expect_none("gcore", Umdb::core(core.path())));
    let dumped = cores::kernel_core(victim, Signal::SIGABRT)
        .map(|core| expect_none("kernel core", Umdb::core(core.path())));
    // Both are tried, so that a machine without gdb still tests the kernel's.
    made.and(dumped)
}

fn expect_none(target: &str, umdb: Umdb) {
    let answer = umdb.exec("::findleaks").run();
    assert_eq!(answer.stdout, NONE, "{target}\n{answer}");
    assert_eq!(answer.stderr, "", "{target}\n{answer}");
    answer.expect_code(0);
}
