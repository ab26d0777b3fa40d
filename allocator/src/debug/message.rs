//! Text without allocation: a buffer for one message, and the ring that keeps the last ones for debuggers.

use crate::{
    raw::{Cell, Global, byte, root},
    sys::process,
};
use core::{fmt, sync::atomic::Ordering};

const RING: usize = 8192;
/// In whole words: that is how they are copied.
static BYTES: Global<[u64; RING / 8]> = Global::new([0; RING / 8]);

/// A message of at most `N` bytes; what does not fit is cut.
pub struct Text<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Text<N> {
    /// An empty message.
    pub const fn new() -> Self {
        Self {
            bytes: [0; N],
            length: 0,
        }
    }
    /// What was written.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&[])
    }
    /// Appends bytes as they are.
    pub fn push(&mut self, text: &[u8]) {
        for &byte in text {
            if let Some(slot) = self.bytes.get_mut(self.length) {
                *slot = byte;
                self.length += 1;
            }
        }
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> fmt::Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

/// Gives the ring its memory.
pub fn initialize() {
    root().messages_size().set(RING as u64);
    root().messages_base().set(BYTES.get() as u64);
}

/// Appends to the ring.
pub fn keep(text: &[u8]) {
    let at = root()
        .messages_written()
        .fetch_add(text.len() as u64, Ordering::AcqRel) as usize;
    for (index, &value) in text.iter().enumerate() {
        // SAFETY: the index is reduced to the length of the static ring, which is only accessed by bytes.
        unsafe { byte(BYTES.get() as usize, (at + index) % RING) }.set(value);
    }
}

/// Appends to the ring and writes to standard error, unless the process runs with raised privileges.
pub fn tell(text: &[u8]) {
    keep(text);
    if root().secure().get() == 0 {
        process::write_error(text);
    }
}

/// Formats a message of up to 512 bytes into the ring.
pub fn note(arguments: fmt::Arguments<'_>) {
    let mut text = Text::<512>::new();
    let _ = fmt::Write::write_fmt(&mut text, arguments);
    keep(text.as_bytes());
}

/// The end of a panic: a bug of the allocator. Says where, and aborts.
pub fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let mut text = Text::<512>::new();
    let _ = fmt::Write::write_fmt(
        &mut text,
        format_args!("umem allocator: internal error: {info}\n"),
    );
    tell(text.as_bytes());
    process::abort()
}
