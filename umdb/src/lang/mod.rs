//! The command language: what a line says.
//!
//! **Owns** its grammar and the meaning of expressions. **May use** nothing of the target: names and memory come from
//! an [`Environment`]. **Promises** errors with their position, and no surprise: what is not understood is
//! an error, never ignored.
//!
//! ```text
//! line    = command { ";" command } [ "//" comment ]
//! command = [ expression ] [ verb { word } ]
//! verb    = "::" name | "$" letter
//! ```
//!
//! Numbers are hexadecimal unless they begin with `0t` (decimal), `0o` (octal) or `0i` (binary). A word of hexadecimal
//! digits that begins with a letter is first looked up as a name.

mod expression;
mod parser;
mod scanner;

pub use expression::{Environment, EvalError, Expression, evaluate};
pub use parser::{Command, Verb, Word, parse};
pub use scanner::SyntaxError;
