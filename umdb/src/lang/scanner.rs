//! A line as characters with positions.

/// What is wrong with a line, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct SyntaxError {
    /// What was expected or is wrong.
    pub what: String,
    /// The text there.
    pub near: String,
    /// Characters before it.
    pub at: usize,
}

/// What begins so says what could have stood there.
const EXPECTED: &str = "expected ";

impl SyntaxError {
    /// In mdb's words, with the column and what was expected there.
    fn text(&self) -> String {
        let (near, column) = (near_text(&self.near), self.at + 1);
        let what = &self.what;
        if what.starts_with(EXPECTED) {
            format!("syntax error{near} (column {column}): {what}")
        } else {
            format!("{what}{near} (column {column})")
        }
    }
}

fn near_text(near: &str) -> String {
    if near.is_empty() {
        " at the end of the line".to_owned()
    } else {
        format!(" near \"{near}\"")
    }
}

/// Most characters of the text that an error shows.
const NEAR: usize = 20;

/// A place in a line.
pub(super) struct Scanner {
    characters: Vec<char>,
    at: usize,
    /// Radix of numbers without prefix.
    pub(super) radix: u32,
}

impl Scanner {
    pub(super) fn new(line: &str, radix: u32) -> Self {
        Self {
            characters: line.chars().collect(),
            at: 0,
            radix,
        }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The characters from a position up to here, without blanks at the end.
    pub(super) fn since(&self, start: usize) -> String {
        let text: String = self.characters[start.min(self.at)..self.at]
            .iter()
            .collect();
        text.trim_end().to_owned()
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.characters.get(self.at).copied()
    }

    pub(super) fn starts_with(&self, text: &str) -> bool {
        text.chars()
            .enumerate()
            .all(|(i, c)| self.characters.get(self.at + i) == Some(&c))
    }

    /// Goes past a text when it stands here.
    pub(super) fn take(&mut self, text: &str) -> bool {
        let is_here = self.starts_with(text);
        if is_here {
            self.at += text.chars().count();
        }
        is_here
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let next = self.peek();
        self.at += usize::from(next.is_some());
        next
    }

    /// The character so many behind this one.
    pub(super) fn peek_at(&self, ahead: usize) -> Option<char> {
        self.characters.get(self.at + ahead).copied()
    }

    /// How far ahead the characters end that belong, from `ahead` on.
    pub(super) fn behind(&self, ahead: usize, belongs: impl Fn(char) -> bool) -> usize {
        let rest = self.characters.get(self.at + ahead..).unwrap_or_default();
        ahead + rest.iter().take_while(|&&c| belongs(c)).count()
    }

    /// Goes past so many characters, and returns them.
    pub(super) fn take_count(&mut self, count: usize) -> String {
        let end = (self.at + count).min(self.characters.len());
        let text = self.characters[self.at..end].iter().collect();
        self.at = end;
        text
    }

    /// The first character behind this one that is no blank.
    pub(super) fn behind_blanks(&self) -> Option<char> {
        let rest = self.characters.get(self.at + 1..).unwrap_or_default();
        rest.iter().copied().find(|&c| !is_blank(c))
    }

    /// Goes past all characters that belong, and returns them.
    pub(super) fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> String {
        let start = self.at;
        while self.peek().is_some_and(&belongs) {
            self.at += 1;
        }
        self.characters[start..self.at].iter().collect()
    }

    pub(super) fn skip_blanks(&mut self) {
        while self.peek().is_some_and(is_blank) {
            self.at += 1;
        }
    }

    /// At the end of a command: of the line, before `;`, or before a comment.
    pub(super) fn is_at_end_of_command(&self) -> bool {
        matches!(self.peek(), None | Some(';' | '\n' | '\r')) || self.starts_with("//")
    }

    /// Goes past the text of a shell command, whose quotes may hide a `;`, and returns it.
    pub(super) fn take_shell(&mut self) -> String {
        let start = self.at;
        self.skip_to(|scanner| matches!(scanner.peek(), None | Some(';' | '\n' | '\r')));
        self.since(start).trim().to_owned()
    }

    /// Goes past everything up to the end of the command, a pipe or a shell command, and returns it.
    pub(super) fn take_format(&mut self) -> String {
        let start = self.at;
        self.skip_to(|scanner| {
            scanner.is_at_end_of_command() || matches!(scanner.peek(), Some('|' | '!'))
        });
        self.since(start)
    }

    /// Goes to the next command, past `;`. Returns false at the end.
    pub(super) fn next_command(&mut self) -> bool {
        if self.starts_with("//") {
            self.take_while(|c| c != '\n');
        }
        matches!(self.next(), Some(';' | '\n' | '\r'))
    }

    /// Goes past what cannot be understood, to the end of the command.
    pub(super) fn skip_command(&mut self) {
        self.skip_to(Self::is_at_end_of_command);
    }

    /// Goes to where something ends; quoted text does not end it.
    fn skip_to(&mut self, is_end: impl Fn(&Self) -> bool) {
        let mut quote = None;
        while let Some(c) = self.peek() {
            match quote {
                Some(open) if c == open => quote = None,
                None if is_end(self) => return,
                None if c == '"' || c == '\'' => quote = Some(c),
                _ => {}
            }
            self.at += 1;
        }
    }

    /// An error at a position.
    pub(super) fn error_at(&self, at: usize, what: impl Into<String>) -> SyntaxError {
        let near = self.characters[at.min(self.characters.len())..]
            .iter()
            .take(NEAR)
            .collect::<String>();
        SyntaxError {
            what: what.into(),
            near: near.trim_end().to_owned(),
            at,
        }
    }

    /// An error here.
    pub(super) fn error(&self, what: impl Into<String>) -> SyntaxError {
        self.error_at(self.at, what)
    }
}

const fn is_blank(c: char) -> bool {
    c == ' ' || c == '\t'
}
