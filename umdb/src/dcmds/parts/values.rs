//! Values of options: numbers and names.

use super::{
    args::Invocation,
    context::{Context, Error},
};
use crate::lang::parse_number;

impl Context<'_> {
    /// The value of an option as a number: in the radix of the session unless it begins with `0x`, `0t` (decimal), `0o` (octal) or `0i`
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
        if let Ok(number) = parse_number(text, self.state().radix.get()) {
            return Some(number);
        }
        let symbol = self.symbols.resolve(text).map(|symbol| symbol.address);
        symbol.or_else(|| self.heap.cache_named(text).map(|cache| cache.address))
    }
}
