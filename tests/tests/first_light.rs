//! The answers about the first victim, each as a fact and not as a text: live, kernel core and gcore core.

use std::{fs, mem::offset_of};

use nix::sys::signal::Signal;
use regex_lite::Regex;
use serde_json::Value;
use umem_layout::{Cache, Region, Slab, UmemRoot, slab_kind};
use umem_tests::{
    artifacts::artifacts,
    command::Answer,
    cores,
    image::Image,
    need,
    umdb::Umdb,
    victim::{self, Start, Victim},
};

/// Bytes that the program asked for each time it lost some.
const LOST: u64 = 50;

#[test]
fn a_live_process_answers() {
    let victim = need!(Victim::start("first_light", &[]));
    check(&|| Umdb::pid(victim.pid()));
    assert_eq!(victim.stderr(), "", "the library says nothing unasked");
}

#[test]
fn a_kernel_core_answers() {
    let victim = need!(Victim::start("first_light", &[]));
    let core = need!(cores::kernel_core(victim, Signal::SIGSEGV));
    check(&|| Umdb::core(core.path()));
}

#[test]
fn a_gcore_core_answers() {
    let victim = need!(Victim::start("first_light", &[]));
    let core = need!(cores::gcore(&victim));
    drop(victim);
    check(&|| Umdb::core(core.path()));
}

#[test]
fn the_program_may_be_named_before_its_core() {
    let victim = need!(Victim::start("first_light", &[]));
    let core = need!(cores::kernel_core(victim, Signal::SIGABRT));
    let umdb = || Umdb::new().arg(core.program()).arg(core.path());
    check_leaks(&umdb);
}

/// The root record is found through memory alone: no file of the library is needed.
#[test]
fn the_library_may_be_deleted() {
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let copy = folder.path().join("libumem.so");
    fs::copy(&artifacts().library, &copy).expect("the library can be copied");
    let victim = need!(Start::new("first_light"))
        .env("LD_PRELOAD", &copy)
        .wait_ready();
    fs::remove_file(&copy).expect("the copy can be deleted");
    check_leaks(&|| Umdb::pid(victim.pid()));
    let core = need!(cores::kernel_core(victim, Signal::SIGABRT));
    check_leaks(&|| Umdb::core(core.path()));
}

/// Without the program's file there are no names, and with another in its place there are no wrong ones.
#[test]
fn the_program_may_be_deleted_or_replaced() {
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let copy = folder.path().join("first_light");
    fs::copy(need!(victim::program("first_light")), &copy).expect("the program can be copied");
    let victim = Start::program(copy.clone()).wait_ready();
    let core = need!(cores::kernel_core(victim, Signal::SIGABRT));
    let check = || {
        let (value, answer) = Umdb::core(core.path()).json("::findleaks");
        assert!(matches!(answer.code(), 1 | 3), "{answer}");
        let leaks = rows_with(&value, "caller");
        assert_eq!(leaks.len(), 1, "{answer}");
        assert_eq!(leaks[0]["bytes"], LOST);
        assert_eq!(
            leaks[0]["caller"]["symbol"],
            Value::Null,
            "a name from nowhere\n{answer}"
        );
    };
    fs::remove_file(&copy).expect("the copy can be deleted");
    check();
    fs::copy(need!(victim::program("idle")), &copy).expect("another program can be copied");
    check();
}

fn check(umdb: &dyn Fn() -> Umdb) {
    check_leaks(umdb);
    check_verify(umdb);
    check_log(umdb);
    check_caches(umdb);
    check_buffers(umdb);
}

fn check_leaks(umdb: &dyn Fn() -> Umdb) {
    let (value, answer) = umdb().json("::findleaks");
    answer.expect_code(1);
    assert_eq!(answer.stderr, "", "{answer}");
    let leaks = rows_with(&value, "caller");
    assert_eq!(
        leaks.len(),
        1,
        "one leak, and nothing of mmap or sbrk\n{answer}"
    );
    assert_eq!(leaks[0]["caller"]["symbol"], "test_leak_malloc");
    assert_eq!(leaks[0]["leaked"], 1);
    assert_eq!(leaks[0]["bytes"], LOST);
}

