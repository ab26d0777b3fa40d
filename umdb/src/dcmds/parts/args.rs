//! What a command is, and how its words are understood.

use super::context::{Context, Error};
use crate::{
    lang::{DEFAULT_RADIX, parse_number},
    report::Report,
};

/// A command. Help, completion, the man page and the reference are made from it.
pub struct Dcmd {
    /// Its name behind `::`.
    pub name: &'static str,
    /// Where help lists it.
    pub group: Group,
    /// Whether an address stands before it.
    pub address: Address,
    /// What the address is: "thread"; usage shows it.
    pub address_name: &'static str,
    /// It makes something of a count by itself; others are run as often.
    pub takes_count: bool,
    /// What it hands down a pipe, as a plural: "buffers". None when it cannot stand before one.
    pub pipes: Option<&'static str>,
    /// Its options.
    pub options: &'static [Opt],
    /// What else may follow, as usage shows it; empty when nothing may.
    pub operands: &'static str,
    /// What Tab offers for operands.
    pub completes: Completes,
    /// One line, without full stop.
    pub summary: &'static str,
    /// Paragraphs for `::help NAME`, with an example: a line that begins with four blanks and `> `.
    pub help: &'static str,
    /// What its columns mean: title and one line without full stop.
    pub columns: &'static [(&'static str, &'static str)],
    /// Commands that answer the next question, by name.
    pub see: &'static [&'static str],
    /// Older names: `$C` and the words that it stands for.
    pub shorthands: &'static [Shorthand],
    /// What it does.
    pub run: Run,
}

/// An older name of a command: `$C` is `::stack -p`.
pub struct Shorthand {
    /// The name, with its sign.
    pub name: &'static str,
    /// Words that it stands for.
    pub words: &'static [&'static str],
}

impl Shorthand {
    /// Another name for the command alone.
    #[must_use]
    pub const fn of(name: &'static str) -> Self {
        Self { name, words: &[] }
    }
}

