//! How the commands grow with the heap: each command and walker on cores of 10^4 … 10^7 buffers.
//!
//! ```text
//! cargo build --release --workspace
//! cargo run --release -p umdb --example dcmds_bench -- [LARGEST] [ROUNDS] [COMMAND]
//! ```
//!
//! Makes a process under `UMEM_DEBUG=default` with a transaction log for each size up to 10^LARGEST (7), takes its core,
//! runs each command ROUNDS (3) times on it, and prints a table in Markdown: the median processor time of all threads of umdb in
//! milliseconds, less that of a session without a command. (Time on the clock says more about what else the machine does.) The last
//! column says how much longer the largest heap takes than the one before: 10 is what grows with the heap, 100 is quadratic.

#[path = "../findleaks_bench/heap.rs"]
mod heap;

use std::{
    env,
    error::Error,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
};

/// Bytes of a buffer in the mean: small, so that the largest core fits on a disk.
const MEAN: usize = 64;
/// A run that takes longer is ended: the cell says so.
const PATIENCE: Duration = Duration::from_secs(120);

/// The commands. What walks all buffers has no output to speak of, so that it is the work that is measured.
const COMMANDS: [&str; 46] = [
    "::findleaks",
    "::findleaks -d",
    "::walk leak | ::count",
    "::walk leakbuf | ::count",
    "::umastat",
    "::umausers",
    "::umausers -e",
    "::umem_cache",
    "::umem_verify",
    "umem_alloc_96::umem_verify",
    "::umem_status",
    "::umem_log",
    "::umalog",
    "::umalog fail",
    "::umem_malloc_dist",
    "::umem_malloc_info",
    "::vmem",
    "::walk vmem | ::walk vmem_seg | ::vmem_seg",
    "::walk umem | ::count",
    "::walk umem_alloc_96 | ::count",
    "::walk freemem | ::count",
    "::walk bufctl | ::count",
    "::walk freectl | ::count",
    "::walk umem_cache | ::walk umem_hash | ::count",
    "::walk umem_cache | ::walk umem_slab | ::count",
    "::walk umem_cache | ::walk umem_slab_partial | ::count",
    "::walk umem_cache | ::walk umem_cpu_cache | ::count",
    "::walk umem_ptc | ::count",
    "::walk umem_log | ::count",
    "::walk thread | ::allocdby",
    "::walk thread | ::freedby",
    "::walk vmem | ::walk vmem_alloc | ::count",
    "::walk vmem | ::walk vmem_free | ::count",
    "::walk vmem | ::walk vmem_span | ::count",
    "::walk bufctl | ::bufctl",
    "::walk bufctl | ::bufctl -v",
    "::walk bufctl | ::head -0t10000 | ::bufctl -h",
    "::walk umem | ::whatis -q",
    "::walk umem | ::head -0t10000 | ::whatis",
    "::walk umem | ::head -0t100 | ::ugrep",
    "::walk umem | ::head -1 | ::ugrep",
    "::walk umem | ::head -1 | ::retained",
    "::walk umem | ::head -1 | ::path",
    "::walk umem | ::head -1 | ::refs",
    "::walk umem | ::grep \"*. == 0\" | ::count",
    "::walk umem | ::sort | ::tail -3",
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = env::args().skip(1);
    let first = words.next();
    if first.as_deref() == Some("heap") {
        let buffers = words.next().ok_or("how many buffers?")?.parse()?;
        heap::make(buffers, MEAN);
        return Ok(());
    }
    let largest: u32 = first.map_or(Ok(7), |word| word.parse())?;
    let rounds: usize = words.next().map_or(Ok(3), |word| word.parse())?;
    let wanted = words.next();
    let sizes: Vec<usize> = (4..=largest).map(|power| 10_usize.pow(power)).collect();
    let commands: Vec<&str> = match &wanted {
        Some(command) => vec![command],
        None => COMMANDS.to_vec(),
    };
    let mut columns = Vec::new();
    for &size in &sizes {
        columns.push(on_core(size, rounds, &commands)?);
    }
    println!(
        "| command | {} | growth |",
        sizes
            .iter()
            .map(|size| format!("{size}"))
            .collect::<Vec<_>>()
            .join(" | ")
    );
    println!("|---|{}---|", "---|".repeat(sizes.len()));
    for (at, command) in commands.iter().enumerate() {
        let times: Vec<Option<Duration>> = columns.iter().map(|column| column[at]).collect();
        let cells: Vec<String> = times.iter().copied().map(cell).collect();
        let growth = match times.as_slice() {
            // Of less, noise is the larger part.
            [.., Some(before), Some(last)] if before.as_millis() >= 5 => {
                format!("{:.1}", last.as_secs_f64() / before.as_secs_f64())
            }
            _ => String::new(),
        };
        let command = command.replace('|', "\\|");
        println!("| `{command}` | {} | {growth} |", cells.join(" | "));
    }
    Ok(())
}

