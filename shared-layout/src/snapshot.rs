//! What a debugger and the code in `libumem.so` that makes a frozen copy of the process agree on.
//!
//! The note [`NOTE_NAME`](crate::NOTE_NAME)/[`NOTE_TYPE_SNAPSHOT`] has four words as descriptor: [`SNAPSHOT_VERSION`], then the
//! distances from the word itself to the first byte of the code, to the byte behind the code, and to the
//! [`SnapshotArea`].

/// Type of the ELF note that leads to the code.
pub const NOTE_TYPE_SNAPSHOT: u32 = 2;
/// Version of the code and of its area. A debugger that knows another one does not use it.
pub const SNAPSHOT_VERSION: u64 = 1;

/// What a thread that runs the code takes back at its end. Zero while nobody uses it.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SnapshotArea {
    /// Thread that uses the area; the code sets it to zero as the last thing but one.
    pub busy: u64,
    /// Flags register.
    pub flags: u64,
    /// Stack pointer.
    pub rsp: u64,
    /// Where it goes on.
    pub rip: u64,
    /// Signal mask.
    pub mask: u64,
    /// General registers.
    pub rax: u64,
    /// See `rax`.
    pub rbx: u64,
    /// See `rax`.
    pub rcx: u64,
    /// See `rax`.
    pub rdx: u64,
    /// See `rax`.
    pub rsi: u64,
    /// See `rax`.
    pub rdi: u64,
    /// See `rax`.
    pub rbp: u64,
    /// The numbered registers.
    pub r8_to_r15: [u64; 8],
}

const _: () = assert!(size_of::<SnapshotArea>() == 160);

impl SnapshotArea {
    /// The bytes as they stand in memory.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; size_of::<SnapshotArea>()] {
        let head = [
            self.busy, self.flags, self.rsp, self.rip, self.mask, self.rax, self.rbx, self.rcx,
            self.rdx, self.rsi, self.rdi, self.rbp,
        ];
        let mut bytes = [0; size_of::<SnapshotArea>()];
        let words = head.iter().chain(&self.r8_to_r15);
        for (slot, word) in bytes.chunks_exact_mut(8).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}
