//! Fill patterns, the size code, and the numbers that published fields hold.

/// Major version of the layout. 0 promises nothing; from 1 on old cores stay readable within a major.
pub const LAYOUT_MAJOR: u16 = 0;
/// Minor version: structures have grown at their end, or a value was added.
pub const LAYOUT_MINOR: u16 = 5;
/// `UmemRoot::magic`, the bytes `UMEMROOT` read little-endian.
pub const ROOT_MAGIC: u64 = u64::from_le_bytes(*b"UMEMROOT");
/// Dynamic symbol of the root.
pub const ROOT_SYMBOL: &str = "umem_root";
/// Name of the ELF note that leads to the root.
pub const NOTE_NAME: &str = "UMEM";
/// Type of the ELF note. Its descriptor is one signed 64-bit number: the root's address minus the
/// address of the descriptor itself, so that the note needs no relocation.
pub const NOTE_TYPE: u32 = 1;
/// `UmemRoot::byte_order` as the writer stores it.
pub const BYTE_ORDER: u32 = 0x0102_0304;
/// Features that this version of the reader understands; see `UmemRoot::features_required`.
pub const FEATURES_KNOWN: u64 =
    feature::MAGAZINES | feature::QUARANTINE | feature::SAMPLING | feature::HOT_ROUNDS;

/// Bits of `UmemRoot::features_required`: what a reader must understand to give a verdict.
pub mod feature {
    /// Buffers in magazines (thread and depot) are free though their slab counts them as allocated.
    pub const MAGAZINES: u64 = 1 << 0;
    /// Freed buffers may wait in a quarantine; their state says so.
    pub const QUARANTINE: u64 = 1 << 1;
    /// Some buffers live in audited twins of their cache, with a weight.
    pub const SAMPLING: u64 = 1 << 2;
    /// The last round of a thread's loaded magazine is [`ThreadCache::hot`](crate::ThreadCache::hot).
    pub const HOT_ROUNDS: u64 = 1 << 3;
}

/// Free fill, in 64-bit units.
pub const FREE_PATTERN: u64 = 0xdead_beef_dead_beef;

/// Bytes at the start of a freed block of `size` bytes that hold [`FREE_PATTERN`]; the rest reads as zero, since its pages were
/// given back. Refilling a page costs less than having the kernel clear a new one, so all but the largest are filled.
#[must_use]
pub const fn filled_of_block(size: usize) -> usize {
    const WHOLE: usize = 16 << 20;
    const HEAD: usize = 64 << 10;
    if size <= WHOLE { size } else { HEAD }
}

/// Bytes at the start of a sample that hold [`FREE_PATTERN`] when it is free; the rest is as the program left it. Filling it all
/// would cost more than sampling may.
pub const FILLED_OF_SAMPLE: usize = 4 << 10;

/// Fill of a buffer that was just allocated.
pub const UNINITIALIZED_PATTERN: u64 = 0xbadd_cafe_badd_cafe;
/// First word of the trailer while the buffer is free; while it is allocated the upper half holds the
/// size code.
pub const REDZONE_PATTERN: u64 = 0xfeed_face_feed_face;
/// Fills every byte from the requested size to the trailer.
pub const REDZONE_BYTE: u8 = 0xbb;
/// `Trailer::state` = record address XOR this: allocated. The upper halves keep its last bytes, which are those before the start of
/// the next buffer, from being zero: a zero is what is written there by mistake most often.
pub const TRAILER_ALLOCATED: u64 = 0xa110_c8ed_a110_c8ed;
/// `Trailer::state` = record address XOR this: free.
pub const TRAILER_FREE: u64 = 0xf4ee_f4ee_f4ee_f4ee;

/// Largest requested size that [`redzone_word`] can hold: its code has four digits of base 255.
pub const SIZE_CODE_MAX: u64 = (255_u64.pow(4) - 2) / 251;

