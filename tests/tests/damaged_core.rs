//! Cores that are cut, damaged, or of another layout. What can still be answered is answered.

use std::mem::offset_of;

use nix::sys::signal::Signal;
use umem_layout::{Cache, CopyHeader, LAYOUT_MAJOR, LAYOUT_MINOR, UmemRoot};
use umem_tests::{
    Outcome,
    command::Answer,
    cores::{self, Core},
    image::Image,
    need,
    umdb::{Umdb, expect_complaint, expect_no_debris},
    victim::Victim,
};

const FAILED: i32 = 2;
const INCOMPLETE: i32 = 3;
/// Every command that reads the heap.
const ALL: [&str; 5] = [
    "::findleaks -d",
    "::umem_verify",
    "::umalog",
    "::umem_cache",
    "::umem_status",
];

/// A core of the first victim, and a place to write changed copies.
struct Drill {
    core: Core,
    image: Image,
}

impl Drill {
    fn new() -> Outcome<Self> {
        let core = cores::kernel_core(Victim::start("first_light", &[])?, Signal::SIGABRT)?;
        let image = Image::read(core.path());
        Ok(Self { core, image })
    }

    /// What umdb says about a changed copy.
    fn ask(&self, change: impl FnOnce(&mut Image), command: &str) -> Answer {
        let mut image = self.image.clone();
        change(&mut image);
        let path = self.core.beside("damaged");
        image.write(&path);
        let answer = Umdb::core(&path).exec(command).run();
        expect_no_debris(&answer);
        answer
    }

    /// Offset in the file of the list's link from the cache at this place of it.
    fn link(&self, index: usize) -> usize {
        self.image.offset(self.image.caches()[index]) + offset_of!(Cache, next)
    }
}

#[test]
fn an_untouched_copy_gives_the_whole_answer() {
    let drill = need!(Drill::new());
    let answer = drill.ask(|_| (), "::findleaks");
    answer.expect_code(1);
    assert_eq!(answer.stderr, "", "{answer}");
}

#[test]
fn cut_before_the_root_record() {
    let drill = need!(Drill::new());
    let root = drill.image.root();
    let first = drill.image.segments()[0].offset;
    let copy = drill.image.copy();
    // Within the headers, at the first byte of memory, and where the heap begins with its copy of the record.
    for end in [100, first, copy, copy + 8] {
        let answer = drill.ask(|image| _ = image.cut(end), "::findleaks");
        answer.expect_code(FAILED);
        expect_complaint(&answer, &["damaged"]);
        assert_eq!(answer.stdout, "", "{answer}");
    }
    // Just before the record itself, and within it.
    for end in [root - 8, root + 8] {
        let answer = drill.ask(|image| _ = image.cut(end), "::findleaks");
        answer.expect_code(INCOMPLETE);
        assert!(answer.stderr.contains("a copy is used"), "{answer}");
    }
}

/// A copy that was being written when the process ended is not believed, nor is one that lies elsewhere.
#[test]
fn a_copy_of_the_record_that_is_not_whole_is_not_used() {
    let drill = need!(Drill::new());
    let (root, copy) = (drill.image.root(), drill.image.copy());
    for (field, value) in [
        (offset_of!(CopyHeader, sequence), 7),
        (offset_of!(CopyHeader, address), 0x10000),
        (offset_of!(CopyHeader, bytes), u64::MAX),
        (offset_of!(CopyHeader, version), 1 << 40),
    ] {
        let change = |image: &mut Image| {
            image.patch(copy + field, &value.to_le_bytes());
            image.cut(root);
        };
        let answer = drill.ask(change, "::findleaks");
        answer.expect_code(FAILED);
        expect_complaint(&answer, &["damaged"]);
    }
    // Pieces of any size, at any address.
    for (at, value) in [(0, 0_u64), (8, 1 << 50), (8, 0), (0, u64::MAX - 7)] {
        let change = |image: &mut Image| {
            image.patch(copy + CopyHeader::BYTES + at, &value.to_le_bytes());
            image.cut(root);
        };
        let answer = drill.ask(change, "::findleaks");
        assert!(matches!(answer.code(), FAILED | INCOMPLETE), "{answer}");
    }
}

#[test]
fn cut_behind_the_root_record() {
    let drill = need!(Drill::new());
    let stack = drill.image.stack().offset;
    assert!(drill.image.root() < stack, "the stack comes last");
    for command in ALL {
        let answer = drill.ask(|image| _ = image.cut(stack), command);
        match command {
            // A verdict on leaks needs the stack; the others do not, but the core is cut all the same.
            "::findleaks -d" => {
                answer.expect_code(INCOMPLETE);
                expect_complaint(&answer, &[]);
            }
            _ => assert!(matches!(answer.code(), 0 | 1 | INCOMPLETE), "{answer}"),
        }
        assert_ne!(answer.stdout, "", "the rest is answered\n{answer}");
    }
    let answer = drill.ask(|image| _ = image.cut(stack), "::umem_cache");
    assert!(
        answer.stdout.contains("umem_alloc_16384"),
        "the rest is answered\n{answer}"
    );
}

