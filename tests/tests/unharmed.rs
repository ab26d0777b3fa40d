//! A process that was looked at goes on as if nothing had been.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    os::fd::OwnedFd,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    pty::openpty,
    sys::signal::{Signal, kill},
};
use umem_tests::{
    command::{WATCHDOG, pid_of, wait},
    need,
    umdb::Umdb,
    victim::Victim,
};

/// The victim listens, nobody traces it, and nothing of a debugger is left behind.
fn expect_unharmed(victim: &mut Victim) {
    for byte in *b"unharmed" {
        assert_eq!(victim.ask(byte), byte + 1);
    }
    assert_eq!(victim.status("TracerPid"), "0");
    assert!(
        !victim.status("State").starts_with(['T', 't', 'Z']),
        "{}",
        victim.status("State")
    );
    assert_eq!(victim.stderr(), "");
}

#[test]
fn after_every_command() {
    let mut victim = need!(Victim::start("echo", &[]));
    for command in [
        "::findleaks -d",
        "::umem_verify",
        "::umalog",
        "::umem_cache",
        "::umem_status",
        "10::whatis",
        "::nope",
    ] {
        let answer = Umdb::pid(victim.pid()).exec(command).run();
        umem_tests::umdb::expect_no_debris(&answer);
        expect_unharmed(&mut victim);
    }
}

#[test]
fn after_many_visits() {
    let mut victim = need!(Victim::start("echo", &[]));
    for _ in 0..20 {
        let answer = Umdb::pid(victim.pid()).exec("::umem_status").run();
        answer.expect_code(0);
    }
    expect_unharmed(&mut victim);
}

#[test]
fn after_commands_from_a_pipe() {
    let mut victim = need!(Victim::start("echo", &[]));
    let answer =
        Umdb::pid(victim.pid()).run_with("::umem_status\n::umem_cache\n$q\n::no_such_thing\n");
    answer.expect_code(0);
    assert!(answer.stdout.contains("umem_alloc_16"), "{answer}");
    expect_unharmed(&mut victim);
}

#[test]
fn a_stopped_process_stays_stopped() {
    let mut victim = need!(Victim::start("echo", &[]));
    kill(victim.pid(), Signal::SIGSTOP).expect("a child can be stopped");
    wait_for_state(&victim, 'T');
    Umdb::pid(victim.pid())
        .exec("::umem_status")
        .run()
        .expect_code(0);
    assert!(
        victim.status("State").starts_with('T'),
        "{}",
        victim.status("State")
    );
    kill(victim.pid(), Signal::SIGCONT).expect("a child can be continued");
    expect_unharmed(&mut victim);
}

fn wait_for_state(victim: &Victim, state: char) {
    let end = Instant::now() + WATCHDOG;
    while !victim.status("State").starts_with(state) {
        assert!(Instant::now() < end, "still {}", victim.status("State"));
        std::thread::yield_now();
    }
}

#[test]
fn after_signals_between_commands_from_a_pipe() {
    for signal in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGKILL,
    ] {
        let mut victim = need!(Victim::start("echo", &[]));
        let (mut command, _home) = Umdb::pid(victim.pid()).into_command();
        let mut umdb = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("umdb starts");
        let mut input = umdb.stdin.take().expect("stdin is piped");
        input.write_all(b"::umem_status\n").expect("umdb listens");
        // It has attached once it answers; its input stays open, so it waits for more.
        let mut answer = BufReader::new(umdb.stdout.take().expect("stdout is piped"));
        let mut line = String::new();
        answer.read_line(&mut line).expect("umdb answers");
        assert!(line.contains("ready and active"), "{line}");
        kill(pid_of(&umdb), signal).expect("umdb can be signalled");
        let status = wait(umdb, WATCHDOG);
        assert!(status.is_ok(), "{signal} does not end it");
        drop(input);
        expect_unharmed(&mut victim);
    }
}

/// umdb at a prompt, on a terminal of its own.
struct Prompt {
    umdb: Option<Child>,
    terminal: File,
    heard: String,
    _home: tempfile::TempDir,
}

impl Prompt {
    fn open(victim: &Victim) -> Self {
        let pair = openpty(None, None).expect("a terminal can be made");
        // Only the debugger's own three descriptors are for it.
        for end in [&pair.master, &pair.slave] {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("a descriptor can be marked");
        }
        let side =
            |end: &OwnedFd| Stdio::from(end.try_clone().expect("a descriptor can be copied"));
        let (mut command, home) = Umdb::pid(victim.pid()).into_command();
        command.env("TERM", "xterm");
        let umdb = command
            .stdin(side(&pair.slave))
            .stdout(side(&pair.slave))
            .stderr(side(&pair.slave))
            .spawn()
            .expect("umdb starts");
        let mut prompt = Self {
            umdb: Some(umdb),
            terminal: File::from(pair.master),
            heard: String::new(),
            _home: home,
        };
        prompt.hear("> ");
        prompt
    }