/// The size code of a request of `size` bytes: `251 * size + 1`, cut to 32 bits for sizes above
/// [`SIZE_CODE_MAX`], which it then cannot give back. Multiply and add, so that an overwrite
/// is told apart from a wrong size: a random word is a valid code with a chance of 1 in 251.
#[must_use]
pub const fn size_code(size: u64) -> u32 {
    size.wrapping_mul(251).wrapping_add(1) as u32
}

/// The size in a code, or nothing when the code is damaged.
#[must_use]
pub const fn decode_size(code: u32) -> Option<u64> {
    if code % 251 == 1 {
        Some((code / 251) as u64)
    } else {
        None
    }
}

/// The redzone word of an allocated buffer of `size` requested bytes: half of the pattern, and the size code in digits of base
/// 255, each plus one. So no byte of the word is zero, and a zero that is written over any of them shows.
#[must_use]
#[inline]
pub const fn redzone_word(size: u64) -> u64 {
    const PAIR: u32 = 255 * 255;
    let code = size_code(size);
    let mut upper = pair_of_digits(code % PAIR);
    // Sizes below 260 bytes, which are most, have two digits.
    if code >= PAIR {
        upper |= pair_of_digits((code / PAIR) % PAIR) << 16;
    }
    (REDZONE_PATTERN & 0xffff_ffff) | ((upper as u64 + 0x0101_0101) << 32)
}

/// The two digits of base 255 of a number below 255².
const fn pair_of_digits(number: u32) -> u32 {
    (number % 255) | ((number / 255) << 8)
}

/// The requested size in the redzone word of an allocated buffer, or nothing when its upper half is damaged.
#[must_use]
pub const fn decode_redzone(word: u64) -> Option<u64> {
    let bytes = (word >> 32).to_le_bytes();
    if bytes[0] == 0 || bytes[1] == 0 || bytes[2] == 0 || bytes[3] == 0 {
        return None;
    }
    let code = (bytes[0] as u64 - 1)
        + (bytes[1] as u64 - 1) * 255
        + (bytes[2] as u64 - 1) * 65_025
        + (bytes[3] as u64 - 1) * 16_581_375;
    if code > u32::MAX as u64 {
        return None;
    }
    decode_size(code as u32)
}

/// `UmemRoot::state`.
pub mod ready {
    /// Nothing has been allocated yet.
    pub const UNINITIALIZED: u32 = 0;
    /// A thread is setting the allocator up.
    pub const INITIALIZING: u32 = 1;
    /// No memory for the allocator's own structures.
    pub const FAILED: u32 = 2;
    /// In service.
    pub const READY: u32 = 3;
}

/// `Cache::flags`: what a cache does for debugging. The numbers are those that mdb users know.
pub mod cache_flag {
    /// Records who allocated and who freed each buffer.
    pub const AUDIT: u32 = 0x1;
    /// Fills freed and fresh buffers.
    pub const DEADBEEF: u32 = 0x2;
    /// Trailer with redzone behind each buffer.
    pub const REDZONE: u32 = 0x4;
    /// Saves the contents of freed buffers.
    pub const CONTENTS: u32 = 0x8;
    /// Reports allocations in signal handlers.
    pub const CHECKSIGNAL: u32 = 0x10;
    /// Every allocation and free goes to the slab layer.
    pub const NOMAGAZINE: u32 = 0x20;
    /// Buffers end at an inaccessible page.
    pub const FIREWALL: u32 = 0x40;
    /// Only the first bytes are patterned.
    pub const LITE: u32 = 0x100;
    /// Records are kept outside of the buffers.
    pub const HASH: u32 = 0x200;
    /// Each cache gets another combination of checks.
    pub const RANDOMIZE: u32 = 0x400;
    /// Running out of memory is an error.
    pub const CHECKNULL: u32 = 0x1000;
    /// A sample: the block, or every buffer of the twin. Only the first [`super::FILLED_OF_SAMPLE`] bytes are patterned.
    pub const SAMPLED: u32 = 0x2000;
}

