//! A live process: its threads are stopped by a tracer thread of ours, and its memory is read through /proc.
//!
//! ptrace belongs to the thread that attached, so a thread of its own does it all: it seizes every thread of the process,
//! reads registers, reports, waits, and lets go. Nothing is written to the process, so that the kernel
//! restores it completely when umdb dies, by whatever signal.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
};

use nix::{
    errno::Errno,
    libc,
    sys::{
        ptrace,
        signal::Signal,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use super::{Error, Kind, Memory, Registers, Target, Thread, modules, procfs};

/// Times that the list of threads is read until it no longer changes.
const ROUNDS_MAX: usize = 100;

/// Memory of a process, through /proc/PID/mem: readable pages, and those that are protected as well.
pub(super) struct ProcessMemory {
    file: File,
}

impl ProcessMemory {
    pub(super) fn open(pid: u32) -> io::Result<Self> {
        Ok(Self {
            file: File::open(format!("/proc/{pid}/mem"))?,
        })
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
}

/// A thread that was stopped, with the signal that it was about to get.
struct Held {
    tid: Pid,
    pending: Option<Signal>,
    registers: Option<Registers>,
}

/// Keeps a process stopped until it is dropped.
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

/// Stops process `pid` and captures it.
pub(super) fn attach(pid: u32) -> Result<Target, Error> {
    check(pid)?;
    let (report, reported) = channel();
    let (release, released) = channel();
    let tracer = std::thread::Builder::new()
        .name("tracer".to_owned())
        .spawn(move || trace(pid, &report, &released))
        .map_err(|error| Error::new(format!("cannot start a thread: {error}")))?;
    let hold = Hold {
        release: Mutex::new(Some(release)),
        tracer: Mutex::new(Some(tracer)),
    };
    let (threads, mut warnings) = reported.recv().unwrap_or_else(|_| {
        Err(Error::new(format!(
            "cannot attach to {pid}: the tracer ended"
        )))
    })?;
    let memory = ProcessMemory::open(pid).map_err(|error| not_readable(pid, &error))?;
    let mappings = procfs::mappings(pid)?;
    if mappings.is_empty() {
        return Err(Error::new(format!(
            "cannot attach to {pid}: it has no memory (kernel thread, or about to end)"
        )));
    }
    let auxv = procfs::auxiliary(pid);
    warn_of_registers(&threads, &mut warnings);
    Ok(Target {
        kind: Kind::Live { pid },
        modules: modules::find(&memory, &mappings, &auxv),
        memory: Arc::new(memory),
        mappings,
        auxv,
        threads,
        executable: procfs::executable(pid),
        signal: None,
        arguments: procfs::arguments(pid),
        warnings,
        exit: None,
        hold: Some(Box::new(hold)),
        run: None,
        program: None,
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

/// What can be known before the process is touched.
fn check(pid: u32) -> Result<(), Error> {
    let cannot = |why: &str| Error::new(format!("cannot attach to {pid}: {why}"));
    if pid == std::process::id() {
        return Err(cannot("attempt to grab self"));
    }
    let Some(state) = procfs::status_field(pid, "State") else {
        return Err(cannot("no such process"));
    };
    if state.starts_with('Z') || state.starts_with('X') {
        return Err(cannot("it is a zombie process"));
    }
    if let Some(group) = procfs::status_field(pid, "Tgid").filter(|group| *group != pid.to_string())
    {
        return Err(Error::hinted(
            format!("cannot attach to {pid}: it is a thread of process {group}"),
            format!("umdb -p {group}"),
        ));
    }
    match procfs::status_field(pid, "TracerPid").as_deref() {
        Some("0") | None => Ok(()),
        Some(tracer) => Err(cannot(&format!("it is traced by process {tracer}"))),
    }
}

fn permission_hint() -> String {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    match scope.trim() {
        "" | "0" => "run umdb as the user who owns the process, or with CAP_SYS_PTRACE".to_owned(),
        scope => format!("run umdb with CAP_SYS_PTRACE; kernel.yama.ptrace_scope is {scope}"),
    }
}

// ---- on the tracer thread ----

type Report = Result<(Vec<Thread>, Vec<String>), Error>;

fn trace(pid: u32, report: &Sender<Report>, released: &Receiver<()>) {
    let mut held = Vec::new();
    let result = stop_all(pid, &mut held);
    let threads = held.iter().map(|held| thread(pid, held)).collect();
    let sent = report.send(result.map(|warnings| (threads, warnings)));
    if sent.is_ok() {
        // Ends when the other side is dropped.
        let _ = released.recv();
    }
    for held in &held {
        // A thread that has been killed meanwhile needs no letting go.
        let _ = ptrace::detach(held.tid, held.pending);
    }
}

fn thread(pid: u32, held: &Held) -> Thread {
    let tid = held.tid.as_raw() as u32;
    Thread {
        tid,
        name: procfs::thread_name(pid, tid),
        registers: held.registers,
        at_exit: false,
    }
}

/// Stops every thread, those too that are made meanwhile.
fn stop_all(pid: u32, held: &mut Vec<Held>) -> Result<Vec<String>, Error> {
    let mut warnings = Vec::new();
    let mut known: Vec<u32> = Vec::new();
    for _ in 0..ROUNDS_MAX {
        let new: Vec<u32> = procfs::threads(pid)
            .into_iter()
            .filter(|tid| !known.contains(tid))
            .collect();
        if new.is_empty() {
            // The leader first.
            held.sort_by_key(|held| (held.tid.as_raw() as u32 != pid, held.tid));
            return if held.is_empty() {
                Err(Error::new(format!(
                    "cannot attach to {pid}: no such process"
                )))
            } else {
                Ok(warnings)
            };
        }
        known.extend(&new);
        seize(pid, &new, held, &mut warnings)?;
    }
    warnings.push(format!(
        "process {pid} makes threads faster than they can be stopped: some were missed"
    ));
    Ok(warnings)
}

fn seize(
    pid: u32,
    tids: &[u32],
    held: &mut Vec<Held>,
    warnings: &mut Vec<String>,
) -> Result<(), Error> {
    let mut seized = Vec::new();
    for &tid in tids {
        let thread = Pid::from_raw(tid as i32);
        match ptrace::seize(thread, ptrace::Options::empty())
            .and_then(|()| ptrace::interrupt(thread))
        {
            Ok(()) => seized.push(thread),
            Err(Errno::ESRCH) => {}
            Err(Errno::EPERM) if held.is_empty() && seized.is_empty() => {
                return Err(Error::hinted(
                    format!("cannot attach to {pid}: permission denied"),
                    permission_hint(),
                ));
            }
            Err(error) => warnings.push(format!(
                "thread {tid} could not be stopped: {}",
                error.desc()
            )),
        }
    }
    held.extend(seized.into_iter().filter_map(stopped));
    Ok(())
}

/// Waits until a seized thread has stopped. None: it has ended instead.
fn stopped(tid: Pid) -> Option<Held> {
    let pending = loop {
        match waitpid(tid, Some(WaitPidFlag::__WALL)) {
            // Our interrupt, or a stop of the whole process.
            Ok(WaitStatus::PtraceEvent(..)) => break None,
            // A signal came first; it is handed on when the thread is let go.
            Ok(WaitStatus::Stopped(_, signal)) => break Some(signal),
            Err(Errno::EINTR) => {}
            _ => return None,
        }
    };
    Some(Held {
        tid,
        pending,
        registers: registers(tid),
    })
}

/// Registers of a stopped thread of this tracer.
pub(super) fn registers(tid: Pid) -> Option<Registers> {
    let regs: libc::user_regs_struct = ptrace::getregs(tid).ok()?;
    Some(Registers {
        r15: regs.r15,
        r14: regs.r14,
        r13: regs.r13,
        r12: regs.r12,
        rbp: regs.rbp,
        rbx: regs.rbx,
        r11: regs.r11,
        r10: regs.r10,
        r9: regs.r9,
        r8: regs.r8,
        rax: regs.rax,
        rcx: regs.rcx,
        rdx: regs.rdx,
        rsi: regs.rsi,
        rdi: regs.rdi,
        orig_rax: regs.orig_rax,
        rip: regs.rip,
        cs: regs.cs,
        eflags: regs.eflags,
        rsp: regs.rsp,
        ss: regs.ss,
        fs_base: regs.fs_base,
        gs_base: regs.gs_base,
    })
}
