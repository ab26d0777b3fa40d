//! Cores of every kind: compressed, cut off, with little in them, from elsewhere.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use umem_tests::{
    Outcome,
    artifacts::artifacts,
    command::{self, Answer, WATCHDOG},
    cores::{self, Core},
    image::Image,
    need, need_program,
    umdb::{Umdb, expect_complaint, expect_no_debris},
    victim::{Start, Victim},
};

const COMMANDS: &str = "::findleaks -d; ::umem_verify; ::umalog; ::umem_status";

fn ask(core: &Path) -> Answer {
    Umdb::core(core).exec(COMMANDS).run()
}

/// A core that the kernel dumps with this filter.
fn filtered(filter: &str) -> Outcome<Core> {
    let victim = Victim::start("first_light", &[])?;
    let path = format!("/proc/{}/coredump_filter", victim.pid());
    fs::write(&path, filter).unwrap_or_else(|error| panic!("{path}: {error}"));
    cores::kernel_core(victim, Signal::SIGABRT)
}

fn pack(core: &Path, command: &[&str]) -> Outcome<PathBuf> {
    let program = need_program(command[0])?;
    let packed = core.with_extension(command[0]);
    let mut line = Command::new(program);
    line.args(&command[1..]);
    // zstd takes the output's name before the input's.
    if command.contains(&"-o") {
        line.arg(&packed).arg(core);
    } else {
        line.arg(core).arg(&packed);
    }
    let answer = command::run(&mut line);
    assert!(packed.is_file(), "{answer}");
    Ok(packed)
}

/// Cores do not tell the names of threads, and the kernel writes threads in an order of the moment.
#[test]
fn threads_have_their_names_and_order_in_every_core() {
    // Where threads wait, the library's own among them, depends on the moment.
    const COMMANDS: &str = "::threads ! grep -ow -e '[0-9]* worker .' -e '[0-9]* umem_update'; ::walk thread | ::findstack ! grep -o 'thread .* .worker ..'; $m named";
    let start = need!(Start::new("named")).env("UMEM_OPTIONS", "reap_interval=1");
    let victim = start.wait_ready();
    let live = Umdb::pid(victim.pid()).exec(COMMANDS).run();
    for number in 1..=3 {
        assert!(
            live.stdout.contains(&format!("[worker {number}]")),
            "{live}"
        );
    }
    assert!(live.stdout.contains(" umem_update\n"), "{live}");
    let saved = cores::saved(&victim);
    let expected = &live.expect_code(0).stdout;
    assert_eq!(&ask_for(saved.path(), COMMANDS), expected, "saved");
    // The library looks at the names once an interval.
    let noted = "::walk umem_cpu | ::print name";
    let patience = Instant::now();
    while !(1..=3).all(|number| {
        let answer = Umdb::pid(victim.pid()).exec(noted).run();
        answer.stdout.contains(&format!("worker {number}"))
    }) {
        assert!(patience.elapsed() < WATCHDOG, "the names are never noted");
        thread::sleep(Duration::from_millis(100));
    }
    let gcore = need!(cores::gcore(&victim));
    assert_eq!(&ask_for(gcore.path(), COMMANDS), expected, "gcore's");
    let core = need!(cores::kernel_core(victim, Signal::SIGABRT));
    assert_eq!(&ask_for(core.path(), COMMANDS), expected, "the kernel's");
}

fn ask_for(core: &Path, commands: &str) -> String {
    let answer = Umdb::core(core).exec(commands).run();
    answer.expect_code(0);
    answer.stdout
}

#[test]
fn compressed_cores_answer_like_the_core() {
    let core = need!(filtered("0x33"));
    let plain = ask(core.path());
    plain.expect_code(1);
    for packer in [&["lz4", "-q"][..], &["zstd", "-q", "-o"]] {
        let packed = need!(pack(core.path(), packer));
        let answer = ask(&packed);
        assert_eq!(answer.stdout, plain.stdout, "{}", packed.display());
        assert_eq!((answer.code(), &answer.stderr), (1, &plain.stderr));
    }
}

