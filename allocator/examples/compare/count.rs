//! Instructions of a program, and what sampling adds to them: callgrind counts those of the program and its children, not those of
//! the kernel.

use super::{Program, start_beside};
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
        off: instructions(program, Some(library), folder, "")?,
        on: instructions(program, Some(library), folder, "sample")?,
    })
}

/// Counts a program with a library and checks, if any.
pub(super) fn instructions(
    program: &Program,
    library: Option<&Path>,
    folder: &Path,
    checks: &str,
) -> io::Result<u64> {
    let library = library.map_or_else(Default::default, Path::to_string_lossy);
    let beside = start_beside(program, folder)?;
    let variable = |name: &str, value: &str| format!("{name}={value}");
    // The library goes to the program alone, by way of env, and not to valgrind's own launcher.
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            "--trace-children=yes",
            "env",
        ])
        .arg(variable("LD_PRELOAD", &library))
        .arg(variable("UMEM_DEBUG", checks))
        .arg(variable("PYTHONMALLOC", "malloc"))
        .arg(variable("PYTHONHASHSEED", "0"))
        .arg(variable("PERL_HASH_SEED", "0"))
        .args(&program.command)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output()?;
    if let Some(mut beside) = beside {
        beside.wait()?;
    }
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
