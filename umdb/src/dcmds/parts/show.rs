//! Values as text, by their types: what ::print shows.

use std::fmt::Write;

use super::{
    context::Context,
    types::{Kind, Step},
};
use crate::{
    report::{Cell, Item, List, Report, Sentence},
    symbols::{Encoding, Shape, Type, TypeMember, Variants},
};

/// How values are shown.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// The address of each.
    pub addresses: bool,
    /// The type of each.
    pub types: bool,
    /// All numbers decimal.
    pub decimal: bool,
    /// All numbers hexadecimal.
    pub hexadecimal: bool,
    /// Gaps between members.
    pub holes: bool,
    /// Elements of an array and bytes of a string.
    pub elements: u64,
    /// Structures within structures.
    pub depth: u64,
}

/// Most lines of one answer.
const LINES_MAX: usize = 20_000;
/// Bytes of the largest number.
const NUMBER_MAX: u64 = 16;

/// Where a value is: its type and its address, and for a bitfield its bits.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its type.
    pub kind: Kind,
    /// Its address.
    pub at: u64,
    /// Bits from `at`, and how many.
    pub bits: Option<(u64, u64)>,
}

/// Shows values as lines of a list.
pub struct Printer<'a> {
    cx: &'a Context<'a>,
    style: Style,
    list: List,
    unread: Option<u64>,
}

impl<'a> Printer<'a> {
    /// A printer without lines.
    pub fn new(cx: &'a Context<'a>, style: Style) -> Self {
        let list = List {
            key: "values",
            ..List::default()
        };
        Self {
            cx,
            style,
            list,
            unread: None,
        }
    }

    /// Gives the lines and what could not be read.
    pub fn finish(self, report: &mut Report) {
        if self.list.items.len() >= LINES_MAX {
            report.incomplete(format!("print: more than {LINES_MAX} lines: cut"));
        }
        report.push(self.list);
        if let Some(at) = self.unread {
            report.incomplete(format!("print: failed to read data at {at:x}"));
        }
    }

    /// Adds a line.
    fn line(
        &mut self,
        indent: usize,
        place: Option<(&Place, &str)>,
        text: &str,
        value: Option<u64>,
    ) {
        if self.list.items.len() >= LINES_MAX {
            return;
        }
        let mut sentence = Sentence::new();
        if let Some((place, _)) = place.filter(|_| self.style.addresses) {
            sentence = sentence.words(format!("{:x} ", place.at));
        }
        sentence = sentence.words(" ".repeat(indent));
        if let Some((place, name)) = place {
            if self.style.types {
                sentence = sentence.words(format!("{} ", self.cx.type_name(&place.kind)));
            }
            if !name.is_empty() {
                sentence = sentence.words(format!("{name} = "));
            }
            sentence = sentence
                .hidden("name", Cell::text(name))
                .hidden("address", Cell::Address(place.at))
                .hidden("type", Cell::text(self.cx.type_name(&place.kind)));
        }
        if let Some(value) = value {
            sentence = sentence.hidden("value", Cell::Number(value));
        }
        self.list.items.push(Item {
            sentence: sentence.words(text),
            stacks: Vec::new(),
        });
    }

    /// Shows a value with its name, if it has one.
    pub fn show(&mut self, name: &str, place: &Place) {
        self.value(name, place, 0, 0);
    }

    /// Shows a number as a value of a type.
    pub fn show_value(&mut self, kind: &Kind, value: u64) {
        let Some(found) = self.cx.resolved(kind) else {
            return;
        };
        let width = found.size.unwrap_or(8).min(8) * 8;
        let bits = u128::from(value) & (u128::MAX >> (128 - width.max(1)));
        let text = match &found.shape {
            Shape::Pointer(to) => self.pointer(value, to.as_ref()),
            Shape::Enum(values) => self.enumerator(signed(bits, width), bits, values),
            Shape::Base(encoding) => self.base(bits, width, *encoding),
            _ => return,
        };
        self.line(0, None, &text, Some(value));
    }

