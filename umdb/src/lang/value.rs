//! Expressions: their value.

use super::expression::{Binary, Expression, Unary};

/// What names and addresses mean.
pub trait Environment {
    /// Address of a name, or of ``object`name``.
    fn resolve(&self, name: &str) -> Option<u64>;
    /// The value of a variable or register.
    fn variable(&self, name: &str) -> Option<u64>;
    /// What `width` bytes at an address hold, lowest byte first; `width` is at most 8.
    fn read(&self, address: u64, width: u8) -> Option<u64>;
    /// The value of `.`.
    fn dot(&self) -> u64;
    /// How far the last command would move dot.
    fn increment(&self) -> u64;
    /// The address that a command was last given.
    fn last_address(&self) -> u64;
}

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// A name is unknown.
    #[error("failed to dereference symbol {0}: unknown symbol name")]
    Unknown(String),
    /// A variable has no value.
    #[error("variable '{0}' is not defined near \"<{0}\"")]
    Undefined(String),
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
/// For unknown names and variables, unreadable addresses and division by zero.
pub fn evaluate(expression: &Expression, environment: &dyn Environment) -> Result<u64, EvalError> {
    match expression {
        Expression::Number(value) => Ok(*value),
        Expression::Dot => Ok(environment.dot()),
        Expression::Forward => Ok(environment.dot().wrapping_add(environment.increment())),
        Expression::Back => Ok(environment.dot().wrapping_sub(environment.increment())),
        Expression::Last => Ok(environment.last_address()),
        Expression::Variable(name) => environment
            .variable(name)
            .ok_or_else(|| EvalError::Undefined(name.clone())),
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
                Unary::Read(width) => environment
                    .read(value, *width)
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
        Binary::Or => left | right,
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
    use super::super::{DEFAULT_RADIX, parse_expression_text};
    use super::*;

    struct Names;

    impl Environment for Names {
        fn resolve(&self, name: &str) -> Option<u64> {
            match name {
                "main" => Some(0x1000),
                "libc.so.6`free" => Some(0x2000),
                "bad" => Some(0x3000),
                "a::b<c>" => Some(0x4000),
                _ => None,
            }
        }
        fn variable(&self, name: &str) -> Option<u64> {
            (name == "rip").then_some(0x400)
        }
        fn read(&self, address: u64, width: u8) -> Option<u64> {
            let word = 0x1122_3344_5566_7788 & (u64::MAX >> (64 - 8 * u32::from(width)));
            (address == 0x1000).then_some(word)
        }
        fn dot(&self) -> u64 {
            5
        }
        fn increment(&self) -> u64 {
            4
        }
        fn last_address(&self) -> u64 {
            0x77
        }
    }

    fn value_in(text: &str, radix: u32) -> Result<u64, String> {
        let expression = parse_expression_text(text, radix).map_err(|error| error.to_string())?;
        evaluate(&expression, &Names).map_err(|error| error.to_string())
    }

    fn value(text: &str) -> Result<u64, String> {
        value_in(text, DEFAULT_RADIX)
    }

    #[test]
    fn numbers_names_and_operators_have_their_values() {
        let cases: &[(&str, u64)] = &[
            ("10", 16),
            ("0t10", 10),
            ("0o17", 15),
            ("0i101", 5),
            ("0t12.5", 0x4029_0000_0000_0000),
            ("0xBad", 0xbad),
            ("bad", 0x3000),
            ("f", 15),
            ("main+0x10", 0x1010),
            ("libc.so.6`free - 1", 0x1fff),
            (".+1", 6),
            ("\"a::b<c>\"+1", 0x4001),
            ("2+3*4", 14),
            ("(2+3)*4", 20),
            ("10-4-2", 10),
            ("1|6^2&3", 5),
            ("1|4==4", 1),
            ("2*7%%4", 6),
            ("-1", u64::MAX),
            ("~0 & ff", 0xff),
            ("#0", 1),
            ("##5", 1),
            ("-0t10%3", (-3_i64) as u64),
            ("0t10%%3", 1),
            ("0t13#8", 16),
            ("1<<4", 16),
            ("1<<40", 0),
            ("<rip+1", 0x401),
            ("+", 9),
            ("^", 1),
            ("&", 0x77),
            ("& & 7", 7),
            ("+ + 1", 10),
            ("*main", 0x1122_3344_5566_7788),
            ("%main", 0x1122_3344_5566_7788),
            ("*/c/main", 0x88),
            ("*/s/main+1", 0x7789),
            ("%/i/main", 0x5566_7788),
            ("*/8/main", 0x1122_3344_5566_7788),
            ("'a'", 0x61),
            ("'ab\\n'", 0x0a_6261),
        ];
        for (text, expected) in cases {
            assert_eq!(value(text), Ok(*expected), "{text}");
        }
    }

    #[test]
    fn the_radix_is_that_of_the_session() {
        assert_eq!(value_in("10", 10), Ok(10));
        assert_eq!(value_in("0x10+10", 10), Ok(26));
        assert!(value_in("1f", 10).unwrap_err().contains("current base 10"));
        assert!(value_in("f", 10).unwrap_err().contains("unknown symbol"));
    }

    #[test]
    fn errors_have_positions_and_causes() {
        let cases = [
            (
                "0t1f",
                "digit 'f' is invalid in current base 10 near \"f\" (column 4)",
            ),
            (
                "12g",
                "digit 'g' is invalid in current base 16 near \"g\" (column 3)",
            ),
            (
                "(1+2",
                "syntax error at the end of the line (column 5): expected )",
            ),
            (
                "1-",
                "syntax error at the end of the line (column 3): expected an address or an expression",
            ),
            (
                "nowhere",
                "failed to dereference symbol nowhere: unknown symbol name",
            ),
            (
                "<nothing",
                "variable 'nothing' is not defined near \"<nothing\"",
            ),
            (
                "<",
                "syntax error at the end of the line (column 2): expected the name of a variable or register behind <",
            ),
            ("1%0", "attempted to divide by zero"),
            ("1%%0", "attempted to divide by zero"),
            (
                "*8",
                "failed to read from address 0x8: no mapping for address",
            ),
            (
                "*/x/8",
                "syntax error near \"x/8\" (column 3): expected a size: c, s, i, l, 1, 2, 4 or 8",
            ),
            (
                "*/8 8",
                "syntax error near \" 8\" (column 4): expected / behind the size",
            ),
            (
                "\"ab",
                "syntax error: \" unmatched near \"\"ab\" (column 1)",
            ),
            ("'a", "syntax error: ' unmatched near \"'a\" (column 1)"),
            (
                "'123456789'",
                "syntax error near \"'123456789'\" (column 1): expected one to eight bytes between the quotes",
            ),
            (
                "1 2",
                "syntax error near \"2\" (column 3): expected an operator or the end of the expression",
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
