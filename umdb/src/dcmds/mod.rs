//! The commands.
//!
//! **Owns** what each command takes and answers, one file a command; help, the list of commands and usage lines come
//! from the descriptors. **May use** everything to its left. **Promises** a `Report` or an error, never output.
//!
//! A new command is a new file and its row in [`DCMDS`].

mod allocdby;
mod array;
mod bufctl;
mod bufctl_audit;
mod count;
// A file is called as its command, and there is a command `::dcmds`.
#[allow(clippy::module_inception)]
mod dcmds;
mod demangle;
mod diff;
mod dis;
mod dump;
mod echo;
mod eval;
mod findleaks;
mod findstack;
pub mod formats;
mod freedby;
mod gcore;
mod getenv;
mod grep;
mod head;
mod help;
mod list;
mod log;
mod map;
mod mappings;
mod nm;
mod objects;
mod offsetof;
mod parts;
mod path;
mod print;
mod quit;
mod radix;
mod refs;
mod regs;
mod retained;
pub mod set;
mod setenv;
mod sizeof;
mod snapshot;
mod sort;
mod source;
mod stack;
mod status;
mod tail;
mod threads;
mod typeset;
mod ugrep;
mod umalog;
mod umastat;
mod umausers;
mod umem_cache;
mod umem_debug;
mod umem_log;
mod umem_malloc_dist;
mod umem_malloc_info;
mod umem_status;
mod umem_verify;
mod unset;
mod unsetenv;
mod vars;
mod vmem;
mod vmem_seg;
mod walk;
mod walkers;
mod whatis;

pub use parts::{
    absent::instead,
    args::{Address, Completes, Dcmd, Filter, Group, Invocation, Opt, Run, Shorthand},
    context::{Context, Error, Host},
    fields, page, registers,
    state::{EnvironmentChanges, Format, State},
};

/// All commands, in the order of the alphabet.
pub const DCMDS: &[&Dcmd] = &[
    &allocdby::DCMD,
    &array::DCMD,
    &bufctl::DCMD,
    &bufctl_audit::DCMD,
    &count::DCMD,
    &dcmds::DCMD,
    &demangle::DCMD,
    &diff::DCMD,
    &dis::DCMD,
    &dump::DCMD,
    &echo::DCMD,
    &eval::DCMD,
    &findleaks::DCMD,
    &findstack::DCMD,
    &formats::DCMD,
    &freedby::DCMD,
    &gcore::DCMD,
    &getenv::DCMD,
    &grep::DCMD,
    &head::DCMD,
    &help::DCMD,
    &list::DCMD,
    &log::DCMD,
    &map::DCMD,
    &mappings::DCMD,
    &nm::DCMD,
    &objects::DCMD,
    &offsetof::DCMD,
    &path::DCMD,
    &print::DCMD,
    &quit::DCMD,
    &radix::DCMD,
    &refs::DCMD,
    &regs::DCMD,
    &retained::DCMD,
    &set::DCMD,
    &setenv::DCMD,
    &sizeof::DCMD,
    &snapshot::DCMD,
    &sort::DCMD,
    &source::DCMD,
    &stack::DCMD,
    &status::DCMD,
    &tail::DCMD,
    &threads::DCMD,
    &typeset::DCMD,
    &ugrep::DCMD,
    &umalog::DCMD,
    &umastat::DCMD,
    &umausers::DCMD,
    &umem_cache::DCMD,
    &umem_debug::DCMD,
    &umem_log::DCMD,
    &umem_malloc_dist::DCMD,
    &umem_malloc_info::DCMD,
    &umem_status::DCMD,
    &umem_verify::DCMD,
    &unset::DCMD,
    &unsetenv::DCMD,
    &vars::DCMD,
    &vmem::DCMD,
    &vmem_seg::DCMD,
    &walk::DCMD,
    &walkers::DCMD,
    &whatis::DCMD,
];

/// The command with a name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Dcmd> {
    let by_name = DCMDS.iter().copied().find(|dcmd| dcmd.name == name);
    by_name.or_else(|| find_shorthand(&format!("::{name}")).map(|(dcmd, _)| dcmd))
}

