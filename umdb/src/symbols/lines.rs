//! Source files and lines, from DWARF.

use std::sync::Arc;

use gimli::{EndianArcSlice, RunTimeEndian, SectionId};
use object::{Object, ObjectSection};

use super::files::Bytes;

/// Bytes of a section.
pub(super) type Section = EndianArcSlice<RunTimeEndian>;
/// The DWARF of a file.
pub(super) type Dwarf = gimli::Dwarf<Section>;

/// Reads the DWARF of a file; none when it has none.
pub(super) fn dwarf(bytes: &Bytes) -> Option<Arc<Dwarf>> {
    let elf = bytes.elf()?;
    elf.section_by_name(".debug_info")
        .or_else(|| elf.section_by_name(".zdebug_info"))?;
    let endian = if elf.is_little_endian() {
        RunTimeEndian::Little
    } else {
        RunTimeEndian::Big
    };
    let section = |id: SectionId| -> Result<Section, gimli::Error> {
        let data = elf
            .section_by_name(id.name())
            .and_then(|section| section.uncompressed_data().ok());
        Ok(EndianArcSlice::new(
            Arc::from(data.as_deref().unwrap_or(&[])),
            endian,
        ))
    };
    gimli::Dwarf::load(section).ok().map(Arc::new)
}

/// The line tables of one module.
pub(super) struct Lines {
    context: addr2line::Context<Section>,
}

impl Lines {
    /// The lines in some DWARF.
    pub(super) fn new(dwarf: Arc<Dwarf>) -> Option<Self> {
        let context = addr2line::Context::from_arc_dwarf(dwarf).ok()?;
        Some(Self { context })
    }

    /// File and line of an address as the file counts them.
    pub(super) fn at(&self, address: u64) -> Option<(String, u32)> {
        let location = self.context.find_location(address).ok()??;
        Some((
            location.file?.to_owned(),
            location.line.filter(|&line| line > 0)?,
        ))
    }
}
