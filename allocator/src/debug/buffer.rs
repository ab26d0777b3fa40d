//! One debugged buffer or block: its trailer, its fill, its record.

use super::{
    Call, fill,
    log::{self, Kind, Transaction},
};
use crate::raw::{CacheRef, Cell, RecordRef, SegmentRef, SlabRef, TrailerRef, byte, word};
use crate::sys::{memory, single};
use core::sync::atomic::{AtomicU8, Ordering};
use umem_layout::{
    AuditRecord, FILLED_OF_SAMPLE, FREE_PATTERN, Plain, REDZONE_BYTE, REDZONE_PATTERN,
    TRAILER_ALLOCATED, TRAILER_FREE, Trailer, UNINITIALIZED_PATTERN, buffer_state, cache_flag,
    decode_redzone, error_code, family, filled_of_block, operation, redzone_word,
};

/// A chunk of a slab.
#[derive(Clone, Copy)]
pub struct Buffer {
    /// First byte.
    pub address: usize,
    /// Owning cache.
    pub cache: CacheRef,
    /// Slab that holds it.
    pub slab: SlabRef,
    /// Number of the chunk in the slab.
    pub index: usize,
}

#[inline(always)]
fn prefetch(address: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which faults at no address.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address as *const i8);
    }
}

/// What is wrong with a buffer, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// `umem_layout::error_code`.
    pub code: u32,
    /// Bytes from the buffer's start to the first wrong byte.
    pub offset: usize,
    /// What should be there: a byte, or a word of a trailer.
    pub expected: u64,
    /// What is there.
    pub found: u64,
}

impl Damage {
    /// Damage of which only the kind is known.
    pub const fn new(code: u32) -> Self {
        Self {
            code,
            offset: 0,
            expected: 0,
            found: 0,
        }
    }

    /// Memory of one size was freed with another.
    pub const fn of_size(allocated: usize, freed: usize) -> Self {
        Self {
            code: error_code::BAD_SIZE,
            offset: 0,
            expected: allocated as u64,
            found: freed as u64,
        }
    }
}

impl Buffer {
    /// The chunk of a slab that starts at an address; `Err` holds the start of the chunk that holds it, or zero: there is none, or
    /// the slab's structure was overwritten.
    #[inline]
    pub fn at(slab: SlabRef, address: usize) -> Result<Self, usize> {
        if !slab.is_whole() {
            return Err(0);
        }
        Self::within(slab, address)
    }

    /// As [`Buffer::at`], for a slab whose structure is taken to be whole.
    pub fn within(slab: SlabRef, address: usize) -> Result<Self, usize> {
        // SAFETY: a slab in use names its cache.
        let cache = unsafe { CacheRef::from_address(slab.cache().get() as usize) };
        let chunk = slab.chunk_size().get().max(1) as usize;
        let offset = address.wrapping_sub(slab.base().get() as usize);
        // Division of 32 bits is much faster, and hardly a slab is larger.
        let index = match (u32::try_from(offset), u32::try_from(chunk)) {
            (Ok(offset), Ok(chunk)) => (offset / chunk) as usize,
            _ => offset / chunk,
        };
        if index >= slab.capacity().get() as usize {
            return Err(0);
        }
        let start = slab.base().get() as usize + index * chunk;
        if start == address {
            Ok(Self {
                address,
                cache,
                slab,
                index,
            })
        } else {
            Err(start)
        }
    }

