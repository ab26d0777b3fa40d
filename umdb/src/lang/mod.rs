//! The command language: what a line says.
//!
//! **Owns** its grammar and the meaning of expressions. **May use** nothing of the target: names and memory come from
//! an [`Environment`]. **Promises** errors with their position and what was expected there, and no surprise: what is
//! not understood is an error, never ignored.
//!
//! ```text
//! line    = command { ( ";" | newline ) command } [ "//" comment ]
//! command = stage { "|" stage } [ "!" shell ]  |  "!" shell
//! stage   = [ expression ] [ "," expression ] verb
//! verb    = "::" name { word }  |  "$" sign { word }  |  ( "/" | "\" | "?" | "@" | "=" ) format
//!         | ">" [ "/" width "/" ] name  |  nothing
//! word    = text, "quoted" or 'quoted' without blanks between  |  "$[" expression "]"
//! ```
//!
//! Numbers are hexadecimal, or in the radix of the session, unless they begin with `0x`, `0t` (decimal), `0o` (octal) or
//! `0i` (binary). A word of digits that begins with a letter is first looked up as a name. Since the radix may
//! change from one command to the next, a line is parsed command by command ([`Parser`]).

mod expression;
mod parser;
mod scanner;
mod value;

pub use expression::{Binary, Expression, Unary, parse_expression_text, parse_number};
pub use parser::{Command, Parser, Stage, Verb, Word};
pub use scanner::SyntaxError;
pub use value::{Environment, EvalError, evaluate};

/// The radix of numbers without prefix when a session begins.
pub const DEFAULT_RADIX: u32 = 16;
