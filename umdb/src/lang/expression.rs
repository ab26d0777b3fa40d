//! Expressions: grammar and value.
//!
//! From the weakest binary operator to the strongest, all from left to right:
//! `^` · `&` · `==` `!=` · `<<` `>>` · `+` `-` · `*` `%` `%%` `#`. `%` divides with sign, `%%` is the remainder, `a#b`
//! rounds a up to a multiple of b. Before an operand: `-` `~` `#` (not) `*` (the word at an address).

use super::scanner::{Scanner, SyntaxError};

/// Parentheses and signs that may be nested.
const DEPTH_MAX: usize = 64;
/// Operators that may follow each other between two parentheses.
const LENGTH_MAX: usize = 100;

/// What names and addresses mean.
pub trait Environment {
    /// Address of a name, or of ``object`name``.
    fn resolve(&self, name: &str) -> Option<u64>;
    /// The word at an address.
    fn read_word(&self, address: u64) -> Option<u64>;
    /// The value of `.`.
    fn dot(&self) -> u64;
}

/// An expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// A number.
    Number(u64),
    /// A name; the number that it could be as well.
    Name(String, Option<u64>),
    /// The value of `.`.
    Dot,
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
    Read,
}

/// Operators between operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Binary {
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
const BINARY: [(&str, Binary, u8); 12] = [
    ("==", Binary::Equal, 3),
    ("!=", Binary::Unequal, 3),
    ("<<", Binary::ShiftLeft, 4),
    (">>", Binary::ShiftRight, 4),
    ("%%", Binary::Remainder, 6),
    ("%", Binary::Divide, 6),
    ("*", Binary::Multiply, 6),
    ("#", Binary::RoundUp, 6),
    ("+", Binary::Add, 5),
    ("-", Binary::Subtract, 5),
    ("&", Binary::And, 2),
    ("^", Binary::Xor, 1),
];

/// Operators before an operand.
const UNARY: [(&str, Unary); 4] = [
    ("-", Unary::Negate),
    ("~", Unary::Invert),
    ("#", Unary::Not),
    ("*", Unary::Read),
];

/// Prefixes of numbers.
const RADIXES: [(&str, u32); 4] = [("0x", 16), ("0t", 10), ("0o", 8), ("0i", 2)];

/// The radix of numbers without prefix.
const DEFAULT_RADIX: u32 = 16;

/// Parses an expression that begins here.
pub(super) fn parse_expression(scanner: &mut Scanner) -> Result<Expression, SyntaxError> {
    binary(scanner, 0, DEPTH_MAX)
}

fn binary(scanner: &mut Scanner, weakest: u8, depth: usize) -> Result<Expression, SyntaxError> {
    let mut left = unary(scanner, depth)?;
    for _ in 0..LENGTH_MAX {
        scanner.skip_blanks();
        let operator = BINARY.iter().find(|(text, _, _)| scanner.starts_with(text));
        match operator {
            Some(&(text, operator, strength)) if strength > weakest => {
                scanner.take(text);
                let right = binary(scanner, strength, depth)?;
                left = Expression::Binary(operator, Box::new(left), Box::new(right));
            }
            _ => return Ok(left),
        }
    }
    Err(scanner.error("the expression is too long"))
}

fn unary(scanner: &mut Scanner, depth: usize) -> Result<Expression, SyntaxError> {
    scanner.skip_blanks();
    let Some(depth) = depth.checked_sub(1) else {
        return Err(scanner.error("the expression is nested too deeply"));
    };
    for (text, operator) in UNARY {
        if scanner.take(text) {
            return Ok(Expression::Unary(
                operator,
                Box::new(unary(scanner, depth)?),
            ));
        }
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

fn operand(scanner: &mut Scanner) -> Result<Expression, SyntaxError> {
    let start = scanner.at();
    let text = scanner.take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '`' | '@'));
    match text.chars().next() {
        None => Err(scanner.error("expected an address or an expression")),
        Some('.') if text == "." => Ok(Expression::Dot),
        Some('0'..='9') => number(&text)
            .map(Expression::Number)
            .map_err(|(what, offset)| scanner.error_at(start + offset, what)),
        Some(_) => {
            let as_number = u64::from_str_radix(&text, DEFAULT_RADIX).ok();
            Ok(Expression::Name(text, as_number))
        }
    }
}

/// The value of a number, or what is wrong with it and at which character.
pub(super) fn number(text: &str) -> Result<u64, (String, usize)> {
    let prefix = RADIXES
        .iter()
        .find(|(prefix, _)| text.starts_with(prefix) && text.len() > prefix.len());
    let (digits, radix, skipped) = match prefix {
        Some((prefix, radix)) => (&text[prefix.len()..], *radix, prefix.len()),
        None => (text, DEFAULT_RADIX, 0),
    };
    if let Some((offset, digit)) = digits.char_indices().find(|(_, c)| !c.is_digit(radix)) {
        return Err((
            format!("digit '{digit}' is invalid in base {radix}"),
            skipped + offset,
        ));
    }
    u64::from_str_radix(digits, radix).map_err(|_| (format!("{text} does not fit in 64 bits"), 0))
}

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// A name is unknown.
    #[error("failed to dereference {0}: unknown symbol name")]
    Unknown(String),
    /// There is no memory at an address.
    #[error("failed to read from address {0:#x}: no mapping for address")]
    Unreadable(u64),
    /// Division by zero.
    #[error("attempted to divide by zero")]
    Zero,
}

