//! Text without what differs from run to run.
//!
//! | in the text | becomes | why |
//! |---|---|---|
//! | `7f0aa0c5efc0`, `00007f0aa0c5efc0`, `0x7f…` | `<addr:1>` | named by first appearance, by value, not by spelling |
//! | a number under TIMESTAMP | `<time:1>` | likewise |
//! | a number under THREAD, or behind the word | `<tid:1>` | likewise |
//! | `T-0.000123456`, `0.000123456 s` | `T-<time>`, `<time> s` | |
//! | `main+0x2f` | `main+<off>` | offsets of code differ between compilers |
//! | frames of libc and of the start files outside of `main` | `<start>` | they differ between systems |
//! | ``libc.so.6`__strdup+0x1b at strdup.c:42`` | ``libc.so.6`strdup+<off>`` | names and lines depend on libc's debug files |
//! | a path or a number that the player knows | its name, as `<program>` | |
//! | blanks | one blank | columns grow with their contents |
//!
//! What is outside of the user's half of the address space is no address: patterns such as
//! `0xdeadbeefdeadbeef` stay as they are, as do offsets and flags.

use std::{ops::Range, sync::LazyLock};

use regex_lite::{Captures, Regex};

/// Below are sizes, offsets and flags.
const ADDRESS_MIN: u64 = 0x1_0000;
/// A bare number below is not recognised as an address: it has too few digits to be told from a decimal number.
const BARE_MIN: u64 = 1 << 32;
/// From here on are patterns, and the kernel's half.
const ADDRESS_END: u64 = 1 << 47;
/// Digits of a number that is padded as an address.
const PADDED: usize = 16;

/// What varies within a line. The order matters: the first that fits wins.
static VARYING: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?x)
        (?<ago> T-[0-9]+\.[0-9]{9} )
        | (?<seconds> \b[0-9]+\.[0-9]{9}\ s\b )
        | (?<symbol> [A-Za-z_.][\w.@]* ) \+0x[0-9a-f]+
        | (?<before> \bthread[\ =]\s* ) (?<thread> [0-9]+ )
        | \b0x (?<prefixed> [0-9a-f]+ )\b
        | \b (?<bare> [0-9a-f]{1,16} )\b
        ",
    )
});
/// A frame of a stack that is outside of main.
static START: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^\s+(libc\.so\.6[`+].*|_start\+<off>.*|\(outermost\))$"));
/// The frame of main.
static MAIN: LazyLock<Regex> = LazyLock::new(|| regex(r"^\s+main\+<off>"));
/// A frame of libc: its place in the source is known only where libc's debug files are.
static LIBC: LazyLock<Regex> = LazyLock::new(|| regex(r"^(\s+libc\.so\.6`)_*(\w+\+<off>).*$"));
static BLANKS: LazyLock<Regex> = LazyLock::new(|| regex(r"[ \t]+"));

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is right")
}

/// Names given so far. One set lasts for a whole transcript: the same buffer keeps its name down the page.
#[derive(Debug, Clone, Default)]
pub struct Names {
    addresses: Vec<u64>,
    times: Vec<u64>,
    threads: Vec<u64>,
    literals: Vec<(String, String)>,
}

impl Names {
    /// No names yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a text that is replaced by a name wherever it stands. Longer ones have to come first.
    #[must_use]
    pub fn literal(mut self, text: impl Into<String>, name: &str) -> Self {
        self.literals.push((text.into(), name.to_owned()));
        self
    }

    /// Text with all that varies replaced.
    pub fn normalise(&mut self, text: &str) -> Vec<String> {
        let mut lines = Vec::new();
        let mut columns = Columns::default();
        let mut inside_main = false;
        for line in text.lines() {
            columns.see(line);
            let line = self.normalise_line(line, &columns);
            if inside_main && START.is_match(&line) {
                if lines.last().is_none_or(|last| last != " <start>") {
                    lines.push(" <start>".to_owned());
                }
                continue;
            }
            inside_main = MAIN.is_match(&line);
            lines.push(line);
        }
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        let first = lines.iter().position(|line| !line.is_empty()).unwrap_or(0);
        lines.drain(..first);
        lines
    }

