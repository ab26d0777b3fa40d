//! Registers by name.

use crate::target::Registers;

/// All registers in the order in which they are shown.
#[must_use]
pub fn all(r: &Registers) -> [(&'static str, u64); 23] {
    [
        ("rax", r.rax),
        ("rbx", r.rbx),
        ("rcx", r.rcx),
        ("rdx", r.rdx),
        ("rsi", r.rsi),
        ("rdi", r.rdi),
        ("rbp", r.rbp),
        ("rsp", r.rsp),
        ("r8", r.r8),
        ("r9", r.r9),
        ("r10", r.r10),
        ("r11", r.r11),
        ("r12", r.r12),
        ("r13", r.r13),
        ("r14", r.r14),
        ("r15", r.r15),
        ("rip", r.rip),
        ("eflags", r.eflags),
        ("cs", r.cs),
        ("ss", r.ss),
        ("fs_base", r.fs_base),
        ("gs_base", r.gs_base),
        ("orig_rax", r.orig_rax),
    ]
}

/// Names of the same registers that mdb and others use.
const OTHER_NAMES: [(&str, &str); 5] = [
    ("pc", "rip"),
    ("sp", "rsp"),
    ("fp", "rbp"),
    ("rfl", "eflags"),
    ("fsbase", "fs_base"),
];

/// The register with a name.
#[must_use]
pub fn named(registers: &Registers, name: &str) -> Option<u64> {
    let other = OTHER_NAMES.iter().find(|(other, _)| *other == name);
    let name = other.map_or(name, |(_, name)| name);
    all(registers)
        .iter()
        .find(|(known, _)| *known == name)
        .map(|&(_, value)| value)
}
