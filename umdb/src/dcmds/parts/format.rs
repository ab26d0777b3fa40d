//! The letters behind `/` and `=`.

/// A letter and what it does.
pub struct Format {
    /// The letter.
    pub letter: char,
    /// Bytes of memory that it takes; zero where that depends on what is there.
    pub bytes: u64,
    /// What it shows.
    pub kind: Kind,
    /// One line for people.
    pub summary: &'static str,
}

/// What a format shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A number in this radix.
    Unsigned(u32),
    /// A number with its sign in this radix.
    Signed(u32),
    /// A number, its bytes in the other order.
    Swapped,
    /// The bits by number.
    Bits,
    /// A floating number.
    Float,
    /// What an address is called.
    Symbol,
    /// What the address itself is called.
    Here,
    /// A character: raw, or escaped.
    Character(bool),
    /// Text up to a zero byte: raw, or escaped.
    Text(bool),
    /// An instruction; with its address.
    Instruction(bool),
    /// A time in seconds, or nanoseconds.
    Time,
    /// A blank, a tab.
    Space(char),
    /// A new line.
    Newline,
    /// Dot moves on by the bytes of the letters before it, forward or back.
    Move(i64),
    /// Dot moves back by the last increment.
    Back,
}

impl Kind {
    /// Whether a pipe can hand on what it shows.
    #[must_use]
    pub const fn gives_number(self) -> bool {
        !matches!(
            self,
            Self::Float | Self::Character(_) | Self::Text(_) | Self::Instruction(_)
        )
    }
}

const fn format(letter: char, bytes: u64, kind: Kind, summary: &'static str) -> Format {
    Format {
        letter,
        bytes,
        kind,
        summary,
    }
}

/// All letters.
pub const FORMATS: &[Format] = &[
    format('B', 1, Kind::Unsigned(16), "hexadecimal, 1 byte"),
    format(
        'C',
        1,
        Kind::Character(true),
        "character with the escapes of C",
    ),
    format('D', 4, Kind::Signed(10), "decimal with sign, 4 bytes"),
    format('E', 8, Kind::Unsigned(10), "decimal, 8 bytes"),
    format('F', 8, Kind::Float, "floating number, 8 bytes"),
    format('G', 8, Kind::Unsigned(8), "octal, 8 bytes"),
    format(
        'H',
        4,
        Kind::Swapped,
        "hexadecimal with the bytes swapped, 4 bytes",
    ),
    format(
        'I',
        0,
        Kind::Instruction(true),
        "instruction with its address",
    ),
    format('J', 8, Kind::Unsigned(16), "hexadecimal, 8 bytes"),
    format(
        'K',
        8,
        Kind::Unsigned(16),
        "hexadecimal, as wide as a pointer",
    ),
    format('N', 0, Kind::Newline, "new line"),
    format('O', 4, Kind::Unsigned(8), "octal, 4 bytes"),
    format('P', 8, Kind::Symbol, "symbol that a pointer points to"),
    format('Q', 4, Kind::Signed(8), "octal with sign, 4 bytes"),
    format('R', 8, Kind::Unsigned(2), "binary, 8 bytes"),
    format(
        'S',
        0,
        Kind::Text(true),
        "text with the escapes of C, up to a zero byte",
    ),
    format('T', 0, Kind::Space('\t'), "tab"),
    format('U', 4, Kind::Unsigned(10), "decimal, 4 bytes"),
    format('V', 1, Kind::Unsigned(10), "decimal, 1 byte"),
    format('X', 4, Kind::Unsigned(16), "hexadecimal, 4 bytes"),
    format('Y', 4, Kind::Time, "time, seconds since 1970 in 4 bytes"),
    format('^', 0, Kind::Back, "dot moves back by the last increment"),
    format('a', 0, Kind::Here, "symbol of the address itself"),
    format('b', 1, Kind::Unsigned(8), "octal, 1 byte"),
    format('c', 1, Kind::Character(false), "character as it is"),
    format('d', 2, Kind::Signed(10), "decimal with sign, 2 bytes"),
    format('e', 8, Kind::Signed(10), "decimal with sign, 8 bytes"),
    format('f', 4, Kind::Float, "floating number, 4 bytes"),
    format('g', 8, Kind::Signed(8), "octal with sign, 8 bytes"),
    format(
        'h',
        2,
        Kind::Swapped,
        "hexadecimal with the bytes swapped, 2 bytes",
    ),
    format('i', 0, Kind::Instruction(false), "instruction"),
    format(
        'j',
        8,
        Kind::Bits,
        "numbers of the bits that are set, 8 bytes",
    ),
    format('n', 0, Kind::Newline, "new line"),
    format('o', 2, Kind::Unsigned(8), "octal, 2 bytes"),
    format('p', 8, Kind::Symbol, "symbol that a pointer points to"),
    format('q', 2, Kind::Signed(8), "octal with sign, 2 bytes"),
    format('r', 0, Kind::Space(' '), "blank"),
    format(
        's',
        0,
        Kind::Text(false),
        "text as it is, up to a zero byte",
    ),
    format('t', 0, Kind::Space('\t'), "tab"),
    format('u', 2, Kind::Unsigned(10), "decimal, 2 bytes"),
    format('v', 1, Kind::Signed(10), "decimal with sign, 1 byte"),
    format('x', 2, Kind::Unsigned(16), "hexadecimal, 2 bytes"),
    format('y', 8, Kind::Time, "time, seconds since 1970 in 8 bytes"),
    format('+', 0, Kind::Move(1), "dot moves on by a byte"),
    format('-', 0, Kind::Move(-1), "dot moves back by a byte"),
];