    /// A command with names replaced by what they stand for in this run.
    ///
    /// # Errors
    /// The name that has not appeared yet.
    pub fn resolve(&self, command: &str) -> Result<String, String> {
        static NAME: LazyLock<Regex> = LazyLock::new(|| regex(r"<addr:([0-9]+)>"));
        let mut missing = Ok(());
        let resolved = NAME.replace_all(command, |found: &Captures<'_>| {
            let number: usize = found[1].parse().expect("the pattern has digits");
            let address = number
                .checked_sub(1)
                .and_then(|index| self.addresses.get(index));
            address.map_or_else(
                || {
                    missing = Err(found[0].to_owned());
                    String::new()
                },
                |address| format!("{address:x}"),
            )
        });
        let resolved = resolved.into_owned();
        missing.map(|()| resolved)
    }

    fn normalise_line(&mut self, line: &str, columns: &Columns) -> String {
        let replaced = VARYING.replace_all(line, |found: &Captures<'_>| {
            let whole = found.get(0).expect("a match has a text");
            let group = |name| found.name(name).map(|part| part.as_str());
            if group("ago").is_some() {
                "T-<time>".to_owned()
            } else if group("seconds").is_some() {
                "<time> s".to_owned()
            } else if let Some(symbol) = group("symbol") {
                format!("{symbol}+<off>")
            } else if let (Some(before), Some(thread)) = (group("before"), group("thread")) {
                format!(
                    "{before}{}",
                    name("tid", &mut self.threads, decimal(thread))
                )
            } else if let Some(digits) = group("prefixed") {
                self.address(digits, ADDRESS_MIN)
                    .unwrap_or_else(|| whole.as_str().to_owned())
            } else {
                let digits = group("bare").unwrap_or_default();
                self.bare(digits, &whole.range(), columns)
                    .unwrap_or_else(|| digits.to_owned())
            }
        });
        let mut text = replaced.into_owned();
        for (literal, name) in &self.literals {
            text = text.replace(literal, name);
        }
        let text = BLANKS.replace_all(text.trim_end(), " ");
        LIBC.replace(&text, "$1$2").into_owned()
    }

    fn bare(&mut self, digits: &str, place: &Range<usize>, columns: &Columns) -> Option<String> {
        if Columns::holds(&columns.time, place) {
            return Some(name("time", &mut self.times, hexadecimal(digits)?));
        }
        if Columns::holds(&columns.thread, place)
            && digits.bytes().all(|byte| byte.is_ascii_digit())
        {
            return Some(name("tid", &mut self.threads, decimal(digits)));
        }
        if digits.len() == PADDED {
            return self.address(digits, ADDRESS_MIN);
        }
        // Without a letter it is more likely a decimal number.
        let has_letter = digits.bytes().any(|byte| byte.is_ascii_alphabetic());
        // One program in some hundred lies where an address has no letter.
        let is_of_program =
            digits.len() == 12 && (digits.starts_with("55") || digits.starts_with("56"));
        (has_letter || is_of_program)
            .then(|| self.address(digits, BARE_MIN))
            .flatten()
    }

    fn address(&mut self, digits: &str, least: u64) -> Option<String> {
        let value = hexadecimal(digits)?;
        (least..ADDRESS_END)
            .contains(&value)
            .then(|| name("addr", &mut self.addresses, value))
    }
}

fn hexadecimal(digits: &str) -> Option<u64> {
    u64::from_str_radix(digits, 16).ok()
}

fn decimal(digits: &str) -> u64 {
    digits.parse().unwrap_or(u64::MAX)
}

fn name(kind: &str, known: &mut Vec<u64>, value: u64) -> String {
    let index = known
        .iter()
        .position(|&other| other == value)
        .unwrap_or_else(|| {
            known.push(value);
            known.len() - 1
        });
    format!("<{kind}:{}>", index + 1)
}

/// Where the columns of times and threads stand, from the titles above until the next empty line. Both are on
/// the first line of a row; a table whose titles take several lines has one row before that empty line.
#[derive(Debug, Default)]
struct Columns {
    time: Option<Range<usize>>,
    thread: Option<Range<usize>>,
    /// Lines of titles.
    titles: usize,
    /// Lines below them so far.
    below: usize,
}

