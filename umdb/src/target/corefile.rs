//! A core file of the kernel, of gcore, or of `umdb snapshot`.
//!
//! The file is mapped, never copied (a compressed one has to be unpacked, see `packed`). Memory is read in layers: what the
//! core holds; behind it, for pages that it leaves out, the file that was mapped there, if it is the very file. A core
//! that was cut off still answers for what is left of it.
//!
//! Where a core holds no headers of its modules (coredump_filter without bit 4), a file of the name that
//! NT_FILE gives is taken for the module if its dynamic section is the one in the core's memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::Path,
    sync::Arc,
};

use memmap2::Mmap;
use nix::{
    errno::Errno,
    unistd::{Whence, lseek64},
};
use umem_layout::{Plain, UmemRoot};

use super::{
    Error, Files, Kind, Mapping, Memory, Module, NAMELESS, Target,
    bytes::{half, word, xword},
    copies,
    files::{map_file, open_regular},
    live, modules,
    notes::{FileRange, Notes},
    packed::{self, Packing},
    plain,
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
const PAGE: u64 = 4096;

/// A PT_LOAD of the core.
#[derive(Debug, Clone, Copy)]
struct Segment {
    start: u64,
    end: u64,
    /// Bytes that the core holds, and where.
    offset: usize,
    held: u64,
    /// Bytes that it was to hold.
    wanted: u64,
    flags: u32,
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
    /// The same, to be asked for its holes.
    file: File,
    segments: Vec<Segment>,
    backing: Vec<Backing>,
    /// What a core that is cut off lacks of the allocator's data, in order of address.
    copies: Vec<copies::Piece>,
    /// Private memory that was never touched, and so is zero.
    untouched: Vec<(u64, u64)>,
}

/// Zeros, as many as are read at once: untouched memory, and the last page of a file behind its end.
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
            .or_else(|| self.copied_piece(address))
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

    fn copied_piece(&self, address: u64) -> Option<&[u8]> {
        let (start, bytes) = find(&self.copies, address, |(start, bytes)| {
            (*start, start.saturating_add(bytes.len() as u64))
        })?;
        bytes.get(usize::try_from(address - start).ok()?..)
    }

    /// Whether the core was to hold a written page and has lost it: what the file has there is something else.
    fn is_lost(&self, address: u64) -> bool {
        let segment = find(&self.segments, address, |segment| {
            (segment.start, segment.end)
        });
        segment.is_some_and(|segment| {
            let skip = address - segment.start;
            segment.flags & PF_W != 0 && (segment.held..segment.wanted).contains(&skip)
        })
    }

    fn file_piece(&self, address: u64) -> Option<&[u8]> {
        if self.is_lost(address) {
            return None;
        }
        let backing = find(&self.backing, address, |backing| {
            (backing.start, backing.end)
        })?;
        let at = backing.offset.checked_add(address - backing.start)?;
        let from = usize::try_from(at).ok()?;
        let length = usize::try_from(backing.end - address).ok()?;
        let rest = match backing.file.get(from..).filter(|rest| !rest.is_empty()) {
            Some(rest) => rest,
            None => {
                let end = (backing.file.len() as u64).next_multiple_of(PAGE);
                ZEROS.get(..usize::try_from(end.checked_sub(at)?).ok()?)?
            }
        };
        rest.get(..length.min(rest.len()))
            .filter(|rest| !rest.is_empty())
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

    fn next_written(&self, address: u64, end: u64) -> u64 {
        let skip = match self.core_piece(address) {
            Some(piece) => {
                let offset = piece.as_ptr() as usize - self.bytes.as_ptr() as usize;
                // Where the file system cannot tell, all of it counts as written.
                match lseek64(&self.file, offset as i64, Whence::SeekData) {
                    Ok(data) => (data as u64)
                        .saturating_sub(offset as u64)
                        .min(piece.len() as u64),
                    Err(Errno::ENXIO) => piece.len() as u64,
                    Err(_) => 0,
                }
            }
            None if self.file_piece(address).is_none() => {
                let untouched = find(&self.untouched, address, |range| *range);
                untouched.map_or(0, |range| range.1 - address)
            }
            None => 0,
        };
        address.saturating_add(skip).min(end)
    }
}

// ---- opening ----

/// Opens a core file.
pub(super) fn open(
    path: &Path,
    program: Option<&Path>,
    sysroot: Option<&Path>,
) -> Result<Target, Error> {
    let (mut warnings, mut remarks) = (Vec::new(), Vec::new());
    let (bytes, file) = map(path, &mut warnings, &mut remarks)?;
    let headers = program_headers(path, &bytes)?;
    let segments = segments(&bytes, &headers, &mut warnings);
    if segments.is_empty() {
        return Err(Error::new(format!(
            "'{}' holds no memory: it is cut off, or no core",
            path.display()
        )));
    }
    let mut notes = notes(&bytes, &headers);
    warnings.append(&mut notes.missing);
    if notes.threads.is_empty() {
        warnings.push("the core has no threads: their registers and stacks are missing".to_owned());
    }
    let mut mappings = mappings(&segments, &notes.files);
    let pieces = segments
        .iter()
        .map(|s| (s.start, s.start + s.held, s.start + s.wanted))
        .collect();
    let mut memory = CoreMemory {
        bytes: Arc::new(bytes),
        file,
        segments,
        backing: Vec::new(),
        copies: Vec::new(),
        untouched: Vec::new(),
    };
    let root_copies = copied(&mut memory, &mut warnings);
    if notes.files.is_empty() {
        name_modules(&memory, &mut mappings);
    }
    name_by_auxiliary(&mut mappings, &notes.auxv);
    memory.untouched = untouched(&memory.segments, &notes.files);
    let files = Files::of_core(program, sysroot);
    let modules = with_files(&mut memory, &mappings, &notes, &files, &mut warnings);
    mark_code(&mut mappings, &memory.segments, &modules);
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
        dead: notes.process,
        arguments: notes.arguments,
        warnings,
        notes: remarks,
        frozen: false,
        pieces,
        root_copies,
        exit: None,
        hold: None,
        run: None,
        files,
    })
}

