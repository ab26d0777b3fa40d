//! How long `::findleaks` takes: on live processes and on their cores, against the time to read the same bytes.
//!
//! ```text
//! cargo build --release --workspace
//! cargo run --release -p umdb --example findleaks_bench -- BUFFERS [MEAN] [ROUNDS] [COMMAND]
//! ```
//!
//! Makes a process with BUFFERS live buffers of MEAN bytes in the mean (see `heap`) and 10,004 lost ones from 20 sites, runs
//! umdb on it and on its core, each ROUNDS times in turn with a read of the core by two threads, and prints medians: of the
//! time from start to last line, and of processor time, which says more on a machine that others use.

mod heap;

use std::{
    env,
    error::Error,
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Bytes of a buffer in the mean, and rounds, unless the command line says otherwise.
const MEAN: usize = 96;
const ROUNDS: usize = 11;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = env::args().skip(1);
    let first = words
        .next()
        .ok_or("usage: findleaks_bench BUFFERS [MEAN] [ROUNDS] [COMMAND]")?;
    if first == "heap" {
        let numbers = words
            .map(|word| word.parse())
            .collect::<Result<Vec<usize>, _>>()?;
        heap::make(numbers[0], numbers[1]);
        return Ok(());
    }
    let buffers: usize = first.parse()?;
    let mean = words.next().map_or(Ok(MEAN), |word| word.parse())?;
    let rounds = words.next().map_or(Ok(ROUNDS), |word| word.parse())?;
    let command = words.next().unwrap_or_else(|| "::findleaks".to_owned());
    run(buffers, mean, rounds, &command)
}

fn run(buffers: usize, mean: usize, rounds: usize, command: &str) -> Result<(), Box<dyn Error>> {
    let folder = env::current_exe()?
        .parent()
        .and_then(Path::parent)
        .ok_or("no folder")?
        .to_owned();
    let (umdb, library) = (folder.join("umdb"), folder.join("libumem.so"));
    let place = env::temp_dir().join(format!("findleaks_bench.{}", std::process::id()));
    fs::create_dir_all(&place)?;
    for (label, debug) in [
        ("UMEM_DEBUG=default", Some("default")),
        ("no debugging", None),
    ] {
        let mut process = start(&library, &place, buffers, mean, debug)?;
        let pid = process.id().to_string();
        let live = measure(rounds, || umdb_on(&umdb, &["-p", &pid], command))?;
        let core = dump(&mut process, &place)?;
        let size = fs::metadata(&core)?.len();
        let mut reads = Vec::new();
        let on_core = measure(rounds, || {
            let begun = Instant::now();
            let before = processor_time(libc::RUSAGE_SELF);
            read_all(&core)?;
            let processor = processor_time(libc::RUSAGE_SELF).saturating_sub(before);
            reads.push(Run {
                wall: begun.elapsed(),
                processor,
                memory: 0,
            });
            umdb_on(&umdb, &[core.to_string_lossy().as_ref()], command)
        })?;
        let read = Run::medians(&reads);
        println!(
            "{label}: {buffers} buffers of {mean}, core {} MB, {command}",
            size >> 20
        );
        for (what, run) in [("live", live), ("core", on_core), ("read", read)] {
            println!(
                "{what}  {:8.3} s  processor {:8.3} s  own memory {:5} MB",
                run.wall.as_secs_f64(),
                run.processor.as_secs_f64(),
                run.memory >> 10
            );
        }
        println!(
            "core / read: {:.1}, processor {:.1}",
            on_core.wall.as_secs_f64() / read.wall.as_secs_f64(),
            on_core.processor.as_secs_f64() / read.processor.as_secs_f64()
        );
        fs::remove_file(core)?;
    }
    fs::remove_dir_all(place)?;
    Ok(())
}