/// Wherever the file ends, there is an answer or a reason.
#[test]
fn cut_anywhere() {
    let drill = need!(Drill::new());
    let root = drill.image.root() + size_of::<UmemRoot>();
    let rest = drill.image.len() - root;
    let whole = drill.ask(|_| (), "::findleaks");
    for step in 0..16 {
        let answer = drill.ask(
            |image| _ = image.cut(root + rest / 16 * step),
            "::findleaks; ::umem_verify",
        );
        assert!(
            matches!(answer.code(), FAILED | INCOMPLETE),
            "step {step}\n{answer}"
        );
        assert!(answer.stderr.starts_with("umdb: "), "step {step}\n{answer}");
        assert_ne!(
            answer.stdout, whole.stdout,
            "step {step}: a whole answer\n{answer}"
        );
    }
}

#[test]
fn another_major_version() {
    let drill = need!(Drill::new());
    let field = drill.image.root() + offset_of!(UmemRoot, major);
    let other = LAYOUT_MAJOR + 41;
    for command in ALL {
        let answer = drill.ask(
            |image| _ = image.patch(field, &other.to_le_bytes()),
            command,
        );
        answer.expect_code(FAILED);
        let versions = [
            format!("{other}.{LAYOUT_MINOR}"),
            format!("{LAYOUT_MAJOR}.{LAYOUT_MINOR}"),
        ];
        expect_complaint(&answer, &[&versions[0], &versions[1]]);
        assert_eq!(answer.stdout, "", "{answer}");
    }
}

#[test]
fn a_newer_minor_version_is_read() {
    let drill = need!(Drill::new());
    let field = drill.image.root() + offset_of!(UmemRoot, minor);
    let answer = drill.ask(
        |image| _ = image.patch(field, &(LAYOUT_MINOR + 1).to_le_bytes()),
        "::findleaks",
    );
    answer.expect_code(1);
    assert!(answer.stdout.contains("test_leak_malloc"), "{answer}");
}

/// A feature that this umdb does not know may change what every structure means.
#[test]
fn an_unknown_required_feature_allows_no_verdict() {
    let drill = need!(Drill::new());
    let field = drill.image.root() + offset_of!(UmemRoot, features_required);
    let bits = drill.image.word(field) | 1 << 62;
    let answer = drill.ask(
        |image| _ = image.patch(field, &bits.to_le_bytes()),
        "::findleaks",
    );
    answer.expect_code(FAILED);
    expect_complaint(&answer, &[]);
    assert!(
        answer.stderr.contains("62") || answer.stderr.contains("0x4000000000000000"),
        "{answer}"
    );
    assert_eq!(answer.stdout, "", "{answer}");
}

#[test]
fn a_cycle_in_the_list_of_caches() {
    let drill = need!(Drill::new());
    let caches = drill.image.caches();
    let (link, first) = (drill.link(5), caches[0].to_le_bytes());
    check_list(&drill, 5, |image| _ = image.patch(link, &first));
    let own = caches[5].to_le_bytes();
    check_list(&drill, 5, |image| _ = image.patch(link, &own));
}

#[test]
fn wild_pointers_in_the_list_of_caches() {
    let drill = need!(Drill::new());
    let link = drill.link(5);
    let caches = drill.image.caches();
    for wild in [
        0x10,
        0x4141_4141_4141_4141,
        u64::MAX,
        u64::MAX - 7,
        1 << 47,
        caches[5] + 3,
    ] {
        check_list(&drill, 5, |image| {
            _ = image.patch(link, &wild.to_le_bytes())
        });
    }
}

/// The caches up to this place of the list are shown, and the damage is named.
fn check_list(drill: &Drill, last: usize, damage: impl Fn(&mut Image)) {
    let answer = drill.ask(&damage, "::umem_cache");
    answer.expect_code(INCOMPLETE);
    expect_complaint(&answer, &["cache"]);
    for &cache in &drill.image.caches()[..=last] {
        let name = drill.image.cache_name(cache);
        let shown = answer
            .stdout
            .split_whitespace()
            .filter(|&word| word == name)
            .count();
        assert_eq!(shown, 1, "{name}\n{answer}");
    }
    let leaks = drill.ask(&damage, "::findleaks");
    leaks.expect_code(INCOMPLETE);
    assert!(
        !leaks.stdout.contains("no memory leaks"),
        "no verdict on half a heap\n{leaks}"
    );
}

/// Every word of the root record and of a cache, in turn, gets values that lead nowhere. The order of the answer is
/// of no interest: it has to come, without a panic.
#[test]
fn wild_values_in_every_word_of_the_root_and_of_a_cache() {
    let drill = need!(Drill::new());
    let cache = drill.image.offset(drill.image.caches()[3]);
    let words = |start: usize, size: usize| (start..start + size).step_by(8);
    let all =
        words(drill.image.root(), size_of::<UmemRoot>()).chain(words(cache, size_of::<Cache>()));
    for (index, offset) in all.enumerate() {
        let wild: u64 = [u64::MAX, 1 << 46, 0x10][index % 3];
        let change = |image: &mut Image| _ = image.patch(offset, &wild.to_le_bytes());
        let answer = drill.ask(
            change,
            "::findleaks; ::umem_verify; ::umalog; ::umem_cache; ::umem_status",
        );
        assert!(answer.code() <= INCOMPLETE, "word at {offset:#x}\n{answer}");
    }
}
