//! Short names for relaxed atomic access, and statics with interior mutability.

use core::{
    cell::UnsafeCell,
    sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering},
};

/// Relaxed access to one published integer.
pub trait Cell {
    /// The integer.
    type Value;
    /// Reads it.
    fn get(&self) -> Self::Value;
    /// Writes it.
    fn set(&self, value: Self::Value);
    /// Adds to it; only for integers that one lock protects.
    fn add(&self, value: Self::Value);
    /// Subtracts from it; only for integers that one lock protects.
    fn subtract(&self, value: Self::Value);
}

macro_rules! cell {
    ($($atomic:ty: $value:ty),*) => { $(
        impl Cell for $atomic {
            type Value = $value;
            #[inline(always)]
            fn get(&self) -> $value { self.load(Ordering::Relaxed) }
            #[inline(always)]
            fn set(&self, value: $value) { self.store(value, Ordering::Relaxed) }
            #[inline(always)]
            fn add(&self, value: $value) { self.set(self.get().wrapping_add(value)) }
            #[inline(always)]
            fn subtract(&self, value: $value) { self.set(self.get().wrapping_sub(value)) }
        }
    )* };
}
cell!(AtomicU8: u8, AtomicU16: u16, AtomicU32: u32, AtomicU64: u64);

/// A static whose contents are reached by address only.
#[repr(transparent)]
pub struct Global<T>(UnsafeCell<T>);

// SAFETY: the contents are only handed out as an address; who makes references of it argues for them.
unsafe impl<T> Sync for Global<T> {}

impl<T> Global<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }
    /// Its address.
    pub const fn get(&self) -> *mut T {
        self.0.get()
    }
}
