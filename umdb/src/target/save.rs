//! Writes what analysis needs of a target as an ELF core: writable memory, the headers of modules, threads, and the notes
//! that every core has. Code and other memory that only files hold is left out: umdb finds the files again by
//! their build-ids.
//!
//! Zeros take no room: they are holes, or compressed away where the name of the file ends in `.zst`.

use std::{
    fs::File,
    io::{self, BufWriter, Seek, SeekFrom, Write},
    path::Path,
};

use super::{Error, Mapping, Target, Thread, keep::is_device, plain};

const HEADER: u64 = 64;
const PROGRAM_HEADER: u64 = 56;
const PAGE: u64 = 4096;
/// Read and written at once.
const CHUNK: usize = 1 << 20;
const LEVEL: i32 = 3;
/// Name of the notes that only umdb writes, and type of the one that tells what was missing when the core was made: lines of text.
pub(super) const UMDB_NAME: &[u8] = b"UMDB\0";
pub(super) const MISSING_TYPE: u32 = 1;
/// Type of the note that tells the names of threads: lines of an identifier, a blank and a name.
pub(super) const NAMES_TYPE: u32 = 2;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Saved {
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes that the file takes on disk.
    pub on_disk: u64,
}

/// A piece of memory that is written.
struct Piece {
    start: u64,
    end: u64,
    flags: u32,
}

/// Writes a core to a file, whose name it gets when it is complete.
pub(super) fn save(target: &Target, path: &Path) -> Result<Saved, Error> {
    let cannot = |error: &io::Error| {
        Error::new(format!(
            "cannot write '{}': {}",
            path.display(),
            plain(error)
        ))
    };
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // Only its owner may read it: it holds all that the process had in memory.
    let file = tempfile::NamedTempFile::new_in(folder).map_err(|error| cannot(&error))?;
    let pieces = pieces(target);
    let is_packed = path.extension().is_some_and(|extension| extension == "zst");
    let written = if is_packed {
        packed(target, &pieces, file.as_file())
    } else {
        sparse(target, &pieces, file.as_file())
    };
    written.map_err(|error| cannot(&error))?;
    let on_disk = file.as_file().metadata().map_or(0, |data| {
        use std::os::unix::fs::MetadataExt;
        data.blocks() * 512
    });
    file.persist(path).map_err(|error| cannot(&error.error))?;
    Ok(Saved {
        memory: pieces.iter().map(|piece| piece.end - piece.start).sum(),
        on_disk,
    })
}

fn packed(target: &Target, pieces: &[Piece], file: &File) -> io::Result<()> {
    let mut encoder = zstd::stream::write::Encoder::new(BufWriter::new(file), LEVEL)?;
    write(target, pieces, &mut encoder, &mut |encoder, zeros| {
        let zero = [0; PAGE as usize];
        (0..zeros / PAGE).try_for_each(|_| encoder.write_all(&zero))
    })?;
    encoder.finish()?.flush()
}

fn sparse(target: &Target, pieces: &[Piece], file: &File) -> io::Result<()> {
    let mut out = file;
    write(target, pieces, &mut out, &mut |out, zeros| {
        out.seek(SeekFrom::Current(zeros as i64)).map(drop)
    })?;
    let length = out.stream_position()?;
    file.set_len(length)
}

/// What is written of a target, in order of address.
fn pieces(target: &Target) -> Vec<Piece> {
    let mut ranges: Vec<(u64, u64)> = target
        .mappings
        .iter()
        .filter(|mapping| is_wanted(mapping))
        .map(|mapping| (mapping.start, mapping.end))
        .collect();
    for module in &target.modules {
        // Its headers, its notes, and what was written before it became read-only.
        ranges.push((module.start, module.start.saturating_add(PAGE)));
        let notes = module.notes.iter();
        ranges.extend(notes.map(|&(start, size)| (start, start.saturating_add(size))));
        let written = module.segments.iter().filter(|segment| segment.write);
        ranges.extend(written.map(|segment| (segment.start, segment.end)));
        if module.path == "[vdso]" {
            ranges.push((module.start, module.end));
        }
    }
    let mut wanted: Vec<(u64, u64)> = ranges
        .into_iter()
        .map(|(start, end)| {
            (
                start & !(PAGE - 1),
                end.saturating_add(PAGE - 1) & !(PAGE - 1),
            )
        })
        .collect();
    wanted.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (start, end) in wanted {
        match merged.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => merged.push((start, end)),
        }
    }
    // A piece lies in one mapping, as in every core.
    let mappings = target.mappings.iter().filter(|mapping| mapping.read);
    mappings
        .flat_map(|mapping| {
            merged.iter().filter_map(|range| {
                let (start, end) = (range.0.max(mapping.start), range.1.min(mapping.end));
                (start < end).then(|| Piece {
                    start,
                    end,
                    flags: flags(mapping),
                })
            })
        })
        .collect()
}

fn is_wanted(mapping: &Mapping) -> bool {
    let name = mapping.name.as_deref().unwrap_or_default();
    mapping.read && mapping.write && !is_device(mapping) && !name.starts_with("[v")
}

