//! Expressions: their grammar.
//!
//! From the weakest binary operator to the strongest, all from left to right:
//! `|` · `^` · `&` · `==` `!=` · `<<` `>>` · `+` `-` · `*` `%` `#` · `%%`. `%` divides with sign, `%%` is the remainder,
//! `a#b` rounds a up to a multiple of b. Before an operand: `-` `~` `#` (not) `*` and `%` (what is at an address, with
//! `/c/` `/s/` `/i/` `/l/` or `/1/` `/2/` `/4/` `/8/` behind it for its size). Where an operand is expected, `+` and `^` are dot moved
//! by the last increment, and `&` is the address that a command was last given.

use super::scanner::{Scanner, SyntaxError};

/// Parentheses and signs that may be nested.
const DEPTH_MAX: usize = 64;
/// Operators that may follow each other between two parentheses.
const LENGTH_MAX: usize = 100;

/// An expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// A number.
    Number(u64),
    /// A name; the number that it could be as well.
    Name(String, Option<u64>),
    /// The value of a variable or register.
    Variable(String),
    /// The value of `.`.
    Dot,
    /// `.` plus the last increment.
    Forward,
    /// `.` minus the last increment.
    Back,
    /// The address that a command was last given.
    Last,
    /// An operator before its operand.
    Unary(Unary, Box<Expression>),
    /// An operator between its operands.
    Binary(Binary, Box<Expression>, Box<Expression>),
}

/// Operators before an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Unary {
    Negate,
    Invert,
    Not,
    /// What so many bytes at an address hold: 1, 2, 4 or 8.
    Read(u8),
}

/// Operators between operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Binary {
    Or,
    Xor,
    And,
    Equal,
    Unequal,
    ShiftLeft,
    ShiftRight,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    RoundUp,
}

/// Binary operators with their strength; longer ones before their beginnings.
const BINARY: [(&str, Binary, u8); 13] = [
    ("==", Binary::Equal, 4),
    ("!=", Binary::Unequal, 4),
    ("<<", Binary::ShiftLeft, 5),
    (">>", Binary::ShiftRight, 5),
    ("%%", Binary::Remainder, 8),
    ("%", Binary::Divide, 7),
    ("*", Binary::Multiply, 7),
    ("#", Binary::RoundUp, 7),
    ("+", Binary::Add, 6),
    ("-", Binary::Subtract, 6),
    ("&", Binary::And, 3),
    ("^", Binary::Xor, 2),
    ("|", Binary::Or, 1),
];

/// Operators before an operand.
const UNARY: [(&str, Unary); 3] = [
    ("-", Unary::Negate),
    ("~", Unary::Invert),
    ("#", Unary::Not),
];

/// Sizes behind `*`.
const WIDTHS: [(char, u8); 8] = [
    ('c', 1),
    ('s', 2),
    ('i', 4),
    ('l', 8),
    ('1', 1),
    ('2', 2),
    ('4', 4),
    ('8', 8),
];

/// Prefixes of numbers.
const RADIXES: [(&str, u32); 4] = [("0x", 16), ("0t", 10), ("0o", 8), ("0i", 2)];

/// Parses a text that is an expression as a whole.
///
/// # Errors
/// When it is none, or more than one.
pub fn parse_expression_text(text: &str, radix: u32) -> Result<Expression, SyntaxError> {
    let mut scanner = Scanner::new(text, radix);
    let expression = parse_expression(&mut scanner)?;
    scanner.skip_blanks();
    if scanner.is_at_end_of_command() {
        Ok(expression)
    } else {
        Err(scanner.error("expected an operator or the end of the expression"))
    }
}

/// The value of a number as it is typed: with a prefix, else in the radix.
///
/// # Errors
/// What is wrong with it, in one line.
pub fn parse_number(text: &str, radix: u32) -> Result<u64, String> {
    if text.is_empty() {
        return Err("expected a number".to_owned());
    }
    number(text, radix).map_err(|(what, _)| what)
}

