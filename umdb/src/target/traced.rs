//! A process that another debugger traces: its memory is read without ptrace, which has room for one.
//!
//! 1. /proc/PID/mem is open to whoever may trace the process, traced or not. Registers are for the tracer alone, so no
//!    thread has any here, and nothing can be said about leaks.
//! 2. While the tracer keeps all threads stopped (gdb at its prompt), memory stands still, and is read as it is asked
//!    for. How often each thread was on a processor is noted: it says later whether one of them went on.
//! 3. Else (strace) what the process writes to is copied at once. It runs meanwhile, so that parts may not fit together.

use std::sync::Arc;

use super::{
    Error, Mapping, Memory, Thread,
    keep::{Kept, is_device},
    live::{Captured, Overlay, ProcessMemory, not_readable},
    procfs,
};

/// No more memory of a running process is copied; what lies beyond is read as it is asked for.
const COPIED_MAX: u64 = 1 << 30;
/// Bytes of a range that is copied as one.
const PIECE: u64 = 16 << 20;

/// Who traces a process.
pub(super) struct Tracer {
    pid: u32,
    name: Option<String>,
}

impl Tracer {
    /// Who traces a process or, as strace may, one of its threads.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let tracer = |tid| {
            let field = procfs::thread_status_field(pid, tid, "TracerPid")?;
            field.parse().ok().filter(|&tracer| tracer != 0)
        };
        let pid = procfs::threads(pid).into_iter().find_map(tracer)?;
        Some(Self {
            pid,
            name: procfs::thread_name(pid, pid),
        })
    }
}

impl std::fmt::Display for Tracer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {}", self.pid)?;
        match &self.name {
            Some(name) => write!(f, " ({name})"),
            None => Ok(()),
        }
    }
}

/// What can be had of a process without touching it.
pub(super) fn capture(pid: u32, tracer: &Tracer) -> Result<Captured, Error> {
    let process = procfs::reachable(pid);
    let memory = ProcessMemory::open(process).map_err(|error| not_readable(pid, &error))?;
    let moment = Moment::of(pid);
    let mappings = procfs::mappings(process)?;
    let mut warnings = vec![format!(
        "{tracer} traces process {pid}, so that the registers of its threads are not known"
    )];
    let memory = memory.with_pages(&mappings);
    let kept = if moment.is_still() {
        Kept::default()
    } else {
        warnings.push(format!(
            "process {pid} runs while it is looked at: what is read may not fit together"
        ));
        copy(&memory, &mappings)
    };
    let threads = moment.threads.iter().filter(|thread| !thread.has_ended);
    let mut threads: Vec<Thread> = threads
        .map(|thread| Thread {
            tid: thread.tid,
            name: procfs::thread_name(pid, thread.tid),
            registers: None,
            at_exit: false,
        })
        .collect();
    threads.sort_by_key(|thread| (thread.tid != pid, thread.tid));
    Ok(Captured {
        threads,
        memory: Arc::new(TracedMemory {
            pid,
            tracer: tracer.to_string(),
            memory: Overlay { memory, kept },
            moment: Some(moment).filter(Moment::is_still),
        }),
        mappings,
        process,
        frozen: false,
        warnings,
        notes: Vec::new(),
    })
}

/// Copies the pages that a process may write to.
fn copy(memory: &ProcessMemory, mappings: &[Mapping]) -> Kept {
    let mut ranges = Vec::new();
    let mut left = COPIED_MAX;
    let written = |mapping: &&Mapping| mapping.read && mapping.write && !is_device(mapping);
    for mapping in mappings.iter().filter(written) {
        let mut at = mapping.start;
        while left > 0 {
            at = memory.next_written(at, mapping.end);
            let size = PIECE.min(mapping.end - at).min(left);
            let mut bytes = vec![0; size as usize];
            let got = memory.read(at, &mut bytes);
            if got == 0 {
                break;
            }
            bytes.truncate(got);
            ranges.push((at, bytes));
            at += got as u64;
            left -= got as u64;
        }
    }
    Kept::of(ranges)
}

/// How far each thread of a process has come.
#[derive(PartialEq, Eq)]
struct Moment {
    threads: Vec<Progress>,
}

/// How far a thread has come.
#[derive(PartialEq, Eq)]
struct Progress {
    tid: u32,
    has_ended: bool,
    is_stopped: bool,
    /// Times that it left a processor: a thread that stops once more has done so.
    switches: (Option<String>, Option<String>),
}

impl Moment {
    fn of(pid: u32) -> Self {
        let threads = procfs::threads(pid).into_iter().map(|tid| {
            let field = |name| procfs::thread_status_field(pid, tid, name);
            Progress {
                tid,
                has_ended: procfs::has_ended(pid, tid),
                is_stopped: matches!(procfs::thread_state(pid, tid), Some('t' | 'T')),
                switches: (
                    field("voluntary_ctxt_switches"),
                    field("nonvoluntary_ctxt_switches"),
                ),
            }
        });
        Self {
            threads: threads.collect(),
        }
    }

    fn is_still(&self) -> bool {
        let mut threads = self.threads.iter();
        threads.all(|thread| thread.is_stopped || thread.has_ended)
    }
}

struct TracedMemory {
    pid: u32,
    tracer: String,
    memory: Overlay,
    /// When everything stood still, what that looked like.
    moment: Option<Moment>,
}

impl Memory for TracedMemory {
    fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        self.memory.read(address, buffer)
    }

    fn next_written(&self, address: u64, end: u64) -> u64 {
        self.memory.next_written(address, end)
    }

    fn lost(&self) -> Option<String> {
        if let Some(why) = self.memory.memory.lost() {
            return Some(why);
        }
        let moment = self.moment.as_ref()?;
        (*moment != Moment::of(self.pid)).then(|| {
            format!(
                "{} let process {} go on meanwhile: what was read may not fit together",
                self.tracer, self.pid
            )
        })
    }
}
