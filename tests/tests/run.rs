//! `umdb run`: starts a program with the library and looks at it when it ends.

use std::{collections::BTreeSet, fs, os::unix::fs::symlink, path::Path};

use umem_tests::{
    artifacts::{artifacts, workspace},
    need,
    umdb::{Umdb, expect_complaint, expect_no_debris},
    victim::program,
};

fn run(command: &str, victim: &Path, args: &[&str]) -> umem_tests::command::Answer {
    Umdb::new()
        .arg("run")
        .exec(command)
        .arg("--")
        .arg(victim)
        .args(args)
        .run()
}

#[test]
fn both_buffers_are_lost_when_main_has_returned() {
    let victim = need!(program("first_light"));
    let answer = run("::findleaks -d", &victim, &["--return"]);
    answer.expect_code(0);
    assert_eq!(answer.stderr, "", "{answer}");
    let count = |text: &str| answer.stdout.matches(text).count();
    assert_eq!(count("2 buffers, 100 bytes"), 1, "{answer}");
    assert_eq!(count("leak: 1 buffer, 50 bytes"), 2, "{answer}");
    assert_eq!(count("first_light.c:31"), 1, "{answer}");
    assert_eq!(count("first_light.c:17"), 1, "{answer}");
    assert!(
        answer.stdout.starts_with("ready\n"),
        "the program's own output comes first\n{answer}"
    );
}

#[test]
fn the_program_keeps_its_own_exit_status() {
    let victim = need!(program("ends"));
    for (how, code) in [
        ("0", 0),
        ("7", 7),
        ("exit", 3),
        ("SIGTERM", 128 + 15),
        ("SIGABRT", 128 + 6),
        ("SIGKILL", 128 + 9),
    ] {
        let answer = run("::findleaks", &victim, &[how]);
        answer.expect_code(code);
        expect_no_debris(&answer);
    }
}

#[test]
fn a_judgement_can_be_asked_for() {
    let victim = need!(program("ends"));
    let idle = need!(program("idle"));
    let judge = |command: &str, victim: &Path, args: &[&str]| {
        let umdb = Umdb::new()
            .arg("run")
            .args(["--error-exitcode", "99"])
            .exec(command);
        umdb.arg("--").arg(victim).args(args).run()
    };
    judge("::findleaks", &victim, &["7"]).expect_code(99);
    judge("::umem_verify", &victim, &["7"]).expect_code(7);
    judge("::findleaks", &idle, &["1", "--return"]).expect_code(0);
    judge("::no_such_thing", &victim, &["7"]).expect_code(2);
}

#[test]
fn debugging_is_on_unless_the_environment_says_otherwise() {
    let victim = need!(program("ends"));
    let answer = run("::umalog", &victim, &["0"]);
    assert!(
        answer.stdout.contains("T-0.000000000"),
        "audited and logged\n{answer}"
    );
    let run = || {
        Umdb::new()
            .arg("run")
            .exec("::findleaks")
            .arg("--")
            .arg(&victim)
            .arg("0")
    };
    let plain = run().env("UMEM_DEBUG", "").env("UMEM_LOGGING", "").run();
    assert!(
        !plain.stdout.contains("ends.c"),
        "no record of who allocated\n{plain}"
    );
}

#[test]
fn a_program_that_does_not_exist_cannot_be_run() {
    let answer = run("::findleaks", Path::new("/no/such/program"), &[]);
    answer.expect_code(2);
    expect_complaint(&answer, &["/no/such/program"]);
}

#[test]
fn the_library_is_found_beside_umdb() {
    let victim = need!(program("first_light"));
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let umdb = folder.path().join("umdb");
    fs::copy(&artifacts().umdb, &umdb).expect("umdb can be copied");
    let run = || Umdb::of(&umdb).arg("run");
    let alone = run()
        .exec("::findleaks")
        .arg("--")
        .arg(&victim)
        .arg("--return")
        .run();
    alone.expect_code(2);
    expect_complaint(&alone, &["libumem.so"]);
    let told = run()
        .arg("--library")
        .arg(&artifacts().library)
        .exec("::findleaks")
        .arg("--")
        .arg(&victim)
        .arg("--return")
        .run();
    told.expect_code(0);
    assert!(told.stdout.contains("2 buffers, 100 bytes"), "{told}");
    symlink(&artifacts().library, folder.path().join("libumem.so")).expect("a link can be made");
    let beside = run()
        .exec("::findleaks")
        .arg("--")
        .arg(&victim)
        .arg("--return")
        .run();
    beside.expect_code(0);
    assert!(beside.stdout.contains("2 buffers, 100 bytes"), "{beside}");
}

#[test]
fn the_program_reads_its_own_input() {
    let victim = need!(program("echo"));
    let answer = Umdb::new()
        .arg("run")
        .exec("::umem_status")
        .arg("--")
        .arg(victim)
        .run_with("abc");
    answer.expect_code(0);
    assert!(answer.stdout.starts_with("ready\nbcd"), "{answer}");
    assert!(answer.stdout.contains("ready and active"), "{answer}");
}

/// The log is a ring: it keeps the newest transactions, as many as fit.
#[test]
fn a_small_log_keeps_the_newest_transactions() {
    let victim = need!(program("wordcount"));
    let text = "one two three four\n".repeat(500);
    let answer = Umdb::new()
        .arg("run")
        .env("UMEM_LOGGING", "transaction=4k")
        .exec("::umalog")
        .arg("--")
        .arg(victim)
        .run_with(&text);
    answer.expect_code(0);
    assert_eq!(answer.stderr, "", "{answer}");
    let heads = answer
        .stdout
        .lines()
        .filter(|line| line.starts_with("T-"))
        .count();
    let room = 4096 / size_of::<umem_layout::LogEntry>();
    // A ring may be rounded up to a page of its own.
    assert!(
        (room / 2..=2 * room).contains(&heads),
        "{heads} transactions\n{answer}"
    );
    // main frees its line and prints at the end, after everything else.
    assert!(answer.stdout.contains("print+"), "{answer}");
}

/// A real text, and a count that does not come from umdb: every word beyond the first of its kind leaves a copy behind,
/// and every growth of the table leaves the table before.
#[test]
fn every_lost_buffer_is_counted() {
    let victim = need!(program("wordcount"));
    let text = fs::read_to_string(workspace().join("LICENSE-APACHE")).expect("there is a licence");
    let words: Vec<&str> = text
        .split(|c: char| !c.is_ascii_alphabetic())
        .filter(|word| !word.is_empty())
        .collect();
    let distinct: BTreeSet<String> = words.iter().map(|word| word.to_lowercase()).collect();
    let copies = words.len() - distinct.len();
    assert!(copies > 1000 && distinct.len() > 256, "a long text");
    let answer = Umdb::new()
        .arg("run")
        .exec("::findleaks -d")
        .arg("--")
        .arg(victim)
        .run_with(&text);
    answer.expect_code(0);
    assert_eq!(answer.stderr, "", "{answer}");
    let has = |text: &str| assert!(answer.stdout.contains(text), "{text}\n{answer}");
    has(&format!("umem_alloc_16 leak: {copies} buffers, "));
    // The table begins with 64 entries and doubles when it holds more words than that.
    let tables: Vec<usize> = (0..)
        .map(|n| 64 << n)
        .take_while(|size| distinct.len() > *size + 1)
        .collect();
    for size in &tables {
        has(&format!(
            " leak: 1 buffer, {} bytes",
            size * size_of::<usize>()
        ));
    }
    has(&format!(" {} buffers, ", copies + tables.len()));
}
