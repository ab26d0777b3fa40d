//! Compares libumem.so with glibc's allocator and the best others, program by program, in interleaved runs.
//!
//! ```text
//! cargo build --release && cargo run --release -p umem --example compare -- [--rounds N] [PROGRAM]...
//! ```
//!
//! `--debug` compares what finding errors costs instead: the library's checks and other tools, on the real programs, and on two of
//! the patterns, which can be had with gcc's address sanitizer as well. Tools that take minutes run in the first round only.
//! `--instructions` counts instructions under callgrind, one run each, since counts repeat where times do not, with a part of
//! the work. `--sampling` does so with and without `UMEM_DEBUG=sample`.
//!
//! Each round runs every program under every allocator once, one after the other, so that a machine whose speed drifts
//! slows them all alike. What is compared is CPU time (user and system) and the peak of the resident set, as the kernel accounts for
//! them when a process has ended. Ratios are paired within a round; the table gives their median, and the last lines the
//! geometric mean over all programs with a 95 % interval from the spread between rounds.
//! Allocators and programs that are not installed are left out, and that is said.

mod count;
mod instructions;

use std::{
    env,
    ffi::OsString,
    fs, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
};

/// What a program is run under.
#[derive(Clone, Copy)]
struct Contender {
    name: &'static str,
    /// Shared object, looked for in the folders of libraries; none for the C library's own allocator.
    library: Option<&'static str>,
    /// UMEM_DEBUG and UMEM_LOGGING.
    checks: [&'static str; 2],
    /// Command that runs the program. Such tools are slow, and run once.
    wrapper: &'static [&'static str],
    /// Whether it is the program built for it that runs.
    rebuilt: bool,
}

const fn plain(name: &'static str, library: Option<&'static str>) -> Contender {
    Contender {
        name,
        library,
        checks: ["", ""],
        wrapper: &[],
        rebuilt: false,
    }
}

const fn checked(name: &'static str, debug: &'static str, logging: &'static str) -> Contender {
    Contender {
        checks: [debug, logging],
        ..plain(name, Some("libumem.so"))
    }
}

