//! Leaks that are known and not to be reported: rules of a file, one a line, as LeakSanitizer has them.
//!
//! A rule is one condition or several with blanks between, all of which have to hold: `leak:parse size:64`. A
//! condition about a frame holds when any frame of the stack matches. `*` stands for any text.

use std::path::Path;

/// Files with more bytes are none of rules.
pub const FILE_MAX: u64 = 1 << 20;

/// The rules of all files, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Suppressions {
    /// The rules.
    pub rules: Vec<Rule>,
}

/// One line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The file that it stands in.
    pub file: String,
    /// Number of the line, from 1.
    pub line: usize,
    /// The line without blanks and comment.
    pub text: String,
    conditions: Vec<Condition>,
}

/// Why a file cannot be used: one line, with the file and the number of the line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It cannot be read.
    #[error("cannot read {file}: {why}")]
    Unreadable {
        /// Its name.
        file: String,
        /// Why.
        why: String,
    },
    /// A line is no rule.
    #[error("{file}:{line}: {what}")]
    NoRule {
        /// Its name.
        file: String,
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
}

/// What of a frame is matched.
#[derive(Debug, Clone, Default)]
pub struct Named {
    /// The function as shown.
    pub function: Option<String>,
    /// Path of the module.
    pub object: Option<String>,
    /// Source file.
    pub source: Option<String>,
}

/// What has to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    /// Function, module or source file of a frame.
    Any(String),
    /// Function of a frame.
    Function(String),
    /// Module of a frame.
    Object(String),
    /// Source file of a frame.
    Source(String),
    /// All buffers have a size of this range, ends included.
    Size(u64, u64),
}

/// What a condition begins with.
const KEYS: [&str; 5] = ["leak:", "fun:", "obj:", "src:", "size:"];

impl Suppressions {
    /// Adds the rules of a file.
    ///
    /// # Errors
    /// When it cannot be read, or a line is no rule.
    pub fn add_file(&mut self, path: &Path) -> Result<(), Refused> {
        use std::io::Read;
        let file = path.display().to_string();
        let unreadable = |why: String| Refused::Unreadable {
            file: file.clone(),
            why,
        };
        let mut bytes = Vec::new();
        std::fs::File::open(path)
            .and_then(|opened| opened.take(FILE_MAX + 1).read_to_end(&mut bytes))
            .map_err(|error| unreadable(error.to_string()))?;
        if bytes.len() as u64 > FILE_MAX {
            return Err(unreadable(format!("it is larger than {FILE_MAX} bytes")));
        }
        let text = String::from_utf8(bytes).map_err(|_| unreadable("it is no text".to_owned()))?;
        self.add(&file, &text)
    }

    /// Adds the rules of a text; `file` is named in errors.
    ///
    /// # Errors
    /// When a line is no rule.
    pub fn add(&mut self, file: &str, text: &str) -> Result<(), Refused> {
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let conditions = conditions(line).map_err(|what| Refused::NoRule {
                file: file.to_owned(),
                line: index + 1,
                what,
            })?;
            self.rules.push(Rule {
                file: file.to_owned(),
                line: index + 1,
                text: line.to_owned(),
                conditions,
            });
        }
        Ok(())
    }
}

impl Rule {
    /// Whether the rule is about buffers with these least and greatest sizes and this stack.
    #[must_use]
    pub fn matches(&self, sizes: (u64, u64), frames: &[Named]) -> bool {
        self.conditions
            .iter()
            .all(|condition| condition.holds(sizes, frames))
    }
}

impl Condition {
    fn holds(&self, sizes: (u64, u64), frames: &[Named]) -> bool {
        let any = |test: &dyn Fn(&Named) -> bool| frames.iter().any(test);
        match self {
            Self::Size(least, greatest) => *least <= sizes.0 && sizes.1 <= *greatest,
            Self::Any(pattern) => any(&|frame| {
                [&frame.function, &frame.object, &frame.source]
                    .into_iter()
                    .flatten()
                    .any(|text| is_like(pattern, text))
            }),
            Self::Function(pattern) => any(&|frame| {
                frame.function.as_ref().is_some_and(|name| {
                    let bare = name.split_once('(').map_or(name.as_str(), |parts| parts.0);
                    is_like(pattern, name) || is_like(pattern, bare)
                })
            }),
            Self::Object(pattern) => any(&|frame| is_file(pattern, frame.object.as_deref())),
            Self::Source(pattern) => any(&|frame| is_file(pattern, frame.source.as_deref())),
        }
    }
}

