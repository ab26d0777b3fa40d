//! Source files and lines, from DWARF.

use std::{ops::Deref, sync::Arc};

use gimli::{CloneStableDeref, EndianReader, RunTimeEndian, SectionId, StableDeref};
use object::{Object, ObjectSection};

use super::files::Bytes;

/// Bytes of a section: where they are in the file, or what was unpacked. Nothing is copied: debug information
/// may have gigabytes.
#[derive(Debug, Clone)]
pub(super) enum Piece {
    /// A range of a file.
    File(Bytes, usize, usize),
    /// Unpacked.
    Memory(Arc<[u8]>),
}

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::File(bytes, start, end) => bytes.bytes().get(*start..*end).unwrap_or_default(),
            Self::Memory(bytes) => bytes,
        }
    }
}

// SAFETY: both kinds hand out bytes behind an Arc, which stay where they are when the piece is moved.
#[allow(unsafe_code)]
unsafe impl StableDeref for Piece {}
// SAFETY: a clone shares the Arc, and so the bytes.
#[allow(unsafe_code)]
unsafe impl CloneStableDeref for Piece {}

/// Bytes of a section, to be read.
pub(super) type Section = EndianReader<RunTimeEndian, Piece>;
/// The DWARF of a file.
pub(super) type Dwarf = gimli::Dwarf<Section>;

/// Sections that nobody here asks for, and that take long to unpack: places of local variables, macros.
const UNUSED: [SectionId; 4] = [
    SectionId::DebugLoc,
    SectionId::DebugLocLists,
    SectionId::DebugMacinfo,
    SectionId::DebugMacro,
];

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
        let piece = elf
            .section_by_name(id.name())
            .filter(|_| !UNUSED.contains(&id))
            .and_then(|section| piece(bytes, &section));
        Ok(EndianReader::new(
            piece.unwrap_or_else(|| Piece::Memory(Arc::from([]))),
            endian,
        ))
    };
    gimli::Dwarf::load(section).ok().map(Arc::new)
}

fn piece<'a>(bytes: &Bytes, section: &impl ObjectSection<'a>) -> Option<Piece> {
    match section.uncompressed_data().ok()? {
        std::borrow::Cow::Borrowed(data) => {
            // It is a part of the file, which counts as one piece of memory.
            let start = (data.as_ptr() as usize).checked_sub(bytes.bytes().as_ptr() as usize)?;
            let end = start.checked_add(data.len())?;
            Some(Piece::File(bytes.clone(), start, end))
        }
        std::borrow::Cow::Owned(data) => Some(Piece::Memory(Arc::from(data))),
    }
}

/// A function that stands in another one's code.
pub(super) struct InlinedAt {
    /// Its name as the linker would know it.
    pub(super) name: String,
    /// Where it was called.
    pub(super) file: Option<String>,
    pub(super) line: Option<u32>,
}

/// More functions in one another than this are damage.
const INLINED_MAX: usize = 64;

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

    /// The functions that are inlined at an address as the file counts them, innermost first.
    pub(super) fn inlined(&self, address: u64) -> Vec<InlinedAt> {
        let mut inlined: Vec<InlinedAt> = Vec::new();
        let Ok(mut frames) = self.context.find_frames(address).skip_all_loads() else {
            return inlined;
        };
        let mut inner = None;
        while let Ok(Some(frame)) = frames.next()
            && inlined.len() < INLINED_MAX
        {
            if let Some(name) = inner.take() {
                let place = frame.location.as_ref();
                inlined.push(InlinedAt {
                    name,
                    file: place.and_then(|place| place.file).map(str::to_owned),
                    line: place.and_then(|place| place.line),
                });
            }
            let name = frame.function.as_ref();
            let name = name.and_then(|name| name.raw_name().ok());
            inner = Some(name.map_or_else(|| "?".to_owned(), |name| name.into_owned()));
        }
        inlined
    }
}
