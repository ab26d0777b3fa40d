//! What the seccomp filters of a stopped thread would do to the system calls of a snapshot.
//!
//! The kernel gives the filters to who has CAP_SYS_ADMIN. They are programs of classic BPF, which only jump forward, over the
//! number and the arguments of a call. Each is run for each call of the code in `allocator/src/sys/snapshot.rs`: what is known of
//! the arguments is a number here, and a filter that asks for more (a pointer, what a register happens to hold) is not
//! decided. A call is as safe as its worst filter. Whatever is not sure to be allowed speaks against a snapshot.

use nix::{
    errno::Errno,
    libc::{self, sock_filter},
    unistd::Pid,
};

use super::{procfs, trace};

/// Filters of one thread that are looked at; more cost the process too much time.
const FILTERS_MAX: usize = 256;
/// x86-64, as filters see it (AUDIT_ARCH_X86_64).
const ARCHITECTURE: u32 = 0xc000_003e;
/// Bytes of `struct seccomp_data`.
const DATA_SIZE: u32 = 64;
/// Words of scratch memory of a program.
const SCRATCH: usize = 16;

/// A system call as far as it is known before it is made.
struct Call {
    name: &'static str,
    number: libc::c_long,
    arguments: [Option<u64>; 6],
    /// The snapshot goes on when this call fails.
    may_fail: bool,
}

const fn call(
    name: &'static str,
    number: libc::c_long,
    arguments: [Option<u64>; 6],
    may_fail: bool,
) -> Call {
    Call {
        name,
        number,
        arguments,
        may_fail,
    }
}

/// What the code of the library calls, in its order. Its pointers, and registers that it does not set, are unknown.
const CALLS: [Call; 7] = {
    const ANY: Option<u64> = None;
    const ZERO: Option<u64> = Some(0);
    [
        call(
            "rt_sigprocmask",
            libc::SYS_rt_sigprocmask,
            [Some(2), ANY, ZERO, Some(8), ANY, ANY],
            false,
        ),
        call(
            "clone",
            libc::SYS_clone,
            [Some(0x700), ZERO, ZERO, ZERO, ZERO, ANY],
            false,
        ),
        call(
            "clone",
            libc::SYS_clone,
            [Some(0x600), ZERO, ZERO, ZERO, ZERO, ANY],
            false,
        ),
        call(
            "exit",
            libc::SYS_exit,
            [ZERO, ANY, ANY, ANY, ANY, ANY],
            false,
        ),
        call(
            "wait4",
            libc::SYS_wait4,
            [ANY, ZERO, Some(0x4000_0000), ZERO, ANY, ANY],
            false,
        ),
        call(
            "close_range",
            libc::SYS_close_range,
            [ZERO, Some(0xffff_ffff), Some(2), ANY, ANY, ANY],
            true,
        ),
        call(
            "exit_group",
            libc::SYS_exit_group,
            [ZERO, ANY, ANY, ANY, ANY, ANY],
            false,
        ),
    ]
};

/// Why a stopped thread cannot make a snapshot; none when its filters, if it has any, let it.
pub(super) fn objection(pid: u32, tid: Pid) -> Option<String> {
    let mode = procfs::thread_status_field(pid, tid.as_raw() as u32, "Seccomp");
    match mode.as_deref() {
        None | Some("0") => None,
        Some("2") => filters(tid).map_or_else(Some, |filters| forbidden(&filters)),
        Some(_) => Some("a seccomp mode ends it for what a snapshot takes".to_owned()),
    }
}

fn filters(tid: Pid) -> Result<Vec<Vec<sock_filter>>, String> {
    let mut filters = Vec::new();
    loop {
        match trace::seccomp_filter(tid, filters.len()) {
            Ok(filter) => filters.push(filter),
            Err(Errno::ENOENT) => return Ok(filters),
            Err(Errno::EACCES) => {
                return Err(
                    "its seccomp filter can only be examined with CAP_SYS_ADMIN, and it might end it"
                        .to_owned(),
                );
            }
            Err(error) => {
                return Err(format!(
                    "its seccomp filter cannot be examined: {}",
                    error.desc()
                ));
            }
        }
        if filters.len() > FILTERS_MAX {
            return Err(format!("it has more than {FILTERS_MAX} seccomp filters"));
        }
    }
}

