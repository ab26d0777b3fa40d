use super::*;
use crate::{analysis::Cancel, heap::synthetic::victim, render::TextWriter, symbols::Symbols};

/// Commands with their status, first warning and text.
#[derive(Default)]
struct Kept(Vec<(String, Report)>);

impl Sink for Kept {
    fn begin(&mut self, command: &str, _: Option<&str>) {
        self.0.push((command.to_owned(), Report::default()));
    }

    fn part(&mut self, report: Report) -> bool {
        if let Some((_, kept)) = self.0.last_mut() {
            kept.append(report);
        }
        true
    }

    fn end(&mut self) -> Status {
        Status::Clean
    }

    fn enter(&mut self, command: &str, shell: &str) {
        self.begin(&format!("{command} -> {shell}"), None);
    }

    fn leave(&mut self) -> Status {
        self.begin("around", None);
        Status::Clean
    }
}

impl Kept {
    fn warnings(&self) -> Vec<&str> {
        let warnings = self.0.iter().flat_map(|(_, report)| &report.warnings);
        warnings.map(|warning| warning.what.as_str()).collect()
    }

    fn text(&self) -> String {
        let reports = self.0.iter().map(|(_, report)| report);
        reports
            .map(|report| TextWriter::default().write(report))
            .collect()
    }
}

fn run_in(line: &str, is_interactive: bool) -> (Kept, Status, Outcome) {
    let (mut builder, _) = victim();
    builder.publish();
    let (target, heap, cancel) = (builder.target(), builder.heap(), Cancel::new());
    let symbols = Symbols::new(&target);
    let subject = Subject::new(&target, &symbols, &heap, &cancel);
    let mut session = Session::new(subject, Rc::default());
    if is_interactive {
        session = session.interactive();
    }
    let mut kept = Kept::default();
    let mut outcome = Outcome::Continue;
    for line in line.split('\n') {
        if outcome == Outcome::Continue {
            outcome = session.run_line(line, &mut kept);
        }
    }
    (kept, session.status(), outcome)
}

fn run(line: &str) -> (Kept, Status, Outcome) {
    run_in(line, false)
}

#[test]
fn the_worst_status_of_a_line_counts() {
    let (kept, status, _) = run("::umem_cache; ::findleaks; ::umem_status");
    assert_eq!(kept.0.len(), 3);
    assert_eq!(status, Status::Found);
    assert_eq!(run("::findleaks; 8::whatis").1, Status::Incomplete);
    assert_eq!(run("8::whatis; ::nothing; ::findleaks").1, Status::Failed);
}

#[test]
fn errors_leave_the_other_commands() {
    let (kept, _, _) = run("::nothing; ::findleaks -z; 12g; ::umem_cache");
    assert_eq!(
        kept.warnings(),
        [
            "invalid command '::nothing': unknown dcmd name",
            "findleaks: illegal option -- z",
            "digit 'g' is invalid in current base 16 near \"g; ::umem_cache\" (column 30)",
        ]
    );
    assert_eq!(kept.0.len(), 4);
    // What a person typed behind a mistake is dropped.
    assert_eq!(run_in("12g; ::umem_cache", true).0.0.len(), 1);
}

#[test]
fn names_of_caches_are_addresses_and_dot_is_kept() {
    let (kept, status, _) = run("umem_alloc_64::umem_cache; ::whatis; nowhere::whatis");
    assert_eq!(kept.0[0].1.status, Status::Clean);
    assert_eq!(kept.0[1].1.status, Status::Clean);
    let expected = "failed to dereference symbol nowhere: unknown symbol name";
    assert_eq!(kept.warnings(), [expected]);
    assert_eq!(status, Status::Failed);
}

#[test]
fn quit_ends_the_line() {
    let (kept, _, outcome) = run("::umem_cache; $q; ::findleaks");
    assert_eq!((kept.0.len(), outcome), (2, Outcome::Quit));
    assert_eq!(kept.0[1].1, Report::default());
    assert_eq!(run("::quit").2, Outcome::Quit);
}

