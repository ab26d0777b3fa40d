//! What the unwind tables say about a program counter (`tables`), condensed to 64 bits and cached.

use super::{object::object_of, tables::Tables};
use core::sync::atomic::{AtomicU64, Ordering};

/// A frame on the way outwards.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    pub pc: usize,
    pub sp: usize,
    pub fp: usize,
    /// A signal interrupted the frame: `pc` is the next instruction, not a return address.
    pub interrupted: bool,
}

/// Where the caller's frame pointer was saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Saved {
    /// At this offset from the CFA.
    At(isize),
    /// At the address in the frame pointer: functions that realign their stack.
    AtPointer,
}

/// How to get from a frame to its caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// CFA = stack pointer + offset.
    Stack { cfa: isize, saved: Option<Saved> },
    /// CFA = frame pointer + offset.
    Pointer { cfa: isize, saved: Option<Saved> },
    /// CFA = word at frame pointer + offset: functions that realign their stack.
    Realigned { cfa: isize, saved: Option<Saved> },
    /// Procedure linkage table: CFA depends on how far into its 16-byte entry the program counter is.
    Plt { threshold: usize },
    /// Return of a signal handler.
    Signal,
    /// No caller.
    Outermost,
    /// Nothing is known.
    None,
}

impl Rule {
    #[inline(always)]
    pub(super) fn saved_fp(self) -> Option<Saved> {
        match self {
            Self::Stack { saved, .. }
            | Self::Pointer { saved, .. }
            | Self::Realigned { saved, .. } => saved,
            _ => None,
        }
    }
}

// ---- the encoding: kind in 3 bits, CFA / 8 in 16 bits signed, saved / 8 in 12 bits signed ----

const RULE_BITS: u32 = 31;
const KIND_STACK: u64 = 1;
const KIND_POINTER: u64 = 2;
const KIND_REALIGNED: u64 = 3;
const KIND_PLT: u64 = 4;
/// Signal, outermost, none, or too wide to encode: told apart by the CFA field.
const KIND_OTHER: u64 = 5;
const OTHER_SIGNAL: i64 = 1;
const OTHER_OUTERMOST: i64 = 2;
const OTHER_NONE: i64 = 3;
const OTHER_WIDE: i64 = 4;
/// Field values of `saved`: slots are never at the CFA itself, so zero means not saved.
const SAVED_NOT: i64 = 0;
const SAVED_AT_POINTER: i64 = 2047;

const fn field(value: i64, bits: u32, shift: u32) -> u64 {
    ((value as u64) & ((1 << bits) - 1)) << shift
}

const fn signed(word: u64, bits: u32, shift: u32) -> i64 {
    ((word << (64 - bits - shift)) as i64) >> (64 - bits)
}

fn pack(kind: u64, cfa: i64, saved: i64) -> u64 {
    kind | field(cfa, 16, 3) | field(saved, 12, 19)
}

fn encode(rule: Rule) -> u64 {
    let with = |kind, cfa: isize, saved: Option<Saved>| {
        let saved = match saved {
            None => SAVED_NOT,
            Some(Saved::AtPointer) => SAVED_AT_POINTER,
            Some(Saved::At(offset)) if offset as i64 / 8 == SAVED_AT_POINTER => i64::MAX,
            Some(Saved::At(offset)) => offset as i64 / 8,
        };
        let cfa = cfa as i64;
        let fits = cfa % 8 == 0
            && i16::try_from(cfa / 8).is_ok()
            && (-2048..=SAVED_AT_POINTER).contains(&saved);
        if fits {
            pack(kind, cfa / 8, saved)
        } else {
            pack(KIND_OTHER, OTHER_WIDE, 0)
        }
    };
    match rule {
        Rule::Stack { cfa, saved } => with(KIND_STACK, cfa, saved),
        Rule::Pointer { cfa, saved } => with(KIND_POINTER, cfa, saved),
        Rule::Realigned { cfa, saved } => with(KIND_REALIGNED, cfa, saved),
        Rule::Plt { threshold } => pack(KIND_PLT, threshold as i64, 0),
        Rule::Signal => pack(KIND_OTHER, OTHER_SIGNAL, 0),
        Rule::Outermost => pack(KIND_OTHER, OTHER_OUTERMOST, 0),
        Rule::None => pack(KIND_OTHER, OTHER_NONE, 0),
    }
}

/// None: the rule was too wide to encode.
#[inline(always)]
fn decode(word: u64) -> Option<Rule> {
    let offset = signed(word, 16, 3);
    let cfa = offset as isize * 8;
    let saved = match signed(word, 12, 19) {
        SAVED_NOT => None,
        SAVED_AT_POINTER => Some(Saved::AtPointer),
        slot => Some(Saved::At(slot as isize * 8)),
    };
    Some(match word & 7 {
        KIND_STACK => Rule::Stack { cfa, saved },
        KIND_POINTER => Rule::Pointer { cfa, saved },
        KIND_REALIGNED => Rule::Realigned { cfa, saved },
        KIND_PLT => Rule::Plt {
            threshold: offset as usize,
        },
        _ => match offset {
            OTHER_SIGNAL => Rule::Signal,
            OTHER_OUTERMOST => Rule::Outermost,
            OTHER_WIDE => return None,
            _ => Rule::None,
        },
    })
}