    fn value(&mut self, name: &str, place: &Place, indent: usize, depth: u64) {
        if self.list.items.len() >= LINES_MAX {
            return;
        }
        let Some(found) = self.cx.resolved(&place.kind) else {
            return self.line(indent, Some((place, name)), "<unknown type>", None);
        };
        match &found.shape {
            Shape::Struct {
                keyword,
                members,
                variants,
            } => {
                if depth >= self.style.depth {
                    return self.line(indent, Some((place, name)), "{ ... }", None);
                }
                match variants {
                    Some(variants) => self.variant(name, place, members, variants, indent, depth),
                    None => {
                        self.line(indent, Some((place, name)), "{", None);
                        let is_union = *keyword == "union";
                        self.members(place, &found, members, is_union, indent + 4, depth + 1);
                        self.line(indent, None, "}", None);
                    }
                }
            }
            Shape::Array(of, counts) => self.array(name, place, of, counts, indent, depth),
            _ => {
                let (text, value) = self.scalar(place, &found);
                self.line(indent, Some((place, name)), &text, value);
            }
        }
    }

    fn members(
        &mut self,
        place: &Place,
        of: &Type<Kind>,
        members: &[TypeMember<Kind>],
        is_union: bool,
        indent: usize,
        depth: u64,
    ) {
        let mut end = 0;
        for member in members {
            if self.style.holes && !is_union && member.bits.is_none() {
                self.hole(end, member.offset, indent);
            }
            let size = self.cx.type_size(&member.of).unwrap_or(0);
            end = end.max(member.offset.saturating_add(size));
            let name = member.name.as_deref().unwrap_or("");
            self.value(name, &part(place, member), indent, depth);
        }
        if let Some(size) = of.size.filter(|_| self.style.holes && !is_union) {
            self.hole(end, size, indent);
        }
    }

    fn hole(&mut self, from: u64, to: u64, indent: usize) {
        if from < to {
            self.line(
                indent,
                None,
                &format!("<<HOLE: {} bytes>>", to - from),
                None,
            );
        }
    }

    /// A value of an enum of Rust: the variant that its discriminant tells.
    fn variant(
        &mut self,
        name: &str,
        place: &Place,
        members: &[TypeMember<Kind>],
        variants: &Variants<Kind>,
        indent: usize,
        depth: u64,
    ) {
        let discriminant = variants.discriminant.as_ref();
        let tag = discriminant.and_then(|member| self.number(&part(place, member)));
        let of_tag = variants
            .list
            .iter()
            .find(|(value, _)| value.is_some() && *value == tag);
        let chosen = of_tag.or_else(|| variants.list.iter().find(|(value, _)| value.is_none()));
        let Some((_, member)) = chosen else {
            let text = tag.map_or("???".to_owned(), |tag| format!("<no variant {tag:#x}>"));
            return self.line(indent, Some((place, name)), &text, tag);
        };
        let variant = member.name.as_deref().unwrap_or("?");
        let inner = part(place, member);
        let Some(found) = self.cx.resolved(&inner.kind) else {
            return self.line(indent, Some((place, name)), variant, tag);
        };
        let (Shape::Struct { members: own, .. }, all) = (&found.shape, members) else {
            return self.line(indent, Some((place, name)), variant, tag);
        };
        if own.is_empty() && all.is_empty() {
            return self.line(indent, Some((place, name)), variant, tag);
        }
        self.line(indent, Some((place, name)), &format!("{variant} {{"), tag);
        self.members(place, &found, all, true, indent + 4, depth + 1);
        self.members(&inner, &found, own, true, indent + 4, depth + 1);
        self.line(indent, None, "}", None);
    }