/// Whether a pattern is like a path, or like its last part when the pattern names no folder.
fn is_file(pattern: &str, path: Option<&str>) -> bool {
    path.is_some_and(|path| {
        let last = path.rsplit('/').next().unwrap_or(path);
        is_like(pattern, path) || (!pattern.contains('/') && is_like(pattern, last))
    })
}

/// The conditions of a line.
fn conditions(line: &str) -> Result<Vec<Condition>, String> {
    if line.starts_with('{') {
        return Err(
            "blocks in braces are not understood: write fun:NAME obj:NAME on one line".to_owned(),
        );
    }
    let mut starts: Vec<usize> = line
        .char_indices()
        .map(|(at, _)| at)
        .filter(|&at| begins_condition(line, at))
        .collect();
    if starts.first() != Some(&0) {
        let word = line.split_whitespace().next().unwrap_or_default();
        return Err(format!(
            "expected leak:, fun:, obj:, src: or size:, not \"{word}\""
        ));
    }
    starts.push(line.len());
    starts
        .windows(2)
        .map(|range| condition(line[range[0]..range[1]].trim()))
        .collect()
}

/// Whether a condition begins at a byte of a line: a key at its start or behind a blank. `obj::x` is a name of C++.
fn begins_condition(line: &str, at: usize) -> bool {
    let (before, rest) = line.split_at(at);
    (before.is_empty() || before.ends_with(char::is_whitespace))
        && KEYS.iter().any(|key| {
            rest.strip_prefix(key)
                .is_some_and(|rest| !rest.starts_with(':'))
        })
}

fn condition(text: &str) -> Result<Condition, String> {
    let (key, value) = text.split_once(':').unwrap_or((text, ""));
    let value = value.trim();
    if value.is_empty() {
        return Err(format!("nothing behind {key}:"));
    }
    Ok(match key {
        "leak" => Condition::Any(anywhere(value)),
        "fun" => Condition::Function(value.to_owned()),
        "obj" => Condition::Object(value.to_owned()),
        "src" => Condition::Source(value.to_owned()),
        _ => {
            let (least, greatest) = sizes(value)?;
            Condition::Size(least, greatest)
        }
    })
}

/// LeakSanitizer's patterns match anywhere in a name; `^` and `$` tie them to its ends.
fn anywhere(pattern: &str) -> String {
    let (start, pattern) = match pattern.strip_prefix('^') {
        Some(rest) => ("", rest),
        None => ("*", pattern),
    };
    let (pattern, end) = match pattern.strip_suffix('$') {
        Some(rest) => (rest, ""),
        None => (pattern, "*"),
    };
    format!("{start}{pattern}{end}")
}

/// `64`, `64..128`, `64..`, `..128`: bytes, ends included.
fn sizes(text: &str) -> Result<(u64, u64), String> {
    let wrong = || {
        format!(
            "expected a number of bytes or a range such as 64..128, 64.. or ..128, not \"{text}\""
        )
    };
    let number = |text: &str, default: u64| match text.trim() {
        "" => Ok(default),
        digits => digits.parse().map_err(|_| wrong()),
    };
    let range = match text.split_once("..") {
        Some((least, greatest)) => (number(least, 0)?, number(greatest, u64::MAX)?),
        None => {
            let size = text.parse().map_err(|_| wrong())?;
            (size, size)
        }
    };
    if range.0 > range.1 {
        return Err(wrong());
    }
    Ok(range)
}