#[test]
fn addresses_stream_through_pipes() {
    let (all, _, _) = run("::walk umem_cache");
    assert!(all.text().lines().all(|line| line.starts_with("0x")));
    let (kept, status, _) = run("::walk umem_cache | ::umem_cache");
    let text = kept.text();
    assert_eq!(text.matches("ADDR").count(), 1, "one header: {text}");
    assert_eq!(text.lines().count(), all.text().lines().count() + 1);
    assert_eq!(status, Status::Clean);
    // A bare address feeds a pipe, and a bare expression behind one changes what comes through.
    assert_eq!(run("100 | >x | .+8").0.text(), "0x108\n");
    assert_eq!(run("100 | >x | .+<x").0.text(), "0x200\n");
    assert_eq!(run("100 | ::walk umem_cache | (.*0)").0.warnings().len(), 1);
}

#[test]
fn a_letter_that_is_no_format_is_said_with_its_place() {
    let said = run("5=k").0.warnings().join("; ");
    assert_eq!(said, "invalid format character -- 'k' near \"=k\"");
}

#[test]
fn limits_of_print_are_settings() {
    let shown = |line: &str| {
        run(&format!("{line}; umem_alloc_64::print Cache name"))
            .0
            .text()
    };
    assert!(shown("1").contains("\"umem_alloc_64\""));
    let cut = shown("::set -o array_str_limit=4");
    assert!(cut.contains("umem\"") && !cut.contains("umem_"), "{cut}");
    let whole = shown("::set -o array_str_limit=4; ::set +o array_str_limit");
    assert!(whole.contains("\"umem_alloc_64\""), "{whole}");
}

#[test]
fn a_mistake_that_no_address_mends_is_said_once() {
    let said = |line| run(line).0.warnings().len();
    for line in [
        "1,3::grep '.>0'",
        "1,3::map nowhere",
        "1,3::eval '::nothing'",
        "1,3::eval '(1'",
        "1,3::bufctl -c nowhere",
        "1,3::map . | <unset+1 | ::umem_cache",
    ] {
        assert_eq!(said(line), 1, "{line}");
    }
    // What concerns one address alone is said of each.
    assert_eq!(said("1,3::map '*0'"), 3);
}

#[test]
fn what_cannot_stand_in_a_pipe_is_said_before_anything_runs() {
    let warning = |line| run(line).0.warnings().join("; ");
    assert_eq!(
        warning("::walk umem_cache | ::umalog"),
        "umalog: it takes no addresses from a pipe"
    );
    assert_eq!(
        warning("::walk umem_cache | ::nothing"),
        "invalid command '::nothing': unknown dcmd name"
    );
}

#[test]
fn text_before_a_pipe_is_expressions_line_by_line() {
    let text = |line| run(line).0.text();
    assert_eq!(text("::echo 8+1 10 | >x | .+<x"), "0x12\n0x20\n");
    // Commands that show text: the name of a function is an expression, and blank lines are none.
    let (cache, _, _) = run("umem_alloc_64=K");
    let cache = cache.text().trim().trim_start_matches('0').to_owned();
    let named = "0t5=\"umem_alloc_64\"nn\"100 + 1\" | .";
    assert_eq!(text(named), format!("0x{cache}\n0x101\n"));
    assert_eq!(text("::walk umem_cache | ::count | ."), "0x1\n");
    assert_eq!(text("::sizeof Trailer | ."), "0x18\n");
    assert_eq!(text("::offsetof Cache name | ."), "0x10\n");

    let warnings = |line| run(line).0.warnings().join("; ");
    assert_eq!(
        warnings("::radix | ::whatis"),
        "syntax error near \"= 16 base ten\" (column 7): expected an operator or the end of the expression on line 1 \
         of the output of ::radix"
    );
    assert_eq!(
        warnings("0t5=\"8\"n\"nowhere\"n\"8\" | ."),
        "failed to dereference symbol nowhere: unknown symbol name on line 2 of the output of =\"8\"n\"nowhere\"n\"8\""
    );
    // What stands before the mistake has been handed on, and nothing behind it.
    assert_eq!(text("0t5=\"8\"n\")\"n\"9\" | ."), "0x8\n");
    assert_eq!(
        warnings("8::whatis | ."),
        "whatis: it cannot be output into a pipe"
    );
    assert_eq!(run("::umem_status | ::quit").2, Outcome::Continue);
}

