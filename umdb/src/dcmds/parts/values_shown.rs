//! Values of memory as formats show them, in lines with their addresses.

use super::{
    context::Context,
    format::{Format, Item, Kind},
};
use crate::report::{Cell, List, Sentence};

/// Characters of a column, and of the address before the columns.
const COLUMN: usize = 16;
/// Characters of a line.
const LINE: usize = 80;
/// Bytes of text that are shown at most.
const TEXT_MAX: usize = 1 << 16;

/// A line under construction.
pub struct Line {
    text: String,
    values: Vec<Cell>,
    address: Option<u64>,
    /// A column ends at a multiple of its width, and the next one begins there.
    has_begun: bool,
    is_memory: bool,
}

/// What a format shows of one place.
pub struct Shown {
    text: String,
    value: Option<Cell>,
    kind: Kind,
    /// Where the next format begins; none where memory could not be read.
    pub next: Option<u64>,
    /// Bytes that were there, of those wanted.
    got: (usize, usize),
}

impl Line {
    /// A line about a value, without address.
    pub fn of_value() -> Self {
        Self {
            text: " ".repeat(COLUMN),
            values: Vec::new(),
            address: None,
            has_begun: true,
            is_memory: false,
        }
    }

    /// A line about memory.
    pub fn of_memory(_: &Context<'_>, _: u64) -> Self {
        Self {
            text: String::new(),
            values: Vec::new(),
            address: None,
            has_begun: false,
            is_memory: true,
        }
    }

    /// Begins with the address; a symbol that begins just there has a line of its own.
    pub fn begin_unless_begun(&mut self, cx: &Context<'_>, address: u64, list: &mut List) {
        if self.has_begun {
            return;
        }
        self.has_begun = true;
        self.address = Some(address);
        let place = cx.symbols.lookup(address);
        let label = match (&place.symbol, place.offset) {
            (Some(_), 0) => {
                list.items
                    .push(Sentence::new().words(format!("{place}:")).into());
                format!("{place}:")
            }
            (Some(_), _) => format!("{place}:"),
            (None, _) => format!("{address:#x}:"),
        };
        self.text = padded(label);
    }

    /// Ends the line, if there is one.
    pub fn end(&mut self, list: &mut List) {
        let has_text = !self.values.is_empty() || !self.text.trim().is_empty();
        if has_text {
            let mut sentence = Sentence::new().words(std::mem::take(&mut self.text));
            if let Some(address) = self.address.take() {
                sentence = sentence.hidden("address", Cell::Address(address));
            }
            let values = std::mem::take(&mut self.values);
            list.items
                .push(sentence.hidden("values", Cell::List(values)).into());
        }
        self.text.clear();
        if self.is_memory {
            self.has_begun = false;
        } else {
            self.text = " ".repeat(COLUMN);
        }
    }
}

fn padded(mut text: String) -> String {
    let length = text.chars().count();
    let width = if length < COLUMN { COLUMN } else { length + 1 };
    text.extend(std::iter::repeat_n(' ', width - length));
    text
}

impl Shown {
    /// Adds it to a line, which ends where it would become too long.
    pub fn add_to(self, line: &mut Line, list: &mut List) {
        line.values.extend(self.value);
        match self.kind {
            Kind::Newline => line.end(list),
            Kind::Space(blank) => line.text.push(blank),
            Kind::Move(_) | Kind::Back => {}
            Kind::Character(_) => line.text.push_str(&self.text),
            Kind::Text(_) | Kind::Instruction(_) | Kind::Here => {
                line.text.push_str(&padded(self.text));
                if !matches!(self.kind, Kind::Here) {
                    line.end(list);
                }
            }
            _ => {
                line.text.push_str(&padded(self.text));
                if line.text.chars().count() + COLUMN > LINE {
                    line.end(list);
                }
            }
        }
    }

    /// What is said where memory could not be read.
    pub fn failure(&self, at: u64) -> String {
        match self.got {
            (0, _) => format!("failed to read data from target at {at:#x}: no mapping for address"),
            (got, wanted) => format!(
                "failed to read data from target at {at:#x}: only {got} of {wanted} bytes could be read"
            ),
        }
    }
}

/// What an item shows of a value, or else of memory at an address.
pub fn shown(cx: &Context<'_>, item: &Item, value: Option<u64>, at: u64) -> Shown {
    let format = match item {
        Item::Letter(format) => format,
        Item::Text(text) => {
            return Shown {
                text: text.clone(),
                value: None,
                kind: Kind::Character(false),
                next: Some(at),
                got: (0, 0),
            };
        }
    };
    let mut shown = Shown {
        text: String::new(),
        value: None,
        kind: format.kind,
        next: None,
        got: (0, format.bytes as usize),
    };
    match format.kind {
        Kind::Newline | Kind::Space(_) => shown.next = Some(at),
        Kind::Move(by) => shown.next = Some(at.wrapping_add_signed(by)),
        Kind::Back => shown.next = Some(at.wrapping_sub(cx.state().increment.get())),
        Kind::Here => {
            shown.text = name(cx, at);
            shown.value = Some(Cell::Address(at));
            shown.next = Some(at);
        }
        Kind::Instruction(with_address) => {
            if let Some(instruction) = cx.instruction(at) {
                shown.next = Some(instruction.next());
                shown.value = Some(Cell::text(instruction.text.as_str()));
                shown.text = if with_address {
                    format!("{at:#x}: {}", instruction.text)
                } else {
                    instruction.text
                };
            }
        }
        Kind::Text(escaped) => text(cx, at, escaped, &mut shown),
        _ => number(cx, format, value, at, &mut shown),
    }
    shown
}

