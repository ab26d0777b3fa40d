//! What a command is, and how its words are understood.

use super::context::{Context, Error};
use crate::report::Report;

/// A command.
pub struct Dcmd {
    /// Its name behind `::`.
    pub name: &'static str,
    /// Where help lists it.
    pub group: Group,
    /// Whether an address stands before it.
    pub address: Address,
    /// Its options.
    pub options: &'static [Opt],
    /// What else may follow, as usage shows it; empty when nothing may.
    pub operands: &'static str,
    /// One line, without full stop.
    pub summary: &'static str,
    /// Paragraphs for `::help NAME`, with an example.
    pub help: &'static str,
    /// What it does.
    pub run: Run,
}

/// What a command does.
pub enum Run {
    /// It answers.
    Report(fn(&Context<'_>, &Invocation) -> Result<Report, Error>),
    /// It ends the session.
    Quit,
}

/// Where help lists a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Leaks.
    Leaks,
    /// Corruption.
    Corruption,
    /// What is where.
    Addresses,
    /// The allocator as a whole.
    Overview,
    /// The debugger itself.
    Session,
}

impl Group {
    /// The title in help.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Leaks => "Leaks",
            Self::Corruption => "Corruption",
            Self::Addresses => "What is where",
            Self::Overview => "The allocator",
            Self::Session => "This session",
        }
    }
}

/// Whether an address stands before a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    /// It may not.
    Forbidden,
    /// It may.
    Optional,
    /// It must; dot counts.
    Required,
}

/// An option of one letter.
pub struct Opt {
    /// The letter.
    pub letter: char,
    /// What its value is called, when it takes one.
    pub value: Option<&'static str>,
    /// One line, without full stop.
    pub summary: &'static str,
}

impl Opt {
    /// An option without value.
    #[must_use]
    pub const fn flag(letter: char, summary: &'static str) -> Self {
        Self {
            letter,
            value: None,
            summary,
        }
    }

    /// An option with a value of this name.
    #[must_use]
    pub const fn value(letter: char, value: &'static str, summary: &'static str) -> Self {
        Self {
            letter,
            value: Some(value),
            summary,
        }
    }
}

/// What was typed before and behind a command.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Invocation {
    /// The address.
    pub address: Option<u64>,
    /// Letters of options without value.
    pub flags: Vec<char>,
    /// Options with their values.
    pub values: Vec<(char, String)>,
    /// What else follows.
    pub operands: Vec<String>,
}

impl Invocation {
    /// The value of an option; the last one counts.
    #[must_use]
    pub fn value(&self, letter: char) -> Option<&str> {
        let mut values = self.values.iter().rev();
        values
            .find(|(other, _)| *other == letter)
            .map(|(_, value)| value.as_str())
    }

    /// Whether an option without value was given.
    #[must_use]
    pub fn has(&self, letter: char) -> bool {
        self.flags.contains(&letter)
    }
}

impl Dcmd {
    /// How it is typed.
    #[must_use]
    pub fn usage(&self) -> String {
        let address = match self.address {
            Address::Forbidden => "",
            Address::Optional => "[address]",
            Address::Required => "address",
        };
        let letters: String = self
            .options
            .iter()
            .filter(|o| o.value.is_none())
            .map(|o| o.letter)
            .collect();
        let mut usage = format!("{address}::{}", self.name);
        if !letters.is_empty() {
            usage += &format!(" [-{letters}]");
        }
        for option in self.options {
            if let Some(value) = option.value {
                usage += &format!(" [-{} {value}]", option.letter);
            }
        }
        if !self.operands.is_empty() {
            usage += &format!(" {}", self.operands);
        }
        usage
    }