#[test]
fn commands_within_a_pipe_hand_on_what_they_would() {
    let text = |line| run(line).0.text();
    assert_eq!(text("::eval \"::echo 10 20\" | .+1"), "0x11\n0x21\n");
    assert_eq!(text("::eval \"10\" | .+1"), "0x11\n");
    assert_eq!(text("30 | ::eval \".=K\" | .+1"), "0x31\n");
    assert_eq!(
        text("::eval \"::eval \\\"5 | ::map .+1\\\"\" | .+1"),
        "0x7\n"
    );
    let (kept, status, _) = run("::eval \"::echo\" | .");
    assert_eq!((kept.text().as_str(), status), ("", Status::Clean));
    let (kept, status, _) = run("::eval \"6; ::radix; 7\" | .");
    assert_eq!(kept.text(), "0x6\n");
    assert!(kept.warnings()[0].starts_with("syntax error near \"= 16 base"));
    assert_eq!(status, Status::Failed);
}

#[test]
fn a_mistake_in_a_line_of_a_file_leaves_the_others() {
    let (kept, status, _) = run("::eval \"10\\n12g; ::echo a\\n.=K\\n::umem_cache -z\\n::echo b\"");
    let lines: Vec<String> = kept
        .text()
        .lines()
        .map(|line| line.trim().to_owned())
        .collect();
    assert_eq!(lines, ["10", "", "b"]);
    assert_eq!(
        kept.warnings(),
        [
            "digit 'g' is invalid in current base 16 near \"g; ::echo a\" (column 3) on line 2",
            "umem_cache: illegal option -- z on line 4",
        ]
    );
    assert_eq!(status, Status::Failed);
}

#[test]
fn a_command_that_fails_for_one_address_goes_on_with_the_next() {
    let (kept, status, _) = run("8,2::whatis; 8 | ::walk umem | ::whatis");
    assert_eq!(kept.warnings().len(), 3);
    assert_eq!(status, Status::Failed);
}

#[test]
fn counts_run_a_command_as_often() {
    let rows = |line| run(line).0.text().lines().count();
    assert_eq!(rows("umem_alloc_64,3::umem_cache"), 4);
    assert_eq!(rows("umem_alloc_64,0::umem_cache"), 0);
    let (kept, status, _) = run("0,ffffffffffffffff::umem_cache");
    assert!(kept.warnings()[0].starts_with("the count 0xffffffffffffffff is too large"));
    assert_eq!(status, Status::Failed);
}

#[test]
fn a_bare_address_repeats_the_last_command_of_a_person() {
    let (kept, _, _) = run_in("umem_alloc_64::umem_cache\n.", true);
    assert_eq!(kept.text().matches("umem_alloc_64").count(), 2);
    assert_eq!(
        run("umem_alloc_64::umem_cache\n.")
            .0
            .text()
            .matches("umem_alloc_64")
            .count(),
        1
    );
}

#[test]
fn variables_and_registers_have_values() {
    let (kept, _, _) = run("5>x; <x | >y | .; <rsp+0 | >y | .-<rsp; <sp | >y | #.");
    assert_eq!(kept.text(), "0x5\n0x0\n0x0\n");
    assert_eq!(
        run("<nothing::whatis").0.warnings(),
        ["variable 'nothing' is not defined near \"<nothing\""]
    );
}