/// `Cache::cflags`: how a cache was created.
pub mod create_flag {
    /// The memory may not be touched (quantum caches of arenas that are not memory).
    pub const NOTOUCH: u32 = 0x0001_0000;
    /// No debugging.
    pub const NODEBUG: u32 = 0x0002_0000;
    /// No magazines.
    pub const NOMAGAZINE: u32 = 0x0004_0000;
    /// No records outside of the buffers.
    pub const NOHASH: u32 = 0x0008_0000;
    /// Quantum cache of an arena.
    pub const QCACHE: u32 = 0x0010_0000;
    /// Belongs to the library.
    pub const INTERNAL: u32 = 0x8000_0000;
}

/// `Cache::policy` and `Arena::policy`: what the memory is for, so that no reader guesses from names.
pub mod policy {
    /// Buffers belong to the program: candidates for leaks.
    pub const USER: u32 = 1 << 0;
    /// Structures of the allocator.
    pub const METADATA: u32 = 1 << 1;
    /// Quantum cache: its buffers are segments of an arena.
    pub const QUANTUM: u32 = 1 << 2;
    /// Serves malloc by size.
    pub const SIZED: u32 = 1 << 3;
    /// The arena that maps memory from the system.
    pub const TOP: u32 = 1 << 4;
    /// Allocated segments are blocks handed to the program, each with a record of its own.
    pub const BLOCKS: u32 = 1 << 5;
    /// Audited twin that serves samples; `Cache::origin` names the cache it stands for.
    pub const TWIN: u32 = 1 << 6;
    /// Arena of the program: its numbers need not be addresses, and the allocator touches nothing there.
    pub const FOREIGN: u32 = 1 << 7;
}

/// State of a buffer in the per-slab array `Slab::states`.
pub mod buffer_state {
    /// Free in its slab; also: never handed out.
    pub const FREE: u8 = 0;
    /// Held by the program.
    pub const ALLOCATED: u8 = 1;
    /// Free in a magazine.
    pub const MAGAZINE: u8 = 2;
    /// Freed, waiting before reuse.
    pub const QUARANTINED: u8 = 3;
    /// Found damaged and withdrawn from use.
    pub const ABANDONED: u8 = 4;
    /// In the hands of the allocator.
    pub const TRANSIT: u8 = 5;
}

/// Which family of functions allocated a buffer: `Slab::families`, `Segment::family`.
pub mod family {
    /// Unknown or none.
    pub const NONE: u8 = 0;
    /// malloc, calloc, realloc and their kin.
    pub const MALLOC: u8 = 1;
    /// `operator new`.
    pub const NEW: u8 = 2;
    /// `operator new[]`.
    pub const NEW_ARRAY: u8 = 3;
    /// memalign, posix_memalign, aligned_alloc, valloc, pvalloc.
    pub const MEMALIGN: u8 = 4;
    /// umem_alloc, umem_zalloc.
    pub const UMEM: u8 = 5;
    /// umem_cache_alloc.
    pub const CACHE: u8 = 6;
}

/// What a unit of a region is used for: the byte in `Region::map`.
pub mod unit {
    /// Nothing, or inside of a span that no slab or block uses.
    pub const UNUSED: u8 = 0;
    /// 1..=`SLAB_CLASS_LAST`: slab of the malloc size class with this number minus one.
    pub const SLAB_CLASS_LAST: u8 = 0x40;
    /// Slab of any other cache; the slab structure names it.
    pub const SLAB_OTHER: u8 = 0x41;
    /// Belongs to an arena of blocks.
    pub const BLOCKS: u8 = 0x42;
}

/// `Slab::kind`.
pub mod slab_kind {
    /// No slab starts here.
    pub const UNUSED: u32 = 0;
    /// A slab starts at this unit.
    pub const SLAB: u32 = 1;
    /// Unit within a slab; `head_delta` units back is its structure.
    pub const INTERIOR: u32 = 2;
}