    /// The state byte, in caches that keep one.
    #[inline(always)]
    pub fn state(self) -> Option<&'static AtomicU8> {
        let states = self.slab.states().get() as usize;
        // SAFETY: the array has one byte a chunk, and the index is that of a chunk.
        (states != 0).then(|| unsafe { byte(states, self.index) })
    }

    /// Which family of functions allocated the buffer; none where the cache does not keep it.
    #[inline(always)]
    pub fn family(self) -> u8 {
        let families = self.slab.families().get() as usize;
        match families {
            0 => family::NONE,
            // SAFETY: the array has one byte a chunk, and the index is that of a chunk.
            _ => unsafe { byte(families, self.index) }.get(),
        }
    }

    /// Stores which family of functions allocated the buffer, in caches that keep it.
    #[inline(always)]
    fn set_family(self, family: u8) {
        let families = self.slab.families().get() as usize;
        if families != 0 {
            // SAFETY: the array has one byte a chunk, and the index is that of a chunk.
            unsafe { byte(families, self.index) }.set(family);
        }
    }

    /// The audit record, in audited caches.
    #[inline(always)]
    pub fn record(self) -> Option<RecordRef> {
        let records = self.slab.records().get() as usize;
        // SAFETY: the array has one record a chunk, and the index is that of a chunk.
        (records != 0).then(|| unsafe {
            RecordRef::from_address(records + self.index * size_of::<AuditRecord>())
        })
    }

    /// The trailer, in caches with redzones.
    fn trailer(self) -> Option<TrailerRef> {
        let offset = self.cache.trailer_offset().get() as usize;
        // SAFETY: the chunk has room for a trailer at that offset, a multiple of 8.
        (offset != 0).then(|| unsafe { TrailerRef::from_address(self.address + offset) })
    }

    /// Asks for the memory that a check of the buffer will look at, so that it comes while a stack is captured.
    #[inline]
    pub fn prefetch(self) {
        let trailer = self.cache.trailer_offset().get() as usize;
        prefetch(self.address);
        prefetch(self.address + trailer);
        if let Some(record) = self.record() {
            prefetch(record.address());
            prefetch(record.address() + size_of::<AuditRecord>() - 1);
        }
    }

    /// Bytes that the program asked for, as far as known.
    pub fn requested(self) -> Option<usize> {
        if let Some(record) = self.record() {
            return Some(record.requested().get() as usize);
        }
        decode_redzone(self.trailer()?.redzone().get())
            .map(|size| size as usize)
            .filter(|&size| size <= self.cache.buffer_size().get() as usize)
    }

    /// Whether the program holds the buffer, in caches that know.
    pub fn is_allocated(self) -> bool {
        self.state()
            .is_some_and(|state| state.load(Ordering::Acquire) == buffer_state::ALLOCATED)
    }

    fn has(self, flag: u32) -> bool {
        self.cache.flags().get() & flag != 0
    }

    #[inline(never)]
    fn log(self, call: &Call, operation: u32, size: u64) {
        let previous = self.record().map_or(0, |record| record.last_log().get());
        let sequence = log::append(
            Kind::Transaction,
            call,
            &Transaction {
                buffer: self.address,
                record: self.record().map_or(0, RecordRef::link),
                owner: self.cache.link(),
                owner_is_arena: false,
                size,
                operation,
                previous,
            },
        );
        if let Some(record) = self.record() {
            record.last_log().set(sequence);
        }
    }
}

/// What the checks of a buffer are about, read once: a field of a published structure is read anew each time that it is named.
#[derive(Clone, Copy)]
struct Parts {
    start: usize,
    /// Offset of the trailer; zero: there is none.
    end: usize,
    /// Bytes that hold the free pattern while the buffer is free.
    verify: usize,
    /// Address of the record, or zero.
    record: usize,
    /// Bytes of the chunk.
    chunk: usize,
    flags: u32,
}

/// Redzone bytes, as many as a word has.
const REDZONE_FILL: u64 = u64::from_ne_bytes([REDZONE_BYTE; 8]);

/// Redzone words of the sizes that are most frequent: to work one out takes as long as to fill a small buffer.
static REDZONE_WORDS: [u64; 1024] = {
    let mut words = [0; 1024];
    let mut size = 0;
    while size < words.len() {
        words[size] = redzone_word(size as u64);
        size += 1;
    }
    words
};

#[inline(always)]
fn redzone_of(requested: usize) -> u64 {
    match REDZONE_WORDS.get(requested) {
        Some(&word) => word,
        None => redzone_word(requested as u64),
    }
}

impl Parts {
    #[inline(always)]
    fn of(buffer: Buffer) -> Self {
        let (cache, records) = (buffer.cache, buffer.slab.records().get() as usize);
        let flags = cache.flags().get();
        Self {
            start: buffer.address,
            end: cache.trailer_offset().get() as usize,
            verify: match flags & cache_flag::DEADBEEF {
                0 => 0,
                _ => cache.verify_length().get() as usize,
            },
            record: match records {
                0 => 0,
                _ => records + buffer.index * size_of::<AuditRecord>(),
            },
            chunk: buffer.slab.chunk_size().get() as usize,
            flags,
        }
    }

