//! A sign of life on standard error, on a terminal alone, while a command says nothing for longer than a second.

use std::{
    io::{Write, stderr},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::{interrupt::CANCEL, screen::errors_are_seen};

/// Nothing is shown before.
const PATIENCE: Duration = Duration::from_secs(1);
/// From one sign to the next.
const STEP: Duration = Duration::from_millis(500);
/// Goes to the start of the line and clears it.
const CLEAR: &str = "\r\x1b[K";

/// The sign of life of a command. Nothing is left of it when it has ended.
pub(super) struct Progress {
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    has_ended: bool,
    is_shown: bool,
    /// Since when nothing else was printed.
    quiet: Option<Instant>,
}

impl Progress {
    /// For a command as typed; none where nobody would see it.
    pub(super) fn start(command: &str) -> Option<Self> {
        if !errors_are_seen() {
            return None;
        }
        CANCEL.plan(0);
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let label: String = command
            .chars()
            .filter(|c| !c.is_control())
            .take(40)
            .collect();
        let thread = thread::Builder::new()
            .name("progress".to_owned())
            .spawn(move || theirs.show(&label))
            .ok()?;
        Some(Self {
            shared,
            thread: Some(thread),
        })
    }
}

impl Progress {
    /// Something else is about to be printed.
    pub(super) fn hide(&self) {
        let mut state = self.shared.lock();
        state.quiet = Some(Instant::now());
        state.hide();
    }
}

impl State {
    fn hide(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            let _ = stderr().write_all(CLEAR.as_bytes());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.has_ended = true;
        }
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, label: &str) {
        let start = Instant::now();
        let mut wait = PATIENCE;
        let mut state = self.lock();
        while !state.has_ended {
            let (next, _) = self
                .changed
                .wait_timeout(state, wait)
                .unwrap_or_else(PoisonError::into_inner);
            state = next;
            let quiet = state.quiet.unwrap_or(start).elapsed();
            if state.has_ended {
                break;
            }
            wait = PATIENCE.saturating_sub(quiet);
            if wait.is_zero() {
                let text = sign(label, start.elapsed().as_secs(), CANCEL.percent());
                state.is_shown = stderr().write_all(text.as_bytes()).is_ok();
                wait = STEP;
            }
        }
        state.hide();
    }
}

/// What is shown: how long it has taken, and how much of the pass that runs is done.
fn sign(label: &str, seconds: u64, percent: Option<u64>) -> String {
    let done = percent.map_or(String::new(), |percent| {
        format!(", {percent} % of this pass")
    });
    format!("{CLEAR}{label}: {seconds} s{done} (Ctrl-C stops it)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Cancel;

    #[test]
    fn it_says_how_much_is_done_where_that_is_known() {
        let cancel = Cancel::new();
        assert_eq!(cancel.percent(), None);
        cancel.plan(3);
        cancel.advance(2);
        assert_eq!(
            sign("::x", 4, cancel.percent()),
            format!("{CLEAR}::x: 4 s, 66 % of this pass (Ctrl-C stops it)")
        );
        cancel.advance(2);
        assert_eq!(cancel.percent(), None);
        cancel.plan(1);
        cancel.clear();
        let plain = sign("::x", 4, cancel.percent());
        assert_eq!(plain, format!("{CLEAR}::x: 4 s (Ctrl-C stops it)"));
    }
}
