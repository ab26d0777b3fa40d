//! Modules, read from the program headers that stand at the start of their mappings.

use super::{
    Mapping, Memory, Module, ModuleSegment,
    bytes::{half, word, xword},
};

const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
/// More program headers than this are damage.
const HEADERS_MAX: u16 = 256;
/// Notes larger than this are not looked at.
const NOTES_MAX: u64 = 64 << 10;
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_NOTE: u32 = 4;
const PF_X: u32 = 1;
const PF_W: u32 = 2;

/// All modules, in order of address.
pub(super) fn find(memory: &dyn Memory, mappings: &[Mapping], auxv: &[(u64, u64)]) -> Vec<Module> {
    const AT_ENTRY: u64 = 9;
    let entry = auxv
        .iter()
        .find(|(key, _)| *key == AT_ENTRY)
        .map(|&(_, value)| value);
    let mut modules: Vec<Module> = mappings
        .iter()
        .filter(|mapping| mapping.offset == 0)
        .filter_map(|mapping| module(memory, mapping))
        .collect();
    modules.sort_by_key(|module| module.start);
    modules.dedup_by_key(|module| module.start);
    for module in &mut modules {
        module.is_program = entry.is_some_and(|entry| module.segment_at(entry).is_some());
    }
    modules
}

fn module(memory: &dyn Memory, mapping: &Mapping) -> Option<Module> {
    let path = mapping.name.as_deref()?;
    if path.starts_with('[') && path != "[vdso]" {
        return None;
    }
    let mut header = [0; HEADER];
    if !memory.read_all(mapping.start, &mut header) || !header.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let kind = half(&header, 16)?;
    if kind != 2 && kind != 3 {
        return None;
    }
    let count = half(&header, 56)?.min(HEADERS_MAX);
    if usize::from(half(&header, 54)?) != PROGRAM_HEADER {
        return None;
    }
    let mut headers = vec![0; usize::from(count) * PROGRAM_HEADER];
    if !memory.read_all(
        mapping.start.checked_add(xword(&header, 32)?)?,
        &mut headers,
    ) {
        return None;
    }
    let headers: Vec<&[u8]> = headers.chunks_exact(PROGRAM_HEADER).collect();
    build(memory, mapping, path, &headers)
}

fn build(memory: &dyn Memory, mapping: &Mapping, path: &str, headers: &[&[u8]]) -> Option<Module> {
    let of_kind = |kind| {
        headers
            .iter()
            .filter(move |header| word(header, 0) == Some(kind))
    };
    let first = of_kind(PT_LOAD).find(|header| xword(header, 8) == Some(0))?;
    let bias = mapping.start.wrapping_sub(xword(first, 16)?);
    let segments: Vec<ModuleSegment> = of_kind(PT_LOAD)
        .filter_map(|header| segment(header, bias))
        .collect();
    let end = segments.iter().map(|segment| segment.end).max()?;
    let notes: Vec<(u64, u64)> = of_kind(PT_NOTE)
        .filter_map(|header| Some((bias.wrapping_add(xword(header, 16)?), xword(header, 40)?)))
        .filter(|&(_, size)| size <= NOTES_MAX)
        .collect();
    let dynamic = of_kind(PT_DYNAMIC)
        .next()
        .and_then(|header| Some(bias.wrapping_add(xword(header, 16)?)));
    let path = path.trim_end_matches(" (deleted)");
    Some(Module {
        name: path.rsplit('/').next().unwrap_or(path).to_owned(),
        path: path.to_owned(),
        bias,
        start: mapping.start,
        end,
        segments,
        build_id: notes
            .iter()
            .find_map(|&(address, size)| build_id(memory, address, size)),
        notes,
        dynamic,
        is_program: false,
    })
}

fn segment(header: &[u8], bias: u64) -> Option<ModuleSegment> {
    let start = bias.wrapping_add(xword(header, 16)?);
    let flags = word(header, 4)?;
    Some(ModuleSegment {
        start,
        end: start.checked_add(xword(header, 40)?)?,
        file_end: start.checked_add(xword(header, 32)?)?,
        offset: xword(header, 8)?,
        write: flags & PF_W != 0,
        execute: flags & PF_X != 0,
    })
}

/// The GNU build-id among notes at an address.
fn build_id(memory: &dyn Memory, address: u64, size: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(size).ok()?];
    let got = memory.read(address, &mut bytes);
    note(bytes.get(..got)?, b"GNU\0", 3).map(<[u8]>::to_vec)
}

/// The descriptor of the first note with a name and type.
pub(super) fn note<'a>(bytes: &'a [u8], name: &[u8], kind: u32) -> Option<&'a [u8]> {
    notes(bytes)
        .find(|&(found, number, _)| found == name && number == kind)
        .map(|(_, _, descriptor)| descriptor)
}

/// Notes, as name (with its zero byte), type and descriptor; ends at the first damaged one.
pub(super) fn notes(bytes: &[u8]) -> impl Iterator<Item = (&[u8], u32, &[u8])> {
    let mut at = 0_usize;
    std::iter::from_fn(move || {
        let name_size = word(bytes, at)? as usize;
        let size = word(bytes, at.checked_add(4)?)? as usize;
        let kind = word(bytes, at.checked_add(8)?)?;
        let name_at = at.checked_add(12)?;
        let name = bytes.get(name_at..name_at.checked_add(name_size)?)?;
        let descriptor_at = name_at.checked_add(name_size.checked_next_multiple_of(4)?)?;
        let descriptor = bytes.get(descriptor_at..descriptor_at.checked_add(size)?)?;
        at = descriptor_at.checked_add(size.checked_next_multiple_of(4)?)?;
        Some((name, kind, descriptor))
    })
}
