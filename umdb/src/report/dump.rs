//! Bytes of memory as people read them.

/// Lines of bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dump {
    /// Name in JSON.
    pub key: &'static str,
    /// The lines in order.
    pub rows: Vec<DumpRow>,
    /// Bytes on a line.
    pub width: usize,
    /// Bytes that stand together.
    pub group: usize,
    /// Groups are little-endian words: the highest byte stands first.
    pub is_words: bool,
    /// The bytes as characters stand at the end of the line.
    pub has_text: bool,
    /// Column of the byte that was asked for; the header marks it. None without a header.
    pub marked: Option<usize>,
}

/// A line of bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DumpRow {
    /// What stands before the bytes: their address, or their distance from where the dump begins.
    pub label: u64,
    /// Address of the first byte.
    pub address: u64,
    /// The bytes; none where a byte is not shown.
    pub bytes: Vec<Option<u8>>,
    /// Lines like this one that follow and are not shown.
    pub repeated: u64,
}
