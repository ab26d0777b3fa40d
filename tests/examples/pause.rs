//! How long a process stands still while umdb takes a snapshot of it, seen by a thread of its own that looks at the clock.
//!
//! `cargo run --release -p umem-tests --example pause`. The column *alone* is the longest such time without umdb: what the
//! machine itself does to a thread. Times are milliseconds, the median and the worst of five.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use umem_tests::{artifacts::artifacts, victim};

/// MiB of heap and number of threads.
const CASES: [(u64, u32); 6] = [(0, 0), (64, 0), (1024, 0), (4096, 0), (0, 200), (0, 1000)];
const TIMES: usize = 5;

fn main() {
    let Ok(program) = victim::program("clock") else {
        return eprintln!("no compiler");
    };
    println!("    MiB threads    alone   median    worst    limit");
    for (mib, threads) in CASES {
        let mut child = Command::new(&program)
            .args([mib.to_string(), threads.to_string()])
            .env("LD_PRELOAD", &artifacts().library)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the victim starts");
        let mut input = child.stdin.take().expect("it is piped");
        let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        output
            .read_line(&mut line)
            .expect("it says that it is ready");
        let mut longest = || -> f64 {
            input.write_all(b"x").expect("it listens");
            let mut line = String::new();
            output.read_line(&mut line).expect("it answers");
            line.trim().parse::<f64>().expect("a number") / 1000.0
        };
        let mut alone = Vec::new();
        let mut looked_at = Vec::new();
        for _ in 0..TIMES {
            longest();
            sleep(Duration::from_millis(200));
            alone.push(longest());
            let status = Command::new(&artifacts().umdb)
                .args([
                    "-p",
                    &child.id().to_string(),
                    "--snapshot",
                    "-e",
                    "::umem_status",
                ])
                .stdout(Stdio::null())
                .status();
            assert!(status.is_ok_and(|status| status.success()), "umdb fails");
            looked_at.push(longest());
        }
        for times in [&mut alone, &mut looked_at] {
            times.sort_by(f64::total_cmp);
        }
        let limit = 30.0 + 25.0 * mib as f64 / 1024.0 + 0.1 * f64::from(threads);
        println!(
            "{mib:7} {threads:7} {:8.2} {:8.2} {:8.2} {limit:8.1}",
            alone[TIMES / 2],
            looked_at[TIMES / 2],
            looked_at[TIMES - 1],
        );
        let _ = child.kill();
        let _ = child.wait();
    }
}
