//! Environment and auxiliary vector, read without libc's functions, which a program may replace.
#![allow(unsafe_code)]

use core::ffi::{CStr, c_char};
use syscalls::{Sysno, syscall};

unsafe extern "C" {
    static environ: *const *const c_char;
}

/// Value of an environment variable; `storage` is used when libc has not set `environ` yet, which is
/// so in resolvers of indirect functions, and the value comes from /proc/self/environ.
pub fn variable<'a>(name: &str, storage: &'a mut [u8]) -> Option<&'a [u8]> {
    // SAFETY: libc keeps `environ` null or the address of a null-terminated array of C strings. The
    // variable is read once at start, before the program can change it from another thread.
    let mut entry = unsafe { environ };
    if entry.is_null() {
        return variable_from_proc(name, storage);
    }
    loop {
        // SAFETY: within the null-terminated array described above.
        let string = unsafe { *entry };
        if string.is_null() {
            return None;
        }
        // SAFETY: each entry is a C string that the program keeps.
        let text: &'static [u8] = unsafe { CStr::from_ptr(string) }.to_bytes();
        if let Some(value) = value_of(text, name) {
            return Some(value);
        }
        // SAFETY: the entry was not the terminator.
        entry = unsafe { entry.add(1) };
    }
}

fn value_of<'a>(text: &'a [u8], name: &str) -> Option<&'a [u8]> {
    text.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

fn variable_from_proc<'a>(name: &str, storage: &'a mut [u8]) -> Option<&'a [u8]> {
    let length = read_file(c"/proc/self/environ", storage);
    let text: &'a [u8] = storage.get(..length)?;
    text.split(|&byte| byte == 0)
        .find_map(|entry| value_of(entry, name))
}

/// Reads the start of a file and returns how many bytes there are.
pub fn read_file(path: &CStr, storage: &mut [u8]) -> usize {
    const AT_FDCWD: isize = -100;
    const O_RDONLY_CLOEXEC: usize = 0o2000000;
    // SAFETY: the path is a C string; the other arguments are numbers.
    let opened = unsafe { syscall!(Sysno::openat, AT_FDCWD, path.as_ptr(), O_RDONLY_CLOEXEC) };
    let Ok(descriptor) = opened else { return 0 };
    let mut length = 0;
    while let Some(rest) = storage.get_mut(length..).filter(|rest| !rest.is_empty()) {
        // SAFETY: the kernel writes at most the given number of bytes to the slice.
        match unsafe { syscall!(Sysno::read, descriptor, rest.as_mut_ptr(), rest.len()) } {
            Ok(0) | Err(_) => break,
            Ok(count) => length += count,
        }
    }
    // SAFETY: the descriptor was opened above and is used nowhere else.
    let _ = unsafe { syscall!(Sysno::close, descriptor) };
    length
}

/// Calls `visit` for each line of a file, cut to 256 bytes. False: the file cannot be read.
pub fn for_each_line(path: &CStr, mut visit: impl FnMut(&[u8])) -> bool {
    const AT_FDCWD: isize = -100;
    const O_RDONLY_CLOEXEC: usize = 0o2000000;
    // SAFETY: the path is a C string; the other arguments are numbers.
    let opened = unsafe { syscall!(Sysno::openat, AT_FDCWD, path.as_ptr(), O_RDONLY_CLOEXEC) };
    let Ok(descriptor) = opened else { return false };
    let (mut line, mut length) = ([0; 256], 0);
    let mut block = [0; 512];
    loop {
        // SAFETY: the kernel writes at most the given number of bytes to the array.
        let read = unsafe { syscall!(Sysno::read, descriptor, block.as_mut_ptr(), block.len()) };
        let Ok(count @ 1..) = read else { break };
        for &byte in block.get(..count).unwrap_or(&[]) {
            if byte == b'\n' {
                visit(line.get(..length).unwrap_or(&[]));
                length = 0;
            } else if let Some(slot) = line.get_mut(length) {
                *slot = byte;
                length += 1;
            }
        }
    }
    // SAFETY: the descriptor was opened above and is used nowhere else.
    let _ = unsafe { syscall!(Sysno::close, descriptor) };
    true
}

/// An entry of the auxiliary vector.
pub fn auxiliary(kind: u64) -> Option<u64> {
    // SAFETY: getauxval only reads the vector that the loader keeps; it sets errno only when the entry is
    // missing, which at the library's first call no program has looked at yet.
    let value = unsafe { libc::getauxval(kind) };
    (value != 0).then_some(value)
}

/// Whether the process runs with raised privileges, so that the environment is not to be trusted.
pub fn is_secure() -> bool {
    const AT_SECURE: u64 = 23;
    auxiliary(AT_SECURE).is_some()
}
