//! The library under programs: small ones that check it call by call, and real ones that do not know it is there.

use std::{fs, path::Path, process::Command, time::Duration};

use tempfile::TempDir;
use umem_tests::{
    Outcome,
    artifacts::artifacts,
    command::{self, Answer},
    need, need_program,
    victim::{Start, scrub},
};

/// A compiler under every check is slow.
const SLOW: Duration = Duration::from_secs(120);

/// What UMEM_DEBUG and UMEM_LOGGING are set to, in turn.
const MODES: [&[(&str, &str)]; 4] = [
    &[],
    &[("UMEM_DEBUG", "default"), ("UMEM_LOGGING", "transaction")],
    &[
        ("UMEM_DEBUG", "audit=4,guards"),
        ("UMEM_LOGGING", "transaction=64k"),
    ],
    &[("UMEM_DEBUG", "audit,contents")],
];

/// A victim that checks itself says ok, and the library says nothing.
fn expect_ok(victim: &str, args: &[&str]) -> Outcome<()> {
    expect_ok_in(&MODES, victim, args)
}

fn expect_ok_in(modes: &[&[(&str, &str)]], victim: &str, args: &[&str]) -> Outcome<()> {
    for mode in modes {
        let mut start = Start::new(victim)?.plain().args(args);
        for (key, value) in *mode {
            start = start.env(key, value);
        }
        let answer = start.run_within(SLOW);
        assert_eq!(
            (answer.code(), &*answer.stdout, &*answer.stderr),
            (0, "ok\n", ""),
            "{mode:?}\n{answer}"
        );
    }
    Ok(())
}

#[test]
fn the_family_keeps_to_its_manual_pages() {
    need!(expect_ok("family", &[]));
}

#[test]
fn malloc_is_called_before_constructors() {
    need!(expect_ok("early", &[]));
}

#[test]
fn blocks_grow_and_shrink_on_many_threads() {
    need!(expect_ok("hard", &["grow"]));
}

#[test]
fn calloc_of_locked_memory_is_zero() {
    need!(expect_ok("hard", &["locked"]));
}

/// Only without debugging do threads have magazines.
#[test]
fn a_child_of_fork_gets_no_buffer_twice() {
    need!(expect_ok_in(&MODES[..1], "hard", &["forks"]));
}

#[test]
fn a_limited_address_space_can_be_used() {
    need!(expect_ok_in(&MODES[..1], "hard", &["limited"]));
}

/// A real program's work, done in a folder of its own.
struct Work {
    folder: TempDir,
}

impl Work {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a temporary directory can be made"),
        }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).expect("a file can be written");
    }

    fn run(&self, program: &Path, args: &[&str], env: &[(&str, &str)]) -> Answer {
        let mut command = Command::new(program);
        scrub(&mut command)
            .env("HOME", self.folder.path())
            .current_dir(self.folder.path())
            .args(args)
            .envs(env.iter().copied());
        command::run_with(&mut command, "", SLOW)
    }
}

/// The program says and does the same with the library as without it. `after` looks at what it made.
fn expect_same(program: &str, args: &[&str], files: &[(&str, &str)], made: &[&str]) -> Outcome<()> {
    let file = need_program(program)?;
    let library = artifacts().library.to_str().expect("a path in UTF-8");
    let outcome = |env: &[(&str, &str)]| {
        let work = Work::new();
        for (name, text) in files {
            work.write(name, text);
        }
        let answer = work.run(&file, args, env);
        let products: Vec<Option<Vec<u8>>> = made
            .iter()
            .map(|name| fs::read(work.folder.path().join(name)).ok())
            .collect();
        (answer, products)
    };
    let (plain, plain_products) = outcome(&[]);
    assert!(
        plain.status.success(),
        "{program} fails without the library\n{plain}"
    );
    assert!(
        plain_products.iter().all(Option::is_some),
        "{program} makes nothing\n{plain}"
    );
    for mode in MODES {
        let env: Vec<_> = mode
            .iter()
            .copied()
            .chain([("LD_PRELOAD", library)])
            .collect();
        let (answer, products) = outcome(&env);
        assert_eq!(answer.stdout, plain.stdout, "{program} {mode:?}\n{answer}");
        assert_eq!(answer.stderr, plain.stderr, "{program} {mode:?}\n{answer}");
        assert_eq!(answer.status, plain.status, "{program} {mode:?}\n{answer}");
        assert!(
            products == plain_products,
            "{program} {mode:?} makes other files\n{answer}"
        );
    }
    Ok(())
}

