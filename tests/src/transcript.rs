//! Transcripts: commands and what they answer, the same for a live process and for its cores.
//!
//! ```text
//! # victim: first_light
//! # args: --loud
//! # env: UMEM_LOGGING=transaction=64k
//! # play: live kernel-core gcore-core
//! A line that begins with # is a comment.
//! > ::findleaks
//! CACHE LEAKED BUFCTL CALLER
//! <addr:1> 1 <addr:2> test_leak_malloc+<off>
//! ! umdb: a line of standard error
//! [exit 1]
//! ```
//!
//! Below a command stands its answer as [`crate::normal`] leaves it, then what it said on standard error, then its
//! exit status where that is not 0. Empty lines at both ends of an answer do not count. A command may use names
//! (`<addr:1>::whatis`). `play: run` plays the commands once, with `umdb run` on the victim.
//!
//! `UMEM_TRANSCRIPTS=rewrite` writes what the live process answers into the file. Read the diff.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    Outcome,
    artifacts::workspace,
    command::Answer,
    cores::Core,
    normal::Names,
    umdb::Umdb,
    victim::{Start, Victim},
};

/// Set to `rewrite` to have the files follow the answers.
const REWRITE: &str = "UMEM_TRANSCRIPTS";

/// What a transcript is played against.
#[derive(Debug)]
pub enum Scene {
    /// A waiting process: a frozen copy of it.
    Live(Victim),
    /// A waiting process that is stopped.
    Held(Victim),
    /// A core.
    Core(Core),
    /// `umdb run` on the victim.
    Run(Start),
}

impl Scene {
    fn umdb(&self) -> Umdb {
        match self {
            Self::Live(victim) => Umdb::pid(victim.pid()).arg("--snapshot"),
            Self::Held(victim) => Umdb::pid(victim.pid()).arg("--hold"),
            Self::Core(core) => Umdb::core(core.path()),
            Self::Run(_) => Umdb::new().arg("run"),
        }
    }

    fn ask(&self, command: &str) -> Answer {
        match self {
            Self::Run(start) => self.umdb().exec(command).arg("--").args(start.line()).run(),
            _ => self.umdb().exec(command).run(),
        }
    }

    fn names(&self) -> Names {
        match self {
            Self::Live(victim) | Self::Held(victim) => names_of(victim.program()),
            Self::Core(core) => {
                names_of(core.program()).literal(core.path().display().to_string(), "<core>")
            }
            Self::Run(start) => names_of(start.path()),
        }
    }
}

fn names_of(program: &Path) -> Names {
    Names::new().literal(program.display().to_string(), "<program>")
}

/// One command and its expected answer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Block {
    command: String,
    answer: Vec<String>,
}

/// A transcript as it is in its file.
#[derive(Debug, Clone)]
pub struct Transcript {
    path: PathBuf,
    /// Everything before the first command.
    head: Vec<String>,
    blocks: Vec<Block>,
}

impl Transcript {
    /// Every transcript of the folder, in order of name.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let folder = workspace().join("tests/transcripts");
        let mut paths: Vec<PathBuf> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.expect("the folder can be read").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
            .collect();
        paths.sort();
        paths.into_iter().map(Self::read).collect()
    }

    fn read(path: PathBuf) -> Self {
        let text =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (head, blocks) = parse(&text);
        Self { path, head, blocks }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> String {
        self.path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
            .unwrap_or_default()
    }

    fn header(&self, key: &str) -> Option<&str> {
        self.head.iter().find_map(|line| {
            line.strip_prefix("# ")?
                .strip_prefix(key)?
                .strip_prefix(": ")
        })
    }

    /// Names of the scenes that it is played against.
    #[must_use]
    pub fn scenes(&self) -> Vec<&str> {
        self.header("play")
            .unwrap_or("live held saved kernel-core gcore-core")
            .split_whitespace()
            .collect()
    }

    /// How its victim is started.
    pub fn start(&self) -> Outcome<Start> {
        let victim = self
            .header("victim")
            .unwrap_or_else(|| panic!("{} names no victim", self.path.display()));
        let mut start =
            Start::new(victim)?.args(self.header("args").unwrap_or_default().split_whitespace());
        for setting in self.header("env").unwrap_or_default().split_whitespace() {
            let (key, value) = setting
                .split_once('=')
                .unwrap_or_else(|| panic!("{}: {setting} is no setting", self.path.display()));
            start = start.env(key, value);
        }
        Ok(start)
    }

    /// Plays it.
    ///
    /// # Errors
    /// What differs from the expected text.
    pub fn play(&self, scene: &Scene) -> Result<(), String> {
        let mut names = scene.names();
        let mut heard = Vec::new();
        let mut differences = String::new();
        for block in &self.blocks {
            let answer = match names.resolve(&block.command) {
                Ok(command) => answer_lines(&mut names, &scene.ask(&command)),
                Err(name) => vec![format!("{name} has not appeared above")],
            };
            if answer != block.answer {
                let _ = writeln!(
                    differences,
                    "> {}\n{}",
                    block.command,
                    difference(&block.answer, &answer)
                );
            }
            heard.push(Block {
                command: block.command.clone(),
                answer,
            });
        }
        if differences.is_empty() {
            return Ok(());
        }
        if !matches!(scene, Scene::Core(_))
            && env::var_os(REWRITE).is_some_and(|value| value == "rewrite")
        {
            let text = Self {
                blocks: heard,
                ..self.clone()
            }
            .text();
            fs::write(&self.path, text)
                .map_err(|error| format!("{}: {error}", self.path.display()))?;
            return Err(format!(
                "{} was rewritten: read the diff\n{differences}",
                self.path.display()
            ));
        }
        Err(format!("{}\n{differences}", self.path.display()))
    }

    fn text(&self) -> String {
        let mut text = self.head.join("\n");
        text.push('\n');
        for block in &self.blocks {
            let _ = writeln!(text, "\n> {}", block.command);
            for line in &block.answer {
                let _ = writeln!(text, "{line}");
            }
        }
        text
    }
}

