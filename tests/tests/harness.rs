//! The harness itself: it must be able to fail, and its cores must hold what the other tests damage.

use std::{fs, panic, process::Command, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use umem_tests::{command, cores, image::Image, need, need_program, victim::Victim};

#[test]
#[should_panic(expected = "still running after")]
fn what_hangs_is_killed_and_fails() {
    let _ = command::run_with(
        Command::new("sleep").arg("1000"),
        "",
        Duration::from_millis(50),
    );
}

#[test]
fn what_outlives_a_command_does_not_hold_it_up() {
    // The first stays in the command's group, the second leaves it and keeps the pipe.
    for left in ["sleep 1000 &", "setsid sleep 1000 &"] {
        let script = format!("{left} echo $!; echo done >&2");
        let answer = command::run(Command::new("sh").args(["-c", &script]));
        assert_eq!(answer.stderr, "done\n");
        let left: i32 = answer.stdout.trim().parse().expect("its number");
        // Gone, or ended here.
        let _ = kill(Pid::from_raw(left), Signal::SIGKILL);
    }
}

#[test]
fn a_program_that_is_not_there_is_a_reason_not_to_run() {
    let why = need_program("no-such-program").expect_err("nobody has it");
    assert_eq!(why.to_string(), "no-such-program is not installed");
}

#[test]
fn a_dropped_victim_is_gone() {
    let victim = need!(Victim::start("idle", &["1"]));
    let pid = victim.pid();
    // Its two and the library's own, which gives memory back.
    assert_eq!(victim.status("Threads"), "3");
    drop(victim);
    assert!(kill(pid, None::<Signal>).is_err(), "{pid} lives on");
}

#[test]
fn a_victim_answers_and_one_that_is_dead_does_not() {
    let mut victim = need!(Victim::start("echo", &[]));
    assert_eq!(victim.ask(b'a'), b'b');
    kill(victim.pid(), Signal::SIGKILL).expect("a child can be signalled");
    let asked = panic::catch_unwind(panic::AssertUnwindSafe(|| victim.ask(b'a')));
    assert!(asked.is_err(), "a dead victim answers");
}

#[test]
fn a_kernel_core_holds_the_root_and_its_caches() {
    let victim = need!(Victim::start("first_light", &[]));
    check(&need!(cores::kernel_core(victim, Signal::SIGABRT)));
}

#[test]
fn a_gcore_core_holds_the_root_and_its_caches() {
    let victim = need!(Victim::start("first_light", &[]));
    check(&need!(cores::gcore(&victim)));
    drop(victim);
}

fn check(core: &cores::Core) {
    let image = Image::read(core.path());
    let names: Vec<String> = image
        .caches()
        .iter()
        .map(|&cache| image.cache_name(cache))
        .collect();
    assert_eq!(
        names.first().map(String::as_str),
        Some("umem_alloc_16"),
        "{names:?}"
    );
    assert_eq!(
        names.last().map(String::as_str),
        Some("umem_alloc_131072"),
        "{names:?}"
    );
    // What was reserved and never used costs nothing.
    let size = fs::metadata(core.path()).expect("the core is there").len();
    assert!(size < 100 << 20, "{size} bytes");
}
