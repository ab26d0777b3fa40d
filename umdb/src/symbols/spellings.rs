//! Which names the tables of a module may hold, known without reading the tables: a number for each name.
//!
//! A name that is typed is looked for in every module. Most hold none like it, and to say so takes four bytes for each of their
//! symbols, where their tables take a hundred and have to be sorted.
//!
//! Of a mangled name all identifiers in it are kept. They stand behind their length, in C++ (`_ZN3foo3barEi`) as in Rust
//! (`_RNvC4main4HEAD`); what stands behind any other number is taken for one as well. A name that is asked for is then told
//! by its last identifier, unless it is of the few that mangling abbreviates.

use object::{Object, ObjectSymbol};

use super::files::Bytes;

/// A number for each name, in order.
pub(super) struct Spellings(Vec<u32>);

/// What C++ abbreviates, so that it stands in no mangled name (`_ZNSs` is `std::string`).
const ABBREVIATED: [&str; 8] = [
    "allocator",
    "basic_string",
    "string",
    "basic_istream",
    "istream",
    "basic_ostream",
    "ostream",
    "iostream",
];

impl Spellings {
    /// Those of the tables of some files; none where these hold no symbols.
    pub(super) fn read(files: &[&Bytes]) -> Option<Self> {
        let mut numbers = Vec::new();
        for elf in files.iter().filter_map(|bytes| bytes.elf()) {
            for symbol in elf.symbols().chain(elf.dynamic_symbols()) {
                if let Ok(name) = symbol.name_bytes()
                    && !symbol.is_undefined()
                {
                    add(name, &mut numbers);
                }
            }
        }
        numbers.sort_unstable();
        numbers.dedup();
        (!numbers.is_empty()).then_some(Self(numbers))
    }

    /// False where no symbol is called so, as in the table or demangled.
    pub(super) fn may_hold(&self, name: &str) -> bool {
        let holds = |text: &str| self.0.binary_search(&number(text.as_bytes())).is_ok();
        holds(name) || last_identifier(name).is_none_or(holds)
    }
}

fn add(name: &[u8], numbers: &mut Vec<u32>) {
    numbers.push(number(name));
    if name.starts_with(b"_Z") || name.starts_with(b"_R") {
        identifiers(name, |identifier| numbers.push(number(identifier)));
    }
}

/// Calls `each` with whatever may be an identifier of a mangled name: what stands behind a number, as long as
/// that says.
fn identifiers(name: &[u8], mut each: impl FnMut(&[u8])) {
    for start in 0..name.len() {
        let digits = name[start..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit());
        let digits = digits.take(4).count();
        let length = name[start..start + digits]
            .iter()
            .fold(0, |length, digit| length * 10 + usize::from(digit - b'0'));
        // The digits behind the first ones of a number are no number.
        let behind = name.get(start + digits..).unwrap_or_default();
        // Rust separates an identifier that begins with a digit.
        for rest in [Some(behind), behind.strip_prefix(b"_")]
            .into_iter()
            .flatten()
        {
            if let Some(identifier) = rest.get(..length).filter(|rest| !rest.is_empty()) {
                each(identifier);
            }
        }
    }
}

/// The last identifier of a name as the source has it, without arguments of templates. None where it cannot be told by
/// that.
fn last_identifier(name: &str) -> Option<&str> {
    if !name.is_ascii() {
        return None;
    }
    let name = name.strip_suffix("[abi:cxx11]").unwrap_or(name);
    let mut end = name.len();
    let mut depth = 0_usize;
    for (at, c) in name.char_indices().rev() {
        match c {
            '>' => depth += 1,
            '<' => depth = depth.checked_sub(1)?,
            _ if depth > 0 => continue,
            _ => break,
        }
        end = at;
    }
    if depth > 0 {
        return None;
    }
    let head = &name[..end];
    let start = head
        .rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .map_or(0, |at| at + 1);
    let last = &head[start..];
    let is_told = !last.is_empty()
        && !name.contains("operator")
        && !name.contains(['{', ' '])
        && !ABBREVIATED.contains(&last);
    is_told.then_some(last)
}

/// A number for a text, by which others are told apart well enough.
fn number(text: &[u8]) -> u32 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = text.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let words = words.iter().chain(std::iter::once(&last));
    let mixed = words.fold(text.len() as u64, |mixed, word| {
        (mixed.rotate_left(29) ^ u64::from_le_bytes(*word)).wrapping_mul(FACTOR)
    });
    (mixed >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbols::tables::demangle;

    fn of(names: &[&str]) -> Spellings {
        let mut numbers = Vec::new();
        names
            .iter()
            .for_each(|name| add(name.as_bytes(), &mut numbers));
        numbers.sort_unstable();
        Spellings(numbers)
    }

    #[test]
    fn whatever_a_name_demangles_to_may_be_asked_for() {
        let mangled = [
            "main",
            "_Z3fooi",
            "_ZN3app7Session5countE",
            "_ZNSt6vectorIiSaIiEE9push_backERKi",
            "_ZN3foo3barILi16EE3bazEv",
            "_ZN12_GLOBAL__N_16hiddenE",
            "_ZNSs6appendEPKc",
            "_ZNSsC1Ev",
            "_Znwm",
            "_ZTV3Foo",
            "_ZN3FooD1Ev",
            "_ZN3FooplERKS_",
            "_ZN4core3fmt5write17h0123456789abcdefE",
            "_RNvC4main4HEAD",
            "_RNvNtC4main6module6STATIC",
            "_RNvC4main2_9x",
            "_ZZ4mainE7counter",
            "_ZN3foo10value_2024B5cxx11E",
        ];
        for name in mangled {
            let spellings = of(&[name]);
            assert!(spellings.may_hold(name), "{name}");
            assert!(
                spellings.may_hold(&demangle(name)),
                "{name}: {}",
                demangle(name)
            );
        }
        let spellings = of(&mangled);
        for other in [
            "nowhere",
            "app::Session::counts",
            "core::fmt::writ",
            "STATI",
        ] {
            assert!(!spellings.may_hold(other), "{other}");
        }
    }

    #[test]
    fn the_last_identifier_is_that_before_arguments() {
        assert_eq!(
            last_identifier("std::vector<int>::push_back"),
            Some("push_back")
        );
        assert_eq!(last_identifier("a::make<b::c<d>>"), Some("make"));
        assert_eq!(last_identifier("~Foo"), Some("Foo"));
        for untold in [
            "std::string",
            "a::operator+",
            "{vtable(Foo)}",
            "a>",
            "",
            "größe",
        ] {
            assert_eq!(last_identifier(untold), None, "{untold}");
        }
    }
}
