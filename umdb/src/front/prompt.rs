//! The prompt.

use std::{
    env, fs,
    io::{Write, stderr},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
};

use rustyline::{CompletionType, Config, Editor, error::ReadlineError, history::FileHistory};

use super::{
    complete::Assistant,
    interrupt::stoppable,
    output::{Output, visible},
    screen::wants_colour,
};
use crate::{
    exec::{Outcome, Session},
    report::Status,
    target::{Kind, Target},
};

/// Lines that the history keeps when `HISTSIZE` does not say.
const HISTORY: usize = 1000;
/// The file of the history in the home directory.
const FILE: &str = ".umdb_history";

type Lines<'a> = Editor<Assistant<'a>, FileHistory>;

/// Says what could not be had of the target, and reads lines until the user quits. Ctrl-C drops the line, or stops
/// the command that runs.
pub(super) fn run(session: &Session<'_>, warnings: &[String], output: &mut Output) {
    warnings
        .iter()
        .for_each(|warning| output.error(warning, None));
    greet(session.subject().target);
    output.prompted();
    let mut editor = match editor(session, output) {
        Ok(editor) => editor,
        Err(error) => {
            session.worsen(Status::Failed);
            return output.error(
                &format!("cannot use the terminal: {error}"),
                Some("give commands with -e"),
            );
        }
    };
    let history = history_file();
    if let Some(file) = &history {
        // The first session has none.
        let _ = editor.load_history(file);
    }
    read_lines(session, &mut editor, output);
    if let Some(file) = &history {
        keep_history(&mut editor, file);
    }
}

/// Says what is looked at, and where to begin.
fn greet(target: &Target) {
    let file = target.executable.as_deref().unwrap_or("an unknown program");
    let name = file.rsplit('/').next().unwrap_or(file);
    let what = match &target.kind {
        Kind::Live { pid } | Kind::Exiting { pid } => format!("process {pid} ({name})"),
        Kind::Core { .. } => format!("core of {name}"),
        Kind::Synthetic => name.to_owned(),
    };
    // Nobody misses it who cannot see it.
    let _ = writeln!(
        stderr(),
        "{}: ::help lists the commands, Tab completes, $q quits",
        visible(&what)
    );
}

fn read_lines(session: &Session<'_>, editor: &mut Lines<'_>, output: &mut Output) {
    loop {
        let prompt = session.state().prompt.borrow().clone();
        match editor.readline(&prompt) {
            Ok(line) => {
                // Only the history suffers when it cannot be kept.
                let _ = editor.add_history_entry(&line);
                let outcome = stoppable(|| session.run_line(&line, output));
                if outcome == Outcome::Quit || output.has_ended() {
                    return;
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) if session.state().ignores_end.get() => {
                output.error("type ::quit to end the session", None);
            }
            Err(ReadlineError::Eof) => return,
            Err(error) => {
                session.worsen(Status::Failed);
                return output.error(&format!("cannot read from the terminal: {error}"), None);
            }
        }
    }
}

fn editor<'a>(session: &Session<'a>, output: &Output) -> rustyline::Result<Lines<'a>> {
    let size = env::var("HISTSIZE")
        .ok()
        .and_then(|size| size.parse().ok())
        .unwrap_or(HISTORY);
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .max_history_size(size)?
        .history_ignore_dups(true)?
        .build();
    let mut editor = Editor::with_config(config)?;
    let assistant = Assistant::new(session.subject().clone(), output.state(), wants_colour());
    editor.set_helper(Some(assistant));
    Ok(editor)
}

fn history_file() -> Option<PathBuf> {
    let home = env::var_os("HOME").filter(|home| !home.is_empty())?;
    Some(PathBuf::from(home).join(FILE))
}

/// Nobody else is to read what was typed. That the history cannot be kept is not worth a word.
fn keep_history(editor: &mut Lines<'_>, file: &PathBuf) {
    if editor.append_history(file).is_ok() {
        let _ = fs::set_permissions(file, fs::Permissions::from_mode(0o600));
    }
}
