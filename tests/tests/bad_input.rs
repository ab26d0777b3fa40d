//! What cannot be looked at: one clear line, the right exit status, and an end.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::Path,
};

use nix::{
    sys::signal::Signal,
    unistd::{Pid, geteuid},
};
use umem_tests::{
    NotRun,
    artifacts::artifacts,
    command::{self, Answer},
    cores, need,
    umdb::{Umdb, expect_complaint},
    victim::{Start, Victim},
};

/// Could not do it.
const FAILED: i32 = 2;
/// Did part of it.
const INCOMPLETE: i32 = 3;

fn expect_failure(answer: &Answer, mentions: &[&str]) {
    answer.expect_code(FAILED);
    expect_complaint(answer, mentions);
    assert_eq!(answer.stdout, "", "{answer}");
}

#[test]
fn no_such_process() {
    // Above the largest number that the kernel gives out.
    let answer = Umdb::new()
        .args(["-p", "4194305", "-e", "::findleaks"])
        .run();
    expect_failure(&answer, &["4194305"]);
}

#[test]
fn a_process_identifier_that_is_no_number() {
    for wrong in ["first_light", "0", "-1", ""] {
        let answer = Umdb::new().args(["-p", wrong, "-e", "::findleaks"]).run();
        expect_failure(&answer, &[wrong]);
    }
}

/// root becomes another user; another user has the first process to be refused by.
#[test]
fn not_permitted() {
    let user = geteuid();
    if !user.is_root() {
        let owner = fs::metadata("/proc/1").map(|process| process.uid());
        if owner.is_ok_and(|owner| owner == user.as_raw()) {
            return NotRun::because("the first process is our own").report();
        }
        let answer = Umdb::pid(Pid::from_raw(1)).exec("::findleaks").run();
        return expect_failure(&answer, &["1", "ermi"]);
    }
    let victim = need!(Victim::start("first_light", &[]));
    // A copy where every user can reach it.
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let everyone = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.path(), everyone).expect("permissions can be set");
    let umdb = folder.path().join("umdb");
    fs::copy(&artifacts().umdb, &umdb).expect("umdb can be copied");
    let (mut command, _home) = Umdb::of(&umdb)
        .args(["-p", &victim.pid().to_string(), "-e", "::findleaks"])
        .into_command();
    let nobody = 65534;
    let answer = command::run(command.uid(nobody).gid(nobody).current_dir("/"));
    expect_failure(&answer, &[&victim.pid().to_string(), "ermi"]);
}

#[test]
fn a_process_without_the_library() {
    let victim = need!(Start::new("first_light"))
        .without_library()
        .wait_ready();
    let answer = Umdb::pid(victim.pid()).exec("::findleaks").run();
    expect_failure(&answer, &["libumem"]);
    assert_eq!(victim.status("TracerPid"), "0");
}

#[test]
fn a_core_without_the_library() {
    let victim = need!(Start::new("first_light"))
        .without_library()
        .wait_ready();
    let core = need!(cores::kernel_core(victim, Signal::SIGABRT));
    let answer = Umdb::core(core.path()).exec("::findleaks").run();
    expect_failure(&answer, &["libumem"]);
}

#[test]
fn files_that_are_no_cores() {
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("a file can be written");
        path
    };
    let mut header = fs::read(&artifacts().umdb).expect("umdb can be read");
    header.truncate(64);
    let files = [
        write(
            "text",
            b"I am a text, and not a short one: sixty-four bytes are what an ELF header has.\n",
        ),
        write("empty", b""),
        write("magic", b"\x7fELF"),
        write("header", &header),
        artifacts().umdb.clone(),
        folder.path().join("missing"),
        folder.path().to_owned(),
    ];
    for file in &files {
        let answer = Umdb::core(file).exec("::findleaks").run();
        expect_failure(&answer, &[&file.display().to_string()]);
    }
}

#[test]
fn unknown_commands_and_options() {
    let victim = need!(Victim::start("first_light", &[]));
    let ask = |command: &str| Umdb::pid(victim.pid()).exec(command).run();
    expect_failure(&ask("::findleak"), &["findleak", "findleaks"]);
    expect_failure(&ask("::no_such_thing"), &["no_such_thing"]);
    expect_failure(&ask("::findleaks -z"), &["findleaks", "-"]);
    expect_failure(&ask("::bufctl"), &["bufctl", "address"]);
    expect_failure(&ask("::findleaks ("), &["("]);
    expect_failure(&ask("nobody::whatis"), &["nobody"]);
}