fn cell(time: Option<Duration>) -> String {
    time.map_or_else(
        || format!("> {} s", PATIENCE.as_secs()),
        |time| format!("{:.1}", time.as_secs_f64() * 1e3),
    )
}

/// What each command takes on the core of a heap.
fn on_core(
    buffers: usize,
    rounds: usize,
    commands: &[&str],
) -> Result<Vec<Option<Duration>>, Box<dyn Error>> {
    let program = env::current_exe()?;
    let folder = program.parent().and_then(Path::parent).ok_or("no folder")?;
    let (umdb, library) = (folder.join("umdb"), folder.join("libumem.so"));
    let place = env::temp_dir().join(format!("dcmds_bench.{}", std::process::id()));
    fs::create_dir_all(&place)?;
    let core = dump(&library, &place, buffers)?;
    eprintln!(
        "{buffers} buffers: a core of {} MB",
        fs::metadata(&core)?.len() >> 20
    );
    let idle = median(&umdb, &core, "::echo", rounds)?.unwrap_or_default();
    let mut times = Vec::new();
    for command in commands {
        let time = median(&umdb, &core, command, rounds)?;
        eprintln!("  {:>10}  {command}", cell(time));
        times.push(time.map(|time| time.saturating_sub(idle)));
    }
    fs::remove_dir_all(place)?;
    Ok(times)
}

/// Makes a heap and its core.
fn dump(library: &Path, place: &Path, buffers: usize) -> Result<PathBuf, Box<dyn Error>> {
    let mut process = Command::new("/bin/sh")
        .args([
            "-c",
            "ulimit -c unlimited; exec env LD_PRELOAD=\"$0\" \"$@\"",
        ])
        .arg(library)
        .arg(env::current_exe()?)
        .args(["heap", &buffers.to_string()])
        .env("UMEM_DEBUG", "default")
        .env("UMEM_LOGGING", "transaction")
        .current_dir(place)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(process.stdout.as_mut().ok_or("no output")?).read_line(&mut line)?;
    Command::new("kill")
        .args(["-ABRT", &process.id().to_string()])
        .status()?;
    process.wait()?;
    let mut entries = fs::read_dir(place)?.filter_map(|entry| Some(entry.ok()?.path()));
    entries
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("core"))
        })
        .ok_or_else(|| "no core: see /proc/sys/kernel/core_pattern".into())
}

/// None where it took too long.
fn median(
    umdb: &Path,
    core: &Path,
    command: &str,
    rounds: usize,
) -> Result<Option<Duration>, Box<dyn Error>> {
    let mut times = Vec::new();
    for _ in 0..rounds.max(1) {
        match once(umdb, core, command)? {
            Some(time) => times.push(time),
            None => return Ok(None),
        }
    }
    times.sort_unstable();
    Ok(times.get(times.len() / 2).copied())
}

fn once(umdb: &Path, core: &Path, command: &str) -> Result<Option<Duration>, Box<dyn Error>> {
    let (begun, before) = (Instant::now(), processor_time()?);
    let mut child: Child = Command::new(umdb)
        .arg("-S")
        .arg(core)
        .args(["-e", command])
        .stdout(Stdio::null())
        .spawn()?;
    while child.try_wait()?.is_none() {
        if begun.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(Some(processor_time()?.saturating_sub(before)))
}

/// What the children that have ended took.
fn processor_time() -> Result<Duration, Box<dyn Error>> {
    let used = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let microseconds = [used.user_time(), used.system_time()]
        .iter()
        .map(|time| time.num_microseconds().unsigned_abs())
        .sum();
    Ok(Duration::from_micros(microseconds))
}
