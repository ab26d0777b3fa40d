//! The process and the calling thread: identity, messages, the end.
#![allow(unsafe_code)]

use syscalls::{Sysno, syscall};

const SIGABRT: usize = 6;

/// Kernel's identifier of the calling thread.
pub fn thread_id() -> u32 {
    // SAFETY: takes no arguments and cannot fail.
    unsafe { syscall!(Sysno::gettid) }.unwrap_or(0) as u32
}

/// As [`thread_id`], from the thread's block after the first call. Never zero.
#[inline]
pub fn own_id() -> u32 {
    let cell = super::tls::id_cell();
    // SAFETY: the cell lies in the calling thread's own block.
    let known = unsafe { cell.read() };
    if known != 0 {
        return known;
    }
    let id = thread_id();
    // SAFETY: as above.
    unsafe { cell.write(id) };
    id
}

/// Forgets the identifier: the calling thread goes on in the child of a fork.
pub fn forget_own_id() {
    // SAFETY: the cell lies in the calling thread's own block.
    unsafe { super::tls::id_cell().write(0) };
}

/// Identifier of the process.
pub fn process_id() -> u32 {
    // SAFETY: takes no arguments and cannot fail.
    unsafe { syscall!(Sysno::getpid) }.unwrap_or(0) as u32
}

/// A random number of the kernel. None: it has none yet.
pub fn random() -> Option<u64> {
    const NONBLOCK: usize = 1;
    let mut number = 0_u64;
    // SAFETY: the kernel writes at most the size of the number to it.
    let filled = unsafe {
        syscall!(
            Sysno::getrandom,
            &raw mut number,
            size_of::<u64>(),
            NONBLOCK
        )
    };
    (filled == Ok(size_of::<u64>()) && number != 0).then_some(number)
}

/// Name of the calling thread, padded with zero bytes.
pub fn thread_name() -> [u8; 16] {
    const PR_GET_NAME: usize = 16;
    let mut name = [0; 16];
    // SAFETY: the kernel writes at most 16 bytes.
    let _ = unsafe { syscall!(Sysno::prctl, PR_GET_NAME, name.as_mut_ptr(), 0, 0, 0) };
    name
}

/// Names the calling thread; the name ends with a zero byte.
pub fn set_thread_name(name: &[u8; 12]) {
    const PR_SET_NAME: usize = 15;
    // SAFETY: the kernel reads up to the zero byte.
    let _ = unsafe { syscall!(Sysno::prctl, PR_SET_NAME, name.as_ptr(), 0, 0, 0) };
}

/// Runs with all signals blocked but the two that libc sends to every thread and waits for (cancellation, setuid). A thread that
/// is created meanwhile has them blocked for good.
pub fn with_signals_blocked<T>(run: impl FnOnce() -> T) -> T {
    const SIG_SETMASK: usize = 2;
    const LIBC_SIGNALS: u64 = 1 << (32 - 1) | 1 << (33 - 1);
    let set = |new: &u64, old: &mut u64| {
        // SAFETY: reads and writes one 8-byte set each.
        let _ = unsafe {
            syscall!(
                Sysno::rt_sigprocmask,
                SIG_SETMASK,
                &raw const *new,
                &raw mut *old,
                8
            )
        };
    };
    let (mut before, mut during) = (0, 0);
    set(&!LIBC_SIGNALS, &mut before);
    let result = run();
    set(&before, &mut during);
    result
}

/// Name of the program, without its folder.
pub fn program_name() -> &'static [u8] {
    unsafe extern "C" {
        static program_invocation_short_name: *const core::ffi::c_char;
    }
    // SAFETY: libc sets the variable before any code of the program runs, to a string that lives as long as the process.
    unsafe {
        if program_invocation_short_name.is_null() {
            return b"a.out";
        }
        core::ffi::CStr::from_ptr(program_invocation_short_name).to_bytes()
    }
}

/// Path of the program's file as the kernel has it; returns how many bytes there are.
pub fn executable(storage: &mut [u8]) -> usize {
    let path = c"/proc/self/exe".as_ptr();
    // SAFETY: the kernel reads the path and writes at most the given number of bytes.
    unsafe { syscall!(Sysno::readlink, path, storage.as_mut_ptr(), storage.len()) }.unwrap_or(0)
}

