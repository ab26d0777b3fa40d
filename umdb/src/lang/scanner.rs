//! A line as characters with positions.

/// What is wrong with a line, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}{} (column {})", near_text(.near), .at + 1)]
pub struct SyntaxError {
    /// What was expected or is wrong.
    pub what: String,
    /// The text there.
    pub near: String,
    /// Characters before it.
    pub at: usize,
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
}

impl Scanner {
    pub(super) fn new(line: &str) -> Self {
        Self {
            characters: line.chars().collect(),
            at: 0,
        }
    }

    pub(super) fn at(&self) -> usize {
        self.at
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

    /// Goes past all characters that belong, and returns them.
    pub(super) fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> String {
        let start = self.at;
        while self.peek().is_some_and(&belongs) {
            self.at += 1;
        }
        self.characters[start..self.at].iter().collect()
    }

    pub(super) fn skip_blanks(&mut self) {
        self.take_while(|c| c == ' ' || c == '\t');
    }

    /// At the end of a command: of the line, before `;`, or before a comment.
    pub(super) fn is_at_end_of_command(&self) -> bool {
        matches!(self.peek(), None | Some(';' | '\n' | '\r')) || self.starts_with("//")
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
        let mut quote = None;
        while let Some(c) = self.peek() {
            match quote {
                Some(open) if c == open => quote = None,
                None if c == '"' || c == '\'' => quote = Some(c),
                None if self.is_at_end_of_command() => return,
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
