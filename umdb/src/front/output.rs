//! Standard output and standard error.

use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write, stderr, stdout},
    rc::Rc,
};

use super::{progress::Progress, screen::Screen, shell::Reader};
use crate::{
    dcmds::{Format, State},
    exec::Sink,
    render::{CsvWriter, JsonWriter, Style, TextWriter},
    report::{Report, Status, Warning},
};

/// Blanks before the line with the next step.
const HINT: &str = "      ";

/// Bytes that fit on no page.
const HELD_MAX: usize = 64 << 10;

/// Prints what commands answer.
pub(super) struct Output {
    state: Rc<State>,
    ended: bool,
    /// What is missing of the target, until it has been said.
    missing: Vec<String>,
    command: Current,
    /// The commands around it, whose answers go on when it has ended.
    around: Vec<Current>,
    /// A person types the commands.
    is_prompt: bool,
    /// Where the line that is run comes from: "line 3 of ~/.umdbrc".
    source: Option<String>,
}

/// The command that answers.
#[derive(Default)]
struct Current {
    text: String,
    /// It is a shell command alone, whose output is its own.
    is_shell: bool,
    writer: TextWriter,
    json: JsonWriter,
    csv: CsvWriter,
    /// What it answered so far, but for the sections, which are printed at once: what JSON has at its end.
    answer: Report,
    way: Way,
    progress: Option<Progress>,
    /// Nobody wants more of its answer.
    is_closed: bool,
}

/// Where the answer goes.
#[derive(Default)]
enum Way {
    /// To standard output.
    #[default]
    Out,
    /// To the terminal: held back until it is known whether it fits on a page of so many lines.
    Held(String, usize),
    /// To the pager or a shell command.
    Program(Reader),
}

impl Output {
    /// For a session with these settings.
    pub(super) fn new(state: Rc<State>) -> Self {
        Self {
            state,
            ended: false,
            missing: Vec::new(),
            command: Current::default(),
            around: Vec::new(),
            is_prompt: false,
            source: None,
        }
    }

    /// A person types the commands from now on.
    pub(super) fn prompted(&mut self) {
        self.is_prompt = true;
    }

    /// Says where the lines come from that are run from now on; nothing where that is clear.
    pub(super) fn set_source(&mut self, source: Option<String>) {
        self.source = source;
    }

    /// Adds what is missing to an answer, unless a line of it says so; it still has to be said.
    fn add_missing(&self, answer: &mut Report) {
        for missing in &self.missing {
            let mut said = answer.warnings.iter();
            if !said.any(|warning| warning.what.contains(missing)) {
                answer.warn(missing.clone());
            }
        }
    }

    /// The settings.
    pub(super) fn state(&self) -> Rc<State> {
        Rc::clone(&self.state)
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

    /// Prints one line about what went wrong, and those with the next step.
    pub(super) fn error(&self, what: &str, hint: Option<&str>) {
        let mut text = format!("umdb: {}", visible(what));
        if let Some(source) = &self.source {
            text += &format!(" on {source}");
        }
        text.push('\n');
        for line in hint.into_iter().flat_map(str::lines) {
            text += &format!("{HINT}{}\n", visible(line));
        }
        // Where standard error is closed there is nobody to tell.
        let _ = stderr().write_all(text.as_bytes());
    }

    /// Prints the answer of a command.
    fn print(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.log(text);
        match &mut self.command.way {
            Way::Out => {
                self.step_aside(text.ends_with('\n'));
                self.write(text);
            }
            Way::Held(held, page) => {
                held.push_str(text);
                if held.len() > HELD_MAX || held.lines().nth(*page).is_some() {
                    self.turn_page();
                }
            }
            Way::Program(program) => {
                // It prints when it likes.
                self.command.progress = None;
                // A command such as head reads no more than it wants.
                self.command.is_closed |= program.write(text).is_err();
            }
        }
    }

    /// Makes room for what is printed; when a line of it stays open, the sign of life is not shown any more.
    fn step_aside(&mut self, shows_lines: bool) {
        match &self.command.progress {
            Some(progress) if shows_lines => progress.hide(),
            _ => self.command.progress = None,
        }
    }

    /// What was held back does not fit on a page: a pager takes it, and all that follows.
    fn turn_page(&mut self) {
        let Way::Held(held, _) = std::mem::take(&mut self.command.way) else {
            return;
        };
        self.command.progress = None;
        let pager = Reader::pager(&self.state.environment.borrow());
        match pager {
            Some(mut pager) => {
                self.command.is_closed |= pager.write(&held).is_err();
                self.command.way = Way::Program(pager);
            }
            None => self.write(&held),
        }
    }

    fn write(&mut self, text: &str) {
        let mut out = stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => self.ended = true,
            Err(error) => {
                self.ended = true;
                self.error(&format!("cannot write to standard output: {error}"), None);
            }
        }
        self.command.is_closed |= self.ended;
    }

