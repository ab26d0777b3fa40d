//! A sign of life on standard error, on a terminal alone, while a command takes longer than a second.

use std::{
    io::{Write, stderr},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::screen::errors_are_seen;

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
}

impl Progress {
    /// For a command as typed; none where nobody would see it.
    pub(super) fn start(command: &str) -> Option<Self> {
        if !errors_are_seen() {
            return None;
        }
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
        loop {
            let (next, timeout) = self
                .changed
                .wait_timeout(state, wait)
                .unwrap_or_else(PoisonError::into_inner);
            state = next;
            if state.has_ended {
                break;
            }
            if timeout.timed_out() {
                let seconds = start.elapsed().as_secs();
                let text = format!("{CLEAR}{label}: {seconds} s (Ctrl-C stops it)");
                state.is_shown = stderr().write_all(text.as_bytes()).is_ok();
                wait = STEP;
            }
        }
        if state.is_shown {
            let _ = stderr().write_all(CLEAR.as_bytes());
        }
    }
}
