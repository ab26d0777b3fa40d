//! What sampling costs, in instructions: callgrind counts those of the program and its children, not those of the kernel.

use super::Program;
use std::{
    io,
    path::Path,
    process::{Command, Stdio},
};

/// Instructions of a program without and with samples.
pub(super) struct Row {
    name: &'static str,
    off: u64,
    on: u64,
}

/// Counts a program.
pub(super) fn row(program: &Program, library: &Path, folder: &Path) -> io::Result<Row> {
    if program.beside.is_some() {
        return Err(io::Error::other("a server's work depends on time"));
    }
    Ok(Row {
        name: program.name,
        off: instructions(program, library, folder, "")?,
        on: instructions(program, library, folder, "sample")?,
    })
}

fn instructions(program: &Program, library: &Path, folder: &Path, checks: &str) -> io::Result<u64> {
    let variable = |name: &str, value: &str| format!("{name}={value}");
    // The library goes to the program alone, by way of env, and not to valgrind's own launcher.
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            "--trace-children=yes",
            "env",
        ])
        .arg(variable("LD_PRELOAD", &library.to_string_lossy()))
        .arg(variable("UMEM_DEBUG", checks))
        .arg(variable("PYTHONMALLOC", "malloc"))
        .arg(variable("PYTHONHASHSEED", "0"))
        .arg(variable("PERL_HASH_SEED", "0"))
        .args(&program.command)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    match (output.status.success(), collected(&text)) {
        (true, count @ 1..) => Ok(count),
        _ => Err(io::Error::other("valgrind could not run it")),
    }
}

/// Sum over the processes.
fn collected(text: &str) -> u64 {
    text.lines()
        .filter(|line| line.contains("Collected"))
        .filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok())
        .sum()
}

pub(super) fn table(rows: &[Row]) {
    println!("Instructions in millions, without and with UMEM_DEBUG=sample\n");
    println!("| program | off | on | more |");
    println!("|---|---:|---:|---:|");
    for row in rows {
        let more = row.on as f64 / row.off as f64 * 100.0 - 100.0;
        println!(
            "| {} | {:.1} | {:.1} | {more:+.2} % |",
            row.name,
            row.off as f64 / 1e6,
            row.on as f64 / 1e6,
        );
    }
}
