//! One small program for each kind of misuse: what the library says at once, and what the debugger says of the core that it leaves.
//!
//! The kinds are those of `victims/misuse.c`, and which error each of them is stands in the table below. What was said stands word
//! for word in `catalogue/KIND.txt`, without what differs from run to run (see `umem_tests::normal`);
//! `UMEM_TRANSCRIPTS=rewrite` has the files follow. Every kind has a twin that does the same without the mistake and must stay silent.

use std::{env, fmt::Write, fs, path::PathBuf, process::ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};
use umem_tests::{Outcome, artifacts::workspace, cores, normal::Names, umdb::Umdb, victim::Start};

const REDZONE: &str = "redzone violation: write past end of buffer";
const TAG: &str = "boundary tag corrupted";
const MODIFIED: &str = "buffer modified after being freed";
const TWICE: &str = "duplicate free: buffer freed twice";
const INSIDE: &str = "invalid free: address is inside of a buffer";
const NOWHERE: &str = "invalid free: address is in no buffer of the allocator";
const FAMILY: &str = "bad free: buffer was allocated by another family of functions";
const SIZE: &str = "bad free: freed with another size than it was allocated with";
const CACHE: &str = "buffer freed to wrong cache";

/// What each kind is told as.
const KINDS: &[(&str, &[&str])] = &[
    (
        REDZONE,
        &[
            "past_one",
            "past_zero_at_word",
            "past_zero_at_odd",
            "past_far",
            "past_strcpy",
            "past_zero_in_code",
            "past_empty",
            "past_page",
            "past_big_class",
            "past_large",
            "past_aligned",
            "past_aligned_large",
            "past_then_realloc",
            "past_calloc",
            "past_strdup",
            "past_in_thread",
        ],
    ),
    (TAG, &["before_one", "before_zero"]),
    (
        MODIFIED,
        &[
            "after_first",
            "after_last",
            "after_padding",
            "after_class",
            "after_large",
            "after_large_far",
            "after_realloc",
            "after_free_elsewhere",
        ],
    ),
    (
        TWICE,
        &[
            "twice",
            "twice_later",
            "twice_large",
            "twice_aligned",
            "twice_realloc",
            "twice_by_realloc_zero",
            "twice_two_threads",
        ],
    ),
    (
        INSIDE,
        &["inside", "inside_odd", "inside_large", "inside_realloc"],
    ),
    (
        NOWHERE,
        &[
            "of_stack",
            "of_static",
            "of_literal",
            "of_function",
            "of_mmap",
            "of_brk",
            "wild",
            "wild_kernel",
            "never_allocated",
        ],
    ),
    (
        FAMILY,
        &[
            "free_of_new",
            "free_of_new_array",
            "delete_of_malloc",
            "delete_of_new_array",
            "delete_array_of_new",
            "delete_of_large_malloc",
            "realloc_of_new",
            "free_of_umem",
            "umem_free_of_malloc",
        ],
    ),
    (SIZE, &["wrong_size", "wrong_size_large"]),
    (
        CACHE,
        &["wrong_cache", "free_of_object", "cache_free_of_malloc"],
    ),
    (TWICE, &["cache_twice"]),
    (
        REDZONE,
        &["cache_past", "verify_past", "verify_object", "verify_large"],
    ),
    (
        MODIFIED,
        &["verify_after", "verify_after_large", "verify_after_huge"],
    ),
    // The same kinds of misuse, of buffers of other kinds.
    (
        REDZONE,
        &[
            "past_empty_aligned",
            "past_empty_aligned_large",
            "past_large_then_realloc",
            "past_aligned_then_realloc",
            "verify_aligned",
            "verify_aligned_large",
        ],
    ),
    (
        MODIFIED,
        &[
            "after_empty",
            "after_aligned",
            "after_aligned_large",
            "verify_after_aligned_large",
        ],
    ),
    (
        TWICE,
        &[
            "twice_empty",
            "twice_big_class",
            "twice_realloc_large",
            "cache_free_of_freed_large",
        ],
    ),
    (
        INSIDE,
        &[
            "inside_big_class",
            "inside_aligned",
            "inside_aligned_large",
            "inside_realloc_large",
            "cache_free_inside_large",
        ],
    ),
    (
        FAMILY,
        &[
            "delete_of_empty",
            "delete_of_aligned",
            "delete_of_aligned_large",
            "free_of_large_new",
            "free_of_large_umem",
            "umem_free_of_large_malloc",
        ],
    ),
    (
        SIZE,
        &[
            "wrong_size_of_delete",
            "wrong_size_of_delete_array",
            "wrong_size_of_delete_large",
            "wrong_size_zero",
            "wrong_size_aligned",
            "wrong_size_aligned_large",
        ],
    ),
    (CACHE, &["cache_free_of_large"]),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(2);
    let kinds = KINDS
        .iter()
        .flat_map(|&(headline, kinds)| kinds.iter().map(move |&kind| (kind, headline)));
    let mut trials: Vec<Trial> = kinds
        .flat_map(|(kind, headline)| {
            let wrong = Trial::test(format!("{kind}::wrong"), move || {
                reported(play(kind, headline), kind)
            });
            let right = Trial::test(format!("{kind}::right"), move || {
                reported(stay_silent(kind), kind)
            });
            [wrong, right]
        })
        .collect();
    trials.push(Trial::test("every_kind_is_played", || {
        reported(every_kind_is_played(), "every_kind_is_played")
    }));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// What cannot run on this machine is counted.
fn reported(outcome: Outcome<Result<(), String>>, name: &str) -> Result<(), Failed> {
    match outcome {
        Ok(result) => result.map_err(Failed::from),
        Err(why) => {
            why.report_as(name);
            Ok(())
        }
    }
}

fn every_kind_is_played() -> Outcome<Result<(), String>> {
    let listed = Start::new("misuse")?.run().stdout;
    let played: Vec<&str> = KINDS
        .iter()
        .flat_map(|(_, kinds)| kinds.iter().copied())
        .collect();
    let missing: Vec<&str> = listed
        .lines()
        .filter(|kind| !played.contains(kind))
        .collect();
    if played.len() >= 40 && missing.is_empty() {
        return Ok(Ok(()));
    }
    Ok(Err(format!(
        "{} are played, not played: {missing:?}",
        played.len()
    )))
}

fn stay_silent(kind: &str) -> Outcome<Result<(), String>> {
    let answer = Start::new("misuse")?.args(["ok", kind]).run();
    if answer.status.success() && answer.stderr.is_empty() {
        return Ok(Ok(()));
    }
    Ok(Err(answer.to_string()))
}

fn play(kind: &str, headline: &str) -> Outcome<Result<(), String>> {
    let start = Start::new("misuse")?.args(["wrong", kind]);
    let (said, core) = cores::of_abort(&start)?;
    if said.lines().next() != Some(&format!("umem allocator: {headline}")) {
        return Ok(Err(said));
    }
    let ask = |command: &str| Umdb::core(core.path()).exec(command).run().stdout;
    let mut names = Names::new().literal(core.program().display().to_string(), "<program>");
    let mut page = String::new();
    let mut section = |title: &str, text: &str| {
        let _ = writeln!(page, "> {title}");
        names
            .normalise(&without_start_files(text))
            .iter()
            .for_each(|line| _ = writeln!(page, "{line}"));
        page.push('\n');
    };
    section("stderr", &said);
    section("::umem_status", &without_figures(&ask("::umem_status")));
    let verified = ask("::umem_verify");
    section("::umem_verify", &without_clean(&verified));
    for shown in verified.lines().filter_map(|line| line.strip_suffix(SHOWS)) {
        section(shown, &ask(shown));
    }
    let subject = field(&said, "buffer=")
        .or_else(|| field(&said, "("))
        .or_else(|| field(&said, "address="));
    let subject = subject.ok_or("the report names no address");
    match subject {
        Ok(address) => section("ADDRESS::whatis", &ask(&format!("{address}::whatis"))),
        Err(why) => return Ok(Err(format!("{why}: {said}"))),
    }
    Ok(compare(kind, &page))
}

/// How the summary of all caches says where the damage is shown.
const SHOWS: &str = " shows the damage";

/// Caches without damage are as many as there are sizes; that they are all clean is said by their absence.
fn without_clean(verified: &str) -> String {
    let kept: Vec<&str> = verified
        .lines()
        .filter(|line| !line.ends_with(" clean"))
        .collect();
    kept.join("\n")
}

/// How much memory there is depends on the system's page tables and libraries, and so does the number of frames.
fn without_figures(status: &str) -> String {
    let kept: Vec<&str> = status
        .lines()
        .map(|line| match line.split_once(':') {
            Some((label @ ("Memory" | "Stacks" | "Version"), _)) => label,
            _ => line,
        })
        .collect();
    let text = kept.join("\n");
    text.replace(" clock=counter", "")
        .replace(" clock=monotonic", "")
}

fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let rest = text.split(key).find(|rest| rest.starts_with("0x"))?;
    rest.split(|c: char| c.is_whitespace() || c == ')').next()
}

