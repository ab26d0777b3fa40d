//! Stops all threads of a process, reads their registers, and lets them go.
//!
//! 1. Threads are seized until a look at the list finds no new one: a thread that is stopped makes none.
//! 2. A thread that is about to get a signal gets it at once, and stops before the first instruction of its handler;
//!    so no signal is kept back, and none is lost when we die.
//! 3. A thread that ends meanwhile is no error. One that cannot be stopped (in an uninterruptible wait, as for a
//!    child of vfork) is given up after a while, and said.
//! 4. When a thread calls execve, the others vanish, and its identifier becomes that of the leader. So what was
//!    stopped is looked at once more at the end.

use std::time::{Duration, Instant};

use nix::{
    errno::Errno,
    libc::{self, user_regs_struct},
    unistd::Pid,
};

use super::{
    Error, Thread, procfs, restart,
    trace::{self, Stop},
};

/// Times that the list of threads is read until it no longer changes.
const ROUNDS_MAX: usize = 100;
/// How long threads may take to stop, all together.
const STOP_LIMIT: Duration = Duration::from_secs(1);

/// A thread that was stopped.
pub(super) struct Held {
    pub(super) tid: Pid,
    /// None: it could not be stopped.
    pub(super) registers: Option<user_regs_struct>,
}

/// All threads of a process, the leader first.
pub(super) struct Stopped {
    pub(super) held: Vec<Held>,
    pub(super) warnings: Vec<String>,
}

/// Stops every thread, those too that are made meanwhile.
pub(super) fn stop_all(pid: u32) -> Result<Stopped, Error> {
    let mut all = Stopped {
        held: Vec::new(),
        warnings: Vec::new(),
    };
    match all.stop(pid) {
        Ok(()) => Ok(all),
        Err(error) => {
            all.release();
            Err(error)
        }
    }
}

impl Stopped {
    fn stop(&mut self, pid: u32) -> Result<(), Error> {
        let end = Instant::now() + STOP_LIMIT;
        for _ in 0..ROUNDS_MAX {
            let is_known = |tid: &u32| {
                self.held
                    .iter()
                    .any(|held| held.tid.as_raw() as u32 == *tid)
            };
            let new: Vec<u32> = procfs::threads(pid)
                .into_iter()
                .filter(|tid| !is_known(tid))
                .filter(|&tid| !procfs::has_ended(pid, tid))
                .collect();
            self.seize(pid, &new, end)?;
            if new.is_empty() && !self.look_again(end) {
                return self.finish(pid);
            }
        }
        self.warnings.push(format!(
            "process {pid} makes threads faster than they can be stopped: some were missed"
        ));
        self.finish(pid)
    }

    fn finish(&mut self, pid: u32) -> Result<(), Error> {
        if self.held.is_empty() {
            return Err(Error::new(format!(
                "cannot attach to {pid}: no such process"
            )));
        }
        self.held
            .sort_by_key(|held| (held.tid.as_raw() as u32 != pid, held.tid));
        for held in &self.held {
            if held.registers.is_none() {
                self.warnings.push(format!(
                    "thread {} does not stop: it waits in the kernel (state {}), and its registers are not known",
                    held.tid,
                    procfs::thread_state(pid, held.tid.as_raw() as u32).unwrap_or('?')
                ));
            }
        }
        Ok(())
    }

    fn seize(&mut self, pid: u32, tids: &[u32], end: Instant) -> Result<(), Error> {
        let mut seized = Vec::new();
        for &tid in tids {
            let thread = Pid::from_raw(tid as i32);
            match trace::seize(thread).and_then(|()| trace::interrupt(thread)) {
                Ok(()) => seized.push(thread),
                // It has ended, or is just ending.
                Err(Errno::ESRCH) => {}
                Err(Errno::EPERM) if procfs::has_ended(pid, tid) => {}
                Err(error) if self.held.is_empty() && seized.is_empty() => {
                    return Err(refused(pid, error));
                }
                Err(error) => self.warnings.push(format!(
                    "thread {tid} could not be stopped: {}",
                    error.desc()
                )),
            }
        }
        let stopped = seized.into_iter().filter_map(|tid| await_stop(tid, end));
        self.held.extend(stopped);
        Ok(())
    }

    /// Drops threads that have vanished since they were stopped. Whether anything has changed.
    fn look_again(&mut self, end: Instant) -> bool {
        let mut changed = false;
        let before = std::mem::take(&mut self.held);
        for held in before {
            if held.registers.is_none() || trace::registers(held.tid).is_ok() {
                self.held.push(held);
            } else {
                changed = true;
                self.held.extend(await_stop(held.tid, end));
            }
        }
        changed
    }

    /// The threads with their registers, without their names.
    pub(super) fn threads(&self) -> Vec<Thread> {
        let threads = self.held.iter().map(|held| Thread {
            tid: held.tid.as_raw() as u32,
            name: None,
            registers: held.registers.map(Into::into),
            at_exit: false,
        });
        threads.collect()
    }

    /// Lets all threads go.
    pub(super) fn release(&mut self) {
        for held in self.held.drain(..) {
            // A thread that has been killed meanwhile needs no letting go; one that never stopped is let go by the end
            // of the tracer.
            let _ = trace::detach(held.tid);
        }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.release();
    }
}

fn refused(pid: u32, error: Errno) -> Error {
    if error == Errno::EPERM {
        Error::hinted(
            format!("cannot attach to {pid}: permission denied"),
            super::live::permission_hint(),
        )
    } else {
        Error::new(format!("cannot attach to {pid}: {}", error.desc()))
    }
}

/// Lets a thread take a signal and stop behind it: any stop makes the kernel forget that another one was asked for.
pub(super) fn go_on_to_stop(tid: Pid, signal: libc::c_int) -> Result<(), Errno> {
    trace::interrupt(tid)?;
    trace::resume(tid, signal)
}

/// Waits until a seized thread has stopped. None: it has ended instead.
fn await_stop(tid: Pid, end: Instant) -> Option<Held> {
    loop {
        match trace::wait(tid, end) {
            // Our interrupt, or a stop of the whole process.
            Some(Stop::Event(libc::PTRACE_EVENT_STOP)) => break,
            Some(Stop::Signal(signal)) => go_on_to_stop(tid, signal).ok()?,
            Some(Stop::Event(_) | Stop::Call) => go_on_to_stop(tid, 0).ok()?,
            Some(Stop::Exited(_) | Stop::Killed(..) | Stop::Gone) => return None,
            None => {
                return Some(Held {
                    tid,
                    registers: None,
                });
            }
        }
    }
    let mut registers = trace::registers(tid).ok()?;
    if let Some(mended) = restart::mended(&registers)
        && trace::set_registers(tid, &mended).is_ok()
    {
        registers = mended;
    }
    Some(Held {
        tid,
        registers: Some(registers),
    })
}
