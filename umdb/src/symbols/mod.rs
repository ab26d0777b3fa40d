//! Names for addresses: symbol tables, separate debug files, DWARF lines, and the frames of threads.
//!
//! **Owns** every file that is opened for its symbols. **May use** `target`. **Promises** no name rather than a
//! wrong one: a file whose build-id differs from the one in the target's memory gives none. Files are
//! opened when the first address in them is asked for.

use std::fmt;

use crate::target::{Registers, Target, Thread};

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
}

/// A named address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Symbol {
    /// Its address in the target.
    pub address: u64,
    /// Its size in bytes; zero when the symbol table does not say.
    pub size: u64,
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
pub struct Symbols {}

impl Symbols {
    /// Names for a target. No file is opened before the first look-up.
    pub fn new(_target: &Target) -> Symbols {
        todo!()
    }

    /// What an address is called.
    pub fn lookup(&self, _address: u64) -> Place {
        todo!()
    }

    /// What a return address is called: the function and line are those of the call before it, the offset is its own.
    pub fn lookup_return(&self, _pc: u64) -> Place {
        todo!()
    }

    /// Address of `symbol` or ``object`symbol``; without an object the main program is asked first.
    pub fn resolve(&self, _name: &str) -> Option<Symbol> {
        todo!()
    }

    /// Frames of a thread, innermost first, at most `max`.
    pub fn frames(&self, _target: &Target, _thread: &Thread, _max: usize) -> Vec<Frame> {
        todo!()
    }

    /// What of a thread's stack and registers is alive; none without registers.
    pub fn live_stack(&self, _target: &Target, _thread: &Thread) -> Option<StackRoots> {
        todo!()
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
