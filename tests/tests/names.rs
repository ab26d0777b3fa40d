//! Names of a program's functions, from wherever a distribution keeps them; and none from a wrong file.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use umem_tests::{
    Outcome, command, need, need_program,
    umdb::Umdb,
    victim::{Start, sources},
};

/// A program in a folder of its own, compiled as told.
struct Program {
    folder: tempfile::TempDir,
}

impl Program {
    fn new(flags: &[&str]) -> Outcome<Self> {
        Self::of("gcc", "first_light.c", flags)
    }

    fn of(compiler: &str, source: &str, flags: &[&str]) -> Outcome<Self> {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let program = Self { folder };
        let source = sources().join(source);
        let mut line = vec![compiler, "-g", "-O0", "-fno-builtin", "-w", "-o", "program"];
        line.extend(flags);
        line.push(source.to_str().expect("a path of ours"));
        program.run(&line)?;
        Ok(program)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a command in the folder; it must succeed.
    fn run(&self, line: &[&str]) -> Outcome<String> {
        let program = need_program(line[0])?;
        let answer = command::run(
            Command::new(program)
                .args(&line[1..])
                .current_dir(self.folder.path()),
        );
        assert_eq!(answer.code(), 0, "{line:?}: {answer}");
        Ok(answer.stdout)
    }

    /// What umdb says of its leak.
    fn leak(&self) -> String {
        let victim = Start::program(self.path("program")).wait_ready();
        let answer = Umdb::pid(victim.pid()).exec("::findleaks -d").run();
        answer.expect_code(1);
        assert_eq!(answer.stderr, "", "{answer}");
        answer.stdout
    }
}

fn expect_names(text: &str) {
    assert!(text.contains("test_leak_malloc+0x"), "{text}");
}

fn expect_lines(text: &str) {
    expect_names(text);
    assert!(text.contains("first_light.c:17"), "{text}");
}

fn expect_no_names(text: &str) {
    assert!(text.contains("program+0x"), "{text}");
    assert!(!text.contains("test_leak_malloc"), "{text}");
}

#[test]
fn dwarf_of_each_version_and_compressed() {
    let kinds: [&[&str]; 4] = [
        &["-gdwarf-5"],
        &["-gdwarf-4"],
        &["-gz=zlib"],
        &["-no-pie", "-Wl,--build-id=none"],
    ];
    for flags in kinds {
        let program = need!(Program::new(flags));
        expect_lines(&program.leak());
    }
}

/// Types that the compiler put in units of their own, by their signatures.
#[test]
fn types_in_units_of_their_own() {
    for version in ["-gdwarf-4", "-gdwarf-5"] {
        let flags = [version, "-fdebug-types-section"];
        let program = need!(Program::of("g++", "typed.cc", &flags));
        let victim = Start::program(program.path("program")).wait_ready();
        let answer = Umdb::pid(victim.pid())
            .exec("*head::print app::Session id kind inner.ratio")
            .exec("*head::print -t app::Session next")
            .exec("*app::diamond::print app::Both id both")
            .exec("::sizeof app::Session::Inner")
            .run();
        let next = answer.stdout.lines().nth(3).unwrap_or_default();
        assert!(
            next.starts_with("class Session * next = 0x"),
            "{version}: {answer}"
        );
        let shown = answer.stdout.replace(&format!("{next}\n"), "");
        let expected = "id = 7\nkind = 1 (second)\ninner.ratio = 2.5\nid = 11\nboth = 14\n\
                        sizeof (struct Inner) = 0x8\n";
        assert_eq!(shown, expected, "{version}: {answer}");
        answer.expect_code(0);
    }
}

#[test]
fn debug_files_beside_the_program_are_found_by_their_link() {
    // With a build-id that is compared, without one the checksum.
    for flag in ["-Wl,--build-id=sha1", "-Wl,--build-id=none"] {
        let program = need!(Program::new(&[flag]));
        need!(program.run(&["objcopy", "--only-keep-debug", "program", "program.debug"]));
        need!(program.run(&["strip", "program"]));
        need!(program.run(&["objcopy", "--add-gnu-debuglink=program.debug", "program"]));
        expect_lines(&program.leak());
        fs::create_dir(program.path(".debug")).expect("a folder can be made");
        fs::rename(
            program.path("program.debug"),
            program.path(".debug/program.debug"),
        )
        .expect("a file can be moved");
        expect_lines(&program.leak());
        // That of another build gives nothing.
        let other = need!(Program::new(&[flag, "-DOTHER", "-O1"]));
        fs::copy(other.path("program"), program.path(".debug/program.debug"))
            .expect("a file can be copied");
        expect_no_names(&program.leak());
    }
}

#[test]
fn symbols_that_a_stripped_program_keeps_compressed() {
    let program = need!(Program::new(&[]));
    need!(program.run(&[
        "objcopy",
        "--only-keep-debug",
        "--strip-debug",
        "program",
        "small"
    ]));
    need!(program.run(&["xz", "small"]));
    need!(program.run(&["strip", "program"]));
    expect_no_names(&program.leak());
    need!(program.run(&[
        "objcopy",
        "--add-section",
        ".gnu_debugdata=small.xz",
        "program"
    ]));
    expect_names(&program.leak());
    // Damage gives no names, and no crash.
    let mut bytes = fs::read(program.path("small.xz")).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0x55);
    fs::write(program.path("damaged"), bytes).expect("it can be written");
    need!(program.run(&[
        "objcopy",
        "--update-section",
        ".gnu_debugdata=damaged",
        "program"
    ]));
    expect_no_names(&program.leak());
}

/// A FIFO in the place of a debug file must not be waited for.
#[test]
fn a_debug_file_that_is_a_fifo_is_none() {
    let program = need!(Program::new(&[]));
    need!(program.run(&["objcopy", "--only-keep-debug", "program", "program.debug"]));
    need!(program.run(&["strip", "program"]));
    need!(program.run(&["objcopy", "--add-gnu-debuglink=program.debug", "program"]));
    let link: &Path = &program.path("program.debug");
    fs::remove_file(link).expect("it is there");
    nix::unistd::mkfifo(link, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO can be made");
    expect_no_names(&program.leak());
}
