//! The command language as it is typed: lists, help, several commands, files of commands.

use umem_tests::{need, umdb::Umdb, victim::Victim};

/// Every command of this version.
const DCMDS: [&str; 9] = [
    "bufctl",
    "dcmds",
    "findleaks",
    "help",
    "umalog",
    "umem_cache",
    "umem_status",
    "umem_verify",
    "whatis",
];

#[test]
fn every_command_is_listed_and_has_help_with_an_example() {
    let victim = need!(Victim::start("first_light", &[]));
    let list = Umdb::pid(victim.pid()).exec("::dcmds").run();
    list.expect_code(0);
    for name in DCMDS {
        let words = list
            .stdout
            .lines()
            .map(|line| line.split_whitespace().next());
        assert!(
            words.into_iter().any(|word| word == Some(name)),
            "{name}\n{list}"
        );
        let help = Umdb::pid(victim.pid())
            .exec(&format!("::help {name}"))
            .run();
        help.expect_code(0);
        assert!(help.stdout.contains(&format!("::{name}")), "{help}");
    }
}

#[test]
fn commands_are_separated_by_semicolons_options_and_lines() {
    let victim = need!(Victim::start("first_light", &[]));
    let umdb = || Umdb::pid(victim.pid());
    let one_by_one: String = ["::umem_status", "::findleaks", "::umalog"]
        .iter()
        .map(|command| umdb().exec(command).run().stdout)
        .collect();
    let semicolons = umdb().exec("::umem_status; ::findleaks;::umalog").run();
    let options = umdb()
        .exec("::umem_status")
        .exec("::findleaks")
        .exec("::umalog")
        .run();
    let lines = umdb().run_with("::umem_status\n::findleaks\n::umalog\n");
    for answer in [&semicolons, &options, &lines] {
        assert_eq!(answer.stdout, one_by_one, "{answer}");
        assert_eq!(answer.stderr, "", "{answer}");
        answer.expect_code(1);
    }
}

#[test]
fn quitting_leaves_the_rest_undone() {
    let victim = need!(Victim::start("first_light", &[]));
    let answer = Umdb::pid(victim.pid())
        .exec("::umem_status; $q; ::findleaks")
        .exec("::umalog")
        .run();
    answer.expect_code(0);
    assert!(answer.stdout.contains("ready and active"), "{answer}");
    assert!(!answer.stdout.contains("test_"), "{answer}");
}

/// Each answer is one object on a line of its own.
#[test]
fn json_is_one_object_a_command() {
    let victim = need!(Victim::start("first_light", &[]));
    let answer = Umdb::pid(victim.pid())
        .arg("--json")
        .exec("::findleaks; ::umem_cache")
        .exec("::no_such_thing")
        .run();
    answer.expect_code(2);
    let commands: Vec<String> = answer
        .stdout
        .lines()
        .map(|line| {
            let value: serde_json::Value =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}\n{answer}"));
            value["command"]
                .as_str()
                .unwrap_or_else(|| panic!("no command\n{answer}"))
                .to_owned()
        })
        .collect();
    assert_eq!(commands[..2], ["::findleaks", "::umem_cache"], "{answer}");
}
