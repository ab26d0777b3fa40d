//! Values of options: numbers and names.

use super::{
    args::Invocation,
    context::{Context, Error},
};

impl Context<'_> {
    /// The value of an option: an expression without blanks, so that a number, the name of a symbol or that of a cache
    /// will do. None when the option was not given.
    ///
    /// # Errors
    /// When it has no value.
    pub fn option(&self, invocation: &Invocation, letter: char) -> Result<Option<u64>, Error> {
        let dot = invocation.address.unwrap_or_default();
        invocation
            .value(letter)
            .map(|text| {
                self.evaluate(text, dot).map_err(|error| {
                    if !matches!(error, Error::Usage { .. } | Error::Failed { .. }) {
                        return error;
                    }
                    let what = format!("-{letter} {text}: {error}");
                    invocation.senseless(&what, "numbers are hexadecimal; write 0t10 for ten")
                })
            })
            .transpose()
    }
}
