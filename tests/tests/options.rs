//! UMEM_OPTIONS from outside: each item does what it says, and none that is malformed stops a program.

use umem_tests::{Outcome, command::Answer, need, umdb::Umdb, victim::Start};

fn run(options: &str, args: &[&str]) -> Outcome<Answer> {
    Ok(Start::new("options")?
        .plain()
        .env("UMEM_OPTIONS", options)
        .args(args)
        .run())
}

fn expect_says(options: &str, args: &[&str], text: &str) -> Outcome<()> {
    let answer = run(options, args)?;
    assert_eq!(
        (answer.code(), &*answer.stdout, &*answer.stderr),
        (0, text, ""),
        "{options:?} {args:?}\n{answer}"
    );
    Ok(())
}

#[test]
fn sizes_are_added_removed_and_cleared_in_order() {
    let sizes = ["sizes", "60", "64", "65", "1000", "4097"];
    need!(expect_says("", &sizes, "64 64 80 1152 4544\n"));
    need!(expect_says(
        "size_add=1000,size_remove=64",
        &sizes,
        "80 80 80 1008 4544\n"
    ));
    need!(expect_says(
        "size_clear,size_add=64,size_add=4096",
        &sizes,
        "64 64 4096 4096 131072\n"
    ));
    // The order counts.
    need!(expect_says(
        "size_add=64,size_clear",
        &["sizes", "64"],
        "131072\n"
    ));
}

#[test]
fn the_policy_of_the_heap_is_chosen() {
    for (options, place) in [
        ("allocator=best", "small small small\n"),
        ("allocator=first", "large large large\n"),
        ("allocator=instant", "large large large\n"),
        ("allocator=next", "large large small\n"),
    ] {
        need!(expect_says(options, &["place"], place));
    }
}

/// Without magazines a free reaches the slab at once, and the slab knows what is free.
#[test]
fn magazines_are_off_when_asked_for() {
    need!(expect_says("", &["twice"], "not noticed\n"));
    for options in ["nomagazines", "perthread_cache=0"] {
        let answer = need!(run(options, &["twice"]));
        assert_eq!(answer.code(), 134, "{options}\n{answer}");
        assert!(answer.stderr.contains("freed twice"), "{options}\n{answer}");
    }
}

/// 100 threads: each keeps its part of what `concurrency` threads may keep, without it some 660 KB.
#[test]
fn concurrency_limits_what_many_threads_keep() {
    let answer = need!(Start::new("life"))
        .plain()
        .env("UMEM_OPTIONS", "reap_interval=1,concurrency=1")
        .args(["keep", "450"])
        .run();
    assert_eq!(answer.stdout, "ok\n", "{answer}");
}

/// Once only the first 4096 bytes of the environment were looked at.
#[test]
fn variables_are_found_behind_a_large_environment() {
    let mut start = need!(Start::new("misuse")).plain();
    // The order of the environment is that of the names.
    for index in 0..40 {
        start = start.env(&format!("A{index:02}"), "x".repeat(5000));
    }
    let answer = start
        .env("UMEM_DEBUG", "default")
        .args(["wrong", "past_one"])
        .run();
    assert!(
        answer.stderr.contains("write past end of buffer"),
        "{answer}"
    );
}

/// Items that are malformed, out of range, unknown, too many or no text.
#[test]
fn no_item_stops_a_program() {
    let many = "size_add=24,".repeat(1000);
    let long = "x".repeat(5000);
    let commas = ",".repeat(100_000);
    let items = [
        ",",
        ",,,",
        "=",
        "=5",
        "==",
        "perthread_cache",
        "perthread_cache=",
        "perthread_cache=-1",
        "perthread_cache=99999999999999999999999",
        "perthread_cache=16777216t",
        "perthread_cache=64kb",
        "concurrency=0",
        "concurrency=18446744073709551615",
        "concurrency=1.5",
        "max_contention=0",
        "reap_interval=0",
        "reap_interval=99999999999",
        "size_add",
        "size_add=0",
        "size_add=524289",
        "size_remove",
        "size_remove=131072",
        "size_remove=65",
        "size_clear=1",
        "size_clear,size_clear,size_remove=131072",
        "backend",
        "backend=sbrk",
        "backend=foo",
        "allocator",
        "allocator=worst",
        "nomagazines=1",
        "tcache=1,numa,sbrk_minalloc=64k",
        " nomagazines , perthread_cache = 5 ",
        &many,
        &long,
        &commas,
    ];
    for item in items {
        need!(expect_says(item, &["sizes", "600000"], "602112\n"));
    }
}

#[test]
fn what_was_not_understood_is_kept_for_the_debugger() {
    let victim = need!(Start::new("first_light"))
        .plain()
        .env(
            "UMEM_OPTIONS",
            "size_add=20,size_add=33,size_add=999999,size_remove=65,size_remove=131072,nonsense,backend=sbrk,,size_clear=1,\
             reap_interval=soon",
        )
        .wait_ready();
    let answer = Umdb::pid(victim.pid()).exec("::umem_status").run();
    for line in [
        "UMEM_OPTIONS: 'nonsense' not recognized",
        "UMEM_OPTIONS: backend: the heap comes from mmap on Linux",
        "UMEM_OPTIONS: empty option",
        "UMEM_OPTIONS: size_clear: does not take a value. ignored",
        "UMEM_OPTIONS: reap_interval: not a number",
        "UMEM_OPTIONS: size_add: 20: already in table. ignored",
        "UMEM_OPTIONS: size_add: 33: already in table. ignored",
        "UMEM_OPTIONS: size_add: 999999: larger than the largest size. ignored",
        "UMEM_OPTIONS: size_remove: 65: not found in table. ignored",
        "UMEM_OPTIONS: size_remove: 131072: cannot remove the largest size. ignored",
    ] {
        assert!(answer.stdout.contains(line), "{line}\n{answer}");
    }
}
