//! What is said when an error is found: at once, on standard error and in the message ring.
//!
//! A report allocates nothing and takes no lock. It reads the allocator's own structures with bounds, since they may be
//! what is damaged.

use super::{
    Call,
    buffer::{Buffer, Damage},
    depot,
    message::{Text, tell},
    time,
};
use crate::{
    raw::{CacheRef, Cell, RecordRef, root},
    sys::process,
    unwind,
};
use core::fmt::Write;
use umem_layout::{AbortInfo, Plain, error_code};

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
            named: None,
            requested: buffer.requested(),
        }
    }
}

type Message = Text<4096>;

fn headline(code: u32) -> &'static str {
    match code {
        error_code::MODIFIED => "buffer modified after being freed",
        error_code::REDZONE => "redzone violation: write past end of buffer",
        error_code::DUPLICATE_FREE => "duplicate free: buffer freed twice",
        error_code::BAD_ADDRESS => "invalid free: address is in no buffer of the allocator",
        error_code::BAD_TRAILER => "boundary tag corrupted: write past end of buffer",
        error_code::BAD_BASE => "invalid free: address is inside of a buffer",
        error_code::WRONG_CACHE => "buffer freed to wrong cache",
        error_code::BAD_SIZE => "bad free: freed with another size than it was allocated with",
        _ => "allocator structures corrupted",
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
    text.push(name.split(|&byte| byte == 0).next().unwrap_or(&[]));
    text
}

fn push_name(text: &mut Message, name: &[u8]) {
    text.push(name.split(|&byte| byte == 0).next().unwrap_or(&[]));
}

fn push_frame(text: &mut Message, pc: usize) {
    match unwind::object_of(pc.wrapping_sub(1)) {
        Some(object) => {
            text.push(b"    ");
            text.push(object.short_name());
            let _ = writeln!(text, "+{:#x}", pc - object.bias);
        }
        None => {
            let _ = writeln!(text, "    {pc:#x}");
        }
    }
}

fn push_stack(text: &mut Message, id: u32) {
    if id == 0 {
        text.push(b"    (no stack was recorded)\n");
    }
    depot::for_each_frame(id, |pc| push_frame(text, pc));
}

/// Tells an error, and ends the process unless `noabort` is set.
#[cold]
#[inline(never)]
pub fn report(damage: &Damage, subject: &Subject, call: &Call) {
    time::refine();
    publish(damage, subject, call);
    let mut text = Message::new();
    describe(&mut text, damage, subject);
    if let Some(record) = subject.record {
        if record.alloc_time().get() != 0 {
            let _ = writeln!(text, "allocated by thread {}:", record.alloc_thread().get());
            push_stack(&mut text, record.alloc_stack().get());
        }
        if record.free_time().get() != 0 {
            let _ = writeln!(text, "freed by thread {}:", record.free_thread().get());
            push_stack(&mut text, record.free_stack().get());
        }
    }
    let _ = writeln!(text, "found by thread {}:", call.thread);
    push_stack(&mut text, call.stack);
    finish(text);
}

fn describe(text: &mut Message, damage: &Damage, subject: &Subject) {
    let _ = writeln!(text, "umem allocator: {}", headline(damage.code));
    describe_damage(text, damage, subject);
    let _ = write!(text, "address={:#x}", subject.address);
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
        push_name(text, &cache_name(cache));
    }
    text.push(b"\n");
}

fn describe_damage(text: &mut Message, damage: &Damage, subject: &Subject) {
    match (damage.code, subject.cache, subject.named) {
        (error_code::BAD_SIZE, _, _) => {
            let (freed, allocated) = (damage.found, damage.expected);
            let _ = writeln!(text, "free size ({freed}) != alloc size ({allocated})");
        }
        (error_code::WRONG_CACHE, Some(owner), Some(named)) => {
            text.push(b"buffer was allocated from ");
            push_name(text, &cache_name(owner));
            text.push(b",\ncaller attempting free to ");
            push_name(text, &cache_name(named));
            text.push(b".\n");
        }
        _ if damage.expected != damage.found => {
            let _ = writeln!(
                text,
                "first difference at offset {:#x}: {:#x} expected, {:#x} found",
                damage.offset, damage.expected, damage.found
            );
        }
        _ => {}
    }
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
    tell(text.as_bytes());
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

/// Tells that an address given to `function` is none of ours, with the same end as [`report`].
#[cold]
#[inline(never)]
pub fn invalid_address(function: &str, code: u32, subject: &Subject, call: &Call) {
    let mut text = Text::<64>::new();
    let _ = writeln!(text, "{function}({:#x}):", subject.address);
    tell(text.as_bytes());
    report(
        &Damage {
            code,
            offset: 0,
            expected: 0,
            found: 0,
        },
        subject,
        call,
    );
}

/// A magazine came back to the slabs with a round that is no taken buffer of its cache: freed twice, or the address
/// is inside of a buffer. Production caches see it only now, so who freed it is not known.
#[cold]
#[inline(never)]
pub fn late_free(address: usize, cache: CacheRef) {
    let call = Call {
        time: time::now(),
        thread: process::thread_id(),
        stack: 0,
    };
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
        &call,
    );
}
