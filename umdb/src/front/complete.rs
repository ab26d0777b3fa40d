//! What Tab offers, and what stands dimmed behind the cursor.

use std::rc::Rc;

use rustyline::{
    Context as LineContext, Helper, Result as LineResult,
    completion::{Completer, FilenameCompleter, Pair},
    highlight::Highlighter,
    hint::Hinter,
    validate::Validator,
};

use crate::{
    analysis::Subject,
    dcmds::{self, Completes, DCMDS, Dcmd, State, registers},
    walkers::WALKERS,
};

/// Names that are offered at most.
const OFFERS_MAX: usize = 500;
/// Letters of a symbol that have to be typed first, for there are many.
const SYMBOL_LETTERS: usize = 2;

/// Offers names of everything that can be typed.
pub(super) struct Assistant<'a> {
    subject: Subject<'a>,
    state: Rc<State>,
    files: FilenameCompleter,
    has_colour: bool,
}

/// What is completed: where it begins, and what it is.
#[derive(Debug, PartialEq, Eq)]
enum Wanted<'l> {
    /// The name of a command.
    Dcmd(&'l str),
    /// An option of a command.
    Option(&'static str, &'l str),
    /// A word behind a command.
    Operand(&'static str, &'l str),
    /// A name in an expression.
    Name(&'l str),
    /// A variable or register.
    Variable(&'l str),
}

impl<'a> Assistant<'a> {
    pub(super) fn new(subject: Subject<'a>, state: Rc<State>, has_colour: bool) -> Self {
        Self {
            subject,
            state,
            files: FilenameCompleter::new(),
            has_colour,
        }
    }

    fn offers(&self, wanted: &Wanted<'_>) -> Vec<String> {
        let mut offers: Vec<String> = match *wanted {
            Wanted::Dcmd(start) => starting(dcmd_names(), start),
            Wanted::Option(name, start) => {
                let options = dcmds::find(name).map_or(&[][..], |dcmd| dcmd.options);
                let options = options.iter().map(|option| format!("-{}", option.letter));
                starting(options, start)
            }
            Wanted::Operand(name, start) => match dcmds::find(name).map(|dcmd| dcmd.completes) {
                Some(Completes::Dcmds) => starting(dcmd_names(), start),
                Some(Completes::Walkers) => {
                    let walkers = WALKERS.iter().map(|walker| walker.name.to_owned());
                    starting(walkers.chain(self.caches()), start)
                }
                Some(Completes::Caches) => starting(self.caches(), start),
                Some(Completes::Objects) => {
                    let modules = self.subject.target.modules.iter();
                    starting(modules.map(|module| module.name.clone()), start)
                }
                Some(Completes::Variables) => self.variables(start),
                Some(Completes::Nothing | Completes::Files) | None => Vec::new(),
            },
            Wanted::Variable(start) => self.variables(start),
            Wanted::Name(start) => {
                let mut names = starting(self.caches(), start);
                names.extend(self.symbols(start));
                names
            }
        };
        offers.sort_unstable();
        offers.dedup();
        offers.truncate(OFFERS_MAX);
        offers
    }

    fn caches(&self) -> impl Iterator<Item = String> {
        let caches = self.subject.heap.caches.iter();
        caches.map(|cache| cache.name.clone())
    }

    fn variables(&self, start: &str) -> Vec<String> {
        let mut names: Vec<String> = self
            .state
            .variables()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        names.extend(
            registers::all(&Default::default())
                .iter()
                .map(|(name, _)| (*name).to_owned()),
        );
        starting(names.into_iter(), start)
    }

    /// Symbols of the program, or of the object before the grave accent.
    fn symbols(&self, start: &str) -> Vec<String> {
        let (object, letters) = match start.rsplit_once('`') {
            Some((object, letters)) => (Some(object), letters),
            None => (None, start),
        };
        if letters.len() < SYMBOL_LETTERS {
            let modules = self.subject.target.modules.iter();
            let modules = modules.map(|module| format!("{}`", module.name));
            return starting(modules.filter(|_| object.is_none()), start);
        }
        let module = self
            .subject
            .target
            .modules
            .iter()
            .find(|module| object.map_or(module.is_program, |object| module.name == object));
        let Some(module) = module else {
            return Vec::new();
        };
        let symbols = self.subject.symbols.list(module);
        let fitting = symbols
            .iter()
            .filter(|symbol| symbol.name.starts_with(letters))
            .take(OFFERS_MAX);
        let names = fitting.map(|symbol| match object {
            Some(object) => format!("{object}`{}", symbol.name),
            None => symbol.name.to_owned(),
        });
        names.collect()
    }
}

fn dcmd_names() -> impl Iterator<Item = String> {
    DCMDS.iter().map(|dcmd| dcmd.name.to_owned())
}

fn starting(names: impl Iterator<Item = String>, start: &str) -> Vec<String> {
    names.filter(|name| name.starts_with(start)).collect()
}

/// The command at the cursor: what begins behind the last `;` or `|` that does not stand in quotes.
fn command_at(before: &str) -> usize {
    let mut quote = None;
    let mut start = 0;
    for (at, c) in before.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if matches!(c, ';' | '|') => start = at + 1,
            None => {}
        }
    }
    start
}

