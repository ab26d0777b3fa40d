//! What is said when an error is found: at once, on standard error and in the message ring.
//!
//! A report allocates nothing and takes no lock. It reads the allocator's own structures with bounds, since they may be
//! what is damaged.

use super::{
    Call, Return,
    buffer::{Buffer, Damage},
    depot,
    message::{Text, keep},
    place::{self, Place},
    time,
};
use crate::{
    raw::{CacheRef, Cell, RecordRef, copy, root},
    sys::process,
    unwind::{self, history},
};
use core::{
    fmt::{self, Write},
    sync::atomic::{AtomicBool, Ordering},
};
use umem_layout::{AbortInfo, Plain, Trailer, error_code, family};

/// What a report is about.
pub struct Subject {
    /// Address that the call was given.
    pub address: usize,
    /// Start of the buffer, if one is known.
    pub buffer: Option<usize>,
    /// Its record.
    pub record: Option<RecordRef>,
    /// Its slab.
    pub slab: u64,
    /// Owning cache.
    pub cache: Option<CacheRef>,
    /// Cache that the call named.
    pub named: Option<CacheRef>,
    /// Requested bytes, if known.
    pub requested: Option<usize>,
    /// By which function the address came back.
    pub how: Option<Return>,
    /// Stack pointer of the call, zero when unknown.
    pub sp: usize,
}

impl Subject {
    /// Nothing is known but an address.
    pub fn address(address: usize) -> Self {
        Self {
            address,
            buffer: None,
            record: None,
            slab: 0,
            cache: None,
            named: None,
            requested: None,
            how: None,
            sp: 0,
        }
    }

    /// It came back by this function.
    #[must_use]
    pub fn by(self, how: Return) -> Self {
        Self {
            how: Some(how),
            ..self
        }
    }

    /// A buffer of a slab.
    pub fn buffer(buffer: Buffer, address: usize) -> Self {
        Self {
            address,
            buffer: Some(buffer.address),
            record: buffer.record(),
            slab: buffer.slab.link(),
            cache: Some(buffer.cache),
            requested: buffer.requested(),
            ..Self::address(address)
        }
    }
}

/// Text of a report on its way out: to standard error and to the message ring, a piece at a time.
struct Message {
    piece: Text<512>,
}

impl Message {
    fn push(&mut self, text: &[u8]) {
        for part in text.chunks(256) {
            if self.piece.as_bytes().len() + part.len() > 512 {
                self.flush();
            }
            self.piece.push(part);
        }
    }

    fn flush(&mut self) {
        keep(self.piece.as_bytes());
        if root().secure().get() == 0 {
            process::write_error(self.piece.as_bytes());
        }
        self.piece = Text::new();
    }
}

impl Write for Message {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

fn headline(code: u32) -> &'static str {
    match code {
        error_code::MODIFIED => "buffer modified after being freed",
        error_code::REDZONE => "redzone violation: write past end of buffer",
        error_code::DUPLICATE_FREE => "duplicate free: buffer freed twice",
        error_code::BAD_ADDRESS => "invalid free: address is in no buffer of the allocator",
        error_code::BAD_TRAILER => "boundary tag corrupted",
        error_code::BAD_BASE => "invalid free: address is inside of a buffer",
        error_code::WRONG_CACHE => "buffer freed to wrong cache",
        error_code::BAD_SIZE => "bad free: freed with another size than it was allocated with",
        error_code::BAD_FAMILY => "bad free: buffer was allocated by another family of functions",
        error_code::NO_MEMORY => "out of heap space",
        error_code::IN_SIGNAL => "called from signal handler",
        _ => "allocator structures corrupted",
    }
}

/// The functions of a family, for a person.
fn family_name(family: u8) -> &'static str {
    match family {
        family::MALLOC => "malloc",
        family::NEW => "operator new",
        family::NEW_ARRAY => "operator new[]",
        family::MEMALIGN => "memalign",
        family::UMEM => "umem_alloc",
        family::CACHE => "umem_cache_alloc",
        _ => "an unknown function",
    }
}

fn cache_name(cache: CacheRef) -> [u8; 32] {
    let mut name = [0; 32];
    let address = cache.address() + core::mem::offset_of!(umem_layout::Cache, name);
    for (index, slot) in name.iter_mut().enumerate() {
        // SAFETY: the name is part of the cache structure.
        *slot = unsafe { crate::raw::byte(address, index) }.get();
    }
    name
}

/// Name of a cache.
pub fn name_of(cache: CacheRef) -> Text<32> {
    let mut text = Text::new();
    let name = cache_name(cache);
    text.push(until_zero(&name));
    text
}

fn until_zero(name: &[u8]) -> &[u8] {
    name.split(|&byte| byte == 0).next().unwrap_or(&[])
}

/// A frame of a library that is closed: its tables of symbols are gone as well.
fn push_gone(text: &mut Message, pc: usize, (path, base): (&[u8], usize)) {
    text.push(path.rsplit(|&byte| byte == b'/').next().unwrap_or(path));
    let _ = writeln!(text, "+{:#x} (closed since)", pc - base);
}

