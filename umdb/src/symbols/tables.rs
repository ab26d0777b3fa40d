//! Symbol tables: from files where there are any, else from the target's memory.

use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};

use super::{Listed, Symbol, files::Bytes};
use crate::target::{Memory, Module};

/// Symbols of one module at their addresses in the target, sorted.
#[derive(Default)]
pub(super) struct Table {
    entries: Vec<Entry>,
    /// For each entry the largest end of it and of those before it: where a look back for a covering one may stop.
    ends: Vec<u64>,
}

struct Entry {
    address: u64,
    size: u64,
    /// Where its section (or segment) ends: it covers nothing behind that, whatever its size says. A symbol without
    /// size covers what lies before the next one, up to here.
    limit: u64,
    /// Lower is the better name for its address.
    rank: (bool, u8, usize),
    name: String,
}

/// More dynamic symbols than this are damage.
const DYNAMIC_MAX: u64 = 1 << 22;
const NAME_MAX: usize = 4096;

impl Table {
    /// Reads the tables of the files of a module, or its dynamic symbols out of memory.
    pub(super) fn read(memory: &dyn Memory, module: &Module, files: &[&Bytes]) -> Self {
        let mut table = Self::default();
        for elf in files.iter().filter_map(|bytes| bytes.elf()) {
            for symbol in elf.symbols().chain(elf.dynamic_symbols()) {
                // What stands in no section is a number, not a place.
                let section = symbol.section_index();
                let section = section.and_then(|index| elf.section_by_index(index).ok());
                if let Some(section) = section {
                    let end = section.address().saturating_add(section.size());
                    table.add(module, &symbol, module.bias.wrapping_add(end));
                }
            }
        }
        if table.entries.is_empty() {
            table.entries = from_memory(memory, module).unwrap_or_default();
        }
        table
            .entries
            .sort_by(|a, b| (a.address, a.rank, &a.name).cmp(&(b.address, b.rank, &b.name)));
        table
            .entries
            .dedup_by(|a, b| a.address == b.address && a.name == b.name);
        table.find_ends();
        table
    }

    fn find_ends(&mut self) {
        let mut end = 0;
        self.ends = self
            .entries
            .iter()
            .map(|entry| {
                end = end.max(entry.end());
                end
            })
            .collect();
    }

    fn add<'a>(&mut self, module: &Module, symbol: &impl ObjectSymbol<'a>, limit: u64) {
        let is_kept = matches!(
            symbol.kind(),
            SymbolKind::Text | SymbolKind::Data | SymbolKind::Unknown
        );
        let Ok(name) = symbol.name() else { return };
        if !is_kept
            || symbol.is_undefined()
            || name.is_empty()
            || symbol.address() == 0
            || name.starts_with('$')
        {
            return;
        }
        let binding = if symbol.is_local() {
            2
        } else {
            u8::from(symbol.is_weak())
        };
        self.entries.push(entry(
            module.bias.wrapping_add(symbol.address()),
            symbol.size(),
            limit,
            binding,
            name,
        ));
    }

    /// The symbol that covers an address, with its demangled name.
    pub(super) fn at(&self, address: u64) -> Option<(u64, &str)> {
        let after = self
            .entries
            .partition_point(|entry| entry.address <= address);
        // The innermost one is the last that begins before the address and ends behind it.
        let covering = (0..after)
            .rev()
            .take_while(|&index| self.ends.get(index).is_some_and(|&end| address < end))
            .filter_map(|index| self.entries.get(index))
            .find(|entry| address < entry.end());
        // A symbol without size, as assembly has them, reaches to the next one.
        let last = self.entries[..after].last();
        let unsized_before = || last.filter(|entry| entry.size == 0 && address < entry.limit);
        let found = covering.or_else(unsized_before)?;
        // Of several names at this address the best one.
        let first = self
            .entries
            .partition_point(|entry| entry.address < found.address);
        let best = self.entries[first..]
            .iter()
            .find(|e| e.address == found.address && (e.size > 0) == (found.size > 0));
        best.map(|entry| (entry.address, entry.name.as_str()))
    }

    /// All symbols in order of address.
    pub(super) fn list(&self) -> impl Iterator<Item = Listed<'_>> {
        self.entries.iter().map(|entry| Listed {
            name: &entry.name,
            address: entry.address,
            size: entry.size,
            is_local: entry.rank.1 == 2,
            is_weak: entry.rank.1 == 1,
        })
    }

    /// A symbol by its name, as in the table or demangled.
    pub(super) fn named(&self, name: &str) -> Option<Symbol> {
        let exact = self
            .entries
            .iter()
            .filter(|entry| entry.name == name)
            .min_by_key(|entry| entry.rank);
        let found = exact.or_else(|| {
            self.entries
                .iter()
                .find(|entry| is_called(&demangle(&entry.name), name))
        })?;
        Some(Symbol {
            address: found.address,
            size: found.size,
        })
    }
}