const fn wrapped(name: &'static str, wrapper: &'static [&'static str]) -> Contender {
    Contender {
        wrapper,
        ..plain(name, None)
    }
}

const ALLOCATORS: &[Contender] = &[
    plain(BASE, None),
    plain(OURS, Some("libumem.so")),
    plain("jemalloc", Some("libjemalloc.so.2")),
    plain("mimalloc", Some("libmimalloc.so.2.0")),
    plain("tcmalloc", Some("libtcmalloc_minimal.so.4")),
];
const DEBUGGERS: &[Contender] = &[
    plain(BASE, None),
    plain(OURS, Some("libumem.so")),
    checked("guards", "guards", ""),
    checked("audit", "audit", ""),
    checked("default", "default", ""),
    checked("default + log", "default", "transaction"),
    Contender {
        rebuilt: true,
        ..plain("ASan", None)
    },
    wrapped("heaptrack", &["heaptrack", "-o", "heaptrack"]),
    wrapped(
        "memcheck",
        &["valgrind", "-q", "--leak-check=no", "--trace-children=yes"],
    ),
];
const FOLDERS: &[&str] = &["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"];
/// The allocator under test is found beside this program.
const OURS: &str = "umem";
const BASE: &str = "glibc";

/// What stands for a program's count in its text: the full one is told where the text is used.
const COUNT: &str = "COUNT";
const LUA: &str = "local t={} for i=1,COUNT do t[i%100000+1]={i,tostring(i)} end \
                   local s={} for i=1,200000 do s[#s+1]=('x'):rep(i%50) end print(#table.concat(s))";
const PYTHON: &str = "d={}\nfor i in range(COUNT): d[str(i)]=[i,str(i*7)]\nprint(len(sorted(d)))";
const PERL: &str = "my %h; $h{\"key$_\"}=[$_,\"v$_\"] for 1..COUNT; my $n=0; $n+=$h{$_}[0] for sort keys %h; print $n";
const SQL: &str = "create table t(a integer primary key,b text,c text);
with recursive n(i) as (select 1 union all select i+1 from n where i<COUNT)
  insert into t select i, hex(i*7919 % 1000003), 'x'||i from n;
create index tb on t(b);
select count(*) from t a join t b on a.a=b.a+1 where a.b>b.b;
delete from t where a%3=0;
select sum(length(c)) from t;";
const CPP: &str = "#include <regex>\n#include <map>\n#include <functional>\n#include <iostream>\n\
                   int main() { std::map<std::string, std::function<int(int)>> m; std::cout << std::regex_match(\"aab\", std::regex(\"a+b\")); }";

/// Programs of the comparison of what finding errors costs.
const REAL: [&str; 5] = ["lua", "python3", "perl", "sqlite3", "cc1plus"];
/// Patterns of it: the programs whose source is at hand.
const REBUILT: [&str; 2] = ["replace", "cross2"];

/// A program to run: its name here, its command, the same built with the address sanitizer, and what is run beside it without any
/// library, for servers.
struct Program {
    name: &'static str,
    command: Vec<OsString>,
    sanitized: Option<Vec<OsString>>,
    beside: Option<OsString>,
}

/// What is asked of a server that listens on `redis.sock`. The last command ends it.
const REDIS: &str = "while ! redis-cli -s redis.sock ping; do sleep 0.02; done
redis-benchmark -s redis.sock -q -c 20 -n COUNT -r 100000 -d 100 -t set,get,lpush,lpop,sadd,hset,zadd
redis-cli -s redis.sock shutdown nosave";

/// The distribution's program, before what stands first in the path: that may be a script that looks for a version.
fn installed(name: &str) -> OsString {
    let path = Path::new("/usr/bin").join(name);
    if path.exists() {
        path.into()
    } else {
        name.into()
    }
}

/// The compiler proper, and a preprocessed source for it: what the driver does is not measured.
fn compiler(folder: &Path, source: OsString) -> io::Result<Vec<OsString>> {
    let asked = Command::new("g++")
        .arg("-print-prog-name=cc1plus")
        .output()?;
    let path = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
    let preprocessed = folder.join("bench.ii");
    let status = Command::new("g++")
        .arg("-E")
        .arg(source)
        .arg("-o")
        .arg(&preprocessed)
        .status()?;
    if !status.success() {
        return Err(io::Error::other("g++ could not preprocess bench.cc"));
    }
    let options = ["-quiet", "-fpreprocessed", "-O1", "-fsyntax-only"];
    let mut command = vec![OsString::from(path)];
    command.extend(options.map(OsString::from));
    command.push(preprocessed.into());
    Ok(command)
}

/// The programs; each does the `part`th part of its work.
fn programs(
    folder: &Path,
    micro: &Path,
    sanitized: Option<&Path>,
    threads: &Path,
    part: usize,
) -> io::Result<Vec<Program>> {
    let fill = |text: &str, count: usize| text.replace(COUNT, &(count / part).to_string());
    let file = |name: &str, text: &str| -> io::Result<OsString> {
        let path = folder.join(name);
        fs::write(&path, text)?;
        Ok(path.into())
    };
    let patterns = [
        "pairs", "batches", "replace", "replace2", "cross2", "queue2", "grow", "aligned", "large",
    ];
    let mut all: Vec<Program> = patterns
        .into_iter()
        .map(|name| Program {
            name,
            command: vec![micro.into(), name.into(), part.to_string().into()],
            sanitized: sanitized.map(|micro| vec![micro.into(), name.into()]),
            beside: None,
        })
        .collect();
    let sql = file("bench.sql", &fill(SQL, 200_000))?;
    let mut read = OsString::from(".read ");
    read.push(sql);
    let mut real = |name, command: Vec<OsString>| {
        all.push(Program {
            name,
            command,
            sanitized: None,
            beside: None,
        });
    };
    let script = |interpreter: &str, option: &str, text: &str, count: usize| {
        vec![
            installed(interpreter),
            option.into(),
            fill(text, count).into(),
        ]
    };
    real("lua", script("lua5.4", "-e", LUA, 4_000_000));
    real("python3", script("python3", "-c", PYTHON, 300_000));
    real("perl", script("perl", "-e", PERL, 300_000));
    let memory = OsString::from(":memory:");
    real("sqlite3", vec![installed("sqlite3"), memory, read]);
    match compiler(folder, file("bench.cc", CPP)?) {
        Ok(command) => real("cc1plus", command),
        Err(error) => eprintln!("compare: cc1plus is left out: {error}"),
    }
    real("threads", vec![threads.into(), part.to_string().into()]);
    // Debian's server brings jemalloc, so this one has to be built: make MALLOC=libc.
    if let Some(server) = env::var_os("REDIS_SERVER") {
        let options = "--port 0 --unixsocket redis.sock --save  --appendonly no";
        let mut command = vec![server];
        command.extend(options.split(' ').map(OsString::from));
        all.push(Program {
            name: "redis",
            command,
            sanitized: None,
            beside: Some(fill(REDIS, 30_000).into()),
        });
    } else {
        eprintln!(
            "compare: REDIS_SERVER names no server built with MALLOC=libc; redis is left out"
        );
    }
    Ok(all)
}

/// What a run cost.
#[derive(Clone, Copy)]
struct Cost {
    seconds: f64,
    kilobytes: f64,
}

fn run(
    program: &Program,
    contender: &Contender,
    library: Option<&Path>,
    folder: &Path,
) -> io::Result<Cost> {
    let own = match (&program.sanitized, contender.rebuilt) {
        (Some(sanitized), true) => sanitized,
        _ => &program.command,
    };
    let words: Vec<OsString> = contender
        .wrapper
        .iter()
        .map(OsString::from)
        .chain(own.iter().cloned())
        .collect();
    let (first, rest) = words.split_first().expect("a command has a first word");
    let mut command = Command::new(first);
    command
        .args(rest)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
        .env("PYTHONMALLOC", "malloc")
        .env("ASAN_OPTIONS", "detect_leaks=0")
        .env_remove("UMEM_OPTIONS");
    for (variable, value) in ["UMEM_DEBUG", "UMEM_LOGGING"]
        .into_iter()
        .zip(contender.checks)
    {
        match value {
            "" => command.env_remove(variable),
            value => command.env(variable, value),
        };
    }
    match library {
        Some(library) => command.env("LD_PRELOAD", library),
        None => command.env_remove("LD_PRELOAD"),
    };
    command.current_dir(folder).process_group(0);
    let child = command.spawn()?;
    let beside = start_beside(program, folder)?;
    let (mut status, mut usage) = (0, no_usage());
    // SAFETY: waits for our own child and writes the two variables. `Child` does not wait by itself.
    let waited = unsafe { libc::wait4(child.id() as i32, &raw mut status, 0, &raw mut usage) };
    if waited < 0 {
        return Err(io::Error::last_os_error());
    }
    if let Some(mut beside) = beside {
        beside.wait()?;
    }
    if status != 0 {
        return Err(io::Error::other(format!(
            "it ended with status {status:#x}"
        )));
    }
    let time = |value: libc::timeval| value.tv_sec as f64 + value.tv_usec as f64 / 1e6;
    Ok(Cost {
        seconds: time(usage.ru_utime) + time(usage.ru_stime),
        kilobytes: usage.ru_maxrss as f64,
    })
}

/// Starts what is asked of a server.
fn start_beside(program: &Program, folder: &Path) -> io::Result<Option<Child>> {
    let start = |script| {
        Command::new("sh")
            .arg("-c")
            .arg(script)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
    };
    program.beside.as_ref().map(start).transpose()
}

fn no_usage() -> libc::rusage {
    // SAFETY: the structure consists of integers.
    unsafe { std::mem::zeroed() }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    }
}

