//! Numbers, enums and text of ::print.

use crate::symbols::Encoding;

/// How values are shown.
#[derive(Debug, Clone, Copy, Default)]
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
    /// Bytes of a string.
    pub characters: u64,
    /// Elements of an array.
    pub elements: u64,
    /// Structures within structures.
    pub depth: u64,
}

impl Style {
    /// A number.
    pub fn base(&self, bits: u128, width: u64, encoding: Encoding) -> String {
        match encoding {
            Encoding::Float if width == 32 => f32::from_bits(bits as u32).to_string(),
            Encoding::Float if width == 64 => f64::from_bits(bits as u64).to_string(),
            Encoding::Boolean if bits < 2 && !self.hexadecimal => (bits == 1).to_string(),
            Encoding::Character if !self.hexadecimal && !self.decimal => {
                format!("'{}'", escaped(bits as u8, '\''))
            }
            Encoding::Unicode => {
                let c = char::from_u32(bits as u32);
                c.map_or_else(|| hexadecimal(bits), |c| format!("{c:?}"))
            }
            Encoding::Signed if !self.hexadecimal => signed(bits, width).to_string(),
            _ if self.decimal => bits.to_string(),
            _ => hexadecimal(bits),
        }
    }

    /// The name of a number, or names of its bits.
    pub fn enumerator(&self, value: i128, bits: u128, values: &[(String, i128)]) -> String {
        let number = if self.hexadecimal {
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
}

/// A number of so many bits with its sign.
pub fn signed(bits: u128, width: u64) -> i128 {
    let shift = 128 - width.clamp(1, 128) as u32;
    (bits << shift).cast_signed() >> shift
}

/// A number with `0x`, but for zero.
pub fn hexadecimal(bits: u128) -> String {
    if bits == 0 {
        "0".to_owned()
    } else {
        format!("{bits:#x}")
    }
}

/// Text between quotes.
pub fn quoted(bytes: &[u8]) -> String {
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