fn check_verify(umdb: &dyn Fn() -> Umdb) {
    let summary = umdb().exec("::umem_verify").run();
    summary.expect_code(1);
    assert_eq!(summary.stderr, "", "{summary}");
    let damaged: Vec<&str> = summary
        .stdout
        .lines()
        .filter(|line| line.contains("corrupt"))
        .collect();
    assert_eq!(damaged.len(), 1, "{summary}");
    assert!(damaged[0].ends_with("1 corrupt buffer"), "{summary}");
    let mut cells = damaged[0].split_whitespace();
    assert_eq!(cells.next(), Some("umem_alloc_64"));
    let cache = cells.next().expect("the cache has an address");

    let detail = umdb().exec(&format!("{cache}::umem_verify")).run();
    detail.expect_code(1);
    let text = &detail.stdout;
    let freed = freed_buffer(umdb);
    assert!(text.contains(&freed), "names the buffer {freed}\n{detail}");
    // The victim writes one X to byte 20: byte 4 of the word at 16.
    assert!(
        Regex::new(r"offset (0x14|20)\b")
            .expect("a pattern")
            .is_match(text),
        "names the offset of the damage\n{detail}"
    );
    for value in ["deadbeefdeadbeef", "deadbe58deadbeef"] {
        assert!(
            text.contains(value),
            "names {value}: expected or found\n{detail}"
        );
    }
    for line in ["test_UAF+", "first_light.c:24", "first_light.c:25"] {
        assert!(
            text.contains(line),
            "names {line}: who allocated, who freed\n{detail}"
        );
    }
    assert!(!text.contains("test_leak_malloc"), "{detail}");
}

/// The buffer that the newest transaction freed.
fn freed_buffer(umdb: &dyn Fn() -> Umdb) -> String {
    let transactions = transactions(&umdb().exec("::umalog").run());
    transactions[0].buffer.clone()
}

fn check_log(umdb: &dyn Fn() -> Umdb) {
    let answer = umdb().exec("::umalog").run();
    answer.expect_code(0);
    let transactions = transactions(&answer);
    let expected = [
        (
            "umem_alloc_64",
            "test_UAF",
            "first_light.c:25",
            "first_light.c:33",
        ),
        (
            "umem_alloc_64",
            "test_UAF",
            "first_light.c:24",
            "first_light.c:33",
        ),
        (
            "umem_alloc_112",
            "test_leak_malloc",
            "first_light.c:19",
            "first_light.c:32",
        ),
        (
            "umem_alloc_112",
            "test_leak_malloc",
            "first_light.c:18",
            "first_light.c:32",
        ),
        (
            "umem_alloc_64",
            "test_leak_malloc",
            "first_light.c:17",
            "first_light.c:32",
        ),
        ("umem_alloc_64", "main", "first_light.c:31", ""),
    ];
    assert_eq!(transactions.len(), expected.len(), "{answer}");
    for (found, (cache, function, line, caller)) in transactions.iter().zip(expected) {
        assert_eq!(found.cache, cache, "{answer}");
        assert!(
            found.stack[0].starts_with(&format!("{function}+")),
            "{answer}"
        );
        assert!(found.stack[0].ends_with(line), "{answer}");
        if !caller.is_empty() {
            assert!(found.stack[1].starts_with("main+"), "{answer}");
            assert!(found.stack[1].ends_with(caller), "{answer}");
        }
        let last = found.stack.last().expect("a stack");
        assert!(
            last.starts_with("_start+"),
            "complete to the outermost frame\n{answer}"
        );
    }
    assert_eq!(
        transactions[0].ago, 0,
        "times count back from the newest\n{answer}"
    );
    let is_sorted = transactions
        .windows(2)
        .all(|pair| pair[0].ago <= pair[1].ago);
    assert!(is_sorted, "newest first\n{answer}");
    // A buffer that was freed and one that was kept.
    assert_eq!(transactions[0].buffer, transactions[1].buffer);
    assert_eq!(transactions[2].buffer, transactions[3].buffer);
    assert_ne!(transactions[4].buffer, transactions[5].buffer);
}