/// Geometric mean of the programs' ratios in each round; then their mean and the half-width of its 95 % interval, as factors.
fn geometric_mean(ratios: &[Vec<f64>]) -> (f64, f64) {
    let rounds = ratios.first().map_or(0, Vec::len);
    let logs: Vec<f64> = (0..rounds)
        .map(|round| {
            ratios
                .iter()
                .map(|program| program[round].ln())
                .sum::<f64>()
                / ratios.len() as f64
        })
        .collect();
    let mean = logs.iter().sum::<f64>() / rounds as f64;
    let variance =
        logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / (rounds.max(2) - 1) as f64;
    let half = student(rounds.max(2) - 1) * (variance / rounds as f64).sqrt();
    (mean.exp(), half.exp())
}

/// Student's t, two-sided, at 95 %, for these degrees of freedom.
fn student(freedom: usize) -> f64 {
    const TABLE: [f64; 20] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
        2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    ];
    TABLE.get(freedom - 1).copied().unwrap_or(2.0)
}

fn library(name: &str) -> Option<PathBuf> {
    let beside = env::current_exe().ok()?.parent()?.parent()?.join(name);
    let mut candidates = FOLDERS.iter().map(|folder| Path::new(folder).join(name));
    if beside.exists() {
        Some(beside)
    } else {
        candidates.find(|path| path.exists())
    }
}

