//! What is looked at: a live process, a core file, or an image made by a test.
//!
//! **Owns** every system call on another process and every byte read from a core. Opening a target
//! captures its maps, modules, auxiliary vector, threads and registers as values; afterwards only memory is
//! read. **May use** nothing else of umdb. **Promises** partial reads instead of failures, a stopped process let
//! go unharmed on drop, error and Ctrl-C, and no ptrace call outside of this folder.

mod bytes;
mod copies;
mod corefile;
mod files;
mod image;
mod keep;
mod live;
mod modules;
mod notes;
mod packed;
mod pages;
mod procfs;
mod restart;
mod run;
mod save;
mod seccomp;
mod snapshot;
mod stop;
mod trace;
mod traced;

pub use copies::RootCopy;
pub use files::Files;
pub use image::Image;
pub use save::Saved;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Begins the name of a module whose own name a core has lost.
pub const NAMELESS: &str = "unknown-";

/// Memory of a target.
pub trait Memory: Send + Sync {
    /// Reads bytes from `address` on into `buffer` and returns how many could be read before the first
    /// unreadable one.
    fn read(&self, address: u64, buffer: &mut [u8]) -> usize;

    /// A direct view of `[address, address + length)`, where the memory is mapped here as a whole (cores).
    fn view(&self, address: u64, length: usize) -> Option<&[u8]> {
        let _ = (address, length);
        None
    }

    /// The first address from `address` on, at most `end`, at which there may be something else than zero bytes, as far as
    /// that is known without reading: programs reserve much more memory than they write to.
    fn next_written(&self, address: u64, end: u64) -> u64 {
        let _ = end;
        address
    }

    /// Why nothing can be read any more, when that has come since the target was opened.
    fn lost(&self) -> Option<String> {
        None
    }

    /// Reads the whole of `buffer` from `address` on, or says that it could not.
    fn read_all(&self, address: u64, buffer: &mut [u8]) -> bool {
        self.read(address, buffer) == buffer.len()
    }

    /// Reads a little-endian word of 8 bytes.
    fn read_u64(&self, address: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.read_all(address, &mut bytes)
            .then(|| u64::from_le_bytes(bytes))
    }

    /// Reads a little-endian word of 4 bytes.
    fn read_u32(&self, address: u64) -> Option<u32> {
        let mut bytes = [0; 4];
        self.read_all(address, &mut bytes)
            .then(|| u32::from_le_bytes(bytes))
    }

    /// Reads a string that ends with a zero byte within `limit` bytes. Bytes that are not UTF-8 are replaced.
    fn read_string(&self, address: u64, limit: usize) -> Option<String> {
        let mut bytes = vec![0; limit.min(1 << 16)];
        let got = self.read(address, &mut bytes);
        let text = bytes.get(..got)?;
        let end = text.iter().position(|&b| b == 0)?;
        Some(String::from_utf8_lossy(text.get(..end)?).into_owned())
    }
}

/// What kind of target it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A live process: a frozen copy of it, or itself, stopped while the target is open.
    Live {
        /// Process identifier.
        pid: u32,
    },
    /// A process started by `umdb run`, stopped at its end.
    Exiting {
        /// Process identifier.
        pid: u32,
    },
    /// A core file.
    Core {
        /// The file.
        path: PathBuf,
    },
    /// Made by a test.
    Synthetic,
}

/// A mapping of the target's address space.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    /// Readable.
    pub read: bool,
    /// Writable.
    pub write: bool,
    /// Executable.
    pub execute: bool,
    /// Shared with other processes.
    pub shared: bool,
    /// Offset in the file.
    pub offset: u64,
    /// Path of the file, or a name in brackets such as `[heap]`; none for anonymous memory.
    pub name: Option<String>,
}

