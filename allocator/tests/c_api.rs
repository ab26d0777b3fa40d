//! The C API as C programs see it: the header, and `libumem.so` behind it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};
use umem_tests::{Outcome, artifacts::artifacts, need, need_program};

/// Debugging as the environment asks for it; the last is production.
const DEBUG: [&str; 4] = ["default", "guards", "audit", ""];
/// Options that change the way of an allocation: `UMEM_DEBUG`, `UMEM_OPTIONS`.
const WAYS: [(&str, &str); 2] = [("contents", ""), ("", "nomagazines")];

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The program, linked as its user would do it.
struct Program {
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Program {
    fn build() -> Outcome<Self> {
        let gcc = need_program("gcc")?;
        let output = tempfile::tempdir().expect("a folder for the program");
        let file = output.path().join("umem_api");
        let library = artifacts().library.parent().expect("a file has a folder");
        let compiled = Command::new(gcc)
            .args([
                "-std=gnu11",
                "-g",
                "-O1",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-pthread",
            ])
            .arg(folder().join("tests/c/umem_api.c"))
            .arg("-I")
            .arg(folder().join("include"))
            .arg("-L")
            .arg(library)
            .args(["-lumem", "-o"])
            .arg(&file)
            .arg(format!("-Wl,-rpath,{}", library.display()))
            .output()
            .expect("gcc starts");
        assert!(
            compiled.status.success(),
            "{}",
            String::from_utf8_lossy(&compiled.stderr)
        );
        Ok(Self {
            file,
            _folder: output,
        })
    }

    fn run(&self, debug: &str, options: &str, arguments: &[&str]) -> Output {
        Command::new(&self.file)
            .args(arguments)
            .env("UMEM_OPTIONS", options)
            .env_remove("UMEM_LOGGING")
            .env("UMEM_DEBUG", debug)
            .output()
            .expect("the program starts")
    }
}

fn text(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn every_call_does_what_the_manual_says() {
    let program = need!(Program::build());
    for (debug, options) in DEBUG.map(|debug| (debug, "")).into_iter().chain(WAYS) {
        let output = program.run(debug, options, &[]);
        let is_ok = output.status.success() && output.stdout == b"ok\n" && output.stderr.is_empty();
        assert!(
            is_ok,
            "UMEM_DEBUG={debug} UMEM_OPTIONS={options}: {}",
            text(&output)
        );
    }
}

/// Misuse, what is said about it, and whether that needs debugging.
const MISUSES: [(&str, &str, bool); 15] = [
    ("size", "free size (200) != alloc size (1", false),
    ("size_near", "free size (101) != alloc size (100)", true),
    (
        "size_large",
        "free size (700001) != alloc size (700000)",
        false,
    ),
    (
        "wrong_cache",
        "buffer was allocated from cache_one,\ncaller attempting free to cache_two.",
        false,
    ),
    ("twice", "duplicate free: buffer freed twice", false),
    ("inside", "address is inside of a buffer", false),
    (
        "by_free",
        "umem allocator: buffer freed to wrong cache",
        false,
    ),
    (
        "by_size",
        "umem allocator: buffer freed to wrong cache",
        false,
    ),
    ("no_buffer", "umem_cache_free(0x", false),
    ("after_end", "buffer modified after being freed", true),
    (
        "range_unknown",
        "vmem_hash_delete(victim, 0x1001, 10): bad free",
        false,
    ),
    (
        "range_size",
        "vmem_hash_delete(victim, 0x1000, 11): wrong size (expect 10)",
        false,
    ),
    ("range_zero", "vmem_xalloc(): size == 0", false),
    (
        "range_much",
        "vmem_xalloc(victim, 10000): cannot satisfy mandatory allocation",
        false,
    ),
    (
        "span_overlaps",
        "vmem_add(victim, 0x11f4, 1000): overlaps",
        false,
    ),
];

#[test]
fn misuse_ends_with_a_message() {
    let program = need!(Program::build());
    for (misuse, message, needs_debugging) in MISUSES {
        for debug in DEBUG {
            if needs_debugging && debug.is_empty() {
                continue;
            }
            let output = program.run(debug, "", &[misuse]);
            let said = text(&output);
            let aborted = said.contains("SIGABRT");
            assert!(
                aborted && said.contains(message),
                "{misuse}, UMEM_DEBUG={debug}: {said}"
            );
        }
    }
}

#[test]
fn the_header_is_good_for_every_language_standard() {
    let c = ("gcc", "c", ["c89", "c99", "c17"].as_slice());
    let cxx = ("g++", "c++", ["c++98", "c++11", "c++20"].as_slice());
    for (compiler, language, standards) in [c, cxx] {
        let compiler = need!(need_program(compiler));
        for standard in standards {
            let checked = Command::new(&compiler)
                .args([
                    "-fsyntax-only",
                    "-Wall",
                    "-Wextra",
                    "-pedantic-errors",
                    "-Werror",
                    "-x",
                    language,
                ])
                .arg(format!("-std={standard}"))
                .arg(folder().join("include/umem.h"))
                .output()
                .expect("the compiler starts");
            let errors = String::from_utf8_lossy(&checked.stderr);
            assert!(checked.status.success(), "{standard}: {errors}");
        }
    }
}
