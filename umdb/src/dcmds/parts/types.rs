//! Types for ::print, ::sizeof and ::offsetof: the program's own, and those that libumem.so publishes.

use umem_layout::STRUCTS;

use super::context::{Context, Error};
use crate::symbols::{Encoding, Shape, Type, TypeId, TypeMember};

/// A type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// One of the program, from DWARF.
    Dwarf(TypeId),
    /// A published structure, by its identifier.
    Published(usize),
    /// A number of so many bytes.
    Unsigned(u64),
    /// A character.
    Character,
    /// Elements in a row.
    Array(Box<Kind>, u64),
    /// The address of something.
    Pointer(Box<Kind>),
}

/// Names by which mdb users know published structures.
const OLD_NAMES: [(&str, &str); 10] = [
    ("umem_cache_t", "Cache"),
    ("umem_slab_t", "Slab"),
    ("umem_bufctl_t", "AuditRecord"),
    ("umem_bufctl_audit_t", "AuditRecord"),
    ("umem_buftag_t", "Trailer"),
    ("umem_magazine_t", "Magazine"),
    ("umem_cpu_cache_t", "ThreadCache"),
    ("umem_log_header_t", "Log"),
    ("vmem_t", "Arena"),
    ("vmem_seg_t", "Segment"),
];

/// Aliases are followed so far.
const ALIASES_MAX: u32 = 32;
const POINTER: u64 = 8;

impl Kind {
    /// The published structure with a name.
    fn published(name: &str) -> Option<Self> {
        let old = OLD_NAMES.iter().find(|(old, _)| *old == name);
        let name = old.map_or(name, |(_, name)| name);
        let name = name.strip_prefix("struct ").unwrap_or(name);
        STRUCTS
            .iter()
            .position(|(other, _, _)| *other == name)
            .map(Self::Published)
    }

    /// The type of a published field.
    fn of_field(text: &str) -> Self {
        let array = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        if let Some((of, count)) = array.and_then(|inner| inner.rsplit_once(';')) {
            let count = count.trim().parse().unwrap_or(0);
            let of = match of.trim() {
                // Arrays of bytes are names.
                "u8" => Self::Character,
                other => Self::of_field(other),
            };
            return Self::Array(Box::new(of), count);
        }
        match text {
            "u8" => Self::Unsigned(1),
            "u16" => Self::Unsigned(2),
            "u32" => Self::Unsigned(4),
            other => Self::published(other).unwrap_or(Self::Unsigned(8)),
        }
    }
}

fn plain(name: &str, size: u64, encoding: Encoding) -> Type<Kind> {
    Type {
        name: Some(name.to_owned()),
        size: Some(size),
        shape: Shape::Base(encoding),
    }
}