/// Parses an expression that begins here.
pub(super) fn parse_expression(scanner: &mut Scanner) -> Result<Expression, SyntaxError> {
    binary(scanner, 0, DEPTH_MAX)
}

fn binary(scanner: &mut Scanner, weakest: u8, depth: usize) -> Result<Expression, SyntaxError> {
    let mut left = unary(scanner, depth)?;
    for _ in 0..LENGTH_MAX {
        scanner.skip_blanks();
        match operator(scanner) {
            Some((text, operator, strength)) if strength > weakest => {
                scanner.take(text);
                let right = binary(scanner, strength, depth)?;
                left = Expression::Binary(operator, Box::new(left), Box::new(right));
            }
            _ => return Ok(left),
        }
    }
    Err(scanner.error("the expression is too long"))
}

/// The binary operator here. A `|` before a verb is a pipe, and `>` before a name an assignment.
fn operator(scanner: &Scanner) -> Option<(&'static str, Binary, u8)> {
    let found = *BINARY
        .iter()
        .find(|(text, _, _)| scanner.starts_with(text))?;
    let is_pipe = found.1 == Binary::Or
        && matches!(
            scanner.behind_blanks(),
            None | Some(':' | '$' | '/' | '\\' | '?' | '@' | '=' | '>' | '!' | ';' | '|')
        );
    (!is_pipe).then_some(found)
}

fn unary(scanner: &mut Scanner, depth: usize) -> Result<Expression, SyntaxError> {
    scanner.skip_blanks();
    let Some(depth) = depth.checked_sub(1) else {
        return Err(scanner.error("the expression is nested too deeply"));
    };
    let prefix = UNARY
        .iter()
        .find(|(text, _)| scanner.take(text))
        .map(|&(_, operator)| operator);
    let operator = match prefix {
        Some(operator) => Some(operator),
        None if scanner.take("*") || scanner.take("%") => Some(Unary::Read(width(scanner)?)),
        None => None,
    };
    if let Some(operator) = operator {
        let operand = unary(scanner, depth)?;
        return Ok(Expression::Unary(operator, Box::new(operand)));
    }
    if scanner.take("(") {
        let inner = binary(scanner, 0, depth)?;
        scanner.skip_blanks();
        return if scanner.take(")") {
            Ok(inner)
        } else {
            Err(scanner.error("expected )"))
        };
    }
    operand(scanner)
}

/// `/c/` and its kin, 8 where nothing is said.
pub(super) fn width(scanner: &mut Scanner) -> Result<u8, SyntaxError> {
    if !scanner.take("/") {
        return Ok(8);
    }
    let found = scanner
        .peek()
        .and_then(|letter| WIDTHS.iter().find(|(known, _)| *known == letter));
    let Some(&(_, width)) = found else {
        return Err(scanner.error("expected a size: c, s, i, l, 1, 2, 4 or 8"));
    };
    scanner.next();
    if scanner.take("/") {
        Ok(width)
    } else {
        Err(scanner.error("expected / behind the size"))
    }
}

/// Characters of numbers and names; others need quotes.
fn is_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '`' | '@')
}

fn operand(scanner: &mut Scanner) -> Result<Expression, SyntaxError> {
    for (sign, value) in [
        ("+", Expression::Forward),
        ("^", Expression::Back),
        ("&", Expression::Last),
    ] {
        if scanner.take(sign) {
            return Ok(value);
        }
    }
    if scanner.take("<") {
        let name = scanner.take_while(|c| c.is_alphanumeric() || c == '_');
        return if name.is_empty() {
            Err(scanner.error("expected the name of a variable or register behind <"))
        } else {
            Ok(Expression::Variable(name))
        };
    }
    if scanner.peek() == Some('\'') {
        return character(scanner).map(Expression::Number);
    }
    if scanner.peek() == Some('"') {
        return quoted_name(scanner);
    }
    let start = scanner.at();
    let text = scanner.take_while(is_name);
    match text.chars().next() {
        None => Err(scanner.error("expected an address or an expression")),
        Some('.') if text == "." => Ok(Expression::Dot),
        Some('0'..='9') => number(&text, scanner.radix)
            .map(Expression::Number)
            .map_err(|(what, offset)| scanner.error_at(start + offset, what)),
        Some(_) => {
            let mut text = text;
            while let Some(part) = part_of_name(scanner) {
                text += &part;
            }
            let as_number = u64::from_str_radix(&text, scanner.radix).ok();
            Ok(Expression::Name(text, as_number))
        }
    }
}

