//! Object caches of one Rust type.

use super::{object, rust::entry};
use crate::{
    cache::{Blueprint, Refusal},
    raw::CacheRef,
    unwind::Entry,
};
use core::{
    ffi::{c_int, c_void},
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut},
    ptr::{NonNull, with_exposed_provenance_mut},
};

entry! {
    allocate(cache) -> usize => do_allocate, "rsi", "rdx";
    free(cache, address) => do_free, "rdx", "rcx";
    destroy(cache) => do_destroy, "rsi", "rdx";
}

unsafe extern "C" fn do_allocate(cache: usize, sp: usize, fp: usize) -> usize {
    // SAFETY: a typed cache's address; the cache lives as long as the typed cache does.
    let cache = unsafe { CacheRef::from_address(cache) };
    object::allocate(cache, 0, Entry { sp, fp })
}

unsafe extern "C" fn do_free(cache: usize, address: usize, sp: usize, fp: usize) {
    // SAFETY: as above; the object is one of the cache, and its handle is being dropped.
    unsafe { object::free(CacheRef::from_address(cache), address, Entry { sp, fp }) }
}

unsafe extern "C" fn do_destroy(cache: usize, sp: usize, fp: usize) {
    // SAFETY: as above; the typed cache is being dropped.
    unsafe { object::destroy(CacheRef::from_address(cache), Entry { sp, fp }) };
}

/// A cache of objects of one type, which stay constructed while they are free.
///
/// What costs time to set up (a lock, a buffer with its capacity, a parsed table) is set up once and kept: an object that is dropped
/// goes back to the cache as it is, and is handed out again in that state. Objects are really dropped when memory is short
/// or the cache ends. In debugged caches (`UMEM_DEBUG=guards`) each object is constructed and dropped at every turn, because
/// free memory is then filled with a pattern: what an object holds between two uses is a hint and no promise.
///
/// ```
/// # use umem::TypedCache;
/// let lines: TypedCache<Vec<u8>> = TypedCache::new("lines", || Vec::with_capacity(4096))?;
///
/// let mut line = lines.get().expect("memory");
/// line.clear();
/// line.extend_from_slice(b"hello");
/// assert_eq!(line.as_slice(), b"hello");
/// drop(line); // The vector keeps its capacity for whoever gets it next.
///
/// assert!(lines.get().expect("memory").capacity() >= 4096);
/// # Ok::<(), umem::abi::CreateError>(())
/// ```
///
/// Objects cannot outlive their cache:
///
/// ```compile_fail,E0505
/// # use umem::TypedCache;
/// let cache = TypedCache::new("numbers", || 0_u32).unwrap();
/// let number = cache.get().unwrap();
/// drop(cache);
/// println!("{}", *number);
/// ```
pub struct TypedCache<T> {
    cache: CacheRef,
    objects: PhantomData<fn() -> T>,
    owned: PhantomData<T>,
}

// SAFETY: the cache works from any thread; an object that one thread made and left may be handed to another, or be dropped by
// another, which `T: Send` allows. No reference to an object is shared.
unsafe impl<T: Send> Sync for TypedCache<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for TypedCache<T> {}

/// Why a [`TypedCache`] could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateError {
    /// The type is aligned to more than a page.
    Alignment,
    /// The type is larger than two gigabytes.
    Size,
    /// No memory for the cache itself.
    Memory,
}

impl fmt::Display for CreateError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Alignment => "objects of a cache can be aligned to a page at most",
            Self::Size => "objects of a cache can have two gigabytes at most",
            Self::Memory => "no memory for a cache",
        })
    }
}

impl core::error::Error for CreateError {}

unsafe extern "C" fn construct<T>(buffer: *mut c_void, make: *mut c_void, _flags: c_int) -> c_int {
    // SAFETY: the datum of the cache is the function that `TypedCache::new` was given.
    let make = unsafe { core::mem::transmute::<*mut c_void, fn() -> T>(make) };
    // SAFETY: the cache's buffers have the size and alignment of `T`.
    unsafe { buffer.cast::<T>().write(make()) };
    0
}

unsafe extern "C" fn destruct<T>(buffer: *mut c_void, _make: *mut c_void) {
    // SAFETY: the buffer holds an object that `construct` made.
    unsafe { buffer.cast::<T>().drop_in_place() };
}

impl<T: Send + 'static> TypedCache<T> {
    /// Creates a cache; `::umem_cache` of `umdb` shows it under its name, of which 31 bytes are kept. `make` makes an object. A panic in it,
    /// or in an object's drop, ends the process.
    ///
    /// # Errors
    /// There is no memory, or the type is too large or aligned to more than a page.
    pub fn new(name: &str, make: fn() -> T) -> Result<Self, CreateError> {
        let blueprint = Blueprint {
            name: name.as_bytes(),
            size: size_of::<T>().max(1),
            align: align_of::<T>(),
            constructor: Some(construct::<T>),
            destructor: Some(destruct::<T>),
            reclaim: None,
            private: make as usize as u64,
            source: None,
            cflags: 0,
        };
        let cache = object::create(&blueprint).map_err(|refusal| match refusal {
            Refusal::Invalid => CreateError::Alignment,
            Refusal::TooLarge => CreateError::Size,
            Refusal::NoMemory => CreateError::Memory,
        })?;
        Ok(Self {
            cache,
            objects: PhantomData,
            owned: PhantomData,
        })
    }

    /// Gets an object, one that was used before or a new one. None: no memory.
    #[inline]
    pub fn get(&self) -> Option<Object<'_, T>> {
        // SAFETY: the cache lives.
        let address = unsafe { allocate(self.cache.address()) };
        let object = NonNull::new(with_exposed_provenance_mut(address))?;
        Some(Object {
            object,
            cache: self,
        })
    }
}

impl<T> TypedCache<T> {
    /// Address of the cache's published structure, as `umdb` names it.
    #[must_use]
    pub fn address(&self) -> usize {
        self.cache.address()
    }
}

impl<T> fmt::Debug for TypedCache<T> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_tuple("TypedCache").field(&self.cache).finish()
    }
}

impl<T> Drop for TypedCache<T> {
    fn drop(&mut self) {
        // SAFETY: objects borrow the cache, so none is in use but for those that were forgotten; no thread is in a call.
        unsafe { destroy(self.cache.address()) };
    }
}

/// An object of a [`TypedCache`], which goes back to it when the handle is dropped.
pub struct Object<'cache, T> {
    object: NonNull<T>,
    cache: &'cache TypedCache<T>,
}

// SAFETY: a handle owns its object as a box does; the cache may be used from any thread.
unsafe impl<T: Send> Send for Object<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Object<'_, T> {}

impl<T> Deref for Object<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the object is constructed and belongs to this handle.
        unsafe { self.object.as_ref() }
    }
}

impl<T> DerefMut for Object<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { self.object.as_mut() }
    }
}

impl<T: fmt::Debug> fmt::Debug for Object<'_, T> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(to)
    }
}

impl<T> Drop for Object<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the object is one of the cache, constructed, and used no more.
        unsafe {
            free(
                self.cache.address(),
                self.object.as_ptr().expose_provenance(),
            )
        };
    }
}
