//! Walkers: they give addresses, one by one.
//!
//! **Owns** what each walker yields and where it may begin, one file a walker. **May use** everything up to `analysis`.
//! **Promises** walks that end (they step through the decoded heap, whose lists are cut where they loop), that go on
//! behind what is damaged and name it, and that can be left or cancelled after any step.
//!
//! A new walker is a new file and its row in [`WALKERS`]:
//!
//! ```text
//! pub(super) const WALKER: Walker = Walker {
//!     name: "umem_cache",
//!     summary: "walk the caches of the allocator",
//!     start: Start::Nothing,
//!     yields: "caches",
//!     walk: |subject, _| Ok(steps(subject.heap.caches.iter().map(|cache| cache.address))),
//! };
//! ```

mod allocdby;
mod bufctl;
mod bufctl_history;
mod freemem;
mod leak;
mod thread;
mod umem;
mod umem_cache;
mod umem_cpu;
mod umem_log;
mod umem_ptc;
mod umem_slab;
mod vmem;
mod vmem_seg;

use crate::{
    analysis::{Cancelled, Subject},
    layout::Damage,
};

/// All walkers, in the order of the alphabet.
pub const WALKERS: &[&Walker] = &[
    &allocdby::WALKER,
    &bufctl::WALKER,
    &bufctl_history::WALKER,
    &bufctl::FREECTL,
    &allocdby::FREEDBY,
    &freemem::WALKER,
    &leak::WALKER,
    &leak::LEAKBUF,
    &thread::WALKER,
    &umem::WALKER,
    &umem_cache::WALKER,
    &umem_cpu::WALKER,
    &umem_cpu::CACHE,
    &bufctl::UMEM_HASH,
    &umem_log::WALKER,
    &umem_ptc::WALKER,
    &umem_slab::WALKER,
    &umem_slab::PARTIAL,
    &vmem::WALKER,
    &vmem_seg::ALLOC,
    &vmem_seg::FREE,
    &vmem::POSTFIX,
    &vmem_seg::WALKER,
    &vmem_seg::SPAN,
];

/// A walker.
pub struct Walker {
    /// Its name behind `::walk`.
    pub name: &'static str,
    /// One line, without full stop.
    pub summary: &'static str,
    /// Where it begins.
    pub start: Start,
    /// What its addresses are, as a plural: "caches".
    pub yields: &'static str,
    /// Begins a walk.
    pub walk: for<'a> fn(&'a Subject<'a>, Option<u64>) -> Result<Steps<'a>, WalkError>,
}

/// Where a walk begins; the word says what the address is: "cache".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// It takes no address.
    Nothing,
    /// At an address, else it goes through all.
    Optional(&'static str),
    /// At an address.
    Required(&'static str),
}

/// The addresses of a walk. A damage is what could not be walked; the walk goes on behind it.
pub type Steps<'a> = Box<dyn Iterator<Item = Result<u64, Damage>> + 'a>;

/// Why a walk does not begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WalkError {
    /// There is no such walker.
    #[error("unknown walk name")]
    Unknown,
    /// It needs an address.
    #[error("{0} doesn't support global walks")]
    NotGlobal(&'static str),
    /// It takes no address.
    #[error("{0} takes no address")]
    OnlyGlobal(&'static str),
    /// The address is not what it should be, or something else is wrong.
    #[error("{0}")]
    Failed(String),
    /// It was stopped by request.
    #[error("interrupted")]
    Cancelled,
}

impl From<Damage> for WalkError {
    fn from(damage: Damage) -> Self {
        Self::Failed(damage.to_string())
    }
}

impl From<Cancelled> for WalkError {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

/// Steps that cannot fail.
pub fn steps<'a>(addresses: impl Iterator<Item = u64> + 'a) -> Steps<'a> {
    Box::new(addresses.map(Ok))
}

/// The walker with a name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Walker> {
    WALKERS.iter().copied().find(|walker| walker.name == name)
}

