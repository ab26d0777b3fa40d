//! How long the first prompt takes: on a small process, and on one with many libraries and much debug information.
//!
//! ```text
//! cargo build --release --workspace
//! cargo run --release -p umdb --example prompt_bench -- [LIBRARIES] [MEGABYTES] [ROUNDS]
//! ```
//!
//! Makes LIBRARIES (200) shared objects with MEGABYTES (1024) of debug information in all, a program that loads them and
//! one that does not, and starts umdb on each, ROUNDS (11) times in turn, on a terminal. Prints in milliseconds the median
//! time from the start of umdb until its prompt is there, and of `umdb -e COMMAND` to its end: commands that need no symbol,
//! a stack, a name that no module has.

use std::{
    env,
    error::Error,
    fmt::Write as _,
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::pty::openpty;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What is measured beside the prompt.
const COMMANDS: [&str; 5] = [
    "::umem_status",
    "::findleaks",
    "$c",
    "main=p",
    "no_such_name=K",
];

/// What the shown prompt ends with.
const PROMPT: &[u8] = b"> ";

fn main() -> Result<()> {
    let mut words = env::args().skip(1);
    let libraries: usize = words.next().map_or(Ok(200), |word| word.parse())?;
    let megabytes: usize = words.next().map_or(Ok(1024), |word| word.parse())?;
    let rounds: usize = words.next().map_or(Ok(11), |word| word.parse())?;
    let place = env::temp_dir().join(format!("prompt_bench.{}", std::process::id()));
    fs::create_dir_all(&place)?;
    let result = measure(&place, libraries, megabytes, rounds);
    fs::remove_dir_all(place)?;
    result
}

fn measure(place: &Path, libraries: usize, megabytes: usize, rounds: usize) -> Result<()> {
    let program = env::current_exe()?;
    let folder = program.parent().and_then(Path::parent).ok_or("no folder")?;
    let (umdb, allocator) = (folder.join("umdb"), folder.join("libumem.so"));
    let bytes = make(place, libraries, megabytes)?;
    eprintln!(
        "{libraries} libraries with {} MB of debug information",
        bytes >> 20
    );
    let small = Victim::start(place, &allocator, 0)?;
    let large = Victim::start(place, &allocator, libraries)?;
    let mut rows: Vec<(String, [Vec<Duration>; 2])> = Vec::new();
    for round in 0..rounds.max(1) {
        for (side, victim) in [&small, &large].into_iter().enumerate() {
            let mut times = vec![("first prompt".to_owned(), first_prompt(&umdb, victim)?)];
            for command in COMMANDS {
                times.push((format!("`{command}`"), answer(&umdb, victim, command)?));
            }
            for (at, (name, time)) in times.into_iter().enumerate() {
                if round == 0 && side == 0 {
                    rows.push((name, Default::default()));
                }
                rows[at].1[side].push(time);
            }
        }
    }
    println!(
        "| | small process | {libraries} libraries, {} MB |",
        bytes >> 20
    );
    println!("|---|---|---|");
    for (name, [small, large]) in &mut rows {
        println!(
            "| {name} | {:.1} ms | {:.1} ms |",
            median(small),
            median(large)
        );
    }
    Ok(())
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e3
}

/// Functions and structures of their own, so that there is much to be said of them.
fn source(functions: usize) -> String {
    let mut text = String::from("#include <stddef.h>\n");
    for n in 0..functions {
        let _ = writeln!(
            text,
            "struct record_{n} {{ struct record_{n} *next; int first_{n}, second_{n}; char name_{n}[{}]; }};\n\
             int function_number_{n}(struct record_{n} *record, int argument_{n}) {{\n\
             int local_{n} = argument_{n}, other_{n} = 0;\n\
             while (record) {{ other_{n} += record->first_{n} - local_{n}; record = record->next; }}\n\
             return other_{n}; }}",
            n % 50 + 1
        );
    }
    text
}

/// Bytes of debug information of a function of [`source`], about.
const BYTES_EACH: usize = 320;

/// Makes the libraries and the program; gives the bytes of debug sections in all.
fn make(place: &Path, libraries: usize, megabytes: usize) -> Result<u64> {
    let functions = (megabytes << 20) / libraries.max(1) / BYTES_EACH;
    fs::write(place.join("part.c"), source(functions))?;
    let main = "#include <dlfcn.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\n\
        void *kept;\n\
        int main(int argc, char **argv) {\n\
        for (int i = 0; i < atoi(argv[1]); i++) { char name[64]; snprintf(name, sizeof name, \"./libpart%d.so\", i);\n\
        if (!dlopen(name, RTLD_NOW)) { puts(dlerror()); return 1; } }\n\
        kept = malloc(100);\n\
        puts(\"ready\"); fflush(stdout); pause(); return 0; }\n";
    fs::write(place.join("main.c"), main)?;
    run(place, "cc", &["-g", "-O0", "-fPIC", "-c", "part.c"])?;
    run(place, "cc", &["-g", "-O0", "main.c", "-o", "main"])?;
    for number in 0..libraries {
        let name = format!("libpart{number}.so");
        let soname = format!("-Wl,-soname,{name},-Bsymbolic,--build-id");
        run(place, "cc", &["-shared", &soname, "part.o", "-o", &name])?;
    }
    let sections = Command::new("size")
        .args(["-A", "part.o"])
        .current_dir(place)
        .output()?;
    let sections = String::from_utf8(sections.stdout)?;
    let debug = sections.lines().filter(|line| line.starts_with(".debug"));
    let bytes: u64 = debug
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum();
    Ok(bytes * libraries as u64)
}

fn run(place: &Path, program: &str, words: &[&str]) -> Result<()> {
    let status = Command::new(program)
        .args(words)
        .current_dir(place)
        .status()?;
    status
        .success()
        .then_some(())
        .ok_or_else(|| format!("{program} {words:?}: {status}").into())
}

/// A process that waits.
struct Victim(Child);

impl Victim {
    fn start(place: &Path, allocator: &PathBuf, libraries: usize) -> Result<Self> {
        let mut child = Command::new(place.join("main"))
            .arg(libraries.to_string())
            .env("LD_PRELOAD", allocator)
            .env("UMEM_DEBUG", "default")
            .current_dir(place)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().ok_or("no output")?).read_line(&mut line)?;
        if line == "ready\n" {
            Ok(Self(child))
        } else {
            Err(line.into())
        }
    }

    fn command(&self, umdb: &Path) -> Command {
        let mut command = Command::new(umdb);
        command.args(["-S", "-p", &self.0.id().to_string()]);
        command
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// From the start to the prompt.
fn first_prompt(umdb: &Path, victim: &Victim) -> Result<Duration> {
    let pty = openpty(None, None)?;
    let end = || pty.slave.try_clone();
    let mut command = victim.command(umdb);
    command.env("TERM", "xterm").env("HOME", "/nonexistent");
    command.stdin(end()?).stdout(end()?).stderr(end()?);
    let begun = Instant::now();
    let mut child = command.spawn()?;
    let mut screen = File::from(pty.master);
    let mut shown = Vec::new();
    let mut bytes = [0; 512];
    while !shown.windows(PROMPT.len()).any(|window| window == PROMPT) {
        let got = screen.read(&mut bytes)?;
        shown.extend_from_slice(&bytes[..got]);
    }
    let time = begun.elapsed();
    child.kill()?;
    child.wait()?;
    Ok(time)
}

/// From the start of a command to its end, whatever it answers.
fn answer(umdb: &Path, victim: &Victim, typed: &str) -> Result<Duration> {
    let begun = Instant::now();
    let mut command = victim.command(umdb);
    command
        .args(["-e", typed])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    Ok(begun.elapsed())
}
