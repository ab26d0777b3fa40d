//! What programs call beside the malloc family: libumem's C API, and the API for Rust.
//!
//! **Owns** the semantics of umem_alloc(3), umem_cache_create(3), vmem_create(3) and their kin; `umem-preload` only
//! gives them their C names. **May use** all layers. **Promises** that no lock is held while a function of the program is
//! called: constructors, destructors, reclaim, import, release, the callback for allocations that may not fail.
#![allow(unsafe_code)]

pub mod arena;
pub mod nofail;
pub mod object;
pub mod reap;
mod rust;
pub mod sized;
mod typed;
pub mod verify;

pub use rust::Umem;
pub use typed::{CreateError, Object, TypedCache};