/// Begins a walk by the name of a walker, or by that of a cache, whose allocated buffers it gives.
///
/// # Errors
/// When there is no such walker, or it cannot begin there.
pub fn begin<'a>(
    subject: &'a Subject<'a>,
    name: &str,
    start: Option<u64>,
) -> Result<Steps<'a>, WalkError> {
    let Some(walker) = find(name) else {
        if let Some(walk) = umem_ptc::of_size(subject, name, start) {
            return walk;
        }
        let cache = subject
            .heap
            .cache_named(name)
            .ok_or(WalkError::Unknown)?
            .address;
        return (umem::WALKER.walk)(subject, Some(cache));
    };
    match (walker.start, start) {
        (Start::Required(_), None) => Err(WalkError::NotGlobal(walker.name)),
        (Start::Nothing, Some(_)) => Err(WalkError::OnlyGlobal(walker.name)),
        _ => (walker.walk)(subject, start),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        analysis::Cancel,
        heap::synthetic::{Builder, victim},
        symbols::Symbols,
    };

    #[test]
    fn every_file_of_the_folder_is_listed() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/walkers");
        let files = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let mut files: Vec<String> = files
            .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .filter(|name| name != "mod")
            .collect();
        files.sort();
        let mut names: Vec<&str> = WALKERS.iter().map(|walker| walker.name).collect();
        assert!(names.is_sorted());
        // A file may hold several walkers that differ in little; each file holds one of its own name.
        names.retain(|name| files.iter().any(|file| file == name));
        assert_eq!(names, files);
    }

    #[test]
    fn walks_begin_where_they_can() {
        let (mut builder, _) = victim();
        builder.publish();
        let (target, heap, cancel) = (builder.target(), builder.heap(), Cancel::new());
        let symbols = Symbols::new(&target);
        let subject = Subject::new(&target, &symbols, &heap, &cancel);
        let walk = |name: &str, start| {
            begin(&subject, name, start)
                .map(|steps| steps.filter_map(Result::ok).collect::<Vec<u64>>())
        };
        let caches = walk("umem_cache", None).unwrap();
        assert_eq!(caches[0], builder.caches[0].0);
        assert_eq!(
            walk("umem", Some(caches[0])).unwrap(),
            walk("umem_alloc_64", None).unwrap()
        );
        assert_eq!(
            walk("umem_cache", Some(8)),
            Err(WalkError::OnlyGlobal("umem_cache"))
        );
        assert_eq!(walk("nothing", None), Err(WalkError::Unknown));
        assert!(walk("umem", Some(8)).is_err());
    }

    /// The addresses of a walk on the heap of a builder, and how many damages it named.
    fn walked(
        builder: &Builder,
        name: &str,
        start: Option<u64>,
    ) -> Result<(Vec<u64>, usize), WalkError> {
        let (target, heap, cancel) = (builder.target(), builder.heap(), Cancel::new());
        let symbols = Symbols::new(&target);
        let subject = Subject::new(&target, &symbols, &heap, &cancel);
        let (good, bad): (Vec<_>, Vec<_>) = begin(&subject, name, start)?.partition(Result::is_ok);
        Ok((good.into_iter().flatten().collect(), bad.len()))
    }

    fn addresses(builder: &Builder, name: &str, start: Option<u64>) -> Vec<u64> {
        walked(builder, name, start).unwrap().0
    }

    #[test]
    fn records_of_an_audited_heap() {
        let (mut builder, [kept, lost, freed]) = victim();
        builder.publish();
        let cache = Some(builder.caches[0].0);
        let log = builder.heap().log(1).unwrap();
        let entry = |sequence| log.entry_address(sequence).unwrap();
        let cases: [(&str, Option<u64>, Vec<u64>); 15] = [
            ("umem", None, vec![kept.address, lost.address]),
            ("bufctl", None, vec![kept.record, lost.record]),
            ("bufctl", cache, vec![kept.record, lost.record]),
            ("freectl", cache, vec![freed.record]),
            ("umem_hash", cache, vec![kept.record, lost.record]),
            ("bufctl_history", Some(freed.record), vec![freed.record]),
            ("bufctl_history", Some(entry(2)), vec![entry(2)]),
            ("allocdby", Some(7), vec![lost.record, kept.record]),
            ("freedby", Some(8), vec![freed.record]),
            ("freedby", Some(7), vec![]),
            ("umem_log", None, (1..=4).rev().map(entry).collect()),
            (
                "umem_log",
                Some(log.address),
                (1..=4).rev().map(entry).collect(),
            ),
            ("leak", None, vec![lost.record]),
            ("leak", Some(lost.address), vec![lost.record]),
            ("leakbuf", Some(lost.record), vec![lost.address]),
        ];
        for (name, start, expected) in cases {
            assert_eq!(
                addresses(&builder, name, start),
                expected,
                "{name} {start:x?}"
            );
        }
        let free = addresses(&builder, "freemem", cache);
        assert_eq!(free.len(), 680);
        assert_eq!(free[0], freed.address);
        let failure = |name, start| walked(&builder, name, start).unwrap_err().to_string();
        assert_eq!(
            failure("leak", Some(kept.record)),
            format!("{:x} is not a leaked ctl address", kept.record)
        );
        assert_eq!(failure("bufctl_history", Some(8)), "8 is not a bufctl");
        assert_eq!(
            failure("umem_slab", None),
            "umem_slab doesn't support global walks"
        );
    }

    #[test]
    fn magazines_slabs_and_threads() {
        let mut builder = Builder::new();
        let cache = builder.cache("umem_alloc_32", 32, 0);
        let slab = builder.slab(cache);
        let made = [(); 6].map(|()| builder.alloc(slab, 32, 0));
        let full = builder.cache("umem_alloc_65536", 1 << 16, 0);
        let one = builder.slab(full);
        builder.alloc(one, 1 << 16, 0);
        builder.thread(7, cache, &made[..2], (0, 0));
        builder.thread(8, cache, &made[2..3], (0, 0));
        builder.publish();
        let [small, large] = [cache, full].map(|cache| Some(builder.caches[cache].0));
        let heap = builder.heap();
        let buffers = |range: std::ops::Range<usize>| {
            made[range]
                .iter()
                .map(|made| made.address)
                .collect::<Vec<_>>()
        };
        let cases: [(&str, Option<u64>, Vec<u64>); 11] = [
            ("umem_alloc_32", None, buffers(3..6)),
            ("umem_ptc", None, buffers(0..3)),
            ("umem_ptc", Some(8), buffers(2..3)),
            ("umem_ptc_32", Some(7), buffers(0..2)),
            ("umem_ptc_65536", None, vec![]),
            (
                "umem_cpu",
                None,
                heap.threads.iter().map(|thread| thread.0).collect(),
            ),
            (
                "umem_cpu_cache",
                small,
                heap.held.iter().map(|held| held.address).collect(),
            ),
            ("umem_slab", large, vec![heap.slabs[1].address]),
            ("umem_slab_partial", small, vec![heap.slabs[0].address]),
            ("umem_slab_partial", large, vec![]),
            ("bufctl", None, vec![]),
        ];
        for (name, start, expected) in cases {
            assert_eq!(
                addresses(&builder, name, start),
                expected,
                "{name} {start:x?}"
            );
        }
        let free = addresses(&builder, "freemem", small);
        assert_eq!(free[..3], buffers(0..3));
        assert_eq!(free.len(), 2048 - 3);
        let failure = |name, start| walked(&builder, name, start).unwrap_err().to_string();
        assert!(failure("umem_hash", small).contains("doesn't have a hash table"));
        assert!(failure("umem_ptc", Some(9)).contains("there is no thread"));
        assert_eq!(failure("umem_ptc_7", None), "unknown walk name");
        let log = heap.logs().0[0].address;
        assert!(failure("umem_log", Some(log + 8)).starts_with("no log is at"));
    }

    #[test]
    fn arenas_and_their_segments() {
        let mut builder = Builder::new();
        let top = builder.arena("top", None, &[64, 64, 64]);
        let child = builder.arena("child", Some(top), &[64]);
        builder.publish();
        assert_eq!(addresses(&builder, "vmem", None), [top, child]);
        assert_eq!(addresses(&builder, "vmem", Some(child)), [child]);
        assert_eq!(addresses(&builder, "vmem_postfix", None), [child, top]);
        let heap = builder.heap();
        let all: Vec<u64> = heap
            .segments(&heap.arenas[0])
            .elements
            .iter()
            .map(|(at, _)| *at)
            .collect();
        let of = |name| addresses(&builder, name, Some(top));
        assert_eq!(of("vmem_seg"), all);
        assert_eq!(of("vmem_span"), all[..1]);
        assert_eq!(of("vmem_alloc"), [all[1], all[3]]);
        assert_eq!(of("vmem_free"), [all[2]]);
        builder.write_word(all[2] + 0x18, all[0]);
        assert_eq!(
            walked(&builder, "vmem_seg", Some(top)),
            Ok((all[..3].to_vec(), 1))
        );
        assert!(walked(&builder, "vmem_seg", Some(8)).is_err());
    }
}