struct Transaction {
    ago: u64,
    buffer: String,
    cache: String,
    stack: Vec<String>,
}

fn transactions(answer: &Answer) -> Vec<Transaction> {
    let head = Regex::new(r"^T-([0-9]+)\.([0-9]{9}) +addr=([0-9a-f]+) +(\S+)").expect("a pattern");
    let mut found: Vec<Transaction> = Vec::new();
    for line in answer.stdout.lines() {
        if let Some(fields) = head.captures(line) {
            let number = |index: usize| fields[index].parse::<u64>().expect("digits");
            found.push(Transaction {
                ago: number(1) * 1_000_000_000 + number(2),
                buffer: fields[3].to_owned(),
                cache: fields[4].to_owned(),
                stack: Vec::new(),
            });
        } else if let (Some(last), false) = (found.last_mut(), line.trim().is_empty()) {
            last.stack.push(line.trim().to_owned());
        }
    }
    assert!(
        found.iter().all(|entry| !entry.stack.is_empty()),
        "{answer}"
    );
    found
}

fn check_caches(umdb: &dyn Fn() -> Umdb) {
    let (value, answer) = umdb().json("::umem_cache");
    answer.expect_code(0);
    let caches = rows_with(&value, "name");
    assert!(caches.len() > 20, "{answer}");
    for cache in &caches {
        assert!(
            cache["address"]
                .as_str()
                .is_some_and(|text| text.starts_with("0x")),
            "{cache}"
        );
        assert!(number(cache, "buffer_size") > 0, "{cache}");
    }
    let total = |name: &str| {
        let cache = caches.iter().find(|cache| cache["name"] == name);
        number(
            cache.unwrap_or_else(|| panic!("no cache {name}")),
            "buffers",
        )
    };
    // Those that the victim used have slabs, those that it did not use have none.
    assert!(total("umem_alloc_64") >= 3, "{answer}");
    assert!(total("umem_alloc_112") >= 1, "{answer}");
    let in_use = |name: &str| {
        let cache = caches.iter().find(|cache| cache["name"] == name);
        number(cache.expect("a cache of the table"), "in_use")
    };
    assert_eq!(
        in_use("umem_alloc_64"),
        2,
        "the kept and the lost one\n{answer}"
    );
    assert_eq!(in_use("umem_alloc_112"), 0, "{answer}");
    assert_eq!(total("umem_alloc_16384"), 0, "{answer}");
}

fn check_buffers(umdb: &dyn Fn() -> Umdb) {
    let transactions = transactions(&umdb().exec("::umalog").run());
    let (freed, kept) = (&transactions[0].buffer, &transactions[5].buffer);
    let answer = umdb()
        .exec(&format!("{kept}::whatis; {freed}+5::whatis"))
        .run();
    answer.expect_code(0);
    assert!(answer.stdout.contains(&format!("{kept} is ")), "{answer}");
    assert!(
        answer.stdout.contains("allocated from umem_alloc_64"),
        "{answer}"
    );
    assert!(answer.stdout.contains(&format!("{freed}+5, ")), "{answer}");
    assert!(
        answer
            .stdout
            .contains("freed (in quarantine) from umem_alloc_64"),
        "{answer}"
    );
}