/// The first call that is not sure to be allowed.
fn forbidden(filters: &[Vec<sock_filter>]) -> Option<String> {
    let is_allowed = |call: &Call| {
        filters.iter().all(|filter| {
            match run(filter, call).map(|value| value & libc::SECCOMP_RET_ACTION_FULL) {
                Some(libc::SECCOMP_RET_ALLOW | libc::SECCOMP_RET_LOG) => true,
                Some(libc::SECCOMP_RET_ERRNO) => call.may_fail,
                _ => false,
            }
        })
    };
    let call = CALLS.iter().find(|call| !is_allowed(call))?;
    Some(format!(
        "its seccomp filter does not allow the system call {} that a snapshot takes",
        call.name
    ))
}

/// What a filter answers to a call. None: it depends on what is not known, or the program is not one.
fn run(program: &[sock_filter], call: &Call) -> Option<u32> {
    let (mut a, mut x, mut scratch) = (0_u32, 0_u32, [0_u32; SCRATCH]);
    let mut next = 0;
    // Jumps lead forward only, so this ends with the program.
    while let Some(&sock_filter { code, jt, jf, k }) = program.get(next) {
        next += 1;
        let code = u32::from(code);
        let slot = k as usize;
        let operand = if code & libc::BPF_X == 0 { k } else { x };
        match code & 0x07 {
            libc::BPF_LD | libc::BPF_LDX => {
                let value = match code & 0xe0 {
                    libc::BPF_IMM => k,
                    libc::BPF_ABS if code & 0x07 == libc::BPF_LD => call.word(k)?,
                    libc::BPF_MEM => *scratch.get(slot)?,
                    libc::BPF_LEN => DATA_SIZE,
                    _ => return None,
                };
                if code & 0x07 == libc::BPF_LD {
                    a = value;
                } else {
                    x = value;
                }
            }
            libc::BPF_ST => *scratch.get_mut(slot)? = a,
            libc::BPF_STX => *scratch.get_mut(slot)? = x,
            libc::BPF_ALU => a = calculated(code & 0xf0, a, operand)?,
            libc::BPF_JMP => {
                let is_true = match code & 0xf0 {
                    libc::BPF_JA => {
                        next = next.checked_add(slot)?;
                        continue;
                    }
                    libc::BPF_JEQ => a == operand,
                    libc::BPF_JGT => a > operand,
                    libc::BPF_JGE => a >= operand,
                    libc::BPF_JSET => a & operand != 0,
                    _ => return None,
                };
                next += usize::from(if is_true { jt } else { jf });
            }
            libc::BPF_RET if code & 0x18 == libc::BPF_A => return Some(a),
            libc::BPF_RET => return Some(k),
            // BPF_MISC
            _ if code & 0xf8 == libc::BPF_TAX => x = a,
            _ if code & 0xf8 == libc::BPF_TXA => a = x,
            _ => return None,
        }
    }
    None
}

fn calculated(operation: u32, a: u32, operand: u32) -> Option<u32> {
    Some(match operation {
        libc::BPF_ADD => a.wrapping_add(operand),
        libc::BPF_SUB => a.wrapping_sub(operand),
        libc::BPF_MUL => a.wrapping_mul(operand),
        libc::BPF_DIV => a.checked_div(operand)?,
        libc::BPF_AND => a & operand,
        libc::BPF_OR => a | operand,
        libc::BPF_XOR => a ^ operand,
        libc::BPF_LSH => a.checked_shl(operand)?,
        libc::BPF_RSH => a.checked_shr(operand)?,
        libc::BPF_NEG => a.wrapping_neg(),
        _ => return None,
    })
}