    /// Waits until umdb has written this text, and forgets all up to its end.
    fn hear(&mut self, text: &str) {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        use std::os::fd::AsFd;
        let end = Instant::now() + WATCHDOG;
        let mut bytes = [0; 4096];
        let at = loop {
            if let Some(at) = self.heard.find(text) {
                break at;
            }
            assert!(Instant::now() < end, "no {text:?} in {:?}", self.heard);
            let left = PollTimeout::try_from(Duration::from_secs(1)).expect("a second is short");
            let mut wanted = [PollFd::new(self.terminal.as_fd(), PollFlags::POLLIN)];
            if poll(&mut wanted, left).expect("a terminal can be waited for") > 0 {
                let got = self.terminal.read(&mut bytes).unwrap_or(0);
                assert!(got > 0, "umdb is gone: {:?}", self.heard);
                self.heard += &String::from_utf8_lossy(&bytes[..got]);
            }
        };
        self.heard.drain(..at + text.len());
    }

    fn say(&mut self, text: &str) {
        self.terminal
            .write_all(text.as_bytes())
            .expect("the terminal takes it");
    }

    fn signal(&self, signal: Signal) {
        kill(pid_of(self.umdb.as_ref().expect("it runs")), signal).expect("umdb can be signalled");
    }

    fn ends(mut self) {
        let umdb = self.umdb.take().expect("ends only once");
        assert!(wait(umdb, WATCHDOG).is_ok(), "umdb does not end");
    }
}

/// A process that is traced cannot be waited for by its parent: a test that fails must not leave umdb behind.
impl Drop for Prompt {
    fn drop(&mut self) {
        if let Some(mut umdb) = self.umdb.take() {
            let _ = umdb.kill();
            let _ = umdb.wait();
        }
    }
}

#[test]
fn after_quitting_at_the_prompt() {
    for way in ["$q\r", "\x04"] {
        let mut victim = need!(Victim::start("echo", &[]));
        let mut prompt = Prompt::open(&victim);
        prompt.say("::umem_status\r");
        prompt.hear("ready and active");
        prompt.hear("> ");
        prompt.say(way);
        prompt.ends();
        expect_unharmed(&mut victim);
    }
}

#[test]
fn after_control_c_at_the_prompt() {
    let mut victim = need!(Victim::start("echo", &[]));
    let mut prompt = Prompt::open(&victim);
    // The key gives up the line, as in every shell, and umdb goes on.
    prompt.say("::half a command\x03");
    prompt.hear("> ");
    prompt.say("::umem_status\r");
    prompt.hear("ready and active");
    prompt.say("$q\r");
    prompt.ends();
    expect_unharmed(&mut victim);
}

#[test]
fn after_signals_at_the_prompt() {
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGKILL] {
        let mut victim = need!(Victim::start("echo", &[]));
        let prompt = Prompt::open(&victim);
        prompt.signal(signal);
        prompt.ends();
        expect_unharmed(&mut victim);
    }
}

/// SIGINT at a prompt may end umdb or only the line; the process is free either way once umdb is gone.
#[test]
fn after_sigint_at_the_prompt() {
    let mut victim = need!(Victim::start("echo", &[]));
    let mut prompt = Prompt::open(&victim);
    prompt.signal(Signal::SIGINT);
    // The terminal takes the words even when nobody reads them any more.
    prompt.say("$q\r");
    prompt.ends();
    expect_unharmed(&mut victim);
}

#[test]
fn after_control_c_in_the_middle_of_a_command() {
    let mut victim = need!(Victim::start("echo", &[]));
    for delay in [0, 1, 5, 20, 50] {
        let (mut command, _home) = Umdb::pid(victim.pid())
            .exec("::findleaks")
            .exec("::umem_verify")
            .into_command();
        let umdb = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("umdb starts");
        // Not a wait for something: the signal is to arrive at different moments of the work.
        std::thread::sleep(Duration::from_millis(delay));
        // It may have ended by itself.
        let _ = kill(pid_of(&umdb), Signal::SIGINT);
        assert!(
            wait(umdb, WATCHDOG).is_ok(),
            "SIGINT after {delay} ms does not end it"
        );
        expect_unharmed(&mut victim);
    }
}
