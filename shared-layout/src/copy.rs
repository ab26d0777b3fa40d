//! Copies of the library's own data, for cores that lack it.
//!
//! A core that was cut off lost its highest addresses first: libraries lie above the heap. So the library keeps a copy of the
//! structures in its own data at the lowest address of its first reservation, below everything that they lead to. A reader that
//! misses the root looks for [`CopyHeader`] at multiples of [`COPY_ALIGN`] in private writable memory, and puts the
//! pieces where they came from. They are as old as [`CopyHeader::time`], most of the root is newer.

use crate::Plain;

/// `CopyHeader::magic`, the bytes `UMEMCOPY` read little-endian.
pub const COPY_MAGIC: u64 = u64::from_le_bytes(*b"UMEMCOPY");
/// Version of the copy's form. A reader that knows another one does not use it.
pub const COPY_VERSION: u64 = 1;
/// A copy stands at a multiple of this.
pub const COPY_ALIGN: u64 = 1 << 16;
/// Most bytes of a copy, header included.
pub const COPY_ROOM: u64 = 1 << 17;

/// Stands before the pieces: each is its address, its bytes, a multiple of 8, and then the bytes themselves.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyHeader {
    /// [`COPY_MAGIC`].
    pub magic: u64,
    /// [`COPY_VERSION`].
    pub version: u64,
    /// Address of this structure.
    pub address: u64,
    /// Odd while the copy is being written.
    pub sequence: u64,
    /// Address of the [`crate::UmemRoot`].
    pub root: u64,
    /// Bytes of all pieces, with their addresses and sizes.
    pub bytes: u64,
    /// CLOCK_MONOTONIC in nanoseconds when all pieces were written last.
    pub time: u64,
    /// Zero.
    pub reserved: u64,
}

const _: () = assert!(size_of::<CopyHeader>() == 64);

impl CopyHeader {
    /// Bytes of a header.
    pub const BYTES: usize = size_of::<Self>();

    /// The header in these bytes, if it is one of a whole copy that stands at `address`.
    #[must_use]
    pub fn read(bytes: &[u8], address: u64) -> Option<Self> {
        let [magic, version, own, sequence, root, bytes, time, reserved] =
            <[u64; 8] as Plain>::decode_at(bytes.get(..Self::BYTES)?, 0);
        let header = Self {
            magic,
            version,
            address: own,
            sequence,
            root,
            bytes,
            time,
            reserved,
        };
        let is_good = magic == COPY_MAGIC
            && version == COPY_VERSION
            && own == address
            && sequence.is_multiple_of(2)
            && bytes <= COPY_ROOM - Self::BYTES as u64;
        is_good.then_some(header)
    }
}
