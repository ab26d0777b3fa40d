//! Instructions of x86-64 as text, in the syntax that mdb and GNU as have.

use iced_x86::{Decoder, DecoderOptions, Formatter, GasFormatter, Instruction, Mnemonic, OpKind};

use super::context::Context;
use crate::symbols::{Place, Symbols};

/// Bytes that an instruction has at most.
pub const LENGTH_MAX: usize = 15;

/// An instruction in the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// Where it is.
    pub address: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What it does, with the name of what it refers to; `(bad)` where the bytes are none.
    pub text: String,
}

impl Decoded {
    /// Where the next one begins.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.address.wrapping_add(self.bytes.len() as u64)
    }
}

impl Context<'_> {
    /// The instruction at an address; none where not a byte of it can be read.
    #[must_use]
    pub fn instruction(&self, address: u64) -> Option<Decoded> {
        let mut bytes = [0; LENGTH_MAX];
        let got = self.target.memory.read(address, &mut bytes);
        let bytes = bytes.get(..got).filter(|bytes| !bytes.is_empty())?;
        let (mut decoded, target) = decode(self.symbols, address, bytes);
        if let Some(name) = target.and_then(|target| self.linked(target)) {
            decoded.text += &format!(" <PLT={name}>");
        }
        Some(decoded)
    }

    /// The function that an entry of a procedure linkage table jumps to, when the loader has bound it.
    fn linked(&self, entry: u64) -> Option<Place> {
        let mut bytes = [0; LENGTH_MAX];
        let got = self.target.memory.read(entry, &mut bytes);
        let mut decoder = Decoder::with_ip(64, bytes.get(..got)?, entry, DecoderOptions::NONE);
        let first = decoder.decode();
        let jump = match first.mnemonic() {
            Mnemonic::Endbr64 => decoder.decode(),
            _ => first,
        };
        if jump.mnemonic() != Mnemonic::Jmp || !jump.is_ip_rel_memory_operand() {
            return None;
        }
        let function = self.target.memory.read_u64(jump.ip_rel_memory_address())?;
        let place = self.symbols.lookup(function);
        (place.symbol.is_some() && place.offset == 0).then_some(place)
    }
}

/// The first instruction of some bytes, and the address that it jumps to where that has no name.
fn decode(symbols: &Symbols, address: u64, bytes: &[u8]) -> (Decoded, Option<u64>) {
    let mut decoder = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE);
    let instruction = decoder.decode();
    let length = instruction.len().clamp(1, bytes.len());
    let (mut text, mut unnamed) = (String::new(), None);
    if instruction.is_invalid() {
        text.push_str("(bad)");
    } else {
        formatter().format(&instruction, &mut text);
        if let Some(target) = referred(&instruction) {
            let place = symbols.lookup(target);
            if place.symbol.is_some() {
                text += &format!(" <{place}>");
            } else if !instruction.is_ip_rel_memory_operand() {
                unnamed = Some(target);
            }
        }
    }
    let decoded = Decoded {
        address,
        bytes: bytes.get(..length).unwrap_or_default().to_vec(),
        text,
    };
    (decoded, unnamed)
}

/// The address that an instruction jumps to or names.
fn referred(instruction: &Instruction) -> Option<u64> {
    if instruction.is_ip_rel_memory_operand() {
        return Some(instruction.ip_rel_memory_address());
    }
    let is_near = instruction.op_count() > 0 && instruction.op0_kind() == OpKind::NearBranch64;
    is_near.then(|| instruction.near_branch_target())
}

fn formatter() -> GasFormatter {
    let mut formatter = GasFormatter::new();
    let options = formatter.options_mut();
    options.set_first_operand_char_index(8);
    options.set_uppercase_hex(false);
    options.set_branch_leading_zeros(false);
    options.set_small_hex_numbers_in_decimal(false);
    options.set_rip_relative_addresses(true);
    formatter
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::synthetic::Builder;

    fn text(bytes: &[u8]) -> (String, usize) {
        let mut builder = Builder::new();
        builder.publish();
        let (decoded, _) = decode(&Symbols::new(&builder.target()), 0x1000, bytes);
        (decoded.text, decoded.bytes.len())
    }

    #[test]
    fn instructions_are_text() {
        assert_eq!(text(&[0x48, 0x89, 0xe5]), ("mov     %rsp,%rbp".into(), 3));
        assert_eq!(text(&[0xe8, 0, 0, 0, 0]), ("call    0x1005".into(), 5));
        assert_eq!(text(&[0x06]), ("(bad)".into(), 1));
        // Cut off by the end of memory.
        assert_eq!(text(&[0xe8, 0]), ("(bad)".into(), 2));
    }
}