/// Names what has no file and what the auxiliary vector tells of, as the kernel names it in a live process.
fn name_by_auxiliary(mappings: &mut [Mapping], auxiliary: &[(u64, u64)]) {
    const AT_RANDOM: u64 = 25;
    const AT_SYSINFO_EHDR: u64 = 33;
    for (key, name) in [(AT_RANDOM, "[stack]"), (AT_SYSINFO_EHDR, "[vdso]")] {
        let told = auxiliary.iter().find(|(known, _)| *known == key);
        let Some(&(_, address)) = told else { continue };
        let held = mappings
            .iter_mut()
            .find(|mapping| (mapping.start..mapping.end).contains(&address));
        if let Some(mapping) = held.filter(|mapping| mapping.name.is_none()) {
            mapping.name = Some(name.to_owned());
        }
    }
}

/// Has the memory of a core that is cut off filled with the copies of the allocator's data.
fn copied(memory: &mut CoreMemory, warnings: &mut Vec<String>) -> Vec<copies::RootCopy> {
    let is_whole = |segment: &Segment| segment.held == segment.wanted;
    if memory.segments.iter().all(is_whole) {
        return Vec::new();
    }
    let writable = memory
        .segments
        .iter()
        .filter(|segment| segment.flags & PF_W != 0);
    let found = copies::find(memory, writable.map(|segment| segment.start));
    let (mut roots, mut pieces) = (Vec::new(), Vec::new());
    for (mut copy, all) in found {
        let held = memory.core_piece(copy.root).map_or(0, <[u8]>::len);
        copy.stands_in = held < UmemRoot::BYTES;
        if copy.stands_in {
            warnings.push(
                "the allocator's own data is missing: a copy is used that the heap has of it; counters, and what lies in \
                 magazines, are as of its last update"
                    .to_owned(),
            );
        }
        roots.push(copy);
        pieces.extend(all);
    }
    pieces.sort_by_key(|piece| piece.0);
    memory.copies = pieces;
    roots
}

