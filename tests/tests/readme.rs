//! What the README and the page on the allocator show is what happens.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use umem_tests::{
    artifacts::{artifacts, workspace},
    command, need, need_program,
    normal::Names,
    victim::scrub,
};

fn page(path: &str) -> String {
    fs::read_to_string(workspace().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn readme() -> String {
    page("README.md")
}

/// The fenced blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line == format!("```{language}") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            found.push(block.join("\n") + "\n");
        } else if line.starts_with("```") {
            lines.by_ref().find(|line| *line == "```");
        }
    }
    found
}

/// Each command of a console block with the output below it.
fn commands(block: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), found.last_mut()) {
            (Some(command), _) => found.push((command.to_owned(), String::new())),
            (None, Some((_, output))) => *output += &format!("{line}\n"),
            (None, None) => panic!("output before the first command: {line}"),
        }
    }
    found
}

#[test]
fn it_opens_with_a_leak_and_its_real_answer() {
    need!(need_program("gcc"));
    expect_answers(&readme(), "leak.c");
}

#[test]
fn the_program_in_c_on_the_page_of_the_allocator_does_what_it_shows() {
    need!(need_program("gcc"));
    expect_answers(&page("docs/allocator.md"), "requests.c");
}

/// Plays the first console block of a page, on its first program.
fn expect_answers(text: &str, name: &str) {
    let first = |language| {
        let block = blocks(text, language).into_iter().next();
        block.unwrap_or_else(|| panic!("the page has a block of {language}"))
    };
    let commands = commands(&first("console"));
    assert!(commands.len() >= 2, "a compilation and an answer");
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    fs::write(folder.path().join(name), first("c")).expect("a file can be written");
    // The commands are typed in the checkout, where the build is in target/release.
    let link = |file: &Path, to: &Path| symlink(file, to).expect("a link can be made");
    let release = folder.path().join("target/release");
    fs::create_dir_all(&release).expect("a folder can be made");
    for file in [&artifacts().umdb, &artifacts().library] {
        let name = file.file_name().expect("a file has a name");
        link(file, &release.join(name));
    }
    link(
        &workspace().join("allocator"),
        &folder.path().join("allocator"),
    );
    for (line, expected) in commands {
        let answer = shell(folder.path(), &line);
        let found = Names::new().normalise(&format!("{}{}", answer.stdout, answer.stderr));
        assert_eq!(found, Names::new().normalise(&expected), "{line}\n{answer}");
    }
}

fn shell(folder: &Path, line: &str) -> command::Answer {
    let mut command = Command::new("bash");
    command::run(
        scrub(&mut command)
            .env("HOME", folder)
            .current_dir(folder)
            .args(["-c", line]),
    )
}

/// The two commands for a fresh clone exist, and can be run.
#[test]
fn its_commands_exist() {
    use std::os::unix::fs::PermissionsExt;
    let text = readme();
    for script in ["tests/demo", "tests/run"] {
        assert!(
            text.lines().any(|line| line.trim() == script),
            "{script} is a command of the README"
        );
        let mode = fs::metadata(workspace().join(script))
            .expect(script)
            .permissions()
            .mode();
        assert_eq!(mode & 0o111, 0o111, "{script} can be run");
    }
}

/// A link without a scheme is a path in the checkout.
#[test]
fn its_links_lead_somewhere() {
    let text = readme();
    let link = regex_lite::Regex::new(r"\]\(([^):#]+)\)").expect("a pattern");
    let targets: Vec<&str> = link
        .captures_iter(&text)
        .map(|found| found.get(1).map_or("", |m| m.as_str()))
        .collect();
    assert!(!targets.is_empty());
    for target in targets {
        assert!(workspace().join(target).exists(), "{target}");
    }
}