#[test]
fn the_worst_of_several_commands_decides() {
    let victim = need!(Victim::start("first_light", &[]));
    let answer = Umdb::pid(victim.pid())
        .exec("::no_such_thing; ::umem_status")
        .exec("::findleaks")
        .run();
    answer.expect_code(FAILED);
    expect_complaint(&answer, &["no_such_thing"]);
    assert!(
        answer.stdout.contains("ready and active"),
        "the others are answered\n{answer}"
    );
    assert!(
        answer.stdout.contains("test_leak_malloc"),
        "the others are answered\n{answer}"
    );
}

#[test]
fn an_address_that_is_not_mapped() {
    let victim = need!(Victim::start("first_light", &[]));
    let core = |path: &Path| [Umdb::pid(victim.pid()), Umdb::core(path)];
    let dumped = need!(cores::gcore(&victim));
    for command in [
        "10::whatis",
        "10::bufctl",
        "10::bufctl -v",
        "ffffffffffffffff::whatis",
    ] {
        for umdb in core(dumped.path()) {
            let answer = umdb.exec(&format!("{command}; ::umem_status")).run();
            answer.expect_code(INCOMPLETE);
            let address = command.split("::").next().unwrap_or_default();
            expect_complaint(&answer, &[address]);
            assert!(
                answer.stdout.contains("ready and active"),
                "the rest is answered\n{answer}"
            );
        }
    }
}

#[test]
fn nothing_to_look_at_is_a_question_of_usage() {
    let answer = Umdb::new().run();
    expect_failure(&answer, &["--help"]);
}

/// Each says what was expected, and where.
#[test]
fn syntax_errors_have_their_place() {
    let victim = need!(Victim::start("first_light", &[]));
    let cases = [
        ("::", "expected the name of a command behind ::", 3),
        ("1 2", "expected an operator, a count or a verb", 3),
        ("(1", "expected )", 3),
        ("::echo |", "expected a command behind |", 9),
        ("::echo !", "expected a shell command behind !", 9),
        ("::echo $[1", "expected ]", 11),
        ("::echo \"a", "\" unmatched", 8),
        ("0t1f=K", "digit 'f' is invalid in current base 10", 4),
        ("1,=K", "expected an address or an expression", 3),
        ("*/x/1=K", "expected a size", 3),
        ("5>", "expected the name of a variable", 3),
        (":r", "expected ::name", 1),
        ("11111111111111111=K", "does not fit in 64 bits", 1),
    ];
    for (command, expected, column) in cases {
        let answer = Umdb::pid(victim.pid()).exec(command).run();
        let place = format!("(column {column})");
        expect_failure(&answer, &[expected, &place]);
    }
    let deep = format!("{}1=K", "(".repeat(100_000));
    let answer = Umdb::pid(victim.pid()).run_with(&deep);
    expect_failure(&answer, &["nested too deeply"]);
}

/// Every command that is given an option that it does not have says how it is typed.
#[test]
fn wrong_arguments_give_the_synopsis() {
    let victim = need!(Victim::start("first_light", &[]));
    let list = Umdb::pid(victim.pid()).json("::dcmds").0;
    let rows = list["sections"][0]["rows"].as_array().cloned();
    let usages: Vec<(String, String)> = rows
        .expect("rows")
        .iter()
        .map(|row| {
            let text = |key: &str| row[key].as_str().expect("a text").to_owned();
            (text("name"), text("usage"))
        })
        .collect();
    assert!(usages.len() > 30);
    let commands: String = usages
        .iter()
        .map(|(name, _)| format!("1::{name} -~\n"))
        .collect();
    let answer = Umdb::pid(victim.pid()).run_with(&commands);
    answer.expect_code(FAILED);
    assert_eq!(answer.stdout, "", "{answer}");
    for (name, usage) in usages {
        let hint = format!("Usage: {usage} (try '::help {name}' for more information)");
        assert!(answer.stderr.contains(&hint), "{hint}\n{answer}");
    }
}