/// Finds the modules, and has the memory filled from their files.
fn with_files(
    memory: &mut CoreMemory,
    mappings: &[Mapping],
    notes: &Notes,
    files: &Files,
    warnings: &mut Vec<String>,
) -> Vec<Module> {
    let found = modules::find(memory, mappings, &notes.auxv);
    let mut backing = backing(memory, &found, &notes.files, files, warnings);
    let guessed = guess(memory, &found, &notes.files, files);
    backing.extend(guessed);
    backing.sort_by_key(|backing| backing.start);
    memory.backing = backing;
    // With the files' pages there is more to see: headers and notes of modules whose first page is missing.
    let all = modules::find(memory, mappings, &notes.auxv);
    let known: BTreeSet<u64> = found.iter().map(|module| module.start).collect();
    let (good, bad): (Vec<Module>, Vec<Module>) = all
        .into_iter()
        .partition(|module| known.contains(&module.start) || has_dynamic_of_file(memory, module));
    for module in &bad {
        // Where the core has nothing to compare with, it says so itself: it is cut off.
        let is_there = module
            .dynamic
            .is_some_and(|dynamic| memory.core_piece(dynamic).is_some());
        if is_there {
            warnings.push(format!(
                "{}: is another file than the one that was loaded; its names and its unwritten pages are missing",
                module.path
            ));
        }
        memory
            .backing
            .retain(|backing| backing.end <= module.start || module.end <= backing.start);
    }
    good
}

fn map(
    path: &Path,
    warnings: &mut Vec<String>,
    notes: &mut Vec<String>,
) -> Result<(Mmap, File), Error> {
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
    let Some(packing) = Packing::of(&bytes) else {
        return Ok((bytes, file));
    };
    let unpacked = packed::unpack(path, &file, packing)?;
    warnings.extend(unpacked.warning);
    notes.extend(unpacked.note);
    Ok((unpacked.bytes, unpacked.file))
}

