//! What UMEM_OPTIONS asks of the layers above and below: kept here until they are set up.
//!
//! These are not published: no analysis depends on them.

use super::message::note;
use crate::vmem::{self, Fit};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Threads that the magazines of all threads together are meant for: they keep this many times `perthread_cache` bytes.
pub static CONCURRENCY: AtomicU64 = AtomicU64::new(4);
/// Contentions of a depot's lock between two updates beyond which its magazines grow.
pub static MAX_CONTENTION: AtomicU64 = AtomicU64::new(2);

/// A change of the table of malloc's sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeChange {
    /// Adds a size.
    Add(u64),
    /// Removes one.
    Remove(u64),
    /// Removes all but the largest.
    Clear,
}

const CHANGES_MAX: usize = 64;
const ADD: u64 = 1 << 62;
const REMOVE: u64 = 2 << 62;
const CLEAR: u64 = 3 << 62;
static CHANGES: [AtomicU64; CHANGES_MAX] = [const { AtomicU64::new(0) }; CHANGES_MAX];
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// The changes asked for, in order.
pub fn size_changes() -> impl Iterator<Item = SizeChange> {
    CHANGES[..COUNT.load(Ordering::Relaxed)]
        .iter()
        .map(|entry| {
            let value = entry.load(Ordering::Relaxed);
            match value & CLEAR {
                ADD => SizeChange::Add(value & !CLEAR),
                REMOVE => SizeChange::Remove(value & !CLEAR),
                _ => SizeChange::Clear,
            }
        })
}

fn push(change: u64) {
    let index = COUNT.load(Ordering::Relaxed);
    match CHANGES.get(index) {
        Some(entry) => {
            entry.store(change, Ordering::Relaxed);
            COUNT.store(index + 1, Ordering::Relaxed);
        }
        None => note(format_args!(
            "UMEM_OPTIONS: more than {CHANGES_MAX} changes of sizes. ignored\n"
        )),
    }
}

pub(super) fn add_size(size: Option<u64>) {
    match size {
        Some(size) => push(ADD | size.min(!CLEAR)),
        None => note(format_args!(
            "UMEM_OPTIONS: size_add: requires a value. ignored\n"
        )),
    }
}

pub(super) fn remove_size(size: Option<u64>) {
    match size {
        Some(size) => push(REMOVE | size.min(!CLEAR)),
        None => note(format_args!(
            "UMEM_OPTIONS: size_remove: requires a value. ignored\n"
        )),
    }
}

pub(super) fn clear_sizes() {
    push(CLEAR);
}

pub(super) fn set(what: &AtomicU64, value: Option<u64>) {
    if let Some(value) = value {
        what.store(value.max(1), Ordering::Relaxed);
    }
}

pub(super) fn backend(word: &str) -> Result<(), &'static str> {
    match word {
        "mmap" => Ok(()),
        "sbrk" => Err("the heap comes from mmap on Linux, where others move the break. ignored"),
        _ => Err("must be backend=sbrk or backend=mmap"),
    }
}

pub(super) fn allocator(word: &str) -> Result<(), &'static str> {
    let fit = match word {
        "best" => Fit::Best,
        "first" => Fit::First,
        "next" => Fit::Next,
        "instant" => Fit::Instant,
        _ => {
            return Err(
                "must be allocator=best, allocator=next, allocator=first or allocator=instant",
            );
        }
    };
    vmem::place_by(Some(fit));
    Ok(())
}