/// Frames outside of `main`, and outside of a thread's function, differ between systems; so does the number of the process. Lines of the
/// victim are left out.
fn without_start_files(text: &str) -> String {
    let mut kept = String::new();
    let mut outside = false;
    for line in text.lines() {
        // A new kind moves the lines of those behind it.
        let line = line.split(" at misuse.c:").next().unwrap_or(line);
        let line = &without_record(line);
        if !line.starts_with("    ") {
            outside = false;
        }
        if line.starts_with("umem: heap corruption detected; look with: umdb -p ") {
            kept.push_str("umem: heap corruption detected; look with: umdb\n");
        } else if !outside {
            kept.push_str(line);
            kept.push('\n');
        }
        outside |=
            line.starts_with("    ") && (line.contains("`main+") || line.contains("`thread_"));
    }
    kept
}

/// The last word of a trailer is the state, and XOR it the address of the record, which differs from run to run below the highest
/// 16 bits.
fn without_record(line: &str) -> String {
    const ALLOCATED: &str = ": expected a110";
    const DIGITS: usize = 4;
    let parts = line
        .split_once(ALLOCATED)
        .and_then(|(before, words)| Some((before, words.split_once("found ")?.1)));
    match parts {
        Some((before, found)) => {
            let found = found.get(..DIGITS).unwrap_or(found);
            format!("{before}{ALLOCATED}..., found {found}...")
        }
        None => line.to_owned(),
    }
}

fn compare(kind: &str, page: &str) -> Result<(), String> {
    let path: PathBuf = workspace()
        .join("tests/catalogue")
        .join(format!("{kind}.txt"));
    if env::var_os("UMEM_TRANSCRIPTS").is_some_and(|value| value == "rewrite") {
        fs::write(&path, page).map_err(|error| error.to_string())?;
        return Ok(());
    }
    let expected =
        fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    if expected == page {
        return Ok(());
    }
    Err(format!(
        "{}\n--- expected\n{expected}\n--- found\n{page}",
        path.display()
    ))
}