/// The value of an expression.
///
/// # Errors
/// For unknown names, unreadable addresses and division by zero.
pub fn evaluate(expression: &Expression, environment: &dyn Environment) -> Result<u64, EvalError> {
    match expression {
        Expression::Number(value) => Ok(*value),
        Expression::Dot => Ok(environment.dot()),
        Expression::Name(name, as_number) => environment
            .resolve(name)
            .or(*as_number)
            .ok_or_else(|| EvalError::Unknown(name.clone())),
        Expression::Unary(operator, operand) => {
            let value = evaluate(operand, environment)?;
            Ok(match operator {
                Unary::Negate => value.wrapping_neg(),
                Unary::Invert => !value,
                Unary::Not => u64::from(value == 0),
                Unary::Read => environment
                    .read_word(value)
                    .ok_or(EvalError::Unreadable(value))?,
            })
        }
        Expression::Binary(operator, left, right) => {
            let (left, right) = (evaluate(left, environment)?, evaluate(right, environment)?);
            apply(*operator, left, right).ok_or(EvalError::Zero)
        }
    }
}

/// The value of a binary operator; none for division by zero.
fn apply(operator: Binary, left: u64, right: u64) -> Option<u64> {
    Some(match operator {
        Binary::Xor => left ^ right,
        Binary::And => left & right,
        Binary::Equal => u64::from(left == right),
        Binary::Unequal => u64::from(left != right),
        Binary::ShiftLeft => shift(right).map_or(0, |by| left << by),
        Binary::ShiftRight => shift(right).map_or(0, |by| left >> by),
        Binary::Add => left.wrapping_add(right),
        Binary::Subtract => left.wrapping_sub(right),
        Binary::Multiply => left.wrapping_mul(right),
        Binary::Divide if right == 0 => return None,
        Binary::Divide => left
            .cast_signed()
            .wrapping_div(right.cast_signed())
            .cast_unsigned(),
        Binary::Remainder => left.checked_rem(right)?,
        Binary::RoundUp => {
            let rest = left.checked_rem(right)?;
            if rest == 0 {
                left
            } else {
                left.wrapping_add(right - rest)
            }
        }
    })
}

fn shift(by: u64) -> Option<u32> {
    u32::try_from(by).ok().filter(|&by| by < 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Names;

    impl Environment for Names {
        fn resolve(&self, name: &str) -> Option<u64> {
            match name {
                "main" => Some(0x1000),
                "libc.so.6`free" => Some(0x2000),
                "bad" => Some(0x3000),
                _ => None,
            }
        }
        fn read_word(&self, address: u64) -> Option<u64> {
            (address == 0x1000).then_some(77)
        }
        fn dot(&self) -> u64 {
            5
        }
    }

    fn value(text: &str) -> Result<u64, String> {
        let mut scanner = Scanner::new(text);
        let expression = parse_expression(&mut scanner).map_err(|e| e.to_string())?;
        assert!(
            scanner.is_at_end_of_command(),
            "{text}: stopped at {}",
            scanner.at()
        );
        evaluate(&expression, &Names).map_err(|e| e.to_string())
    }

    #[test]
    fn numbers_names_and_operators_have_their_values() {
        let cases: &[(&str, u64)] = &[
            ("10", 16),
            ("0t10", 10),
            ("0o17", 15),
            ("0i101", 5),
            ("0xBad", 0xbad),
            ("bad", 0x3000),
            ("f", 15),
            ("main+0x10", 0x1010),
            ("libc.so.6`free - 1", 0x1fff),
            (".+1", 6),
            ("2+3*4", 14),
            ("(2+3)*4", 20),
            ("10-4-2", 10),
            ("*main", 77),
            ("-1", u64::MAX),
            ("~0 & ff", 0xff),
            ("-0t10%3", (-3_i64) as u64),
            ("0t10%%3", 1),
            ("0t13#8", 16),
            ("1<<4", 16),
            ("1<<40", 0),
        ];
        for (text, expected) in cases {
            assert_eq!(value(text), Ok(*expected), "{text}");
        }
    }

    #[test]
    fn errors_have_positions_and_causes() {
        let cases = [
            (
                "0t1f",
                "digit 'f' is invalid in base 10 near \"f\" (column 4)",
            ),
            (
                "12g",
                "digit 'g' is invalid in base 16 near \"g\" (column 3)",
            ),
            ("(1+2", "expected ) at the end of the line (column 5)"),
            (
                "1+",
                "expected an address or an expression at the end of the line (column 3)",
            ),
            (
                "nowhere",
                "failed to dereference nowhere: unknown symbol name",
            ),
            ("1%0", "attempted to divide by zero"),
            ("1%%0", "attempted to divide by zero"),
            (
                "*8",
                "failed to read from address 0x8: no mapping for address",
            ),
            (
                "11111111111111111",
                "11111111111111111 does not fit in 64 bits near \"11111111111111111\" (column 1)",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(value(text), Err(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_overflow() {
        let deep = "(".repeat(100_000);
        assert!(value(&deep).unwrap_err().contains("nested too deeply"));
        let signs = "-".repeat(100_000);
        assert!(value(&signs).unwrap_err().contains("nested too deeply"));
        let long = vec!["1"; 20_000].join("^");
        assert!(value(&long).unwrap_err().contains("too long"));
    }

    #[test]
    fn the_smallest_number_divides_by_minus_one() {
        assert_eq!(value("8000000000000000%-1"), Ok(1 << 63));
    }
}