fn name(cx: &Context<'_>, address: u64) -> String {
    let place = cx.symbols.lookup(address);
    match place.symbol {
        Some(_) => place.to_string(),
        None => format!("{address:#x}"),
    }
}

fn text(cx: &Context<'_>, at: u64, escaped: bool, shown: &mut Shown) {
    let mut bytes = vec![0; 256];
    let mut got = cx.target.memory.read(at, &mut bytes);
    if got == bytes.len() && !bytes.contains(&0) {
        bytes.resize(TEXT_MAX, 0);
        got = cx.target.memory.read(at, &mut bytes);
    }
    bytes.truncate(got);
    if bytes.is_empty() {
        return;
    }
    let end = bytes.iter().position(|&byte| byte == 0);
    let length = end.unwrap_or(bytes.len());
    let part = bytes.get(..length).unwrap_or_default();
    let whole = String::from_utf8_lossy(part);
    shown.text = if escaped {
        whole.chars().flat_map(char::escape_default).collect()
    } else {
        whole.clone().into_owned()
    };
    shown.value = Some(Cell::Text(whole.into_owned()));
    shown.next = Some(at.wrapping_add(length as u64 + 1));
}

fn number(cx: &Context<'_>, format: &Format, value: Option<u64>, at: u64, shown: &mut Shown) {
    let mut bytes = [0; 8];
    let size = (format.bytes as usize).min(bytes.len());
    match value {
        Some(value) => bytes[..size].copy_from_slice(&value.to_le_bytes()[..size]),
        None => {
            let got = cx.target.memory.read(at, &mut bytes[..size]);
            shown.got.0 = got;
            if got < size {
                return;
            }
        }
    }
    let raw = u64::from_le_bytes(bytes);
    let shift = 64 - 8 * size as u32;
    let signed = (raw << shift).cast_signed() >> shift;
    let state = cx.state();
    let _ = state.set_variable("0", raw);
    shown.next = Some(at.wrapping_add(size as u64));
    (shown.text, shown.value) = match format.kind {
        Kind::Unsigned(16) => (format!("{raw:x}"), Some(Cell::Value(raw))),
        Kind::Unsigned(radix) => (digits(raw, radix), Some(Cell::Number(raw))),
        Kind::Signed(radix) => {
            let sign = if signed < 0 { "-" } else { "" };
            let text = format!("{sign}{}", digits(signed.unsigned_abs(), radix));
            (text, Some(Cell::Signed(signed)))
        }
        Kind::Swapped => {
            let swapped = raw.swap_bytes() >> shift;
            (format!("{swapped:x}"), Some(Cell::Value(swapped)))
        }
        Kind::Bits => (bits(raw), Some(Cell::Value(raw))),
        Kind::Float if size == 4 => float(f64::from(f32::from_bits(raw as u32))),
        Kind::Float => float(f64::from_bits(raw)),
        Kind::Symbol => (name(cx, raw), Some(Cell::Address(raw))),
        Kind::Character(escaped) => character(raw, escaped),
        Kind::Time => (time(signed), Some(Cell::Signed(signed))),
        _ => (String::new(), None),
    };
}

fn digits(value: u64, radix: u32) -> String {
    match radix {
        8 => format!("0{value:o}"),
        2 => format!("{value:b}"),
        _ => value.to_string(),
    }
}

fn bits(value: u64) -> String {
    let set: Vec<String> = (0..64)
        .filter(|bit| value >> bit & 1 == 1)
        .map(|bit: u32| bit.to_string())
        .collect();
    format!("{value:x}<{}>", set.join(","))
}

fn float(value: f64) -> (String, Option<Cell>) {
    let text = format!("{value:e}");
    (text.clone(), Some(Cell::Text(text)))
}

fn character(raw: u64, escaped: bool) -> (String, Option<Cell>) {
    let c = char::from(raw as u8);
    let text = if escaped {
        c.escape_default().to_string()
    } else {
        c.to_string()
    };
    (text, Some(Cell::Text(c.to_string())))
}

/// Year, month, day and time of day of seconds since 1970, in UTC.
fn time(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days to years as in the civil calendar, in eras of 400 years that begin in March.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates() {
        assert_eq!(time(0), "1970-01-01 00:00:00");
        assert_eq!(time(951_827_696), "2000-02-29 12:34:56");
        assert_eq!(time(-1), "1969-12-31 23:59:59");
        assert_eq!(time(i64::from(i32::MAX)), "2038-01-19 03:14:07");
    }

    #[test]
    fn numbers_in_other_radixes() {
        assert_eq!(digits(8, 8), "010");
        assert_eq!(digits(5, 2), "101");
        assert_eq!(bits(0x11), "11<0,4>");
    }
}
