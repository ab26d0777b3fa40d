//! A core file of the kernel or of gcore.
//!
//! The file is mapped, never copied. Memory is read in layers: what the core holds; behind it, for pages that it
//! leaves out, the file that was mapped there, if its build-id is that of the module in the core. A core that was cut off
//! still answers for what is left of it.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use memmap2::Mmap;

use super::{
    Error, Files, Kind, Mapping, Memory, Module, Registers, Target, Thread, auxiliary_from,
    files::{map_file, open_regular},
    live, modules, plain,
};

const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
const SECTION_HEADER: usize = 64;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const PF_X: u32 = 1;
const PF_W: u32 = 2;
const PF_R: u32 = 4;
/// The number of program headers stands in the first section header instead.
const PN_XNUM: u16 = 0xffff;
const NT_PRSTATUS: u32 = 1;
const NT_PRPSINFO: u32 = 3;
const NT_AUXV: u32 = 6;
const NT_FILE: u32 = 0x4649_4c45;

/// A PT_LOAD of the core.
#[derive(Debug, Clone, Copy)]
struct Segment {
    start: u64,
    end: u64,
    /// Bytes that the core holds, and where.
    offset: usize,
    held: u64,
    /// Its end is held, or would be if the core were whole; without bytes nothing was to be held.
    is_filled: bool,
    flags: u32,
}

/// A file that was mapped, as NT_FILE tells.
#[derive(Debug, Clone)]
struct FileRange {
    start: u64,
    end: u64,
    offset: u64,
    path: String,
}

/// A mapped file that fills what the core leaves out.
struct Backing {
    start: u64,
    end: u64,
    offset: u64,
    file: Arc<Mmap>,
}

/// Memory of a core.
struct CoreMemory {
    bytes: Arc<Mmap>,
    segments: Vec<Segment>,
    backing: Vec<Backing>,
    /// Private memory that was never touched, and so is zero.
    untouched: Vec<(u64, u64)>,
}

/// Zeros, as many as are read at once.
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// The element of ranges sorted by start that holds an address.
fn find<T>(ranges: &[T], address: u64, range: impl Fn(&T) -> (u64, u64)) -> Option<&T> {
    let after = ranges.partition_point(|element| range(element).0 <= address);
    let element = ranges.get(after.checked_sub(1)?)?;
    (address < range(element).1).then_some(element)
}

impl CoreMemory {
    /// Bytes from an address on that one layer holds without a gap; at least one.
    fn piece(&self, address: u64) -> Option<&[u8]> {
        self.core_piece(address)
            .or_else(|| self.file_piece(address))
            .or_else(|| self.zero_piece(address))
    }

    fn zero_piece(&self, address: u64) -> Option<&[u8]> {
        let (_, end) = find(&self.untouched, address, |range| *range)?;
        let length = usize::try_from(end - address).ok()?;
        Some(&ZEROS[..length.min(ZEROS.len())])
    }

    fn core_piece(&self, address: u64) -> Option<&[u8]> {
        let segment = find(&self.segments, address, |segment| {
            (segment.start, segment.end)
        })?;
        let skip = address - segment.start;
        let rest = segment.held.checked_sub(skip).filter(|&rest| rest > 0)?;
        let from = segment.offset.checked_add(usize::try_from(skip).ok()?)?;
        self.bytes
            .get(from..from.checked_add(usize::try_from(rest).ok()?)?)
    }

    fn file_piece(&self, address: u64) -> Option<&[u8]> {
        let backing = find(&self.backing, address, |backing| {
            (backing.start, backing.end)
        })?;
        let from = usize::try_from(backing.offset.checked_add(address - backing.start)?).ok()?;
        let length = usize::try_from(backing.end - address).ok()?;
        let rest = backing.file.get(from..).filter(|rest| !rest.is_empty())?;
        rest.get(..length.min(rest.len()))
    }
}

impl Memory for CoreMemory {
    fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buffer.len() {
            let Some(piece) = address
                .checked_add(done as u64)
                .and_then(|at| self.piece(at))
            else {
                break;
            };
            let count = piece.len().min(buffer.len() - done);
            buffer[done..done + count].copy_from_slice(&piece[..count]);
            done += count;
        }
        done
    }

    fn view(&self, address: u64, length: usize) -> Option<&[u8]> {
        self.core_piece(address)?.get(..length)
    }
}