/// Whether a pattern, in which `*` stands for any text, is like all of a text.
fn is_like(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut from) = (0, 0);
    // The last star, and the byte of the text up to which it has been tried.
    let mut star: Option<(usize, usize)> = None;
    while from < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(byte) if *byte == text[from] => {
                at += 1;
                from += 1;
            }
            _ => {
                let Some((back, tried)) = star else {
                    return false;
                };
                star = Some((back, tried + 1));
                (at, from) = (back + 1, tried + 1);
            }
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(line: &str) -> Rule {
        let mut suppressions = Suppressions::default();
        suppressions.add("rules", line).unwrap();
        assert_eq!(suppressions.rules.len(), 1, "{line}");
        suppressions.rules.remove(0)
    }

    fn stack() -> Vec<Named> {
        let frame = |function: Option<&str>, object: &str, source: Option<&str>| Named {
            function: function.map(str::to_owned),
            object: Some(object.to_owned()),
            source: source.map(str::to_owned),
        };
        vec![
            frame(
                Some("ns::Pool::add(char const*, int)"),
                "/usr/lib/libpool.so.3",
                None,
            ),
            frame(Some("load_config"), "/opt/prog", Some("/src/config.c")),
            frame(None, "/opt/prog", None),
        ]
    }

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-cd", false),
            ("*ab", "aab", true),
            ("a", "aa", false),
            ("**a", "ba", true),
            ("a*", "ba", false),
        ] {
            assert_eq!(is_like(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn rules_hold_for_frames_and_sizes() {
        for (line, expected) in [
            ("leak:Pool", true),
            ("leak:^Pool", false),
            ("leak:^load_config$", true),
            ("leak:^load$", false),
            ("leak:libpool.so", true),
            ("leak:src/config.c", true),
            ("leak:lo*fig", true),
            ("leak:add(char const*, int)", true),
            ("fun:load_config", true),
            ("fun:load", false),
            ("fun:load*", true),
            ("fun:ns::Pool::add", true),
            ("fun:ns::Pool::add(char const*, int)", true),
            ("obj:libpool.so*", true),
            ("obj:libpool", false),
            ("obj:*/libpool.so.3", true),
            ("obj:/usr/lib/libpool.so.3", true),
            ("src:config.c", true),
            ("src:*/src/config.c", true),
            ("src:pool.c", false),
            ("size:64", true),
            ("size:65", false),
            ("size:..64", true),
            ("size:64..", true),
            ("size:1..63", false),
            ("fun:load_config obj:libpool* size:60..70", true),
            ("fun:load_config obj:libother* size:60..70", false),
            ("fun:load_config size:1", false),
        ] {
            assert_eq!(rule(line).matches((64, 64), &stack()), expected, "{line}");
        }
        assert!(!rule("size:64").matches((32, 64), &[]));
        assert!(!rule("fun:*").matches((32, 64), &[]));
    }

    #[test]
    fn names_of_cpp_are_no_conditions() {
        let rule = rule("leak:f(A obj::B) size:8");
        assert_eq!(
            rule.conditions,
            [
                Condition::Any("*f(A obj::B)*".to_owned()),
                Condition::Size(8, 8)
            ]
        );
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (text, expected) in [
            (
                "# comment\n\n  foo:bar",
                "rules:3: expected leak:, fun:, obj:, src: or size:, not \"foo:bar\"",
            ),
            ("leak:", "rules:1: nothing behind leak:"),
            ("leak:a size:", "rules:1: nothing behind size:"),
            (
                "size:9..3",
                "rules:1: expected a number of bytes or a range such as 64..128, 64.. or ..128, not \"9..3\"",
            ),
            (
                "leak:a\nsize:x",
                "rules:2: expected a number of bytes or a range such as 64..128, 64.. or ..128, not \"x\"",
            ),
            (
                "{",
                "rules:1: blocks in braces are not understood: write fun:NAME obj:NAME on one line",
            ),
        ] {
            let error = Suppressions::default().add("rules", text).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn files_that_cannot_be_read_are_named() {
        let error = Suppressions::default()
            .add_file(Path::new("/nowhere/rules"))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot read /nowhere/rules: No such file or directory (os error 2)"
        );
        let error = Suppressions::default()
            .add_file(Path::new("/dev/zero"))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot read /dev/zero: it is larger than 1048576 bytes"
        );
    }
}
