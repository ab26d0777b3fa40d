//! What is run before the first command: `~/.umdbrc`.

use std::{env, fs, io::ErrorKind, path::PathBuf};

use super::{CANCEL, interrupt::stoppable, output::Output};
use crate::exec::{Outcome, Session};

/// The file in the home directory.
const FILE: &str = ".umdbrc";
/// Larger files are none of commands.
const SIZE_MAX: u64 = 1 << 20;

/// Runs the commands of `~/.umdbrc`, if there is one. A mistake in a line is told with its number, and the next line
/// is run. Returns whether the session goes on.
pub(super) fn run(session: &Session<'_>, output: &mut Output) -> Outcome {
    let Some(home) = env::var_os("HOME").filter(|home| !home.is_empty()) else {
        return Outcome::Continue;
    };
    let path = PathBuf::from(home).join(FILE);
    let text = match fs::metadata(&path) {
        Ok(found) if found.len() > SIZE_MAX || !found.is_file() => {
            output.error(
                &format!("{} is no file of commands", path.display()),
                Some("-S leaves it out"),
            );
            return Outcome::Continue;
        }
        Ok(_) => fs::read(&path),
        Err(error) => Err(error),
    };
    let text = match text {
        Ok(text) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Outcome::Continue,
        Err(error) => {
            output.error(
                &format!("cannot read {}: {error}", path.display()),
                Some("-S leaves it out"),
            );
            return Outcome::Continue;
        }
    };
    let mut outcome = Outcome::Continue;
    for (index, line) in text.lines().enumerate() {
        output.set_source(Some(format!("line {} of ~/{FILE}", index + 1)));
        outcome = stoppable(|| session.run_line(line, output));
        if outcome == Outcome::Quit || CANCEL.is_requested() || output.has_ended() {
            break;
        }
    }
    output.set_source(None);
    outcome
}
