//! Copies of the C++ library inside of other objects.
//!
//! An object that is linked with `-static-libstdc++` has operators new and delete of its own, which call malloc and free. What one such
//! object allocates and another one deletes (or the other way round) looks like a mistake of families and is none. Whose
//! operators they are cannot be seen from a call of malloc, but such an object is known by a text that each copy of the library holds.

use super::depot;
use crate::unwind::{self, Object};
use core::sync::atomic::{AtomicUsize, Ordering};

/// What `std::bad_alloc::what` returns: it comes with `operator new`.
const TEXT: &[u8] = b"std::bad_alloc\0";

/// Objects that were looked at, since each look reads all of one: where they start, a multiple of a page, and the answer in the lowest bit.
static KNOWN: [AtomicUsize; 16] = [const { AtomicUsize::new(0) }; 16];

/// Whether the object that called an allocation function, whose return address is `pc`, has a C++ library inside.
pub fn are_inside(pc: usize) -> bool {
    unwind::object_of(pc.wrapping_sub(1)).is_some_and(|object| hold(&object))
}

/// As [`are_inside`], for the caller of a stack of the depot; without a stack, whether any object has.
pub fn are_inside_caller(stack: u32) -> bool {
    let mut first = None;
    depot::for_each_frame(stack, |pc, _| first = first.or(Some(pc)));
    match first {
        Some(pc) => are_inside(pc),
        None => unwind::any_object(|object| {
            !object.short_name().starts_with(b"libstdc++.so") && hold(object)
        }),
    }
}

fn hold(object: &Object) -> bool {
    let known = KNOWN
        .iter()
        .map(|known| known.load(Ordering::Relaxed))
        .find(|known| known & !1 == object.start());
    match known {
        Some(known) => known & 1 != 0,
        None => keep(object, object.holds(TEXT)),
    }
}

fn keep(object: &Object, answer: bool) -> bool {
    let value = object.start() | usize::from(answer);
    let _ = KNOWN.iter().find(|known| {
        known
            .compare_exchange(0, value, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    });
    answer
}
