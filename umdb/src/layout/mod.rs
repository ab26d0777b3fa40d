//! The structures that `libumem.so` publishes, read out of a target.
//!
//! **Owns** the search for the root record, the check of its version, and every decoding of a published
//! structure. **May use** `target` and `symbols`. **Promises** bounded work whatever the bytes say: strides are the
//! published ones and plausible, lists end, loops are noticed, and what is wrong is a [`Damage`], not a
//! failure.

mod reader;
mod root;

pub use reader::{Damage, Listed, Reader};
pub use root::{Root, RootError, find_root};