/// Path of the folder in which the process is; returns how many bytes there are.
pub fn folder(storage: &mut [u8]) -> usize {
    // SAFETY: the kernel writes at most the given number of bytes, and counts a zero byte at the end.
    let written = unsafe { syscall!(Sysno::getcwd, storage.as_mut_ptr(), storage.len()) };
    written.unwrap_or(0).saturating_sub(1)
}

/// Name of a live thread of the process, padded with zero bytes; nothing but zeros when it has ended.
pub fn name_of(thread: u32) -> [u8; 16] {
    use core::fmt::Write;
    /// A path on its way to the kernel.
    struct Path([u8; 48], usize);
    impl Write for Path {
        fn write_str(&mut self, text: &str) -> core::fmt::Result {
            for &byte in text.as_bytes() {
                // The last byte stays zero.
                *self.0[..47].get_mut(self.1).ok_or(core::fmt::Error)? = byte;
                self.1 += 1;
            }
            Ok(())
        }
    }
    let (mut path, mut name) = (Path([0; 48], 0), [0; 16]);
    let _ = write!(path, "/proc/self/task/{thread}/comm");
    if let Ok(path) = core::ffi::CStr::from_bytes_until_nul(&path.0) {
        let length = super::environment::read_file(path, &mut name);
        if let Some(end @ b'\n') = name.get_mut(length.wrapping_sub(1)) {
            *end = 0;
        }
    }
    name
}

/// Writes to standard error, as far as it takes it.
pub fn write_error(mut text: &[u8]) {
    while !text.is_empty() {
        // SAFETY: the kernel reads the slice.
        match unsafe { syscall!(Sysno::write, 2, text.as_ptr(), text.len()) } {
            Ok(count) if count > 0 => text = text.get(count..).unwrap_or(&[]),
            _ => return,
        }
    }
}

fn raise_abort() {
    // SAFETY: sends a signal to the calling thread; its handler, if any, is the program's.
    let _ = unsafe { syscall!(Sysno::tgkill, process_id(), thread_id(), SIGABRT) };
}

/// Ends the process by SIGABRT: once with the program's handler in place, then by force. libc's abort is
/// not used because it may flush streams and so call free.
pub fn abort() -> ! {
    const SIG_UNBLOCK: usize = 1;
    let abort_mask: u64 = 1 << (SIGABRT - 1);
    raise_abort();
    loop {
        let default_action = [0_u64; 4];
        // SAFETY: installs the default action, described by four zero words; sets are of 8 bytes.
        let _ = unsafe { syscall!(Sysno::rt_sigaction, SIGABRT, default_action.as_ptr(), 0, 8) };
        // SAFETY: reads one 8-byte set.
        let _ = unsafe {
            syscall!(
                Sysno::rt_sigprocmask,
                SIG_UNBLOCK,
                &raw const abort_mask,
                0,
                8
            )
        };
        raise_abort();
    }
}

/// Reads or sets a limit of a process, as prlimit(2).
///
/// # Errors
/// The kernel's number of the error, a bad address included.
pub fn limits(process: i32, resource: i32, new: usize, old: usize) -> Result<(), i32> {
    // SAFETY: the kernel reads and writes 16 bytes each, and says so where it cannot.
    unsafe {
        syscall!(
            Sysno::prlimit64,
            process as isize,
            resource as isize,
            new,
            old
        )
    }
    .map_or_else(|error| Err(error.into_raw()), |_| Ok(()))
}

/// Yields the processor.
pub fn yield_now() {
    // SAFETY: takes no arguments.
    let _ = unsafe { syscall!(Sysno::sched_yield) };
}

/// Sleeps for some nanoseconds, less than a second, or until a signal.
pub fn pause(nanoseconds: u32) {
    let time = [0_u64, u64::from(nanoseconds)];
    // SAFETY: reads one timespec of two 64-bit numbers.
    let _ = unsafe { syscall!(Sysno::nanosleep, time.as_ptr(), 0) };
}

/// Sets `errno`.
pub fn set_errno(value: i32) {
    // SAFETY: libc gives the address of the calling thread's errno.
    unsafe { *libc::__errno_location() = value };
}

/// Reads `errno`.
pub fn errno() -> i32 {
    // SAFETY: libc gives the address of the calling thread's errno.
    unsafe { *libc::__errno_location() }
}