/// What a command does.
pub enum Run {
    /// It answers; behind a pipe once for each address.
    Report(fn(&Context<'_>, &Invocation) -> Result<Report, Error>),
    /// It takes the addresses of a pipe one by one and remembers something between them.
    Filter(BeginFilter),
    /// It ends the session.
    Quit,
    /// It ends the session about this target; another one begins about what has become of it.
    Again,
}

/// Makes a filter for a pipe.
pub type BeginFilter = fn(&Context<'_>, &Invocation) -> Result<Box<dyn Filter>, Error>;

/// A command that sees all addresses of a pipe. Without a pipe it gets the address before it, if there is one.
pub trait Filter {
    /// Takes an address; what it lets through it emits.
    ///
    /// # Errors
    /// [`Error::Closed`] when it wants no more.
    fn take(&mut self, cx: &Context<'_>, address: u64) -> Result<(), Error>;

    /// What it says when no more addresses come.
    ///
    /// # Errors
    /// As a command.
    fn finish(&mut self, cx: &Context<'_>) -> Result<Report, Error> {
        let _ = cx;
        Ok(Report::default())
    }
}

/// What Tab offers behind a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Completes {
    /// Nothing.
    #[default]
    Nothing,
    /// Names of commands.
    Dcmds,
    /// Names of walkers and caches.
    Walkers,
    /// Names of caches.
    Caches,
    /// Names of modules.
    Objects,
    /// Names of variables.
    Variables,
    /// Files.
    Files,
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
    /// The process: threads, mappings, symbols.
    Process,
    /// Filters and loops.
    Pipes,
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
            Self::Process => "The process",
            Self::Pipes => "Walks and pipes",
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

/// What was typed before and behind a command, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The address: typed or from a pipe; dot for a command that requires one.
    pub address: Option<u64>,
    /// The count, for a command that makes something of it by itself.
    pub count: Option<u64>,
    /// Its output goes to another command: it emits addresses and shows nothing else.
    pub is_piped: bool,
    /// It is run for an address of a pipe, or several times by a count.
    pub in_loop: bool,
    /// It is the first run of a loop, or the only one. (The last one cannot be known: a [`Filter`] is told.)
    pub is_first: bool,
    /// Letters of options without value.
    pub flags: Vec<char>,
    /// Options with their values.
    pub values: Vec<(char, String)>,
    /// What else follows.
    pub operands: Vec<String>,
    /// Radix of numbers without prefix.
    pub radix: u32,
    /// How the command is typed.
    pub synopsis: String,
}

impl Default for Invocation {
    fn default() -> Self {
        Self {
            address: None,
            count: None,
            is_piped: false,
            in_loop: false,
            is_first: true,
            flags: Vec::new(),
            values: Vec::new(),
            operands: Vec::new(),
            radix: DEFAULT_RADIX,
            synopsis: String::new(),
        }
    }
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

    /// A mistake for a value, an operand or a name that has no meaning: with the next step to try and the synopsis.
    #[must_use]
    pub fn senseless(&self, what: &str, next: &str) -> Error {
        senseless(&self.synopsis, what, next)
    }

    /// The value of an option as a number in the radix of the session, unless it has a prefix.
    ///
    /// # Errors
    /// When it is no number.
    pub fn number(&self, dcmd: &Dcmd, letter: char) -> Result<Option<u64>, Error> {
        self.value(letter)
            .map(|text| self.number_in(dcmd, text))
            .transpose()
    }

    /// A word as a number.
    ///
    /// # Errors
    /// When it is none; a name has to be typed as `$[name]`.
    pub fn number_in(&self, dcmd: &Dcmd, text: &str) -> Result<u64, Error> {
        parse_number(text, self.radix).map_err(|what| dcmd.misused(what))
    }
}

impl Dcmd {
    /// What most commands have: no address, no options. A descriptor names what differs, and ends with `..Dcmd::PLAIN`.
    pub const PLAIN: Self = Self {
        name: "",
        group: Group::Session,
        address: Address::Forbidden,
        address_name: "address",
        takes_count: false,
        pipes: None,
        options: &[],
        operands: "",
        completes: Completes::Nothing,
        summary: "",
        help: "",
        columns: &[],
        see: &[],
        shorthands: &[],
        run: Run::Quit,
    };

    /// How it begins, and whether something may follow.
    #[must_use]
    pub fn brief_usage(&self) -> String {
        let more = !self.options.is_empty() || !self.operands.is_empty();
        format!("{}{}", self.verb(), if more { " ..." } else { "" })
    }

    /// How it is typed.
    #[must_use]
    pub fn usage(&self) -> String {
        let letters: String = self
            .options
            .iter()
            .filter(|o| o.value.is_none())
            .map(|o| o.letter)
            .collect();
        let mut usage = self.verb();
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

    /// The name and what may stand before it.
    fn verb(&self) -> String {
        let count = if self.takes_count { "[,count]" } else { "" };
        let address = match self.address {
            Address::Forbidden => String::new(),
            Address::Optional => format!("[{}{count}]", self.address_name),
            Address::Required => format!("{}{count}", self.address_name),
        };
        format!("{address}::{}", self.name)
    }

    /// Understands what stands before and behind the command.
    ///
    /// # Errors
    /// For an unknown option, a missing value, or an address or word too many or too few.
    pub fn parse(&self, address: Option<u64>, words: &[String]) -> Result<Invocation, Error> {
        self.check_address(address)?;
        let invocation = self.parse_words(words)?;
        Ok(Invocation {
            address,
            ..invocation
        })
    }

    /// Whether an address is there where one has to be.
    ///
    /// # Errors
    /// For one too many or too few.
    pub fn check_address(&self, address: Option<u64>) -> Result<(), Error> {
        match (self.address, address) {
            (Address::Forbidden, Some(_)) => Err(self.misused("no address may stand before it")),
            (Address::Required, None) => Err(self.misused(format!(
                "an address must stand before it ({})",
                self.address_name
            ))),
            _ => Ok(()),
        }
    }

    /// Understands words as getopt does: letters may stand together, options end at the first other word or
    /// at `--`.
    ///
    /// # Errors
    /// For an unknown option, a missing value, or a word too many.
    pub fn parse_words(&self, words: &[String]) -> Result<Invocation, Error> {
        let mut invocation = Invocation {
            synopsis: self.synopsis(),
            ..Invocation::default()
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.strip_prefix('-') {
                Some("-") => break,
                Some(letters) if !letters.is_empty() && !self.is_operand(letters) => {
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

    /// `-5` or `-0t5` of a command without options of digits but with operands: `::head -5`.
    fn is_operand(&self, letters: &str) -> bool {
        let digits = letters.strip_prefix("0t").unwrap_or(letters);
        !self.operands.is_empty()
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !self
                .options
                .iter()
                .any(|option| option.letter.is_ascii_digit())
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

    /// It was typed in the wrong way: what is wrong, and how it is typed.
    #[must_use]
    pub fn misused(&self, what: impl Into<String>) -> Error {
        Error::Usage {
            what: format!("{}: {}", self.name, what.into()),
            hint: Some(self.synopsis()),
        }
    }

    /// As [`Invocation::senseless`].
    #[must_use]
    pub fn senseless(&self, what: &str, next: &str) -> Error {
        senseless(&self.synopsis(), what, next)
    }

    /// The mistake of a type that there is not, or that is no name.
    #[must_use]
    pub fn unknown_type(&self, error: Error) -> Error {
        match error {
            Error::Failed { what, hint: None } => self.misused(what),
            Error::Failed {
                what,
                hint: Some(next),
            } => self.senseless(&what, &next),
            error => error,
        }
    }

    fn synopsis(&self) -> String {
        let (usage, name) = (self.usage(), self.name);
        format!("Usage: {usage} (try '::help {name}' for more information)")
    }
}

fn senseless(synopsis: &str, what: &str, next: &str) -> Error {
    Error::Usage {
        what: what.to_owned(),
        hint: Some(format!("{next}\n{synopsis}")),
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
        ..Dcmd::PLAIN
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
