//! Names for addresses: symbol tables, separate debug files, DWARF lines, and the frames of threads.
//!
//! **Owns** every file that is opened for its symbols. **May use** `target`. **Promises** no name rather than a
//! wrong one: a file whose build-id differs from the one in the target's memory gives none. Files are
//! opened when the first address in them is asked for.

/// What an address is called.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// The address asked for.
    pub address: u64,
    /// Object (last part of its path); none when no module holds the address.
    pub object: Option<String>,
    /// The object is the main program, whose name is not shown.
    pub is_program: bool,
    /// Demangled function or datum; none when the symbol tables have none.
    pub symbol: Option<String>,
    /// Bytes from the symbol's start or, without a symbol, from the module's start.
    pub offset: u64,
    /// Source file as DWARF names it.
    pub file: Option<String>,
    /// Line in it.
    pub line: Option<u32>,
}
