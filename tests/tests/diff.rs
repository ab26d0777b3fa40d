//! `umdb diff`: what grew between two files. What is expected follows from grow.c.

use std::{fs, path::Path};

use nix::sys::signal::Signal;
use serde_json::Value;
use umem_tests::{
    command::Answer,
    cores, need,
    umdb::{Umdb, expect_complaint},
    victim::{Start, Victim},
};

fn diff(words: &[&str], before: &Path, after: &Path) -> Answer {
    let umdb = Umdb::new().arg("diff").args(words);
    umdb.arg(before).arg(after).run()
}

/// The rows of the table of growth.
fn rows(value: &Value) -> Vec<&Value> {
    let sections = value["sections"].as_array();
    let sections = sections.unwrap_or_else(|| panic!("no sections: {value}"));
    let table = sections.iter().find(|section| section["name"] == "growth");
    let table = table.unwrap_or_else(|| panic!("no growth: {value}"));
    table["rows"].as_array().expect("rows").iter().collect()
}

#[test]
fn two_snapshots_tell_what_grew() {
    let mut victim = need!(Victim::start("grow", &[]));
    // A name that the language would take apart if it were not quoted.
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let before = folder.path().join("be fore;\"'\\$x");
    fs::copy(cores::saved(&victim).path(), &before).expect("it can be copied");
    assert_eq!(victim.ask(b'a'), b'b');
    let after = cores::saved(&victim);

    let answer = diff(&["--json"], &before, after.path());
    answer.expect_code(1);
    assert_eq!(answer.stderr, "", "{answer}");
    let value: Value = serde_json::from_str(&answer.stdout).expect("one object");
    let rows = rows(&value);
    let figures: Vec<_> = rows
        .iter()
        .map(|row| {
            let caller = row["caller"]["symbol"].as_str().unwrap_or_default();
            let number = |key: &str| row[key].as_u64().expect("a number");
            (
                caller,
                number("growth"),
                number("growth_bytes"),
                number("new_leaks"),
            )
        })
        .collect();
    assert_eq!(
        figures,
        [("lose", 2, 128, 2), ("keep", 5, 500, 0)],
        "{answer}"
    );

    let text = diff(&["-d"], &before, after.path());
    text.expect_code(1);
    let inside = Umdb::core(after.path())
        .exec(&format!(
            "::diff -d \"{}\"",
            before
                .display()
                .to_string()
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
        ))
        .run();
    assert_eq!(text.stdout, inside.stdout);
    let answer = diff(&["-n", "1"], &before, after.path());
    assert!(
        answer.stdout.contains("1 line not shown") && !answer.stdout.contains("keep"),
        "{answer}"
    );

    let answer = diff(&[], after.path(), &before);
    answer.expect_code(0);
    assert_eq!(answer.stdout, "diff: nothing grew\n");
}

#[test]
fn growth_without_leaks_is_no_finding() {
    let mut one = need!(Victim::start("grow", &[]));
    let before = cores::saved(&one);
    assert_eq!(one.ask(b'k'), b'l');
    let kept = cores::saved(&one);
    let answer = diff(&[], before.path(), kept.path());
    answer.expect_code(0);
    assert!(
        answer
            .stdout
            .contains("500 bytes more in 5 buffers, 0 new leaks"),
        "{answer}"
    );
    let mut more = need!(Victim::start("grow", &[]));
    more.ask(b'a');
    let middle = cores::saved(&more);
    // Another run of the same program: stacks are compared by place, not by address.
    diff(&[], before.path(), middle.path()).expect_code(1);
}

#[test]
fn what_is_no_target_is_named() {
    let victim = need!(Victim::start("grow", &[]));
    let good = cores::saved(&victim);
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let text = folder.path().join("text");
    fs::write(&text, "no core").expect("a file can be written");
    let bare = need!(Start::new("grow")).without_library().wait_ready();
    let bare = need!(cores::kernel_core(bare, Signal::SIGABRT));
    for bad in [&text, Path::new("/nowhere/core"), bare.path()] {
        let name = bad.display().to_string();
        for answer in [diff(&[], bad, good.path()), diff(&[], good.path(), bad)] {
            answer.expect_code(2);
            expect_complaint(&answer, &[&name]);
        }
    }
}
