//! ptrace and wait, thread by thread. Signals are numbers here: real-time ones have no other name.
#![allow(unsafe_code)]

use std::time::{Duration, Instant};

use nix::{
    errno::Errno,
    libc::{self, c_int, c_long, c_uint, c_void, sock_filter, user_regs_struct},
    unistd::Pid,
};

use super::{Registers, procfs};

/// What a traced thread reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// An event of ptrace's own (PTRACE_EVENT_*).
    Event(c_int),
    /// It is about to get this signal.
    Signal(c_int),
    /// It enters or leaves a system call (with PTRACE_O_TRACESYSGOOD).
    Call,
    /// It ended by exit, with this status.
    Exited(c_int),
    /// It ended by this signal; whether a core was dumped.
    Killed(c_int, bool),
    /// There is no such thread of ours to wait for.
    Gone,
}

/// Spins so long before it sleeps between looks.
const SPIN: Duration = Duration::from_millis(1);
const SLEEP: Duration = Duration::from_micros(200);

impl Stop {
    fn decode(status: c_int) -> Option<Self> {
        Some(if libc::WIFEXITED(status) {
            Self::Exited(libc::WEXITSTATUS(status))
        } else if libc::WIFSIGNALED(status) {
            Self::Killed(libc::WTERMSIG(status), libc::WCOREDUMP(status))
        } else if libc::WIFSTOPPED(status) {
            match (status >> 16, libc::WSTOPSIG(status)) {
                (0, signal) if signal == libc::SIGTRAP | 0x80 => Self::Call,
                (0, signal) => Self::Signal(signal),
                (event, _) => Self::Event(event),
            }
        } else {
            return None;
        })
    }
}

/// One look. None: nothing to report.
fn look(tid: c_int, flags: c_int) -> Option<(Pid, Stop)> {
    loop {
        let mut status = 0;
        // SAFETY: the status is written to a variable of ours.
        let found = unsafe { libc::waitpid(tid, &raw mut status, libc::__WALL | flags) };
        return match found {
            0 => None,
            -1 if Errno::last() == Errno::EINTR => continue,
            -1 => Some((Pid::from_raw(tid), Stop::Gone)),
            found => match Stop::decode(status) {
                Some(stop) => Some((Pid::from_raw(found), stop)),
                None => continue,
            },
        };
    }
}

/// Waits until any thread of this tracer reports; `Gone` when it has none.
pub(super) fn wait_any() -> (Pid, Stop) {
    look(-1, 0).unwrap_or((Pid::from_raw(-1), Stop::Gone))
}

/// Waits until a thread reports, at most until `end`. None: it has not.
pub(super) fn wait(tid: Pid, end: Instant) -> Option<Stop> {
    let begin = Instant::now();
    loop {
        if let Some((_, stop)) = look(tid.as_raw(), libc::WNOHANG) {
            return Some(stop);
        }
        let now = Instant::now();
        if now >= end {
            return None;
        }
        if now - begin < SPIN {
            std::thread::yield_now();
        } else if is_zombie(tid) {
            // The end of a leader is reported when all other threads are gone; those that we trace wait for us.
            let last = look(tid.as_raw(), libc::WNOHANG);
            return Some(last.map_or(Stop::Gone, |(_, stop)| stop));
        } else {
            std::thread::sleep(SLEEP);
        }
    }
}

fn is_zombie(tid: Pid) -> bool {
    let tid = tid.as_raw() as u32;
    procfs::thread_state(tid, tid) == Some('Z')
}

fn request(request: c_uint, tid: Pid, address: usize, data: usize) -> Result<c_long, Errno> {
    Errno::clear();
    // SAFETY: the callers pass numbers, or the address and size of a variable of theirs that the request fills or
    // reads; the kernel checks the rest and fails for threads that are not stopped tracees of this thread.
    let result = unsafe {
        libc::ptrace(
            request,
            tid.as_raw(),
            address as *mut c_void,
            data as *mut c_void,
        )
    };
    if result == -1 && Errno::last() != Errno::UnknownErrno {
        Err(Errno::last())
    } else {
        Ok(result)
    }
}

/// Begins to trace a running thread, without stopping it.
pub(super) fn seize(tid: Pid) -> Result<(), Errno> {
    request(libc::PTRACE_SEIZE, tid, 0, 0).map(drop)
}

/// Asks a traced thread to stop.
pub(super) fn interrupt(tid: Pid) -> Result<(), Errno> {
    request(libc::PTRACE_INTERRUPT, tid, 0, 0).map(drop)
}

/// Lets a stopped thread run, and gives it a signal (0 for none).
pub(super) fn resume(tid: Pid, signal: c_int) -> Result<(), Errno> {
    request(libc::PTRACE_CONT, tid, 0, signal as usize).map(drop)
}

/// As [`resume`], until it enters or leaves a system call.
pub(super) fn resume_to_call(tid: Pid, signal: c_int) -> Result<(), Errno> {
    request(libc::PTRACE_SYSCALL, tid, 0, signal as usize).map(drop)
}

