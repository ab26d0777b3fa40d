//! Runs the commands of lines, one after the other.
//!
//! **Owns** dot, the meaning of names in expressions, and how results add up. **May use** everything to its left.
//! **Promises** that each command gives exactly one report, that an error in one leaves the others, and that the
//! worst status decides: could not do it, incomplete, found, clean.

use crate::{
    dcmds::{self, Context, Dcmd, Error, Run},
    lang::{self, Command, Environment, SyntaxError, Verb, Word},
    report::{Report, Status},
};

/// Takes what commands report.
pub trait Sink {
    /// One report; `command` is the command as typed.
    fn report(&mut self, command: &str, report: &Report);

    /// Nobody listens any more: run no more commands.
    fn is_closed(&self) -> bool {
        false
    }
}

/// Whether more lines are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Yes.
    Continue,
    /// The user quit.
    Quit,
}

/// A session: a context, dot, and the worst status so far.
pub struct Session<'a> {
    context: Context<'a>,
    dot: Option<u64>,
    status: Status,
}

impl<'a> Session<'a> {
    /// A session in a context.
    #[must_use]
    pub fn new(context: Context<'a>) -> Self {
        Self {
            context,
            dot: None,
            status: Status::Clean,
        }
    }

    /// The worst status so far.
    #[must_use]
    pub const fn status(&self) -> Status {
        self.status
    }

    /// Counts a status that something else than a command had.
    pub fn worsen(&mut self, status: Status) {
        self.status = self.status.max(status);
    }

    /// Runs the commands of a line.
    pub fn run_line(&mut self, line: &str, sink: &mut dyn Sink) -> Outcome {
        for command in lang::parse(line) {
            if sink.is_closed() {
                return Outcome::Quit;
            }
            let (text, result) = match command {
                Ok(command) => (command.text.clone(), self.run(&command)),
                Err(error) => (line.to_owned(), Err(syntax(&error))),
            };
            let cancelled = matches!(result, Err(Error::Cancelled));
            match result {
                Ok(Some(report)) => self.deliver(&text, &report, sink),
                Ok(None) => return Outcome::Quit,
                Err(error) => self.deliver(&text, &error.into(), sink),
            }
            if cancelled {
                return Outcome::Continue;
            }
        }
        Outcome::Continue
    }

    fn deliver(&mut self, text: &str, report: &Report, sink: &mut dyn Sink) {
        self.worsen(report.status);
        sink.report(text, report);
    }

    /// Runs one command; nothing when it ends the session.
    fn run(&mut self, command: &Command) -> Result<Option<Report>, Error> {
        let address = command
            .address
            .as_ref()
            .map(|e| lang::evaluate(e, self))
            .transpose()
            .map_err(failed)?;
        let dcmd = match &command.verb {
            Verb::None => {
                self.dot = address;
                return Ok(Some(Report::default()));
            }
            Verb::Dollar('q' | 'Q') => return Ok(None),
            Verb::Dollar(letter) => {
                return Err(Error::failed(format!("invalid command '${letter}'")));
            }
            Verb::Dcmd(name) => dcmds::find(name).ok_or_else(|| unknown(name))?,
        };
        let words = command
            .words
            .iter()
            .map(|word| self.text_of(word))
            .collect::<Result<Vec<_>, _>>()?;
        self.dot = address.or(self.dot);
        let invocation = dcmd.parse(self.address_for(dcmd, address), &words)?;
        match dcmd.run {
            Run::Quit => Ok(None),
            Run::Report(run) => run(&self.context, &invocation).map(Some),
        }
    }

    /// Dot stands in where an address is required.
    fn address_for(&self, dcmd: &Dcmd, address: Option<u64>) -> Option<u64> {
        if dcmd.address == dcmds::Address::Required {
            address.or(self.dot)
        } else {
            address
        }
    }

    fn text_of(&self, word: &Word) -> Result<String, Error> {
        match word {
            Word::Text(text) => Ok(text.clone()),
            Word::Value(expression) => lang::evaluate(expression, self)
                .map(|value| format!("0x{value:x}"))
                .map_err(failed),
        }
    }
}