    /// Understands words as getopt does: letters may stand together, options end at the first other word or
    /// at `--`.
    ///
    /// # Errors
    /// For an unknown option, a missing value, or an address or word too many or too few.
    pub fn parse(&self, address: Option<u64>, words: &[String]) -> Result<Invocation, Error> {
        match (self.address, address) {
            (Address::Forbidden, Some(_)) => {
                return Err(self.misused("no address may stand before it"));
            }
            (Address::Required, None) => {
                return Err(self.misused("an address must stand before it"));
            }
            _ => {}
        }
        let mut invocation = Invocation {
            address,
            ..Invocation::default()
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.strip_prefix('-') {
                Some("-") => break,
                Some(letters) if !letters.is_empty() => {
                    self.take_options(letters, &mut words, &mut invocation)?
                }
                _ => {
                    invocation.operands.push(word.clone());
                    break;
                }
            }
        }
        invocation.operands.extend(words.cloned());
        match invocation.operands.first() {
            Some(word) if self.operands.is_empty() => {
                Err(self.misused(format!("unexpected argument \"{word}\"")))
            }
            _ => Ok(invocation),
        }
    }

    /// Takes letters that stand together; the value of one is what follows it, else the next word.
    fn take_options<'a>(
        &self,
        letters: &str,
        words: &mut impl Iterator<Item = &'a String>,
        invocation: &mut Invocation,
    ) -> Result<(), Error> {
        for (at, letter) in letters.char_indices() {
            let Some(option) = self.options.iter().find(|option| option.letter == letter) else {
                return Err(self.misused(format!("illegal option -- {letter}")));
            };
            if option.value.is_none() {
                invocation.flags.push(letter);
                continue;
            }
            let rest = &letters[at + letter.len_utf8()..];
            let value = if rest.is_empty() {
                words.next().cloned()
            } else {
                Some(rest.to_owned())
            };
            let Some(value) = value else {
                return Err(self.misused(format!("option requires an argument -- {letter}")));
            };
            invocation.values.push((letter, value));
            break;
        }
        Ok(())
    }

    fn misused(&self, what: impl Into<String>) -> Error {
        Error::Failed {
            what: format!("{}: {}", self.name, what.into()),
            hint: Some(format!(
                "usage: {} (see ::help {})",
                self.usage(),
                self.name
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: Dcmd = Dcmd {
        name: "sample",
        group: Group::Session,
        address: Address::Optional,
        options: &[
            Opt::flag('v', "verbose"),
            Opt::flag('d', "details"),
            Opt {
                letter: 'c',
                value: Some("caller"),
                summary: "only this caller",
            },
        ],
        operands: "[word ...]",
        summary: "nothing",
        help: "",
        run: Run::Quit,
    };

    fn parse(line: &str) -> Result<Invocation, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        SAMPLE
            .parse(None, &words)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn options_are_understood_as_getopt_does() {
        assert_eq!(
            SAMPLE.usage(),
            "[address]::sample [-vd] [-c caller] [word ...]"
        );
        let value = |text: &str| vec![('c', text.to_owned())];
        assert_eq!(parse("-vd").unwrap().flags, ['v', 'd']);
        assert_eq!(parse("-vc main x").unwrap().values, value("main"));
        assert_eq!(parse("-vc main x").unwrap().operands, ["x"]);
        assert_eq!(parse("-cmain").unwrap().values, value("main"));
        assert_eq!(parse("-c -1").unwrap().values, value("-1"));
        assert_eq!(parse("-c 5 -v").unwrap().flags, ['v']);
        assert_eq!(parse("-v -- -d").unwrap().operands, ["-d"]);
        assert_eq!(parse("x -v").unwrap().operands, ["x", "-v"]);
    }

    #[test]
    fn wrong_words_are_named() {
        assert_eq!(parse("-z").unwrap_err(), "sample: illegal option -- z");
        assert_eq!(
            parse("-c").unwrap_err(),
            "sample: option requires an argument -- c"
        );
        let strict = Dcmd {
            operands: "",
            address: Address::Forbidden,
            ..SAMPLE
        };
        let error = strict
            .parse(None, &["x".to_owned()])
            .unwrap_err()
            .to_string();
        assert_eq!(error, "sample: unexpected argument \"x\"");
        assert!(strict.parse(Some(1), &[]).is_err());
    }
}