/// The command with an older name, such as `$C`, and the words that it stands for.
#[must_use]
pub fn find_shorthand(name: &str) -> Option<(&'static Dcmd, &'static [&'static str])> {
    let all = DCMDS
        .iter()
        .flat_map(|dcmd| dcmd.shorthands.iter().map(|shorthand| (*dcmd, shorthand)));
    let mut all = all.filter(|(_, shorthand)| shorthand.name == name);
    all.next().map(|(dcmd, shorthand)| (dcmd, shorthand.words))
}

/// Modules of mdb whose commands are ours.
const MODULES: [&str; 4] = ["umdb", "mdb", "libumem", "libumem.so.1"];

/// The name without the module that may stand before it: ``libumem`findleaks``.
///
/// # Errors
/// For a module whose commands we do not have.
pub fn without_module(name: &str) -> Result<&str, Error> {
    match name.rsplit_once('`') {
        None => Ok(name),
        Some((module, bare)) if MODULES.contains(&module) => Ok(bare),
        Some((module, _)) => Err(Error::with_hint(
            format!("invalid command '::{name}': specified module is not loaded: {module}"),
            "commands need no module",
        )),
    }
}

/// The names that are most like one that does not exist.
#[must_use]
pub fn similar(name: &str) -> Option<&'static str> {
    let distances = DCMDS
        .iter()
        .map(|dcmd| (distance(name, dcmd.name), dcmd.name));
    distances
        .min()
        .filter(|&(distance, known)| distance <= known.len() / 3)
        .map(|(_, known)| known)
}

/// Letters to change, add or take away to make one word of another.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &b) in to.iter().enumerate() {
            let change = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_listed() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/dcmds");
        let files = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let mut names: Vec<String> = files
            .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .filter(|name| name != "mod")
            .collect();
        names.sort();
        let listed: Vec<&str> = DCMDS.iter().map(|dcmd| dcmd.name).collect();
        assert_eq!(names, listed, "sorted, and each with a row");
    }

    #[test]
    fn every_command_has_help_with_an_example() {
        for dcmd in DCMDS {
            assert!(dcmd.help.contains("    > "), "{}", dcmd.name);
            assert!(!dcmd.summary.ends_with('.'), "{}", dcmd.name);
            assert!(!dcmd.see.is_empty(), "{}: see nothing", dcmd.name);
            for other in dcmd.see {
                assert!(find(other).is_some(), "{}: see {other}", dcmd.name);
            }
        }
    }

    #[test]
    fn a_near_name_is_suggested() {
        assert_eq!(similar("findleak"), Some("findleaks"));
        assert_eq!(similar("umem_verfiy"), Some("umem_verify"));
        assert_eq!(similar("xyz"), None);
    }

    /// Words by which commands of the allocator are tried on damaged heaps.
    const TRIED: [(&str, &[&str]); 19] = [
        ("allocdby", &[]),
        ("bufctl", &["-h"]),
        ("bufctl", &["-v"]),
        ("freedby", &[]),
        ("print", &["Cache"]),
        ("umalog", &[]),
        ("umastat", &[]),
        ("umausers", &["-ef"]),
        ("umem_cache", &[]),
        ("umem_log", &[]),
        ("umem_malloc_dist", &[]),
        ("umem_malloc_info", &["-g"]),
        ("umem_status", &[]),
        ("umem_verify", &["-v"]),
        ("vmem", &[]),
        ("vmem_seg", &["-v"]),
        ("whatis", &["-a"]),
        ("findleaks", &[]),
        ("sizeof", &["Slab"]),
    ];

    /// Every word of the structures in turn is replaced by ones that lead nowhere, to itself, and to the end.
    #[test]
    fn commands_and_walkers_survive_each_damaged_word() {
        use crate::heap::synthetic::{META, ROOT, victim};
        let (mut builder, [kept, ..]) = victim();
        let stack = builder.stack(&[0x40_0100]);
        builder.block(20_000, stack);
        builder.publish();
        let cache = builder.caches[0].0;
        let root = (0..0x250_u64).map(|offset| ROOT + offset);
        let meta = (0..0x1000_u64).map(|offset| META + offset);
        for at in root.chain(meta).step_by(8) {
            let mut before = [0; 8];
            crate::target::Memory::read(&builder.image, at, &mut before);
            if before == [0; 8] {
                continue;
            }
            for word in [u64::MAX - 7, at] {
                builder.write_word(at, word);
                try_all(&builder, [kept.record, cache]);
            }
            builder.image.write(at, &before);
        }
    }

    fn try_all(builder: &crate::heap::synthetic::Builder, addresses: [u64; 2]) {
        use crate::{
            analysis::{Cancel, Subject},
            symbols::Symbols,
            walkers,
        };
        let (target, heap, cancel) = (builder.target(), builder.heap(), Cancel::new());
        let symbols = Symbols::new(&target);
        let cx = Context::new(&target, &symbols, &heap, &cancel);
        for (name, words) in TRIED {
            let dcmd = find(name).unwrap();
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            for address in addresses.map(Some).into_iter().chain([None]) {
                if let (Ok(invocation), Run::Report(run)) = (dcmd.parse(address, &words), &dcmd.run)
                {
                    let _ = run(&cx, &invocation).map(|report| crate::render::write_text(&report));
                }
            }
        }
        let subject = Subject::new(&target, &symbols, &heap, &cancel);
        for walker in walkers::WALKERS {
            for start in addresses.map(Some).into_iter().chain([None]) {
                let _ = walkers::begin(&subject, walker.name, start).map(Iterator::count);
            }
        }
    }
}
