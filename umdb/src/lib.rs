//! `umdb`: looks at the heap of a process that runs under `libumem.so`, or at its core.
//!
//! Data flows from left to right, and a module uses the ones to its left, never to its right:
//!
//! ```text
//! target → symbols → layout → heap → analysis → walkers → lang → dcmds → exec → front
//!                                                 report → dcmds;  render → front
//! ```
//!
//! Nothing that is read from a target, a core, a debug file or a command line is believed: loops are
//! bounded, sizes checked, cycles detected, and what could not be read is part of the answer.

pub mod analysis;
pub mod dcmds;
pub mod exec;
pub mod front;
pub mod heap;
pub mod lang;
pub mod layout;
pub mod render;
pub mod report;
pub mod symbols;
pub mod target;
pub mod walkers;
