//! A live process: its threads are stopped by a tracer thread of ours, and its memory is read through /proc.
//!
//! ptrace belongs to the thread that attached, so a thread of its own does it all: it stops every thread of the process,
//! reads registers, makes a frozen copy where that is possible and lets the process go, or else holds it until it is told to let
//! go. Whenever umdb dies, the kernel lets go of the process as it was.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use super::{
    Attach, Error, Files, Kind, Mapping, Memory, Target, Thread,
    keep::Kept,
    modules,
    pages::Pages,
    procfs,
    snapshot::{self, Frozen, Refusal, Stub},
    stop::{self, Stopped},
    traced::{self, Tracer},
};

/// Memory of a process, through /proc/PID/mem: readable pages, and those that are protected as well.
pub(super) struct ProcessMemory {
    pid: u32,
    file: File,
    /// Which pages there are, and where those that there are not are zero.
    pages: Option<(Pages, Vec<(u64, u64)>)>,
}

impl ProcessMemory {
    pub(super) fn open(pid: u32) -> io::Result<Self> {
        Ok(Self {
            pid,
            file: File::open(format!("/proc/{pid}/mem"))?,
            pages: None,
        })
    }

    /// Has it know which pages of private memory were never written to. The process must not run.
    pub(super) fn with_pages(self, mappings: &[Mapping]) -> Self {
        let is_private = |mapping: &&Mapping| {
            let name = mapping.name.as_deref();
            let is_anonymous = |name: &str| name.starts_with("[anon:") || name == "[heap]";
            !mapping.shared && name.is_none_or(is_anonymous)
        };
        let private = mappings.iter().filter(is_private);
        let private = private.map(|mapping| (mapping.start, mapping.end));
        let pages = Pages::of(self.pid).ok();
        Self {
            pages: pages.map(|pages| (pages, private.collect())),
            ..self
        }
    }

    /// Whose memory it is has ended. We have not taken note of that, so that nobody else has its number.
    fn has_ended(&self) -> bool {
        !procfs::has_memory(self.pid)
    }
}

impl Memory for ProcessMemory {
    fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buffer.len() {
            let Some(at) = address
                .checked_add(done as u64)
                .filter(|&at| i64::try_from(at).is_ok())
            else {
                break;
            };
            match self.file.read_at(&mut buffer[done..], at) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        done
    }

    fn next_written(&self, address: u64, end: u64) -> u64 {
        let found = self.pages.as_ref().and_then(|(pages, private)| {
            let after = private.partition_point(|range| range.0 <= address);
            let range = private.get(after.checked_sub(1)?)?;
            (address < range.1).then(|| pages.next_present(address, end.min(range.1)))
        });
        found.unwrap_or(address)
    }

    fn lost(&self) -> Option<String> {
        self.has_ended()
            .then(|| format!("process {} has ended, and its memory with it", self.pid))
    }
}

/// Memory of a process below what was kept of it.
pub(super) struct Overlay {
    pub(super) memory: ProcessMemory,
    pub(super) kept: Kept,
}

impl Overlay {
    pub(super) fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        while let Some(at) = address
            .checked_add(done as u64)
            .filter(|_| done < buffer.len())
        {
            let rest = &mut buffer[done..];
            let wanted =
                usize::try_from(self.kept.gap(at)).map_or(rest.len(), |gap| gap.min(rest.len()));
            let got = match self.kept.piece(at) {
                Some(piece) => {
                    let count = piece.len().min(rest.len());
                    rest[..count].copy_from_slice(&piece[..count]);
                    count
                }
                None => self.memory.read(at, &mut rest[..wanted]),
            };
            if got == 0 {
                break;
            }
            done += got;
        }
        done
    }

    pub(super) fn next_written(&self, address: u64, end: u64) -> u64 {
        match self.kept.piece(address) {
            Some(_) => address,
            None => {
                let end = end.min(address.saturating_add(self.kept.gap(address)));
                self.memory.next_written(address, end)
            }
        }
    }
}

/// Memory of a frozen copy: what it lacks was kept.
struct FrozenMemory(Overlay);

impl Memory for FrozenMemory {
    fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        self.0.read(address, buffer)
    }

    fn next_written(&self, address: u64, end: u64) -> u64 {
        self.0.next_written(address, end)
    }

    fn lost(&self) -> Option<String> {
        self.0.memory.has_ended().then(|| {
            "the frozen copy was killed from outside, as the system does when memory is short: the rest cannot be read \
             (--hold takes no memory)"
                .to_owned()
        })
    }
}