fn flags(mapping: &Mapping) -> u32 {
    u32::from(mapping.read) << 2 | u32::from(mapping.write) << 1 | u32::from(mapping.execute)
}

/// Writes the whole core; `skip` advances by a number of zeros, a multiple of a page.
fn write<W: Write>(
    target: &Target,
    pieces: &[Piece],
    out: &mut W,
    skip: &mut dyn FnMut(&mut W, u64) -> io::Result<()>,
) -> io::Result<()> {
    let notes = notes(target);
    let head = header(pieces, notes.len() as u64)?;
    out.write_all(&head)?;
    out.write_all(&notes)?;
    let gap =
        data_start(pieces.len() as u64, notes.len() as u64) - (head.len() + notes.len()) as u64;
    out.write_all(&vec![0; gap as usize])?;
    let mut buffer = vec![0; CHUNK];
    for piece in pieces {
        let mut at = piece.start;
        while at < piece.end {
            let length = CHUNK.min((piece.end - at) as usize);
            let chunk = &mut buffer[..length];
            fill(target, at, chunk);
            for page in chunk.chunks(PAGE as usize) {
                if page.iter().all(|&byte| byte == 0) {
                    skip(out, page.len() as u64)?;
                } else {
                    out.write_all(page)?;
                }
            }
            at += length as u64;
        }
    }
    Ok(())
}

/// Reads what can be read; the rest is zero.
fn fill(target: &Target, address: u64, chunk: &mut [u8]) {
    let mut done = 0;
    while done < chunk.len() {
        let got = target
            .memory
            .read(address + done as u64, &mut chunk[done..])
            .min(chunk.len() - done);
        done += got;
        // The rest of this page cannot be read.
        let end = chunk.len().min((done / PAGE as usize + 1) * PAGE as usize);
        if done < chunk.len() {
            chunk[done..end].fill(0);
            done = end;
        }
    }
}

fn data_start(pieces: u64, notes: u64) -> u64 {
    (HEADER + (pieces + 1) * PROGRAM_HEADER + extra(pieces) + notes).next_multiple_of(PAGE)
}

/// Bytes of the section header that holds a large number of program headers.
fn extra(pieces: u64) -> u64 {
    if pieces + 1 >= 0xffff { HEADER } else { 0 }
}

/// ELF header and program headers: notes, then memory.
fn header(pieces: &[Piece], notes: u64) -> io::Result<Vec<u8>> {
    let count = pieces.len() as u64;
    let many = extra(count) > 0;
    let table_end = HEADER + (count + 1) * PROGRAM_HEADER;
    let mut head = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    head.extend([4, 0, 62, 0, 1, 0, 0, 0]);
    for word in [0, HEADER, if many { table_end } else { 0 }] {
        head.extend(word.to_le_bytes());
    }
    head.extend([0, 0, 0, 0, 64, 0, 56, 0]);
    let number = if many { 0xffff } else { (count + 1) as u16 };
    head.extend(number.to_le_bytes());
    head.extend([64, 0, u8::from(many), 0, 0, 0]);
    let mut program =
        |kind: u32, flags: u32, offset: u64, start: u64, size: u64, in_memory: u64| {
            head.extend(kind.to_le_bytes());
            head.extend(flags.to_le_bytes());
            for word in [
                offset,
                start,
                0,
                size,
                in_memory,
                if kind == 1 { PAGE } else { 4 },
            ] {
                head.extend(word.to_le_bytes());
            }
        };
    program(4, 0, table_end + extra(count), 0, notes, 0);
    let mut offset = data_start(count, notes);
    for piece in pieces {
        let size = piece.end - piece.start;
        program(1, piece.flags, offset, piece.start, size, size);
        offset += size;
    }
    if many {
        let number = u32::try_from(count + 1).map_err(|_| io::Error::other("too many mappings"))?;
        let mut section = vec![0; HEADER as usize];
        section[44..48].copy_from_slice(&number.to_le_bytes());
        head.extend(section);
    }
    Ok(head)
}

fn notes(target: &Target) -> Vec<u8> {
    let mut notes = Vec::new();
    for thread in &target.threads {
        note(&mut notes, b"CORE\0", 1, &status(thread));
    }
    note(&mut notes, b"CORE\0", 3, &process(target));
    let auxv: Vec<u8> = target
        .auxv
        .iter()
        .chain(&[(0, 0)])
        .flat_map(|&(key, value)| [key.to_le_bytes(), value.to_le_bytes()].concat())
        .collect();
    note(&mut notes, b"CORE\0", 6, &auxv);
    note(&mut notes, b"CORE\0", 0x4649_4c45, &files(target));
    if !target.warnings.is_empty() {
        let text = target.warnings.join("\n");
        note(&mut notes, UMDB_NAME, MISSING_TYPE, text.as_bytes());
    }
    let named = target.threads.iter().filter_map(|thread| {
        let name = thread.name.as_deref()?.replace('\n', " ");
        Some(format!("{} {name}\n", thread.tid))
    });
    let names: String = named.collect();
    if !names.is_empty() {
        note(&mut notes, UMDB_NAME, NAMES_TYPE, names.as_bytes());
    }
    notes
}

