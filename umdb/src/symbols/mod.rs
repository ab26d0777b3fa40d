//! Names for addresses: symbol tables, separate debug files, DWARF lines, and the frames of threads.
//!
//! **Owns** every file that is opened for its symbols. **May use** `target`. **Promises** no name rather than a
//! wrong one: a file whose build-id differs from the one in the target's memory gives none. Files are
//! opened when the first address in them is asked for.

mod files;
mod lines;
mod listing;
mod past;
mod spellings;
mod tables;
mod types;
mod unwind;

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::HashMap,
    fmt,
    sync::Arc,
};

use crate::target::{Files, Memory, Module, Registers, Target, Thread};
use files::Bytes;
use lines::{Dwarf, InlinedAt, Lines};
pub use listing::Row as SymbolRow;
pub use past::PastModule;
use spellings::Spellings;
use tables::{Table, demangle};
use types::Types;
pub use types::{
    Encoding, Member as TypeMember, Shape, Type, TypeId, Variants, normal as normal_type_name,
};

/// What an address is called.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// The address asked for.
    pub address: u64,
    /// Object (last part of its path); none when no module holds the address.
    pub object: Option<String>,
    /// The object is the main program, whose name is not shown.
    pub is_program: bool,
    /// Demangled function or datum; none when the symbol tables have none.
    pub symbol: Option<String>,
    /// Bytes from the symbol's start or, without a symbol, from the module's start.
    pub offset: u64,
    /// Source file as DWARF names it.
    pub file: Option<String>,
    /// Line in it.
    pub line: Option<u32>,
    /// The object was unloaded since.
    pub unloaded: bool,
    /// Functions whose code was put into that of `symbol` here, innermost first: `file` and `line` are those of the first one.
    pub inlined: Vec<Inlined>,
}

/// A function that was inlined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inlined {
    /// Its demangled name.
    pub symbol: String,
    /// Where it was called: in the next one, or in the function that holds all of them.
    pub file: Option<String>,
    /// Line in it.
    pub line: Option<u32>,
}

/// A named address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Symbol {
    /// Its address in the target.
    pub address: u64,
    /// Its size in bytes; zero when the symbol table does not say.
    pub size: u64,
}

/// A symbol as its table has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed<'s> {
    /// Its name, not demangled.
    pub name: &'s str,
    /// Its address in the target.
    pub address: u64,
    /// Its size in bytes; zero when the table does not say.
    pub size: u64,
    /// Other modules do not see it.
    pub is_local: bool,
    /// Another of its name goes before it.
    pub is_weak: bool,
}

/// A frame of a thread's stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Where the frame executes: the interrupted instruction, or the return address of its callee.
    pub pc: u64,
    /// Stack pointer while the frame executes there.
    pub sp: u64,
    /// Canonical frame address: the caller's stack pointer after its call returned. None where the tables
    /// of the module do not say, which ends the list.
    pub cfa: Option<u64>,
    /// Registers in this frame; those which a callee may change are the callee's.
    pub registers: Registers,
    /// The frame was interrupted (it is the innermost, or a signal arrived in it): `pc` has not been executed yet.
    pub interrupted: bool,
    /// The frame is the trampoline that the kernel makes to call a signal handler.
    pub is_signal: bool,
}

/// What of a thread's stack and registers is alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackRoots {
    /// The stack is alive from this address upwards.
    pub from: u64,
    /// Values of registers that may be pointers.
    pub registers: Vec<u64>,
}

/// Names of everything in one target.
pub struct Symbols {
    sources: Sources,
    modules: Vec<ModuleSymbols>,
    /// Places of return addresses that were asked for: stacks share most of theirs.
    returns: RefCell<HashMap<u64, Place>>,
    past: past::Past,
    /// Names are shown as tables have them.
    is_raw: Cell<bool>,
}

/// Where names come from.
struct Sources {
    memory: Arc<dyn Memory>,
    files: Files,
}

/// A module, whose files are opened when they are first needed.
struct ModuleSymbols {
    module: Module,
    loaded: OnceCell<Option<Bytes>>,
    debug: OnceCell<Option<Bytes>>,
    /// The symbols that a stripped file keeps compressed.
    small: OnceCell<Option<Bytes>>,
    spellings: OnceCell<Option<Spellings>>,
    table: OnceCell<Table>,
    dwarf: OnceCell<Option<Arc<Dwarf>>>,
    lines: OnceCell<Option<Lines>>,
    types: OnceCell<Option<Types>>,
}

impl ModuleSymbols {
    fn new(module: Module) -> Self {
        Self {
            module,
            loaded: OnceCell::new(),
            debug: OnceCell::new(),
            small: OnceCell::new(),
            spellings: OnceCell::new(),
            table: OnceCell::new(),
            dwarf: OnceCell::new(),
            lines: OnceCell::new(),
            types: OnceCell::new(),
        }
    }