    /// The trailer, where there is one.
    #[inline(always)]
    fn trailer(&self) -> TrailerRef {
        debug_assert!(self.end != 0);
        // SAFETY: the chunk has room for a trailer at that offset, a multiple of 8.
        unsafe { TrailerRef::from_address(self.start + self.end) }
    }

    #[inline(always)]
    fn record(&self) -> Option<RecordRef> {
        // SAFETY: zero, or the address of the buffer's record.
        unsafe { RecordRef::from_link(self.record as u64) }
    }

    /// Whether all of it lies in the chunk. Where a program has written into the cache, the checks that go byte by byte find the
    /// first damage before they leave the chunk.
    #[inline(always)]
    fn fits(&self) -> bool {
        self.verify <= self.end && self.end < self.chunk
    }

    /// Whether the trailer is what [`Parts::seal`] left.
    #[inline(always)]
    fn is_sealed(&self, redzone: u64, state: u64) -> bool {
        let (trailer, record) = (self.trailer(), self.record as u64);
        trailer.redzone().get() == redzone
            && trailer.record().get() == record
            && trailer.state().get() == record ^ state
    }

    /// Writes the trailer.
    #[inline(always)]
    fn seal(&self, redzone: u64, state: u64) {
        let (trailer, record) = (self.trailer(), self.record as u64);
        trailer.redzone().set(redzone);
        trailer.record().set(record);
        trailer.state().set(record ^ state);
    }

    /// Whether a free buffer is as [`Parts::fill_freed`] left it.
    #[inline(always)]
    fn is_whole_free(&self) -> bool {
        self.fits()
            // SAFETY: bytes of the chunk.
            && unsafe { fill::holds(self.start, self.verify, FREE_PATTERN) }
            && self.is_sealed(REDZONE_PATTERN, TRAILER_FREE)
    }

    /// Whether the bytes behind those that the program asked for are as [`Parts::fill_for_program`] left them.
    #[inline(always)]
    fn is_whole_allocated(&self) -> bool {
        let requested = match self.record() {
            Some(record) => Some(u64::from(record.requested().get())),
            None => decode_redzone(self.trailer().redzone().get()),
        };
        let requested = requested.map_or(usize::MAX, |size| size as usize);
        requested <= self.end
            && self.fits()
            // SAFETY: bytes of the chunk before its trailer.
            && unsafe { fill::holds_behind(self.start, requested, self.end, REDZONE_FILL) }
            && self.is_sealed(redzone_of(requested), TRAILER_ALLOCATED)
    }

    #[inline(always)]
    fn fill_freed(&self) {
        // SAFETY: bytes of a chunk in transit.
        unsafe { fill::fill(self.start, self.verify, FREE_PATTERN) };
        self.seal(REDZONE_PATTERN, TRAILER_FREE);
    }

    #[inline(always)]
    fn fill_for_program(&self, requested: usize) {
        if self.flags & cache_flag::DEADBEEF != 0 {
            let filled = match self.flags & (cache_flag::LITE | cache_flag::SAMPLED) {
                0 => self.end,
                _ => self.verify,
            };
            let length = filled.min(requested.next_multiple_of(8));
            // SAFETY: bytes of a chunk in transit.
            unsafe { fill::fill(self.start, length, UNINITIALIZED_PATTERN) };
        }
        // SAFETY: as above.
        unsafe { fill::fill_behind(self.start, requested, self.end, REDZONE_FILL) };
        self.seal(redzone_of(requested), TRAILER_ALLOCATED);
    }
}

/// Prepares a buffer in transit for the program: checks what it was left as, fills it, writes trailer and
/// record. `fresh`: the chunk was never handed out before, so there is nothing to check.
///
/// # Errors
/// What was found damaged; the buffer is then to be abandoned.
#[inline(always)]
pub fn allocated(
    buffer: Buffer,
    fresh: bool,
    requested: usize,
    family: u8,
    call: &Call,
) -> Result<(), Damage> {
    let parts = Parts::of(buffer);
    if parts.end != 0 {
        if !fresh && !parts.is_whole_free() {
            check_free(buffer, parts.trailer())?;
        }
        parts.fill_for_program(requested);
    }
    buffer.set_family(family);
    if let Some(record) = parts.record() {
        record_allocation(record, requested as u32, call);
        if log::is_on(Kind::Transaction) {
            buffer.log(call, operation::ALLOC, requested as u64);
        }
    }
    if let Some(state) = buffer.state() {
        state.store(buffer_state::ALLOCATED, Ordering::Release);
    }
    Ok(())
}