fn is_installed(tool: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(tool).exists())
}

/// The patterns, plain or with one more option.
fn compile(folder: &Path, name: &str, option: &str) -> io::Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/compare/micro.c");
    let output = folder.join(name);
    let status = Command::new("cc")
        .args(["-O2", "-fno-builtin", "-pthread", option, "-o"])
        .arg(&output)
        .arg(source)
        .status()?;
    if status.success() {
        Ok(output)
    } else {
        Err(io::Error::other("cc could not build micro.c"))
    }
}

/// The Rust program with many threads.
fn compile_threads(folder: &Path) -> io::Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/compare/threads.rs");
    let output = folder.join("threads");
    let status = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--edition", "2024", "-O", "-o"])
        .arg(&output)
        .arg(source)
        .status()?;
    if status.success() {
        Ok(output)
    } else {
        Err(io::Error::other("rustc could not build threads.rs"))
    }
}

/// Costs of one program: by allocator, then by round.
type Costs = Vec<Vec<Cost>>;

fn measure(
    program: &Program,
    contenders: &[(Contender, Option<PathBuf>)],
    rounds: usize,
    folder: &Path,
) -> io::Result<Costs> {
    let mut costs: Costs = vec![Vec::new(); contenders.len()];
    for round in 0..rounds {
        for ((contender, library), costs) in contenders.iter().zip(&mut costs) {
            let is_slow = !contender.wrapper.is_empty() && round > 0;
            if is_slow || contender.rebuilt && program.sanitized.is_none() {
                continue;
            }
            costs.push(run(program, contender, library.as_deref(), folder)?);
        }
    }
    Ok(costs)
}

fn ratios(costs: &Costs, allocator: usize, base: usize, of: impl Fn(Cost) -> f64) -> Vec<f64> {
    costs[allocator]
        .iter()
        .zip(&costs[base])
        .map(|(&one, &other)| of(one) / of(other).max(1e-6))
        .collect()
}

fn table(title: &str, names: &[&str], measured: &[(&str, Costs)], of: impl Fn(Cost) -> f64 + Copy) {
    if measured.is_empty() {
        return;
    }
    println!("\n{title}, relative to {BASE} (median of paired ratios)\n");
    println!("| program | {} |", names.join(" | "));
    println!("|---|{}", "---:|".repeat(names.len()));
    let base = names.iter().position(|name| *name == BASE).unwrap_or(0);
    let mut by_allocator = vec![Vec::new(); names.len()];
    for (name, costs) in measured {
        let cells: Vec<String> = (0..names.len())
            .map(|allocator| {
                let ratios = ratios(costs, allocator, base, of);
                if ratios.is_empty() {
                    return "–".to_owned();
                }
                let cell = format!("{:.2}", median(&ratios));
                by_allocator[allocator].push(ratios);
                cell
            })
            .collect();
        println!("| {name} | {} |", cells.join(" | "));
    }
    let means: Vec<String> = by_allocator
        .iter()
        .map(|ratios| {
            let (mean, width) = geometric_mean(ratios);
            match ratios.first().map(Vec::len) {
                None => "–".to_owned(),
                Some(1) => format!("{mean:.2}"),
                Some(_) => format!("{mean:.2} ({:.2}–{:.2})", mean / width, mean * width),
            }
        })
        .collect();
    println!("| **geometric mean** | {} |", means.join(" | "));
}