    fn loaded(&self, sources: &Sources) -> Option<&Bytes> {
        self.loaded
            .get_or_init(|| files::loaded(&sources.files, sources.memory.as_ref(), &self.module))
            .as_ref()
    }

    fn debug(&self, sources: &Sources) -> Option<&Bytes> {
        self.debug
            .get_or_init(|| files::debug(&sources.files, &self.module, self.loaded(sources)))
            .as_ref()
    }

    fn table(&self, sources: &Sources) -> &Table {
        self.table.get_or_init(|| {
            self.with_tables(sources, |files| {
                Table::read(sources.memory.as_ref(), &self.module, files)
            })
        })
    }

    /// The symbol with a name. The table is read only where it may hold it.
    fn named(&self, sources: &Sources, name: &str) -> Option<Symbol> {
        let spellings = self
            .spellings
            .get_or_init(|| self.with_tables(sources, Spellings::read));
        let may_hold = |known: &Spellings| known.may_hold(name);
        if spellings.as_ref().is_none_or(may_hold) {
            self.table(sources).named(name)
        } else {
            None
        }
    }

    /// Gives the files that have symbol tables, the best one first.
    fn with_tables<T>(&self, sources: &Sources, read: impl FnOnce(&[&Bytes]) -> T) -> T {
        let loaded = self.loaded(sources);
        let debug = self.debug(sources);
        // A debug file has all that a stripped file keeps.
        let small = self
            .small
            .get_or_init(|| loaded.filter(|_| debug.is_none()).and_then(files::small));
        let files: Vec<&Bytes> = debug.into_iter().chain(small).chain(loaded).collect();
        read(&files)
    }

    /// That of the file itself, else that of its debug file.
    fn dwarf(&self, sources: &Sources) -> Option<&Arc<Dwarf>> {
        let read = || {
            let own = self.loaded(sources).and_then(lines::dwarf);
            own.or_else(|| self.debug(sources).and_then(lines::dwarf))
        };
        self.dwarf.get_or_init(read).as_ref()
    }

    fn lines(&self, sources: &Sources) -> Option<&Lines> {
        self.lines
            .get_or_init(|| Lines::new(Arc::clone(self.dwarf(sources)?)))
            .as_ref()
    }

    fn line(&self, sources: &Sources, address: u64) -> Option<(String, u32)> {
        self.lines(sources)?
            .at(address.wrapping_sub(self.module.bias))
    }

    fn inlined(&self, sources: &Sources, address: u64) -> Vec<InlinedAt> {
        let address = address.wrapping_sub(self.module.bias);
        self.lines(sources)
            .map_or(Vec::new(), |lines| lines.inlined(address))
    }

    fn types(&self, sources: &Sources) -> Option<&Types> {
        self.types
            .get_or_init(|| Some(Types::new(Arc::clone(self.dwarf(sources)?))))
            .as_ref()
    }
}

/// The function of libc that ends a program.
const EXIT: &str = "exit";
/// Frames that are looked at for it.
const EXIT_DEPTH: usize = 64;
/// Bytes below the stack pointer that a leaf function may use (System V ABI).
const RED_ZONE: u64 = 128;

impl Symbols {
    /// Names for a target. No table is read before the first look-up.
    pub fn new(target: &Target) -> Symbols {
        let modules = target.modules.iter().cloned().map(ModuleSymbols::new);
        Symbols {
            sources: Sources {
                memory: target.memory.clone(),
                files: target.files().clone(),
            },
            modules: modules.collect(),
            returns: RefCell::default(),
            past: past::Past::default(),
            is_raw: Cell::new(false),
        }
    }

    /// Whether names of C++ and Rust are shown as the source has them, which they are unless told otherwise.
    pub fn set_demangled(&self, on: bool) {
        self.is_raw.set(!on);
        self.returns.borrow_mut().clear();
    }

    fn module_at(&self, address: u64) -> Option<&ModuleSymbols> {
        self.modules
            .iter()
            .find(|module| module.module.segment_at(address).is_some())
    }

    /// What an address is called.
    pub fn lookup(&self, address: u64) -> Place {
        self.place(address, address)
    }

    /// What a return address is called: the function and line are those of the call before it, the offset is its own.
    pub fn lookup_return(&self, pc: u64) -> Place {
        if let Some(known) = self.returns.borrow().get(&pc) {
            return known.clone();
        }
        let place = self.place(pc, pc.wrapping_sub(1));
        self.returns.borrow_mut().insert(pc, place.clone());
        place
    }

