//! The language of mdb as it is typed: pipes, loops, formats, variables, shell commands, settings, start-up file.
//!
//! What the program knows of itself (it prints its addresses) is what is expected of the answers.

use std::fs;

use umem_tests::{
    command::Answer,
    need,
    umdb::{Umdb, expect_complaint, expect_no_debris},
    victim::{Start, Victim},
};

fn ask(victim: &Victim, command: &str) -> Answer {
    let answer = Umdb::pid(victim.pid()).arg("-S").exec(command).run();
    expect_no_debris(&answer);
    answer
}

/// Lines of standard output, with nothing on standard error.
fn lines(victim: &Victim, command: &str) -> Vec<String> {
    let answer = ask(victim, command);
    assert_eq!(answer.stderr, "", "{command}\n{answer}");
    answer.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn expressions_have_their_values() {
    let victim = need!(Victim::start("first_light", &[]));
    let cases = [
        ("10=E", "16"),
        ("0t10=K", "a"),
        ("0o17=K", "f"),
        ("0i101=K", "5"),
        ("2+3*4=K", "e"),
        ("(2+3)*4=K", "14"),
        ("-1=e", "-1"),
        ("0t13#8=K", "10"),
        ("7%%2=K", "1"),
        ("1|6^2&3=K", "5"),
        ("5>x; <x+1=K", "6"),
        ("1ff>/c/x; <x=K", "ff"),
        ("0t10$d; 10=K", "a"),
        ("'a'=K", "61"),
        ("4=\"four \"K", "four 4"),
        ("main-main=K", "0"),
        ("(main==first_light`main)=K", "1"),
        ("<rip-<rip=K", "0"),
        ("1=K // 2=K", "1"),
    ];
    for (command, expected) in cases {
        let lines = lines(&victim, command);
        let last = lines.last().map(|line| line.trim());
        assert_eq!(last, Some(expected), "{command}");
    }
    let words = lines(&victim, "::echo \"a  b\" 'c;d' $[main-main]");
    assert_eq!(words, ["a  b c;d 0x0"]);
}

/// Memory read as words is what the dump shows as bytes, and what the word at main is read as.
#[test]
fn formats_show_what_dumps_show() {
    let victim = need!(Victim::start("first_light", &[]));
    let dump = lines(&victim, "main::dump -u -q -g 8 -e -l 8");
    let word = dump[1]
        .split_whitespace()
        .nth(1)
        .expect("a word")
        .to_owned();
    let formatted = lines(&victim, "main/K");
    assert_eq!(formatted[0], "main:");
    let shown = formatted[1].split_whitespace().nth(1).expect("a value");
    assert_eq!(word.trim_start_matches('0'), shown);
    assert_eq!(lines(&victim, "*main=K")[0].trim(), shown);
    let byte = lines(&victim, "*/c/main=K")[0].trim().to_owned();
    assert_eq!(
        u8::from_str_radix(&byte, 16).ok(),
        u8::from_str_radix(&word[14..], 16).ok()
    );
    // Instructions follow each other without gaps; the first one is at main.
    let instructions = lines(&victim, "main::dis -a");
    let direct = lines(&victim, "main/i");
    let first = instructions[0]
        .split_once(' ')
        .expect("two columns")
        .1
        .trim();
    assert!(direct[1].contains(first), "{direct:?} {first}");
    assert!(
        instructions
            .last()
            .is_some_and(|line| line.contains("ret") || line.contains("call"))
    );
    // A count of words moves on by their size.
    let four = lines(&victim, "main,4/J");
    let values: usize = four[1..]
        .iter()
        .map(|line| line.split_whitespace().count() - 1)
        .sum();
    assert_eq!(values, 4, "{four:?}");
}

#[test]
fn addresses_go_through_pipes() {
    let victim = need!(Victim::start("first_light", &[]));
    let buffers = lines(&victim, "::walk umem_alloc_64");
    assert!(!buffers.is_empty() && buffers.iter().all(|line| line.starts_with("0x")));
    let one = |command: &str| lines(&victim, command).join(" ");
    let count = buffers.len().to_string();
    assert_eq!(one("::walk umem_alloc_64 | ::count"), count);
    assert_eq!(one("::walk umem_alloc_64 | ::wc"), count);
    assert_eq!(one("umem_alloc_64::walk umem | ::wc"), count);
    assert_eq!(
        one("::walk umem_cache c | ::grep \"<c==umem_alloc_64\" | ::walk umem | ::wc"),
        count
    );
    assert_eq!(one("::walk umem_alloc_64 ! wc -l").trim(), count);
    assert_eq!(
        lines(&victim, "::walk umem_alloc_64 | ::head -1"),
        buffers[..1]
    );
    assert_eq!(
        lines(&victim, "::walk umem_alloc_64 | ::tail -1"),
        buffers[buffers.len() - 1..]
    );
    let mut sorted = buffers.clone();
    sorted.sort();
    sorted.reverse();
    assert_eq!(lines(&victim, "::walk umem_alloc_64 | ::sort -r"), sorted);
    assert_eq!(
        one("::walk umem_alloc_64 | ::head -1 | ::map \".+8\" | ::map \".-8\""),
        buffers[0]
    );
    assert_eq!(one("::walk umem_alloc_64 | ::grep 0 | ::count"), "0");
    assert_eq!(
        one("::walk umem_alloc_64 b | ::head -1 | ::eval \"<b | ::map .\""),
        buffers[0]
    );
    let answer = ask(&victim, "::walk nothing_such ! cat");
    assert_eq!(answer.stdout, "", "{answer}");
    expect_complaint(&answer, &["failed to perform walk: unknown walk name"]);
}

#[test]
fn a_shell_command_that_stops_reading_stops_the_command_alone() {
    let victim = need!(Victim::start("first_light", &[]));
    let answer = ask(
        &victim,
        "main,100000/B ! head -1; ::echo after; !echo alone",
    );
    assert_eq!(answer.stderr, "", "{answer}");
    let lines: Vec<&str> = answer.stdout.lines().collect();
    assert_eq!(lines.first(), Some(&"main:"), "{answer}");
    assert_eq!(lines[lines.len() - 2..], ["after", "alone"], "{answer}");
}

#[test]
fn the_start_up_file_is_read_unless_it_is_not_wanted() {
    let victim = need!(Victim::start("first_light", &[]));
    let pid = victim.pid().to_string();
    let run = |option: &str| {
        let (mut command, home) = Umdb::new()
            .args(["-p", &pid, option, "-e", "<mine=K"])
            .into_command();
        let text = "77>mine // kept\n::nothing_such\n78>mine\n";
        fs::write(home.path().join(".umdbrc"), text).expect("a file can be written");
        umem_tests::command::run(&mut command)
    };
    let answer = run("-opager");
    assert_eq!(answer.stdout.trim(), "78", "{answer}");
    assert!(
        answer
            .stderr
            .contains("unknown dcmd name on line 2 of ~/.umdbrc"),
        "{answer}"
    );
    let answer = run("-S");
    expect_complaint(&answer, &["variable 'mine' is not defined"]);
}

#[test]
fn settings_change_what_is_shown() {
    let victim = need!(Victim::start("first_light", &[]));
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text);
    let answer = ask(
        &victim,
        "::set -o json; ::walk umem_alloc_64; ::set +o json; ::echo end",
    );
    let lines: Vec<&str> = answer.stdout.lines().collect();
    let values: Vec<_> = lines.iter().filter_map(|line| json(line).ok()).collect();
    assert_eq!(lines.last(), Some(&"end"), "{answer}");
    let walk = values
        .iter()
        .find(|value| value["command"] == "::walk umem_alloc_64");
    let rows = &walk.expect("an answer in JSON")["sections"][0]["rows"];
    assert!(
        rows[0]["address"]
            .as_str()
            .is_some_and(|text| text.starts_with("0x"))
    );
    let answer = Umdb::pid(victim.pid())
        .args(["-o", "csv", "-e", "::umem_cache"])
        .run();
    let mut lines = answer.stdout.lines();
    let fields = lines.next().map(|line| line.split(',').count());
    assert!(fields.is_some_and(|fields| fields > 3), "{answer}");
    assert!(lines.clone().count() > 3, "{answer}");
    assert!(
        lines.all(|line| Some(line.split(',').count()) == fields),
        "{answer}"
    );
    let answer = Umdb::pid(victim.pid())
        .args(["-o", "nothing", "-e", "::echo"])
        .run();
    answer.expect_code(2);
    expect_complaint(&answer, &["invalid debugger option -- nothing"]);
}

