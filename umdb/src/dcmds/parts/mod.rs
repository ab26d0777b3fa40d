//! What commands share.

pub(super) mod absent;
pub(super) mod answers;
pub(super) mod args;
pub(super) mod by_thread;
pub(super) mod context;
pub(super) mod coverage;
pub(super) mod disassembly;
pub(super) mod distribution;
pub(super) mod estimates;
pub mod fields;
pub(super) mod filter;
pub(super) mod format;
pub(super) mod groups;
pub(super) mod holder;
#[cfg(test)]
mod hostile;
pub(super) mod log;
pub(super) mod operands;
pub mod page;
pub(super) mod places;
pub(super) mod record;
pub mod registers;
pub(super) mod requests;
pub(super) mod scalars;
pub(super) mod scan;
pub(super) mod search;
pub(super) mod show;
pub(super) mod stacks;
pub(super) mod state;
pub(super) mod suppressed;
#[cfg(test)]
pub(super) mod testing;
pub(super) mod threads;
pub(super) mod types;
pub(super) mod values;
pub(super) mod values_shown;
