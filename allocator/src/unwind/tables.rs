//! The unwind tables of an object (`.eh_frame`), read without allocating.

use super::{
    object::{Object, object_of},
    rules::{Rule, Saved},
};
use core::mem::MaybeUninit;
use gimli::{
    BaseAddresses, CfaRule, EhFrame, EhFrameHdr, EndianSlice, LittleEndian, Register, RegisterRule,
    UnwindContext, UnwindContextStorage, UnwindSection, UnwindTableRow,
};

/// 20 registers, which is as many as functions of any convention save, and 4 remembered rows. gimli copies rows on the stack.
struct Storage;

impl UnwindContextStorage<usize> for Storage {
    type Rules = [(Register, RegisterRule<usize>); 20];
    type Stack = [UnwindTableRow<usize, Self>; 4];
}

/// Room for interpreting a table, some 4 KB. Zero bytes are one that was not used yet.
pub struct Tables {
    context: MaybeUninit<UnwindContext<usize, Storage>>,
    is_ready: bool,
}

impl Default for Tables {
    fn default() -> Self {
        Self::new()
    }
}

impl Tables {
    /// One that was not used yet.
    pub const fn new() -> Self {
        Self {
            context: MaybeUninit::uninit(),
            is_ready: false,
        }
    }

    /// Makes it ready, which takes as much stack as it is large.
    #[cold]
    #[inline(never)]
    pub fn prepare(&mut self) {
        self.context.write(UnwindContext::new_in());
        self.is_ready = true;
    }

    /// What the tables say about an address.
    #[cold]
    #[inline(never)]
    pub(super) fn rule(&mut self, pc: usize) -> Rule {
        if !self.is_ready {
            self.prepare();
        }
        self.read(pc).unwrap_or(Rule::None)
    }

    fn read(&mut self, pc: usize) -> Option<Rule> {
        let object = object_of(pc)?;
        let header = object.eh_frame_header;
        if header == 0 {
            return None;
        }
        let bases = BaseAddresses::default().set_eh_frame_hdr(header as u64);
        let parsed = EhFrameHdr::new(section(header, object.end)?, LittleEndian)
            .parse(&bases, 8)
            .ok()?;
        let gimli::Pointer::Direct(start) = parsed.eh_frame_ptr() else {
            return None;
        };
        let frames = EhFrame::new(section(start as usize, object.end)?, LittleEndian);
        let bases = bases.set_eh_frame(start);
        let table = parsed.table()?;
        let find = |pc: u64| {
            table
                .fde_for_address(&frames, &bases, pc, EhFrame::cie_from_offset)
                .ok()
        };
        let Some(description) = find(pc as u64) else {
            let next = find(pc as u64 + 1)?;
            let is_planted = next.initial_address() == pc as u64 + 1 && !has_call(&object, pc + 1);
            return is_planted.then_some(Rule::Outermost);
        };
        if description.is_signal_trampoline() {
            return Some(Rule::Signal);
        }
        // SAFETY: `rule` has made it ready.
        let context = unsafe { self.context.assume_init_mut() };
        let row = description
            .unwind_info_for_address(&frames, &bases, context, pc as u64)
            .ok()?;
        condense(row, &frames)
    }
}

const RBP: Register = Register(6);
const RSP: Register = Register(7);
const RETURN_ADDRESS: Register = Register(16);

/// Whether a call may stand before an address. Where a function begins at it and none does, the address was put on the stack by hand, as
/// that of the code that ends a context of makecontext.
fn has_call(object: &Object, pc: usize) -> bool {
    const CALL: u8 = 0xe8;
    const CALL_INDIRECT: u8 = 0xff;
    let stands = |distance, code| object.byte(pc - distance) == Some(code);
    stands(5, CALL)
        || [2, 3, 6, 7]
            .iter()
            .any(|&distance| stands(distance, CALL_INDIRECT))
}

fn section(start: usize, end: usize) -> Option<&'static [u8]> {
    let length = end.checked_sub(start)?;
    // SAFETY: the object that holds the address is loaded, since it has a live frame; its tables stay mapped up to its
    // end as long as it is. gimli checks every offset against the slice.
    Some(unsafe { core::slice::from_raw_parts(start as *const u8, length) })
}

type Frames = EhFrame<EndianSlice<'static, LittleEndian>>;

fn condense(row: &UnwindTableRow<usize, Storage>, frames: &Frames) -> Option<Rule> {
    match row.register(RETURN_ADDRESS) {
        Some(RegisterRule::Undefined) => return Some(Rule::Outermost),
        Some(RegisterRule::Offset(-8)) => {}
        _ => return None,
    }
    let saved = match row.register(RBP) {
        None | Some(RegisterRule::SameValue | RegisterRule::Undefined) => None,
        Some(RegisterRule::Offset(offset)) if offset != 0 && offset % 8 == 0 => {
            Some(Saved::At(offset as isize))
        }
        Some(RegisterRule::Expression(expression)) => {
            // The frame pointer itself is the slot: DW_OP_breg6 0.
            match expression.get(frames).ok()?.0.slice() {
                [0x76, 0] => Some(Saved::AtPointer),
                _ => return None,
            }
        }
        _ => return None,
    };
    match row.cfa() {
        CfaRule::RegisterAndOffset { register, offset } => {
            let cfa = isize::try_from(*offset).ok().filter(|cfa| cfa % 8 == 0)?;
            match *register {
                RSP => Some(Rule::Stack { cfa, saved }),
                RBP => Some(Rule::Pointer { cfa, saved }),
                _ => None,
            }
        }
        CfaRule::Expression(expression) => {
            from_expression(expression.get(frames).ok()?.0.slice(), saved)
        }
    }
}

/// The two expressions that compilers and linkers emit for a CFA.
fn from_expression(bytes: &[u8], saved: Option<Saved>) -> Option<Rule> {
    match *bytes {
        // DW_OP_breg6 offset; DW_OP_deref: the word at frame pointer + offset, a signed 7-bit number.
        [0x76, offset, 0x06] if offset < 0x80 => {
            let cfa = isize::from((offset << 1) as i8 >> 1);
            (cfa % 8 == 0).then_some(Rule::Realigned { cfa, saved })
        }
        // rsp + 8 + ((rip & 15) >= N) * 8: DW_OP_breg7 8; breg16 0; lit15; and; litN; ge; lit3; shl; plus.
        [
            0x77,
            8,
            0x80,
            0,
            0x3f,
            0x1a,
            threshold @ 0x30..=0x3f,
            0x2a,
            0x33,
            0x24,
            0x22,
        ] => Some(Rule::Plt {
            threshold: usize::from(threshold - 0x30),
        }),
        _ => None,
    }
}