/// A loadable segment of a module, at its address in the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleSegment {
    /// First address.
    pub start: u64,
    /// One past the last address, bss included.
    pub end: u64,
    /// One past the last address that comes from the file.
    pub file_end: u64,
    /// Offset in the file.
    pub offset: u64,
    /// Writable.
    pub write: bool,
    /// Executable.
    pub execute: bool,
}

/// An executable or shared object in the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Last part of the path, as shown before the grave accent.
    pub name: String,
    /// Path as the target sees it.
    pub path: String,
    /// What to add to an address in the file to get the one in the target.
    pub bias: u64,
    /// First address of its mappings.
    pub start: u64,
    /// One past the last address of its segments.
    pub end: u64,
    /// Its PT_LOAD segments.
    pub segments: Vec<ModuleSegment>,
    /// Address and size of its notes in the target (PT_NOTE).
    pub notes: Vec<(u64, u64)>,
    /// Address of `.dynamic` in the target, when it has one.
    pub dynamic: Option<u64>,
    /// Build-id, when its note could be read.
    pub build_id: Option<Vec<u8>>,
    /// It is the main program: its symbols are shown without object name.
    pub is_program: bool,
}

/// Registers of a thread. Names are those of the x86-64 manuals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Registers {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub orig_rax: u64,
    pub rip: u64,
    pub cs: u64,
    pub eflags: u64,
    pub rsp: u64,
    pub ss: u64,
    pub fs_base: u64,
    pub gs_base: u64,
}

impl Registers {
    /// Registers in the order of `struct user_regs_struct`, as cores have them.
    fn from_words(r: &[u64; 27]) -> Self {
        Self {
            r15: r[0],
            r14: r[1],
            r13: r[2],
            r12: r[3],
            rbp: r[4],
            rbx: r[5],
            r11: r[6],
            r10: r[7],
            r9: r[8],
            r8: r[9],
            rax: r[10],
            rcx: r[11],
            rdx: r[12],
            rsi: r[13],
            rdi: r[14],
            orig_rax: r[15],
            rip: r[16],
            cs: r[17],
            eflags: r[18],
            rsp: r[19],
            ss: r[20],
            fs_base: r[21],
            gs_base: r[22],
        }
    }

    /// As [`Registers::from_words`] takes them; the segments of old that are left out are zero.
    fn to_words(self) -> [u64; 27] {
        [
            self.r15,
            self.r14,
            self.r13,
            self.r12,
            self.rbp,
            self.rbx,
            self.r11,
            self.r10,
            self.r9,
            self.r8,
            self.rax,
            self.rcx,
            self.rdx,
            self.rsi,
            self.rdi,
            self.orig_rax,
            self.rip,
            self.cs,
            self.eflags,
            self.rsp,
            self.ss,
            self.fs_base,
            self.gs_base,
            0,
            0,
            0,
            0,
        ]
    }
}

/// A thread of the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// Kernel's thread identifier.
    pub tid: u32,
    /// Name, when known.
    pub name: Option<String>,
    /// Registers at the moment of the stop, none when they could not be read.
    pub registers: Option<Registers>,
    /// It stands at its end (PTRACE_EVENT_EXIT): frames below that of `exit` are dead.
    pub at_exit: bool,
}

