//! Which loaded object holds an address, asked of the loader without a lock.

use super::history::is_readable;
use crate::sys::{environment, memory, process};
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
    dynamic: *const Dynamic,
}

/// An entry of the dynamic section.
#[repr(C)]
#[derive(Clone, Copy)]
struct Dynamic {
    tag: u64,
    value: usize,
}

/// A program header.
#[repr(C)]
#[derive(Clone, Copy)]
struct ProgramHeader {
    kind: u32,
    flags: u32,
    offset: usize,
    address: usize,
    physical: usize,
    file_size: usize,
    size: usize,
    align: usize,
}

/// A symbol of the dynamic symbol table.
#[repr(C)]
#[derive(Clone, Copy)]
struct Symbol {
    name: u32,
    info: u8,
    other: u8,
    section: u16,
    value: usize,
    size: usize,
}

/// A program header.
#[repr(C)]
#[derive(Clone, Copy)]
struct Segment {
    kind: u32,
    flags: u32,
    offset: u64,
    address: usize,
    physical: u64,
    file_size: usize,
    memory_size: usize,
    align: u64,
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
    pub(super) start: usize,
    /// One past the last address of its mappings.
    pub end: usize,
    /// What to add to an address in the file.
    pub bias: usize,
    /// Address of `.eh_frame_hdr`, zero when there is none.
    pub eh_frame_header: usize,
    link_map: *const LinkMap,
    name: *const c_char,
    dynamic: *const Dynamic,
}

impl Object {
    /// Its path as the loader has it; empty for the program itself.
    pub(super) fn name(&self) -> &[u8] {
        if self.name.is_null() {
            return &[];
        }
        // SAFETY: the loader keeps the name as a C string as long as the object is loaded, which it is while
        // a frame of it is on the stack or its address was just looked up.
        unsafe { CStr::from_ptr(self.name) }.to_bytes()
    }

    /// Last part of the path; that of the program for the program itself.
    pub fn short_name(&self) -> &[u8] {
        match self.name().rsplit(|&byte| byte == b'/').next() {
            Some([]) | None => process::program_name(),
            Some(last) => last,
        }
    }

    /// Address of the loader's structure, by which it tells its objects apart.
    pub(super) fn link_map(&self) -> usize {
        self.link_map.addr()
    }

    /// The build-id, of at most 32 bytes.
    pub(super) fn build_id(&self) -> Option<&[u8]> {
        const HEADERS: usize = 32;
        const HEADER_COUNT: usize = 56;
        const HEADERS_MAX: u16 = 64;
        const NOTE: u32 = 4;
        // The pages are asked for: what stands in the header was not looked at by the loader.
        let read = |at: usize, size: usize| {
            let inside = at >= self.start && at.checked_add(size)? <= self.end;
            (inside && is_readable(at, size)).then_some(())
        };
        read(self.start, 64)?;
        if self.read::<u32>(self.start)? != u32::from_le_bytes(*b"\x7fELF") {
            return None;
        }
        let headers = self
            .start
            .checked_add(self.read::<usize>(self.start + HEADERS)?)?;
        let count = self
            .read::<u16>(self.start + HEADER_COUNT)?
            .min(HEADERS_MAX);
        read(headers, usize::from(count) * size_of::<ProgramHeader>())?;
        (0..usize::from(count))
            .map_while(|index| {
                self.read::<ProgramHeader>(headers + index * size_of::<ProgramHeader>())
            })
            .filter(|header| header.kind == NOTE)
            .find_map(|header| {
                let at = self.bias.wrapping_add(header.address);
                read(at, header.size)?;
                // SAFETY: within the object's mappings, and its pages were found readable.
                build_id_in(unsafe { core::slice::from_raw_parts(at as *const u8, header.size) })
            })
    }
}