fn push_frame(text: &mut Message, pc: usize, epoch: u32) {
    text.push(b"    ");
    if let Some(gone) = history::gone(pc.wrapping_sub(1), epoch) {
        return push_gone(text, pc, gone);
    }
    match unwind::object_of(pc.wrapping_sub(1)) {
        Some(object) => {
            text.push(object.short_name());
            // A return address may be the first byte behind the function: the call before it is what counts.
            let _ = match object.symbol(pc - 1) {
                Some((name, offset)) => {
                    text.push(b"`");
                    text.push(name);
                    writeln!(text, "+{:#x}", offset + 1)
                }
                None => writeln!(text, "+{:#x}", pc - object.bias),
            };
        }
        None => {
            let _ = writeln!(text, "{pc:#x}");
        }
    }
}

fn push_stack(text: &mut Message, id: u32) {
    if id == 0 {
        text.push(b"    (no stack was recorded)\n");
    }
    depot::for_each_frame(id, |pc, epoch| push_frame(text, pc, epoch));
}

fn push_thread(text: &mut Message, verb: &str, thread: u32) {
    let _ = write!(text, "{verb} by thread {thread}");
    let name = process::name_of(thread);
    let name = until_zero(&name);
    if !name.is_empty() {
        text.push(b" (");
        text.push(name);
        text.push(b")");
    }
    text.push(b":\n");
}

/// Held while a report is written, so that reports of several threads do not mix. Who waits too long goes on without it: the holder may
/// have been stopped.
static WRITING: AtomicBool = AtomicBool::new(false);

fn wait_for_turn() {
    const PAUSES: usize = 1000;
    const PAUSE: u32 = 1_000_000;
    for _ in 0..PAUSES {
        if !WRITING.swap(true, Ordering::Acquire) {
            return;
        }
        process::pause(PAUSE);
    }
}

/// Tells an error, and ends the process unless `noabort` is set.
#[cold]
#[inline(never)]
pub fn report(damage: &Damage, subject: &Subject, call: &Call) {
    time::refine();
    publish(damage, subject, call);
    wait_for_turn();
    let mut text = Message { piece: Text::new() };
    describe(&mut text, damage, subject);
    if let Some(record) = subject.record {
        if record.alloc_time().get() != 0 {
            push_thread(&mut text, "allocated", record.alloc_thread().get());
            push_stack(&mut text, record.alloc_stack().get());
        }
        if record.free_time().get() != 0 {
            push_thread(&mut text, "freed", record.free_thread().get());
            push_stack(&mut text, record.free_stack().get());
        }
    }
    push_thread(&mut text, "found", call.thread);
    push_stack(&mut text, call.stack);
    finish(text);
}

fn describe(text: &mut Message, damage: &Damage, subject: &Subject) {
    let _ = writeln!(text, "umem allocator: {}", headline(damage.code));
    describe_damage(text, damage, subject);
    let _ = match subject.how {
        None if subject.address == 0 => text.write_str("call=an allocation"),
        Some(how) => write!(text, "call={}({:#x})", how.function, subject.address),
        None => write!(text, "address={:#x}", subject.address),
    };
    if let Some(buffer) = subject.buffer {
        let _ = write!(text, "  buffer={buffer:#x}");
    }
    if let Some(record) = subject.record {
        let _ = write!(text, "  bufctl={:#x}", record.address());
    }
    if let Some(size) = subject.requested {
        let _ = write!(text, "  size={size}");
    }
    if let Some(cache) = subject.cache {
        text.push(b"  cache: ");
        text.push(until_zero(&cache_name(cache)));
    }
    text.push(b"\n");
}

fn describe_damage(text: &mut Message, damage: &Damage, subject: &Subject) {
    let _ = match (damage.code, subject.cache, subject.named) {
        (error_code::BAD_SIZE, ..) => {
            let (freed, allocated) = (damage.found, damage.expected);
            writeln!(text, "free size ({freed}) != alloc size ({allocated})")
        }
        (error_code::BAD_FAMILY, ..) => {
            let allocated = family_name(damage.expected as u8);
            let freed = subject.how.map_or("free", |how| how.function);
            writeln!(text, "allocated by {allocated}, given back by {freed}")
        }
        (error_code::WRONG_CACHE, owner, Some(named)) => {
            text.push(b"buffer was allocated ");
            match owner {
                Some(owner) => {
                    text.push(b"from ");
                    text.push(until_zero(&cache_name(owner)));
                }
                None => {
                    text.push(b"by ");
                    text.push(family_name(damage.expected as u8).as_bytes());
                }
            }
            text.push(b",\ncaller attempting free to ");
            text.push(until_zero(&cache_name(named)));
            text.push(b".\n");
            Ok(())
        }
        (error_code::BAD_BASE, ..) => match subject.buffer {
            Some(buffer) => {
                let offset = subject.address.wrapping_sub(buffer);
                writeln!(
                    text,
                    "address is {offset:#x} bytes behind the start of the buffer"
                )
            }
            None => Ok(()),
        },
        (error_code::BAD_ADDRESS, ..) => describe_place(text, subject),
        (error_code::INTERNAL, ..) => match subject.slab {
            0 => writeln!(text, "list of slabs of the cache is damaged"),
            slab => writeln!(text, "slab structure at {slab:#x} is damaged"),
        },
        _ if damage.expected != damage.found => {
            let Damage {
                offset,
                expected,
                found,
                ..
            } = *damage;
            let what = if expected > u64::from(u8::MAX) {
                "word of the redzone"
            } else if damage.code == error_code::MODIFIED {
                "byte"
            } else if damage.code == error_code::BAD_TRAILER {
                "byte of the trailer"
            } else {
                "byte of the redzone"
            };
            let _ = writeln!(
                text,
                "first wrong {what} at offset {offset:#x}: {expected:#x} expected, {found:#x} found"
            );
            describe_neighbour(text, damage, subject)
        }
        _ => Ok(()),
    };
}

