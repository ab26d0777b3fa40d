//! Where the root record is, and whether we understand it.

use std::sync::Arc;

use umem_layout::{
    BYTE_ORDER, FEATURES_KNOWN, LAYOUT_MAJOR, LAYOUT_MINOR, NOTE_NAME, NOTE_TYPE, Plain, Published,
    ROOT_MAGIC, ROOT_SYMBOL, UmemRoot, ready,
};

use super::Reader;
use crate::{
    symbols::Symbols,
    target::{Memory, Module, Target},
};

/// Most bytes of notes that are read of a module.
const NOTES_MAX: u64 = 1 << 16;

/// The root record of the allocator.
#[derive(Clone)]
pub struct Root {
    /// Its address.
    pub address: u64,
    /// What it says.
    pub record: UmemRoot,
    /// Name of the module that holds it.
    pub module: Option<String>,
    /// What is odd about it, one line each.
    pub warnings: Vec<String>,
    /// It is a copy, which what it leads to may be newer than.
    pub is_copy: bool,
}

impl Root {
    /// Bits of `features_required` that this version does not know: no verdict may be given.
    #[must_use]
    pub fn unknown_features(&self) -> u64 {
        self.record.features_required & !FEATURES_KNOWN
    }

    /// A reader with the strides published here.
    #[must_use]
    pub fn reader(&self, memory: Arc<dyn Memory>) -> Reader {
        Reader::new(memory, &self.record)
    }
}

/// Why there is no root record to work with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    /// No module has the note or the symbol.
    #[error("no allocator of ours")]
    NotFound,
    /// The note or symbol leads nowhere.
    #[error("cannot read the root record of {module} at {address:#x}")]
    Unreadable {
        /// The module with the note or symbol.
        module: String,
        /// Where the record should be.
        address: u64,
    },
    /// Something else is there.
    #[error(
        "what {module} has at {address:#x} is no root record: its magic is {found:#x}, not {ROOT_MAGIC:#x}"
    )]
    Magic {
        /// The module with the note or symbol.
        module: String,
        /// Where the record should be.
        address: u64,
        /// The first word there.
        found: u64,
    },
    /// Written by a version that we do not understand.
    #[error(
        "{module} publishes layout {}.{}, this umdb reads layout {LAYOUT_MAJOR}.{LAYOUT_MINOR}",
        found.0, found.1
    )]
    Version {
        /// The module that holds the record.
        module: String,
        /// Its major and minor version.
        found: (u16, u16),
    },
    /// Written by another kind of machine.
    #[error("{module} publishes {detail}")]
    Machine {
        /// The module that holds the record.
        module: String,
        /// What it says about itself.
        detail: String,
    },
}

/// Finds the root record by the notes of the modules, else by the dynamic symbol; in a core that is cut off also by the copies that
/// allocators have of it.
///
/// Where several modules have one, that of an allocator in service counts.
///
/// # Errors
/// When there is none, or none that we understand.
pub fn find_root(target: &Target, symbols: &Symbols) -> Result<Root, RootError> {
    let mut candidates: Vec<(Option<String>, u64)> = target
        .modules
        .iter()
        .filter_map(|m| Some((Some(m.name.clone()), root_by_note(target, m)?)))
        .collect();
    if candidates.is_empty() {
        let by_symbol = symbols.resolve(ROOT_SYMBOL).map(|symbol| symbol.address);
        candidates.extend(by_symbol.map(|at| (target.module_at(at).map(|m| m.name.clone()), at)));
    }
    let copies = || target.root_copies.iter();
    let unknown: Vec<u64> = copies()
        .map(|copy| copy.root)
        .filter(|root| candidates.iter().all(|(_, at)| at != root))
        .collect();
    candidates.extend(unknown.into_iter().map(|root| {
        let module = target.module_at(root).map(|module| module.name.clone());
        (
            Some(module.unwrap_or_else(|| "a part that is missing".to_owned())),
            root,
        )
    }));
    let mut roots: Vec<Root> = Vec::new();
    let mut errors = Vec::new();
    for (module, address) in candidates {
        match read_root(&*target.memory, module, address) {
            Ok(mut root) => {
                root.is_copy = copies().any(|copy| copy.root == address && copy.stands_in);
                roots.push(root);
            }
            Err(error) => errors.push(error),
        }
    }
    let in_service = roots
        .iter()
        .position(|root| root.record.state == ready::READY)
        .unwrap_or(0);
    if roots.is_empty() {
        return Err(errors.into_iter().next().unwrap_or(RootError::NotFound));
    }
    let mut root = roots.swap_remove(in_service);
    root.warnings.extend(errors.iter().map(ToString::to_string));
    root.warnings.extend(roots.iter().map(|other| {
        let module = other.module.as_deref().unwrap_or("?");
        format!(
            "{module} holds another allocator, with its root at {:#x}, which is not looked at",
            other.address
        )
    }));
    Ok(root)
}

