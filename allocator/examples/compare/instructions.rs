//! Instructions that each program takes under each allocator, counted by callgrind.

use super::{BASE, Contender, Program, count};
use std::{
    io,
    path::{Path, PathBuf},
};

/// Programs do this part of their work, since callgrind makes them fifty times slower.
pub(super) const PART: usize = 10;

fn names(contenders: &[(Contender, Option<PathBuf>)]) -> Vec<&str> {
    contenders.iter().map(|(one, _)| one.name).collect()
}

/// Prints the head of the table.
pub(super) fn head(contenders: &[(Contender, Option<PathBuf>)]) {
    let names = names(contenders);
    println!("Millions of instructions, and relative to {BASE}; a {PART}th of the work\n");
    println!("| program | {} |", names.join(" | "));
    println!("|---|{}", "---:|".repeat(names.len()));
}

/// Counts a program once under each allocator and prints its line.
pub(super) fn row(program: &Program, contenders: &[(Contender, Option<PathBuf>)], folder: &Path) {
    let counts: io::Result<Vec<u64>> = contenders
        .iter()
        .map(|(_, library)| count::instructions(program, library.as_deref(), folder, ""))
        .collect();
    match counts {
        Ok(counts) => print_line(program.name, &names(contenders), &counts),
        Err(error) => eprintln!("compare: {} is left out: {error}", program.name),
    }
}

fn print_line(program: &str, names: &[&str], counts: &[u64]) {
    let base = names.iter().position(|name| *name == BASE).unwrap_or(0);
    let cells: Vec<String> = counts
        .iter()
        .map(|&one| {
            let ratio = one as f64 / counts[base] as f64;
            format!("{:.1} ({ratio:.2})", one as f64 / 1e6)
        })
        .collect();
    println!("| {program} | {} |", cells.join(" | "));
}
