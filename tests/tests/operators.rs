//! operator new and delete in all forms, with and without forms of the program's own.

use std::{fs, process::Command, time::Duration};

use umem_tests::{
    Outcome,
    artifacts::{artifacts, lock, work_dir},
    command, need, need_program,
    victim::{Start, program_of, scrub, sources},
};

const LIMIT: Duration = Duration::from_secs(60);

fn check(defines: &[&str], name: &str) -> Outcome<()> {
    let compiler = need_program("g++")?;
    let folder = work_dir().join("victims");
    fs::create_dir_all(&folder).expect("a folder can be made");
    let program = folder.join(name);
    let _lock = lock(name);
    let mut compile = Command::new(compiler);
    compile
        .args([
            "-g",
            "-O1",
            "-fno-builtin",
            "-std=c++17",
            "-Wno-sized-deallocation",
        ])
        .args(defines)
        .arg("-o")
        .args([&program, &sources().join("operators.cc")]);
    command::run_with(&mut compile, "", LIMIT).expect_code(0);
    for debug in ["", "default"] {
        let mut run = Command::new(&program);
        scrub(&mut run)
            .env("LD_PRELOAD", &artifacts().library)
            .env("UMEM_DEBUG", debug);
        let answer = command::run_with(&mut run, "", LIMIT);
        assert_eq!(
            (answer.code(), &*answer.stdout, &*answer.stderr),
            (0, "ok\n", ""),
            "{name} {debug:?}\n{answer}"
        );
    }
    Ok(())
}

#[test]
fn all_forms_allocate_throw_and_call_the_new_handler() {
    need!(check(&[], "operators"));
}

#[test]
fn derived_forms_call_the_basic_ones_of_the_program() {
    need!(check(&["-DREPLACED"], "operators_replaced"));
}

/// The size that `operator delete` is told is that which `operator new` was asked for, unless the object is deleted as another one.
#[test]
fn objects_are_deleted_with_the_size_that_they_have() {
    for debug in ["", "default", "guards", "sample=1", "firewall=1"] {
        let right = Start::program(need!(program_of("deletes.cc"))).env("UMEM_DEBUG", debug);
        let answer = right.run();
        assert_eq!((answer.code(), &*answer.stderr), (0, ""), "{answer}");
    }
    for (kind, debug, told) in [
        ("base", "default", "free size (8) != alloc size (48)"),
        ("base", "guards", "free size (8) != alloc size (48)"),
        ("base", "sample=1", "free size (8) != alloc size (48)"),
        ("base", "firewall=1", "free size (8) != alloc size (48)"),
        ("other", "default", "free size (200) != alloc size (384)"),
    ] {
        let wrong = Start::program(need!(program_of("deletes.cc"))).args([kind]);
        let answer = wrong.env("UMEM_DEBUG", debug).run();
        assert_eq!(answer.code(), 134, "{debug} {answer}");
        let headline = "bad free: freed with another size than it was allocated with";
        assert_eq!(
            answer.stderr.lines().take(2).collect::<Vec<_>>(),
            [&format!("umem allocator: {headline}"), told],
            "{debug} {answer}"
        );
    }
}