/// Where an address lies that is none of ours.
fn describe_place(text: &mut Message, subject: &Subject) -> fmt::Result {
    text.push(b"address is ");
    match place::of(subject.address, subject.sp) {
        Place::Own => text.push(b"in memory of the allocator that holds no buffer there"),
        Place::Stack => text.push(b"on the stack of the calling thread"),
        Place::Unmapped => text.push(b"not mapped"),
        Place::Mapped(name) if name.as_bytes().is_empty() => {
            text.push(b"in memory that the program has mapped itself");
        }
        Place::Mapped(name) => {
            text.push(b"in ");
            text.push(name.as_bytes());
        }
        Place::Unknown => text.push(b"at a place unknown"),
    }
    text.push(b"\n");
    Ok(())
}

/// When all is well up to the end of the trailer the write may as well have come from the buffer behind.
fn describe_neighbour(text: &mut Message, damage: &Damage, subject: &Subject) -> fmt::Result {
    let (Some(start), Some(cache)) = (subject.buffer, subject.cache) else {
        return Ok(());
    };
    let chunk = cache.chunk_size().get() as usize;
    if damage.code != error_code::BAD_TRAILER || damage.offset < chunk - size_of::<Trailer>() {
        return Ok(());
    }
    let next = start + chunk;
    let before = chunk.saturating_sub(damage.offset);
    writeln!(
        text,
        "{before} bytes before the buffer at {next:#x}: a write before its start, or past the end of this one"
    )
}

fn finish(mut text: Message) {
    let noabort = root().noabort().get() != 0;
    if noabort {
        text.push(b"umem: going on, as UMEM_DEBUG=noabort asks\n");
    } else {
        let pid = process::process_id();
        let _ = writeln!(
            text,
            "umem: heap corruption detected; look with: umdb -p {pid}   or at the core: umdb CORE"
        );
    }
    text.flush();
    WRITING.store(false, Ordering::Release);
    copy::refresh();
    if !noabort {
        process::abort();
    }
}

fn publish(damage: &Damage, subject: &Subject, call: &Call) {
    root().set_abort_info(AbortInfo {
        code: damage.code,
        thread: call.thread,
        time: time::now(),
        address: subject.address as u64,
        buffer: subject.buffer.unwrap_or(0) as u64,
        cache: subject.named.map_or(0, CacheRef::link),
        owner: subject.cache.map_or(0, CacheRef::link),
        slab: subject.slab,
        record: subject.record.map_or(0, RecordRef::link),
        offset: damage.offset as u64,
        expected: damage.expected,
        found: damage.found,
        stack: call.stack,
        ..AbortInfo::ZERO
    });
}

/// The structure of a slab was overwritten; the address of zero: it is the list of the cache.
#[cold]
#[inline(never)]
pub fn damaged_slab(slab: u64, subject: Subject, call: &Call) {
    let subject = Subject { slab, ..subject };
    report(&Damage::new(error_code::INTERNAL), &subject, call);
}

/// As [`damaged_slab`], where who calls is not known.
#[cold]
#[inline(never)]
pub fn damaged_slab_late(slab: u64, address: usize, cache: Option<CacheRef>) {
    let subject = Subject {
        cache,
        ..Subject::address(address)
    };
    damaged_slab(slab, subject, &late_call());
}

fn late_call() -> Call {
    Call {
        time: time::now(),
        thread: process::thread_id(),
        stack: 0,
    }
}

/// A magazine came back to the slabs with a round that is no taken buffer of its cache: freed twice, or the address
/// is inside of a buffer. Production caches see it only now, so who freed it is not known.
#[cold]
#[inline(never)]
pub fn late_free(address: usize, cache: CacheRef) {
    let subject = Subject {
        cache: Some(cache),
        ..Subject::address(address)
    };
    report(
        &Damage {
            code: error_code::DUPLICATE_FREE,
            offset: 0,
            expected: 0,
            found: 0,
        },
        &subject,
        &late_call(),
    );
}