fn note(notes: &mut Vec<u8>, name: &[u8], kind: u32, descriptor: &[u8]) {
    notes.extend((name.len() as u32).to_le_bytes());
    notes.extend((descriptor.len() as u32).to_le_bytes());
    notes.extend(kind.to_le_bytes());
    for part in [name, descriptor] {
        notes.extend(part);
        notes.resize(notes.len().next_multiple_of(4), 0);
    }
}

/// struct elf_prstatus. Without registers it ends before them.
fn status(thread: &Thread) -> Vec<u8> {
    let mut status = vec![0; 112];
    status[32..36].copy_from_slice(&thread.tid.to_le_bytes());
    if let Some(registers) = thread.registers {
        let words = registers.to_words();
        status.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        status.extend([0; 8]);
    }
    status
}

/// struct elf_prpsinfo: the name at 40, the command line at 56.
fn process(target: &Target) -> Vec<u8> {
    let mut info = vec![0; 136];
    let pid = target.pid().unwrap_or_default();
    info[24..28].copy_from_slice(&pid.to_le_bytes());
    let mut put = |at: usize, size: usize, text: &str| {
        let text = &text.as_bytes()[..text.len().min(size - 1)];
        info[at..at + text.len()].copy_from_slice(text);
    };
    let name = target.executable.as_deref().unwrap_or_default();
    put(40, 16, name.rsplit('/').next().unwrap_or_default());
    put(56, 80, target.arguments.as_deref().unwrap_or_default());
    info
}

/// Count, page size, start, end and offset in pages of each, then the paths.
fn files(target: &Target) -> Vec<u8> {
    let named: Vec<(&Mapping, &str)> = target
        .mappings
        .iter()
        .filter_map(|mapping| Some((mapping, mapping.name.as_deref()?)))
        .filter(|(_, name)| name.starts_with('/'))
        .collect();
    let mut words = vec![named.len() as u64, PAGE];
    for (mapping, _) in &named {
        words.extend([mapping.start, mapping.end, mapping.offset / PAGE]);
    }
    let mut note: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    for (_, name) in named {
        note.extend(name.as_bytes());
        note.push(0);
    }
    note
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::{Image, Registers};

    fn target() -> Target {
        let mut image = Image::new();
        image.write(0x10000, &[7; 3 * 4096]);
        image.write(0x40000, &[9; 100]);
        let mapping = |start, end, name: Option<&str>| Mapping {
            start,
            end,
            read: true,
            write: true,
            name: name.map(str::to_owned),
            ..Mapping::default()
        };
        let mappings = vec![
            mapping(0x10000, 0x13000, None),
            mapping(0x40000, 0x200_0000, Some("/a/file")),
        ];
        let registers = Registers {
            rsp: 0x10010,
            fs_base: 0x40000,
            ..Registers::default()
        };
        let thread = |tid, name: Option<&str>, registers| Thread {
            tid,
            name: name.map(str::to_owned),
            registers,
            at_exit: false,
        };
        let threads = vec![
            thread(5, Some("the first"), Some(registers)),
            thread(6, None, None),
        ];
        let mut target = Target::synthetic(image, mappings, Vec::new(), threads);
        target.warnings.push("something was missing".to_owned());
        target.arguments = Some("a b".to_owned());
        target.auxv = vec![(9, 0x1234)];
        target
    }

    #[test]
    fn what_is_saved_opens_as_a_core() {
        let folder = tempfile::tempdir().unwrap();
        let target = target();
        for name in ["core", "core.zst"] {
            let path = folder.path().join(name);
            let saved = save(&target, &path).expect("it is written");
            assert_eq!(saved.memory, 0x3000 + 0x1fc_0000);
            assert!(saved.on_disk < 1 << 20, "{name}: zeros take no room");
            let core = Target::open_core(&path, None, None).expect("it is a core");
            let mut bytes = [0; 200];
            assert!(core.memory.read_all(0x12fff - 99, &mut bytes[..100]));
            assert_eq!(bytes[..100], [7; 100]);
            assert!(core.memory.read_all(0x40000, &mut bytes));
            assert_eq!((bytes[99], bytes[100]), (9, 0));
            assert!(!core.memory.read_all(0x200_0000, &mut bytes));
            assert_eq!(core.threads[0].registers, target.threads[0].registers);
            assert_eq!((core.threads[1].tid, core.threads[1].registers), (6, None));
            assert_eq!(core.threads[0].name.as_deref(), Some("the first"));
            assert_eq!(core.threads[1].name, None);
            assert_eq!(
                (core.auxv, core.arguments.as_deref()),
                (vec![(9, 0x1234)], Some("a b"))
            );
            assert_eq!(core.mappings[1].name.as_deref(), Some("/a/file"));
            assert!(core.warnings.contains(&"something was missing".to_owned()));
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let error = save(&target(), Path::new("/nowhere/core")).expect_err("no such folder");
        assert!(error.what.contains("'/nowhere/core'"), "{}", error.what);
    }
}
