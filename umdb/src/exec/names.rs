//! What names, variables and addresses mean in expressions.

use std::rc::Rc;

use super::{Session, failed};
use crate::{
    dcmds::{Error, registers},
    lang::{Environment, Expression, evaluate, parse_expression_text},
    target::ModuleSegment,
};

/// Bytes that are read together; nothing of the target changes, so that they may be kept.
const PAGE: u64 = 4096;

/// Variables that always have a value.
const PREDEFINED: [&str; 5] = ["0", "1", "2", "9", "hits"];

/// The auxiliary vector's name for the entry point.
const AT_ENTRY: u64 = 9;

impl Session<'_> {
    /// The value of an expression as typed.
    pub(super) fn evaluate_text(&self, text: &str, dot: u64) -> Result<u64, Error> {
        let expression = self.parsed_expression(text)?;
        let before = self.state.dot.replace(Some(dot));
        let value = evaluate(&expression, self);
        self.state.dot.set(before);
        value.map_err(failed)
    }

    fn parsed_expression(&self, text: &str) -> Result<Rc<Expression>, Error> {
        let radix = self.state.radix.get();
        let mut parsed = self.parsed.borrow_mut();
        if let Some((known, known_radix, expression)) = &*parsed
            && known == text
            && *known_radix == radix
        {
            return Ok(Rc::clone(expression));
        }
        let expression = parse_expression_text(text, radix)
            .map_err(|error| Error::mistyped(format!("in \"{text}\": {error}")))?;
        let expression = Rc::new(expression);
        *parsed = Some((text.to_owned(), radix, Rc::clone(&expression)));
        Ok(expression)
    }

    /// What mdb's variables say of the program: `b` first address of its data, `d` bytes of them, `e` entry point, `m`
    /// magic number of its file, `t` bytes of its text.
    fn of_image(&self, name: &str) -> Option<u64> {
        let target = self.subject.target;
        let program = target.modules.iter().find(|module| module.is_program)?;
        let segment = |wanted: fn(&ModuleSegment) -> bool| {
            let mut segments = program.segments.iter();
            segments.find(|segment| wanted(segment))
        };
        let data = segment(|segment| segment.write);
        match name {
            "b" => data.map(|data| data.start),
            "d" => data.map(|data| data.end - data.start),
            "e" => target
                .auxv
                .iter()
                .find(|(kind, _)| *kind == AT_ENTRY)
                .map(|&(_, entry)| entry),
            "m" => self.read(program.start, 4),
            "t" => segment(|segment| segment.execute).map(|text| text.end - text.start),
            _ => None,
        }
    }

    /// Names of the library's caches come first: they cost no look into symbol tables, and programs do not
    /// call their data so. Names that a program gave its caches come last, for it often has a variable of
    /// the same name.
    fn look_up(&self, name: &str) -> Option<u64> {
        let heap = self.subject.heap;
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
            self.subject
                .symbols
                .resolve(name)
                .map(|symbol| symbol.address)
        };
        library
            .or_else(symbol)
            .or_else(|| cache.map(|cache| cache.address))
            .or_else(arena)
    }
}

impl Environment for Session<'_> {
    fn resolve(&self, name: &str) -> Option<u64> {
        if let Some(known) = self.names.borrow().get(name) {
            return *known;
        }
        let found = self.look_up(name);
        self.names.borrow_mut().insert(name.to_owned(), found);
        found
    }

    fn variable(&self, name: &str) -> Option<u64> {
        if let Some(value) = self.state.variable(name) {
            return Some(value);
        }
        let thread = self.subject.target.threads.first();
        if name == "thread" {
            return thread.map(|thread| u64::from(thread.tid));
        }
        thread
            .and_then(|thread| thread.registers.as_ref())
            .and_then(|values| registers::named(values, name))
            .or_else(|| self.of_image(name))
            .or_else(|| PREDEFINED.contains(&name).then_some(0))
    }

    fn read(&self, address: u64, width: u8) -> Option<u64> {
        let width = usize::from(width).min(8);
        let page = address & !(PAGE - 1);
        let offset = (address - page) as usize;
        let mut bytes = [0; 8];
        let wanted = bytes.get_mut(..width)?;
        if offset + width > PAGE as usize {
            let got = self.subject.heap.reader.fill(address, wanted);
            return (got == width).then(|| u64::from_le_bytes(bytes));
        }
        let mut kept = self.page.borrow_mut();
        if kept.as_ref().is_none_or(|(known, _)| *known != page) {
            let mut content = vec![0; PAGE as usize];
            let got = self.subject.target.memory.read(page, &mut content);
            content.truncate(got);
            *kept = Some((page, content));
        }
        let (_, content) = kept.as_ref()?;
        wanted.copy_from_slice(content.get(offset..offset + width)?);
        Some(u64::from_le_bytes(bytes))
    }

    fn dot(&self) -> u64 {
        self.state.dot.get().unwrap_or(0)
    }

    fn increment(&self) -> u64 {
        self.state.increment.get()
    }

    fn last_address(&self) -> u64 {
        self.state.last_address.get()
    }
}
