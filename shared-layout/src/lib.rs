//! The contract between `libumem.so`, which publishes these structures in its own memory, and `umdb`,
//! which reads them out of another process or a core file.
//!
//! 1. **Everything is reachable from [`UmemRoot`]**, which is found by the dynamic symbol
//!    [`ROOT_SYMBOL`] or by the ELF note [`NOTE_NAME`]/[`NOTE_TYPE`].
//! 2. **Plain integers only.** 64-bit addresses, explicit padding, no `bool`, `enum`, `Option` or
//!    reference. The allocator views counters through atomics; the debugger copies bytes.
//! 3. **Versions.** Another major: stop, and name both. A newer minor: read the known prefix. Major 0
//!    promises nothing. A bit of `features_required` that the reader does not know means that it
//!    must not give verdicts.
//! 4. **Sizes are strides.** The root publishes the size of each structure; structures grow at their
//!    end only, and a reader never strides by its own `size_of`.
//! 5. **Unknown values stay numbers.** A reader keeps a state or kind that it does not know.
//!
//! Offsets are written beside each field and asserted at compile time; the whole listing is kept in
//! `layout.golden`, so that any change shows in review.
#![no_std]

mod copy;
mod patterns;
mod plain;
mod snapshot;
mod structs;

pub use copy::*;
pub use patterns::*;
pub use plain::{Field, Plain, Published};
pub use snapshot::*;
pub use structs::*;

/// All published structures in the order of [`UmemRoot::struct_sizes`].
pub const STRUCTS: &[(&str, usize, &[Field])] = &structs::ALL;

/// Writes the listing of every structure, field by field, as kept in `layout.golden`.
///
/// # Errors
/// Only those of `out`.
pub fn write_listing(out: &mut dyn core::fmt::Write) -> core::fmt::Result {
    writeln!(out, "layout {LAYOUT_MAJOR}.{LAYOUT_MINOR}")?;
    for (name, size, fields) in STRUCTS {
        writeln!(out, "\n{name} {size:#x}")?;
        for field in *fields {
            writeln!(
                out,
                "  {:#06x} {:<6} {:<24} {}",
                field.offset, field.size, field.name, field.kind
            )?;
        }
    }
    Ok(())
}