    /// The same without file and line, for which much may have to be read.
    pub fn name_return(&self, pc: u64) -> Place {
        let known = self.returns.borrow().get(&pc).cloned();
        known.unwrap_or_else(|| {
            let probe = pc.wrapping_sub(1);
            let found = self.module_at(probe);
            found.map_or_else(|| nameless(pc), |found| self.name_in(found, pc, probe))
        })
    }

    /// The place of `address`, whose function and line are those of `probe`.
    fn place(&self, address: u64, probe: u64) -> Place {
        let found = self.module_at(probe);
        found.map_or_else(
            || nameless(address),
            |found| self.place_in(found, address, probe),
        )
    }

    fn place_in(&self, found: &ModuleSymbols, address: u64, probe: u64) -> Place {
        let (file, line) = found.line(&self.sources, probe).unzip();
        let inlined = found.inlined(&self.sources, probe).into_iter();
        let inlined = inlined.map(|at| Inlined {
            symbol: self.shown(&at.name),
            file: at.file,
            line: at.line,
        });
        Place {
            file,
            line,
            inlined: inlined.collect(),
            ..self.name_in(found, address, probe)
        }
    }

    /// The place without file and line.
    fn name_in(&self, found: &ModuleSymbols, address: u64, probe: u64) -> Place {
        let module = &found.module;
        let symbol = found.table(&self.sources).at(probe);
        Place {
            address,
            object: Some(module.name.clone()),
            is_program: module.is_program,
            symbol: symbol.map(|(_, name)| self.shown(name)),
            offset: address.wrapping_sub(symbol.map_or(module.start, |(start, _)| start)),
            file: None,
            line: None,
            unloaded: false,
            inlined: Vec::new(),
        }
    }

    fn shown(&self, name: &str) -> String {
        if self.is_raw.get() {
            name.to_owned()
        } else {
            demangle(name)
        }
    }

    /// Address of `symbol` or ``object`symbol``; without an object the main program is asked first.
    pub fn resolve(&self, name: &str) -> Option<Symbol> {
        let (object, symbol) = match name.rsplit_once('`') {
            Some((object, symbol)) => (Some(object), symbol),
            None => (None, name),
        };
        let fits =
            |module: &&ModuleSymbols| object.is_none_or(|object| module.module.name == object);
        let program = self
            .modules
            .iter()
            .filter(|module| module.module.is_program);
        let others = self
            .modules
            .iter()
            .filter(|module| !module.module.is_program);
        program
            .chain(others)
            .filter(fits)
            .find_map(|module| module.named(&self.sources, symbol))
    }

    /// The type of the main program with a name (`struct session`, `ns::Type`). It may take a while where there is much
    /// debug information.
    #[must_use]
    pub fn type_in_program(&self, name: &str) -> Option<TypeId> {
        self.type_in(name, |module| module.module.is_program)
    }

    /// The type with a name in any other module.
    #[must_use]
    pub fn type_in_libraries(&self, name: &str) -> Option<TypeId> {
        self.type_in(name, |module| !module.module.is_program)
    }

    fn type_in(&self, name: &str, is_meant: fn(&ModuleSymbols) -> bool) -> Option<TypeId> {
        let modules = (0..).zip(&self.modules);
        let mut modules = modules.filter(|(_, module)| is_meant(module));
        modules.find_map(|(module, symbols)| {
            let offset = symbols.types(&self.sources)?.named(name)?;
            Some(TypeId { module, offset })
        })
    }

    /// The type of the variable at an address.
    #[must_use]
    pub fn type_of_variable(&self, address: u64) -> Option<TypeId> {
        let holds = |module: &ModuleSymbols| module.module.segment_at(address).is_some();
        let (module, symbols) = (0..).zip(&self.modules).find(|(_, module)| holds(module))?;
        let at = address.wrapping_sub(symbols.module.bias);
        let offset = symbols.types(&self.sources)?.of_variable(at)?;
        Some(TypeId { module, offset })
    }

    /// What a type is.
    #[must_use]
    pub fn type_at(&self, id: TypeId) -> Option<Type<TypeId>> {
        let module = id.module;
        let found = self
            .modules
            .get(module as usize)?
            .types(&self.sources)?
            .at(id.offset)?;
        Some(found.map(|offset| TypeId { module, offset }))
    }

    /// Bytes of a value of a type, where known.
    #[must_use]
    pub fn size_of(&self, id: TypeId) -> Option<u64> {
        let types = self.modules.get(id.module as usize)?.types(&self.sources)?;
        types.size(id.offset, 0)
    }

