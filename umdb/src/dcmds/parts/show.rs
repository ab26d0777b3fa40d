//! Values as text, by their types: what ::print shows.

use std::fmt::Write;

use super::{
    context::Context,
    places::{Place, part},
    scalars::{Style, hexadecimal, quoted, signed},
    types::{Kind, Step},
};
use crate::{
    report::{Cell, Item, List, Report, Sentence},
    symbols::{Encoding, Shape, Type, TypeMember, Variants},
};

/// Most lines of one answer.
const LINES_MAX: usize = 20_000;
/// Bytes of the largest number.
const NUMBER_MAX: u64 = 16;

/// Shows values as lines of a list.
pub struct Printer<'a> {
    pub(super) cx: &'a Context<'a>,
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
            Shape::Enum(values) => self.style.enumerator(signed(bits, width), bits, values),
            Shape::Base(encoding) => self.style.base(bits, width, *encoding),
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
                if let Some(text) = self.known_text(place, &found) {
                    return self.line(indent, Some((place, name)), &text, None);
                }
                match variants {
                    Some(variants) => self.variant(name, place, members, variants, indent, depth),
                    None if members.is_empty() => {
                        self.line(indent, Some((place, name)), "{}", None);
                    }
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
            let name = member.name.as_deref().unwrap_or("");
            let Some(part) = part(self.cx, place, member) else {
                self.line(
                    indent,
                    Some((place, name)),
                    "<virtual base class: where it is cannot be read>",
                    None,
                );
                continue;
            };
            let start = part.at.wrapping_sub(place.at);
            if self.style.holes && !is_union && member.bits.is_none() {
                self.hole(end, start, indent);
            }
            let size = self.cx.type_size(&member.of).unwrap_or(0);
            end = end.max(start.saturating_add(size));
            self.value(name, &part, indent, depth);
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
        let tag = discriminant
            .and_then(|member| part(self.cx, place, member))
            .and_then(|part| self.number(&part));
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
        let inner = part(self.cx, place, member);
        let found = inner.and_then(|inner| Some((self.cx.resolved(&inner.kind)?, inner)));
        let Some((found, inner)) = found else {
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
        let is_text = element.as_ref().is_some_and(|element| {
            element.shape == Shape::Base(Encoding::Character) && counts.len() == 1
        });
        if is_text {
            let shown = count.min(self.style.characters);
            let text = self.characters(place.at, count, shown);
            return self.line(indent, Some((place, name)), &format!("[ {text} ]"), None);
        }
        let shown = count.min(self.style.elements);
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
        if found.size == Some(0) {
            return ("()".to_owned(), None);
        }
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
            Shape::Enum(values) => self.style.enumerator(signed(bits, width), bits, values),
            Shape::Base(encoding) => self.style.base(bits, width, *encoding),
            _ => String::new(),
        };
        (text, Some(number))
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
                let limit = self.style.characters as usize;
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

    /// The text of a `String` or `&str` of Rust or a `std::string` of C++, with its address.
    fn known_text(&mut self, place: &Place, found: &Type<Kind>) -> Option<String> {
        let lengths = match found.name.as_deref()? {
            "&str" => [Step::Member("length".to_owned())].to_vec(),
            "String" => ["vec", "len"]
                .map(|name| Step::Member(name.to_owned()))
                .to_vec(),
            name if name.starts_with("basic_string<char, std::char_traits<char>") => {
                [Step::Member("_M_string_length".to_owned())].to_vec()
            }
            _ => return None,
        };
        let length = self.step(place.clone(), &lengths).ok()?;
        let length = self.number(&length)?;
        let at = self.first_pointer(place, 0)?;
        let shown = length.min(self.style.characters);
        let mut bytes = vec![0; shown as usize];
        if self.cx.heap.reader.fill(at, &mut bytes) < bytes.len() {
            return None;
        }
        let rest = if shown < length { "..." } else { "" };
        let text = String::from_utf8(bytes)
            .map_or_else(|error| quoted(error.as_bytes()), |text| format!("{text:?}"));
        Some(format!("{} {text}{rest}", hexadecimal(at.into())))
    }

    /// The first pointer in a value, also in what it is made of.
    fn first_pointer(&mut self, place: &Place, depth: u32) -> Option<u64> {
        let found = self.cx.resolved(&place.kind).filter(|_| depth < 8)?;
        match found.shape {
            Shape::Pointer(_) => self.number(place),
            Shape::Struct { members, .. } => members.iter().find_map(|member| {
                let part = part(self.cx, place, member)?;
                self.first_pointer(&part, depth + 1)
            }),
            _ => None,
        }
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
}