/// What the word at the end of a line is, and where it begins.
fn wanted(before: &str) -> (usize, Wanted<'_>) {
    let start = command_at(before);
    let command = &before[start..];
    if let Some(at) = command.rfind("$[") {
        let inner = &command[at + 2..];
        if !inner.contains(']') {
            return name(before, start + at + 2);
        }
    }
    let Some(at) = command.find("::") else {
        return name(before, start);
    };
    let behind = &command[at + 2..];
    let Some(space) = behind.find(' ') else {
        return (start + at + 2, Wanted::Dcmd(behind));
    };
    let Some(dcmd) = dcmds::find(&behind[..space]) else {
        return (before.len(), Wanted::Name(""));
    };
    let word = before.rfind(' ').map_or(0, |blank| blank + 1);
    let text = &before[word..];
    if text.starts_with('-') {
        (word, Wanted::Option(dcmd.name, text))
    } else {
        (word, Wanted::Operand(dcmd.name, text))
    }
}

/// The name at the end of an expression.
fn name(before: &str, from: usize) -> (usize, Wanted<'_>) {
    let text = &before[from..];
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '`');
    let at = text
        .char_indices()
        .rev()
        .take_while(|&(_, c)| is_name(c))
        .last()
        .map_or(before.len(), |(at, _)| from + at);
    let word = &before[at..];
    if before[..at].ends_with('<') {
        (at, Wanted::Variable(word))
    } else {
        (at, Wanted::Name(word))
    }
}

/// What may follow the command that was typed, in the words of its usage.
fn usage_behind(before: &str) -> Option<String> {
    let command = &before[command_at(before)..];
    let behind = &command[command.find("::")? + 2..];
    let name = behind
        .strip_suffix(' ')
        .filter(|name| !name.contains(' '))?;
    let dcmd: &Dcmd = dcmds::find(name)?;
    let usage = dcmd.usage();
    let (_, rest) = usage.split_once("::")?;
    rest.split_once(' ').map(|(_, rest)| rest.to_owned())
}

impl Completer for Assistant<'_> {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        at: usize,
        context: &LineContext<'_>,
    ) -> LineResult<(usize, Vec<Pair>)> {
        let before = line.get(..at).unwrap_or(line);
        let (start, wanted) = wanted(before);
        if let Wanted::Operand(name, _) = wanted
            && dcmds::find(name).is_some_and(|dcmd| dcmd.completes == Completes::Files)
        {
            return self.files.complete(line, at, context);
        }
        let offers = self.offers(&wanted).into_iter().map(|name| Pair {
            display: name.clone(),
            replacement: name,
        });
        Ok((start, offers.collect()))
    }
}

impl Hinter for Assistant<'_> {
    type Hint = String;

    fn hint(&self, line: &str, at: usize, _: &LineContext<'_>) -> Option<String> {
        (at == line.len()).then(|| usage_behind(line)).flatten()
    }
}

impl Highlighter for Assistant<'_> {
    fn highlight_hint<'h>(&self, hint: &'h str) -> std::borrow::Cow<'h, str> {
        if self.has_colour {
            format!("\x1b[2m{hint}\x1b[0m").into()
        } else {
            hint.into()
        }
    }
}

impl Validator for Assistant<'_> {}

impl Helper for Assistant<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{analysis::Cancel, heap::synthetic::victim, symbols::Symbols};

    #[test]
    fn the_word_at_the_cursor_is_understood() {
        assert_eq!(wanted("::fi"), (2, Wanted::Dcmd("fi")));
        assert_eq!(wanted("5::walk um"), (8, Wanted::Operand("walk", "um")));
        assert_eq!(wanted("::dump -"), (7, Wanted::Option("dump", "-")));
        assert_eq!(wanted("::walk thread | ::fi"), (18, Wanted::Dcmd("fi")));
        assert_eq!(wanted("::a; <r"), (6, Wanted::Variable("r")));
        assert_eq!(wanted("1+ma"), (2, Wanted::Name("ma")));
        assert_eq!(
            wanted("::echo $[libc.so.6`mal"),
            (9, Wanted::Name("libc.so.6`mal"))
        );
        assert_eq!(
            wanted("::grep \"a|b"),
            (7, Wanted::Operand("grep", "\"a|b"))
        );
        for line in ["", ";", "::", "é::walk é", "$[", "::walk $[x] "] {
            wanted(line);
        }
    }

    #[test]
    fn names_are_offered() {
        let (mut builder, _) = victim();
        builder.publish();
        let (target, heap, cancel) = (builder.target(), builder.heap(), Cancel::new());
        let symbols = Symbols::new(&target);
        let subject = Subject::new(&target, &symbols, &heap, &cancel);
        let assistant = Assistant::new(subject, Rc::default(), false);
        let offers = |line: &str| assistant.offers(&wanted(line).1);
        assert_eq!(offers("::findl"), ["findleaks"]);
        assert!(offers("::walk um").contains(&"umem_alloc_64".to_owned()));
        assert!(offers("::walk um").contains(&"umem_cache".to_owned()));
        assert_eq!(offers("<ri"), ["rip"]);
        assert!(offers("umem_al").contains(&"umem_alloc_64".to_owned()));
        assert!(offers("::dump -").contains(&"-l".to_owned()));
        assert!(offers("::nothing x").iter().all(|name| !name.is_empty()));
    }

    #[test]
    fn usage_is_hinted_behind_a_command() {
        assert_eq!(
            usage_behind("::walk ").as_deref(),
            Some("walker [variable]")
        );
        assert_eq!(usage_behind("::walk x "), None);
        assert_eq!(usage_behind("::snapshot "), None);
    }
}
