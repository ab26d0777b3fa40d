//! Memory made of pieces, for tests.

use std::collections::BTreeMap;

use super::Memory;

/// Memory made of pieces, for tests.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// Page by page, so that pieces may be written in any order and overlap.
    pages: BTreeMap<u64, Vec<Option<u8>>>,
}

const PAGE: u64 = 4096;

impl Image {
    /// Memory with nothing in it.
    pub fn new() -> Image {
        Image::default()
    }

    /// Puts bytes at an address; what was there before is overwritten.
    pub fn write(&mut self, address: u64, bytes: &[u8]) {
        for (at, &byte) in (address..).zip(bytes) {
            let page = self
                .pages
                .entry(at / PAGE)
                .or_insert_with(|| vec![None; PAGE as usize]);
            page[(at % PAGE) as usize] = Some(byte);
        }
    }
}

impl Memory for Image {
    fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        while let Some(at) = address
            .checked_add(done as u64)
            .filter(|_| done < buffer.len())
        {
            let Some(page) = self.pages.get(&(at / PAGE)) else {
                break;
            };
            let wanted = buffer[done..].iter_mut().zip(&page[(at % PAGE) as usize..]);
            let length = wanted.len();
            let count = wanted
                .map_while(|(slot, byte)| byte.map(|byte| *slot = byte))
                .count();
            done += count;
            if count < length {
                break;
            }
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_end_at_the_first_hole() {
        let mut image = Image::new();
        image.write(PAGE - 2, &[1, 2, 3, 4]);
        image.write(PAGE, &[9]);
        let mut bytes = [0; 8];
        assert_eq!(image.read(PAGE - 2, &mut bytes), 4);
        assert_eq!(bytes[..4], [1, 2, 9, 4]);
        assert_eq!(image.read(0, &mut bytes), 0);
        assert_eq!(image.read(u64::MAX - 2, &mut bytes), 0);
    }
}