/// An opened target. Dropping it lets a stopped process go on.
pub struct Target {
    /// What kind it is.
    pub kind: Kind,
    /// Its memory.
    pub memory: Arc<dyn Memory>,
    /// Its mappings in order of address.
    pub mappings: Vec<Mapping>,
    /// Its modules in order of address.
    pub modules: Vec<Module>,
    /// Its auxiliary vector.
    pub auxv: Vec<(u64, u64)>,
    /// Its threads; the one that got the signal first in a core, else the leader first.
    pub threads: Vec<Thread>,
    /// Path of the executable as the target sees it.
    pub executable: Option<String>,
    /// Signal that ended the process of a core.
    pub signal: Option<i32>,
    /// The process of a core, as far as known.
    pub dead: Option<u32>,
    /// Command line, as far as known.
    pub arguments: Option<String>,
    /// What could not be had: one line each. A verdict about leaks needs all threads' registers.
    pub warnings: Vec<String>,
    /// How the target came to be what it is, where a user would not expect it: one line each.
    pub notes: Vec<String>,
    /// Memory that a core was to hold: start, end of what it does hold, end of what it was to hold.
    pub pieces: Vec<(u64, u64, u64)>,
    /// Copies of the allocator's data that a core that is cut off has.
    pub root_copies: Vec<RootCopy>,
    /// It is a frozen copy of a live process, which runs on.
    pub frozen: bool,
    /// How the process of `Kind::Exiting` is about to end.
    pub exit: Option<ExitKind>,
    /// Keeps the process stopped; its drop lets it go.
    #[allow(dead_code)]
    hold: Option<Box<dyn Send + Sync>>,
    /// The program that was run.
    run: Option<Arc<run::Hold>>,
    /// Where its files are.
    files: Files,
}

/// How a live process is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Attach {
    /// A frozen copy where that is possible, else the process itself.
    #[default]
    Best,
    /// The process is stopped as long as the target is open.
    Hold,
    /// A frozen copy or nothing.
    Snapshot,
    /// As best; without registers where another debugger traces the process.
    Force,
}

/// Why a target could not be opened, or a process not run.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Error {
    /// One line: what could not be done, to which object.
    pub what: String,
    /// The next step to try, one line, when there is one.
    pub hint: Option<String>,
}

/// A program to run until its end.
#[derive(Debug, Clone, Default)]
pub struct RunSpec {
    /// The program: a path, or a name that is searched in `PATH`.
    pub program: OsString,
    /// Its arguments, without the program's own name.
    pub args: Vec<OsString>,
    /// What is added to (or replaces in) the environment of umdb.
    pub env: Vec<(OsString, OsString)>,
}

/// What became of a program that was run.
pub enum RunOutcome {
    /// It stands at its end and can be looked at; `Target::finish` lets it end.
    Exiting(Box<Target>),
    /// It ended without a stop (SIGKILL): there is nothing to look at.
    Gone(ExitKind),
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitKind {
    /// By exit, with this status.
    Exited(i32),
    /// By this signal; whether a core was dumped.
    Signaled(i32, bool),
}

impl ExitKind {
    /// The status as a shell shows it: 128 is added to a signal's number.
    pub fn status(self) -> i32 {
        match self {
            ExitKind::Exited(status) => status,
            ExitKind::Signaled(signal, _) => 128 + signal,
        }
    }
}

impl Target {
    /// Its threads in order of their identifiers, whatever order the target has them in.
    #[must_use]
    pub fn threads_by_identifier(&self) -> Vec<&Thread> {
        let mut threads: Vec<&Thread> = self.threads.iter().collect();
        threads.sort_by_key(|thread| thread.tid);
        threads
    }

    /// Stops all threads of process `pid` and captures its state. It goes on at once where a frozen copy can
    /// be made, else when the target is dropped.
    pub fn attach(pid: u32, how: Attach) -> Result<Target, Error> {
        live::attach(pid, how)
    }

    /// Runs a program until all its threads stand at their end.
    ///
    /// Ctrl-C reaches the program and not us while we wait.
    pub fn run(spec: &RunSpec) -> Result<RunOutcome, Error> {
        run::run(spec)
    }

    /// Opens a core file; `program` is the executable when the core's own notes do not lead to it, and the other files are
    /// looked for below `sysroot`.
    pub fn open_core(
        core: &Path,
        program: Option<&Path>,
        sysroot: Option<&Path>,
    ) -> Result<Target, Error> {
        corefile::open(core, program, sysroot)
    }