/// A part of a format: a letter, or text.
pub enum Item {
    /// A letter.
    Letter(&'static Format),
    /// Text in quotes.
    Text(String),
}

/// Repetitions that a number before a letter may ask for.
const REPEAT_MAX: usize = 4096;
/// Parts that a format may have.
const ITEMS_MAX: usize = 1 << 16;

/// Letters that write to memory or search it.
const REFUSED: [(&str, &str); 2] = [
    ("wWZz", "the target is not open for writing"),
    ("lLM", "searching memory is what ::ugrep does"),
];

/// Understands what stands behind a verb. A blank list is `X` behind `/`.
///
/// # Errors
/// What is wrong with it, in one line.
pub fn parse(sign: char, text: &str) -> Result<Vec<Item>, String> {
    let mut items = Vec::new();
    let mut characters = text.chars().peekable();
    let mut repeat: Option<usize> = None;
    while let Some(c) = characters.next() {
        match c {
            ' ' | '\t' => {}
            '0'..='9' => {
                let digit = c.to_digit(10).unwrap_or(0) as usize;
                let number = repeat.unwrap_or(0).saturating_mul(10).saturating_add(digit);
                if number > REPEAT_MAX {
                    return Err(format!("a format is repeated at most {REPEAT_MAX} times"));
                }
                repeat = Some(number);
            }
            '"' => {
                let mut words = String::new();
                loop {
                    match characters.next() {
                        None => return Err(format!("syntax error: \" unmatched near {text:?}")),
                        Some('"') => break,
                        Some(c) => words.push(c),
                    }
                }
                items.push(Item::Text(words));
                repeat = None;
            }
            letter => {
                let format = letter_format(sign, letter)?;
                let times = repeat.take().unwrap_or(1);
                items.extend((0..times).map(|_| Item::Letter(format)));
            }
        }
        if items.len() > ITEMS_MAX {
            return Err(format!("a format has at most {ITEMS_MAX} parts"));
        }
    }
    if !items.is_empty() {
        return Ok(items);
    }
    if sign == '=' {
        return Err("expected one or more format characters following '='".to_owned());
    }
    letter_format(sign, 'X').map(|format| vec![Item::Letter(format)])
}

fn letter_format(sign: char, letter: char) -> Result<&'static Format, String> {
    if let Some((_, why)) = REFUSED.iter().find(|(letters, _)| letters.contains(letter)) {
        return Err(format!("format character '{letter}': {why}"));
    }
    let found = FORMATS
        .iter()
        .find(|format| format.letter == letter)
        .ok_or_else(|| format!("invalid format character -- '{letter}'"))?;
    let needs_memory = matches!(found.kind, Kind::Text(_) | Kind::Instruction(_));
    if sign == '=' && needs_memory {
        return Err(format!(
            "format character '{letter}' needs memory: type address/{letter}"
        ));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letters(sign: char, text: &str) -> Result<String, String> {
        parse(sign, text).map(|items| {
            items
                .iter()
                .map(|item| match item {
                    Item::Letter(format) => format.letter.to_string(),
                    Item::Text(text) => format!("<{text}>"),
                })
                .collect()
        })
    }

    #[test]
    fn numbers_repeat_letters() {
        assert_eq!(letters('/', "2X n3x\"a b\"K"), Ok("XXnxxx<a b>K".into()));
        assert_eq!(letters('/', ""), Ok("X".into()));
        assert_eq!(letters('/', "0X"), Ok("X".into()));
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(
            letters('/', "k").unwrap_err(),
            "invalid format character -- 'k'"
        );
        assert_eq!(
            letters('=', "").unwrap_err(),
            "expected one or more format characters following '='"
        );
        assert!(letters('=', "s").unwrap_err().contains("needs memory"));
        assert!(
            letters('/', "w")
                .unwrap_err()
                .contains("not open for writing")
        );
        assert!(letters('/', "99999999999X").is_err());
        assert!(letters('/', "\"a").unwrap_err().contains("unmatched"));
    }

    #[test]
    fn every_letter_is_there_once() {
        for (index, format) in FORMATS.iter().enumerate() {
            let again = FORMATS.iter().skip(index + 1);
            assert!(again.into_iter().all(|other| other.letter != format.letter));
        }
    }
}
