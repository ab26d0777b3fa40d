//! The arrows of the architecture: a folder uses the ones before it, never the ones behind it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use regex_lite::Regex;
use umem_tests::artifacts::workspace;

/// Folders of `umdb/src` in the order of the data's flow, with those that each may use beside what is before it.
const UMDB: [&str; 10] = [
    "target", "symbols", "layout", "heap", "analysis", "walkers", "lang", "dcmds", "exec", "front",
];
/// Leaves: `report` uses nothing, `render` reads only `report`, and `front` prints through it, and `exec` hands text
/// down a pipe.
const UMDB_LEAVES: [(&str, &[&str], &[&str]); 2] = [
    ("report", &[], &["dcmds", "exec", "front", "render"]),
    ("render", &["report"], &["exec", "front"]),
];
/// Folders of `allocator/src` from the bottom to the top. Those of one row know each other.
const ALLOCATOR: [&[&str]; 7] = [
    &["sys"],
    &["raw", "sync"],
    &["unwind"],
    &["vmem"],
    &["debug"],
    &["cache"],
    &[
        "init", "thread", "fork", "publish", "reserve", "checked", "relief", "malloc", "stats",
        "abi",
    ],
];

#[test]
fn umdb_flows_from_target_to_front() {
    let uses = uses(&workspace().join("umdb/src"));
    let place = |module: &str| UMDB.iter().position(|&name| name == module);
    let leaf = |module: &str| UMDB_LEAVES.iter().find(|(name, _, _)| *name == module);
    let mut wrong = Vec::new();
    for (user, used, file) in &uses {
        let allowed = match (leaf(user), leaf(used)) {
            (Some((_, may_use, _)), _) => may_use.contains(&used.as_str()),
            (None, Some((_, _, users))) => users.contains(&user.as_str()),
            (None, None) => match (place(user), place(used)) {
                (Some(user), Some(used)) => used < user,
                _ => panic!(
                    "{}: {user} or {used} has no place in the architecture",
                    file.display()
                ),
            },
        };
        if !allowed {
            wrong.push(format!("{}: {user} uses {used}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(uses.len() > 10, "the use lines were found");
}

#[test]
fn the_allocator_is_built_from_the_bottom_up() {
    let uses = uses(&workspace().join("allocator/src"));
    let place = |module: &str, file: &Path| {
        ALLOCATOR
            .iter()
            .position(|row| row.contains(&module))
            .unwrap_or_else(|| {
                panic!(
                    "{}: {module} has no place in the architecture",
                    file.display()
                )
            })
    };
    let wrong: Vec<String> = uses
        .iter()
        .filter(|(user, used, file)| place(used, file) > place(user, file))
        .map(|(user, used, file)| format!("{}: {user} uses {used}", file.display()))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(uses.len() > 10, "the use lines were found");
}

#[test]
fn only_target_traces() {
    for (path, text) in sources(&workspace().join("umdb/src")) {
        let in_target = path.components().any(|part| part.as_os_str() == "target");
        let calls = ["ptrace::", "libc::ptrace", "process_vm_readv"];
        let call = calls.iter().find(|call| text.contains(*call));
        assert!(
            in_target || call.is_none(),
            "{}: {}",
            path.display(),
            call.unwrap_or(&"")
        );
    }
}

#[test]
fn only_front_prints_and_exits() {
    let printing =
        Regex::new(r"\be?print(ln)?!|process::exit|\bio::std(out|err)\(").expect("a pattern");
    for (path, text) in sources(&workspace().join("umdb/src")) {
        let in_front = path.components().any(|part| part.as_os_str() == "front");
        let found = printing.find(&text).map_or("", |found| found.as_str());
        assert!(in_front || found.is_empty(), "{}: {found}", path.display());
    }
}

/// (module, module that it uses, file), for modules at the top of the crate.
fn uses(root: &Path) -> Vec<(String, String, PathBuf)> {
    let modules: Vec<String> = fs::read_dir(root)
        .unwrap_or_else(|error| panic!("{}: {error}", root.display()))
        .map(|entry| entry.expect("the folder can be read").path())
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .filter(|name| name != "lib" && name != "main")
        .collect();
    // Both `crate::a` in any place, and each first word of `crate::{a::x, b}`.
    let path = Regex::new(r"\bcrate::(?:([a-z_]+)|\{([^;]*)\})").expect("a pattern");
    let mut found = BTreeMap::new();
    for (file, text) in sources(root) {
        let user = module_of(root, &file);
        if user == "lib" || user == "main" {
            continue;
        }
        for part in path.captures_iter(&without_comments(&text)) {
            let names = match (part.get(1), part.get(2)) {
                (Some(name), _) => vec![name.as_str().to_owned()],
                (_, Some(list)) => first_words(list.as_str()),
                _ => Vec::new(),
            };
            for used in names
                .into_iter()
                .filter(|used| *used != user && modules.contains(used))
            {
                found.insert((user.clone(), used), file.clone());
            }
        }
    }
    found
        .into_iter()
        .map(|((user, used), file)| (user, used, file))
        .collect()
}

/// First words of the parts of `a::x, b::{c, d}, e` at the top level.
fn first_words(list: &str) -> Vec<String> {
    let mut depth = 0;
    let mut words = vec![String::new()];
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => words.push(String::new()),
            c if depth == 0 && !c.is_whitespace() => words.last_mut().expect("never empty").push(c),
            _ => {}
        }
    }
    words
        .iter()
        .filter_map(|word| word.split("::").next())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

fn without_comments(text: &str) -> String {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .fold(String::new(), |mut all, line| {
            all.push_str(line);
            all.push('\n');
            all
        })
}

fn module_of(root: &Path, file: &Path) -> String {
    let below = file.strip_prefix(root).expect("the file is below the root");
    let first = below.components().next().expect("a file has a name");
    Path::new(first.as_os_str())
        .file_stem()
        .expect("a file has a name")
        .to_string_lossy()
        .into_owned()
}

/// Every Rust file below a folder, with its text; what is compiled for unit tests only is left out.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let test_module =
        Regex::new(r"#\[cfg\((?:all\()?test\b[^\]]*\]\s*(?:pub(?:\([a-z]+\))? )?mod ([a-z_]+);")
            .expect("a pattern");
    let read = |path: &Path| {
        let text = fs::read_to_string(path);
        text.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("the folder can be read").path())
        .collect();
    let is_source = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    let mut files: Vec<(PathBuf, String)> = paths
        .iter()
        .filter(is_source)
        .map(|path| (path.clone(), read(path)))
        .collect();
    let tests: Vec<String> = files
        .iter()
        .flat_map(|(_, text)| {
            test_module
                .captures_iter(text)
                .map(|found| found[1].to_owned())
        })
        .collect();
    let is_test = |path: &Path| {
        let stem = path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned());
        stem.is_some_and(|stem| tests.contains(&stem))
    };
    files.retain(|(path, _)| !is_test(path));
    for (_, text) in &mut files {
        if let Some(start) = text.find("#[cfg(test)]\nmod tests {") {
            text.truncate(start);
        }
    }
    files.extend(
        paths
            .iter()
            .filter(|path| path.is_dir() && !is_test(path))
            .flat_map(|path| sources(path)),
    );
    files
}

#[test]
fn lists_in_use_lines_are_understood() {
    assert_eq!(
        first_words("a::x, b::{c, d}, e,\n f::{g::{h, i}, j}"),
        ["a", "b", "e", "f"]
    );
}
