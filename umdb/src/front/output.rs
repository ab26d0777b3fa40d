//! Standard output and standard error.

use std::io::{ErrorKind, Write, stderr, stdout};

use crate::{
    exec::Sink,
    render::{to_json, write_text},
    report::{Report, Warning},
};

/// Blanks before the line with the next step.
const HINT: &str = "      ";

/// Prints reports.
pub(super) struct Output {
    json: bool,
    ended: bool,
    /// What is missing of the target, until it has been said.
    missing: Vec<String>,
}

impl Output {
    /// As text or as JSON.
    pub(super) const fn new(json: bool) -> Self {
        Self {
            json,
            ended: false,
            missing: Vec::new(),
        }
    }

    /// Nobody reads what is printed.
    pub(super) const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Notes what is missing of the target; it is said once, with the first report.
    pub(super) fn note_missing(&mut self, missing: Vec<String>) {
        self.missing = missing;
    }

    /// Says what is missing, unless one of these lines says it.
    pub(super) fn say_missing(&mut self, said: &[Warning]) {
        for missing in std::mem::take(&mut self.missing) {
            if !said.iter().any(|warning| warning.what.contains(&missing)) {
                self.error(&missing, None);
            }
        }
    }

    /// Prints one line about what went wrong, and one with the next step.
    pub(super) fn error(&self, what: &str, hint: Option<&str>) {
        let mut text = format!("umdb: {}\n", visible(what));
        if let Some(hint) = hint {
            text += &format!("{HINT}{}\n", visible(hint));
        }
        // Where standard error is closed there is nobody to tell.
        let _ = stderr().write_all(text.as_bytes());
    }

    fn print(&mut self, text: &str) {
        let mut out = stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => self.ended = true,
            Err(error) => {
                self.ended = true;
                self.error(&format!("cannot write to standard output: {error}"), None);
            }
        }
    }
}

impl Sink for Output {
    fn report(&mut self, command: &str, report: &Report) {
        if self.json {
            self.print(&format!("{}\n", to_json(command, report)));
        } else {
            self.print(&write_text(report));
        }
        self.say_missing(&report.warnings);
        for warning in &report.warnings {
            self.error(&warning.what, warning.hint.as_deref());
        }
    }

    fn is_closed(&self) -> bool {
        self.ended
    }
}

/// A line without control characters, which names in a target may hold.
fn visible(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default())
        } else {
            line.push(c)
        }
    }
    line
}