#[test]
fn a_compressed_core_needs_room_and_says_where() {
    let core = need!(filtered("0x33"));
    let packed = need!(pack(core.path(), &["lz4", "-q"]));
    let answer = Umdb::core(&packed)
        .env("TMPDIR", "/nowhere")
        .exec("::findleaks")
        .run();
    answer.expect_code(2);
    expect_complaint(&answer, &["unpack", "/nowhere"]);
}

/// Anonymous memory is enough: the rest is in the files, which are known by their dynamic sections where the core has
/// no headers.
#[test]
fn any_filter_with_anonymous_memory_will_do() {
    for filter in ["0x01", "0x11", "0x21", "0x33", "0x37", "0x7f"] {
        let core = need!(filtered(filter));
        let answer = Umdb::core(core.path()).exec("::findleaks -d").run();
        answer.expect_code(1);
        assert!(
            answer.stdout.contains("Total       1 buffer, 50 bytes"),
            "{filter}: {answer}"
        );
        assert!(
            answer.stdout.contains("test_leak_malloc"),
            "{filter}: {answer}"
        );
        assert_eq!(answer.stderr, "", "{filter}");
    }
}

#[test]
fn a_core_that_is_cut_off_says_how_much_is_missing() {
    let core = need!(filtered("0x33"));
    let mut image = Image::read(core.path());
    // The stack is the last that a program has: without it nothing is certain.
    let stack = image.stack();
    image.cut(stack.offset + 1);
    let cut = core.beside("cut");
    image.write(&cut);
    let answer = Umdb::core(&cut).exec("::findleaks").run();
    answer.expect_code(3);
    assert!(
        answer.stderr.contains("% of its memory is missing"),
        "{answer}"
    );
    expect_no_debris(&answer);
    // The library's data is in the other part: the copy in front of the heap is there.
    let (root, copy) = (image.root(), image.copy());
    image.cut(root);
    image.write(&cut);
    let answer = Umdb::core(&cut).exec("::umem_cache; ::findleaks").run();
    answer.expect_code(3);
    assert!(answer.stdout.contains("umem_alloc_64"), "{answer}");
    for words in ["no verdict", "a copy is used"] {
        assert!(answer.stderr.contains(words), "{answer}");
    }
    // Nothing of the heap is left.
    image.cut(copy);
    image.write(&cut);
    let answer = Umdb::core(&cut).exec("::findleaks").run();
    answer.expect_code(2);
    expect_complaint(&answer, &["cut off", "libumem.so"]);
}

/// With half of a heap there is half of an answer, and no verdict: of the kernel's cores and gcore's, with checks and without.
#[test]
fn a_core_answers_as_long_as_it_has_some_of_the_heap() {
    for debug in ["default", ""] {
        let start = need!(Start::new("clock"))
            .args(["48", "2"])
            .env("UMEM_DEBUG", debug);
        let victim = start.wait_ready();
        let gcore = need!(cores::gcore(&victim));
        let kernel = need!(cores::kernel_core(victim, Signal::SIGABRT));
        let stacks = match debug {
            "default" => "::umausers",
            _ => "::umem_cache",
        };
        for (core, has_notes) in [(&gcore, false), (&kernel, true)] {
            let image = Image::read(core.path());
            for percent in [1, 10, 30, 50, 70, 90, 99] {
                let mut part = image.clone();
                let end = image.len() / 100 * percent;
                part.cut(end);
                let cut = core.beside("cut");
                part.write(&cut);
                let answer = Umdb::core(&cut)
                    .exec("::umem_status; ::umastat; ::walk umem_alloc_64; ::findleaks")
                    .exec(stacks)
                    .run();
                let what = format!("{debug:?} {has_notes} {percent} %");
                expect_no_debris(&answer);
                if end <= image.copy() {
                    answer.expect_code(2);
                    expect_complaint(&answer, &["cut off"]);
                    continue;
                }
                assert_eq!(answer.code(), 3, "{what}: {answer}");
                let lost_heap = end < image.root() / 100 * 95;
                for words in ["no verdict", "% of its memory is missing"] {
                    assert!(answer.stderr.contains(words), "{what}: {answer}");
                }
                assert!(
                    !lost_heap || answer.stderr.contains("% of the heap is missing"),
                    "{what}: {answer}"
                );
                assert!(
                    answer.stdout.contains("ready and active"),
                    "{what}: {answer}"
                );
                assert!(answer.stdout.contains("umem_alloc_64"), "{what}: {answer}");
                // Stacks lie below the heap, and with them the names of files.
                if debug == "default" {
                    assert!(answer.stdout.contains("main+0x"), "{what}: {answer}");
                }
            }
        }
    }
}