/// What a demangled name ends with where it depends on a version of the C++ library; nobody types that.
const ABI_TAG: &str = "[abi:cxx11]";

fn is_called(demangled: &str, name: &str) -> bool {
    demangled == name || demangled.strip_suffix(ABI_TAG) == Some(name)
}

impl Entry {
    /// One past the last byte that it covers by its size.
    fn end(&self) -> u64 {
        self.address.saturating_add(self.size).min(self.limit)
    }
}

fn entry(address: u64, size: u64, limit: u64, binding: u8, name: &str) -> Entry {
    let underscores = name.bytes().take_while(|&byte| byte == b'_').count();
    // Mangled names begin with an underscore that says nothing.
    let underscores = if name.starts_with("_Z") || name.starts_with("_R") {
        0
    } else {
        underscores
    };
    Entry {
        address,
        size,
        limit,
        rank: (size == 0, binding, underscores),
        name: name.to_owned(),
    }
}

/// The name as the source has it. Parameters of C++ functions are left out.
pub(super) fn demangle(name: &str) -> String {
    if let Ok(rust) = rustc_demangle::try_demangle(name) {
        return format!("{rust:#}");
    }
    let options = cpp_demangle::DemangleOptions::new()
        .no_params()
        .no_return_type();
    let cpp = cpp_demangle::Symbol::new(name)
        .ok()
        .filter(|_| name.starts_with("_Z"));
    cpp.and_then(|symbol| symbol.demangle_with_options(&options).ok())
        .unwrap_or_else(|| name.to_owned())
}

// ---- dynamic symbols out of memory ----

const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_GNU_HASH: u64 = 0x6fff_fef5;
const SYMBOL: u64 = 24;

fn from_memory(memory: &dyn Memory, module: &Module) -> Option<Vec<Entry>> {
    let dynamic = module.dynamic?;
    let at = |address: u64| {
        // The loader has relocated the pointers of most modules, but not those of the vdso.
        if address < module.start {
            module.bias.wrapping_add(address)
        } else {
            address
        }
    };
    let (mut strings, mut symbols, mut hash, mut gnu_hash) = (None, None, None, None);
    for index in 0..512 {
        let key = memory.read_u64(dynamic.checked_add(index * 16)?)?;
        let value = memory.read_u64(dynamic.checked_add(index * 16 + 8)?)?;
        match key {
            0 => break,
            DT_STRTAB => strings = Some(at(value)),
            DT_SYMTAB => symbols = Some(at(value)),
            DT_HASH => hash = Some(at(value)),
            DT_GNU_HASH => gnu_hash = Some(at(value)),
            _ => {}
        }
    }
    let (strings, symbols) = (strings?, symbols?);
    let count = match (hash, gnu_hash) {
        (Some(hash), _) => u64::from(memory.read_u32(hash.checked_add(4)?)?),
        (None, Some(hash)) => gnu_count(memory, hash)?,
        (None, None) => return None,
    };
    let mut entries = Vec::new();
    for index in 1..count.min(DYNAMIC_MAX) {
        let Some(address) = symbols.checked_add(index * SYMBOL) else {
            break;
        };
        let mut bytes = [0; SYMBOL as usize];
        if !memory.read_all(address, &mut bytes) {
            break;
        }
        entries.extend(symbol(memory, module, strings, &bytes));
    }
    Some(entries)
}