/// `Segment::kind`: the numbers that mdb users know.
pub mod segment_kind {
    /// Record not in use.
    pub const UNUSED: u32 = 0;
    /// Allocated.
    pub const ALLOC: u32 = 1;
    /// Free.
    pub const FREE: u32 = 2;
    /// A span that the arena got from its source or at creation.
    pub const SPAN: u32 = 0x10;
    /// Where next-fit continues.
    pub const ROTOR: u32 = 0x20;
    /// A place held by vmem_walk.
    pub const WALKER: u32 = 0x40;
}

/// `Log::kind`.
pub mod log_kind {
    /// Allocations and frees.
    pub const TRANSACTION: u32 = 1;
    /// Saved contents of freed buffers.
    pub const CONTENTS: u32 = 2;
    /// Allocations that failed.
    pub const FAIL: u32 = 3;
    /// Slabs created.
    pub const SLAB: u32 = 4;
}

/// `LogEntry::operation`.
pub mod operation {
    /// A buffer was handed out.
    pub const ALLOC: u32 = 1;
    /// A buffer was taken back.
    pub const FREE: u32 = 2;
    /// An allocation failed.
    pub const FAIL: u32 = 3;
    /// A slab was created.
    pub const SLAB_CREATE: u32 = 4;
}

/// `StackEntry::flags`.
pub mod stack_flag {
    /// The depth limit cut the stack.
    pub const CUT: u16 = 1 << 0;
    /// Ended before the outermost frame: no unwind information, or an implausible frame.
    pub const ENDED_EARLY: u16 = 1 << 1;
    /// Some frames were found by frame pointer; `StackEntry::guessed` says which.
    pub const GUESSED: u16 = 1 << 2;
}

/// `Span::kind`: what a mapping of the library holds.
pub mod span_kind {
    /// Memory for the program.
    pub const HEAP: u32 = 1;
    /// Slab tables, segments, records and other structures.
    pub const METADATA: u32 = 2;
    /// Logs.
    pub const LOG: u32 = 3;
    /// Stacks.
    pub const DEPOT: u32 = 4;
}

/// `Thread::state`.
pub mod thread_state {
    /// Record not in use.
    pub const UNUSED: u32 = 0;
    /// The thread lives.
    pub const LIVE: u32 = 1;
    /// The thread has ended; its magazines were given back.
    pub const EXITED: u32 = 2;
    /// The thread was left behind by a fork, perhaps in the middle of an exchange of magazines. Its magazines are
    /// used no more; what they hold is free.
    pub const LOST: u32 = 3;
}

/// `Clock::kind`.
pub mod clock_kind {
    /// Times are nanoseconds of CLOCK_MONOTONIC.
    pub const MONOTONIC: u32 = 0;
    /// Times are ticks of the processor's counter; ns = ticks * multiplier >> shift.
    pub const COUNTER: u32 = 1;
}

/// `AbortInfo::code`: the classes of errors.
pub mod error_code {
    /// None so far.
    pub const NONE: u32 = 0;
    /// A freed buffer was written to.
    pub const MODIFIED: u32 = 1;
    /// Bytes behind the requested size were overwritten.
    pub const REDZONE: u32 = 2;
    /// Freed twice.
    pub const DUPLICATE_FREE: u32 = 3;
    /// Address in no buffer of the allocator.
    pub const BAD_ADDRESS: u32 = 4;
    /// Trailer damaged.
    pub const BAD_TRAILER: u32 = 5;
    /// Audit record damaged.
    pub const BAD_RECORD: u32 = 6;
    /// Freed to a cache that does not own it.
    pub const WRONG_CACHE: u32 = 7;
    /// Freed with a size other than the allocated one.
    pub const BAD_SIZE: u32 = 8;
    /// Address inside of a buffer.
    pub const BAD_BASE: u32 = 9;
    /// Freed by another family than it was allocated by.
    pub const BAD_FAMILY: u32 = 10;
    /// A structure of the allocator is damaged.
    pub const INTERNAL: u32 = 11;
    /// No memory, with `checknull`.
    pub const NO_MEMORY: u32 = 12;
    /// Called from a signal handler, with `nosignal`.
    pub const IN_SIGNAL: u32 = 13;
}
