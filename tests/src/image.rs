//! Cores as bytes, to damage them in exact places.

use std::{fs, mem::offset_of, path::Path};

use object::{
    LittleEndian, elf,
    read::elf::{FileHeader, ProgramHeader},
};
use umem_layout::{BYTE_ORDER, COPY_MAGIC, Cache, ROOT_MAGIC, UmemRoot};

/// A core file in memory.
#[derive(Debug, Clone)]
pub struct Image {
    bytes: Vec<u8>,
    segments: Vec<Segment>,
}

/// A piece of the process that has bytes in the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Address in the process.
    pub address: u64,
    /// Offset in the file.
    pub offset: usize,
    /// Bytes in the file.
    pub size: usize,
}

impl Image {
    /// Reads a core.
    #[must_use]
    pub fn read(core: &Path) -> Self {
        let bytes = fs::read(core).unwrap_or_else(|error| panic!("{}: {error}", core.display()));
        let header =
            elf::FileHeader64::<LittleEndian>::parse(&*bytes).expect("a core is an ELF file");
        let headers = header
            .program_headers(LittleEndian, &*bytes)
            .expect("a core has program headers");
        let segments = headers
            .iter()
            .filter(|segment| segment.p_type(LittleEndian) == elf::PT_LOAD)
            .map(|segment| Segment {
                address: segment.p_vaddr(LittleEndian),
                offset: to_usize(segment.p_offset(LittleEndian)),
                size: to_usize(segment.p_filesz(LittleEndian)),
            })
            .filter(|segment| segment.size > 0)
            .collect();
        Self { bytes, segments }
    }

    /// The segments with bytes, in order of address.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The last segment of the program's own half of the address space: the stack of the first thread.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn stack(&self) -> Segment {
        let own = self
            .segments
            .iter()
            .filter(|segment| segment.address < 1 << 47);
        *own.max_by_key(|segment| segment.address)
            .expect("a core has a stack")
    }

    /// Offset in the file of the byte at `address`.
    ///
    /// # Panics
    /// When the core has no byte of it.
    #[must_use]
    pub fn offset(&self, address: u64) -> usize {
        self.segments
            .iter()
            .find_map(|segment| {
                let within = to_usize(address.checked_sub(segment.address)?);
                (within < segment.size).then_some(segment.offset + within)
            })
            .unwrap_or_else(|| panic!("{address:#x} is not in the core"))
    }

    /// Offset in the file of the root record.
    ///
    /// # Panics
    /// When there is not exactly one.
    #[must_use]
    pub fn root(&self) -> usize {
        let magic = ROOT_MAGIC.to_le_bytes();
        let order = offset_of!(UmemRoot, byte_order);
        // The magic is also a constant in code that may be in the core; the byte order behind it is not.
        let found: Vec<usize> = self
            .segments
            .iter()
            .flat_map(|segment| (segment.offset..segment.offset + segment.size).step_by(8))
            .filter(|&at| self.bytes.get(at..at + 8) == Some(&magic[..]))
            .filter(|&at| {
                self.bytes.get(at + order..at + order + 4) == Some(&BYTE_ORDER.to_le_bytes()[..])
            })
            .collect();
        // The copy of it lies below the heap, the record itself above.
        let (own, copies) = found.split_last().expect("a root record");
        assert!(copies.len() <= 1, "root records at {found:x?}");
        *own
    }

    /// Offset in the file of the copy of the library's data.
    ///
    /// # Panics
    /// When there is not exactly one.
    #[must_use]
    pub fn copy(&self) -> usize {
        let magic = COPY_MAGIC.to_le_bytes();
        let starts = self.segments.iter().map(|segment| segment.offset);
        let found: Vec<usize> = starts
            .filter(|&at| self.bytes.get(at..at + 8) == Some(&magic[..]))
            .collect();
        assert_eq!(found.len(), 1, "copies at {found:x?}");
        found[0]
    }

    /// The eight bytes at an offset of the file, as a number.
    #[must_use]
    pub fn word(&self, offset: usize) -> u64 {
        let bytes = self.bytes[offset..offset + 8]
            .try_into()
            .expect("eight bytes");
        u64::from_le_bytes(bytes)
    }

    /// The four bytes at an offset of the file, as a number.
    #[must_use]
    pub fn half(&self, offset: usize) -> u64 {
        let bytes = self.bytes[offset..offset + 4]
            .try_into()
            .expect("four bytes");
        u64::from(u32::from_le_bytes(bytes))
    }

    /// The field of the root record at this offset in it, as a number.
    #[must_use]
    pub fn root_word(&self, field: usize) -> u64 {
        self.word(self.root() + field)
    }

    /// Addresses of the caches, in the order of their list.
    #[must_use]
    pub fn caches(&self) -> Vec<u64> {
        let mut caches = Vec::new();
        let mut next = self.root_word(offset_of!(UmemRoot, caches));
        while next != 0 {
            assert!(!caches.contains(&next), "the list of caches has a cycle");
            caches.push(next);
            next = self.word(self.offset(next) + offset_of!(Cache, next));
        }
        caches
    }

    /// Name of the cache at this address.
    #[must_use]
    pub fn cache_name(&self, cache: u64) -> String {
        let start = self.offset(cache) + offset_of!(Cache, name);
        let bytes = &self.bytes[start..start + size_of::<[u8; 32]>()];
        String::from_utf8_lossy(bytes.split(|&byte| byte == 0).next().unwrap_or_default())
            .into_owned()
    }

    /// Replaces bytes at an offset of the file.
    pub fn patch(&mut self, offset: usize, bytes: &[u8]) -> &mut Self {
        self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Cuts the file off at an offset.
    pub fn cut(&mut self, offset: usize) -> &mut Self {
        assert!(offset < self.bytes.len(), "nothing is cut at {offset}");
        self.bytes.truncate(offset);
        self
    }

    /// Bytes of the file.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The file holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Writes the core to a file.
    pub fn write(&self, path: &Path) {
        fs::write(path, &self.bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).expect("a 64-bit machine")
}
