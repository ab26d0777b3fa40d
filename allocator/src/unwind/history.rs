//! The history of modules: which object lay where, and until when, so that a stack keeps its meaning when a library is closed.
//!
//! # Theory
//! 1. An *epoch* begins whenever an object is unloaded. A module's record tells in which epoch it was first met on a stack and with
//!    which epoch it was gone; a stack in the depot tells an epoch in which all of its modules were loaded. So a program
//!    counter of a stack names one module, whatever lies at its address now: of those that held the address then, the
//!    last one loaded.
//! 2. A stack that is met again is the same one when the modules under it are those of its epoch, or have come back. Then its epoch is set to
//!    the present one, so that this is looked at once an epoch and not at each capture.
//! 3. Nothing asks the loader for its list, which would take its lock: a module is met when it is first seen on a stack, where it cannot
//!    go away, and it is gone when the loader frees its `struct link_map`. That happens after the unmapping and before
//!    another object is loaded. Where the loader's memory is not ours, see [`super::revalidate`].
//! 4. Records are only added, at the head of the list, and only `unloaded` and `link_map` of one change. A library that is loaded again at
//!    the same address, with the same build-id and path, and with nothing in between, has its old record again.

use super::{object::Object, object_of, rules};
use crate::{
    raw::{self, Cell, Global, ModuleRef, copy, root},
    sys::{memory, process},
};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use umem_layout::{Module, Plain, Span, span_kind};

/// Memory for records and paths: some 7000 modules. Untouched pages cost nothing.
const ROOM: usize = 1 << 20;
/// A path that is longer is cut at its start, and then leads to no file.
const PATH_MAX: usize = 512;

static EPOCH: AtomicU32 = AtomicU32::new(1);
static BASE: AtomicUsize = AtomicUsize::new(0);
static USED: AtomicUsize = AtomicUsize::new(0);

/// Makes room for the history. Without memory there is none, and what was recorded before an object was closed loses its names.
pub fn initialize() {
    static SPAN: Global<Span> = Global::new(Span::ZERO);
    if BASE.load(Ordering::Acquire) != 0 {
        return;
    }
    if let Some(base) = memory::map(ROOM) {
        // SAFETY: a static that is only accessed through handles; one thread sets the depot up, once.
        unsafe { raw::publish_span(SPAN.get() as usize, base, ROOM, span_kind::METADATA) };
        BASE.store(base, Ordering::Release);
    }
}

/// The epoch that it is now.
#[inline]
pub fn epoch() -> u32 {
    EPOCH.load(Ordering::Acquire)
}

fn records(first: u64) -> impl Iterator<Item = ModuleRef> {
    // SAFETY: links of the list are zero or records, which are never unmapped.
    let next = |link: u64| unsafe { ModuleRef::from_link(link) };
    core::iter::successors(next(first), move |record| next(record.next().get()))
}

fn all() -> impl Iterator<Item = ModuleRef> {
    records(root().modules().load(Ordering::Acquire))
}

fn holds(record: ModuleRef, address: usize) -> bool {
    (record.base().get()..record.end().get()).contains(&(address as u64))
}

/// Records the modules of return addresses that are on the calling thread's stack.
pub fn note(pcs: &[usize]) {
    let mut last = 0..0;
    for at in pcs.iter().map(|pc| pc.wrapping_sub(1)) {
        if last.contains(&at) {
            continue;
        }
        if let Some(object) = object_of(at) {
            last = object.start..object.end;
            note_object(&object);
        }
    }
}

/// Whether a module lay where it says in an epoch.
fn was_there(record: ModuleRef, epoch: u32) -> bool {
    let unloaded = record.unloaded().get();
    record.loaded().get() <= epoch && (unloaded == 0 || unloaded > epoch)
}

/// The module that held an address in an epoch. The newest stands first.
fn then(address: usize, epoch: u32) -> Option<ModuleRef> {
    all().find(|&record| holds(record, address) && was_there(record, epoch))
}

/// Whether the modules of return addresses on the calling thread's stack are those that held the addresses in an earlier epoch, or have come
/// back since.
#[cold]
pub fn is_unchanged(pcs: &[usize], since: u32) -> bool {
    note(pcs);
    let now =
        |address| all().find(|&record| holds(record, address) && record.unloaded().get() == 0);
    let mut last = None;
    pcs.iter().map(|pc| pc.wrapping_sub(1)).all(|address| {
        if last.is_some_and(|record| holds(record, address)) {
            return true;
        }
        last = now(address);
        match (then(address, since), last) {
            (None, None) => true,
            (Some(then), Some(now)) => then == now || are_same(then, now),
            _ => false,
        }
    })
}

