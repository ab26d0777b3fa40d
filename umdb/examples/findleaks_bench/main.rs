//! How long `::findleaks` takes: on live processes and on their cores, against the time to read the same bytes.
//!
//! ```text
//! cargo build --release --workspace
//! cargo run --release -p umdb --example findleaks_bench -- BUFFERS [MEAN] [ROUNDS] [COMMAND]
//! ```
//!
//! Makes a process with BUFFERS live buffers of MEAN bytes in the mean (see `heap`) and 10,004 lost ones from 20 sites, runs
//! umdb on it and on its core, each ROUNDS times in turn with a read of the core by two threads, and prints medians.

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
        let live = measure(rounds, || {
            umdb_on(&umdb, &["-p", &process.id().to_string()], command)
        });
        let core = dump(&mut process, &place)?;
        let size = fs::metadata(&core)?.len();
        let held = held_bytes(&core)?;
        let mut read = Vec::new();
        let on_core = measure(rounds, || {
            let begun = Instant::now();
            read_all(&core)?;
            read.push(begun.elapsed());
            umdb_on(&umdb, &[core.to_string_lossy().as_ref()], command)
        });
        let (live, on_core) = (live?, on_core?);
        let read = median(&mut read);
        println!(
            "{label}: {buffers} buffers of {mean}, core {} MB ({} MB on disk), {command}\n\
             live     {:7.3} s  peak {} MB\n\
             core     {:7.3} s  peak {} MB of its own\n\
             read     {:7.3} s  by two threads; core / read {:.1}",
            size >> 20,
            held >> 20,
            live.0.as_secs_f64(),
            live.1 >> 10,
            on_core.0.as_secs_f64(),
            on_core.1 >> 10,
            read.as_secs_f64(),
            on_core.0.as_secs_f64() / read.as_secs_f64(),
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

/// The median of some runs, and the most memory that one used.
fn measure(
    rounds: usize,
    mut run: impl FnMut() -> Result<(Duration, u64), Box<dyn Error>>,
) -> Result<(Duration, u64), Box<dyn Error>> {
    let runs = (0..rounds).map(|_| run()).collect::<Result<Vec<_>, _>>()?;
    let most = runs.iter().map(|run| run.1).max().unwrap_or(0);
    Ok((
        median(&mut runs.into_iter().map(|run| run.0).collect::<Vec<_>>()),
        most,
    ))
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Time from start to last line, and memory of its own at its peak in KiB.
fn umdb_on(umdb: &Path, target: &[&str], command: &str) -> Result<(Duration, u64), Box<dyn Error>> {
    let begun = Instant::now();
    let mut child = Command::new(umdb)
        .args(target)
        .args(["-e", command])
        .stdout(Stdio::null())
        .spawn()?;
    let mut most = 0;
    while child.try_wait()?.is_none() {
        most = most.max(own_memory(child.id()));
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok((begun.elapsed(), most))
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

/// Bytes of a file that are on disk.
fn held_bytes(path: &Path) -> Result<u64, Box<dyn Error>> {
    use std::os::unix::fs::MetadataExt;
    Ok(fs::metadata(path)?.blocks() * 512)
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