#[test]
fn a_log_has_commands_and_answers() {
    let victim = need!(Victim::start("first_light", &[]));
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let path = folder.path().join("log");
    let command = format!(
        "::log {}; ::echo kept; ::log -d; ::echo gone",
        path.display()
    );
    ask(&victim, &command).expect_code(0);
    let log = fs::read_to_string(&path).expect("the log can be read");
    assert!(
        log.contains("> ::echo kept\nkept\n") && !log.contains("gone"),
        "{log}"
    );
}

/// What help shows as an example is run: all are understood, though the addresses of some are not of this process, and of
/// each page one gives what it is to give.
#[test]
fn examples_of_help_are_run() {
    let start = need!(Start::new("known"));
    let start = start.env("UMEM_LOGGING", "transaction,contents,fail,slab");
    let victim = start.wait_ready();
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let file = |name: &str| folder.path().join(name);
    fs::write(file("commands.txt"), "::status\n").expect("a file can be written");
    let pid = victim.pid().to_string();
    let before = file("before.umdb");
    let saved = Umdb::new()
        .args(["snapshot", "-p", &pid, "-o"])
        .arg(&before)
        .run();
    saved.expect_code(0);
    let names = lines(&victim, "::dcmds");
    assert!(names.len() > 50);
    for name in names[1..]
        .iter()
        .filter_map(|line| line.split_whitespace().next())
    {
        let page = lines(&victim, &format!("::help {name}"));
        let examples = page.iter().filter_map(|line| line.strip_prefix("      > "));
        let answers: Vec<Answer> = examples
            .map(|example| {
                let (mut command, _home) = Umdb::pid(victim.pid())
                    .arg("-S")
                    .exec(example)
                    .into_command();
                let answer = umem_tests::command::run(command.current_dir(folder.path()));
                expect_no_debris(&answer);
                // Examples name types and functions that this program has not.
                let is_elsewhere = ["unknown symbol name", "no type of that name"]
                    .iter()
                    .any(|what| answer.stderr.contains(what));
                let synopsis = if is_elsewhere { "\0" } else { "Usage:" };
                for mistake in [synopsis, "expected", "unknown dcmd", "(column"] {
                    assert!(!answer.stderr.contains(mistake), "{example}\n{answer}");
                }
                answer
            })
            .collect();
        let is_good = |answer: &Answer| answer.code() <= 1 && answer.stderr.is_empty();
        assert!(
            answers.iter().any(is_good),
            "::help {name} has no example that runs\n{answers:?}"
        );
    }
}

