//! What the tests of this project stand on: victims, their cores, the debugger, and transcripts.
//!
//! **Owns** every process and file that a test makes, and ends or removes it. **May use** the published layout,
//! never the code of `umdb` or of the allocator: both are looked at as a user sees them, as
//! `libumem.so` and `umdb`. **Promises** that no test waits for ever, obeys the developer's environment, or passes
//! without having run (see [`NotRun`]).
//!
//! ```text
//! artifacts → victim → cores → image          a program, its process, its core, a damaged copy
//!             command → umdb → normal → transcript    what was typed, what came back, what is the same
//! ```

pub mod artifacts;
pub mod command;
pub mod cores;
pub mod image;
pub mod normal;
mod not_run;
pub mod transcript;
pub mod umdb;
pub mod victim;

pub use not_run::{NotRun, Outcome, need_program};
