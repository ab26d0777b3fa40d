//! Which memory a search for leaks looks at, mapping by mapping, and why not at the rest.

use super::{Scene, code, roots};

/// A mapping as a search for leaks sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    /// First address.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// Name of the mapping.
    pub name: Option<String>,
    /// Bytes in which everything counts as alive.
    pub roots: u64,
    /// Bytes that count once something alive points there.
    pub transit: u64,
    /// Why it is looked at, or is not.
    pub reason: String,
}

/// All mappings in order of address.
#[must_use]
pub fn mappings(scene: &Scene<'_>) -> Vec<Coverage> {
    let found = roots::find(scene);
    let own = scene.heap.span_ranges();
    let mappings = scene.target.mappings.iter();
    mappings
        .map(|mapping| {
            let here = (mapping.start, mapping.end);
            let roots: u64 = found
                .ranges
                .iter()
                .map(|root| common(root.range, here))
                .sum();
            let transit: u64 = found.transit.iter().map(|&range| common(range, here)).sum();
            let kind = found
                .ranges
                .iter()
                .find(|root| common(root.range, here) > 0);
            let is_own = own.iter().any(|&range| common(range, here) > 0);
            let reason = match kind {
                Some(root) => format!("roots: {}", root.kind),
                None if transit > 0 => "counts where something alive points to it".to_owned(),
                None if is_own => "heap: what is searched for, and the allocator's own".to_owned(),
                None if !mapping.read => "ignored: not readable".to_owned(),
                None if code::is_made(mapping) => {
                    "code that the program made: addresses at any byte count".to_owned()
                }
                None if !mapping.write => {
                    "ignored: read-only, so that it holds no heap pointer".to_owned()
                }
                None => "ignored: memory of ended threads or of the library".to_owned(),
            };
            Coverage {
                start: mapping.start,
                end: mapping.end,
                name: mapping.name.clone(),
                roots,
                transit,
                reason,
            }
        })
        .collect()
}

/// Bytes that two ranges have in common.
fn common(a: (u64, u64), b: (u64, u64)) -> u64 {
    a.1.min(b.1).saturating_sub(a.0.max(b.0))
}