impl Environment for Session<'_> {
    /// Names of the library's caches come first: they cost no look into symbol tables, and programs do not
    /// call their data so. Names that a program gave its caches come last, for it often has a variable of
    /// the same name.
    fn resolve(&self, name: &str) -> Option<u64> {
        let heap = self.context.heap;
        let cache = heap.cache_named(name);
        let library = cache
            .filter(|cache| cache.is_library())
            .map(|cache| cache.address);
        let arena = || {
            heap.arenas
                .iter()
                .find(|arena| arena.name == name)
                .map(|arena| arena.address)
        };
        let symbol = || {
            self.context
                .symbols
                .resolve(name)
                .map(|symbol| symbol.address)
        };
        library
            .or_else(symbol)
            .or_else(|| cache.map(|cache| cache.address))
            .or_else(arena)
    }

    fn read_word(&self, address: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        (self.context.heap.reader.fill(address, &mut bytes) == 8).then(|| u64::from_le_bytes(bytes))
    }

    fn dot(&self) -> u64 {
        self.dot.unwrap_or(0)
    }
}

fn failed(error: lang::EvalError) -> Error {
    Error::failed(error.to_string())
}

fn syntax(error: &SyntaxError) -> Error {
    Error::failed(error.to_string())
}

fn unknown(name: &str) -> Error {
    let what = format!("invalid command '::{name}': unknown dcmd name");
    let hint = dcmds::similar(name).map(|near| format!("did you mean ::{near}?"));
    Error::Failed {
        what,
        hint: hint.or_else(|| Some("::dcmds lists the commands".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{analysis::Cancel, heap::synthetic::victim, symbols::Symbols};

    /// Commands and the first warning of each.
    #[derive(Default)]
    struct Kept(Vec<(String, Status, Option<String>)>);

    impl Sink for Kept {
        fn report(&mut self, command: &str, report: &Report) {
            let warning = report.warnings.first().map(|warning| warning.what.clone());
            self.0.push((command.to_owned(), report.status, warning));
        }
    }

    fn run(line: &str) -> (Kept, Status, Outcome) {
        let (mut builder, _) = victim();
        builder.publish();
        let (target, heap, cancel) = (builder.target(), builder.heap(), Cancel::new());
        let symbols = Symbols::new(&target);
        let mut session = Session::new(Context::new(&target, &symbols, &heap, &cancel));
        let mut kept = Kept::default();
        let outcome = session.run_line(line, &mut kept);
        (kept, session.status(), outcome)
    }

    #[test]
    fn the_worst_status_of_a_line_counts() {
        let (kept, status, _) = run("::umem_cache; ::findleaks; ::umem_status");
        assert_eq!(kept.0.len(), 3);
        assert_eq!(status, Status::Found);
        assert_eq!(run("::findleaks; 8::whatis").1, Status::Incomplete);
        assert_eq!(run("8::whatis; ::nothing; ::findleaks").1, Status::Failed);
    }

    #[test]
    fn errors_leave_the_other_commands() {
        let (kept, _, _) = run("::nothing; ::findleaks -z; 12g; ::umem_cache");
        let warnings: Vec<_> = kept
            .0
            .iter()
            .filter_map(|(_, _, warning)| warning.as_deref())
            .collect();
        assert_eq!(
            warnings,
            [
                "invalid command '::nothing': unknown dcmd name",
                "findleaks: illegal option -- z",
                "digit 'g' is invalid in base 16 near \"g; ::umem_cache\" (column 30)",
            ]
        );
        assert_eq!(kept.0.len(), 4);
    }

    #[test]
    fn names_of_caches_are_addresses_and_dot_is_kept() {
        let (kept, status, _) = run("umem_alloc_64::umem_cache; ::whatis; nowhere::whatis");
        assert_eq!(kept.0[0].1, Status::Clean);
        assert_eq!(kept.0[1].1, Status::Clean);
        let expected = "failed to dereference nowhere: unknown symbol name";
        assert_eq!(kept.0[2].2.as_deref(), Some(expected));
        assert_eq!(status, Status::Failed);
    }

    #[test]
    fn quit_ends_the_line() {
        let (kept, _, outcome) = run("::umem_cache; $q; ::findleaks");
        assert_eq!((kept.0.len(), outcome), (1, Outcome::Quit));
        assert_eq!(run("::quit").2, Outcome::Quit);
    }
}
