//! Values of options: numbers and names.

use super::{
    args::Invocation,
    context::{Context, Error},
};

impl Context<'_> {
    /// The value of an option as a number: hexadecimal unless it begins with `0t` (decimal), `0o` (octal) or `0i`
    /// (binary), or the address of a symbol or cache of that name. None when the option was not given.
    ///
    /// # Errors
    /// When it is neither.
    pub fn option(&self, invocation: &Invocation, letter: char) -> Result<Option<u64>, Error> {
        invocation
            .value(letter)
            .map(|text| {
                self.number(text).ok_or_else(|| {
                    Error::with_hint(
                        format!("-{letter} {text}: neither a number nor a known name"),
                        "numbers are hexadecimal; write 0t10 for ten",
                    )
                })
            })
            .transpose()
    }

    /// A number, or the address of what has that name.
    fn number(&self, text: &str) -> Option<u64> {
        if let Some(number) = literal(text) {
            return Some(number);
        }
        let symbol = self.symbols.resolve(text).map(|symbol| symbol.address);
        symbol.or_else(|| self.heap.cache_named(text).map(|cache| cache.address))
    }
}

/// A number as the command language writes it.
fn literal(text: &str) -> Option<u64> {
    let (digits, radix) = match text.get(..2) {
        Some("0x" | "0X") => (text.get(2..)?, 16),
        Some("0t" | "0T") => (text.get(2..)?, 10),
        Some("0o" | "0O") => (text.get(2..)?, 8),
        Some("0i" | "0I") => (text.get(2..)?, 2),
        _ => (text, 16),
    };
    // from_str_radix takes a sign, which is none of ours.
    let is_plain = digits.chars().all(|digit| digit.is_digit(radix));
    u64::from_str_radix(digits, radix).ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use super::literal;

    #[test]
    fn numbers_are_hexadecimal_unless_they_say_otherwise() {
        assert_eq!(literal("10"), Some(16));
        assert_eq!(literal("0x10"), Some(16));
        assert_eq!(literal("0t10"), Some(10));
        assert_eq!(literal("0o10"), Some(8));
        assert_eq!(literal("0i10"), Some(2));
        for text in [
            "",
            "main",
            "0t",
            "+1",
            "-1",
            "0x-1",
            "0t1a",
            "11112222333344445",
        ] {
            assert_eq!(literal(text), None, "{text}");
        }
    }
}