/// Values of options, and names, that are typed as they should be and mean nothing: each is said with the next step and the synopsis.
#[test]
fn senseless_values_give_the_synopsis() {
    let victim = need!(Victim::start("first_light", &[]));
    let list = Umdb::pid(victim.pid()).json("::dcmds").0;
    let rows = list["sections"][0]["rows"].as_array().cloned();
    let rows = rows.expect("rows");
    let of = |name: &str| {
        let row = rows.iter().find(|row| row["name"] == name);
        let usage = row.and_then(|row| row["usage"].as_str());
        let usage = usage.unwrap_or_else(|| panic!("{name} has a synopsis"));
        format!("\n      Usage: {usage} (try '::help {name}' for more information)\n")
    };
    let numbers = "numbers are hexadecimal";
    let cases = [
        ("1::bufctl -a nope", "-a nope: ", numbers),
        ("1::bufctl -e nope", "-e nope: ", numbers),
        ("::umem_malloc_dist -b 0", "-b 0: ", "at least 1"),
        ("::umem_malloc_dist -B nope", "-B nope: ", numbers),
        ("::retained -n nope", "-n nope: ", numbers),
        ("1::vmem_seg -m nope", "-m nope: ", numbers),
        ("1::ugrep -d nope", "-d nope: ", numbers),
        ("1::print -s nope int", "-s nope: ", numbers),
        ("1::print nope", "no type of that name", "debug information"),
        ("::sizeof nope", "no type of that name", "debug information"),
        (
            "::offsetof nope x",
            "no type of that name",
            "debug information",
        ),
        ("::offsetof Cache nope", "offsetof: ", "::print"),
        ("umem_alloc_16::list Cache nope", "list: ", "::print"),
        ("::walk nope", "unknown walk name", "::walkers"),
        ("::help nope", "unknown command", "::dcmds"),
        ("::unset nope", "is not defined", "::vars"),
        ("::mappings nope", "no mapping is called nope", "::mappings"),
    ];
    for (command, what, next) in cases {
        let answer = Umdb::pid(victim.pid()).exec(command).run();
        expect_failure(&answer, &[what, next]);
        let name = command
            .split("::")
            .nth(1)
            .and_then(|text| text.split(' ').next());
        let synopsis = of(name.expect("a command"));
        assert!(answer.stderr.contains(&synopsis), "{synopsis}\n{answer}");
    }
}

#[test]
fn absurd_counts_end() {
    let victim = need!(Victim::start("first_light", &[]));
    let ask = |command: &str| Umdb::pid(victim.pid()).exec(command).run();
    for command in [
        "0,ffffffffffffffff::dump",
        "0::dump -l ffffffffffffffff",
        "0,ffffffffffffffff/K",
    ] {
        let answer = ask(command);
        answer.expect_code(INCOMPLETE);
        expect_complaint(&answer, &["failed to read data", "0x0"]);
    }
    // From the stack on to its end, which is not far.
    let answer = ask("<rsp,ffffffffffffffff::dump");
    answer.expect_code(INCOMPLETE);
    expect_complaint(&answer, &["failed to read data at 0x"]);
    assert!(
        answer.stdout.lines().count() > 10,
        "what can be read is shown"
    );
    expect_failure(
        &ask("0,ffffffffffffffff::status"),
        &["the count", "too large"],
    );
    expect_failure(&ask("1,ffffffffffffffff=K"), &["the count", "too large"]);
    let answer = ask("::walk umem_alloc_64 | ::head -0");
    answer.expect_code(0);
    assert_eq!(answer.stdout, "", "{answer}");
}

/// Whoever reads the first line alone gets it, and umdb ends.
#[test]
fn endless_output_into_a_closed_pipe_ends() {
    let victim = need!(Victim::start("first_light", &[]));
    for command in ["main,ffff00/B", "::walk umem,ffffff", "1,fffff=K"] {
        let line = format!(
            "{} -p {} -S -e '{command}; ::echo {{}}; {command}' | head -n 1",
            artifacts().umdb.display(),
            victim.pid()
        );
        let answer = command::run(std::process::Command::new("sh").args(["-c", &line]));
        assert!(answer.stdout.lines().count() <= 1, "{answer}");
        umem_tests::umdb::expect_no_debris(&answer);
    }
}

#[test]
fn commands_that_run_themselves_end() {
    let victim = need!(Victim::start("first_light", &[]));
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let file = folder.path().join("again");
    fs::write(&file, format!("::source {}\n", file.display())).expect("a file can be written");
    let command = format!("::source {}", file.display());
    let answer = Umdb::pid(victim.pid()).exec(&command).run();
    expect_failure(&answer, &["nested too deeply"]);
    let answer = Umdb::pid(victim.pid()).exec("::source /nonexistent").run();
    expect_failure(&answer, &["cannot read /nonexistent"]);
    let answer = Umdb::pid(victim.pid()).exec("::source /dev/zero").run();
    expect_failure(&answer, &["/dev/zero is larger"]);
}
