//! Where an address lies that is no buffer, as the kernel's list of mappings tells. Nothing is allocated.

use super::message::Text;
use crate::{sys::environment, vmem};

/// Where an address lies.
pub enum Place {
    /// In a region of the allocator.
    Own,
    /// On the stack of the caller.
    Stack,
    /// In a mapping: a file's name, `[heap]` and its kin, or nothing.
    Mapped(Text<64>),
    /// Nowhere.
    Unmapped,
    /// The list could not be read.
    Unknown,
}

/// One line of the list.
struct Mapping<'a> {
    start: usize,
    end: usize,
    name: &'a [u8],
}

fn hexadecimal(text: &[u8]) -> Option<usize> {
    usize::from_str_radix(core::str::from_utf8(text).ok()?, 16).ok()
}

fn parse(line: &[u8]) -> Option<Mapping<'_>> {
    let mut fields = line
        .split(|&byte| byte == b' ')
        .filter(|field| !field.is_empty());
    let range = fields.next()?;
    let dash = range.iter().position(|&byte| byte == b'-')?;
    let name = fields.nth(4).unwrap_or(&[]);
    let short = name.rsplit(|&byte| byte == b'/').next().unwrap_or(name);
    Some(Mapping {
        start: hexadecimal(range.get(..dash)?)?,
        end: hexadecimal(range.get(dash + 1..)?)?,
        name: short,
    })
}

/// Where `address` lies; `sp` is a stack pointer of the calling thread, or zero.
pub fn of(address: usize, sp: usize) -> Place {
    if vmem::find_region(address).is_some() {
        return Place::Own;
    }
    let mut found = Place::Unmapped;
    let read = environment::for_each_line(c"/proc/self/maps", |line| {
        let Some(mapping) = parse(line) else { return };
        let range = mapping.start..mapping.end;
        if range.contains(&address) {
            found = if range.contains(&sp) || mapping.name == b"[stack]" {
                Place::Stack
            } else {
                let mut name = Text::new();
                name.push(mapping.name);
                Place::Mapped(name)
            };
        }
    });
    if read { found } else { Place::Unknown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart() {
        let local = 7_u64;
        let here = (&raw const local).addr();
        assert!(matches!(of(here, here), Place::Stack));
        assert!(matches!(of(8, here), Place::Unmapped));
        static DATA: u64 = 7;
        let Place::Mapped(name) = of((&raw const DATA).addr(), here) else {
            panic!("a static is in the program's file");
        };
        assert!(!name.as_bytes().is_empty());
    }
}