/// Fields of a record that stand beside each other and are stored as one word: the one of the allocation, and zero for the free.
const ALLOCATED_WORDS: [usize; 3] = {
    use core::mem::offset_of;
    assert!(offset_of!(AuditRecord, free_stack) == offset_of!(AuditRecord, alloc_stack) + 4);
    assert!(offset_of!(AuditRecord, free_thread) == offset_of!(AuditRecord, alloc_thread) + 4);
    assert!(offset_of!(AuditRecord, requested) == offset_of!(AuditRecord, contents) + 4);
    assert!(cfg!(target_endian = "little"));
    [
        offset_of!(AuditRecord, alloc_stack) / 8,
        offset_of!(AuditRecord, alloc_thread) / 8,
        offset_of!(AuditRecord, contents) / 8,
    ]
};

#[inline(always)]
fn record_allocation(record: RecordRef, requested: u32, call: &Call) {
    record.alloc_time().set(call.time);
    record.free_time().set(0);
    let values = [
        u64::from(call.stack),
        u64::from(call.thread),
        u64::from(requested) << 32,
    ];
    for (index, value) in ALLOCATED_WORDS.into_iter().zip(values) {
        // SAFETY: a word of the record.
        unsafe { word(record.address(), index) }.set(value);
    }
}

#[inline(always)]
fn record_free(record: RecordRef, call: &Call) {
    record.free_time().set(call.time);
    record.free_stack().set(call.stack);
    record.free_thread().set(call.thread);
}

/// Takes a buffer back from the program: checks it, fills it, and leaves it in transit.
///
/// # Errors
/// What was found damaged. A double free leaves the buffer as it is; in other cases it is to be abandoned.
#[inline(always)]
pub fn freed(buffer: Buffer, call: &Call) -> Result<(), Damage> {
    let parts = Parts::of(buffer);
    claim_parts(buffer, &parts, call)?;
    if parts.end != 0 {
        parts.fill_freed();
    }
    Ok(())
}

/// The first half of [`freed`]: checks a buffer that the program gives back, and records the free. Its contents are still those
/// that the program left.
///
/// # Errors
/// As for [`freed`].
pub fn claim(buffer: Buffer, call: &Call) -> Result<(), Damage> {
    claim_parts(buffer, &Parts::of(buffer), call)
}

#[inline(always)]
fn claim_parts(buffer: Buffer, parts: &Parts, call: &Call) -> Result<(), Damage> {
    if buffer.state().is_some_and(|state| !take_allocated(state)) {
        return Err(Damage::new(error_code::DUPLICATE_FREE));
    }
    if parts.end != 0 && !parts.is_whole_allocated() {
        check_allocated(buffer)?;
    }
    if let Some(record) = parts.record() {
        record_free(record, call);
        if log::is_on(Kind::Contents) && parts.flags & cache_flag::CONTENTS != 0 {
            save_contents(buffer, record, call);
        }
        if log::is_on(Kind::Transaction) {
            buffer.log(call, operation::FREE, u64::from(record.requested().get()));
        }
    }
    Ok(())
}

fn save_contents(buffer: Buffer, record: RecordRef, call: &Call) {
    let what = Transaction {
        buffer: buffer.address,
        record: record.link(),
        owner: buffer.cache.link(),
        ..Transaction::default()
    };
    let length = record.requested().get() as usize;
    record.contents().set(log::save(call, &what, length));
}

/// Moves a state from allocated to transit. False: somebody else has freed the buffer.
#[inline(always)]
fn take_allocated(state: &AtomicU8) -> bool {
    let (from, to) = (buffer_state::ALLOCATED, buffer_state::TRANSIT);
    single::exchange_byte(state, from, to, Ordering::AcqRel)
}

/// The second half of [`freed`]: fill and trailer of a free buffer.
pub fn fill_freed(buffer: Buffer) {
    let parts = Parts::of(buffer);
    if parts.end != 0 {
        parts.fill_freed();
    }
}