    /// The symbols of a module in order of address.
    pub fn list(&self, module: &Module) -> Vec<Listed<'_>> {
        let found = self.modules.iter().find(|m| m.module.start == module.start);
        found.map_or(Vec::new(), |module| {
            module.table(&self.sources).list().collect()
        })
    }

    /// All that the tables of a module say in order of value, or its dynamic table alone.
    pub fn rows(&self, module: &Module, dynamic: bool) -> Vec<SymbolRow> {
        let found = self.modules.iter().find(|m| m.module.start == module.start);
        found.map_or(Vec::new(), |found| {
            let table = found.table(&self.sources);
            found.with_tables(&self.sources, |files| {
                listing::rows(module, files, table, dynamic)
            })
        })
    }

    /// Frames of a thread, innermost first, at most `max`.
    pub fn frames(&self, _target: &Target, thread: &Thread, max: usize) -> Vec<Frame> {
        let mut frames = Vec::new();
        let mut next = thread.registers.map(|registers| (registers, true));
        while let Some((registers, interrupted)) = next.take().filter(|_| frames.len() < max) {
            let mut frame = Frame {
                pc: registers.rip,
                sp: registers.rsp,
                cfa: None,
                registers,
                interrupted,
                is_signal: false,
            };
            if let Some(step) = self.step(&frame) {
                frame.cfa = Some(step.cfa);
                frame.is_signal = step.is_signal;
                next = step.caller.map(|caller| (caller, step.is_signal));
            }
            frames.push(frame);
        }
        frames
    }

    fn step(&self, frame: &Frame) -> Option<unwind::Step> {
        let found = self.module_at(frame.pc.wrapping_sub(u64::from(!frame.interrupted)))?;
        unwind::step(
            self.sources.memory.as_ref(),
            &found.module,
            found.loaded(&self.sources)?,
            frame,
        )
    }

    /// What of a thread's stack and registers is alive; none without registers.
    ///
    /// 1. A thread that stands at its end: what lies below the caller of `exit` is dead, and so is `main` when it has
    ///    returned; alive are the stack from the frame of `exit` upwards and the registers that `exit` keeps.
    /// 2. Else the stack from its pointer upwards, and all registers. The 128 bytes below belong to it where the
    ///    thread was interrupted in its own code: a system call, and the allocator's own code, leave nothing of the
    ///    program there.
    pub fn live_stack(&self, target: &Target, thread: &Thread) -> Option<StackRoots> {
        let registers = thread.registers?;
        if thread.at_exit
            && let Some(roots) = self.at_exit(target, thread)
        {
            return Some(roots);
        }
        let r = registers;
        let is_own_code = r.orig_rax == u64::MAX && !self.is_allocator(r.rip);
        let from = if is_own_code {
            r.rsp.saturating_sub(RED_ZONE)
        } else {
            r.rsp
        };
        let values = vec![
            r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp, r.r8, r.r9, r.r10, r.r11, r.r12,
            r.r13, r.r14, r.r15,
        ];
        Some(StackRoots {
            from,
            registers: values,
        })
    }

    fn is_allocator(&self, pc: u64) -> bool {
        self.module_at(pc)
            .is_some_and(|module| module.module.name.starts_with("libumem.so"))
    }

    fn at_exit(&self, target: &Target, thread: &Thread) -> Option<StackRoots> {
        let frames = self.frames(target, thread, EXIT_DEPTH);
        let index = frames.iter().position(|frame| {
            let place = if frame.interrupted {
                self.lookup(frame.pc)
            } else {
                self.lookup_return(frame.pc)
            };
            place.symbol.as_deref() == Some(EXIT) && !place.is_program
        })?;
        let caller = &frames.get(index + 1)?.registers;
        let r = caller;
        Some(StackRoots {
            from: frames[index].cfa?,
            registers: vec![r.rbx, r.rbp, r.r12, r.r13, r.r14, r.r15],
        })
    }
}

/// A place that no module holds.
fn nameless(address: u64) -> Place {
    Place {
        address,
        ..Place::default()
    }
}

impl Place {
    /// Source file and line in short: `victim.c:12`.
    pub fn source(&self) -> Option<String> {
        let file = self.file.as_deref()?;
        let base = file.rsplit('/').next().unwrap_or(file);
        Some(format!("{base}:{}", self.line?))
    }
}

/// As mdb shows it: ``object`symbol+0x1c``, without the object in the main program.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let object = self.object.as_deref();
        match (&self.symbol, object) {
            (Some(symbol), object) => {
                if let Some(object) = object.filter(|_| !self.is_program) {
                    write!(f, "{object}`")?;
                }
                write!(f, "{symbol}")?;
                match self.offset {
                    0 => Ok(()),
                    offset => write!(f, "+{offset:#x}"),
                }
            }
            (None, Some(object)) => write!(f, "{object}`{:#x}", self.offset),
            (None, None) => write!(f, "{:#x}", self.address),
        }
    }
}