    fn array(
        &mut self,
        name: &str,
        place: &Place,
        of: &Kind,
        counts: &[Option<u64>],
        indent: usize,
        depth: u64,
    ) {
        let count = counts
            .iter()
            .try_fold(1_u64, |all, count| all.checked_mul((*count)?))
            .unwrap_or(0);
        let element = self.cx.resolved(of);
        let size = self.cx.type_size(of).unwrap_or(0);
        let shown = count.min(self.style.elements);
        let is_text = element.as_ref().is_some_and(|element| {
            element.shape == Shape::Base(Encoding::Character) && counts.len() == 1
        });
        if is_text {
            let text = self.characters(place.at, count, shown);
            return self.line(indent, Some((place, name)), &format!("[ {text} ]"), None);
        }
        let at = |index: u64| Place {
            kind: of.clone(),
            at: place.at.wrapping_add(index.wrapping_mul(size)),
            bits: None,
        };
        let is_plain = element.as_ref().is_some_and(|element| {
            !matches!(element.shape, Shape::Struct { .. } | Shape::Array(..))
        });
        let rest = if shown < count { ", ..." } else { "" };
        if let Some(element) = element.filter(|_| is_plain) {
            let values: Vec<String> = (0..shown)
                .map(|i| self.scalar(&at(i), &element).0)
                .collect();
            let text = format!("[ {}{rest} ]", values.join(", "));
            return self.line(indent, Some((place, name)), &text, None);
        }
        self.line(indent, Some((place, name)), "[", None);
        for index in 0..shown {
            self.value(&format!("[{index}]"), &at(index), indent + 4, depth + 1);
        }
        if shown < count {
            self.line(
                indent + 4,
                None,
                &format!("... {} more", count - shown),
                None,
            );
        }
        self.line(indent, None, "]", None);
    }

    /// Characters up to the first zero byte behind which only zero bytes follow.
    fn characters(&mut self, at: u64, count: u64, shown: u64) -> String {
        let mut bytes = vec![0; shown as usize];
        let got = self.cx.heap.reader.fill(at, &mut bytes);
        if got < bytes.len() {
            self.unread = self.unread.or(Some(at));
            return "???".to_owned();
        }
        let end = bytes
            .iter()
            .rposition(|&byte| byte != 0)
            .map_or(0, |i| i + 1);
        let rest = if shown < count && end == bytes.len() {
            "..."
        } else {
            ""
        };
        format!("{}{rest}", quoted(&bytes[..end]))
    }

    /// The bits of a number, without sign.
    pub fn number(&mut self, place: &Place) -> Option<u64> {
        let size = self.cx.type_size(&place.kind)?;
        self.bits(place, size).map(|bits| bits as u64)
    }

    fn bits(&mut self, place: &Place, size: u64) -> Option<u128> {
        let (first, count) = place.bits.unwrap_or((0, size * 8));
        let bytes = (first + count).div_ceil(8);
        if count == 0 || count > 128 || bytes > NUMBER_MAX + 1 {
            return None;
        }
        let mut buffer = [0; 24];
        let wanted = &mut buffer[..bytes as usize];
        if self.cx.heap.reader.fill(place.at, wanted) < wanted.len() {
            self.unread = self.unread.or(Some(place.at));
            return None;
        }
        let low = u128::from_le_bytes(*buffer.first_chunk::<16>()?);
        let high = u128::from(buffer[16]);
        let shifted = match first {
            0 => low,
            first => low >> first | high << (128 - first),
        };
        Some(if count == 128 {
            shifted
        } else {
            shifted & ((1 << count) - 1)
        })
    }

    /// A value that is no structure: its text and, where it is one, its number.
    fn scalar(&mut self, place: &Place, found: &Type<Kind>) -> (String, Option<u64>) {
        let size = found.size.unwrap_or(0);
        match &found.shape {
            Shape::Function => return (self.name_of(place.at).unwrap_or_default(), None),
            Shape::Unknown | Shape::Declared(_) | Shape::Alias(..) => {
                return ("<unknown type>".to_owned(), None);
            }
            _ => {}
        }
        let Some(bits) = self.bits(place, size) else {
            return ("???".to_owned(), None);
        };
        let number = bits as u64;
        let width = place.bits.map_or(size * 8, |(_, count)| count);
        let text = match &found.shape {
            Shape::Pointer(to) => self.pointer(number, to.as_ref()),
            Shape::Enum(values) => self.enumerator(signed(bits, width), bits, values),
            Shape::Base(encoding) => self.base(bits, width, *encoding),
            _ => String::new(),
        };
        (text, Some(number))
    }