// ---- numbers out of bytes ----

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn xword(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

// ---- opening ----

/// Opens a core file.
pub(super) fn open(path: &Path, program: Option<&Path>) -> Result<Target, Error> {
    let bytes = map(path)?;
    let headers = program_headers(path, &bytes)?;
    let mut warnings = Vec::new();
    let segments = segments(&bytes, &headers, &mut warnings);
    if segments.is_empty() {
        return Err(Error::new(format!(
            "'{}' holds no memory: it is cut off, or no core",
            path.display()
        )));
    }
    let notes = Notes::read(&bytes, &headers);
    if notes.threads.is_empty() {
        warnings.push("the core has no threads: their registers and stacks are missing".to_owned());
    }
    let mappings = mappings(&segments, &notes.files);
    let mut memory = CoreMemory {
        bytes: Arc::new(bytes),
        segments,
        backing: Vec::new(),
        untouched: Vec::new(),
    };
    memory.untouched = untouched(&memory.segments, &notes.files);
    let found = modules::find(&memory, &mappings, &notes.auxv);
    let files = Files::of_core(program, None);
    memory.backing = backing(&memory, &found, &notes.files, &files, &mut warnings);
    // With the files' pages there may be more to see: program headers of modules whose first page is missing.
    let modules = modules::find(&memory, &mappings, &notes.auxv);
    live::warn_of_registers(&notes.threads, &mut warnings);
    let executable = modules
        .iter()
        .find(|module| module.is_program)
        .map(|module| module.path.clone());
    Ok(Target {
        kind: Kind::Core {
            path: path.to_owned(),
        },
        memory: Arc::new(memory),
        mappings,
        modules,
        auxv: notes.auxv,
        threads: notes.threads,
        executable,
        signal: notes.signal.filter(|&signal| signal != 0),
        arguments: notes.arguments,
        warnings,
        notes: Vec::new(),
        frozen: false,
        exit: None,
        hold: None,
        run: None,
        files,
    })
}

fn map(path: &Path) -> Result<Mmap, Error> {
    let cannot = |error: &std::io::Error| {
        Error::new(format!(
            "cannot open '{}': {}",
            path.display(),
            plain(error)
        ))
    };
    let file = open_regular(path).map_err(|error| cannot(&error))?;
    let bytes = map_file(&file).map_err(|error| cannot(&error))?;
    if bytes.is_empty() {
        return Err(Error::new(format!(
            "'{}' is not a core file: it is empty",
            path.display()
        )));
    }
    Ok(bytes)
}

fn program_headers(path: &Path, bytes: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let not = |what: &str| Error::new(format!("'{}' is not a core file: {what}", path.display()));
    if !bytes.starts_with(b"\x7fELF") {
        let is_text = bytes
            .iter()
            .take(512)
            .all(|&byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
        return Err(match bytes {
            [0x28, 0xb5, 0x2f, 0xfd, ..] => unpack_hint(path, "zstd -d"),
            [0x04, 0x22, 0x4d, 0x18, ..] => unpack_hint(path, "lz4 -d"),
            [0x1f, 0x8b, ..] => unpack_hint(path, "gunzip"),
            _ if is_text => not("it is a text file"),
            _ => not("it is no ELF file"),
        });
    }
    if bytes.len() < HEADER {
        return Err(not("it is cut off within its header"));
    }
    match (bytes[4], bytes[5], half(bytes, 18)) {
        (2, 1, Some(62)) => {}
        (1, ..) => return Err(not("it is of a 32-bit program; umdb reads x86-64 cores")),
        (_, _, machine) => {
            let machine = machine.unwrap_or(0);
            return Err(not(&format!(
                "it is for another machine (ELF machine {machine}); umdb reads x86-64 cores"
            )));
        }
    }
    match half(bytes, 16) {
        Some(4) => {}
        Some(2 | 3) => {
            let what = format!(
                "'{}' is not a core file: it is an executable or a library",
                path.display()
            );
            return Err(Error::hinted(what, format!("umdb {} CORE", path.display())));
        }
        _ => return Err(not("it is an ELF file of another type")),
    }
    headers(bytes).ok_or_else(|| not("it is cut off within its program headers"))
}

fn unpack_hint(path: &Path, with: &str) -> Error {
    Error::hinted(
        format!("'{}' is compressed", path.display()),
        format!("{with} {}", path.display()),
    )
}

fn headers(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let start = usize::try_from(xword(bytes, 32)?).ok()?;
    let size = usize::from(half(bytes, 54)?);
    if size < PROGRAM_HEADER {
        return None;
    }
    let count = match half(bytes, 56)? {
        PN_XNUM => {
            let section = usize::try_from(xword(bytes, 40)?).ok()?;
            let section = bytes.get(section..section.checked_add(SECTION_HEADER)?)?;
            word(section, 44)? as usize
        }
        count => usize::from(count),
    };
    let table = bytes.get(start..start.checked_add(count.checked_mul(size)?)?)?;
    Some(table.chunks_exact(size).map(<[u8]>::to_vec).collect())
}

fn segments(bytes: &[u8], headers: &[Vec<u8>], warnings: &mut Vec<String>) -> Vec<Segment> {
    let (mut missing, mut total) = (0_u64, 0_u64);
    let mut segments: Vec<Segment> = headers
        .iter()
        .filter(|header| word(header, 0) == Some(PT_LOAD))
        .filter_map(|header| {
            let start = xword(header, 16)?;
            let (file_size, size) = (xword(header, 32)?, xword(header, 40)?);
            let end = start.checked_add(size)?;
            let offset = xword(header, 8)?;
            let wanted = file_size.min(size);
            let held = (bytes.len() as u64).saturating_sub(offset).min(wanted);
            total = total.saturating_add(wanted);
            missing = missing.saturating_add(wanted - held);
            Some(Segment {
                start,
                end,
                offset: usize::try_from(offset).ok()?,
                held,
                is_filled: wanted > 0,
                flags: word(header, 4)?,
            })
        })
        .filter(|segment| segment.start < segment.end)
        .collect();
    segments.sort_by_key(|segment| segment.start);
    // Overlapping segments are damage; the first one counts.
    let mut end = 0;
    segments.retain(|segment| {
        let keep = segment.start >= end;
        end = end.max(segment.end);
        keep
    });
    if missing > 0 {
        warnings.push(format!(
            "the core is cut off: {missing} of {total} bytes of memory are missing"
        ));
    }
    segments
}

/// Writable memory of no file of which the core was to hold nothing, though it holds other such memory: the kernel
/// leaves out what was never touched, which is zero. What a program excluded by MADV_DONTDUMP looks the same.
fn untouched(segments: &[Segment], files: &[FileRange]) -> Vec<(u64, u64)> {
    let is_anonymous = |segment: &&Segment| {
        let is_file = files
            .iter()
            .any(|file| file.start < segment.end && segment.start < file.end);
        segment.flags & (PF_R | PF_W) == PF_R | PF_W && !is_file
    };
    let (filled, empty): (Vec<&Segment>, Vec<&Segment>) = segments
        .iter()
        .filter(is_anonymous)
        .partition(|segment| segment.is_filled);
    if filled.is_empty() {
        return Vec::new();
    }
    empty
        .iter()
        .map(|segment| (segment.start, segment.end))
        .collect()
}

/// What the notes of a core tell. Their order means nothing.
#[derive(Default)]
struct Notes {
    threads: Vec<Thread>,
    auxv: Vec<(u64, u64)>,
    files: Vec<FileRange>,
    signal: Option<i32>,
    arguments: Option<String>,
}

impl Notes {
    fn read(bytes: &[u8], headers: &[Vec<u8>]) -> Self {
        let mut notes = Self::default();
        for header in headers
            .iter()
            .filter(|header| word(header, 0) == Some(PT_NOTE))
        {
            let range = (|| {
                let start = usize::try_from(xword(header, 8)?).ok()?;
                let end = start.checked_add(usize::try_from(xword(header, 32)?).ok()?)?;
                bytes.get(start..end.min(bytes.len()))
            })();
            for (name, kind, descriptor) in modules::notes(range.unwrap_or(&[])) {
                if name == b"CORE\0" {
                    notes.note(kind, descriptor);
                }
            }
        }
        notes
    }

    fn note(&mut self, kind: u32, bytes: &[u8]) {
        match kind {
            NT_PRSTATUS => self.status(bytes),
            NT_PRPSINFO => self.arguments = arguments(bytes),
            NT_AUXV => self.auxv = auxiliary_from(bytes),
            NT_FILE => self.files = files(bytes).unwrap_or_default(),
            _ => {}
        }
    }

    /// struct elf_prstatus: signal at 12, thread at 32, registers at 112.
    fn status(&mut self, bytes: &[u8]) {
        let Some(tid) = word(bytes, 32) else { return };
        if self.threads.iter().any(|thread| thread.tid == tid) {
            return;
        }
        if self.threads.is_empty() {
            self.signal = half(bytes, 12).map(i32::from);
        }
        self.threads.push(Thread {
            tid,
            name: None,
            registers: registers(bytes),
            at_exit: false,
        });
    }
}

fn registers(bytes: &[u8]) -> Option<Registers> {
    const REGISTERS: usize = 112;
    const COUNT: usize = 27;
    let mut r = [0; COUNT];
    for (index, register) in r.iter_mut().enumerate() {
        *register = xword(bytes, REGISTERS + index * 8)?;
    }
    Some(Registers {
        r15: r[0],
        r14: r[1],
        r13: r[2],
        r12: r[3],
        rbp: r[4],
        rbx: r[5],
        r11: r[6],
        r10: r[7],
        r9: r[8],
        r8: r[9],
        rax: r[10],
        rcx: r[11],
        rdx: r[12],
        rsi: r[13],
        rdi: r[14],
        orig_rax: r[15],
        rip: r[16],
        cs: r[17],
        eflags: r[18],
        rsp: r[19],
        ss: r[20],
        fs_base: r[21],
        gs_base: r[22],
    })
}

/// struct elf_prpsinfo: the command line at 56, at most 80 bytes.
fn arguments(bytes: &[u8]) -> Option<String> {
    let text = bytes.get(56..136)?.split(|&byte| byte == 0).next()?;
    let text = String::from_utf8_lossy(text).trim_end().to_owned();
    (!text.is_empty()).then_some(text)
}

/// Count, page size, then start, end and offset in pages of each; then the paths.
fn files(bytes: &[u8]) -> Option<Vec<FileRange>> {
    let count = usize::try_from(xword(bytes, 0)?).ok()?;
    let page = xword(bytes, 8)?;
    let paths_at = count.checked_mul(24)?.checked_add(16)?;
    let mut paths = bytes.get(paths_at..)?.split(|&byte| byte == 0);
    let mut files = Vec::new();
    for index in 0..count {
        let at = 16 + index * 24;
        let path = String::from_utf8_lossy(paths.next()?).into_owned();
        let offset = xword(bytes, at + 16)?.checked_mul(page)?;
        files.push(FileRange {
            start: xword(bytes, at)?,
            end: xword(bytes, at + 8)?,
            offset,
            path,
        });
    }
    files.sort_by_key(|file| file.start);
    Some(files)
}

fn mappings(segments: &[Segment], files: &[FileRange]) -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> = segments
        .iter()
        .map(|segment| {
            let file = find(files, segment.start, |file| (file.start, file.end));
            Mapping {
                start: segment.start,
                end: segment.end,
                read: segment.flags & PF_R != 0,
                write: segment.flags & PF_W != 0,
                execute: segment.flags & PF_X != 0,
                // A core does not tell; what is shared looks like what is private.
                shared: false,
                offset: file.map_or(0, |file| file.offset + (segment.start - file.start)),
                name: file.map(|file| file.path.clone()),
            }
        })
        .collect();
    // Files of which the core has no segment at all (read-only ones, in cores of gcore).
    for file in files {
        if find(segments, file.start, |segment| (segment.start, segment.end)).is_none() {
            mappings.push(Mapping {
                start: file.start,
                end: file.end,
                read: true,
                write: false,
                execute: false,
                shared: false,
                offset: file.offset,
                name: Some(file.path.clone()),
            });
        }
    }
    mappings.sort_by_key(|mapping| mapping.start);
    mappings
}

/// Files on this machine that are the ones that were mapped.
fn backing(
    memory: &CoreMemory,
    found: &[Module],
    ranges: &[FileRange],
    files: &Files,
    warnings: &mut Vec<String>,
) -> Vec<Backing> {
    let mut opened: BTreeMap<&str, Option<Arc<Mmap>>> = BTreeMap::new();
    let mut backing = Vec::new();
    for range in ranges {
        let Some(module) = found
            .iter()
            .find(|module| module.path == range.path.trim_end_matches(" (deleted)"))
        else {
            continue;
        };
        let mapped =
            opened
                .entry(&module.path)
                .or_insert_with(|| match files.module(memory, module) {
                    Ok(mapped) => Some(Arc::new(mapped)),
                    Err(why) => {
                        warnings.push(format!(
                            "{}: {why}; its names and its unwritten pages are missing",
                            module.path
                        ));
                        None
                    }
                });
        if let Some(mapped) = mapped {
            backing.push(Backing {
                start: range.start,
                end: range.end,
                offset: range.offset,
                file: mapped.clone(),
            });
        }
    }
    backing
}
