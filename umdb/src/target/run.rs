//! A program that is run under umdb and looked at when it ends.
//!
//! The program is traced from its exec on, with PTRACE_O_TRACEEXIT: before the kernel takes anything of a thread apart, it
//! stops. When one thread ends the process, all others stop there too, and then memory and registers of the
//! whole process can be read. A thread that ends by itself while others live is let go at once. Children that the program makes are
//! not traced.

use std::{
    collections::BTreeMap,
    os::unix::process::CommandExt,
    process::Command,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use nix::{
    libc::{self, c_int},
    sys::{
        ptrace,
        signal::{SigHandler, Signal, signal},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use super::{
    Error, ExitKind, Files, Kind, RunOutcome, RunSpec, Target, Thread,
    live::{self, ProcessMemory},
    modules, procfs,
    trace::{self, Stop},
};

/// Keeps the program at its end, and knows how it ended once it is let go.
pub(super) struct Hold {
    release: Mutex<Option<Sender<()>>>,
    tracer: Mutex<Option<JoinHandle<Option<ExitKind>>>>,
}

impl Hold {
    /// Lets the program end and waits for that.
    pub(super) fn finish(&self) -> Option<ExitKind> {
        drop(
            self.release
                .lock()
                .ok()
                .and_then(|mut sender| sender.take()),
        );
        let tracer = self
            .tracer
            .lock()
            .ok()
            .and_then(|mut tracer| tracer.take())?;
        tracer.join().ok().flatten()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.finish();
    }
}

/// How often, and how far apart, other threads are looked at to tell an exec from an end.
const EXEC_LOOKS: u32 = 50;
const EXEC_PAUSE: Duration = Duration::from_millis(1);
/// execve and execveat.
const EXEC_CALLS: [&str; 2] = ["59", "322"];

/// What the tracer has to say once.
enum Event {
    AtExit {
        pid: u32,
        threads: Vec<Thread>,
        exit: ExitKind,
    },
    Gone(ExitKind),
}

/// Runs a program until all its threads stand at their end.
pub(super) fn run(spec: &RunSpec) -> Result<RunOutcome, Error> {
    let (report, reported) = channel();
    let (release, released) = channel();
    let spec = spec.clone();
    // SAFETY: ignoring a signal installs no handler of ours. Ctrl-C is for the program while we wait.
    let before = unsafe { signal(Signal::SIGINT, SigHandler::SigIgn) };
    let tracer = std::thread::Builder::new()
        .name("tracer".to_owned())
        .spawn(move || trace(&spec, &report, &released))
        .map_err(|error| Error::new(format!("cannot start a thread: {error}")))?;
    let event = reported.recv();
    if let Ok(before) = before {
        // SAFETY: puts back what was there.
        let _ = unsafe { signal(Signal::SIGINT, before) };
    }
    let event = event.unwrap_or_else(|_| Err(Error::new("the tracer ended".to_owned())))?;
    let hold = Arc::new(Hold {
        release: Mutex::new(Some(release)),
        tracer: Mutex::new(Some(tracer)),
    });
    match event {
        Event::Gone(kind) => Ok(RunOutcome::Gone(kind)),
        Event::AtExit { pid, threads, exit } => Ok(RunOutcome::Exiting(Box::new(open(
            pid, threads, exit, hold,
        )?))),
    }
}

fn open(pid: u32, threads: Vec<Thread>, exit: ExitKind, hold: Arc<Hold>) -> Result<Target, Error> {
    let process = procfs::reachable(pid);
    let memory = ProcessMemory::open(process).map_err(|error| live::not_readable(pid, &error))?;
    let mappings = procfs::mappings(process)?;
    let auxv = procfs::auxiliary(process);
    let mut warnings = Vec::new();
    live::warn_of_registers(&threads, &mut warnings);
    Ok(Target {
        kind: Kind::Exiting { pid },
        modules: modules::find(&memory, &mappings, &auxv),
        memory: Arc::new(memory),
        mappings,
        auxv,
        threads,
        executable: procfs::executable(process),
        signal: match exit {
            ExitKind::Signaled(signal, _) => Some(signal),
            ExitKind::Exited(_) => None,
        },
        dead: None,
        arguments: procfs::arguments(process),
        warnings,
        notes: Vec::new(),
        frozen: false,
        pieces: Vec::new(),
        root_copies: Vec::new(),
        exit: Some(exit),
        hold: Some(Box::new(RunHold(hold.clone()))),
        run: Some(hold),
        files: Files::of_process(process),
    })
}

/// Lets the program end when the target is dropped.
struct RunHold(#[allow(dead_code)] Arc<Hold>);

// ---- on the tracer thread ----

fn trace(
    spec: &RunSpec,
    report: &Sender<Result<Event, Error>>,
    released: &Receiver<()>,
) -> Option<ExitKind> {
    let pid = match start(spec) {
        Ok(pid) => pid,
        Err(error) => {
            let _ = report.send(Err(error));
            return None;
        }
    };
    let mut tracer = Tracer {
        pid,
        threads: BTreeMap::new(),
    };
    match tracer.until_exit() {
        Outcome::Gone(kind) => {
            let _ = report.send(Ok(Event::Gone(kind)));
            Some(kind)
        }
        Outcome::AtExit(exit) => {
            let threads = tracer.threads();
            if report
                .send(Ok(Event::AtExit {
                    pid: pid.as_raw() as u32,
                    threads,
                    exit,
                }))
                .is_ok()
            {
                let _ = released.recv();
            }
            tracer.let_end()
        }
    }
}

/// Starts the program, stopped after its exec.
fn start(spec: &RunSpec) -> Result<Pid, Error> {
    let name = spec.program.to_string_lossy().into_owned();
    let cannot = |why: &dyn std::fmt::Display| Error::new(format!("cannot run '{name}': {why}"));
    let mut command = Command::new(&spec.program);
    command.args(&spec.args).envs(spec.env.iter().cloned());
    // SAFETY: between fork and exec only two system calls are made.
    unsafe {
        command.pre_exec(|| {
            signal(Signal::SIGINT, SigHandler::SigDfl)?;
            ptrace::traceme().map_err(Into::into)
        });
    }
    let child = command
        .spawn()
        .map_err(|error| cannot(&super::plain(&error)))?;
    let pid = Pid::from_raw(child.id() as i32);
    // The exec stops with SIGTRAP; the child is waited for here and not through `Child`.
    match waitpid(pid, Some(WaitPidFlag::__WALL)) {
        Ok(WaitStatus::Stopped(..)) => {}
        other => return Err(cannot(&format!("it did not start: {other:?}"))),
    }
    let options = ptrace::Options::PTRACE_O_TRACEEXIT
        | ptrace::Options::PTRACE_O_TRACECLONE
        | ptrace::Options::PTRACE_O_TRACEEXEC
        | ptrace::Options::PTRACE_O_EXITKILL;
    ptrace::setoptions(pid, options).map_err(|error| cannot(&error.desc()))?;
    ptrace::cont(pid, None).map_err(|error| cannot(&error.desc()))?;
    Ok(pid)
}

enum Outcome {
    AtExit(ExitKind),
    Gone(ExitKind),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    AtExit,
}

struct Tracer {
    pid: Pid,
    threads: BTreeMap<Pid, State>,
}

impl Tracer {
    /// Hands events on until every thread of the process stands at its end.
    fn until_exit(&mut self) -> Outcome {
        self.threads.insert(self.pid, State::Running);
        let mut exit = None;
        loop {
            let (tid, stop) = trace::wait_any();
            match stop {
                Stop::Exited(code) if tid == self.pid => {
                    return Outcome::Gone(ExitKind::Exited(code));
                }
                Stop::Killed(signal, dumped) if tid == self.pid => {
                    return Outcome::Gone(ExitKind::Signaled(signal, dumped));
                }
                Stop::Exited(_) | Stop::Killed(..) => {
                    self.threads.remove(&tid);
                }
                Stop::Event(event) => {
                    if let Some(kind) = self.event(tid, event) {
                        exit = Some(kind);
                    }
                }
                Stop::Signal(signal) => self.stopped(tid, signal),
                Stop::Call => {
                    let _ = trace::resume(tid, 0);
                }
                // Nothing is left to wait for.
                Stop::Gone => return Outcome::Gone(ExitKind::Exited(0)),
            }
            if let Some(kind) = exit.filter(|_| self.all_at_exit()) {
                return Outcome::AtExit(kind);
            }
        }
    }

    fn stopped(&mut self, tid: Pid, signal: c_int) {
        // A new thread's first stop, and exec's without the option, are ptrace's own.
        let is_new = self.threads.insert(tid, State::Running).is_none();
        let hand_on = if is_new && signal == libc::SIGSTOP {
            0
        } else {
            signal
        };
        let _ = trace::resume(tid, hand_on);
    }

    /// Handles an event. Some: a thread is about to end the process, and how.
    fn event(&mut self, tid: Pid, event: i32) -> Option<ExitKind> {
        match event {
            libc::PTRACE_EVENT_EXIT => self.at_exit(tid),
            libc::PTRACE_EVENT_EXEC => {
                self.threads.clear();
                self.threads.insert(tid, State::Running);
                let _ = ptrace::cont(tid, None);
                None
            }
            _ => {
                let _ = ptrace::cont(tid, None);
                None
            }
        }
    }

    /// A thread stands at its end: alone, or with the whole process.
    fn at_exit(&mut self, tid: Pid) -> Option<ExitKind> {
        let status = ptrace::getevent(tid).unwrap_or(0) as i32;
        let others_live = self.running().any(|other| other != tid);
        if others_live && (ends_alone(tid, status) || self.is_exec(tid)) {
            self.threads.remove(&tid);
            let _ = ptrace::cont(tid, None);
            return None;
        }
        self.threads.insert(tid, State::AtExit);
        Some(exit_kind(status))
    }

    fn running(&self) -> impl Iterator<Item = Pid> {
        self.threads
            .iter()
            .filter(|(_, state)| **state == State::Running)
            .map(|(&tid, _)| tid)
    }

    /// Whether the thread ends because another one is in execve, which waits until it is alone. The kernel ends threads
    /// the same way when the process ends, and holding them then would hang an exec.
    fn is_exec(&self, ending: Pid) -> bool {
        for _ in 0..EXEC_LOOKS {
            let calls: Vec<String> = self
                .running()
                .filter(|&tid| tid != ending)
                .filter_map(|tid| procfs::system_call(tid.as_raw()))
                .collect();
            if calls.iter().any(|call| EXEC_CALLS.contains(&call.as_str())) {
                return true;
            }
            if !calls.iter().any(|call| call == "running") {
                return false;
            }
            // On its processor just now: it will be seen in its system call, or at its end.
            std::thread::sleep(EXEC_PAUSE);
        }
        false
    }

    fn all_at_exit(&self) -> bool {
        self.threads.values().all(|&state| state == State::AtExit)
    }

    /// Threads at their end, the leader first.
    fn threads(&self) -> Vec<Thread> {
        let pid = self.pid.as_raw() as u32;
        let mut threads: Vec<Thread> = self
            .threads
            .keys()
            .map(|&tid| Thread {
                tid: tid.as_raw() as u32,
                name: procfs::thread_name(pid, tid.as_raw() as u32),
                registers: trace::registers(tid).ok().map(Into::into),
                at_exit: true,
            })
            .collect();
        threads.sort_by_key(|thread| (thread.tid != pid, thread.tid));
        threads
    }

    /// Lets all threads end and returns how the process did.
    fn let_end(&mut self) -> Option<ExitKind> {
        for &tid in self.threads.keys() {
            let _ = ptrace::cont(tid, None);
        }
        loop {
            let (tid, stop) = trace::wait_any();
            match stop {
                Stop::Exited(code) if tid == self.pid => return Some(ExitKind::Exited(code)),
                Stop::Killed(signal, dumped) if tid == self.pid => {
                    return Some(ExitKind::Signaled(signal, dumped));
                }
                Stop::Signal(signal) => {
                    let _ = trace::resume(tid, signal);
                }
                Stop::Event(_) | Stop::Call => {
                    let _ = trace::resume(tid, 0);
                }
                Stop::Exited(_) | Stop::Killed(..) => {}
                Stop::Gone => return None,
            }
        }
    }
}

/// Whether a thread ends by itself: pthread_exit and a thread's return end in the system call exit. When the process
/// ends, by exit_group or a signal, the kernel ends threads wherever they are.
fn ends_alone(tid: Pid, status: i32) -> bool {
    const EXIT: u64 = 60;
    !libc::WIFSIGNALED(status)
        && trace::registers(tid).is_ok_and(|registers| registers.orig_rax == EXIT)
}

fn exit_kind(status: i32) -> ExitKind {
    if libc::WIFSIGNALED(status) {
        ExitKind::Signaled(libc::WTERMSIG(status), libc::WCOREDUMP(status))
    } else {
        ExitKind::Exited(libc::WEXITSTATUS(status))
    }
}