/// Whether two records are of the same file at the same place.
fn are_same(one: ModuleRef, other: ModuleRef) -> bool {
    let place = |record: ModuleRef| (record.base().get(), record.end().get());
    place(one) == place(other)
        && !id_of(one).is_empty()
        && (id_of(one), path_in(one)) == (id_of(other), path_in(other))
}

/// The build-id in a record.
fn id_of(record: ModuleRef) -> &'static [u8] {
    let at = record.address() + core::mem::offset_of!(Module, build_id);
    // SAFETY: the bytes were written before the record was published, and stay; the size is at most theirs.
    unsafe { core::slice::from_raw_parts(at as *const u8, record.build_id_size().get() as usize) }
}

/// The path in a record.
fn path_in(record: ModuleRef) -> &'static [u8] {
    let (at, size) = (record.path().get(), record.path_size().get());
    // SAFETY: as in `id_of`.
    unsafe { core::slice::from_raw_parts(at as *const u8, size as usize) }
}

/// The module that held an address in an epoch, if it is gone: its path and its first address.
pub fn gone(address: usize, epoch: u32) -> Option<(&'static [u8], usize)> {
    let record = then(address, epoch).filter(|record| record.unloaded().get() != 0)?;
    Some((path_in(record), record.base().get() as usize))
}

/// The loader has freed memory: when it was the structure of a module that module is gone.
#[cold]
pub fn freed_by_loader(address: usize) {
    let is_it = |record: &ModuleRef| {
        record.link_map().get() == address as u64 && record.unloaded().get() == 0
    };
    if all().any(|record| is_it(&record)) {
        end(is_it);
    }
}

/// Objects were closed, and it is not known which: all count as gone until they are met again.
pub(super) fn forget() {
    end(|record| record.unloaded().get() == 0);
}

/// Begins an epoch in which some modules are gone, and forgets all rules.
fn end(is_gone: impl Fn(&ModuleRef) -> bool) {
    let now = EPOCH.fetch_add(1, Ordering::AcqRel) + 1;
    for record in all().filter(is_gone) {
        record.unloaded().store(now, Ordering::Release);
    }
    rules::forget();
}

// ---- adding a module ----

fn note_object(object: &Object) {
    let head = root().modules();
    let (mut first, mut made) = (head.load(Ordering::Acquire), None);
    loop {
        if is_known(first, object) {
            return;
        }
        let Some(record) = made.or_else(|| make(object)) else {
            return;
        };
        made = Some(record);
        record.next().set(first);
        record.loaded().set(epoch());
        match head.compare_exchange(first, record.link(), Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return copy::refresh(),
            // Another thread was first, perhaps with the same module.
            Err(now) => first = now,
        }
    }
}

/// Whether the last module that lay where an object lies is this object; one that is gone comes back if it is the same.
fn is_known(first: u64, object: &Object) -> bool {
    let overlaps = |record: &ModuleRef| {
        record.base().get() < object.end as u64 && (object.start as u64) < record.end().get()
    };
    let Some(last) = records(first).find(overlaps) else {
        return false;
    };
    let same_place =
        last.base().get() == object.start as u64 && last.end().get() == object.end as u64;
    if last.unloaded().get() == 0 {
        if same_place && last.link_map().get() == object.link_map() as u64 {
            return true;
        }
        // Its end was not noticed.
        end(|record| *record == last);
        return false;
    }
    let same = same_place && is_same_file(last, object);
    if same {
        last.link_map().set(object.link_map() as u64);
        last.unloaded().store(0, Ordering::Release);
    }
    same
}

fn is_same_file(record: ModuleRef, object: &Object) -> bool {
    let id = id_of(record);
    if id.is_empty() || object.build_id() != Some(id) {
        return false;
    }
    path_of(object, &mut [0; PATH_MAX]) == path_in(record)
}