/// Address of the root as the notes of a module give it.
fn root_by_note(target: &Target, module: &Module) -> Option<u64> {
    module.notes.iter().find_map(|&(address, size)| {
        let mut bytes = vec![0; usize::try_from(size.min(NOTES_MAX)).ok()?];
        let got = target.memory.read(address, &mut bytes).min(bytes.len());
        root_in_notes(&bytes[..got], address)
    })
}

/// Looks through notes that stand at `address`.
fn root_in_notes(bytes: &[u8], address: u64) -> Option<u64> {
    let mut at = 0_usize;
    while at + 12 <= bytes.len() {
        let [name_size, size, kind] = [0, 4, 8].map(|field| u32::decode_at(bytes, at + field));
        let name = at + 12;
        let data = name.checked_add(padded(name_size))?;
        let end = data.checked_add(size as usize)?;
        if end > bytes.len() {
            return None;
        }
        let is_ours = kind == NOTE_TYPE && is_note_name(&bytes[name..data]);
        if is_ours && size >= 8 {
            return Some((address + data as u64).wrapping_add(u64::decode_at(bytes, data)));
        }
        at = data.checked_add(padded(size))?;
    }
    None
}

fn padded(size: u32) -> usize {
    (size as usize).next_multiple_of(4)
}

fn is_note_name(bytes: &[u8]) -> bool {
    bytes
        .strip_prefix(NOTE_NAME.as_bytes())
        .is_some_and(|rest| rest.iter().all(|&byte| byte == 0))
}

/// Reads and checks the record at an address.
fn read_root(memory: &dyn Memory, module: Option<String>, address: u64) -> Result<Root, RootError> {
    let mut bytes = vec![0; UmemRoot::BYTES];
    let name = || module.clone().unwrap_or_else(|| "the program".to_owned());
    let got = memory.read(address, &mut bytes).min(bytes.len());
    // An older minor version has a shorter record, whose end may be the end of its segment.
    let size = u32::decode_at(&bytes, 0x14) as usize;
    if got < 0x18 || got < size.min(UmemRoot::BYTES) {
        return Err(RootError::Unreadable {
            module: name(),
            address,
        });
    }
    bytes.truncate(size.max(0x18).min(got));
    let record = UmemRoot::decode(&bytes);
    if record.magic != ROOT_MAGIC {
        return Err(RootError::Magic {
            module: name(),
            address,
            found: record.magic,
        });
    }
    if record.byte_order != BYTE_ORDER || record.pointer_width != 64 {
        let detail = format!(
            "byte order {:#x} and pointers of {} bits",
            record.byte_order, record.pointer_width
        );
        return Err(RootError::Machine {
            module: name(),
            detail,
        });
    }
    // Major 0 promises nothing: each of its minor versions is a major version.
    if record.major != LAYOUT_MAJOR {
        return Err(RootError::Version {
            module: name(),
            found: (record.major, record.minor),
        });
    }
    Ok(Root {
        address,
        record,
        module: module.clone(),
        warnings: odd_sizes(&record),
        is_copy: false,
    })
}

/// Published sizes that cannot be strides.
fn odd_sizes(record: &UmemRoot) -> Vec<String> {
    let odd = umem_layout::STRUCTS
        .iter()
        .zip(record.struct_sizes)
        .filter(|(_, size)| *size == 0 || *size > 1 << 16);
    odd.map(|((name, known, _), size)| {
        format!("the published size of {name} is {size}; {known} is taken instead")
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(name: &[u8], kind: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend((name.len() as u32).to_le_bytes());
        bytes.extend((data.len() as u32).to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        for part in [name, data] {
            bytes.extend(part);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    #[test]
    fn the_note_is_found_behind_others_and_counts_from_itself() {
        let mut bytes = note(b"GNU\0", 3, &[7; 20]);
        let data_at = bytes.len() + 12 + 8;
        bytes.extend(note(b"UMEM\0", 1, &(-0x100_i64).to_le_bytes()));
        assert_eq!(
            root_in_notes(&bytes, 0x1000),
            Some(0x1000 + data_at as u64 - 0x100)
        );
        assert_eq!(root_in_notes(&bytes[..bytes.len() - 4], 0x1000), None);
        assert_eq!(root_in_notes(&note(b"UMEM\0", 2, &[0; 8]), 0), None);
        assert_eq!(root_in_notes(&[0xff; 40], 0), None);
    }
}
