//! The prompt.

use rustyline::{DefaultEditor, error::ReadlineError};

use super::{interrupt::stoppable, output::Output};
use crate::{
    exec::{Outcome, Session},
    report::Status,
};

/// What stands before each line.
const PROMPT: &str = "> ";

/// Says what could not be had of the target, and reads lines until the user quits. Ctrl-C drops the line, or stops the command that runs.
pub(super) fn run(session: &mut Session<'_>, warnings: &[String], output: &mut Output) {
    warnings
        .iter()
        .for_each(|warning| output.error(warning, None));
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
        match editor.readline(PROMPT) {
            Ok(line) => {
                // Only the history suffers when it cannot be kept.
                let _ = editor.add_history_entry(&line);
                let outcome = stoppable(|| session.run_line(&line, output));
                if outcome == Outcome::Quit || output.has_ended() {
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