/// Keeps a process stopped, or its copy alive, until it is dropped.
struct Hold {
    release: Mutex<Option<Sender<()>>>,
    tracer: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        // Closing the channel tells the tracer to let go; waiting for it makes sure that it has.
        drop(
            self.release
                .lock()
                .ok()
                .and_then(|mut sender| sender.take()),
        );
        if let Some(tracer) = self.tracer.lock().ok().and_then(|mut tracer| tracer.take()) {
            let _ = tracer.join();
        }
    }
}

/// What was captured.
pub(super) struct Captured {
    pub(super) threads: Vec<Thread>,
    pub(super) mappings: Vec<Mapping>,
    pub(super) memory: Arc<dyn Memory>,
    /// Process whose files and auxiliary vector are those of the target.
    pub(super) process: u32,
    pub(super) frozen: bool,
    pub(super) warnings: Vec<String>,
    pub(super) notes: Vec<String>,
}

/// Captures process `pid`.
pub(super) fn attach(pid: u32, how: Attach) -> Result<Target, Error> {
    if let Some(tracer) = check(pid, how)? {
        return target(pid, traced::capture(pid, &tracer)?, None);
    }
    let (report, reported) = channel();
    let (release, released) = channel();
    let tracer = std::thread::Builder::new()
        .name("tracer".to_owned())
        .spawn(move || trace(pid, how, &report, &released))
        .map_err(|error| Error::new(format!("cannot start a thread: {error}")))?;
    let hold = Hold {
        release: Mutex::new(Some(release)),
        tracer: Mutex::new(Some(tracer)),
    };
    let captured = reported.recv().unwrap_or_else(|_| {
        Err(Error::new(format!(
            "cannot attach to {pid}: the tracer ended"
        )))
    })?;
    target(pid, captured, Some(Box::new(hold)))
}

/// The target of what was captured, kept as it is by `hold`.
fn target(
    pid: u32,
    captured: Captured,
    hold: Option<Box<dyn Send + Sync>>,
) -> Result<Target, Error> {
    let process = captured.process;
    if captured.mappings.is_empty() {
        return Err(Error::new(format!(
            "cannot attach to {pid}: it has no memory (kernel thread, or about to end)"
        )));
    }
    let auxv = procfs::auxiliary(process);
    Ok(Target {
        kind: Kind::Live { pid },
        modules: modules::find(captured.memory.as_ref(), &captured.mappings, &auxv),
        memory: captured.memory,
        mappings: captured.mappings,
        auxv,
        threads: captured.threads,
        executable: procfs::executable(process),
        signal: None,
        dead: None,
        arguments: procfs::arguments(process),
        warnings: captured.warnings,
        notes: captured.notes,
        frozen: captured.frozen,
        pieces: Vec::new(),
        root_copies: Vec::new(),
        exit: None,
        hold,
        run: None,
        files: Files::of_process(process),
    })
}

pub(super) fn warn_of_registers(threads: &[Thread], warnings: &mut Vec<String>) {
    for thread in threads.iter().filter(|thread| thread.registers.is_none()) {
        warnings.push(format!(
            "the registers of thread {} could not be read",
            thread.tid
        ));
    }
}

pub(super) fn not_readable(pid: u32, error: &io::Error) -> Error {
    let what = format!("cannot read the memory of process {pid}: {error}");
    if error.kind() == io::ErrorKind::PermissionDenied {
        Error::hinted(what, permission_hint())
    } else {
        Error::new(what)
    }
}

/// What can be known before the process is touched. Returns who traces it where that is no hindrance.
fn check(pid: u32, how: Attach) -> Result<Option<Tracer>, Error> {
    let cannot = |why: &str| Error::new(format!("cannot attach to {pid}: {why}"));
    if pid == std::process::id() {
        return Err(cannot("attempt to grab self"));
    }
    if procfs::status_field(pid, "State").is_none() {
        return Err(cannot("no such process"));
    }
    if let Some(group) = procfs::status_field(pid, "Tgid").filter(|group| *group != pid.to_string())
    {
        return Err(Error::hinted(
            format!("cannot attach to {pid}: it is a thread of process {group}"),
            format!("umdb -p {group}"),
        ));
    }
    // A leader may have ended before the others.
    if procfs::threads(pid)
        .iter()
        .all(|&tid| procfs::has_ended(pid, tid))
    {
        return Err(cannot("it is a zombie process"));
    }
    let tracer = Tracer::of(pid);
    match &tracer {
        Some(tracer) if how != Attach::Force => Err(Error::hinted(
            format!("cannot attach to {pid}: {tracer} traces it"),
            "umdb -F reads its memory all the same, without registers",
        )),
        _ => Ok(tracer),
    }
}

