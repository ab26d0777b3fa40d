//! Walkers: they give addresses, one by one.
//!
//! **Owns** what each walker yields and where it may begin, one file a walker. **May use** everything up to `analysis`.
//! **Promises** walks that end (they step through the decoded heap, whose lists are cut where they loop), that go on
//! behind what is damaged and name it, and that can be left or cancelled after any step.
//!
//! A new walker is a new file and its row in [`WALKERS`]:
//!
//! ```ignore
//! pub(super) const WALKER: Walker = Walker {
//!     name: "umem_cache",
//!     summary: "walk the caches of the allocator",
//!     start: Start::Nothing,
//!     yields: "caches",
//!     walk: |subject, _| Ok(steps(subject.heap.caches.iter().map(|cache| cache.address))),
//! };
//! ```

mod thread;
mod umem;
mod umem_cache;

use crate::{
    analysis::{Cancelled, Subject},
    layout::Damage,
};

/// All walkers, in the order of the alphabet.
pub const WALKERS: &[&Walker] = &[&thread::WALKER, &umem::WALKER, &umem_cache::WALKER];

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
    use crate::{analysis::Cancel, heap::synthetic::victim, symbols::Symbols};

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
}
