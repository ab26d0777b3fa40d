//! Shows how cost grows with work, under libumem.so, glibc's allocator and others: live buffers, threads, phases that
//! prefer other sizes. The counterpart of `compare`, which compares whole programs.
//!
//! ```text
//! cargo build --release && cargo run --release -p umem --example scale -- [ROUNDS [CURVE]...]
//! ```
//!
//! The curves are `live`, `threads` and `churn`; all when none is named. Each cell is the median of the rounds; in each round all
//! allocators run one after the other.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

/// Name and shared object; none for the C library's own.
const ALLOCATORS: &[(&str, Option<&str>)] = &[
    ("glibc", None),
    ("umem", Some("libumem.so")),
    ("jemalloc", Some("libjemalloc.so.2")),
    ("mimalloc", Some("libmimalloc.so.2.0")),
    ("tcmalloc", Some("libtcmalloc_minimal.so.4")),
];
const FOLDERS: &[&str] = &["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"];

/// What `scale.c` is asked, what its answer means, and the numbers.
const CURVES: [(&str, &str, &[&str]); 3] = [
    (
        "live",
        "Nanoseconds of CPU time to replace one of so many live buffers",
        &["1000", "10000", "100000", "1000000", "10000000"],
    ),
    (
        "threads",
        "Nanoseconds of CPU time to replace a buffer, on so many threads",
        &["1", "4", "16", "64", "256"],
    ),
    (
        "churn",
        "Resident bytes a live byte after so many phases of other sizes",
        &["10", "100", "1000"],
    ),
];

/// The shared object: ours is beside this program's folder, the others where Debian puts them.
fn library(name: &str) -> Option<PathBuf> {
    let ours = env::current_exe().ok()?.parent()?.parent()?.join(name);
    let folders = FOLDERS.iter().map(|folder| Path::new(folder).join(name));
    [ours].into_iter().chain(folders).find(|path| path.exists())
}

fn compile(folder: &Path) -> io::Result<PathBuf> {
    let output = folder.join("scale");
    let status = Command::new("cc")
        .args(["-O2", "-fno-builtin", "-pthread", "-o"])
        .arg(&output)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/scale/scale.c"))
        .status()?;
    match status.success() {
        true => Ok(output),
        false => Err(io::Error::other("cc could not build scale.c")),
    }
}

fn ask(scale: &Path, what: &str, number: &str, library: Option<&Path>) -> io::Result<f64> {
    let mut command = Command::new(scale);
    command.args([what, number]);
    if let Some(library) = library {
        command.env("LD_PRELOAD", library);
    }
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim()
        .parse()
        .map_err(|_| io::Error::other(format!("scale {what} {number} gave no number")))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn print_curve(
    scale: &Path,
    libraries: &[(&str, Option<PathBuf>)],
    rounds: usize,
    (what, unit, numbers): (&str, &str, &[&str]),
) -> io::Result<()> {
    let mut answers = vec![vec![Vec::new(); numbers.len()]; libraries.len()];
    for _ in 0..rounds {
        for (column, number) in numbers.iter().enumerate() {
            for (row, (_, library)) in answers.iter_mut().zip(libraries) {
                row[column].push(ask(scale, what, number, library.as_deref())?);
            }
        }
    }
    println!("\n{unit}\n\n| {what} | {} |", numbers.join(" | "));
    println!("|---|{}", "---:|".repeat(numbers.len()));
    for (row, (name, _)) in answers.into_iter().zip(libraries) {
        let cells: Vec<String> = row
            .into_iter()
            .map(|cell| format!("{:.1}", median(cell)))
            .collect();
        println!("| {name} | {} |", cells.join(" | "));
    }
    Ok(())
}

fn main() -> ExitCode {
    let rounds = env::args().nth(1).and_then(|text| text.parse().ok());
    let named: Vec<String> = env::args().skip(2).collect();
    let mut curves = CURVES
        .into_iter()
        .filter(|(what, ..)| named.is_empty() || named.iter().any(|name| name == what));
    let libraries: Vec<_> = ALLOCATORS
        .iter()
        .filter_map(|&(name, object)| match object.map(library) {
            None => Some((name, None)),
            Some(Some(path)) => Some((name, Some(path))),
            Some(None) => {
                eprintln!("scale: {name} is not installed; left out");
                None
            }
        })
        .collect();
    let folder = env::temp_dir().join(format!("umem-scale-{}", std::process::id()));
    let result = fs::create_dir_all(&folder)
        .and_then(|()| compile(&folder))
        .and_then(|scale| {
            let rounds = rounds.unwrap_or(3);
            curves.try_for_each(|curve| print_curve(&scale, &libraries, rounds, curve))
        });
    // What cannot be removed from the folder of temporary files is left there.
    let _ = fs::remove_dir_all(&folder);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scale: {error}");
            ExitCode::FAILURE
        }
    }
}