fn program_headers(path: &Path, bytes: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let not = |what: &str| Error::new(format!("'{}' is not a core file: {what}", path.display()));
    if !bytes.starts_with(b"\x7fELF") {
        let is_text = bytes
            .iter()
            .take(512)
            .all(|&byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
        return Err(match bytes {
            [0x1f, 0x8b, ..] => unpack_hint(path, "gunzip"),
            [0xfd, b'7', b'z', b'X', b'Z', ..] => unpack_hint(path, "unxz"),
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
    let mut segments: Vec<Segment> = headers
        .iter()
        .filter(|header| word(header, 0) == Some(PT_LOAD))
        .filter_map(|header| {
            let start = xword(header, 16)?;
            let (file_size, size) = (xword(header, 32)?, xword(header, 40)?);
            let end = start.checked_add(size)?;
            let offset = xword(header, 8)?;
            let wanted = file_size.min(size);
            Some(Segment {
                start,
                end,
                offset: usize::try_from(offset).ok()?,
                held: (bytes.len() as u64).saturating_sub(offset).min(wanted),
                wanted,
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
    let sum = |bytes: fn(&Segment) -> u64| -> u128 {
        segments
            .iter()
            .map(|segment| u128::from(bytes(segment)))
            .sum()
    };
    let (held, wanted) = (sum(|segment| segment.held), sum(|segment| segment.wanted));
    if held < wanted {
        warnings.push(format!(
            "the core is cut off: {} % of its memory is missing ({} of {wanted} bytes)",
            ((wanted - held) * 100).div_ceil(wanted),
            wanted - held
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
        .partition(|segment| segment.wanted > 0);
    if filled.is_empty() {
        return Vec::new();
    }
    empty
        .iter()
        .map(|segment| (segment.start, segment.end))
        .collect()
}

fn notes(bytes: &[u8], headers: &[Vec<u8>]) -> Notes {
    let segments = headers
        .iter()
        .filter(|header| word(header, 0) == Some(PT_NOTE))
        .filter_map(|header| {
            let start = usize::try_from(xword(header, 8)?).ok()?;
            let end = start.checked_add(usize::try_from(xword(header, 32)?).ok()?)?;
            bytes.get(start..end.min(bytes.len()))
        });
    Notes::read(segments)
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

/// What the core has no segment of is code where the module's own headers say so.
fn mark_code(mappings: &mut [Mapping], segments: &[Segment], modules: &[Module]) {
    let is_in_core = |at| find(segments, at, |segment| (segment.start, segment.end)).is_some();
    for mapping in mappings
        .iter_mut()
        .filter(|mapping| !is_in_core(mapping.start))
    {
        let mut parts = modules.iter().flat_map(|module| &module.segments);
        mapping.execute =
            parts.any(|part| part.execute && part.start < mapping.end && mapping.start < part.end);
    }
}

/// Names modules by their addresses where their own names are missing: gdb's gcore writes them last, so that a core that is
/// cut off has none.
fn name_modules(memory: &CoreMemory, mappings: &mut [Mapping]) {
    for mapping in mappings {
        let mut magic = [0; 4];
        if memory.read_all(mapping.start, &mut magic) && magic == *b"\x7fELF" {
            mapping.name = Some(format!("{NAMELESS}{:x}", mapping.start));
        }
    }
}

/// Files that are the ones that were mapped.
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
        backing.extend(mapped.as_ref().map(|mapped| range.backed_by(mapped)));
    }
    backing
}

impl FileRange {
    fn backed_by(&self, file: &Arc<Mmap>) -> Backing {
        Backing {
            start: self.start,
            end: self.end,
            offset: self.offset,
            file: Arc::clone(file),
        }
    }
}

/// Files whose first page the core does not hold, by their names alone.
fn guess(
    memory: &CoreMemory,
    found: &[Module],
    ranges: &[FileRange],
    files: &Files,
) -> Vec<Backing> {
    let mut opened: BTreeMap<&str, Option<Arc<Mmap>>> = BTreeMap::new();
    let begin: BTreeSet<&str> = ranges
        .iter()
        .filter(|range| range.offset == 0 && memory.core_piece(range.start).is_none())
        .map(|range| &*range.path)
        .filter(|path| !found.iter().any(|module| module.path == *path))
        .collect();
    let ranges = ranges.iter().filter(|range| begin.contains(&*range.path));
    ranges
        .filter_map(|range| {
            let mapped = opened.entry(&range.path).or_insert_with(|| {
                let file = files.open(&range.path).ok()?;
                let bytes = map_file(&file).ok()?;
                bytes.starts_with(b"\x7fELF").then(|| Arc::new(bytes))
            });
            Some(range.backed_by(mapped.as_ref()?))
        })
        .collect()
}

/// Whether the dynamic section in the core's own memory has the entries of the file: the same keys in the same order, and the
/// same values where these are no addresses.
fn has_dynamic_of_file(memory: &CoreMemory, module: &Module) -> bool {
    const ENTRIES_MAX: u64 = 256;
    // Sizes, offsets and flags: DT_NEEDED, PLTRELSZ, RELASZ, RELAENT, STRSZ, SYMENT, SONAME, and what tells versions.
    const VALUES: [u64; 9] = [1, 2, 8, 9, 10, 11, 14, 0x6fff_fff9, 0x6fff_ffff];
    let Some(dynamic) = module.dynamic else {
        return false;
    };
    let in_core = |at: u64| xword(memory.core_piece(at)?, 0);
    let in_file = |at: u64| xword(memory.file_piece(at)?, 0);
    for index in 0..ENTRIES_MAX {
        let Some(at) = dynamic.checked_add(index * 16) else {
            return false;
        };
        let (Some(key), Some(same)) = (in_core(at), in_file(at)) else {
            return false;
        };
        let differ = || in_core(at + 8) != in_file(at + 8);
        if key != same || (VALUES.contains(&key) && differ()) {
            return false;
        }
        if key == 0 {
            return index > 0;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_page_of_a_file_ends_with_zeros() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [7; 100]).unwrap();
        let mapped = Arc::new(map_file(file.as_file()).unwrap());
        let memory = CoreMemory {
            bytes: Arc::clone(&mapped),
            file: file.reopen().unwrap(),
            segments: Vec::new(),
            untouched: Vec::new(),
            copies: Vec::new(),
            backing: vec![Backing {
                start: 0x1000,
                end: 0x3000,
                offset: 0,
                file: mapped,
            }],
        };
        let mut bytes = [1; 200];
        assert_eq!(memory.read(0x1000, &mut bytes), 200);
        assert_eq!((bytes[99], bytes[100], bytes[199]), (7, 0, 0));
        assert_eq!(
            memory.read(0x1ff0, &mut bytes),
            16,
            "the page behind is not there"
        );
        assert_eq!(memory.read(0x2000, &mut bytes), 0);
    }
}