/// The counters that the library publishes, the slabs that they count, and what umdb says, are the same.
#[test]
fn the_totals_of_caches_add_up() {
    let victim = need!(Victim::start("first_light", &[]));
    let core = need!(cores::kernel_core(victim, Signal::SIGABRT));
    let (value, answer) = Umdb::core(core.path()).json("::umem_cache");
    let rows = rows_with(&value, "name");
    let image = Image::read(core.path());
    let caches = image.caches();
    assert_eq!(rows.len(), caches.len(), "{answer}");
    let slabs = slabs(&image);
    let sum = |column| -> u64 { rows.iter().map(|row| number(row, column)).sum() };
    let total = &value["sections"][0]["total"];
    for column in ["buffers", "in_use", "free", "slab_bytes"] {
        assert_eq!(number(total, column), sum(column), "{column}\n{answer}");
    }
    for (row, &cache) in rows.iter().zip(&caches) {
        assert_eq!(row["name"].as_str(), Some(&*image.cache_name(cache)));
        assert_eq!(row["address"], format!("{cache:#x}"));
        let field = |offset| image.word(image.offset(cache) + offset);
        let own = || slabs.iter().filter(|slab| slab.cache == cache);
        let capacity: u64 = own().map(|slab| slab.capacity).sum();
        let allocated: u64 = own().map(|slab| slab.allocated).sum();
        assert_eq!(number(row, "buffers"), capacity, "{row}");
        assert_eq!(
            number(row, "buffer_size"),
            field(offset_of!(Cache, buffer_size)),
            "{row}"
        );
        assert_eq!(field(offset_of!(Cache, buffers)), capacity, "{row}");
        assert_eq!(
            number(row, "buffers"),
            number(row, "in_use") + number(row, "free"),
            "{row}"
        );
        let in_use = field(offset_of!(Cache, slab_allocs)) - field(offset_of!(Cache, slab_frees));
        assert_eq!(in_use, allocated, "{row}");
        let existing =
            field(offset_of!(Cache, slab_creates)) - field(offset_of!(Cache, slab_destroys));
        assert_eq!(existing, own().count() as u64, "{row}");
    }
}

struct SlabCounts {
    cache: u64,
    capacity: u64,
    allocated: u64,
}

/// Every slab of every region, as the library published it.
fn slabs(image: &Image) -> Vec<SlabCounts> {
    let index = umem_layout::STRUCTS
        .iter()
        .position(|entry| entry.0 == "Slab")
        .expect("slabs are published");
    let sizes = image.root() + offset_of!(UmemRoot, struct_sizes);
    let stride = image.half(sizes + 4 * index);
    let mut found = Vec::new();
    let mut region = image.root_word(offset_of!(UmemRoot, regions));
    while region != 0 {
        let field = |offset| image.word(image.offset(region) + offset);
        let (table, units) = (
            field(offset_of!(Region, slabs)),
            field(offset_of!(Region, units)),
        );
        for unit in 0..units {
            let slab = image.offset(table + unit * stride);
            if image.half(slab + offset_of!(Slab, kind)) == u64::from(slab_kind::SLAB) {
                found.push(SlabCounts {
                    cache: image.word(slab + offset_of!(Slab, cache)),
                    capacity: image.half(slab + offset_of!(Slab, capacity)),
                    allocated: image.half(slab + offset_of!(Slab, allocated)),
                });
            }
        }
        region = field(offset_of!(Region, next));
    }
    found
}

/// All rows, of any table, that have a column of this name.
fn rows_with<'a>(value: &'a Value, column: &str) -> Vec<&'a Value> {
    let mut found = Vec::new();
    collect(value, column, &mut found);
    found
}

fn collect<'a>(value: &'a Value, column: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Array(values) => values
            .iter()
            .for_each(|value| collect(value, column, found)),
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::Array(rows) if key == "rows" => {
                        found.extend(rows.iter().filter(|row| row.get(column).is_some()));
                    }
                    _ => collect(value, column, found),
                }
            }
        }
        _ => {}
    }
}

fn number(row: &Value, column: &str) -> u64 {
    row[column]
        .as_u64()
        .unwrap_or_else(|| panic!("{column} is no number in {row}"))
}