/// `::part` of a name in a namespace, `ns::name`. It is one where a verb or an operator follows at once, for that can follow
/// no command.
fn part_of_name(scanner: &mut Scanner) -> Option<String> {
    if !scanner.starts_with("::") {
        return None;
    }
    let behind = scanner.behind(2, |c| c.is_alphanumeric() || c == '_');
    let follows = scanner.peek_at(behind);
    let is_part = behind > 2
        && match follows {
            Some(':') => scanner.peek_at(behind + 1) == Some(':'),
            Some(c) => "/\\?@=,+-*#%^&)]>".contains(c),
            None => false,
        };
    is_part.then(|| scanner.take_count(behind))
}

/// `"std::vector<int>::size"`: a name with characters that would mean something else.
fn quoted_name(scanner: &mut Scanner) -> Result<Expression, SyntaxError> {
    let start = scanner.at();
    scanner.next();
    let name = scanner.take_while(|c| c != '"');
    if scanner.next().is_none() {
        return Err(scanner.error_at(start, "syntax error: \" unmatched"));
    }
    Ok(Expression::Name(name, None))
}

/// `'abc'`: at most eight bytes, the first one the lowest.
fn character(scanner: &mut Scanner) -> Result<u64, SyntaxError> {
    let start = scanner.at();
    scanner.next();
    let mut bytes = Vec::new();
    loop {
        match scanner.next() {
            None => return Err(scanner.error_at(start, "syntax error: ' unmatched")),
            Some('\'') => break,
            Some('\\') => {
                let escaped = scanner.next().map(escape).unwrap_or_default();
                bytes.extend_from_slice(escaped.to_string().as_bytes());
            }
            Some(c) => bytes.extend_from_slice(c.to_string().as_bytes()),
        }
    }
    if bytes.is_empty() || bytes.len() > 8 {
        return Err(scanner.error_at(start, "expected one to eight bytes between the quotes"));
    }
    bytes.resize(8, 0);
    let bytes = bytes.first_chunk::<8>().copied().unwrap_or_default();
    Ok(u64::from_le_bytes(bytes))
}

/// The character that stands behind a backslash in double quotes and character constants.
pub(super) const fn escape(c: char) -> char {
    match c {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        '0' => '\0',
        other => other,
    }
}

/// In small or capital letters.
fn starts_with(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// The value of a number, or what is wrong with it and at which character.
fn number(text: &str, radix: u32) -> Result<u64, (String, usize)> {
    let prefix = RADIXES
        .iter()
        .find(|(prefix, _)| starts_with(text, prefix) && text.len() > prefix.len());
    let (digits, radix, skipped) = match prefix {
        Some((prefix, radix)) => (&text[prefix.len()..], *radix, prefix.len()),
        None => (text, radix, 0),
    };
    if let Some(bits) = float_bits(prefix.map(|(prefix, _)| *prefix), digits) {
        return Ok(bits);
    }
    let invalid = digits.chars().enumerate().find(|(_, c)| !c.is_digit(radix));
    if let Some((offset, digit)) = invalid {
        return Err((
            format!("digit '{digit}' is invalid in current base {radix}"),
            skipped + offset,
        ));
    }
    u64::from_str_radix(digits, radix).map_err(|_| (format!("{text} does not fit in 64 bits"), 0))
}

/// The bits of a double that is written as `0t12.5`.
fn float_bits(prefix: Option<&str>, digits: &str) -> Option<u64> {
    let is_float = prefix == Some("0t")
        && digits.bytes().filter(|&byte| byte == b'.').count() == 1
        && digits
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
    is_float
        .then(|| digits.parse().ok())
        .flatten()
        .map(f64::to_bits)
}
