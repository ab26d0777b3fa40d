//! A live process is looked at by a frozen copy, and nothing of that is left in it.
//!
//! `UMEM_MOMENTS=1000` lets umdb be killed at that many random moments instead of 100.

use std::{
    collections::BTreeSet,
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    mem::offset_of,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use object::{Object, ObjectSymbol};
use umem_layout::SnapshotArea;
use umem_tests::{
    NotRun, Outcome,
    artifacts::artifacts,
    command::{Answer, WATCHDOG, pid_of, wait},
    need,
    umdb::{Umdb, expect_complaint, expect_no_debris},
    victim::{Start, Victim},
};

/// System calls that a stop interrupts, and that the victim `calls` can make.
const CALLS: [&str; 20] = [
    "all",
    "nanosleep",
    "clock_nanosleep",
    "futex",
    "condition",
    "poll",
    "ppoll",
    "select",
    "epoll_wait",
    "epoll_pwait",
    "recv",
    "sigtimedwait",
    "semtimedop",
    "read",
    "accept",
    "msgrcv",
    "compute",
    "pause",
    "sigsuspend",
    "wait4",
];

fn look(victim: &Victim, how: &str, command: &str) -> Answer {
    Umdb::pid(victim.pid()).arg(how).exec(command).run()
}

/// The victim has seen nothing but what it made itself, and nobody traces it.
fn expect_unharmed(victim: &mut Victim, when: &str) {
    let answer = victim.ask(b'a');
    assert_eq!(answer, b'b', "{when}: {}", victim.stderr());
    assert_eq!(victim.status("TracerPid"), "0", "{when}");
}

/// Processes whose parent is this one.
fn children(pid: Pid) -> BTreeSet<String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("the victim lives");
    let lists = threads
        .flatten()
        .map(|thread| fs::read_to_string(thread.path().join("children")).unwrap_or_default());
    lists
        .flat_map(|list| {
            list.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn interrupted_calls_go_on() {
    for call in CALLS {
        let mut victim = need!(Victim::start("calls", &[call]));
        for how in ["--snapshot", "--hold", "--snapshot", "--snapshot"] {
            look(&victim, how, "::umem_status").expect_code(0);
            expect_unharmed(&mut victim, &format!("{call} after {how}"));
        }
    }
}

#[test]
fn nothing_is_left_behind() {
    let mut victim = need!(Victim::start("calls", &["all"]));
    let state = |victim: &Victim| {
        let fields = ["SigBlk", "SigPnd", "SigIgn", "SigCgt", "Threads", "FDSize"];
        fields.map(|field| victim.status(field))
    };
    let before = (children(victim.pid()), state(&victim));
    for _ in 0..20 {
        look(&victim, "--snapshot", "::umem_status").expect_code(0);
    }
    assert_eq!((children(victim.pid()), state(&victim)), before);
    expect_unharmed(&mut victim, "after 20 snapshots");
}

/// A generator of numbers that look random (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[test]
fn killed_at_any_moment_umdb_leaves_the_process_alive() {
    let moments: usize = env::var("UMEM_MOMENTS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(100);
    let victims = [
        "all",
        "nanosleep",
        "poll",
        "wait4",
        "pause",
        "compute",
        "read",
    ];
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seed = now.expect("it is after 1970").as_nanos() as u64 | 1;
    let mut random = Random(seed);
    for (index, call) in victims.into_iter().enumerate() {
        // Calls that the kernel never restarts may be interrupted by a debugger that is killed as they stop.
        let mut victim = need!(Victim::start("calls", &[call, "lenient"]));
        let begin = Instant::now();
        look(&victim, "--snapshot", "::umem_status").expect_code(0);
        let whole = begin.elapsed();
        let mine = moments / victims.len() + usize::from(index < moments % victims.len());
        for _ in 0..mine {
            let delay = Duration::from_nanos(random.below(whole.as_nanos() as u64));
            let (mut command, _home) = Umdb::pid(victim.pid())
                .arg("--snapshot")
                .exec("::umem_status")
                .into_command();
            let mut umdb = command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("umdb starts");
            // Not a wait for something: the signal is to arrive at different moments of the work.
            std::thread::sleep(delay);
            umdb.kill().expect("a child can be killed");
            umdb.wait().expect("a child can be waited for");
            expect_unharmed(&mut victim, &format!("{call} after {delay:?}, seed {seed}"));
        }
        // The next one finds nothing that the dead ones left.
        look(&victim, "--snapshot", "::umem_status").expect_code(0);
    }
}

/// A word in the memory of a process.
fn poke(pid: Pid, address: u64, word: u64) {
    let path = format!("/proc/{pid}/mem");
    let memory = fs::OpenOptions::new().write(true).open(path);
    let memory = memory.expect("our own child");
    let written = memory.write_all_at(&word.to_le_bytes(), address);
    written.unwrap_or_else(|error| panic!("{address:x}: {error}"));
}

fn peek(pid: Pid, address: u64) -> u64 {
    let memory = fs::File::open(format!("/proc/{pid}/mem")).expect("our own child");
    let mut word = [0; 8];
    let read = memory.read_exact_at(&mut word, address);
    read.unwrap_or_else(|error| panic!("{address:x}: {error}"));
    u64::from_le_bytes(word)
}

/// Where a symbol of the library is in a process.
fn in_library(pid: Pid, name: &str) -> u64 {
    let library = &artifacts().library;
    let data = fs::read(library).expect("the library can be read");
    let file = object::File::parse(&*data).expect("it is an ELF file");
    let symbol = file.symbol_by_name(name).expect("it has its symbols");
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("it lives");
    let path = library.canonicalize().expect("it is there");
    let first = maps
        .lines()
        .find(|line| line.ends_with(&*path.to_string_lossy()));
    let base = first.and_then(|line| u64::from_str_radix(line.split('-').next()?, 16).ok());
    base.expect("the library is loaded") + symbol.address()
}

/// The stack pointer of a process's first thread, once it waits for its standard input.
fn in_read(pid: Pid) -> u64 {
    let begin = Instant::now();
    loop {
        let call = fs::read_to_string(format!("/proc/{pid}/syscall")).expect("it lives");
        if call.starts_with("0 0x0 ") {
            let pointer = call.split_whitespace().nth_back(1);
            let digits = pointer.and_then(|pointer| pointer.strip_prefix("0x"));
            return u64::from_str_radix(digits.expect("a stack pointer"), 16).expect("a number");
        }
        assert!(begin.elapsed() < WATCHDOG, "it does not wait: {call}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What an umdb leaves that is killed between the note of a thread's registers and the change of these. A thread that a
/// handler has interrupted at the code's start needs the note.
#[test]
fn a_note_that_nobody_uses_is_no_hindrance() {
    let mut victim = need!(Victim::start("calls", &["all"]));
    let pid = victim.pid();
    let [area, code] =
        ["umem_snapshot_area", "umem_snapshot_start"].map(|name| in_library(pid, name));
    let rsp = in_read(pid);
    let note = |place: u64| {
        poke(pid, area, pid.as_raw() as u64);
        poke(pid, area + offset_of!(SnapshotArea, rsp) as u64, rsp);
        // Below the stack pointer, where the thread that waits keeps nothing.
        poke(pid, rsp - 2048, place);
        look(&victim, "--snapshot", "::umem_status")
    };
    note(0).expect_code(0);
    assert_eq!(peek(pid, area), 0);
    let answer = note(code);
    answer.expect_code(2);
    expect_complaint(&answer, &["another snapshot of it is not finished"]);
    note(0).expect_code(0);
    expect_unharmed(&mut victim, "after notes");
}

/// The end of a leader is told when its other threads are gone, which wait for umdb themselves.
#[test]
fn a_process_that_is_killed_meanwhile_is_not_waited_for() {
    let victim = need!(Victim::start("odd", &["threads"]));
    let begin = Instant::now();
    look(&victim, "--snapshot", "::umem_status").expect_code(0);
    let whole = begin.elapsed();
    drop(victim);
    for part in 0..24 {
        let victim = need!(Victim::start("odd", &["threads"]));
        let pid = victim.pid();
        let killer = std::thread::spawn(move || {
            // Not a wait for something: the signal is to arrive at different moments of the work.
            std::thread::sleep(whole * part / 24);
            let _ = kill(pid, Signal::SIGKILL);
        });
        // It has an end of its own before that of the watchdog.
        let answer = look(&victim, "--snapshot", "::umem_status");
        killer.join().expect("it does not fail");
        expect_no_debris(&answer);
        assert!((0..=3).contains(&answer.code()), "{answer}");
    }
}

/// umdb that waits for commands, having answered one.
struct Session {
    umdb: Option<std::process::Child>,
    input: Option<std::process::ChildStdin>,
    output: BufReader<std::process::ChildStdout>,
    _home: tempfile::TempDir,
}

impl Session {
    fn open(victim: &Victim, how: &str) -> Self {
        let (mut command, home) = Umdb::pid(victim.pid()).arg(how).into_command();
        let mut umdb = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("umdb starts");
        let mut session = Self {
            input: umdb.stdin.take(),
            output: BufReader::new(umdb.stdout.take().expect("stdout is piped")),
            umdb: Some(umdb),
            _home: home,
        };
        session.ask("::umem_status", "ready and active");
        session
    }

    /// Types a command and waits for a line with this text.
    fn ask(&mut self, command: &str, text: &str) {
        let input = self.input.as_mut().expect("it is open");
        input
            .write_all(format!("{command}\n").as_bytes())
            .expect("umdb listens");
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            let got = self.output.read_line(&mut line).expect("umdb answers");
            assert!(got > 0, "no {text:?} for {command}");
        }
    }

    /// The frozen copies of a process that it holds.
    fn copies(&self, victim: &Victim) -> Vec<u32> {
        let name = fs::read_link(format!("/proc/{}/exe", victim.pid())).expect("the victim lives");
        let umdb = pid_of(self.umdb.as_ref().expect("it runs"));
        let is_copy = |pid: &u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let is_ours = status
                .lines()
                .filter_map(|line| line.strip_prefix("TracerPid:"))
                .any(|text| text.trim() != "0" && is_thread_of(text.trim(), umdb));
            is_ours && fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == name)
        };
        fs::read_dir("/proc")
            .expect("/proc can be read")
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|&pid| pid != victim.pid().as_raw() as u32)
            .filter(is_copy)
            .collect()
    }

    /// Its status, and what it said on standard error.
    fn ends(mut self) -> (Option<i32>, String) {
        drop(self.input.take());
        let mut umdb = self.umdb.take().expect("ends only once");
        let mut complaints = String::new();
        let mut stderr = umdb.stderr.take().expect("stderr is piped");
        let status = wait(umdb, WATCHDOG).expect("umdb ends");
        stderr.read_to_string(&mut complaints).expect("it is text");
        (status.code(), complaints)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(mut umdb) = self.umdb.take() {
            let _ = umdb.kill();
            let _ = umdb.wait();
        }
    }
}

#[test]
fn the_process_runs_while_its_snapshot_is_looked_at() {
    let mut victim = need!(Victim::start("odd", &["threads"]));
    let mut session = Session::open(&victim, "--snapshot");
    expect_unharmed(&mut victim, "while umdb is open");
    session.ask("::findleaks", "1 buffer, 33 bytes");
    // Its end changes nothing for who looks at the copy.
    drop(victim);
    session.ask("::findleaks", "1 buffer, 33 bytes");
    session.ends();
}

/// What happens after the snapshot is not seen, until another one is taken.
#[test]
fn a_snapshot_is_of_one_moment_and_can_be_retaken() {
    for how in ["--snapshot", "--hold"] {
        let mut victim = need!(Victim::start("odd", &["threads"]));
        let mut session = Session::open(&victim, how);
        if how == "--snapshot" {
            assert_eq!(victim.ask(b'l'), b'm');
            session.ask("::findleaks", "1 buffer, 33 bytes");
            session.ask("::snapshot\n::findleaks", "2 buffers, 66 bytes");
        } else {
            session.ask("::snapshot\n::findleaks", "1 buffer, 33 bytes");
        }
        session.ends();
        expect_unharmed(&mut victim, how);
    }
    let victim = need!(Victim::start("odd", &["threads"]));
    let core = umem_tests::cores::saved(&victim);
    let answer = Umdb::core(core.path())
        .exec("::snapshot")
        .exec("::findleaks")
        .run();
    answer.expect_code(2);
    assert!(answer.stdout.contains("1 buffer, 33 bytes"), "{answer}");
    expect_complaint(&answer, &["snapshot"]);
}

/// What the process closes is closed, though a copy of it lives.
#[test]
fn a_snapshot_holds_no_files() {
    let victim = need!(Victim::start("odd", &["threads"]));
    let session = Session::open(&victim, "--snapshot");
    let copies = session.copies(&victim);
    assert_eq!(copies.len(), 1, "one copy of {}", victim.pid());
    let files = fs::read_dir(format!("/proc/{}/fd", copies[0])).expect("the copy lives");
    assert_eq!(files.count(), 0);
    session.ends();
    let state = fs::read_to_string(format!("/proc/{}/stat", copies[0])).unwrap_or_default();
    assert!(
        state.is_empty() || state.contains(") Z ") || state.contains(") X "),
        "the copy is gone: {state}"
    );
}

/// As the system does when memory is short.
#[test]
fn where_the_copy_is_killed_the_reason_is_said() {
    let mut victim = need!(Victim::start("odd", &["threads"]));
    let mut session = Session::open(&victim, "--snapshot");
    for copy in session.copies(&victim) {
        kill(Pid::from_raw(copy as i32), Signal::SIGKILL).expect("the copy lives");
        let end = Instant::now() + WATCHDOG;
        let sizes = || fs::read_to_string(format!("/proc/{copy}/statm")).unwrap_or_default();
        while !sizes().starts_with("0 ") {
            assert!(Instant::now() < end, "{copy} does not die");
            std::thread::yield_now();
        }
    }
    session.ask("::findleaks", "");
    let (status, complaints) = session.ends();
    assert_eq!(status, Some(3), "{complaints}");
    for words in ["no verdict", "copy was killed from outside", "--hold"] {
        assert!(complaints.contains(words), "{complaints}");
    }
    expect_unharmed(&mut victim, "after its copy was killed");
}

/// A control group with a limit on memory, of either version.
struct Group(PathBuf);

impl Group {
    fn new(limit: &str) -> Outcome<Self> {
        let kinds = [
            ("/sys/fs/cgroup", "memory.max"),
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        ];
        let name = format!("umem-test-{}", std::process::id());
        for (root, file) in kinds {
            let group = Self(Path::new(root).join(&name));
            // Where the other version is mounted, the folder may be one like any other.
            let is_group = || fs::exists(group.0.join("cgroup.procs")).unwrap_or(false);
            if fs::create_dir(&group.0).is_ok()
                && is_group()
                && fs::write(group.0.join(file), limit).is_ok()
            {
                return Ok(group);
            }
        }
        Err(NotRun::because("no control groups can be made"))
    }

    fn add(&self, pid: Pid) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).expect("a process can move");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// A copy that would not find room is not made.
#[test]
fn a_process_near_its_limit_is_stopped_instead() {
    let group = need!(Group::new("1048576"));
    let victim = need!(Victim::start("clock", &["64", "0"]));
    look(&victim, "--snapshot", "::umem_status").expect_code(0);
    group.add(victim.pid());
    let answer = Umdb::pid(victim.pid()).exec("::umem_status").run();
    answer.expect_code(0);
    expect_complaint(&answer, &["MiB of memory are left", "is stopped while"]);
    drop(victim);
}

fn is_thread_of(tid: &str, pid: Pid) -> bool {
    fs::exists(format!("/proc/{pid}/task/{tid}")).unwrap_or(false)
}

/// One leak of 33 bytes, and nothing else.
fn expect_its_leak(answer: &Answer) {
    answer.expect_code(1);
    assert!(
        answer.stdout.contains("Total       1 buffer, 33 bytes"),
        "{answer}"
    );
    expect_no_debris(answer);
}

/// Memory that fork does not copy is there all the same; so are threads whose leader has ended, signals all the
/// time, threads that come and go.
#[test]
fn odd_processes_are_seen_as_a_whole() {
    for state in ["apart", "leader", "realtime", "threads"] {
        let mut victim = need!(Victim::start("odd", &[state]));
        for how in ["--snapshot", "--hold"] {
            let answer = look(&victim, how, "::findleaks");
            expect_its_leak(&answer);
            assert_eq!(answer.stderr, "", "{state} {how}: {answer}");
            assert_eq!(victim.ask(b'a'), b'b', "{state} {how}");
        }
    }
}

#[test]
fn a_thread_that_cannot_be_stopped_makes_the_answer_incomplete() {
    let mut victim = need!(Victim::start("odd", &["vfork"]));
    let answer = Umdb::pid(victim.pid()).exec("::findleaks").run();
    answer.expect_code(3);
    assert!(answer.stderr.contains("does not stop"), "{answer}");
    expect_unharmed(&mut victim, "vfork");
}

#[test]
fn where_a_filter_would_end_it_the_process_is_stopped_instead() {
    let mut victim = need!(Victim::start("odd", &["strict"]));
    let answer = Umdb::pid(victim.pid()).exec("::findleaks").run();
    expect_its_leak(&answer);
    expect_complaint(&answer, &["seccomp", "is stopped while"]);
    expect_unharmed(&mut victim, "strict");
    let answer = look(&victim, "--snapshot", "::findleaks");
    answer.expect_code(2);
    expect_complaint(&answer, &["snapshot", "seccomp", "--hold"]);
    expect_unharmed(&mut victim, "strict");
}

/// Whether we may examine seccomp filters (CAP_SYS_ADMIN).
fn may_examine_filters() -> Outcome<()> {
    const CAP_SYS_ADMIN: u64 = 1 << 21;
    let status = fs::read_to_string("/proc/self/status").expect("/proc can be read");
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    match bits {
        Some(bits) if bits & CAP_SYS_ADMIN != 0 => Ok(()),
        _ => Err(NotRun::because("seccomp filters take CAP_SYS_ADMIN")),
    }
}

/// The filter is examined: one that lets a snapshot be made is no obstacle, nor is one of another thread.
#[test]
fn where_a_filter_allows_it_a_snapshot_is_made() {
    need!(may_examine_filters());
    for state in ["container", "half"] {
        let mut victim = need!(Victim::start("odd", &[state]));
        for _ in 0..3 {
            let answer = look(&victim, "--snapshot", "::findleaks");
            expect_its_leak(&answer);
            assert_eq!(answer.stderr, "", "{state}: {answer}");
            expect_unharmed(&mut victim, state);
        }
    }
}

#[test]
fn a_process_that_changes_its_program_gives_an_answer_or_a_reason() {
    let victim = need!(Victim::start("odd", &["exec"]));
    for _ in 0..10 {
        for how in ["--snapshot", "--hold"] {
            let answer = look(&victim, how, "::findleaks");
            expect_no_debris(&answer);
            if answer.code() == 2 {
                expect_complaint(&answer, &[&victim.pid().to_string()]);
            }
        }
    }
}

#[test]
fn a_stopped_process_stays_stopped() {
    let mut victim = need!(Victim::start("calls", &["nanosleep"]));
    kill(victim.pid(), Signal::SIGSTOP).expect("a child can be stopped");
    let end = Instant::now() + WATCHDOG;
    while !victim.status("State").starts_with('T') {
        assert!(Instant::now() < end, "still {}", victim.status("State"));
        std::thread::yield_now();
    }
    look(&victim, "--snapshot", "::umem_status").expect_code(0);
    assert!(victim.status("State").starts_with('T'));
    kill(victim.pid(), Signal::SIGCONT).expect("a child can be continued");
    expect_unharmed(&mut victim, "after SIGCONT");
}

/// Signals of `umdb run` have numbers without names, too.
#[test]
fn a_program_with_real_time_signals_can_be_run() {
    let start = need!(Start::new("odd")).arg("realtime");
    let answer = Umdb::new().arg("run").arg("--").args(start.line()).run();
    // Its input is empty, so it ends at once and well.
    assert_eq!(answer.code(), 0, "{answer}");
    assert!(answer.stdout.contains("33 bytes"), "{answer}");
}
