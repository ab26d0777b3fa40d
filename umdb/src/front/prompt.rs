//! The prompt.

use rustyline::{DefaultEditor, error::ReadlineError};

use super::{interrupt::CANCEL, output::Output};
use crate::{
    exec::{Outcome, Session},
    report::Status,
};

/// What stands before each line.
const PROMPT: &str = "> ";

/// Reads lines until the user quits. Ctrl-C drops the line, or stops the command that runs.
pub(super) fn run(session: &mut Session<'_>, output: &mut Output) {
    let mut editor = match DefaultEditor::new() {
        Ok(editor) => editor,
        Err(error) => {
            session.worsen(Status::Failed);
            return output.error(
                &format!("cannot use the terminal: {error}"),
                Some("give commands with -e"),
            );
        }
    };
    loop {
        CANCEL.clear();
        match editor.readline(PROMPT) {
            Ok(line) => {
                // Only the history suffers when it cannot be kept.
                let _ = editor.add_history_entry(&line);
                if session.run_line(&line, output) == Outcome::Quit || output.has_ended() {
                    return;
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => return,
            Err(error) => {
                session.worsen(Status::Failed);
                return output.error(&format!("cannot read from the terminal: {error}"), None);
            }
        }
    }
}
