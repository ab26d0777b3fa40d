//! Suppressions: leaks that a file names are not reported, and what the file did is.
//!
//! `exits` loses 41 buffers when its main returns: 40 of 32 bytes by `own` and one of 40 by `lose`. With an argument the
//! 40 are held.

use std::{fs, path::PathBuf};

use tempfile::TempDir;
use umem_tests::{
    cores, need,
    umdb::{Umdb, expect_complaint},
    victim::{Victim, program},
};

fn rules(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let file = folder.path().join("known.supp");
    fs::write(&file, text).expect("a file can be written");
    (folder, file)
}

#[test]
fn a_run_is_judged_without_what_is_known() {
    let victim = need!(program("exits"));
    let judge = |rules: &PathBuf| {
        let umdb = Umdb::new()
            .args(["run", "--error-exitcode", "9", "--suppressions"])
            .arg(rules);
        umdb.arg("--").arg(&victim).run()
    };
    let (_folder, all) =
        rules("# known since 2019\nleak:own\nfun:lose obj:exits src:exits.c size:40\n");
    let answer = judge(&all);
    answer.expect_code(0);
    assert_eq!(answer.stderr, "", "{answer}");
    assert_eq!(
        answer.stdout,
        "findleaks: no memory leaks detected\n\nsuppressed: 41 leaks of 1320 bytes, by 2 of 2 rules\n"
    );
    let (_folder, some) = rules("leak:own\nfun:lose size:..39\nobj:libnothing*\n");
    let answer = judge(&some);
    answer.expect_code(9);
    let expected = format!(
        "suppressed: 40 leaks of 1280 bytes, by 1 of 3 rules\nnever matched: {0}:2: fun:lose size:..39\nnever matched: {0}:3: obj:libnothing*\n",
        some.display()
    );
    assert!(answer.stdout.contains(&expected), "{answer}");
    assert!(
        answer.stdout.contains("Total       1 buffer, 40 bytes\n"),
        "{answer}"
    );
    assert!(!answer.stdout.contains("own+"), "{answer}");
}

#[test]
fn files_are_named_in_several_ways() {
    let mut victim = need!(Victim::start("grow", &[]));
    victim.ask(b'a');
    let (_folder, file) = rules("fun:lose\n");
    let name = file.display();
    let pid = || Umdb::pid(victim.pid());
    pid().exec("::findleaks").run().expect_code(1);
    let command = |text: String| pid().exec(&text).run();
    let clean = [
        command(format!("::findleaks -x {name}")),
        command(format!("::set -x {name}; ::findleaks")),
        pid()
            .env("UMDB_SUPPRESSIONS", &file)
            .exec("::findleaks")
            .run(),
        pid()
            .arg("--suppressions")
            .arg(&file)
            .exec("::findleaks")
            .run(),
    ];
    for answer in clean {
        answer.expect_code(0);
        assert!(
            answer
                .stdout
                .ends_with("suppressed: 2 leaks of 128 bytes, by 1 of 1 rule\n"),
            "{answer}"
        );
    }
    command(format!("::set -x {name}; ::findleaks -x -")).expect_code(1);
    command(format!("::set -x {name}; ::set -x -; ::findleaks")).expect_code(1);
    // What is known goes into no pipe, and walkers know all.
    let answer = command(format!(
        "::findleaks -x {name} | ::bufctl; ::walk leakbuf | ::count"
    ));
    assert!(!answer.stdout.contains("lose"), "{answer}");
    assert!(answer.stdout.contains('2'), "{answer}");
}

#[test]
fn machines_read_what_each_rule_did() {
    let mut victim = need!(Victim::start("grow", &[]));
    victim.ask(b'a');
    let core = cores::saved(&victim);
    let (_folder, file) = rules("fun:lo*\nleak:^nothing$\n");
    let (value, answer) = Umdb::core(core.path())
        .arg("--suppressions")
        .arg(&file)
        .json("::findleaks -v");
    answer.expect_code(0);
    let section = |name: &str| {
        let sections = value["sections"].as_array().expect("sections").iter();
        let mut groups = sections.filter(|section| section["name"] == "suppressions");
        let group = groups
            .next()
            .unwrap_or_else(|| panic!("no suppressions\n{answer}"));
        let sections = group["sections"].as_array().expect("sections").iter();
        let mut named = sections.filter(|section| section["name"] == name);
        named
            .next()
            .unwrap_or_else(|| panic!("no {name}\n{answer}"))
    };
    let total = &section("suppressed")["items"][0];
    assert_eq!(
        (&total["leaked"], &total["bytes"]),
        (&2.into(), &128.into())
    );
    assert_eq!(
        (&total["rules_used"], &total["rules"]),
        (&1.into(), &2.into())
    );
    let unused = &section("never_matched")["items"][0];
    assert_eq!(
        (&unused["line"], &unused["rule"]),
        (&2.into(), &"leak:^nothing$".into())
    );
    let rows = &section("rules")["rows"];
    assert_eq!(
        (&rows[0]["leaked"], &rows[1]["leaked"]),
        (&2.into(), &0.into())
    );
}

#[test]
fn mistakes_in_a_file_are_named_with_their_line() {
    let victim = need!(Victim::start("grow", &[]));
    let (_folder, file) = rules("leak:a\nlaek:b\n");
    let place = format!("{}:2: expected leak:", file.display());
    let pid = || Umdb::pid(victim.pid());
    let answers = [
        pid()
            .arg("--suppressions")
            .arg(&file)
            .exec("::findleaks")
            .run(),
        pid()
            .exec(&format!("::findleaks -x {}", file.display()))
            .run(),
        pid().exec(&format!("::set -x {}", file.display())).run(),
    ];
    for answer in answers {
        answer.expect_code(2);
        expect_complaint(&answer, &[&place]);
    }
}
