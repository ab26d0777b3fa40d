//! Frames of a thread of the target, by the unwind tables of its modules.

use gimli::{
    BaseAddresses, CfaRule, EhFrame, EndianSlice, EvaluationResult, LittleEndian, Location,
    Register, RegisterRule, UnwindContext, UnwindExpression, UnwindSection, Value,
};
use object::{Object, ObjectSection};

use super::{Frame, files::Bytes};
use crate::target::{Memory, Module, Registers};

/// A frame larger than this is damage.
const FRAME_MAX: u64 = 1 << 30;
/// Steps of an expression.
const STEPS_MAX: u32 = 1000;
const RSP: u16 = 7;
const RETURN_ADDRESS: Register = Register(16);

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// A register by its DWARF number.
fn register(registers: &mut Registers, number: u16) -> Option<&mut u64> {
    Some(match number {
        0 => &mut registers.rax,
        1 => &mut registers.rdx,
        2 => &mut registers.rcx,
        3 => &mut registers.rbx,
        4 => &mut registers.rsi,
        5 => &mut registers.rdi,
        6 => &mut registers.rbp,
        7 => &mut registers.rsp,
        8 => &mut registers.r8,
        9 => &mut registers.r9,
        10 => &mut registers.r10,
        11 => &mut registers.r11,
        12 => &mut registers.r12,
        13 => &mut registers.r13,
        14 => &mut registers.r14,
        15 => &mut registers.r15,
        16 => &mut registers.rip,
        _ => return None,
    })
}

fn value(registers: &Registers, number: u16) -> Option<u64> {
    let mut copy = *registers;
    register(&mut copy, number).map(|value| *value)
}

/// What a step outwards gives.
pub(super) struct Step {
    /// The caller's registers; none at the outermost frame.
    pub(super) caller: Option<Registers>,
    pub(super) cfa: u64,
    pub(super) is_signal: bool,
}

/// Steps from a frame to its caller. None: the module's tables do not say how.
pub(super) fn step(
    memory: &dyn Memory,
    module: &Module,
    file: &Bytes,
    frame: &Frame,
) -> Option<Step> {
    let elf = file.elf()?;
    let section = elf.section_by_name(".eh_frame")?;
    let eh_frame = EhFrame::new(section.data().ok()?, LittleEndian);
    let address = |name| {
        elf.section_by_name(name)
            .map_or(0, |section| section.address())
    };
    let bases = BaseAddresses::default()
        .set_eh_frame(section.address())
        .set_text(address(".text"))
        .set_got(address(".got"));
    let pc = frame
        .pc
        .wrapping_sub(u64::from(!frame.interrupted))
        .wrapping_sub(module.bias);
    let header = elf.section_by_name(".eh_frame_hdr");
    let parsed = header.as_ref().and_then(|header| {
        let bases = bases.clone().set_eh_frame_hdr(header.address());
        Some((
            gimli::EhFrameHdr::new(header.data().ok()?, LittleEndian)
                .parse(&bases, 8)
                .ok()?,
            bases,
        ))
    });
    let description = parsed
        .as_ref()
        .and_then(|(parsed, bases)| {
            parsed
                .table()?
                .fde_for_address(&eh_frame, bases, pc, EhFrame::cie_from_offset)
                .ok()
        })
        .or_else(|| {
            eh_frame
                .fde_for_address(&bases, pc, EhFrame::cie_from_offset)
                .ok()
        })?;
    let mut context = UnwindContext::new();
    let row = description
        .unwind_info_for_address(&eh_frame, &bases, &mut context, pc)
        .ok()?;
    let evaluator = Evaluator {
        memory,
        section: &eh_frame,
        encoding: description.cie().encoding(),
        registers: &frame.registers,
    };
    let cfa = evaluator.cfa(row.cfa())?;
    let is_signal = description.is_signal_trampoline();
    if matches!(row.register(RETURN_ADDRESS), Some(RegisterRule::Undefined)) {
        return Some(Step {
            caller: None,
            cfa,
            is_signal,
        });
    }
    let mut caller = frame.registers;
    caller.rsp = cfa;
    caller.orig_rax = u64::MAX;
    for number in 0..=16 {
        if let Some(rule) = row.register(Register(number))
            && let Some(found) = evaluator.rule(&rule, cfa, number)
            && let Some(slot) = register(&mut caller, number)
        {
            *slot = found?;
        }
    }
    // A stack grows downwards; only a signal may change to another stack.
    let grows = cfa > frame.sp && cfa - frame.sp <= FRAME_MAX;
    (grows || is_signal).then_some(Step {
        caller: (caller.rip != 0).then_some(caller),
        cfa,
        is_signal,
    })
}

struct Evaluator<'a> {
    memory: &'a dyn Memory,
    section: &'a EhFrame<Slice<'a>>,
    encoding: gimli::Encoding,
    registers: &'a Registers,
}

impl Evaluator<'_> {
    fn cfa(&self, rule: &CfaRule<usize>) -> Option<u64> {
        match rule {
            CfaRule::RegisterAndOffset { register, offset } => {
                Some(value(self.registers, register.0)?.wrapping_add_signed(*offset))
            }
            CfaRule::Expression(expression) => self.expression(expression, None),
        }
    }

    /// Outer None: the register keeps its value. Inner None: it cannot be had.
    fn rule(&self, rule: &RegisterRule<usize>, cfa: u64, number: u16) -> Option<Option<u64>> {
        match rule {
            RegisterRule::Offset(offset) => {
                Some(self.memory.read_u64(cfa.wrapping_add_signed(*offset)))
            }
            RegisterRule::ValOffset(offset) => Some(Some(cfa.wrapping_add_signed(*offset))),
            RegisterRule::Register(other) => Some(value(self.registers, other.0)),
            RegisterRule::Expression(expression) => Some(
                self.expression(expression, Some(cfa))
                    .and_then(|address| self.memory.read_u64(address)),
            ),
            RegisterRule::ValExpression(expression) => Some(self.expression(expression, Some(cfa))),
            RegisterRule::Constant(constant) => Some(Some(*constant)),
            RegisterRule::Undefined | RegisterRule::SameValue if number == RSP => None,
            _ => None,
        }
    }

    fn expression(
        &self,
        expression: &UnwindExpression<usize>,
        initial: Option<u64>,
    ) -> Option<u64> {
        let mut evaluation = expression.get(self.section).ok()?.evaluation(self.encoding);
        evaluation.set_max_iterations(STEPS_MAX);
        if let Some(initial) = initial {
            evaluation.set_initial_value(initial);
        }
        let mut result = evaluation.evaluate().ok()?;
        for _ in 0..STEPS_MAX {
            result = match result {
                EvaluationResult::Complete => break,
                EvaluationResult::RequiresRegister { register, .. } => {
                    let value = value(self.registers, register.0)?;
                    evaluation
                        .resume_with_register(Value::Generic(value))
                        .ok()?
                }
                EvaluationResult::RequiresMemory { address, size, .. } => {
                    let mut bytes = [0; 8];
                    let size = usize::from(size).min(8);
                    self.memory
                        .read_all(address, &mut bytes[..size])
                        .then_some(())?;
                    evaluation
                        .resume_with_memory(Value::Generic(u64::from_le_bytes(bytes)))
                        .ok()?
                }
                _ => return None,
            };
        }
        match evaluation.as_result().first()?.location {
            Location::Address { address } => Some(address),
            _ => None,
        }
    }
}