/// The GNU build-id among notes.
fn build_id_in(mut notes: &[u8]) -> Option<&[u8]> {
    const BUILD_ID: u32 = 3;
    let word = |bytes: &[u8], at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    loop {
        let (name_size, size) = (word(notes, 0)? as usize, word(notes, 4)? as usize);
        let kind = word(notes, 8)?;
        let at = 12_usize.checked_add(name_size.checked_next_multiple_of(4)?)?;
        let descriptor = notes.get(at..)?.get(..size)?;
        if kind == BUILD_ID && notes.get(12..16) == Some(b"GNU\0") && size <= 32 {
            return Some(descriptor);
        }
        notes = notes.get(at.checked_add(size.checked_next_multiple_of(4)?)?..)?;
    }
}

impl Object {
    const SYMBOLS_MAX: usize = 1 << 20;
    const NAME_MAX: usize = 256;

    /// The function of the dynamic symbol table that holds an address, and the distance from its start. Functions that the object does
    /// not export have none.
    pub fn symbol(&self, pc: usize) -> Option<(&[u8], usize)> {
        const STRINGS: u64 = 5;
        const SYMBOLS: u64 = 6;
        let (symbols, strings) = (self.table(SYMBOLS)?, self.table(STRINGS)?);
        let at = pc.wrapping_sub(self.bias);
        let holds = |symbol: &Symbol| {
            let function = matches!(symbol.info & 15, 2 | 10) && symbol.section != 0;
            function && symbol.value <= at && at - symbol.value < symbol.size.max(1)
        };
        let best = (0..self.symbol_count()?.min(Self::SYMBOLS_MAX))
            .map_while(|index| self.read::<Symbol>(symbols + index * size_of::<Symbol>()))
            .filter(holds)
            .max_by_key(|symbol| symbol.value)?;
        Some((self.text(strings + best.name as usize)?, at - best.value))
    }

    /// Where its mappings start.
    pub fn start(&self) -> usize {
        self.start
    }

    /// Whether a text stands in one of the segments that are loaded and never written.
    pub fn holds(&self, text: &[u8]) -> bool {
        self.constant_segments().any(|(start, size)| {
            // SAFETY: the file says that the segment is loaded and readable, the range lies within the mappings of the object, and the
            // function reads no more than that.
            unsafe {
                let found = libc::memmem(
                    start as *const c_void,
                    size,
                    text.as_ptr().cast(),
                    text.len(),
                );
                !found.is_null()
            }
        })
    }

    /// Address and size of the segments that are readable but not writable, from the headers at the start of the object.
    fn constant_segments(&self) -> impl Iterator<Item = (usize, usize)> {
        const LOAD: u32 = 1;
        const WRITE: u32 = 2;
        const READ: u32 = 4;
        let magic = self.read::<u32>(self.start) == Some(u32::from_le_bytes(*b"\x7fELF"));
        let table = self.read::<u64>(self.start + 32).filter(|_| magic);
        let count = self.read::<u16>(self.start + 56).unwrap_or(0);
        let headers = (0..usize::from(count)).filter_map(move |index| {
            self.read::<Segment>(self.start + table? as usize + index * size_of::<Segment>())
        });
        headers.filter_map(|segment| {
            let start = self.bias.wrapping_add(segment.address);
            let inside = start >= self.start && start.checked_add(segment.file_size)? <= self.end;
            let constant = segment.kind == LOAD && segment.flags & (READ | WRITE) == READ;
            (constant && inside).then_some((start, segment.file_size))
        })
    }

    /// Symbols in the table, as the hash table of the GNU linker tells: the end of its last chain.
    fn symbol_count(&self) -> Option<usize> {
        const GNU_HASH: u64 = 0x6fff_fef5;
        let hash = self.table(GNU_HASH)?;
        let word = |index: usize| self.read::<u32>(hash + index * 4).map(|word| word as usize);
        let (buckets, first, bloom) = (word(0)?, word(1)?, word(2)?);
        let start = 4 + bloom * 2;
        let last = (0..buckets.min(Self::SYMBOLS_MAX))
            .filter_map(|index| word(start + index))
            .max()?;
        if last < first {
            return Some(first);
        }
        let chain = start + buckets;
        let end = (last..last + Self::SYMBOLS_MAX)
            .find(|index| word(chain + index - first).is_none_or(|hash| hash & 1 != 0))?;
        Some(end + 1)
    }

