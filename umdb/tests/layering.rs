//! A folder of `umdb/src` uses those on its left, never those on its right; see the picture in `lib.rs`.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Each folder with what it may use besides itself.
const FOLDERS: [(&str, &[&str]); 12] = [
    ("report", &[]),
    ("render", &["report"]),
    ("target", &[]),
    ("symbols", &["target"]),
    ("layout", &["target", "symbols"]),
    ("heap", &["target", "symbols", "layout"]),
    ("analysis", &["target", "symbols", "layout", "heap"]),
    (
        "walkers",
        &["target", "symbols", "layout", "heap", "analysis"],
    ),
    (
        "lang",
        &["target", "symbols", "layout", "heap", "analysis", "walkers"],
    ),
    (
        "dcmds",
        &[
            "target", "symbols", "layout", "heap", "analysis", "walkers", "lang", "report",
        ],
    ),
    (
        "exec",
        &[
            "target", "symbols", "layout", "heap", "analysis", "walkers", "lang", "dcmds", "report",
        ],
    ),
    (
        "front",
        &[
            "target", "symbols", "layout", "heap", "analysis", "walkers", "lang", "dcmds", "exec",
            "report", "render",
        ],
    ),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The source without comments and without what only tests use.
fn code(text: &str) -> String {
    let before_tests = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    before_tests
        .lines()
        .map(|line| line.split("//").next().unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The folders that a source names behind `crate::`, also in braces.
fn used(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, prefix) in code.match_indices("crate::") {
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            None => names.push(first_name(rest)),
            Some(list) => names.extend(
                top_level(list)
                    .iter()
                    .map(|part| first_name(part.trim_start())),
            ),
        }
    }
    names
}

fn first_name(path: &str) -> String {
    path.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// The parts between the commas of a list in braces, whose own braces are left alone.
fn top_level(list: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0;
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}

#[test]
fn no_arrow_turns_round() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for (folder, allowed) in FOLDERS {
        let mut files = Vec::new();
        sources(&root.join(folder), &mut files);
        assert!(!files.is_empty(), "{folder} is empty");
        for file in files {
            // What only tests use may look everywhere.
            if file
                .file_name()
                .is_some_and(|name| name == "tests.rs" || name == "testing.rs")
            {
                continue;
            }
            let text = fs::read_to_string(&file).unwrap();
            for name in used(&code(&text)) {
                if name != folder && !allowed.contains(&name.as_str()) {
                    wrong.push(format!("{} uses {name}", file.display()));
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn every_folder_has_its_place() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders: Vec<String> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    let mut known: Vec<&str> = FOLDERS.iter().map(|(name, _)| *name).collect();
    folders.sort();
    known.sort_unstable();
    assert_eq!(folders, known);
}

#[test]
fn uses_are_read_from_every_form() {
    let text = "use crate::{\n    heap::{Heap, Object},\n    symbols::Symbols,\n};\nlet x = crate::report::Report; // crate::no";
    assert_eq!(used(&code(text)), ["heap", "symbols", "report"]);
}