// ---- the cache: direct-mapped, an entry is a tag of 33 bits and a rule of 31 ----

/// 64 Ki entries of 8 bytes: python3 and cc1plus use some 20,000 program counters. Pages are touched as used.
const CACHE_BITS: u32 = 16;
static CACHE: [AtomicU64; 1 << CACHE_BITS] = [const { AtomicU64::new(0) }; 1 << CACHE_BITS];
static GENERATION: AtomicU64 = AtomicU64::new(1);

/// The generation of rules in force; a capture uses one from beginning to end.
#[inline]
pub(super) fn generation() -> u64 {
    GENERATION.load(Ordering::Acquire)
}

/// Forgets all rules: entries of an older generation no longer match, whenever they are written.
pub(super) fn forget() {
    // Entries tell generations apart by their last 16 bits; when those come round the old entries must be gone.
    if GENERATION.fetch_add(1, Ordering::AcqRel) & 0xffff == 0xffff {
        CACHE
            .iter()
            .for_each(|entry| entry.store(0, Ordering::Relaxed));
    }
}

/// A rule as the cache holds it.
#[derive(Clone, Copy)]
pub(super) struct Packed(u64);

impl Packed {
    /// CFA = stack pointer + [`Packed::cfa`].
    #[inline(always)]
    pub fn is_stack(self) -> bool {
        self.0 & 7 == KIND_STACK
    }

    /// CFA = frame pointer + [`Packed::cfa`].
    #[inline(always)]
    pub fn is_pointer(self) -> bool {
        self.0 & 7 == KIND_POINTER
    }

    /// For these two kinds.
    #[inline(always)]
    pub fn cfa(self) -> isize {
        signed(self.0, 16, 3) as isize * 8
    }

    /// Offset from the CFA at which the caller's frame pointer was saved; zero: it was not. None: it is elsewhere.
    #[inline(always)]
    pub fn saved(self) -> Option<isize> {
        match signed(self.0, 12, 19) {
            SAVED_AT_POINTER => None,
            slot => Some(slot as isize * 8),
        }
    }

    /// The rule, read again from the tables when it is too wide for the cache.
    pub fn unpack(self, frame: Frame, tables: &mut Tables) -> Rule {
        decode(self.0).unwrap_or_else(|| tables.rule(call_of(frame)))
    }
}

/// A return address may be the first byte of the next function: what counts is the call before it.
#[inline(always)]
fn call_of(frame: Frame) -> usize {
    frame.pc - usize::from(!frame.interrupted)
}

/// The rule for a frame.
#[inline(always)]
pub(super) fn lookup(generation: u64, frame: Frame, tables: &mut Tables) -> Packed {
    let pc = call_of(frame) as u64;
    let hash = (pc ^ generation << 48).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let index = (hash >> (64 - CACHE_BITS)) as usize;
    let tag = hash << CACHE_BITS >> RULE_BITS;
    // SAFETY: the index has CACHE_BITS bits.
    let entry = unsafe { CACHE.get_unchecked(index) };
    let word = entry.load(Ordering::Relaxed);
    if word >> RULE_BITS == tag && word != 0 {
        Packed(word)
    } else {
        learn(entry, tag, pc as usize, tables)
    }
}

#[cold]
#[inline(never)]
fn learn(entry: &AtomicU64, tag: u64, pc: usize, tables: &mut Tables) -> Packed {
    let rule = tables.rule(pc);
    let word = tag << RULE_BITS | encode(rule);
    // Where there is no object now (code of a just-in-time compiler) one may be loaded later.
    if rule != Rule::None || object_of(pc).is_some() {
        entry.store(word, Ordering::Relaxed);
    }
    Packed(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_survive_their_encoding() {
        let saved = [
            None,
            Some(Saved::AtPointer),
            Some(Saved::At(-16)),
            Some(Saved::At(-8 * 2048)),
            Some(Saved::At(8)),
        ];
        for saved in saved {
            for cfa in [8, 16, -8, 32767 * 8, -32768 * 8] {
                for rule in [
                    Rule::Stack { cfa, saved },
                    Rule::Pointer { cfa, saved },
                    Rule::Realigned { cfa, saved },
                ] {
                    assert_eq!(decode(encode(rule)), Some(rule));
                    assert!(encode(rule) < 1 << RULE_BITS && encode(rule) != 0);
                }
            }
        }
        for rule in [
            Rule::Plt { threshold: 11 },
            Rule::Signal,
            Rule::Outermost,
            Rule::None,
        ] {
            assert_eq!(decode(encode(rule)), Some(rule));
        }
        assert_eq!(
            decode(encode(Rule::Stack {
                cfa: 32768 * 8,
                saved: None
            })),
            None
        );
    }
}