fn main() -> ExitCode {
    match compare() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare() -> io::Result<()> {
    let mut rounds = 15;
    let mut wanted = Vec::new();
    let (mut debug, mut sampling, mut counts) = (false, false, false);
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--rounds" => {
                let number = arguments.next().and_then(|number| number.parse().ok());
                rounds = number
                    .filter(|&rounds| rounds > 0)
                    .ok_or_else(|| io::Error::other("--rounds takes a number"))?;
            }
            "--debug" => debug = true,
            "--sampling" => sampling = true,
            "--instructions" => counts = true,
            _ => wanted.push(argument),
        }
    }
    let contenders: Vec<(Contender, Option<PathBuf>)> = if debug { DEBUGGERS } else { ALLOCATORS }
        .iter()
        .filter_map(|contender| {
            let found = contender.library.map(library);
            let wrapped = contender
                .wrapper
                .first()
                .is_none_or(|tool| is_installed(tool));
            if !wrapped || found == Some(None) {
                eprintln!("compare: {} is not installed; left out", contender.name);
                return None;
            }
            Some((*contender, found.flatten()))
        })
        .collect();
    if !contenders
        .iter()
        .any(|(contender, _)| contender.name == OURS)
    {
        return Err(io::Error::other(
            "libumem.so is not there: run cargo build --release first",
        ));
    }
    let folder = env::temp_dir().join(format!("umem-compare-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let micro = compile(&folder, "micro", "-g")?;
    let sanitized = match debug.then(|| compile(&folder, "sanitized", "-fsanitize=address")) {
        Some(Err(error)) => {
            eprintln!("compare: ASan is left out: {error}");
            None
        }
        built => built.and_then(Result::ok),
    };
    let threads = compile_threads(&folder)?;
    let part = if counts { instructions::PART } else { 1 };
    let all = programs(&folder, &micro, sanitized.as_deref(), &threads, part)?;
    let (mut measured, mut counted) = (Vec::new(), Vec::new());
    if counts {
        instructions::head(&contenders);
    }
    for program in all {
        let of_debug = REAL.contains(&program.name) || REBUILT.contains(&program.name);
        if debug && !of_debug {
            continue;
        }
        if !wanted.is_empty() && !wanted.iter().any(|name| name == program.name) {
            continue;
        }
        eprintln!("compare: {} ...", program.name);
        if counts {
            instructions::row(&program, &contenders, &folder);
            continue;
        }
        if sampling {
            let library = library("libumem.so").unwrap_or_default();
            match count::row(&program, &library, &folder) {
                Ok(row) => counted.push(row),
                Err(error) => eprintln!("compare: {} is left out: {error}", program.name),
            }
            continue;
        }
        match measure(&program, &contenders, rounds, &folder) {
            Ok(costs) => measured.push((program.name, costs)),
            Err(error) => eprintln!("compare: {} is left out: {error}", program.name),
        }
    }
    fs::remove_dir_all(&folder)?;
    if counts {
        return Ok(());
    }
    if sampling {
        count::table(&counted);
        return Ok(());
    }
    let names: Vec<&str> = contenders
        .iter()
        .map(|(contender, _)| contender.name)
        .collect();
    println!(
        "{rounds} interleaved rounds, {} processors",
        std::thread::available_parallelism().map_or(1, usize::from)
    );
    let (patterns, real): (Vec<_>, Vec<_>) = measured
        .into_iter()
        .partition(|(name, _)| debug && REBUILT.contains(name));
    for (measured, of_what) in [(real, ""), (patterns, ", patterns")] {
        let title = |what: &str| format!("{what}{of_what}");
        table(&title("CPU time"), &names, &measured, |cost| cost.seconds);
        table(&title("Peak resident set"), &names, &measured, |cost| {
            cost.kilobytes
        });
    }
    Ok(())
}
