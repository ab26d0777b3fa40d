//! `umem`: a slab, magazine and vmem allocator that publishes its state for the debugger `umdb`.
//!
//! In a Rust program [`Umem`] is a global allocator, and [`TypedCache`] keeps constructed objects of one type.
//!
//! As a preloaded library it is built by the crate `umem-preload`, which exports the malloc family over this one.
//! Layers, each using only those before it:
//!
//! ```text
//! sys → raw, sync → unwind → vmem → debug → cache → thread, publish → init → fork → reserve, checked → relief → malloc, stats → abi
//! ```
//!
//! Locks, outermost first: init; relief; list of threads; list of caches; a cache's depot; a cache's slab layer; list of arenas; an arena;
//! regions; segments; stack depot. No lock is held while a stack is captured, a report written or the program
//! called.
#![no_std]

pub use abi::{Object, TypedCache, Umem};

#[cfg(test)]
extern crate std;

pub mod abi;
pub mod cache;
mod checked;
pub mod debug;
pub mod fork;
pub mod init;
pub mod malloc;
pub mod publish;
pub mod raw;
mod relief;
mod reserve;
pub mod stats;
pub mod sync;
pub mod sys;
pub mod thread;
pub mod unwind;
pub mod vmem;