pub(super) fn permission_hint() -> String {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    match scope.trim() {
        "" | "0" => "run umdb as the user who owns the process, or with CAP_SYS_PTRACE".to_owned(),
        scope => format!("run umdb with CAP_SYS_PTRACE; kernel.yama.ptrace_scope is {scope}"),
    }
}

// ---- on the tracer thread ----

type Report = Result<Captured, Error>;

fn trace(pid: u32, how: Attach, report: &Sender<Report>, released: &Receiver<()>) {
    let mut keeper = None;
    let result = capture(pid, how, &mut keeper);
    if report.send(result).is_ok() {
        // Ends when the other side is dropped.
        let _ = released.recv();
    }
    drop(keeper);
}

/// What has to live as long as the target: its drop lets the process go, or kills the copy.
enum Keeper {
    Process(#[allow(dead_code)] Stopped),
    Copy(#[allow(dead_code)] Frozen),
}

/// After half of that a copy of somebody else is not waited for any more.
const BUSY_MOST: Duration = Duration::from_millis(256);

fn capture(pid: u32, how: Attach, keeper: &mut Option<Keeper>) -> Report {
    if how == Attach::Hold {
        return hold(pid, keeper, Vec::new());
    }
    let mut pause = Duration::from_millis(1);
    let why = loop {
        match frozen(pid, keeper)? {
            Ok(captured) => return Ok(captured),
            // The thread that carried the copy of an umdb that was killed is on its way back.
            Err(why) if why == snapshot::BUSY && pause < BUSY_MOST => {
                std::thread::sleep(pause);
                pause *= 2;
            }
            Err(why) => break why,
        }
    };
    if how == Attach::Snapshot {
        return Err(Error::hinted(
            format!("cannot take a snapshot of process {pid}: {why}"),
            "--hold stops it while it is looked at",
        ));
    }
    let note = format!("process {pid} is stopped while it is looked at: no snapshot of it, {why}");
    hold(pid, keeper, vec![note])
}

/// Stops a process until it is let go.
fn hold(pid: u32, keeper: &mut Option<Keeper>, notes: Vec<String>) -> Report {
    let mut stopped = stop::stop_all(pid)?;
    let process = procfs::reachable(pid);
    let memory = ProcessMemory::open(process).map_err(|error| not_readable(pid, &error))?;
    let mappings = procfs::mappings(process)?;
    let captured = Captured {
        threads: named(pid, stopped.threads()),
        memory: Arc::new(memory.with_pages(&mappings)),
        mappings,
        process,
        frozen: false,
        warnings: std::mem::take(&mut stopped.warnings),
        notes,
    };
    *keeper = Some(Keeper::Process(stopped));
    Ok(captured)
}

/// Stops a process, copies it and lets it go. Inner error: why there is no copy; the process runs then.
fn frozen(pid: u32, keeper: &mut Option<Keeper>) -> Result<Result<Captured, Refusal>, Error> {
    if let Some(why) = snapshot::refusal(pid) {
        return Ok(Err(why));
    }
    let Some(stub) = find_stub(pid) else {
        return Ok(Err("it has no code of libumem.so for that".to_owned()));
    };
    let mut stopped = stop::stop_all(pid)?;
    let mappings = procfs::mappings(procfs::reachable(pid))?;
    let child = match snapshot::take(pid, stub, &stopped.held, &mappings) {
        Ok(child) => child,
        Err(why) => return Ok(Err(why)),
    };
    let threads = stopped.threads();
    stopped.release();
    child.copy.close_files();
    let process = child.copy.pid();
    let memory = ProcessMemory::open(process).map_err(|error| not_readable(process, &error))?;
    *keeper = Some(Keeper::Copy(child.copy));
    Ok(Ok(Captured {
        threads: named(pid, threads),
        memory: Arc::new(FrozenMemory(Overlay {
            memory: memory.with_pages(&mappings),
            kept: child.kept,
        })),
        mappings,
        process,
        frozen: true,
        warnings: std::mem::take(&mut stopped.warnings),
        notes: Vec::new(),
    }))
}

/// Where the code for snapshots is.
fn find_stub(pid: u32) -> Option<Stub> {
    let process = procfs::reachable(pid);
    let memory = ProcessMemory::open(process).ok()?;
    let modules = modules::find(&memory, &procfs::mappings(process).ok()?, &[]);
    Stub::find(&memory, &modules)
}

fn named(pid: u32, mut threads: Vec<Thread>) -> Vec<Thread> {
    for thread in &mut threads {
        thread.name = procfs::thread_name(pid, thread.tid);
    }
    threads
}
