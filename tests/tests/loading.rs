//! Ways in which the library comes into a process, beside LD_PRELOAD: opened, linked, in a set-user-ID program; and what else may be there.

use std::{
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::Command,
};

use umem_tests::{
    NotRun, Outcome,
    artifacts::artifacts,
    command::{self, Answer, WATCHDOG},
    need, need_program,
    victim::{Start, scrub, sources},
};

fn expect_ok(answer: &Answer) {
    assert_eq!(
        (answer.code(), &*answer.stdout, &*answer.stderr),
        (0, "ok\n", ""),
        "{answer}"
    );
}

/// Once its code was unmapped under the threads that had used it.
#[test]
fn a_library_that_is_closed_stays_for_those_who_use_it() {
    let start = need!(Start::new("closes"))
        .without_library()
        .arg(&artifacts().library);
    expect_ok(&start.run());
    expect_ok(&start.clone().env("UMEM_DEBUG", "default").run());
}

fn compile(compiler: &str, source: &str, output: &Path, args: &[&str]) -> Outcome<()> {
    let mut command = Command::new(need_program(compiler)?);
    command
        .args(["-g", "-O1", "-fno-builtin", "-o"])
        .arg(output)
        .arg(sources().join(source))
        .args(args);
    command::run_with(&mut command, "", WATCHDOG).expect_code(0);
    Ok(())
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// rust-lld and libLLVM are such a pair.
#[test]
fn operators_inside_of_a_library_are_no_mistake() {
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let (library, program) = (
        folder.path().join("libmade.so"),
        folder.path().join("program"),
    );
    // --exclude-libs: its operators are its own alone, so that nothing can be seen of them from outside.
    need!(compile(
        "g++",
        "private_operators.cc",
        &library,
        &[
            "-DLIBRARY",
            "-shared",
            "-fPIC",
            "-static-libstdc++",
            "-static-libgcc",
            "-Wl,--exclude-libs,ALL",
        ]
    ));
    let rpath = format!("-Wl,-rpath,{}", folder.path().display());
    need!(compile(
        "g++",
        "private_operators.cc",
        &program,
        &[text(&library), &rpath]
    ));
    for debug in ["", "guards", "default"] {
        let start = Start::program(program.clone()).env("UMEM_DEBUG", debug);
        expect_ok(&start.run());
    }
}

#[test]
fn a_set_user_id_program_does_not_listen_to_the_environment() {
    const NOBODY: u32 = 65534;
    if !nix::unistd::geteuid().is_root() {
        need!(Err::<(), _>(NotRun::because(
            "only root can make a program that is set-user-ID root"
        )));
    }
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let (library, program) = (
        folder.path().join("libumem.so"),
        folder.path().join("secure"),
    );
    fs::copy(&artifacts().library, &library).expect("the library can be copied");
    let rpath = format!("-Wl,-rpath,{}", folder.path().display());
    need!(compile(
        "gcc",
        "secure.c",
        &program,
        &[text(&library), &rpath]
    ));
    let run = |mode: u32| {
        for (path, mode) in [(folder.path(), 0o755), (&library, 0o755), (&program, mode)] {
            fs::set_permissions(path, Permissions::from_mode(mode))
                .expect("permissions can be set");
        }
        let mut command = Command::new(&program);
        scrub(&mut command)
            .env("UMEM_DEBUG", "default")
            .env("UMEM_OPTIONS", "size_clear")
            .uid(NOBODY);
        command::run_with(&mut command, "", WATCHDOG)
    };
    let raised = run(0o4755);
    if raised.stdout.contains("secure=0") {
        need!(Err::<(), _>(NotRun::because(
            "the folder for temporary files is mounted without set-user-ID"
        )));
    }
    assert_eq!(raised.stdout, "secure=1 exact=0\n", "{raised}");
}