    fn base(&self, bits: u128, width: u64, encoding: Encoding) -> String {
        match encoding {
            Encoding::Float if width == 32 => f32::from_bits(bits as u32).to_string(),
            Encoding::Float if width == 64 => f64::from_bits(bits as u64).to_string(),
            Encoding::Boolean if bits < 2 && !self.style.hexadecimal => (bits == 1).to_string(),
            Encoding::Character if !self.style.hexadecimal && !self.style.decimal => {
                format!("'{}'", escaped(bits as u8, '\''))
            }
            Encoding::Unicode => {
                let c = char::from_u32(bits as u32);
                c.map_or_else(|| hexadecimal(bits), |c| format!("{c:?}"))
            }
            Encoding::Signed if !self.style.hexadecimal => signed(bits, width).to_string(),
            _ if self.style.decimal => bits.to_string(),
            _ => hexadecimal(bits),
        }
    }

    /// The name of a number, or names of its bits.
    fn enumerator(&self, value: i128, bits: u128, values: &[(String, i128)]) -> String {
        let number = if self.style.hexadecimal {
            hexadecimal(bits)
        } else {
            value.to_string()
        };
        let exact = values
            .iter()
            .find(|(_, other)| *other == value || *other == bits as i128);
        if let Some((name, _)) = exact {
            return format!("{number} ({name})");
        }
        let is_bit = |value: i128| value > 0 && value & (value - 1) == 0;
        let of_bits: Vec<&(String, i128)> = values
            .iter()
            .filter(|(_, other)| is_bit(*other) && value & other != 0)
            .collect();
        let sum = of_bits.iter().fold(0, |sum, (_, bit)| sum | bit);
        if sum == value && value != 0 {
            let names: Vec<&str> = of_bits.iter().map(|(name, _)| name.as_str()).collect();
            return format!("{} ({})", hexadecimal(bits), names.join("|"));
        }
        format!("{number} (???)")
    }

    /// An address, with the text or the symbol that it leads to.
    fn pointer(&mut self, address: u64, to: Option<&Kind>) -> String {
        let mut text = hexadecimal(address.into());
        let Some(to) = to
            .and_then(|to| self.cx.resolved(to))
            .filter(|_| address != 0)
        else {
            return text;
        };
        match to.shape {
            Shape::Base(Encoding::Character) => {
                let limit = self.style.elements as usize;
                if let Some(found) = self.string(address, limit) {
                    let _ = write!(text, " {found}");
                }
            }
            Shape::Function => {
                if let Some(name) = self.name_of(address) {
                    let _ = write!(text, " {name}");
                }
            }
            _ => {}
        }
        text
    }

    /// The text at an address, up to its zero byte.
    fn string(&self, address: u64, limit: usize) -> Option<String> {
        let mut bytes = vec![0; limit.clamp(1, 1 << 16)];
        let got = self.cx.heap.reader.fill(address, &mut bytes);
        let bytes = bytes.get(..got).filter(|bytes| !bytes.is_empty())?;
        match bytes.iter().position(|&byte| byte == 0) {
            Some(end) => Some(quoted(&bytes[..end])),
            None => Some(format!("{}...", quoted(bytes))),
        }
    }

    fn name_of(&self, address: u64) -> Option<String> {
        let place = self.cx.symbols.lookup(address);
        place.symbol.is_some().then(|| place.to_string())
    }

    /// The part of a value to which steps lead; pointers are followed.
    ///
    /// # Errors
    /// What there is not, in one line.
    pub fn step(&mut self, mut place: Place, steps: &[Step]) -> Result<Place, String> {
        for step in steps {
            let mut found = self.found(&place)?;
            if let Shape::Pointer(to) = &found.shape {
                let to = to.clone().ok_or("void has no members")?;
                let at = self
                    .number(&place)
                    .ok_or_else(|| format!("failed to read data at {:x}", place.at))?;
                place = Place {
                    kind: to,
                    at,
                    bits: None,
                };
                if let Step::Index(index) = step {
                    let size = self.cx.type_size(&place.kind).unwrap_or(0);
                    place.at = at.wrapping_add(index.wrapping_mul(size));
                    continue;
                }
                found = self.found(&place)?;
            }
            place = self.part(&place, &found, step)?;
        }
        Ok(place)
    }

    fn found(&self, place: &Place) -> Result<Type<Kind>, String> {
        self.cx
            .resolved(&place.kind)
            .ok_or_else(|| format!("{} is not defined here", self.cx.type_name(&place.kind)))
    }