/// Starts a heap and waits until it is complete.
fn start(
    library: &Path,
    place: &Path,
    buffers: usize,
    mean: usize,
    debug: Option<&str>,
) -> Result<Child, Box<dyn Error>> {
    let mut command = Command::new("/bin/sh");
    command
        .args([
            "-c",
            "ulimit -c unlimited; exec env LD_PRELOAD=\"$0\" \"$@\"",
        ])
        .arg(library)
        .arg(env::current_exe()?)
        .args(["heap", &buffers.to_string(), &mean.to_string()])
        .current_dir(place)
        .stdout(Stdio::piped());
    if let Some(debug) = debug {
        command.env("UMEM_DEBUG", debug);
    }
    let mut child = command.spawn()?;
    let mut line = String::new();
    let output = child.stdout.as_mut().ok_or("no output")?;
    BufReader::new(output).read_line(&mut line)?;
    if line.trim() == "ready" {
        Ok(child)
    } else {
        Err("the heap could not be made".into())
    }
}

/// Ends a process with a core, and says where that is.
fn dump(process: &mut Child, place: &Path) -> Result<PathBuf, Box<dyn Error>> {
    Command::new("kill")
        .args(["-ABRT", &process.id().to_string()])
        .status()?;
    process.wait()?;
    let is_core = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("core"))
    };
    let mut entries = fs::read_dir(place)?.filter_map(|entry| Some(entry.ok()?.path()));
    entries
        .find(is_core)
        .ok_or_else(|| "no core: see /proc/sys/kernel/core_pattern".into())
}

/// What a run took.
#[derive(Clone, Copy, Default)]
struct Run {
    wall: Duration,
    processor: Duration,
    /// Of its own at its peak, in KiB.
    memory: u64,
}

impl Run {
    /// The medians of some runs, and the most memory.
    fn medians(runs: &[Self]) -> Self {
        let median = |of: fn(&Self) -> Duration| {
            let mut times: Vec<Duration> = runs.iter().map(of).collect();
            times.sort_unstable();
            times.get(times.len() / 2).copied().unwrap_or_default()
        };
        Self {
            wall: median(|run| run.wall),
            processor: median(|run| run.processor),
            memory: runs.iter().map(|run| run.memory).max().unwrap_or(0),
        }
    }
}

fn measure(
    rounds: usize,
    run: impl FnMut() -> Result<Run, Box<dyn Error>>,
) -> Result<Run, Box<dyn Error>> {
    let runs = std::iter::repeat_with(run)
        .take(rounds)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Run::medians(&runs))
}

/// Processor time of us or of our children so far.
fn processor_time(who: libc::c_int) -> Duration {
    // SAFETY: an all-zero rusage is valid, and the call only writes to it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(who, &mut usage);
        usage
    };
    let time = |time: libc::timeval| {
        Duration::from_micros(time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64)
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// Runs umdb from its start to its last line.
fn umdb_on(umdb: &Path, target: &[&str], command: &str) -> Result<Run, Box<dyn Error>> {
    let begun = Instant::now();
    let before = processor_time(libc::RUSAGE_CHILDREN);
    let mut child = Command::new(umdb)
        .args(target)
        .args(["-e", command])
        .stdout(Stdio::null())
        .spawn()?;
    let mut memory = 0;
    while child.try_wait()?.is_none() {
        memory = memory.max(own_memory(child.id()));
        std::thread::sleep(Duration::from_millis(2));
    }
    let processor = processor_time(libc::RUSAGE_CHILDREN).saturating_sub(before);
    Ok(Run {
        wall: begun.elapsed(),
        processor,
        memory,
    })
}

/// Anonymous memory of a process in KiB: pages of a mapped core are not its own.
fn own_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}

/// Looks at every word of a file, by two threads.
fn read_all(path: &Path) -> Result<u64, Box<dyn Error>> {
    let file = File::open(path)?;
    // SAFETY: the mapping is private and only read; nobody cuts the file off meanwhile.
    let bytes = unsafe { memmap2::Mmap::map(&file)? };
    let (one, two) = bytes.split_at(bytes.len() / 16 * 8);
    let sum = |bytes: &[u8]| {
        let words = bytes.chunks_exact(8);
        words.fold(0_u64, |sum, word| {
            let word = word
                .first_chunk()
                .map_or(0, |chunk| u64::from_le_bytes(*chunk));
            sum.wrapping_add(word)
        })
    };
    Ok(std::thread::scope(|scope| {
        let other = scope.spawn(|| sum(two));
        sum(one).wrapping_add(other.join().unwrap_or(0))
    }))
}