/// Lets go of a stopped thread.
pub(super) fn detach(tid: Pid) -> Result<(), Errno> {
    request(libc::PTRACE_DETACH, tid, 0, 0).map(drop)
}

/// Options (PTRACE_O_*) of a stopped thread.
pub(super) fn set_options(tid: Pid, options: c_int) -> Result<(), Errno> {
    request(libc::PTRACE_SETOPTIONS, tid, 0, options as usize).map(drop)
}

/// The number that goes with an event: the new thread's identifier, or the exit status.
pub(super) fn event_message(tid: Pid) -> Result<u64, Errno> {
    let mut message: libc::c_ulong = 0;
    request(
        libc::PTRACE_GETEVENTMSG,
        tid,
        0,
        (&raw mut message) as usize,
    )?;
    Ok(message)
}

/// Signal mask of a stopped thread.
pub(super) fn signal_mask(tid: Pid) -> Result<u64, Errno> {
    const PTRACE_GETSIGMASK: c_uint = 0x420a;
    let mut mask = 0_u64;
    request(
        PTRACE_GETSIGMASK,
        tid,
        size_of::<u64>(),
        (&raw mut mask) as usize,
    )?;
    Ok(mask)
}

/// Sets the signal mask of a stopped thread.
pub(super) fn set_signal_mask(tid: Pid, mask: u64) -> Result<(), Errno> {
    const PTRACE_SETSIGMASK: c_uint = 0x420b;
    request(
        PTRACE_SETSIGMASK,
        tid,
        size_of::<u64>(),
        (&raw const mask) as usize,
    )
    .map(drop)
}

/// Registers of a stopped thread.
pub(super) fn registers(tid: Pid) -> Result<user_regs_struct, Errno> {
    // SAFETY: it holds integers only, for which zero is a value.
    let mut registers: user_regs_struct = unsafe { std::mem::zeroed() };
    request(libc::PTRACE_GETREGS, tid, 0, (&raw mut registers) as usize)?;
    Ok(registers)
}

/// Sets all registers of a stopped thread at once.
pub(super) fn set_registers(tid: Pid, registers: &user_regs_struct) -> Result<(), Errno> {
    request(
        libc::PTRACE_SETREGS,
        tid,
        0,
        (registers as *const user_regs_struct) as usize,
    )
    .map(drop)
}

/// Address of a thread's restartable sequence descriptor; none where the kernel has none or does not say.
pub(super) fn restartable_sequence(tid: Pid) -> Option<u64> {
    const PTRACE_GET_RSEQ_CONFIGURATION: c_uint = 0x420f;
    #[repr(C)]
    #[derive(Default)]
    struct Configuration {
        pointer: u64,
        size: u32,
        signature: u32,
        flags: u32,
        padding: u32,
    }
    let mut found = Configuration::default();
    request(
        PTRACE_GET_RSEQ_CONFIGURATION,
        tid,
        size_of::<Configuration>(),
        (&raw mut found) as usize,
    )
    .ok()?;
    (found.pointer != 0).then_some(found.pointer)
}

/// A seccomp filter of a stopped thread, the oldest first; ENOENT behind the last one.
pub(super) fn seccomp_filter(tid: Pid, index: usize) -> Result<Vec<sock_filter>, Errno> {
    const PTRACE_SECCOMP_GET_FILTER: c_uint = 0x420c;
    const EMPTY: sock_filter = sock_filter {
        code: 0,
        jt: 0,
        jf: 0,
        k: 0,
    };
    // The kernel takes no longer ones (BPF_MAXINSNS).
    let mut filter = vec![EMPTY; libc::BPF_MAXINSNS as usize];
    let count = request(PTRACE_SECCOMP_GET_FILTER, tid, index, 0)?;
    if usize::try_from(count).is_ok_and(|count| count <= filter.len()) {
        let room = filter.as_mut_ptr() as usize;
        request(PTRACE_SECCOMP_GET_FILTER, tid, index, room)?;
        filter.truncate(count as usize);
        Ok(filter)
    } else {
        Err(Errno::EOVERFLOW)
    }
}

impl From<user_regs_struct> for Registers {
    fn from(regs: user_regs_struct) -> Self {
        Self {
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
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_status_says() {
        let stopped = |signal: c_int, event: c_int| (event << 16) | (signal << 8) | 0x7f;
        assert_eq!(Stop::decode(0x300), Some(Stop::Exited(3)));
        assert_eq!(Stop::decode(0x8b), Some(Stop::Killed(11, true)));
        assert_eq!(
            Stop::decode(stopped(libc::SIGTRAP, libc::PTRACE_EVENT_STOP)),
            Some(Stop::Event(libc::PTRACE_EVENT_STOP))
        );
        assert_eq!(
            Stop::decode(stopped(libc::SIGTRAP | 0x80, 0)),
            Some(Stop::Call)
        );
        // A real-time signal is one like any other.
        assert_eq!(Stop::decode(stopped(34, 0)), Some(Stop::Signal(34)));
    }
}