    /// How many bytes of some ranges (disjoint, in order) a core was to hold, and how many of these it lacks.
    pub fn held_and_missing(&self, ranges: &[(u64, u64)]) -> (u64, u64) {
        let within = |from: u64, to: u64| -> u64 {
            let first = ranges.partition_point(|range| range.1 <= from);
            let overlaps = ranges[first..]
                .iter()
                .take_while(|range| range.0 < to)
                .map(|range| range.1.min(to) - range.0.max(from));
            overlaps.sum()
        };
        let pieces = self.pieces.iter();
        pieces.fold((0, 0), |(all, missing), &(start, held, wanted)| {
            let lost = within(held, wanted);
            (all + within(start, held) + lost, missing + lost)
        })
    }

    /// Looks at the same live process once more; none for a target that is no live process.
    pub fn retake(&self, how: Attach) -> Option<Result<Target, Error>> {
        match self.kind {
            Kind::Live { pid } => Some(Target::attach(pid, how)),
            _ => None,
        }
    }

    /// Writes what analysis needs of the target as a core, compressed where the name ends in `.zst`.
    pub fn save(&self, path: &Path) -> Result<Saved, Error> {
        save::save(self, path)
    }

    /// A target made of parts, for tests.
    pub fn synthetic(
        memory: impl Memory + 'static,
        mappings: Vec<Mapping>,
        modules: Vec<Module>,
        threads: Vec<Thread>,
    ) -> Target {
        Target {
            kind: Kind::Synthetic,
            memory: Arc::new(memory),
            mappings,
            modules,
            auxv: Vec::new(),
            threads,
            executable: None,
            signal: None,
            dead: None,
            arguments: None,
            warnings: Vec::new(),
            notes: Vec::new(),
            frozen: false,
            pieces: Vec::new(),
            root_copies: Vec::new(),
            exit: None,
            hold: None,
            run: None,
            files: Files::default(),
        }
    }

    /// Lets a process of `Kind::Exiting` end, and returns how it did; a live process goes on.
    ///
    /// `None` for a target that is not a program that was run.
    pub fn finish(self) -> Option<ExitKind> {
        self.run.as_ref()?.finish()
    }

    /// Process identifier of a live target.
    pub fn pid(&self) -> Option<u32> {
        match self.kind {
            Kind::Live { pid } | Kind::Exiting { pid } => Some(pid),
            Kind::Core { .. } | Kind::Synthetic => None,
        }
    }

    /// The mapping that holds `address`.
    pub fn mapping_at(&self, address: u64) -> Option<&Mapping> {
        let after = self.mappings.partition_point(|m| m.start <= address);
        let mapping = self.mappings.get(after.checked_sub(1)?)?;
        (address < mapping.end).then_some(mapping)
    }

    /// The module one of whose segments holds `address`.
    pub fn module_at(&self, address: u64) -> Option<&Module> {
        self.modules
            .iter()
            .find(|m| m.segment_at(address).is_some())
    }

    /// Where files of the target are found from here.
    pub fn files(&self) -> &Files {
        &self.files
    }
}

impl Module {
    /// The segment that holds `address`.
    pub fn segment_at(&self, address: u64) -> Option<&ModuleSegment> {
        self.segments
            .iter()
            .find(|s| s.start <= address && address < s.end)
    }
}

impl Error {
    fn new(what: impl Into<String>) -> Error {
        Error {
            what: what.into(),
            hint: None,
        }
    }

    fn hinted(what: impl Into<String>, hint: impl Into<String>) -> Error {
        Error {
            what: what.into(),
            hint: Some(hint.into()),
        }
    }
}

/// An error of the system without its number.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// Pairs of key and value until a key of zero.
fn auxiliary_from(bytes: &[u8]) -> Vec<(u64, u64)> {
    let word = |bytes: &[u8]| {
        bytes
            .first_chunk()
            .map_or(0, |chunk| u64::from_le_bytes(*chunk))
    };
    let pairs = bytes
        .chunks_exact(16)
        .map(|pair| (word(&pair[..8]), word(&pair[8..])));
    pairs.take_while(|&(key, _)| key != 0).collect()
}
