//! Environment and auxiliary vector, read without libc's functions, which a program may replace.
#![allow(unsafe_code)]

use core::ffi::{CStr, c_char};
use syscalls::{Sysno, syscall};

unsafe extern "C" {
    static environ: *const *const c_char;
}

/// Bytes of a variable, name included, that are seen where libc has not set `environ` yet.
const ENTRY: usize = 4096;

/// Calls `visit` for each `name=value` of the environment. Where libc has not set `environ` yet, as in resolvers of indirect functions and
/// in a preloaded library's first calls, they come from /proc/self/environ, cut to 4096 bytes each.
pub fn for_each_variable(mut visit: impl FnMut(&[u8])) {
    // SAFETY: libc keeps `environ` null or the address of a null-terminated array of C strings. The
    // variable is read once at start, before the program can change it from another thread.
    let mut entry = unsafe { environ };
    if entry.is_null() {
        for_each_part::<ENTRY>(c"/proc/self/environ", 0, visit);
        return;
    }
    loop {
        // SAFETY: within the null-terminated array described above.
        let string = unsafe { *entry };
        if string.is_null() {
            return;
        }
        // SAFETY: each entry is a C string that the program keeps.
        visit(unsafe { CStr::from_ptr(string) }.to_bytes());
        // SAFETY: the entry was not the terminator.
        entry = unsafe { entry.add(1) };
    }
}

/// The value in a `name=value` of this name.
pub fn value_of<'a>(text: &'a [u8], name: &str) -> Option<&'a [u8]> {
    text.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
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
pub fn for_each_line(path: &CStr, visit: impl FnMut(&[u8])) -> bool {
    for_each_part::<256>(path, b'\n', visit)
}

/// Calls `visit` for each part of a file that ends with a byte, cut to `MOST` bytes. False: the file cannot be read.
fn for_each_part<const MOST: usize>(path: &CStr, end: u8, mut visit: impl FnMut(&[u8])) -> bool {
    const AT_FDCWD: isize = -100;
    const O_RDONLY_CLOEXEC: usize = 0o2000000;
    // SAFETY: the path is a C string; the other arguments are numbers.
    let opened = unsafe { syscall!(Sysno::openat, AT_FDCWD, path.as_ptr(), O_RDONLY_CLOEXEC) };
    let Ok(descriptor) = opened else { return false };
    let (mut part, mut length) = ([0; MOST], 0);
    let mut block = [0; 512];
    loop {
        // SAFETY: the kernel writes at most the given number of bytes to the array.
        let read = unsafe { syscall!(Sysno::read, descriptor, block.as_mut_ptr(), block.len()) };
        let Ok(count @ 1..) = read else { break };
        for &byte in block.get(..count).unwrap_or(&[]) {
            if byte == end {
                visit(part.get(..length).unwrap_or(&[]));
                length = 0;
            } else if let Some(slot) = part.get_mut(length) {
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