fn make(object: &Object) -> Option<ModuleRef> {
    let mut path = [0; PATH_MAX];
    let path = path_of(object, &mut path);
    let address = take(size_of::<Module>() + path.len())?;
    let path_at = address + size_of::<Module>();
    // SAFETY: the room was just taken, for a record and the bytes of the path.
    let record = unsafe {
        core::ptr::copy_nonoverlapping(path.as_ptr(), path_at as *mut u8, path.len());
        ModuleRef::from_address(address)
    };
    let mut id = [0; 32];
    let known = object.build_id().unwrap_or(&[]);
    id.iter_mut().zip(known).for_each(|(to, from)| *to = *from);
    record.initialize(Module {
        base: object.start as u64,
        end: object.end as u64,
        build_id: id,
        build_id_size: known.len() as u32,
        path_size: path.len() as u32,
        path: path_at as u64,
        link_map: object.link_map() as u64,
        ..Module::ZERO
    });
    Some(record)
}

/// Room for a record, aligned to 8. None: the history is full.
fn take(size: usize) -> Option<usize> {
    let size = size.next_multiple_of(8);
    let base = BASE.load(Ordering::Acquire);
    if base == 0 || USED.load(Ordering::Relaxed) + size > ROOM {
        return None;
    }
    let at = USED.fetch_add(size, Ordering::Relaxed);
    (at + size <= ROOM).then_some(base + at)
}

/// The path by which an object can be opened later: that of the program is asked of the kernel, and a relative one is made absolute by the
/// folder in which the process is now.
fn path_of<'a>(object: &'a Object, storage: &'a mut [u8; PATH_MAX]) -> &'a [u8] {
    let name = object.name();
    if name.is_empty() {
        let length = process::executable(storage);
        return storage.get(..length).unwrap_or(&[]);
    }
    // Names without a folder are those of the vdso and its kin.
    if name.starts_with(b"/") || !name.contains(&b'/') {
        return name.get(..name.len().min(PATH_MAX)).unwrap_or(&[]);
    }
    let length = process::folder(storage);
    let parts = b"/".iter().chain(name);
    let mut end = length;
    for (to, from) in storage.iter_mut().skip(length).zip(parts) {
        *to = *from;
        end += 1;
    }
    storage.get(..end).unwrap_or(&[])
}

/// Whether the pages of a range can be read.
pub(super) fn is_readable(start: usize, size: usize) -> bool {
    let first = start & !(memory::PAGE - 1);
    (first..start + size)
        .step_by(memory::PAGE)
        .all(memory::is_readable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> usize {
        note as *const () as usize + 1
    }

    /// One test: the history is one for the whole process.
    #[test]
    fn a_module_comes_goes_and_comes_back() {
        initialize();
        note(&[here(), here() + 1]);
        let object = object_of(here()).unwrap();
        let mine = || all().filter(|record| holds(*record, here()));
        assert_eq!(mine().count(), 1);
        let record = mine().next().unwrap();
        assert_eq!(record.base().get(), object.start as u64);
        assert_eq!(record.unloaded().get(), 0);
        assert!(record.path_size().get() > 0);
        let before = epoch();
        assert!(is_unchanged(&[here()], before));
        assert_eq!(gone(here(), before), None);

        freed_by_loader(8);
        assert_eq!(epoch(), before, "that was no module");
        freed_by_loader(object.link_map());
        assert_eq!(epoch(), before + 1);
        assert_eq!(record.unloaded().get(), before + 1);
        let (path, base) = gone(here(), before).expect("it was there, and is gone");
        assert_eq!(base, object.start);
        assert!(path.starts_with(b"/"));
        assert_eq!(gone(here(), before + 1), None, "it was gone by then");

        // The same file at the same place: its stacks are the same.
        assert!(is_unchanged(&[here()], before));
        assert_eq!(mine().count(), 1);
        assert_eq!(record.unloaded().get(), 0);

        // Another one in between, and then the same again: its stacks are not those of the other one, but those of before.
        freed_by_loader(object.link_map());
        let other = make(&object).unwrap();
        other.loaded().set(epoch());
        other.unloaded().set(epoch() + 1);
        other.build_id_size().set(0);
        other.next().set(root().modules().get());
        root().modules().set(other.link());
        EPOCH.fetch_add(1, Ordering::AcqRel);
        let of_other = other.loaded().get();
        assert!(!is_unchanged(&[here()], of_other));
        assert!(is_unchanged(&[here()], before));
        assert!(is_unchanged(&[here()], epoch()));
        assert_eq!(mine().count(), 3);
    }
}