/// Checks a buffer whatever its state is; one in transit, or withdrawn already, is passed over. A thread that frees or allocates it
/// meanwhile moves its state first, so that damage counts only when the state is still the same.
///
/// # Errors
/// What was found damaged.
pub fn check_any(buffer: Buffer) -> Result<(), Damage> {
    let (Some(state), Some(trailer)) = (buffer.state(), buffer.trailer()) else {
        return Ok(());
    };
    let before = state.load(Ordering::Acquire);
    let found = match before {
        buffer_state::ALLOCATED => check_allocated(buffer),
        buffer_state::FREE | buffer_state::QUARANTINED => check_free(buffer, trailer),
        _ => Ok(()),
    };
    let is_same = || state.load(Ordering::Acquire) == before;
    found.or_else(|damage| if is_same() { Err(damage) } else { Ok(()) })
}

/// Checks a buffer that is free in its slab; what is not free is no damage.
///
/// # Errors
/// What was found damaged.
pub fn check_unused(buffer: Buffer) -> Result<(), Damage> {
    let is_free = |state: &AtomicU8| state.load(Ordering::Acquire) == buffer_state::FREE;
    match buffer.trailer() {
        Some(trailer) if buffer.state().is_some_and(is_free) => check_free(buffer, trailer),
        _ => Ok(()),
    }
}

/// Checks a buffer that the program says it holds.
///
/// # Errors
/// What was found damaged; a buffer that is free is a double free.
pub fn check_live(buffer: Buffer) -> Result<(), Damage> {
    if buffer.state().is_some() && !buffer.is_allocated() {
        return Err(Damage::new(error_code::DUPLICATE_FREE));
    }
    check_allocated(buffer)
}

/// Checks a free buffer: trailer and fill.
#[cold]
#[inline(never)]
fn check_free(buffer: Buffer, trailer: TrailerRef) -> Result<(), Damage> {
    let length = if buffer.has(cache_flag::DEADBEEF) {
        buffer.cache.verify_length().get() as usize
    } else {
        0
    };
    if let Some(offset) = first_other_word(buffer.address, length, FREE_PATTERN) {
        return Err(damaged_byte(
            buffer.address,
            offset,
            FREE_PATTERN,
            error_code::MODIFIED,
        ));
    }
    let record = buffer.record().map_or(0, RecordRef::link);
    check_trailer(
        buffer.address,
        trailer,
        [REDZONE_PATTERN, record, record ^ TRAILER_FREE],
        error_code::MODIFIED,
    )
}

/// Checks a buffer that the program holds: every byte from the requested size to the end of the trailer.
#[cold]
#[inline(never)]
fn check_allocated(buffer: Buffer) -> Result<(), Damage> {
    let Some(trailer) = buffer.trailer() else {
        return Ok(());
    };
    let end = buffer.cache.trailer_offset().get() as usize;
    let record = buffer.record().map_or(0, RecordRef::link);
    match buffer.requested().filter(|&size| size <= end) {
        Some(requested) => check_behind(buffer.address, requested, end, trailer, record),
        None => Err(Damage {
            code: error_code::REDZONE,
            offset: end,
            expected: REDZONE_PATTERN,
            found: trailer.redzone().get(),
        }),
    }
}

/// Checks the bytes between the requested size and what follows.
fn check_filler(start: usize, from: usize, to: usize) -> Result<(), Damage> {
    let Some(offset) = first_other_byte(start, from, to) else {
        return Ok(());
    };
    // SAFETY: the bytes up to the trailer belong to the chunk.
    let found = unsafe { byte(start, offset) }.get();
    Err(Damage {
        code: error_code::REDZONE,
        offset,
        expected: u64::from(REDZONE_BYTE),
        found: u64::from(found),
    })
}

fn check_behind(
    start: usize,
    requested: usize,
    end: usize,
    trailer: TrailerRef,
    record: u64,
) -> Result<(), Damage> {
    check_filler(start, requested, end)?;
    let redzone = redzone_word(requested as u64);
    check_trailer(
        start,
        trailer,
        [redzone, record, record ^ TRAILER_ALLOCATED],
        error_code::REDZONE,
    )
}