fn symbol(
    memory: &dyn Memory,
    module: &Module,
    strings: u64,
    bytes: &[u8; SYMBOL as usize],
) -> Option<Entry> {
    let name = u32::from_le_bytes(*bytes.first_chunk()?);
    let (info, section) = (bytes[4], u16::from_le_bytes([bytes[6], bytes[7]]));
    let value = u64::from_le_bytes(*bytes[8..].first_chunk()?);
    let size = u64::from_le_bytes(*bytes[16..].first_chunk()?);
    // Functions, data and untyped symbols that are defined.
    if info & 0xf > 2 || section == 0 || value == 0 {
        return None;
    }
    let name = memory.read_string(strings.checked_add(u64::from(name))?, NAME_MAX)?;
    let binding = match info >> 4 {
        0 => 2,
        2 => 1,
        _ => 0,
    };
    let address = module.bias.wrapping_add(value);
    let limit = module
        .segment_at(address)
        .map_or(address, |segment| segment.end);
    (!name.is_empty()).then(|| entry(address, size, limit, binding, &name))
}

/// The number of symbols: the last chain of the last bucket ends it.
fn gnu_count(memory: &dyn Memory, table: u64) -> Option<u64> {
    let buckets = u64::from(memory.read_u32(table)?);
    let first = u64::from(memory.read_u32(table.checked_add(4)?)?);
    let bloom = u64::from(memory.read_u32(table.checked_add(8)?)?);
    let buckets_at = table.checked_add(16 + bloom.checked_mul(8)?)?;
    let mut last = 0;
    for bucket in 0..buckets.min(DYNAMIC_MAX) {
        last = last.max(u64::from(
            memory.read_u32(buckets_at.checked_add(bucket * 4)?)?,
        ));
    }
    if last < first {
        return Some(first);
    }
    let chains = buckets_at.checked_add(buckets * 4)?;
    for index in last..last.saturating_add(DYNAMIC_MAX) {
        if memory.read_u32(chains.checked_add((index - first) * 4)?)? & 1 != 0 {
            return Some(index + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(symbols: &[(u64, u64, u8, &str)]) -> Table {
        let mut entries: Vec<Entry> = symbols
            .iter()
            .map(|&(a, s, b, n)| entry(a, s, 0x1000, b, n))
            .collect();
        entries.sort_by(|a, b| (a.address, a.rank, &a.name).cmp(&(b.address, b.rank, &b.name)));
        let mut table = Table {
            entries,
            ends: Vec::new(),
        };
        table.find_ends();
        table
    }

    #[test]
    fn many_labels_in_a_function_do_not_hide_it() {
        let mut symbols = vec![(0x100, 0x800, 0, "function")];
        symbols.extend((0..200).map(|index| (0x104 + index * 4, 0, 2, "label")));
        assert_eq!(table(&symbols).at(0x424), Some((0x100, "function")));
    }

    #[test]
    fn no_symbol_reaches_out_of_its_section() {
        let table = table(&[(0x900, 0, 0, "label"), (0x100, u64::MAX, 0, "huge")]);
        assert_eq!(table.at(0xfff).map(|found| found.1), Some("huge"));
        assert_eq!(table.at(0x1000), None);
    }

    #[test]
    fn the_symbol_that_covers_an_address() {
        let table = table(&[
            (0x100, 0x20, 0, "f"),
            (0x120, 0, 2, "label"),
            (0x140, 0x10, 0, "g"),
            (0x100, 0x80, 2, "outer"),
        ]);
        assert_eq!(table.at(0x11f), Some((0x100, "f")));
        assert_eq!(table.at(0x130).map(|found| found.0), Some(0x100));
        assert_eq!(table.at(0x145), Some((0x140, "g")));
        assert_eq!(table.at(0xff), None);
        assert_eq!(table.at(0x200), None);
    }

    #[test]
    fn the_plainest_of_several_names() {
        let table = table(&[
            (0x100, 8, 0, "__libc_pause"),
            (0x100, 8, 0, "pause"),
            (0x100, 8, 2, "a_local"),
        ]);
        assert_eq!(table.at(0x104), Some((0x100, "pause")));
    }

    #[test]
    fn names_as_the_source_has_them() {
        assert_eq!(demangle("_ZN3foo3barEi"), "foo::bar");
        assert_eq!(
            demangle("_ZN4core3fmt5write17h0123456789abcdefE"),
            "core::fmt::write"
        );
        assert_eq!(demangle("main"), "main");
    }
}