/// gdb writes its notes last, threads and names of files among them.
#[test]
fn a_core_of_gcore_that_is_cut_off_gives_what_is_left() {
    let victim = need!(Victim::start("first_light", &[]));
    let core = need!(cores::gcore(&victim));
    let mut image = Image::read(core.path());
    let stack = image.stack();
    image.cut(stack.offset + 1);
    let cut = core.beside("cut");
    image.write(&cut);
    let answer = Umdb::core(&cut).exec("::umem_cache; ::findleaks").run();
    answer.expect_code(3);
    assert!(answer.stdout.contains("umem_alloc_64"), "{answer}");
    for words in ["no verdict", "has no threads"] {
        assert!(answer.stderr.contains(words), "{answer}");
    }
    expect_no_debris(&answer);
}

#[test]
fn a_compressed_core_that_is_cut_off_gives_what_is_left() {
    let core = need!(filtered("0x33"));
    for packer in [&["lz4", "-q", "-B4"][..], &["zstd", "-q", "-o"]] {
        let packed = need!(pack(core.path(), packer));
        let bytes = fs::read(&packed).expect("it is there");
        let mut statuses = Vec::new();
        for part in [1, 10, 50, 90, 99] {
            fs::write(&packed, &bytes[..bytes.len() * part / 100]).expect("it can be written");
            let answer = Umdb::core(&packed).exec("::findleaks").run();
            assert!((2..=3).contains(&answer.code()), "{part} %: {answer}");
            assert!(
                ["cut off", "missing", "no core"]
                    .iter()
                    .any(|word| answer.stderr.contains(word)),
                "{part} %: {answer}"
            );
            expect_no_debris(&answer);
            statuses.push(answer.code());
        }
        // All but the last blocks can be unpacked.
        assert_eq!(statuses.last(), Some(&3), "{packer:?}");
    }
}

/// A program and its library where nobody else has them.
struct Away {
    folder: tempfile::TempDir,
    start: Start,
}

impl Away {
    fn new() -> Outcome<Self> {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let program = umem_tests::victim::program("first_light")?;
        let copy = |from: &Path, name: &str| {
            let to = folder.path().join(name);
            fs::copy(from, &to).expect("a file can be copied");
            to
        };
        let program = copy(&program, "first_light");
        let library = copy(&artifacts().library, "libumem.so");
        let start = Start::program(program).env("LD_PRELOAD", library);
        Ok(Self { folder, start })
    }
}