/// Compares the words of a trailer; a wrong first word is told as `code`, others as a damaged trailer.
fn check_trailer(
    start: usize,
    trailer: TrailerRef,
    words: [u64; 3],
    code: u32,
) -> Result<(), Damage> {
    let found = [
        trailer.redzone().get(),
        trailer.record().get(),
        trailer.state().get(),
    ];
    if found == words {
        return Ok(());
    }
    Err(damaged_trailer(start, trailer, words, found, code))
}

#[cold]
fn damaged_trailer(
    start: usize,
    trailer: TrailerRef,
    words: [u64; 3],
    found: [u64; 3],
    code: u32,
) -> Damage {
    let index = (0..2)
        .find(|&index| words[index] != found[index])
        .unwrap_or(2);
    let first = (words[index] ^ found[index]).trailing_zeros() as usize / 8;
    let byte_at = |word: u64| u64::from(word.to_le_bytes().get(first).copied().unwrap_or(0));
    Damage {
        code: if index == 0 {
            code
        } else {
            error_code::BAD_TRAILER
        },
        offset: trailer.address() - start + index * 8 + first,
        expected: byte_at(words[index]),
        found: byte_at(found[index]),
    }
}

/// Offset of the first 64-bit word that differs from a pattern. Most buffers are as they should be, so eight words at a time are
/// looked at together.
fn first_other_word(start: usize, length: usize, pattern: u64) -> Option<usize> {
    let words = length / 8;
    // Plain reads, which the compiler may join. A program that writes at this moment is what is looked for: whichever value is
    // read is right.
    // SAFETY: callers name words of one chunk.
    let at = |index: usize| unsafe { (start as *const u64).add(index).read() };
    let mut index = 0;
    while index + 8 <= words && (0..8).fold(0, |all, step| all | (at(index + step) ^ pattern)) == 0
    {
        index += 8;
    }
    (index..words)
        .find(|&index| at(index) != pattern)
        .map(|index| index * 8)
}

/// Offset of the first byte in `from..to` that is no redzone byte.
fn first_other_byte(start: usize, from: usize, to: usize) -> Option<usize> {
    const WORD: u64 = u64::from_ne_bytes([REDZONE_BYTE; 8]);
    if from == to {
        return None;
    }
    // SAFETY: callers name bytes of one chunk.
    let differs = |&offset: &usize| unsafe { byte(start, offset) }.get() != REDZONE_BYTE;
    let middle = from.next_multiple_of(8).min(to);
    let words = (to - middle) / 8 * 8;
    (from..middle).find(differs).or_else(|| {
        let other = first_other_word(start + middle, words, WORD).unwrap_or(words);
        (middle + other..to).find(differs)
    })
}

fn damaged_byte(start: usize, offset: usize, pattern: u64, code: u32) -> Damage {
    // SAFETY: the offset is that of a word of the chunk.
    let found = unsafe { word(start, offset / 8) }.get();
    let first = (found ^ pattern).trailing_zeros() as usize / 8;
    let byte_at = |word: u64| u64::from(word.to_le_bytes().get(first).copied().unwrap_or(0));
    Damage {
        code,
        offset: offset + first,
        expected: byte_at(pattern),
        found: byte_at(found),
    }
}

fn fill_words(start: usize, length: usize, pattern: u64) {
    for index in 0..length / 8 {
        // SAFETY: callers name words of one chunk in transit.
        unsafe { (start as *mut u64).add(index).write(pattern) };
    }
}

#[inline]
fn fill_bytes(start: usize, length: usize, value: u8) {
    // Mostly there are none, and the call would cost more than the rest.
    if length > 0 {
        // SAFETY: callers name bytes of one chunk in transit.
        unsafe { core::ptr::write_bytes(start as *mut u8, value, length) };
    }
}

// ---- blocks ----

/// Bytes that a block of `requested` bytes needs with these debug flags.
pub fn block_size(requested: usize, flags: u32) -> Option<usize> {
    if flags & cache_flag::REDZONE == 0 {
        return Some(requested);
    }
    requested
        .checked_next_multiple_of(8)?
        .checked_add(size_of::<Trailer>())
}

fn block_trailer(block: SegmentRef) -> Option<TrailerRef> {
    let flagged = u32::from(block.flags().get()) & cache_flag::REDZONE != 0;
    let at = (block.buffer().get() + block.requested().get().next_multiple_of(8)) as usize;
    // SAFETY: `block_size` made room for it, and the address is a multiple of 8.
    flagged.then(|| unsafe { TrailerRef::from_address(at) })
}

