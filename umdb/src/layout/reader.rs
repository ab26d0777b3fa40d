//! Reading published structures with their published strides.

use std::{collections::HashSet, sync::Arc};

use umem_layout::{Plain, Published, UmemRoot};

use crate::target::Memory;

/// Largest size of a structure that is believed. The largest there is takes less than 1 KiB.
const STRIDE_MAX: usize = 1 << 16;
/// Most structures that a list may have.
const LIST_MAX: usize = 1 << 24;
/// Bytes that are read at once from arrays.
const PIECE: usize = 1 << 18;

/// Something in the target that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Memory is missing.
    #[error("cannot read {wanted} bytes of {what} at {address:#x}")]
    Unreadable {
        /// What should be there.
        what: String,
        /// Where.
        address: u64,
        /// How many bytes it takes.
        wanted: u64,
    },
    /// A list comes back to where it was.
    #[error("the list of {what} loops: it comes to {address:#x} again")]
    Loop {
        /// What is listed.
        what: String,
        /// The element that came up twice.
        address: u64,
    },
    /// A list does not end.
    #[error("the list of {what} is longer than {limit}")]
    Endless {
        /// What is listed.
        what: String,
        /// Where we stopped.
        limit: usize,
    },
    /// A structure cannot be what it should be.
    #[error("{what} at {address:#x} is damaged: {detail}")]
    Implausible {
        /// What should be there.
        what: String,
        /// Where.
        address: u64,
        /// What is wrong with it.
        detail: String,
    },
    /// What follows from the rest may be wrong.
    #[error("{0}")]
    Doubt(String),
}

/// A list as far as it could be read: each element with its address.
#[derive(Debug, Clone)]
pub struct Listed<T> {
    /// The elements in order.
    pub elements: Vec<(u64, T)>,
    /// Why there may be more.
    pub damage: Option<Damage>,
}

/// Reads published structures.
#[derive(Clone)]
pub struct Reader {
    memory: Arc<dyn Memory>,
    strides: [u32; 32],
}

impl Reader {
    /// A reader for the structure sizes of a root record.
    #[must_use]
    pub fn new(memory: Arc<dyn Memory>, root: &UmemRoot) -> Self {
        Self {
            memory,
            strides: root.struct_sizes,
        }
    }

    /// The memory that is read.
    #[must_use]
    pub fn memory(&self) -> &dyn Memory {
        &*self.memory
    }

    /// Bytes from one structure to the next, as published; its known size when that is absurd.
    #[must_use]
    pub fn stride<T: Published>(&self) -> usize {
        match self.strides.get(T::ID) {
            Some(&stride) if stride > 0 && stride as usize <= STRIDE_MAX => stride as usize,
            _ => T::BYTES,
        }
    }

    /// Exactly `length` bytes.
    pub fn bytes(&self, what: &str, address: u64, length: usize) -> Result<Vec<u8>, Damage> {
        let mut bytes = vec![0; length];
        match self.fill(address, &mut bytes) {
            got if got == length => Ok(bytes),
            _ => Err(Damage::Unreadable {
                what: what.to_owned(),
                address,
                wanted: length as u64,
            }),
        }
    }

    /// Reads as much as there is, and returns how much that was.
    pub fn fill(&self, address: u64, bytes: &mut [u8]) -> usize {
        if address.checked_add(bytes.len() as u64).is_none() {
            return 0;
        }
        self.memory.read(address, bytes).min(bytes.len())
    }

    /// One structure.
    pub fn one<T: Published>(&self, address: u64) -> Result<T, Damage> {
        if !address.is_multiple_of(8) {
            return Err(Damage::Implausible {
                what: noun::<T>().to_owned(),
                address,
                detail: "the address is not aligned".to_owned(),
            });
        }
        let length = self.stride::<T>().min(T::BYTES);
        self.bytes(noun::<T>(), address, length)
            .map(|bytes| T::decode(&bytes))
    }

    /// Calls `each` with index and structure of an array, as far as it is readable. Stops at the first
    /// hole and says so.
    pub fn array<T: Published>(
        &self,
        address: u64,
        count: usize,
        mut each: impl FnMut(usize, T),
    ) -> Result<(), Damage> {
        let stride = self.stride::<T>();
        let per_piece = (PIECE / stride).max(1);
        for first in (0..count).step_by(per_piece) {
            let number = per_piece.min(count - first);
            let start = address.wrapping_add(first as u64 * stride as u64);
            let bytes = self.bytes(noun::<T>(), start, number * stride)?;
            bytes
                .chunks_exact(stride)
                .enumerate()
                .for_each(|(i, chunk)| each(first + i, T::decode(chunk)));
        }
        Ok(())
    }

    /// 64-bit words from an address on.
    pub fn words(&self, what: &str, address: u64, count: usize) -> Result<Vec<u64>, Damage> {
        let bytes = self.bytes(what, address, count.saturating_mul(8))?;
        Ok(bytes
            .chunks_exact(8)
            .map(|chunk| u64::decode_at(chunk, 0))
            .collect())
    }

