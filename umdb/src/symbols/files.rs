//! The files of a module: the one that was loaded, and the one with its debug information.

use std::sync::Arc;

use memmap2::Mmap;
use object::{Object, ObjectSection, read::elf::ElfFile64};

use crate::target::{Files, Memory, Module};

/// A module without a file that is larger than this is not copied out of memory.
const IMAGE_MAX: u64 = 1 << 20;

/// The bytes of an ELF file.
#[derive(Debug, Clone)]
pub(super) enum Bytes {
    File(Arc<Mmap>),
    Memory(Arc<Vec<u8>>),
}

impl Bytes {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::File(map) => map,
            Self::Memory(bytes) => bytes,
        }
    }

    pub(super) fn elf(&self) -> Option<ElfFile64<'_>> {
        ElfFile64::parse(self.bytes()).ok()
    }
}

/// What a module was loaded from, if that is to be had and is the very file.
pub(super) fn loaded(files: &Files, memory: &dyn Memory, module: &Module) -> Option<Bytes> {
    // The vdso is a whole ELF file in memory.
    if module.path == "[vdso]" {
        return image(memory, module);
    }
    let bytes = files.module(memory, module).ok()?;
    Some(Bytes::File(Arc::new(bytes)))
}

fn image(memory: &dyn Memory, module: &Module) -> Option<Bytes> {
    let size = module
        .end
        .checked_sub(module.start)
        .filter(|&size| size <= IMAGE_MAX)?;
    let mut bytes = vec![0; size as usize];
    // It is mapped in whole pages, of which the last may not be full.
    let got = memory.read(module.start, &mut bytes);
    bytes.truncate(got);
    Some(Bytes::Memory(Arc::new(bytes)))
}

/// Unpacked symbol tables that are larger than this are damage.
const SMALL_MAX: usize = 256 << 20;

/// The symbols that a stripped file keeps compressed (.gnu_debugdata): an ELF file of its own, without DWARF.
pub(super) fn small(loaded: &Bytes) -> Option<Bytes> {
    let elf = loaded.elf()?;
    let mut packed = elf.section_by_name(".gnu_debugdata")?.data().ok()?;
    let mut unpacked = Limited(Vec::new());
    lzma_rs::xz_decompress(&mut packed, &mut unpacked).ok()?;
    Some(Bytes::Memory(Arc::new(unpacked.0)))
}

/// Takes bytes up to a limit.
struct Limited(Vec<u8>);

impl std::io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > SMALL_MAX {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The separate debug file of a module: by its build-id, else by the name and checksum in `.gnu_debuglink`.
pub(super) fn debug(files: &Files, module: &Module, loaded: Option<&Bytes>) -> Option<Bytes> {
    let by_id = module.build_id.as_deref().filter(|id| id.len() > 1);
    if let Some(id) = by_id {
        let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let (folder, name) = hex.split_at(2);
        let path = format!("/usr/lib/debug/.build-id/{folder}/{name}.debug");
        let is_it = |bytes: &Bytes| has_build_id(bytes, id);
        if let Some(found) = files.find(&path).map(file).find(is_it) {
            return Some(found);
        }
    }
    let (name, checksum) = loaded.and_then(|bytes| {
        let (name, checksum) = bytes.elf()?.gnu_debuglink().ok()??;
        Some((String::from_utf8_lossy(name).into_owned(), checksum))
    })?;
    let (folder, _) = module.path.rsplit_once('/')?;
    let paths = [
        format!("{folder}/{name}"),
        format!("{folder}/.debug/{name}"),
        format!("/usr/lib/debug{folder}/{name}"),
    ];
    let is_it = |bytes: &Bytes| match by_id {
        Some(id) => has_build_id(bytes, id),
        None => checksum_of(bytes) == checksum,
    };
    paths
        .iter()
        .flat_map(|path| files.find(path))
        .map(file)
        .find(is_it)
}

fn file(map: Mmap) -> Bytes {
    Bytes::File(Arc::new(map))
}

pub(super) fn has_build_id(bytes: &Bytes, id: &[u8]) -> bool {
    let elf = bytes.elf();
    elf.is_some_and(|elf| elf.build_id().ok().flatten() == Some(id))
}

/// The checksum of debuglink sections (CRC-32 as in zlib).
fn checksum_of(bytes: &Bytes) -> u32 {
    let mut crc = !0_u32;
    for &byte in bytes.bytes() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}