/// Prepares a block: trailer and record. Contents are left alone, so that untouched pages stay untouched.
pub fn block_allocated(
    block: SegmentRef,
    owner: u64,
    requested: usize,
    flags: u32,
    family: u8,
    call: &Call,
) {
    block.record().initialize(AuditRecord::ZERO);
    block.requested().set(requested as u64);
    let fenced = flags & cache_flag::FIREWALL != 0;
    let buffer = match fenced {
        true => block_end(block, flags) - fenced_size(requested),
        false => block.start().get() as usize,
    };
    block.buffer().set(buffer as u64);
    if fenced {
        let pad = fenced_size(requested) - requested;
        fill_bytes(buffer + requested, pad, REDZONE_BYTE);
    }
    block.flags().set(flags as u16);
    block.family().set(family);
    if let Some(trailer) = block_trailer(block) {
        let pad = requested.next_multiple_of(8) - requested;
        fill_bytes(block.buffer().get() as usize + requested, pad, REDZONE_BYTE);
        let record = block.record().link();
        trailer.redzone().set(redzone_word(requested as u64));
        trailer.record().set(record);
        trailer.state().set(record ^ TRAILER_ALLOCATED);
    }
    if flags & cache_flag::AUDIT != 0 {
        record_allocation(
            block.record(),
            u32::try_from(requested).unwrap_or(u32::MAX),
            call,
        );
        log_block(block, owner, call, operation::ALLOC);
    }
    block
        .state()
        .store(buffer_state::ALLOCATED, Ordering::Release);
}

/// Unit of `Segment::picked_by`.
const PICKED_UNIT: usize = 16;

/// Bytes that decided whether a block is a sample.
pub fn picked_by(block: SegmentRef) -> usize {
    block.picked_by().get() as usize * PICKED_UNIT
}

/// Stores that number, a multiple of 16.
pub fn set_picked_by(block: SegmentRef, bytes: usize) {
    let units = u32::try_from(bytes / PICKED_UNIT).unwrap_or(u32::MAX);
    block.picked_by().set(units);
}

/// Checks a block that the program gives back, and records the free. The block is then in transit.
///
/// # Errors
/// What was found damaged.
pub fn block_freed(block: SegmentRef, owner: u64, call: &Call) -> Result<(), Damage> {
    if !take_allocated(block.state()) {
        return Err(Damage::new(error_code::DUPLICATE_FREE));
    }
    check_block_tail(block)?;
    if u32::from(block.flags().get()) & cache_flag::AUDIT != 0 {
        record_free(block.record(), call);
        log_block(block, owner, call, operation::FREE);
    }
    Ok(())
}

/// Bytes that a buffer of a requested size takes before its guard page.
fn fenced_size(requested: usize) -> usize {
    requested.max(1).next_multiple_of(16)
}

/// One past the last byte of a block that can be used.
fn block_end(block: SegmentRef, flags: u32) -> usize {
    let end = block.end().get() as usize;
    match flags & cache_flag::FIREWALL {
        0 => end,
        _ => end - memory::PAGE,
    }
}

/// Checks a block that the program says it holds.
///
/// # Errors
/// What was found damaged; a block that is free is a double free.
pub fn check_block(block: SegmentRef) -> Result<(), Damage> {
    if block.state().load(Ordering::Acquire) != buffer_state::ALLOCATED {
        return Err(Damage::new(error_code::DUPLICATE_FREE));
    }
    check_block_tail(block)
}

fn check_block_tail(block: SegmentRef) -> Result<(), Damage> {
    if u32::from(block.flags().get()) & cache_flag::FIREWALL != 0 {
        let requested = block.requested().get() as usize;
        let start = block.buffer().get() as usize;
        return check_filler(start, requested, fenced_size(requested));
    }
    let Some(trailer) = block_trailer(block) else {
        return Ok(());
    };
    let requested = block.requested().get() as usize;
    let (start, record) = (block.buffer().get() as usize, block.record().link());
    let end = requested.next_multiple_of(8);
    check_behind(start, requested, end, trailer, record)
}