    /// A list of structures, from its head to the first zero link. `check` says what is wrong with an
    /// element, which ends the list there.
    pub fn list<T: Published>(
        &self,
        head: u64,
        next: impl Fn(&T) -> u64,
        check: impl Fn(&T) -> Option<String>,
    ) -> Listed<T> {
        self.list_until(head, 0, next, check)
    }

    /// The same for a list that ends where a link holds `end`.
    pub fn list_until<T: Published>(
        &self,
        head: u64,
        end: u64,
        next: impl Fn(&T) -> u64,
        check: impl Fn(&T) -> Option<String>,
    ) -> Listed<T> {
        let what = || plural::<T>();
        let mut seen = HashSet::new();
        let mut elements = Vec::new();
        let mut address = head;
        let damage = loop {
            if address == end {
                break None;
            }
            if !seen.insert(address) {
                break Some(Damage::Loop {
                    what: what(),
                    address,
                });
            }
            if elements.len() == LIST_MAX {
                break Some(Damage::Endless {
                    what: what(),
                    limit: LIST_MAX,
                });
            }
            let element: T = match self.one(address) {
                Ok(element) => element,
                Err(damage) => break Some(damage),
            };
            if let Some(detail) = check(&element) {
                break Some(Damage::Implausible {
                    what: noun::<T>().to_owned(),
                    address,
                    detail,
                });
            }
            elements.push((address, element));
            address = next(&element);
        };
        Listed { elements, damage }
    }
}

/// What a structure is called in messages, with its article.
fn noun<T: Published>() -> &'static str {
    NOUNS.get(T::ID).copied().unwrap_or("a structure")
}

fn plural<T: Published>() -> String {
    let noun = noun::<T>();
    let bare = noun.split_once(' ').map_or(noun, |(_, bare)| bare);
    format!("{bare}s")
}

/// Nouns by identifier of the structure.
const NOUNS: [&str; 21] = [
    "the root record",
    "a region",
    "a slab",
    "a cache",
    "an arena",
    "a segment",
    "an audit record",
    "a log",
    "a log entry",
    "a thread",
    "the magazines of a thread",
    "a magazine",
    "the stack depot",
    "a stack",
    "a module",
    "a span",
    "the message ring",
    "the abort record",
    "the options",
    "the clock",
    "a trailer",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Image;
    use umem_layout::Span;

    fn reader(image: Image) -> Reader {
        let mut root = UmemRoot::ZERO;
        root.struct_sizes[Span::ID] = 0x30;
        Reader::new(Arc::new(image), &root)
    }

    fn span(image: &mut Image, address: u64, next: u64) {
        let words = [next, 0x1000, 0x2000, 1, 0xffff, 0xffff];
        let bytes: Vec<u8> = words
            .iter()
            .flat_map(|word: &u64| word.to_le_bytes())
            .collect();
        image.write(address, &bytes);
    }

    fn walk(reader: &Reader, head: u64) -> Listed<Span> {
        reader.list(head, |span: &Span| span.next, |_| None)
    }

    #[test]
    fn lists_end_at_zero_and_stride_as_published() {
        let mut image = Image::new();
        span(&mut image, 0x1000, 0x1030);
        span(&mut image, 0x1030, 0);
        let reader = reader(image);
        let list = walk(&reader, 0x1000);
        assert_eq!(list.elements.len(), 2);
        assert_eq!(list.damage, None);
        let mut sizes = Vec::new();
        reader
            .array(0x1000, 2, |_, span: Span| sizes.push(span.size))
            .unwrap();
        assert_eq!(sizes, [0x2000, 0x2000]);
    }

    #[test]
    fn loops_and_wild_pointers_end_a_list_with_what_came_before() {
        let mut image = Image::new();
        span(&mut image, 0x1000, 0x1030);
        span(&mut image, 0x1030, 0x1000);
        span(&mut image, 0x2000, 0x4141_4140);
        let reader = reader(image);
        let list = walk(&reader, 0x1000);
        assert_eq!(list.elements.len(), 2);
        assert_eq!(
            list.damage,
            Some(Damage::Loop {
                what: "spans".into(),
                address: 0x1000
            })
        );
        let list = walk(&reader, 0x2000);
        assert_eq!(list.elements.len(), 1);
        assert!(
            list.damage
                .unwrap()
                .to_string()
                .starts_with("cannot read 32 bytes of a span at 0x41414140")
        );
        assert!(
            walk(&reader, 0x1001)
                .damage
                .unwrap()
                .to_string()
                .contains("not aligned")
        );
    }

    #[test]
    fn addresses_at_the_end_of_memory_do_not_wrap() {
        let reader = reader(Image::new());
        assert_eq!(reader.fill(u64::MAX - 7, &mut [0; 16]), 0);
        assert!(reader.one::<Span>(u64::MAX - 7).is_err());
    }
}