impl Call {
    /// The word at an offset of `struct seccomp_data`: number, architecture, instruction pointer, six arguments.
    fn word(&self, offset: u32) -> Option<u32> {
        match offset {
            0 => Some(self.number as u32),
            4 => Some(ARCHITECTURE),
            16.. if offset.is_multiple_of(4) => {
                let argument = *self.arguments.get((offset as usize - 16) / 8)?;
                let shift = if offset.is_multiple_of(8) { 0 } else { 32 };
                argument.map(|value| (value >> shift) as u32)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: u16 = 0x20;
    const EQUAL: u16 = 0x15;
    const ANY_BIT: u16 = 0x45;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7fff_0000;
    const FAIL: u32 = 0x0005_0001;
    const KILL: u32 = 0x8000_0000;

    fn filter(lines: &[(u16, u8, u8, u32)]) -> Vec<sock_filter> {
        let lines = lines.iter();
        lines
            .map(|&(code, jt, jf, k)| sock_filter { code, jt, jf, k })
            .collect()
    }

    /// Answers one call with an action, and allows all others.
    fn against(number: libc::c_long, action: u32) -> Vec<sock_filter> {
        filter(&[
            (LOAD, 0, 0, 0),
            (EQUAL, 0, 1, number as u32),
            (RETURN, 0, 0, action),
            (RETURN, 0, 0, ALLOW),
        ])
    }

    #[test]
    fn the_worst_filter_decides() {
        assert_eq!(forbidden(&[]), None);
        assert_eq!(forbidden(&[against(libc::SYS_ptrace, KILL)]), None);
        for action in [KILL, FAIL, 0, 0x0003_0000, 0x7ff0_0000, 0x7fc0_0000] {
            let filters = [
                against(libc::SYS_ptrace, KILL),
                against(libc::SYS_wait4, action),
            ];
            assert!(
                forbidden(&filters).unwrap().contains("wait4"),
                "{action:#x}"
            );
        }
        assert_eq!(forbidden(&[against(libc::SYS_close_range, FAIL)]), None);
        assert!(forbidden(&[against(libc::SYS_close_range, KILL)]).is_some());
    }

    /// As a container's filter does: x86-64 alone, and no clone that makes a namespace.
    #[test]
    fn arguments_and_architecture_are_known() {
        let container = |bits| {
            filter(&[
                (LOAD, 0, 0, 4),
                (EQUAL, 0, 5, ARCHITECTURE),
                (LOAD, 0, 0, 0),
                (EQUAL, 0, 2, libc::SYS_clone as u32),
                (LOAD, 0, 0, 16),
                (ANY_BIT, 1, 0, bits),
                (RETURN, 0, 0, ALLOW),
                (RETURN, 0, 0, FAIL),
            ])
        };
        assert_eq!(forbidden(&[container(0x7e02_0000)]), None);
        assert!(forbidden(&[container(0x100)]).unwrap().contains("clone"));
    }

    #[test]
    fn what_is_not_known_or_no_program_is_not_allowed() {
        let on_word = |offset| filter(&[(LOAD, 0, 0, offset), (RETURN, 0, 0, ALLOW)]);
        assert_eq!(run(&on_word(16), &CALLS[0]), Some(ALLOW));
        for offset in [8, 12, 24, 56, 60, 64, 18, u32::MAX] {
            assert_eq!(run(&on_word(offset), &CALLS[0]), None, "{offset}");
        }
        assert_eq!(run(&[], &CALLS[0]), None);
        assert_eq!(run(&filter(&[(LOAD, 0, 0, 0)]), &CALLS[0]), None);
        let far = filter(&[(0x05, 0, 0, u32::MAX), (RETURN, 0, 0, ALLOW)]);
        assert_eq!(run(&far, &CALLS[0]), None);
        let by_zero = filter(&[(0x34, 0, 0, 0), (RETURN, 0, 0, ALLOW)]);
        assert_eq!(run(&by_zero, &CALLS[0]), None);
    }

    #[test]
    fn accumulator_index_and_scratch_memory() {
        // a = 7; M[3] = a; x = a; a = 0; a = M[3]; a += x; a <<= 1; a = -a; return a
        let program = filter(&[
            (0x00, 0, 0, 7),
            (0x02, 0, 0, 3),
            (0x07, 0, 0, 0),
            (0x00, 0, 0, 0),
            (0x60, 0, 0, 3),
            (0x0c, 0, 0, 0),
            (0x64, 0, 0, 1),
            (0x84, 0, 0, 0),
            (0x16, 0, 0, 0),
        ]);
        assert_eq!(run(&program, &CALLS[0]), Some((-28_i32) as u32));
    }
}