/// Bytes of a freed block that are looked at; reading what was given back costs a fault a page.
const BLOCK_CHECK: usize = 1 << 30;

/// Whether a block is a sample.
fn is_sample(block: SegmentRef) -> bool {
    u32::from(block.flags().get()) & cache_flag::SAMPLED != 0
}

/// Start of a freed block, end of the free pattern, end of what is to read as zero.
fn block_fill(block: SegmentRef) -> (usize, usize, usize) {
    let start = block.start().get() as usize;
    let end = block_end(block, u32::from(block.flags().get()));
    if is_sample(block) {
        let filled = end.min(start + FILLED_OF_SAMPLE);
        return (start, filled, filled);
    }
    (start, start + filled_of_block(end - start), end)
}

/// Bytes of a freed block that keep their pages.
pub fn kept_of_block(block: SegmentRef) -> usize {
    if is_sample(block) {
        return (block.end().get() - block.start().get()) as usize;
    }
    let (start, filled, _) = block_fill(block);
    filled - start
}

/// Fills a block that was freed.
pub fn fill_block(block: SegmentRef) {
    let (start, filled, end) = block_fill(block);
    fill_words(start, filled - start, FREE_PATTERN);
    // SAFETY: whole pages of a block in transit, which nobody needs any more.
    if filled < end && !unsafe { memory::purge(filled, end - filled) } {
        fill_words(filled, end - filled, 0);
    }
}

/// Checks a freed block: its fill, and that the rest still reads as zero.
///
/// # Errors
/// What was found damaged.
pub fn check_freed_block(block: SegmentRef) -> Result<(), Damage> {
    let (start, filled, end) = block_fill(block);
    let parts = [
        (start, filled, FREE_PATTERN),
        (filled, end.min(start + BLOCK_CHECK).max(filled), 0),
    ];
    for (from, to, pattern) in parts {
        if let Some(offset) = first_other_word(from, to - from, pattern) {
            let damage = damaged_byte(from, offset, pattern, error_code::MODIFIED);
            return Err(Damage {
                offset: damage.offset + (from - start),
                ..damage
            });
        }
    }
    Ok(())
}

/// Checks a block whatever its state is, as [`check_any`] does a buffer.
///
/// # Errors
/// What was found damaged.
pub fn check_any_block(block: SegmentRef) -> Result<(), Damage> {
    let (state, bounds) = (block.state(), || {
        (
            block.start().get(),
            block.requested().get(),
            block.record().alloc_time().get(),
        )
    });
    let before = (state.load(Ordering::Acquire), bounds());
    let found = match before.0 {
        buffer_state::ALLOCATED => check_block_tail(block),
        buffer_state::QUARANTINED => check_freed_block(block),
        _ => Ok(()),
    };
    let is_same = || (state.load(Ordering::Acquire), bounds()) == before;
    found.or_else(|damage| if is_same() { Err(damage) } else { Ok(()) })
}

fn log_block(block: SegmentRef, owner: u64, call: &Call, operation: u32) {
    let record = block.record();
    let sequence = log::append(
        Kind::Transaction,
        call,
        &Transaction {
            buffer: block.buffer().get() as usize,
            record: record.link(),
            owner,
            owner_is_arena: true,
            size: block.requested().get(),
            operation,
            previous: record.last_log().get(),
        },
    );
    record.last_log().set(sequence);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_that_differs_is_found() {
        let mut bytes = [0_u64; 40];
        let start = bytes.as_mut_ptr().expose_provenance();
        for (from, to) in [
            (0, 320),
            (1, 320),
            (7, 9),
            (8, 8),
            (5, 319),
            (16, 300),
            (311, 317),
        ] {
            for offset in 0..320 {
                fill_bytes(start, 320, REDZONE_BYTE);
                // SAFETY: a byte of the array.
                unsafe { byte(start, offset) }.set(0);
                let expected = (from..to).contains(&offset).then_some(offset);
                assert_eq!(first_other_byte(start, from, to), expected, "{from}..{to}");
            }
        }
        for offset in 0..40 {
            fill_words(start, 320, FREE_PATTERN);
            // SAFETY: a word of the array.
            unsafe { word(start, offset) }.set(0);
            assert_eq!(first_other_word(start, 320, FREE_PATTERN), Some(offset * 8));
        }
    }
}
