//! System calls that a stop interrupts.
//!
//! The kernel restarts most of them by itself when a stopped thread goes on: their result is then one of four codes that
//! no program ever sees. Some calls (signal(7): "never restarted") return EINTR instead, which a program that
//! handles no signals does not expect. Their result is changed into the code for "restart unless a handler runs",
//! before the thread goes on. What a relative timeout had left is not known, so that it begins anew.

use nix::libc::{self, user_regs_struct};

/// Restart, whatever happens: ERESTARTSYS where no handler runs.
pub(super) const SYS: i64 = -512;
/// Restart always: ERESTARTNOINTR.
pub(super) const NO_INTERRUPT: i64 = -513;
/// Restart unless a handler runs: ERESTARTNOHAND.
pub(super) const NO_HANDLER: i64 = -514;
/// Go on with the rest of the time, by the call restart_syscall: ERESTART_RESTARTBLOCK.
pub(super) const BLOCK: i64 = -516;

const IO_PGETEVENTS: libc::c_long = 333;

/// Calls that return EINTR only when they have done nothing, and do the same when called again.
const MENDED: [libc::c_long; 23] = [
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_io_getevents,
    IO_PGETEVENTS,
    libc::SYS_io_uring_enter,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
];

/// The registers with which an interrupted call is restarted; none when the kernel does what is right.
pub(super) fn mended(registers: &user_regs_struct) -> Option<user_regs_struct> {
    let call = registers.orig_rax as i64;
    let is_interrupted = registers.rax as i64 == -i64::from(libc::EINTR);
    (is_interrupted && MENDED.contains(&call)).then_some(user_regs_struct {
        rax: NO_HANDLER as u64,
        ..*registers
    })
}

/// Registers with which a thread does by itself, in user mode, what the kernel would do when it goes on.
pub(super) fn in_user_mode(registers: &user_regs_struct) -> user_regs_struct {
    let mut changed = *registers;
    if registers.orig_rax as i64 >= 0 {
        let again = match registers.rax as i64 {
            SYS | NO_INTERRUPT | NO_HANDLER => Some(registers.orig_rax),
            BLOCK => Some(libc::SYS_restart_syscall as u64),
            _ => None,
        };
        if let Some(call) = again {
            changed.rax = call;
            // The system call instruction has two bytes.
            changed.rip = registers.rip.wrapping_sub(2);
        }
    }
    changed.orig_rax = u64::MAX;
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registers(call: i64, result: i64) -> user_regs_struct {
        // SAFETY: it holds integers only, for which zero is a value.
        let mut registers: user_regs_struct = unsafe { std::mem::zeroed() };
        registers.orig_rax = call as u64;
        registers.rax = result as u64;
        registers.rip = 0x1000;
        registers
    }

    #[test]
    fn only_calls_that_were_interrupted_are_mended() {
        let rax = |call, result| mended(&registers(call, result)).map(|found| found.rax as i64);
        assert_eq!(rax(libc::SYS_epoll_wait, -4), Some(NO_HANDLER));
        assert_eq!(rax(libc::SYS_epoll_wait, 1), None);
        assert_eq!(rax(libc::SYS_epoll_wait, -11), None);
        assert_eq!(rax(libc::SYS_close, -4), None);
        assert_eq!(rax(-1, -4), None);
    }

    #[test]
    fn user_mode_restarts_as_the_kernel_does() {
        let at = |call, result| {
            let changed = in_user_mode(&registers(call, result));
            (changed.rax as i64, changed.rip)
        };
        assert_eq!(at(libc::SYS_read, SYS), (libc::SYS_read, 0x1000 - 2));
        assert_eq!(
            at(libc::SYS_nanosleep, BLOCK),
            (libc::SYS_restart_syscall, 0x1000 - 2)
        );
        assert_eq!(at(libc::SYS_read, 7), (7, 0x1000));
        assert_eq!(at(-1, SYS), (SYS, 0x1000));
    }
}
