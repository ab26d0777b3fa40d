//! Types for ::print, ::sizeof and ::offsetof: the program's own, and those that libumem.so publishes.

use umem_layout::STRUCTS;

use super::{
    args::Dcmd,
    context::{Context, Error},
};
use crate::symbols::{Encoding, Shape, Type, TypeId, TypeMember, normal_type_name};

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
    /// One of [`NUMBERS`].
    Number(usize),
    /// Nothing: what `void *` points to.
    Void,
    /// Elements in a row.
    Array(Box<Kind>, u64),
    /// The address of something.
    Pointer(Box<Kind>),
}

/// Names by which mdb users know published structures; their tags are the same without `_t`.
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
        let tag = name.strip_prefix("struct ").unwrap_or(name);
        let old = OLD_NAMES
            .iter()
            .find(|(old, _)| *old == name || old.strip_suffix("_t") == Some(tag));
        let name = old.map_or(tag, |(_, name)| name);
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
            Kind::Number(index) => {
                let (name, size, encoding) = NUMBERS.get(*index)?;
                Some(plain(name, *size, *encoding))
            }
            Kind::Void => Some(Type {
                name: Some("void".to_owned()),
                size: None,
                shape: Shape::Unknown,
            }),
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
            below: None,
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
        Ok((self.type_of_text(&text)?, taken))
    }

    /// A type as a C programmer writes it: `const char **`, `struct session *[3]`.
    fn type_of_text(&self, text: &str) -> Result<Kind, Error> {
        let text = text.trim();
        if let Some(inner) = text.strip_suffix('*') {
            return Ok(Kind::Pointer(Box::new(self.type_of_text(inner)?)));
        }
        if let Some((inner, counts)) = array(text) {
            let of = self.type_of_text(inner)?;
            let array = |of, &count: &u64| Kind::Array(Box::new(of), count);
            return Ok(counts.iter().rev().fold(of, array));
        }
        for word in QUALIFIERS {
            let before = text
                .strip_suffix(word)
                .filter(|rest| rest.ends_with([' ', '*']));
            let behind = text.strip_prefix(word).filter(|rest| rest.starts_with(' '));
            if let Some(rest) = before.or(behind) {
                return self.type_of_text(rest);
            }
        }
        self.type_named(text)
    }

    fn type_named(&self, name: &str) -> Result<Kind, Error> {
        if name.is_empty() {
            return Err(Error::failed("expected the name of a type"));
        }
        if KEYWORDS.contains(&name) {
            return Err(Error::failed(format!("expected a name behind {name}")));
        }
        if name == "void" {
            return Ok(Kind::Void);
        }
        let dwarf = |id: Option<TypeId>| id.map(Kind::Dwarf);
        dwarf(self.symbols.type_in_program(name))
            .or_else(|| Kind::published(name))
            .or_else(|| Kind::number(name))
            .or_else(|| dwarf(self.symbols.type_in_libraries(name)))
            .ok_or_else(|| {
                Error::with_hint(
                    format!("failed to find type {name}: no type of that name"),
                    "types need the debug information of the program (built with -g, or its debug package)",
                )
            })
    }

    /// The type before the operands of a command, and those.
    ///
    /// # Errors
    /// When there is none; `what` says what was expected.
    pub fn typed_operands<'w>(
        &self,
        dcmd: &Dcmd,
        words: &'w [String],
        what: &str,
    ) -> Result<(Kind, &'w [String]), Error> {
        if words.is_empty() {
            return Err(dcmd.misused(format!("expected {what}")));
        }
        let named = self.parse_type(words);
        let (kind, taken) = named.map_err(|error| dcmd.unknown_type(error))?;
        Ok((kind, &words[taken..]))
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
const WORDS: [&str; 7] = [
    "unsigned", "signed", "long", "short", "int", "char", "double",
];
/// Words that change nothing of what is shown.
const QUALIFIERS: [&str; 3] = ["const", "volatile", "restrict"];

/// Numbers of C on x86-64 Linux, and those with names of their own, for programs whose debug information has none so
/// called.
const NUMBERS: &[(&str, u64, Encoding)] = &[
    ("char", 1, Encoding::Character),
    ("signed char", 1, Encoding::Signed),
    ("unsigned char", 1, Encoding::Unsigned),
    ("short", 2, Encoding::Signed),
    ("unsigned short", 2, Encoding::Unsigned),
    ("int", 4, Encoding::Signed),
    ("signed", 4, Encoding::Signed),
    ("unsigned int", 4, Encoding::Unsigned),
    ("long", 8, Encoding::Signed),
    ("unsigned long", 8, Encoding::Unsigned),
    ("long long", 8, Encoding::Signed),
    ("unsigned long long", 8, Encoding::Unsigned),
    ("float", 4, Encoding::Float),
    ("double", 8, Encoding::Float),
    ("_Bool", 1, Encoding::Boolean),
    ("bool", 1, Encoding::Boolean),
    ("size_t", 8, Encoding::Unsigned),
    ("ssize_t", 8, Encoding::Signed),
    ("uintptr_t", 8, Encoding::Unsigned),
    ("intptr_t", 8, Encoding::Signed),
    ("uint8_t", 1, Encoding::Unsigned),
    ("int8_t", 1, Encoding::Signed),
    ("uint16_t", 2, Encoding::Unsigned),
    ("int16_t", 2, Encoding::Signed),
    ("uint32_t", 4, Encoding::Unsigned),
    ("int32_t", 4, Encoding::Signed),
    ("uint64_t", 8, Encoding::Unsigned),
    ("int64_t", 8, Encoding::Signed),
];

impl Kind {
    /// The number with a name, whose words may stand in any order.
    fn number(name: &str) -> Option<Self> {
        let wanted = normal_type_name(name.to_owned());
        let is_it = |(known, _, _): &(&str, _, _)| normal_type_name((*known).to_owned()) == wanted;
        NUMBERS.iter().position(is_it).map(Self::Number)
    }
}

/// What stands before the numbers in brackets at the end of a type, and these.
fn array(text: &str) -> Option<(&str, Vec<u64>)> {
    let mut inner = text;
    let mut counts = Vec::new();
    while let Some((before, count)) = inner
        .strip_suffix(']')
        .and_then(|rest| rest.rsplit_once('['))
    {
        counts.push(crate::lang::parse_number(count.trim(), 10).ok()?);
        inner = before.trim_end();
    }
    counts.reverse();
    (!counts.is_empty() && !inner.is_empty()).then_some((inner, counts))
}

/// How many of the words are the name of a type.
fn words_of_type(words: &[String]) -> usize {
    let is_qualifier = |word: &&String| QUALIFIERS.contains(&word.as_str());
    let bare = |word: &str| word.trim_end_matches('*').len();
    let before = words.iter().take_while(is_qualifier).count();
    let Some(first) = words.get(before) else {
        return words.len();
    };
    let mut taken = before + 1;
    if KEYWORDS.contains(&first.as_str()) {
        taken = (taken + 1).min(words.len());
    } else {
        // `unsigned long*`: a star ends the name.
        let mut last = first;
        while WORDS.contains(&last.as_str())
            && let Some(next) = words.get(taken)
            && WORDS.contains(&&next[..bare(next)])
        {
            last = next;
            taken += 1;
        }
    }
    let is_behind = |word: &&String| {
        let stars = word.trim_start_matches('*');
        let is_array = stars.len() < word.len() && stars.starts_with('[');
        let is_qualifier = QUALIFIERS.contains(&stars.trim_end_matches('*'));
        !word.is_empty() && (stars.is_empty() || is_array || is_qualifier)
    };
    taken + words[taken..].iter().take_while(is_behind).count()
}

/// A step from a value to a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// `.name` or `->name`.
    Member(String),
    /// `[index]`.
    Index(u64),
}