    /// Copies to the log, if there is one.
    fn log(&self, text: &str) {
        let file = self.state.log.borrow().clone();
        if let Some(file) = file {
            let copied = OpenOptions::new()
                .append(true)
                .open(&file)
                .and_then(|mut log| log.write_all(text.as_bytes()));
            if let Err(error) = copied {
                *self.state.log.borrow_mut() = None;
                self.error(&format!("logging to {file} has ended: {error}"), None);
            }
        }
    }

    fn warn(&mut self, warnings: &[Warning]) {
        if !warnings.is_empty() {
            self.step_aside(true);
        }
        self.say_missing(warnings);
        for warning in warnings {
            self.error(&warning.what, warning.hint.as_deref());
        }
    }

    /// Ends the object that is being written.
    fn end_json(&mut self) {
        let json = std::mem::take(&mut self.command.json);
        let said = self.command.answer.warnings.len();
        let mut answer = std::mem::take(&mut self.command.answer);
        self.add_missing(&mut answer);
        self.print(&json.finish(&self.command.text, answer.status, &answer.warnings));
        answer.warnings.truncate(said);
        self.command.answer = answer;
    }

    /// Keeps what is said at the end of an answer.
    fn keep(&mut self, report: Report) {
        self.command.answer.append(Report {
            sections: Vec::new(),
            ..report
        });
    }

    /// How the answer of a command reaches its reader.
    fn way(&self, shell: Option<&str>) -> std::io::Result<Way> {
        if let Some(line) = shell {
            return Reader::shell(line, &self.state.environment.borrow()).map(Way::Program);
        }
        let page = Screen::now().page();
        let page = page.filter(|_| self.state.pager.get() && self.is_prompt);
        Ok(page.map_or(Way::Out, |page| Way::Held(String::new(), page)))
    }
}

impl Sink for Output {
    fn begin(&mut self, command: &str, shell: Option<&str>) {
        let is_text = self.state.format.get() == Format::Text;
        // A shell command and a log get text for any width.
        let style = if shell.is_some() || !is_text {
            Style::default()
        } else {
            Screen::now().style(!self.state.wraps.get())
        };
        self.command = Current {
            text: command.to_owned(),
            writer: TextWriter::styled(style),
            ..Current::default()
        };
        if self.state.log.borrow().is_some() {
            self.log(&format!("> {command}\n"));
        }
        if command.starts_with('!')
            && let Some(line) = shell
        {
            let started = super::shell::run(line, &self.state.environment.borrow());
            if let Err(error) = started {
                self.error(&format!("cannot run the shell: {error}"), None);
            }
            self.command.is_shell = true;
            return;
        }
        match self.way(shell) {
            Ok(way) => self.command.way = way,
            Err(error) => {
                self.error(&format!("cannot run the shell: {error}"), None);
                self.command.is_closed = true;
            }
        }
        self.command.progress = Progress::start(command);
    }

    fn part(&mut self, report: Report) -> bool {
        if self.command.is_closed {
            return false;
        }
        match self.state.format.get() {
            Format::Text => {
                let text = self.command.writer.write(&report);
                self.print(&text);
                self.warn(&report.warnings);
            }
            Format::Json => {
                let text = self.command.json.write(&self.command.text, &report);
                self.print(&text);
                self.keep(report);
            }
            Format::Csv => {
                let text = self.command.csv.write(&report);
                self.print(&text);
                self.keep(report);
            }
        }
        !self.command.is_closed
    }

    fn end(&mut self) -> Status {
        self.command.progress = None;
        if self.state.format.get() == Format::Json && !self.command.is_shell {
            self.end_json();
        }
        let answer = std::mem::take(&mut self.command.answer);
        self.warn(&answer.warnings);
        match std::mem::take(&mut self.command.way) {
            Way::Out => {}
            Way::Held(held, _) => self.write(&held),
            Way::Program(program) => program.finish(),
        }
        Status::Clean
    }

    fn enter(&mut self, command: &str, shell: &str) {
        self.command.progress = None;
        // What was held back or begun stands above what the shell command prints.
        if let Way::Held(held, _) = &mut self.command.way {
            let held = std::mem::take(held);
            self.command.way = Way::Out;
            self.write(&held);
        }
        if self.command.json.has_begun() {
            self.end_json();
            let answer = std::mem::take(&mut self.command.answer);
            self.warn(&answer.warnings);
        }
        self.around.push(std::mem::take(&mut self.command));
        self.begin(command, Some(shell));
    }

    fn leave(&mut self) -> Status {
        let status = self.end();
        self.command = self.around.pop().unwrap_or_default();
        status
    }

    fn is_closed(&self) -> bool {
        self.ended
    }
}

/// A line without control characters, which names in a target may hold.
pub(super) fn visible(text: &str) -> String {
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
