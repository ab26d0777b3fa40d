//! The prompt on a terminal: completion, history, the pager, colour, Ctrl-C.

use std::{
    fs,
    io::Read,
    os::fd::{AsFd, OwnedFd},
    os::unix::fs::PermissionsExt,
    process::Child,
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use nix::{
    pty::{Winsize, openpty},
    sys::signal::{Signal, kill},
};
use tempfile::TempDir;
use umem_tests::{
    command::{WATCHDOG, pid_of, wait},
    need,
    umdb::Umdb,
    victim::Victim,
};

/// umdb on a terminal of 24 lines.
struct Terminal {
    keys: OwnedFd,
    screen: Arc<(Mutex<String>, Condvar)>,
    child: Option<Child>,
    home: TempDir,
}

impl Terminal {
    fn start(victim: &Victim, settings: &[(&str, &str)]) -> Self {
        let size = Winsize {
            ws_row: 24,
            ws_col: 100,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(Some(&size), None).expect("a terminal can be made");
        let end = || pty.slave.try_clone().expect("a descriptor can be doubled");
        let mut umdb = Umdb::pid(victim.pid()).env("TERM", "xterm");
        for (key, value) in settings {
            umdb = umdb.env(key, value);
        }
        let (mut command, home) = umdb.into_command();
        command.stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().expect("umdb starts");
        // The command keeps descriptors of the terminal, whose end would never come.
        drop(command);
        drop(pty.slave);
        let screen = Arc::new((Mutex::new(String::new()), Condvar::new()));
        let shown = Arc::clone(&screen);
        let output = pty.master.as_fd().try_clone_to_owned();
        let mut output = fs::File::from(output.expect("a descriptor can be doubled"));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..length]);
                shown.0.lock().expect("no test panics here").push_str(&text);
                shown.1.notify_all();
            }
        });
        Self {
            keys: pty.master,
            screen,
            child: Some(child),
            home,
        }
    }

    fn type_keys(&self, keys: &str) {
        let written = nix::unistd::write(&self.keys, keys.as_bytes());
        assert_eq!(written, Ok(keys.len()));
    }

    /// Waits until a text is shown, forgets what stands up to its end, and returns that.
    fn wait_for(&self, text: &str) -> String {
        let deadline = Instant::now() + WATCHDOG;
        let mut shown = self.screen.0.lock().expect("no test panics here");
        loop {
            if let Some(at) = shown.find(text) {
                let rest = shown.split_off(at + text.len());
                return std::mem::replace(&mut shown, rest);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{text:?} was not shown, but:\n{shown}");
            let step = left.min(Duration::from_secs(1));
            shown = self.screen.1.wait_timeout(shown, step).expect("no panic").0;
        }
    }

    /// Types a line when the prompt is there: what is typed before is lost.
    fn command(&self, line: &str) {
        self.wait_for("\x1b[K> ");
        self.type_keys(line);
        self.type_keys("\r");
    }

    fn quit(mut self) -> TempDir {
        self.command("::quit");
        let child = self.child.take().expect("it is quit once");
        wait(child, WATCHDOG).expect("umdb ends");
        self.home
    }
}

#[test]
fn names_are_completed_and_lines_kept() {
    let victim = need!(Victim::start("first_light", &[]));
    let terminal = Terminal::start(&victim, &[("PAGER", "cat")]);
    terminal.command("::echo found; ::threa\t");
    terminal.wait_for("::threads");
    terminal.wait_for("first_light");
    terminal.command("test_lea\t=p");
    terminal.wait_for("test_leak_malloc");
    let home = terminal.quit();
    let file = home.path().join(".umdb_history");
    let history = fs::read_to_string(&file).expect("the history is kept");
    assert!(history.contains("::echo found; ::threads"), "{history}");
    let mode = fs::metadata(&file)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_long_answer_goes_to_the_pager_and_a_short_one_does_not() {
    let victim = need!(Victim::start("first_light", &[]));
    let terminal = Terminal::start(&victim, &[("PAGER", "sed 's/^/paged /'")]);
    terminal.command("::echo short");
    let short = terminal.wait_for("\nshort");
    assert!(!short.contains("paged short"), "{short}");
    terminal.command("::dcmds");
    terminal.wait_for("paged whatis");
    terminal.command("::set +o pager");
    terminal.command("::dcmds");
    let long = terminal.wait_for("whatis");
    assert!(!long.contains("paged dump"), "{long}");
    terminal.quit();
}

#[test]
fn headers_are_bold_unless_colour_is_not_wanted() {
    let victim = need!(Victim::start("first_light", &[]));
    for (settings, is_bold) in [(&[][..], true), (&[("NO_COLOR", "1")][..], false)] {
        let terminal = Terminal::start(&victim, settings);
        terminal.command("::threads");
        let header = terminal.wait_for("FUNCTION");
        assert_eq!(header.contains("\x1b[1m"), is_bold, "{header}");
        terminal.quit();
    }
}

/// Whoever types is told where to begin.
#[test]
fn a_session_begins_with_what_it_is_about() {
    let victim = need!(Victim::start("first_light", &[]));
    let terminal = Terminal::start(&victim, &[]);
    let line = format!("process {} (first_light): ::help", victim.pid());
    terminal.wait_for(&line);
    terminal.quit();
}

#[test]
fn rows_end_where_the_terminal_does() {
    let victim = need!(Victim::start("first_light", &[]));
    let terminal = Terminal::start(&victim, &[("PAGER", "cat"), ("NO_COLOR", "1")]);
    let rows = |terminal: &Terminal| -> Vec<usize> {
        terminal.command("::walkers");
        terminal.wait_for("NAME ");
        let shown = terminal.wait_for("vmem_span");
        shown
            .lines()
            .map(|line| line.trim_end().chars().count())
            .collect()
    };
    let cut = rows(&terminal);
    assert_eq!(cut.iter().max(), Some(&100), "{cut:?}");
    terminal.command("::set -o autowrap; ::echo wraps");
    terminal.wait_for("\nwraps");
    let whole = rows(&terminal);
    assert!(whole.iter().any(|&length| length > 100), "{whole:?}");
    terminal.quit();
}

/// The command runs until it is stopped, so that a slow machine does not matter.
#[test]
fn what_takes_long_shows_that_it_lives() {
    let victim = need!(Victim::start("first_light", &[]));
    let terminal = Terminal::start(&victim, &[]);
    terminal.command("0,ffffff::eval \"0,ffffff::map 0\" | ::count");
    terminal.wait_for(" s (Ctrl-C stops it)");
    let child = terminal.child.as_ref().expect("it runs");
    kill(pid_of(child), Signal::SIGINT).expect("umdb can be interrupted");
    terminal.wait_for("umdb: interrupted");
    terminal.quit();
}

/// The signal is what the terminal makes of Ctrl-C while a command runs.
#[test]
fn an_interrupt_ends_the_command_and_not_the_session() {
    let victim = need!(Victim::start("first_light", &[]));
    let terminal = Terminal::start(&victim, &[("PAGER", "cat")]);
    terminal.command("::set +o pager");
    // The count is such that the second command is still running when it is interrupted.
    terminal.command("::echo begun; 0,ffff::eval \"0,fffff::map 0\" | ::count");
    terminal.wait_for("\nbegun");
    let child = terminal.child.as_ref().expect("it runs");
    kill(pid_of(child), Signal::SIGINT).expect("umdb can be interrupted");
    terminal.wait_for("umdb: interrupted");
    terminal.command("::echo still here");
    terminal.wait_for("\nstill here");
    terminal.quit();
}
