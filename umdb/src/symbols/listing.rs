//! All that the symbol tables of a module say, for `::nm`.

use object::{
    Endianness,
    elf::{SHN_ABS, SHN_COMMON, SHN_UNDEF, STT_SECTION, STT_TLS},
    read::elf::{FileHeader, Sym, SymbolTable},
};

use super::{files::Bytes, tables::Table};
use crate::target::Module;

type Header = object::elf::FileHeader64<Endianness>;

/// A symbol as its table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Name as in the table; that of the section for its symbol.
    pub name: String,
    /// Address in the target; the offset in its block for thread-local data, the number itself where it is no address.
    pub value: u64,
    /// Bytes.
    pub size: u64,
    /// `STT_` number; none where the table could not be read from a file.
    pub kind: Option<u8>,
    /// `STB_` number.
    pub binding: u8,
    /// `st_other`: the visibility.
    pub other: u8,
    /// Index in its table.
    pub index: u64,
    /// Section: its name, `UNDEF`, `ABS` or `COMMON`.
    pub section: Option<String>,
    /// Index of the section.
    pub section_index: u16,
}

impl Row {
    /// It is only named here, and defined elsewhere.
    #[must_use]
    pub const fn is_undefined(&self) -> bool {
        self.section_index == SHN_UNDEF.0 && self.section.is_some()
    }
}

/// The rows of a module: of `.dynsym` alone, or of all tables without what stands in two of them.
pub(super) fn rows(module: &Module, files: &[&Bytes], table: &Table, dynamic: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for bytes in files {
        read(module, bytes.bytes(), dynamic, &mut rows);
    }
    if rows.is_empty() && !dynamic {
        rows = table.list().zip(1..).map(from_memory).collect();
    }
    rows.sort_by(|a: &Row, b| (a.value, &a.name, a.index).cmp(&(b.value, &b.name, b.index)));
    rows.dedup_by(|a, b| {
        a.value == b.value && a.name == b.name && a.kind == b.kind && a.section == b.section
    });
    rows
}

fn from_memory((listed, index): (super::Listed<'_>, u64)) -> Row {
    Row {
        name: listed.name.to_owned(),
        value: listed.address,
        size: listed.size,
        kind: None,
        binding: match (listed.is_local, listed.is_weak) {
            (true, _) => object::elf::STB_LOCAL.0,
            (false, true) => object::elf::STB_WEAK.0,
            (false, false) => object::elf::STB_GLOBAL.0,
        },
        other: 0,
        index,
        section: None,
        section_index: 0,
    }
}

/// Tables that cannot be read have no rows.
fn read(module: &Module, bytes: &[u8], dynamic: bool, rows: &mut Vec<Row>) -> Option<()> {
    let header = Header::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, bytes).ok()?;
    let section_name = |index: u16| {
        let section = sections.section(object::SectionIndex(index.into())).ok()?;
        let name = sections.section_name(endian, section).ok()?;
        Some(String::from_utf8_lossy(name).into_owned())
    };
    let kinds: &[object::elf::SectionType] = if dynamic {
        &[object::elf::SHT_DYNSYM]
    } else {
        &[object::elf::SHT_SYMTAB, object::elf::SHT_DYNSYM]
    };
    for &kind in kinds {
        let Ok(symbols) = sections.symbols(endian, bytes, kind) else {
            continue;
        };
        rows.extend(table_rows(module, endian, &symbols, &section_name));
    }
    Some(())
}

fn table_rows(
    module: &Module,
    endian: Endianness,
    symbols: &SymbolTable<'_, Header>,
    section_name: &dyn Fn(u16) -> Option<String>,
) -> Vec<Row> {
    let all = symbols.enumerate();
    let row = |(index, symbol): (object::SymbolIndex, &object::elf::Sym64<Endianness>)| {
        let section_index = symbol.st_shndx(endian);
        let section = match section_index {
            SHN_UNDEF => "UNDEF".to_owned(),
            SHN_ABS => "ABS".to_owned(),
            SHN_COMMON => "COMMON".to_owned(),
            other => section_name(other.0).unwrap_or_else(|| other.0.to_string()),
        };
        let kind = symbol.st_type();
        let name = symbol.name(endian, symbols.strings()).unwrap_or_default();
        let name = match kind {
            STT_SECTION if name.is_empty() => section.clone(),
            _ => String::from_utf8_lossy(name).into_owned(),
        };
        let value = symbol.st_value(endian);
        let is_address =
            !matches!(section_index, SHN_UNDEF | SHN_ABS | SHN_COMMON) && kind != STT_TLS;
        Row {
            name,
            value: if is_address {
                module.bias.wrapping_add(value)
            } else {
                value
            },
            size: symbol.st_size(endian),
            kind: Some(kind.0),
            binding: symbol.st_bind().0,
            other: symbol.st_other().0,
            index: index.0 as u64,
            section: Some(section),
            section_index: section_index.0,
        }
    };
    all.filter(|(index, _)| index.0 != 0)
        .map(row)
        .filter(|row| !row.name.is_empty())
        .collect()
}