/// What the process knows of itself.
#[test]
fn the_process_is_described() {
    let victim = need!(Victim::start("first_light", &[]));
    let status = lines(&victim, "::status").join("\n");
    assert!(
        status.contains(&format!("PID {}", victim.pid())),
        "{status}"
    );
    assert_eq!(
        lines(&victim, "::getenv UMEM_DEBUG"),
        ["UMEM_DEBUG=default"]
    );
    assert!(
        lines(&victim, "$c")
            .iter()
            .any(|line| line.starts_with("main+"))
    );
    let threads = lines(&victim, "::walk thread");
    assert_eq!(threads, [format!("{:#x}", victim.pid().as_raw())]);
    let pid = victim.pid();
    assert_eq!(
        lines(&victim, "$L"),
        [format!("lwpid {pid} is the only lwp in process {pid}.")]
    );
    assert_eq!(lines(&victim, "$l"), [pid.to_string()]);
    assert_eq!(lines(&victim, "$l | =D")[0].trim(), pid.to_string());
    let stack = lines(&victim, "::walk thread | ::findstack");
    assert!(stack[0].contains(&victim.pid().to_string()), "{stack:?}");
    assert!(
        stack
            .iter()
            .any(|line| line.trim_start().starts_with("main+")),
        "{stack:?}"
    );
    let rip = lines(&victim, "<rip=K")[0].trim().to_owned();
    assert!(
        lines(&victim, "$r")
            .iter()
            .any(|line| line.starts_with("rip") && line.contains(&rip))
    );
    assert!(
        lines(&victim, "::objects")
            .iter()
            .any(|line| line.ends_with("/first_light"))
    );
    assert_eq!(lines(&victim, "<rsp::mappings").len(), 2);
    let main = lines(&victim, "main=K")[0].trim().to_owned();
    let symbols = lines(&victim, "::nm");
    assert!(
        symbols
            .iter()
            .any(|line| line.ends_with(" main") && line.contains(&main)),
        "{symbols:?}"
    );
}