#[test]
fn files_of_a_core_are_found_below_another_root() {
    let away = need!(Away::new());
    let core = need!(cores::kernel_core(away.start.wait_ready(), Signal::SIGABRT));
    let before = Umdb::core(core.path()).exec("::findleaks -d").run();
    before.expect_code(1);
    // The whole folder moves below a root.
    let root = tempfile::tempdir().expect("a temporary directory can be made");
    let inside = root.path().join(
        away.folder
            .path()
            .strip_prefix("/")
            .expect("it is absolute"),
    );
    fs::create_dir_all(&inside).expect("a folder can be made");
    for name in ["first_light", "libumem.so"] {
        fs::rename(away.folder.path().join(name), inside.join(name))
            .or_else(|_| fs::copy(away.folder.path().join(name), inside.join(name)).map(drop))
            .expect("a file can be moved");
        let _ = fs::remove_file(away.folder.path().join(name));
    }
    let answer = Umdb::new()
        .arg("--sysroot")
        .arg(root.path())
        .arg(core.path())
        .exec("::findleaks -d")
        .run();
    // libc is not below that root: its frames have no names, the others have.
    answer.expect_code(1);
    assert!(answer.stdout.contains("test_leak_malloc"), "{answer}");
    // Without the root: caches and leaks, and addresses as offsets in their modules.
    let answer = Umdb::core(core.path())
        .exec("::findleaks; ::umem_cache")
        .run();
    answer.expect_code(1);
    assert!(
        answer.stdout.contains("Total       1 buffer, 50 bytes"),
        "{answer}"
    );
    assert!(answer.stdout.contains("first_light+0x"), "{answer}");
    assert!(answer.stdout.contains("umem_alloc_64"), "{answer}");
    // Another program of that name gives no names either.
    let mut other =
        fs::File::create(away.folder.path().join("first_light")).expect("it can be made");
    let bytes = fs::read(&artifacts().umdb).expect("umdb can be read");
    other.write_all(&bytes).expect("it can be written");
    let answer = Umdb::core(core.path()).exec("::findleaks").run();
    answer.expect_code(1);
    assert!(answer.stdout.contains("first_light+0x"), "{answer}");
}

/// The program was replaced by another one, as an upgrade does, and runs on.
#[test]
fn a_process_whose_files_were_replaced_has_their_names_or_none() {
    let away = need!(Away::new());
    let victim = away.start.wait_ready();
    for name in ["first_light", "libumem.so"] {
        let path = away.folder.path().join(name);
        fs::remove_file(&path).expect("it can be removed");
        fs::copy(&artifacts().umdb, &path).expect("a file can be copied");
    }
    let answer = Umdb::pid(victim.pid()).exec("::findleaks").run();
    answer.expect_code(1);
    assert!(
        answer.stdout.contains("test_leak_malloc"),
        "the link to the program is good: {answer}"
    );
    expect_no_debris(&answer);
}

/// What is saved opens like a core, complete with what was missing.
#[test]
fn a_saved_snapshot_is_a_core() {
    let victim = need!(Victim::start("odd", &["apart"]));
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    for name in ["saved", "saved.zst"] {
        let file = folder.path().join(name);
        let answer = Umdb::new()
            .args(["snapshot", "-p", &victim.pid().to_string(), "-o"])
            .arg(&file)
            .run();
        answer.expect_code(0);
        let answer = Umdb::core(&file).exec("::findleaks").run();
        answer.expect_code(1);
        assert!(
            answer.stdout.contains("Total       1 buffer, 33 bytes"),
            "{answer}"
        );
        assert_eq!(answer.stderr, "", "{name}");
    }
    let answer = Umdb::new()
        .args([
            "snapshot",
            "-p",
            &victim.pid().to_string(),
            "-o",
            "/nowhere/file",
        ])
        .run();
    answer.expect_code(2);
    expect_complaint(&answer, &["/nowhere/file"]);
    let waiting = need!(Victim::start("odd", &["vfork"]));
    let file = folder.path().join("incomplete");
    let answer = Umdb::new()
        .args(["snapshot", "-p", &waiting.pid().to_string(), "-o"])
        .arg(&file)
        .run();
    answer.expect_code(3);
    let answer = Umdb::core(&file).exec("::findleaks").run();
    answer.expect_code(3);
    assert!(answer.stderr.contains("does not stop"), "{answer}");
}
