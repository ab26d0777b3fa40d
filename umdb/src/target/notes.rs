//! What the notes of a core tell. Their order means nothing.

use std::collections::HashMap;

use super::{
    Registers, Thread, auxiliary_from,
    bytes::{half, word, xword},
    modules,
    save::{MISSING_TYPE, NAMES_TYPE, UMDB_NAME},
};

const NT_PRSTATUS: u32 = 1;
const NT_PRPSINFO: u32 = 3;
const NT_AUXV: u32 = 6;
const NT_FILE: u32 = 0x4649_4c45;

/// A file that was mapped, as NT_FILE tells.
#[derive(Debug, Clone)]
pub(super) struct FileRange {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) offset: u64,
    pub(super) path: String,
}

/// What the notes of a core tell.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) threads: Vec<Thread>,
    pub(super) auxv: Vec<(u64, u64)>,
    pub(super) files: Vec<FileRange>,
    pub(super) signal: Option<i32>,
    pub(super) process: Option<u32>,
    pub(super) arguments: Option<String>,
    /// What was missing when umdb made the core.
    pub(super) missing: Vec<String>,
}

impl Notes {
    /// Reads the notes in some segments.
    pub(super) fn read<'a>(segments: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut notes = Self::default();
        let mut names = HashMap::new();
        for (name, kind, descriptor) in segments.flat_map(modules::notes) {
            match (name, kind) {
                (b"CORE\0", kind) => notes.note(kind, descriptor),
                (UMDB_NAME, MISSING_TYPE) => {
                    let text = String::from_utf8_lossy(descriptor);
                    notes.missing = text.lines().map(str::to_owned).collect();
                }
                (UMDB_NAME, NAMES_TYPE) => names = thread_names(descriptor),
                _ => {}
            }
        }
        for thread in &mut notes.threads {
            thread.name = names.remove(&thread.tid);
        }
        notes
    }

    fn note(&mut self, kind: u32, bytes: &[u8]) {
        match kind {
            NT_PRSTATUS => self.status(bytes),
            NT_PRPSINFO => {
                self.process = word(bytes, 24).filter(|&process| process != 0);
                self.arguments = arguments(bytes);
            }
            NT_AUXV => self.auxv = auxiliary_from(bytes),
            NT_FILE => self.files = files(bytes),
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

/// Lines of an identifier, a blank and a name.
fn thread_names(bytes: &[u8]) -> HashMap<u32, String> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().filter_map(|line| {
        let (tid, name) = line.split_once(' ')?;
        Some((tid.parse().ok()?, name.to_owned()))
    });
    lines.collect()
}

fn registers(bytes: &[u8]) -> Option<Registers> {
    const REGISTERS: usize = 112;
    const COUNT: usize = 27;
    let mut r = [0; COUNT];
    for (index, register) in r.iter_mut().enumerate() {
        *register = xword(bytes, REGISTERS + index * 8)?;
    }
    Some(Registers::from_words(&r))
}

/// struct elf_prpsinfo: the process at 24, the command line at 56, at most 80 bytes.
fn arguments(bytes: &[u8]) -> Option<String> {
    let text = bytes.get(56..136)?.split(|&byte| byte == 0).next()?;
    let text = String::from_utf8_lossy(text).trim_end().to_owned();
    (!text.is_empty()).then_some(text)
}

/// Count, page size, then start, end and offset in pages of each; then the paths. What is left of a damaged note.
fn files(bytes: &[u8]) -> Vec<FileRange> {
    let mut files: Vec<FileRange> = file_ranges(bytes).into_iter().flatten().collect();
    files.sort_by_key(|file| file.start);
    files
}

fn file_ranges(bytes: &[u8]) -> Option<impl Iterator<Item = FileRange>> {
    let count = usize::try_from(xword(bytes, 0)?).ok()?;
    let page = xword(bytes, 8)?;
    let paths_at = count.checked_mul(24)?.checked_add(16)?;
    let paths = bytes.get(paths_at..)?.split(|&byte| byte == 0);
    let ranges = paths
        .take(count)
        .enumerate()
        .filter_map(move |(index, path)| {
            let at = 16 + index * 24;
            let range = FileRange {
                start: xword(bytes, at)?,
                end: xword(bytes, at + 8)?,
                offset: xword(bytes, at + 16)?.checked_mul(page)?,
                path: String::from_utf8_lossy(path).into_owned(),
            };
            // Offsets of addresses in it must be numbers.
            let size = range.end.checked_sub(range.start)?;
            range.offset.checked_add(size)?;
            Some(range)
        });
    Some(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_damaged_note_have_no_impossible_offsets() {
        let mut note = Vec::new();
        let words = [
            3_u64,
            4096,
            0x1000,
            0x2000,
            1,
            0x9000,
            0x8000,
            0,
            0x5000,
            u64::MAX,
            u64::MAX / 4096,
        ];
        words
            .iter()
            .for_each(|word| note.extend(word.to_le_bytes()));
        note.extend(b"/a\0/b\0/c\0");
        let files = files(&note);
        assert_eq!(files.len(), 1);
        assert_eq!(
            (files[0].start, files[0].offset, &*files[0].path),
            (0x1000, 4096, "/a")
        );
        note[0] = 200;
        assert!(super::files(&note).is_empty(), "more than the note holds");
    }
}