fn parse(text: &str) -> (Vec<String>, Vec<Block>) {
    let mut head = Vec::new();
    let mut blocks: Vec<Block> = Vec::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            blocks.push(Block {
                command: command.to_owned(),
                answer: Vec::new(),
            });
        } else if let Some(block) = blocks.last_mut() {
            block.answer.push(line.to_owned());
        } else {
            head.push(line.to_owned());
        }
    }
    let is_empty = |line: Option<&String>| line.is_some_and(String::is_empty);
    while is_empty(head.last()) {
        head.pop();
    }
    for block in &mut blocks {
        while is_empty(block.answer.last()) {
            block.answer.pop();
        }
        while is_empty(block.answer.first()) {
            block.answer.remove(0);
        }
    }
    (head, blocks)
}

fn answer_lines(names: &mut Names, answer: &Answer) -> Vec<String> {
    let mut lines = names.normalise(&answer.stdout);
    let complaints = names.normalise(&answer.stderr);
    lines.extend(complaints.iter().map(|line| format!("! {line}")));
    match answer.code() {
        0 => {}
        code => lines.push(format!("[exit {code}]")),
    }
    lines
}

/// Both texts, with what is only in one of them marked.
fn difference(expected: &[String], found: &[String]) -> String {
    let same_head = expected
        .iter()
        .zip(found)
        .take_while(|(a, b)| a == b)
        .count();
    let rest = (&expected[same_head..], &found[same_head..]);
    let same_tail = rest
        .0
        .iter()
        .rev()
        .zip(rest.1.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let mut text = String::new();
    let mut show = |mark: char, lines: &[String]| {
        for line in lines {
            let _ = writeln!(text, "{mark} {line}");
        }
    };
    show(' ', &expected[..same_head]);
    show('-', &expected[same_head..expected.len() - same_tail]);
    show('+', &found[same_head..found.len() - same_tail]);
    show(' ', &expected[expected.len() - same_tail..]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_its_head_and_its_blocks() {
        let (head, blocks) = parse("# victim: a\n\n> ::x\none\n\ntwo\n[exit 1]\n\n> ::y\n");
        assert_eq!(head, ["# victim: a"]);
        assert_eq!(blocks.len(), 2);
        assert_eq!(blocks[0].answer, ["one", "", "two", "[exit 1]"]);
        assert_eq!(
            blocks[1],
            Block {
                command: "::y".into(),
                answer: Vec::new()
            }
        );
    }

    #[test]
    fn writing_a_transcript_gives_the_file_back() {
        let text = "# victim: a\n\n> ::x\none\n\ntwo\n[exit 1]\n\n> ::y\nthree\n";
        let (head, blocks) = parse(text);
        let transcript = Transcript {
            path: PathBuf::new(),
            head,
            blocks,
        };
        assert_eq!(transcript.text(), text);
    }

    #[test]
    fn a_difference_shows_what_is_missing_and_what_is_new() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            difference(&lines("a b c"), &lines("a x y c")),
            "  a\n- b\n+ x\n+ y\n  c\n"
        );
    }
}
