//! Reports as text for people and as JSON for machines.
//!
//! **Owns** how every typed cell looks. **May use** only `report`. **Promises** the column shapes of mdb's
//! libumem commands, and in JSON real numbers, with addresses as hexadecimal strings.

mod csv;
mod dump;
mod json;
mod table;
mod text;

pub use csv::CsvWriter;
pub use json::JsonWriter;
pub use text::{Style, TextWriter, frame_text, write_text};