/// The steps of an operand that names a member.
///
/// # Errors
/// What is wrong with it, and how the command is typed.
pub fn member_steps(dcmd: &Dcmd, text: &str) -> Result<Vec<Step>, Error> {
    parse_steps(text).map_err(|what| dcmd.misused(what))
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
    fn types_are_spelled_as_in_c() {
        use crate::{analysis::Cancel, heap::synthetic::victim, symbols::Symbols};
        let (mut builder, _) = victim();
        builder.publish();
        let (target, heap, cancel) = (builder.target(), builder.heap(), Cancel::new());
        let symbols = Symbols::new(&target);
        let cx = Context::new(&target, &symbols, &heap, &cancel);
        let named = |text: &str| {
            let kind = cx.type_of_text(text).map_err(|error| error.to_string())?;
            Ok::<_, String>((cx.type_name(&kind), cx.type_size(&kind)))
        };
        let is = |text: &str, name: &str, size: u64| {
            assert_eq!(named(text), Ok((name.to_owned(), Some(size))), "{text}");
        };
        is("void*", "void *", 8);
        is("  void  * ", "void *", 8);
        is("char **", "char **", 8);
        is("char* *", "char **", 8);
        is("const char *const*", "char **", 8);
        is("char const *", "char *", 8);
        is("long unsigned int", "unsigned long", 8);
        is("unsigned", "unsigned int", 4);
        is("short int", "short", 2);
        is("size_t", "size_t", 8);
        is("unsigned char[3]", "unsigned char [3]", 3);
        is("int *[0x10]", "int * [16]", 128);
        assert_eq!(named("short [2][3]").map(|named| named.1), Ok(Some(12)));
        is("struct Trailer *", "struct Trailer *", 8);
        assert_eq!(named("void"), Ok(("void".to_owned(), None)));
        for wrong in [
            "", "*", "nothing", "struct", "int[", "int[x]", "[3]", "const", "const *",
        ] {
            assert!(named(wrong).is_err(), "{wrong}");
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
        assert_eq!(count("const char * const * x"), 5);
        assert_eq!(count("char** name"), 1);
        assert_eq!(count("unsigned long* long"), 2);
        assert_eq!(count("struct session* * next"), 3);
        assert_eq!(count("void *const x"), 2);
        assert_eq!(count("struct session *[3] x"), 3);
        assert_eq!(count("struct session [3]"), 2);
        assert_eq!(count("const"), 1);
    }
}