#[test]
fn python() {
    let script = r#"
import collections, json, re, sys, threading, zlib
words = collections.Counter(re.findall(r"[a-z]+", "the quick brown fox " * 2000 + "jumps"))
results = []
def work(n):
    text = json.dumps({str(i): list(range(i % 50)) for i in range(n)})
    results.append((n, zlib.crc32(zlib.compress(text.encode())), len(json.loads(text))))
threads = [threading.Thread(target=work, args=(100 * n,)) for n in range(1, 6)]
for t in threads: t.start()
for t in threads: t.join()
print(sorted(words.items()), sorted(results))
print(sum(i * i for i in range(100000)), 3 ** 2000 % 10 ** 50)
print("to stderr", file=sys.stderr)
sys.stdout.flush()
"#;
    need!(expect_same(
        "python3",
        &["script.py"],
        &[("script.py", script)],
        &[]
    ));
}

#[test]
fn perl() {
    let script = r#"
my %count; my @words = split / /, "one two three two three three " x 3000;
$count{$_}++ for @words;
print "$_ $count{$_}\n" for sort keys %count;
my $text = join ",", map { $_ * 2 } 1 .. 5000;
$text =~ s/(\d+)/<$1>/g;
print length($text), "\n";
my $pid = fork(); if (!$pid) { my @list = map { "x" x $_ } 1 .. 500; exit(scalar(@list) == 500 ? 5 : 6); }
waitpid $pid, 0; print $? >> 8, "\n";
"#;
    need!(expect_same(
        "perl",
        &["script.pl"],
        &[("script.pl", script)],
        &[]
    ));
}

#[test]
fn gcc() {
    let mut source = String::from("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n");
    for number in 0..200 {
        source += &format!(
            "static int f{number}(int x) {{ int s = 0; for (int i = 0; i < x; i++) s += i * {number}; return s; }}\n"
        );
    }
    source += "int main(void) { return f1(2) + f199(1) - 1; }\n";
    // Without -g, which would put the name of the folder into the program.
    let args = ["-O2", "-fno-ident", "-o", "program", "program.c"];
    need!(expect_same(
        "gcc",
        &args,
        &[("program.c", &source)],
        &["program"]
    ));
}

#[test]
fn bash() {
    let script = r#"
declare -A count
for word in $(for i in $(seq 400); do echo "w$((i % 7))"; done); do count[$word]=$(( ${count[$word]:-0} + 1 )); done
for word in $(printf '%s\n' "${!count[@]}" | sort); do echo "$word ${count[$word]}"; done
text=$(printf 'x%.0s' {1..5000}); echo ${#text} ${text//x/yy} | cut -c1-40
f() { local depth=$1; if (( depth > 0 )); then f $((depth - 1)); else echo bottom; fi; }; f 100
(exit 3) | cat; echo "${PIPESTATUS[@]}"
"#;
    need!(expect_same(
        "bash",
        &["script.sh"],
        &[("script.sh", script)],
        &[]
    ));
}

#[test]
fn git() {
    let script = r"
export GIT_AUTHOR_DATE='2001-01-01T00:00:00Z' GIT_COMMITTER_DATE='2001-01-01T00:00:00Z'
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
git init -q -b main repo && cd repo || exit
for i in $(seq 20); do echo line $i >> file; git add file; git commit -q -m commit$i; done
git log --oneline --stat | cat; git fsck --no-progress; git gc -q; git diff HEAD~3 | cat; git rev-parse HEAD
";
    need!(need_program("git"));
    need!(expect_same(
        "bash",
        &["script.sh"],
        &[("script.sh", script)],
        &[]
    ));
}

#[test]
fn sqlite3() {
    let script = "
CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
INSERT INTO t SELECT i, hex(i * 7919) || printf('%0200d', i) FROM n;
CREATE INDEX i ON t(b);
SELECT count(*), sum(a), max(b), length(group_concat(b)) FROM t;
SELECT substr(b, 1, 5), count(*) FROM t GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 5;
DELETE FROM t WHERE a % 3 = 0; VACUUM; PRAGMA integrity_check;
";
    need!(expect_same(
        "sqlite3",
        &["db", ".read script.sql"],
        &[("script.sql", script)],
        &["db"]
    ));
}