    fn part(&mut self, place: &Place, found: &Type<Kind>, step: &Step) -> Result<Place, String> {
        match (step, &found.shape) {
            (Step::Index(index), Shape::Array(of, counts)) => {
                // What is left of the dimensions counts as one element.
                let below: u64 = counts.iter().skip(1).flatten().product();
                let size = self.cx.type_size(of).unwrap_or(0).wrapping_mul(below);
                let kind = match counts.len() {
                    0 | 1 => of.clone(),
                    _ => Kind::Array(Box::new(of.clone()), below),
                };
                Ok(Place {
                    kind,
                    at: place.at.wrapping_add(index.wrapping_mul(size)),
                    bits: None,
                })
            }
            (
                Step::Member(name),
                Shape::Struct {
                    members, variants, ..
                },
            ) => self
                .member(place, members, variants.as_ref(), name, 0)
                .ok_or_else(|| format!("{} has no member {name}", self.cx.type_name(&place.kind))),
            (Step::Member(name), _) => {
                let of = self.cx.type_name(&place.kind);
                Err(format!("{of} is no structure: it has no member {name}"))
            }
            (Step::Index(_), _) => Err(format!("{} is no array", self.cx.type_name(&place.kind))),
        }
    }

    /// The member with a name, also of structures without name, of base classes and of variants.
    fn member(
        &self,
        place: &Place,
        members: &[TypeMember<Kind>],
        variants: Option<&Variants<Kind>>,
        name: &str,
        depth: u32,
    ) -> Option<Place> {
        let of_variants = variants.into_iter().flat_map(|variants| &variants.list);
        let own = members
            .iter()
            .find(|member| member.name.as_deref() == Some(name));
        let variant = of_variants
            .map(|(_, member)| member)
            .find(|member| member.name.as_deref() == Some(name));
        if let Some(member) = own.or(variant) {
            return Some(part(place, member));
        }
        let is_open = |member: &&TypeMember<Kind>| {
            member
                .name
                .as_deref()
                .is_none_or(|name| name.starts_with('<'))
        };
        let mut inner = members.iter().filter(is_open).filter(|_| depth < 8);
        inner.find_map(|member| {
            let place = part(place, member);
            let Shape::Struct {
                members, variants, ..
            } = self.cx.resolved(&place.kind)?.shape
            else {
                return None;
            };
            self.member(&place, &members, variants.as_ref(), name, depth + 1)
        })
    }
}

/// Where a member of a value is.
fn part(place: &Place, member: &TypeMember<Kind>) -> Place {
    let at = place.at.wrapping_add(member.offset);
    Place {
        kind: member.of.clone(),
        at,
        bits: member
            .bits
            .map(|(first, count)| (first.wrapping_sub(member.offset.wrapping_mul(8)) & 7, count)),
    }
}

/// A number of so many bits with its sign.
fn signed(bits: u128, width: u64) -> i128 {
    let shift = 128 - width.clamp(1, 128) as u32;
    (bits << shift).cast_signed() >> shift
}

fn hexadecimal(bits: u128) -> String {
    if bits == 0 {
        "0".to_owned()
    } else {
        format!("{bits:#x}")
    }
}

fn quoted(bytes: &[u8]) -> String {
    let text: String = bytes.iter().map(|&byte| escaped(byte, '"')).collect();
    format!("\"{text}\"")
}

fn escaped(byte: u8, quote: char) -> String {
    match byte {
        0 => "\\0".to_owned(),
        byte if byte == quote as u8 => format!("\\{quote}"),
        // Both quotes are escaped by the library; the other one need not be.
        b'\'' | b'"' => char::from(byte).to_string(),
        byte => byte.escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_sign() {
        assert_eq!(signed(0xff, 8), -1);
        assert_eq!(signed(0x7f, 8), 127);
        assert_eq!(signed(0b101, 3), -3);
        assert_eq!(signed(u128::MAX, 128), -1);
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(quoted(b"a\"b\n\x1b\0"), "\"a\\\"b\\n\\x1b\\0\"");
        assert_eq!(escaped(b'\'', '\''), "\\'");
        assert_eq!(escaped(b'"', '\''), "\"");
    }
}