impl Context<'_> {
    /// What a type is.
    pub fn describe(&self, kind: &Kind) -> Option<Type<Kind>> {
        match kind {
            Kind::Dwarf(id) => Some(self.symbols.type_at(*id)?.map(Kind::Dwarf)),
            Kind::Published(index) => self.published(*index),
            Kind::Unsigned(size) => {
                let name = format!("u{}", size * 8);
                Some(plain(&name, *size, Encoding::Unsigned))
            }
            Kind::Character => Some(plain("char", 1, Encoding::Character)),
            Kind::Array(of, count) => Some(Type {
                name: None,
                size: self.type_size(of).and_then(|size| size.checked_mul(*count)),
                shape: Shape::Array((**of).clone(), vec![Some(*count)]),
            }),
            Kind::Pointer(to) => Some(Type {
                name: None,
                size: Some(POINTER),
                shape: Shape::Pointer(Some((**to).clone())),
            }),
        }
    }

    /// A published structure, as large as the target says.
    fn published(&self, index: usize) -> Option<Type<Kind>> {
        let (name, known, fields) = *STRUCTS.get(index)?;
        let sizes = self.heap.root.record.struct_sizes;
        let size = sizes.get(index).copied().filter(|&size| size > 0);
        let members = fields.iter().map(|field| TypeMember {
            name: Some(field.name.to_owned()),
            offset: field.offset as u64,
            of: Kind::of_field(field.kind),
            bits: None,
        });
        Some(Type {
            name: Some(name.to_owned()),
            size: Some(size.map_or(known as u64, u64::from)),
            shape: Shape::Struct {
                keyword: "struct",
                members: members.collect(),
                variants: None,
            },
        })
    }

    /// What a type is behind its other names.
    pub fn resolved(&self, kind: &Kind) -> Option<Type<Kind>> {
        let mut found = self.describe(kind)?;
        for _ in 0..ALIASES_MAX {
            match &found.shape {
                Shape::Alias(_, Some(to)) => found = self.describe(to)?,
                // A declaration, as of a structure that another file defines.
                Shape::Declared(keyword) => {
                    let name = format!("{keyword} {}", found.name.as_deref()?);
                    let id = self.symbols.type_in_program(&name)?;
                    return self.describe(&Kind::Dwarf(id));
                }
                _ => return Some(found),
            }
        }
        None
    }

    /// Bytes of a value, where known.
    pub fn type_size(&self, kind: &Kind) -> Option<u64> {
        match kind {
            Kind::Dwarf(id) => self
                .symbols
                .size_of(*id)
                .or_else(|| self.resolved(kind)?.size),
            _ => self.describe(kind)?.size,
        }
    }

    /// A type as a program writes it.
    pub fn type_name(&self, kind: &Kind) -> String {
        self.type_name_within(kind, ALIASES_MAX)
    }

    fn type_name_within(&self, kind: &Kind, depth: u32) -> String {
        let Some(found) = self.describe(kind).filter(|_| depth > 0) else {
            return "?".to_owned();
        };
        let name_of = |kind: &Kind| self.type_name_within(kind, depth - 1);
        let name = found.name.as_deref();
        match &found.shape {
            Shape::Struct { keyword, .. } | Shape::Declared(keyword) => {
                let is_plain = name.is_some_and(|name| name.contains(['<', ':']));
                let name = name.unwrap_or("<anonymous>");
                if is_plain {
                    name.to_owned()
                } else {
                    format!("{keyword} {name}")
                }
            }
            Shape::Enum(_) => format!("enum {}", name.unwrap_or("<anonymous>")),
            Shape::Pointer(to) => {
                let to = to.as_ref().map_or("void".to_owned(), name_of);
                let blank = if to.ends_with('*') { "" } else { " " };
                name.map_or_else(|| format!("{to}{blank}*"), str::to_owned)
            }
            Shape::Array(of, counts) => {
                let counts = counts.iter().map(|count| match count {
                    Some(count) => format!("[{count}]"),
                    None => "[]".to_owned(),
                });
                format!("{} {}", name_of(of), counts.collect::<String>())
            }
            Shape::Alias("", to) => name.map_or_else(
                || to.as_ref().map_or("void".to_owned(), name_of),
                str::to_owned,
            ),
            Shape::Alias(word, to) => {
                format!("{word} {}", to.as_ref().map_or("void".to_owned(), name_of))
            }
            Shape::Function => "function".to_owned(),
            Shape::Base(_) | Shape::Unknown => name.unwrap_or("void").to_owned(),
        }
    }

    /// The type that words name, and how many of the words that took: `struct session *`.
    ///
    /// # Errors
    /// When there is none.
    pub fn parse_type(&self, words: &[String]) -> Result<(Kind, usize), Error> {
        let taken = words_of_type(words);
        let text = words.get(..taken).unwrap_or_default().join(" ");
        let name = text.trim_end_matches(['*', ' ']);
        let stars = text[name.len()..].matches('*').count();
        let dwarf = |id: Option<TypeId>| id.map(Kind::Dwarf);
        let found = dwarf(self.symbols.type_in_program(name))
            .or_else(|| Kind::published(name))
            .or_else(|| dwarf(self.symbols.type_in_libraries(name)));
        let Some(found) = found else {
            return Err(Error::with_hint(
                format!("failed to find type {name}: no type of that name"),
                "types need the debug information of the program (built with -g, or its debug package)",
            ));
        };
        let kind = (0..stars).fold(found, |kind, _| Kind::Pointer(Box::new(kind)));
        Ok((kind, taken))
    }

    /// The type of what is at an address: of a variable of the program, or of a structure of the allocator.
    pub fn type_of_address(&self, address: u64) -> Option<Kind> {
        let heap = self.heap;
        let published = |name: &str| Kind::published(name);
        if let Some(id) = self.symbols.type_of_variable(address) {
            return Some(Kind::Dwarf(id));
        }
        if heap.cache_at(address).is_some() {
            return published("Cache");
        }
        if heap.arena_at(address).is_some() {
            return published("Arena");
        }
        if address == heap.root.address {
            return published("UmemRoot");
        }
        if heap.object_of_record(address).is_some() {
            return published("AuditRecord");
        }
        if heap.block_of_segment(address).is_some() {
            return published("Segment");
        }
        if heap.log_entry_at(address).is_some() {
            return published("LogEntry");
        }
        let is_thread = heap.threads.iter().any(|(at, _)| *at == address);
        if is_thread { published("Thread") } else { None }
    }
}

