//! What the fast path costs, in instructions: a count that repeats, unlike times.

use std::{fs, path::Path, process::Command, time::Duration};

use umem_tests::{
    Outcome,
    artifacts::{artifacts, lock, work_dir},
    command, need, need_program,
    victim::{program, scrub},
};

const LIMIT: Duration = Duration::from_secs(120);
const TURNS: u64 = 1_000_000;
/// Most instructions of a turn of the loop, with the loop, the calls through the PLT, statistics, and the tests for foreign and
/// doubly freed pointers.
const MOST: f64 = 70.0;

const LOOP: &str = "#include <stdlib.h>\n\
    int main(int count, char **arguments)\n\
    { for (long i = atol(arguments[count - 1]); i > 0; i--) free(malloc(64)); }\n";

/// Most instructions that a capture of 16 frames takes when it has to walk, above one from a place that the thread remembers. The prototype
/// of the unwinder took 1215 for walk and look-up.
const WALK_MOST: f64 = 1500.0;

/// Instructions of a program under callgrind, with these checks, and arguments before the number of turns.
fn count(valgrind: &Path, program: &Path, checks: &str, args: &[&str], turns: u64) -> u64 {
    let mut command = Command::new(valgrind);
    // The library goes to the program alone, by way of env: valgrind's own launcher is not to load it.
    scrub(&mut command)
        .args([
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            "--trace-children=yes",
        ])
        .arg("env")
        .arg(format!("LD_PRELOAD={}", artifacts().library.display()))
        .arg(format!("UMEM_DEBUG={checks}"))
        .arg(program)
        .args(args)
        .arg(turns.to_string());
    let answer = command::run_with(&mut command, "", LIMIT);
    answer.expect_code(0);
    let line = answer
        .stderr
        .lines()
        .find(|line| line.contains("Collected"));
    line.and_then(|line| line.split_whitespace().last()?.parse().ok())
        .unwrap_or_else(|| panic!("callgrind tells no count\n{answer}"))
}

fn instructions_a_turn(checks: &str) -> Outcome<f64> {
    let (compiler, valgrind) = (need_program("gcc")?, need_program("valgrind")?);
    let folder = work_dir().join("victims");
    fs::create_dir_all(&folder).expect("a folder can be made");
    let (source, program) = (folder.join("loop.c"), folder.join("loop"));
    let _lock = lock("loop");
    fs::write(&source, LOOP).expect("a file can be written");
    let mut compile = Command::new(compiler);
    compile
        .args(["-O1", "-fno-builtin", "-o"])
        .args([&program, &source]);
    command::run_with(&mut compile, "", LIMIT).expect_code(0);
    let (some, more) = (
        count(&valgrind, &program, checks, &[], TURNS),
        count(&valgrind, &program, checks, &[], 2 * TURNS),
    );
    Ok((more - some) as f64 / TURNS as f64)
}

#[test]
fn malloc_and_free_stay_short() {
    let turn = need!(instructions_a_turn(""));
    // The loop itself has some ten: less means that the library was not called.
    assert!((30.0..=MOST).contains(&turn), "{turn} instructions a turn");
    let sampled = need!(instructions_a_turn("sample"));
    assert!(
        (30.0..=MOST).contains(&sampled),
        "{sampled} instructions a turn"
    );
    // Some hundred samples among the turns: their number is random, that there are some is not.
    assert!(sampled > turn, "{sampled} instructions a turn");
}

/// Instructions of a malloc/free pair under 30 frames with stacks of 16.
fn pair(mode: &str) -> Outcome<f64> {
    const PAIRS: u64 = 10_000;
    let (valgrind, program) = (need_program("valgrind")?, program("capture")?);
    let [some, more] =
        [1, 2].map(|times| count(&valgrind, &program, "audit", &[mode], times * PAIRS));
    Ok((more - some) as f64 / PAIRS as f64)
}

#[test]
fn captures_stay_short() {
    let (still, moving) = (need!(pair("still")), need!(pair("moving")));
    let walk = (moving - still) / 2.0;
    println!("a pair: {still} remembered, {moving} walked; a walk takes {walk} more");
    // Less than a tenth of it means that nothing was walked.
    assert!(
        (WALK_MOST / 10.0..=WALK_MOST).contains(&walk),
        "{walk} instructions"
    );
}
