//! Which loaded object holds an address, asked of the loader without a lock.

use core::ffi::{CStr, c_char, c_void};

/// `struct dl_find_object` of glibc 2.35 and later.
#[repr(C)]
struct Found {
    flags: u64,
    map_start: usize,
    map_end: usize,
    link_map: *const LinkMap,
    eh_frame: usize,
    reserved: [u64; 7],
}

/// The public head of `struct link_map`.
#[repr(C)]
struct LinkMap {
    bias: usize,
    name: *const c_char,
}

/// The head of `struct dl_phdr_info`.
#[repr(C)]
struct PhdrInfo {
    addr: usize,
    name: *const c_char,
    phdr: usize,
    phnum: u16,
    adds: u64,
    subs: u64,
}

unsafe extern "C" {
    fn _dl_find_object(pc: usize, found: *mut Found) -> i32;
    fn dl_iterate_phdr(
        visit: unsafe extern "C" fn(*const PhdrInfo, usize, *mut c_void) -> i32,
        data: *mut c_void,
    ) -> i32;
}

/// A loaded object.
pub struct Object {
    /// One past the last address of its mappings.
    pub end: usize,
    /// What to add to an address in the file.
    pub bias: usize,
    /// Address of `.eh_frame_hdr`, zero when there is none.
    pub eh_frame_header: usize,
    name: *const c_char,
}

impl Object {
    /// Last part of the path; empty for the program itself.
    pub fn short_name(&self) -> &[u8] {
        if self.name.is_null() {
            return b"";
        }
        // SAFETY: the loader keeps the name as a C string as long as the object is loaded, which it is while
        // a frame of it is on the stack or its address was just looked up.
        let name = unsafe { CStr::from_ptr(self.name) }.to_bytes();
        match name.rsplit(|&byte| byte == b'/').next() {
            Some([]) | None => b"a.out",
            Some(last) => last,
        }
    }
}

/// The object that holds an address. The loader answers from an array that it updates without locks.
pub fn object_of(pc: usize) -> Option<Object> {
    let mut found = core::mem::MaybeUninit::<Found>::uninit();
    // SAFETY: the function only writes the structure, which has the documented layout, and fills it in on success.
    let found = unsafe {
        if _dl_find_object(pc, found.as_mut_ptr()) != 0 {
            return None;
        }
        found.assume_init()
    };
    if pc < found.map_start || pc >= found.map_end || found.link_map.is_null() {
        return None;
    }
    // SAFETY: the loader's link map of a loaded object; its first two fields are public.
    let (bias, name) = unsafe { ((*found.link_map).bias, (*found.link_map).name) };
    Some(Object {
        end: found.map_end,
        bias,
        eh_frame_header: found.eh_frame,
        name,
    })
}

/// How many objects the loader has closed so far.
pub(super) fn unloads() -> u64 {
    unsafe extern "C" fn first(info: *const PhdrInfo, size: usize, data: *mut c_void) -> i32 {
        if size >= size_of::<PhdrInfo>() {
            // SAFETY: the loader hands over a structure of `size` bytes and our own pointer.
            unsafe { *data.cast::<u64>() = (*info).subs };
        }
        1
    }
    let mut subs = 0_u64;
    // SAFETY: the callback writes the number that the pointer leads to, and stops at once.
    unsafe { dl_iterate_phdr(first, (&raw mut subs).cast()) };
    subs
}