/// Words that another one has to follow.
const KEYWORDS: [&str; 4] = ["struct", "union", "enum", "class"];
/// Words that make up the name of a number.
const NUMBERS: [&str; 7] = [
    "unsigned", "signed", "long", "short", "int", "char", "double",
];

/// How many of the words are the name of a type.
fn words_of_type(words: &[String]) -> usize {
    let Some(first) = words.first() else { return 0 };
    let mut taken = 1;
    if KEYWORDS.contains(&first.as_str()) {
        taken = 2.min(words.len());
    } else if NUMBERS.contains(&first.as_str()) {
        taken = words
            .iter()
            .take_while(|word| NUMBERS.contains(&word.as_str()))
            .count();
    }
    let is_star = |word: &&String| !word.is_empty() && word.chars().all(|c| c == '*');
    taken + words[taken..].iter().take_while(is_star).count()
}

/// A step from a value to a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// `.name` or `->name`.
    Member(String),
    /// `[index]`.
    Index(u64),
}

/// The steps in `a.b->c[3]`.
///
/// # Errors
/// What is wrong with it, in one line.
pub fn parse_steps(text: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (index, behind) = inner
                .split_once(']')
                .ok_or_else(|| format!("expected ] in \"{text}\""))?;
            let index = crate::lang::parse_number(index.trim(), 10);
            steps.push(Step::Index(
                index.map_err(|what| format!("{what} in \"{text}\""))?,
            ));
            rest = behind;
            continue;
        }
        rest = rest
            .strip_prefix("->")
            .or_else(|| rest.strip_prefix('.'))
            .unwrap_or(rest);
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let end = rest.find("->").map_or(end, |arrow| end.min(arrow));
        let (name, behind) = rest.split_at(end);
        if name.is_empty() {
            return Err(format!("expected the name of a member in \"{text}\""));
        }
        steps.push(Step::Member(name.to_owned()));
        rest = behind;
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_steps() {
        let member = |name: &str| Step::Member(name.to_owned());
        assert_eq!(
            parse_steps("a.b->c[3][0x10].d"),
            Ok(vec![
                member("a"),
                member("b"),
                member("c"),
                Step::Index(3),
                Step::Index(16),
                member("d")
            ])
        );
        for wrong in ["a..b", "a[", "a[x]", "->", "a."] {
            assert!(parse_steps(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn words_of_a_type_are_counted() {
        let count = |text: &str| {
            let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            words_of_type(&words)
        };
        assert_eq!(count("struct session next"), 2);
        assert_eq!(count("unsigned long int * x"), 4);
        assert_eq!(count("session x y"), 1);
        assert_eq!(count("struct"), 1);
        assert_eq!(count(""), 0);
    }
}