    /// Address of a table that the dynamic section names. The loader has relocated most entries, but not those of the vdso.
    fn table(&self, tag: u64) -> Option<usize> {
        const ENTRIES_MAX: usize = 512;
        let at = self.dynamic.expose_provenance();
        let entry = (0..ENTRIES_MAX)
            .map_while(|index| self.read::<Dynamic>(at + index * size_of::<Dynamic>()))
            .take_while(|entry| entry.tag != 0)
            .find(|entry| entry.tag == tag)?;
        let address = entry.value;
        Some(if address < self.start {
            address.wrapping_add(self.bias)
        } else {
            address
        })
    }

    /// A byte of its mappings; none where they cannot be read.
    pub(super) fn byte(&self, at: usize) -> Option<u8> {
        is_readable(at, 1).then(|| self.read(at)).flatten()
    }

    fn read<T: Copy>(&self, at: usize) -> Option<T> {
        let inside = at >= self.start && at.checked_add(size_of::<T>())? <= self.end;
        if !inside || !at.is_multiple_of(align_of::<T>()) {
            return None;
        }
        // SAFETY: within the mappings of a loaded object, whose tables are readable; the types are plain integers.
        Some(unsafe { (at as *const T).read() })
    }

    fn text(&self, at: usize) -> Option<&[u8]> {
        let most = self.end.checked_sub(at)?.min(Self::NAME_MAX);
        // SAFETY: within the object's table of strings, which is readable.
        let bytes = unsafe { core::slice::from_raw_parts(at as *const u8, most) };
        bytes.split(|&byte| byte == 0).next()
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
    // SAFETY: the loader's link map of a loaded object; its first three fields are public.
    let LinkMap {
        bias,
        name,
        dynamic,
    } = unsafe { found.link_map.read() };
    Some(Object {
        start: first_page(found.map_start, bias),
        end: found.map_end,
        bias,
        eh_frame_header: found.eh_frame,
        link_map: found.link_map,
        name,
        dynamic,
    })
}

/// The first page of an object. The loader tells that of the segment where the object's segments leave gaps between them, as some linkers'
/// do; then the object starts at its bias, where the linker has put its header, or a program that does not move where the kernel
/// says that its program headers are.
fn first_page(told: usize, bias: usize) -> usize {
    const AT_PHDR: u64 = 3;
    if bias == told {
        return told;
    }
    let start = match bias {
        0 => environment::auxiliary(AT_PHDR).unwrap_or(0) as usize & !(memory::PAGE - 1),
        _ => bias,
    };
    let is_header = start != 0 && start < told && is_readable(start, 8) && {
        // SAFETY: the page was found readable, and the address is its first.
        unsafe { (start as *const u32).read_volatile() == u32::from_le_bytes(*b"\x7fELF") }
    };
    if is_header { start } else { told }
}

/// Whether two addresses lie in the same loaded object.
pub fn same_object(one: usize, other: usize) -> bool {
    let start = |address| object_of(address).map(|object| object.start);
    start(one).is_some() && start(one) == start(other)
}

/// Whether `test` says yes to any of the loaded objects. The loader's lock is held meanwhile.
pub fn any_object(mut test: fn(&Object) -> bool) -> bool {
    unsafe extern "C" fn visit(info: *const PhdrInfo, size: usize, data: *mut c_void) -> i32 {
        if size < core::mem::offset_of!(PhdrInfo, adds) {
            return 0;
        }
        // SAFETY: the loader hands over a structure of `size` bytes, whose table of program headers is mapped, and our own pointer.
        let (info, test) = unsafe { (&*info, *data.cast::<fn(&Object) -> bool>()) };
        // SAFETY: as above.
        let segments =
            unsafe { core::slice::from_raw_parts(info.phdr as *const Segment, info.phnum.into()) };
        let first = segments.iter().find(|segment| segment.kind == 1);
        let object = first.and_then(|first| object_of(info.addr.wrapping_add(first.address)));
        object.is_some_and(|object| test(&object)).into()
    }
    // SAFETY: the callback only reads what the pointer leads to.
    unsafe { dl_iterate_phdr(visit, (&raw mut test).cast()) != 0 }
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
