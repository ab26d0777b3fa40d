//! The system: memory, threads, time, environment, and the end of the process.
//!
//! **Owns** every system call and every libc function that the allocator uses. **May use** nothing else of the
//! crate. **Promises** that nothing here allocates, and that `errno` is left alone: system calls are made
//! directly, not through libc's wrappers.

pub mod clock;
pub mod environment;
pub mod futex;
pub mod memory;
pub mod process;
pub mod rseq;
pub mod single;
mod snapshot;
pub mod tls;