/// Numbers that are the same in every run (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

/// Pieces of the language, in any order.
const PIECES: [&str; 60] = [
    "::walk ",
    "umem",
    "umem_cache",
    "umem_alloc_64",
    " | ",
    " | ",
    "::grep ",
    "\"",
    "'",
    "1",
    ".",
    "*",
    "$[",
    "]",
    "(",
    ")",
    ",",
    ";",
    "/K",
    "=X",
    "/s",
    "/i",
    "::dump ",
    "-l ",
    "ff",
    "<x",
    ">x",
    "::eval ",
    "::head ",
    "-1",
    "::whatis",
    "::bufctl -v",
    "+",
    "^",
    "&",
    "%",
    "#",
    "0t9",
    "é",
    "$c",
    "::dis",
    "::stack",
    "::findleaks",
    "::umem_verify",
    "-~",
    "::map ",
    "::sort ",
    "::tail ",
    "::count",
    "ffffffffffffffff",
    "0",
    " ",
    "//",
    "::nm",
    "::regs",
    "/2X\"a\"n",
    "::vmem_seg",
    "*/c/",
    "::echo ",
    "10000000",
];

#[test]
fn lines_of_random_pieces_end() {
    let mut random = Random(0x1234_5678_9abc_def1);
    for _ in 0..30 {
        let line: Vec<String> = (0..20)
            .map(|_| {
                let length = 1 + random.below(8);
                (0..length)
                    .map(|_| PIECES[random.below(PIECES.len())])
                    .collect()
            })
            .collect();
        run(&line.join("\n"));
    }
}

/// Each command with each of its options, at addresses where nothing or something else is.
#[test]
fn every_command_ends_at_any_address() {
    let skipped = ["log", "quit", "source"];
    let mut lines = Vec::new();
    for dcmd in dcmds::DCMDS
        .iter()
        .filter(|dcmd| !skipped.contains(&dcmd.name))
    {
        for address in [
            "",
            "0",
            "ffffffffffffffff",
            "400000",
            "umem_alloc_64",
            "2000000f",
        ] {
            lines.push(format!("{address}::{}", dcmd.name));
            for option in dcmd.options {
                let value = if option.value.is_some() { " 10" } else { "" };
                lines.push(format!(
                    "{address}::{} -{}{value}",
                    dcmd.name, option.letter
                ));
            }
            lines.push(format!("{address}::{} umem 1 2", dcmd.name));
        }
    }
    let (kept, _, _) = run(&lines.join("\n"));
    assert!(kept.0.len() > lines.len() / 2);
}

#[test]
fn commands_within_commands_may_have_shell_commands() {
    let (kept, status, _) = run("::eval '::echo a; ::echo b ! cat; ::echo c'");
    let texts: Vec<(&str, String)> = kept
        .0
        .iter()
        .map(|(command, report)| (command.as_str(), TextWriter::default().write(report)))
        .collect();
    assert_eq!(texts.len(), 3, "{texts:?}");
    assert_eq!(texts[0].1, "a\n");
    assert_eq!(texts[1].0, "::echo b ! cat -> cat");
    assert_eq!(texts[1].1, "b\n");
    assert_eq!(texts[2], ("around", "c\n".to_owned()));
    assert_eq!(status, Status::Clean);
    let (kept, status, _) = run("::eval '::walk umem_cache ! cat' | ::count");
    assert!(kept.warnings()[0].starts_with("! cat: the output of a shell command"));
    assert_eq!(status, Status::Failed);
    // What goes wrong within is told, and the rest is run.
    let (kept, status, _) = run("::eval '::nothing ! cat; ::echo c'");
    assert_eq!(kept.warnings().len(), 1);
    assert!(kept.text().ends_with("c\n"));
    assert_eq!(status, Status::Failed);
}