impl Columns {
    /// Learns from a line of a table; forgets at its end.
    fn see(&mut self, line: &str) {
        if line.trim().is_empty() {
            *self = Self::default();
        } else if !is_titles(line) {
            self.below += 1;
        } else if self.titles > 0 && self.below == 0 {
            self.titles += 1;
        } else {
            let find = |title: &str| {
                let start = line.find(title)?;
                let end = start + line[start..].find(' ').unwrap_or(line.len() - start);
                Some(start..end)
            };
            *self = Self {
                time: find("TIMESTAMP"),
                thread: find("THREAD").or_else(|| find("THRD")),
                titles: 1,
                below: 0,
            };
        }
        if self.titles > 1 && self.below > 1 {
            (self.time, self.thread) = (None, None);
        }
    }

    /// Whether a cell at this place belongs to the column of this title: they share a place.
    fn holds(column: &Option<Range<usize>>, place: &Range<usize>) -> bool {
        column
            .as_ref()
            .is_some_and(|title| place.start < title.end && title.start < place.end)
    }
}

fn is_titles(line: &str) -> bool {
    line.split_whitespace().count() > 1
        && line
            .chars()
            .all(|c| c.is_ascii_uppercase() || matches!(c, ' ' | '_' | '/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(text: &str) -> String {
        Names::new().normalise(text).join("\n")
    }

    #[test]
    fn an_address_keeps_its_name_in_every_spelling() {
        assert_eq!(
            normal("00007f0aa0c5efc0 7f0aa0c5efc0 0x7f0aa0c5efc0 0x7f0aa0c5efc8"),
            "<addr:1> <addr:1> <addr:1> <addr:2>"
        );
        // In a program it may have no letter; the reserved bytes of ::umem_status have as many digits.
        assert_eq!(
            normal("559417724160 reserved=277499412480"),
            "<addr:1> reserved=277499412480"
        );
    }

    #[test]
    fn patterns_offsets_flags_and_sizes_stay() {
        let text = "0xdeadbeefdeadbe58 feedfacefeedface 0x10 80080000 0000 1073741824 0x12fd";
        assert_eq!(normal(text), text);
    }

    #[test]
    fn offsets_in_code_go_and_offsets_in_buffers_stay() {
        assert_eq!(
            normal("libc.so.6`strdup+0x1b 7f0aa0c5efc0+10, freed"),
            "libc.so.6`strdup+<off> <addr:1>+10, freed"
        );
        assert_eq!(
            normal("stack:\n  libc.so.6`__strdup+0x1b at strdup.c:42 0.000012345 s later"),
            "stack:\n libc.so.6`strdup+<off>"
        );
    }

    #[test]
    fn times_and_threads_are_known_by_their_column() {
        let text = "
ADDR             TIMESTAMP     THRD
00007f0aa0c71d20 7f0aa0c5efc0    17
00007f0aa0c9d4c8 9f0aa0c5efc0    18";
        assert_eq!(
            normal(text),
            "ADDR TIMESTAMP THRD\n<addr:1> <time:1> <tid:1>\n<addr:2> <time:2> <tid:2>"
        );
        let text = "
            ADDR        TIMESTAMP           THREAD
                            CACHE          LASTLOG
    7f0aa0c71d20     7f0aa0c5efc0               17
                     7f0aa0c71d20                0
                 main+0x1 at some_file.c:1234567890

thread 17 and 17";
        assert_eq!(
            normal(text),
            " ADDR TIMESTAMP THREAD\n CACHE LASTLOG\n <addr:1> <time:1> <tid:1>\n <addr:1> 0\n \
             main+<off> at some_file.c:1234567890\n\nthread <tid:1> and 17"
        );
    }

    #[test]
    fn frames_outside_of_main_become_one_line_and_those_inside_stay() {
        let text = "
\t libc.so.6`qsort_r+0x1
\t main+0x2f at a.c:3
\t libc.so.6+0x2724a
\t libc.so.6`__libc_start_main+0x85
\t _start+0x21
next";
        assert_eq!(
            normal(text),
            " libc.so.6`qsort_r+<off>\n main+<off> at a.c:3\n <start>\nnext"
        );
    }

    #[test]
    fn names_resolve_to_what_they_stand_for() {
        let mut names = Names::new().literal("/tmp/x/core", "<core>");
        assert_eq!(
            names.normalise("/tmp/x/core: 7f0aa0c5efc0"),
            ["<core>: <addr:1>"]
        );
        let command = names.resolve("<addr:1>::whatis");
        assert_eq!(command.as_deref(), Ok("7f0aa0c5efc0::whatis"));
        assert_eq!(
            names.resolve("<addr:2>::whatis"),
            Err("<addr:2>".to_owned())
        );
    }
}
