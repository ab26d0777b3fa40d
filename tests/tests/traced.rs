//! A process that another debugger traces: who traces it is said, and `-F` reads it all the same.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use umem_tests::{
    command::WATCHDOG,
    need, need_program,
    umdb::{Umdb, expect_complaint, expect_no_debris},
    victim::{Start, Victim},
};

/// Another debugger; its drop ends it, and it lets the victim go.
struct Debugger(Child);

impl Debugger {
    /// Starts one and waits until it traces the victim, whose leader then is in this state.
    fn start(command: &mut Command, victim: &Victim, state: Option<&str>) -> Self {
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a debugger can be started");
        let debugger = Self(child);
        let end = Instant::now() + WATCHDOG;
        let is_ready = || {
            let is_traced = victim.status("TracerPid") == debugger.0.id().to_string();
            is_traced && state.is_none_or(|state| victim.status("State").starts_with(state))
        };
        while !is_ready() {
            assert!(Instant::now() < end, "the victim is not traced");
            std::thread::sleep(Duration::from_millis(10));
        }
        debugger
    }
}

impl Drop for Debugger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn victim() -> umem_tests::Outcome<Victim> {
    Ok(Start::new("known")?
        .env("UMEM_DEBUG", "default")
        .wait_ready())
}

#[test]
fn a_process_that_gdb_holds_is_read_without_registers() {
    need!(need_program("gdb"));
    let victim = need!(victim());
    let caches = Umdb::pid(victim.pid()).exec("::umastat").run();
    caches.expect_code(0);

    let mut gdb = Command::new("gdb");
    gdb.args(["-q", "-nx", "-p"]).arg(victim.pid().to_string());
    let debugger = Debugger::start(&mut gdb, &victim, Some("t"));
    let refused = Umdb::pid(victim.pid()).exec("::umastat").run();
    refused.expect_code(2);
    let tracer = format!("process {} (gdb) traces it", debugger.0.id());
    expect_complaint(&refused, &[&tracer, "umdb -F"]);

    let forced = |command| Umdb::pid(victim.pid()).arg("-F").exec(command).run();
    // Nothing moves meanwhile: the answer is what it was before.
    let read = forced("::umastat");
    assert_eq!(read.stdout, caches.stdout);
    read.expect_code(3);
    assert!(
        read.stderr
            .contains("registers of its threads are not known"),
        "{read}"
    );
    assert!(!read.stderr.contains("may not fit"), "{read}");
    expect_no_debris(&read);
    let leaks = forced("::findleaks");
    leaks.expect_code(3);
    assert!(leaks.stderr.contains("registers"), "{leaks}");
    // It is still gdb's.
    assert_eq!(victim.status("TracerPid"), debugger.0.id().to_string());
    drop(debugger);

    // Nobody traces it any more: -F is the usual way then.
    let end = Instant::now() + WATCHDOG;
    while victim.status("TracerPid") != "0" && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
    }
    forced("::umastat").expect_code(0);
}

#[test]
fn a_process_that_strace_watches_runs_meanwhile() {
    need!(need_program("strace"));
    let victim = need!(victim());
    let mut strace = Command::new("strace");
    strace
        .args(["-o", "/dev/null", "-p"])
        .arg(victim.pid().to_string());
    let _debugger = Debugger::start(&mut strace, &victim, None);
    let read = Umdb::pid(victim.pid())
        .arg("-F")
        .exec("::umem_status; ::walk umem | ::count")
        .run();
    read.expect_code(3);
    assert!(read.stdout.contains("ready and active"), "{read}");
    assert!(read.stderr.contains("(strace) traces process"), "{read}");
    assert!(read.stderr.contains("may not fit together"), "{read}");
    expect_no_debris(&read);
}

#[test]
fn what_force_stands_beside() {
    for arguments in [&["-F", "core"][..], &["-F", "--hold", "-p", "1"]] {
        let answer = Umdb::new().args(arguments).run();
        answer.expect_code(2);
        expect_no_debris(&answer);
    }
}
