//! The published structures. Fields state their offset; see the crate's rules.

use crate::plain::published;

published! {
    /// The root record: everything a debugger needs is reachable from here.
    0 pub struct UmemRoot[0x348] {
        /// [`crate::ROOT_MAGIC`].
        0x000 magic: u64,
        /// [`crate::LAYOUT_MAJOR`].
        0x008 major: u16,
        /// [`crate::LAYOUT_MINOR`].
        0x00a minor: u16,
        /// [`crate::BYTE_ORDER`].
        0x00c byte_order: u32,
        /// Bits in a pointer.
        0x010 pointer_width: u32,
        /// Bytes of this structure.
        0x014 root_size: u32,
        /// Published size, which is the stride, of each structure, by identifier.
        0x018 struct_sizes: [u32; 32],
        /// [`crate::feature`] bits that a reader must know to give a verdict.
        0x098 features_required: u64,
        /// [`crate::feature`] bits in use.
        0x0a0 features_present: u64,
        /// [`crate::ready`].
        0x0a8 state: u32,
        /// Process that last set the allocator up or came out of a fork.
        0x0ac pid: u32,
        /// Bytes of a page.
        0x0b0 page_size: u64,
        /// Bytes of a unit: what one byte of a region's map stands for.
        0x0b8 unit_size: u64,
        /// First [`Region`].
        0x0c0 regions: u64,
        /// First [`Cache`], in order of creation.
        0x0c8 caches: u64,
        /// First [`Arena`], in order of creation.
        0x0d0 arenas: u64,
        /// First [`Log`].
        0x0d8 logs: u64,
        /// First [`Thread`].
        0x0e0 threads: u64,
        /// First [`Module`] of the history.
        0x0e8 modules: u64,
        /// First [`Span`]: every mapping of the library.
        0x0f0 spans: u64,
        /// Options in force.
        0x0f8 options: Options,
        /// What the times in records mean.
        0x168 clock: Clock,
        /// The depot of stacks.
        0x190 depot: StackDepot,
        /// Text of errors and warnings.
        0x1d0 messages: MessageRing,
        /// The last error.
        0x1e8 abort_info: AbortInfo,
        /// First and one past the last address of the library's own code and data, zero when unknown.
        0x248 library_range: [u64; 2],
        /// Buffers that `firewall` asked a guard page for and that got a redzone, since the kernel keeps no more mappings.
        0x258 firewall_dropped: u64,
        /// Kernel's identifier of the library's own thread, zero while there is none. It has no [`Thread`]: it is none of the program's.
        /// Zero before 0.5.
        0x260 update_thread: u64,
        /// Zero.
        0x268 reserved: [u64; 28],
    }

    /// A reservation of address space in which slabs and blocks live, with its tables.
    1 pub struct Region[0x40] {
        /// Next region or zero.
        0x000 next: u64,
        /// First address.
        0x008 base: u64,
        /// Bytes reserved.
        0x010 size: u64,
        /// Bytes from the base on that are readable and writable.
        0x018 committed: u64,
        /// Address of one byte a unit: [`crate::unit`].
        0x020 map: u64,
        /// Address of one [`Slab`] a unit, strided by its published size.
        0x028 slabs: u64,
        /// Units for which map and slabs are readable.
        0x030 units: u64,
        /// Zero.
        0x038 reserved: u64,
    }

    /// A slab: a run of units cut into equal chunks. Stands at the index of its first unit.
    2 pub struct Slab[0x70] {
        /// [`crate::slab_kind`].
        0x000 kind: u32,
        /// Units back to the structure of the slab, for interior units.
        0x004 head_delta: u32,
        /// Next slab on the cache's list of slabs with free buffers, or zero.
        0x008 next: u64,
        /// Previous slab on that list, or zero.
        0x010 prev: u64,
        /// Owning [`Cache`].
        0x018 cache: u64,
        /// Address of the first buffer, after the colour.
        0x020 base: u64,
        /// Address of the bitmap, one bit a chunk in 64-bit words: set = taken from the slab layer.
        0x028 bitmap: u64,
        /// Address of one [`crate::buffer_state`] byte a chunk, or zero where the bitmap tells all.
        0x030 states: u64,
        /// Address of one [`crate::family`] byte a chunk, or zero.
        0x038 families: u64,
        /// A mix of what is fixed while the slab lives, by which the allocator knows that it was not overwritten. Zero before 0.4.
        0x040 seal: u64,
        /// Address of one [`AuditRecord`] a chunk, or zero.
        0x048 records: u64,
        /// Chunks taken from the slab layer.
        0x050 allocated: u32,
        /// Chunks in the slab.
        0x054 capacity: u32,
        /// Chunks from the first on that were ever handed out; those behind were never touched.
        0x058 carved: u32,
        /// Where the search for the next free chunk begins.
        0x05c rotor: u32,
        /// Bytes of a chunk.
        0x060 chunk_size: u32,
        /// Bytes of the slab before the first buffer.
        0x064 color: u32,
        /// Units of the slab.
        0x068 units: u32,
        /// 1: chunks that were never handed out read as zero.
        0x06c clean: u32,
    }

    /// An object cache.
    3 pub struct Cache[0x198] {
        /// Next cache in order of creation, or zero.
        0x000 next: u64,
        /// Previous cache or zero.
        0x008 prev: u64,
        /// Name, padded with zero bytes.
        0x010 name: [u8; 32],
        /// Number of the cache, from 1 in order of creation.
        0x030 id: u32,
        /// [`crate::cache_flag`].
        0x034 flags: u32,
        /// [`crate::create_flag`].
        0x038 cflags: u32,
        /// [`crate::policy`].
        0x03c policy: u32,
        /// Bytes of a buffer as the user of the cache sees it.
        0x040 buffer_size: u64,
        /// Bytes from one buffer to the next.
        0x048 chunk_size: u64,
        /// Alignment of buffers.
        0x050 align: u64,
        /// Offset of the [`Trailer`] from the buffer's start, or zero where there is none.
        0x058 trailer_offset: u64,
        /// Bytes of a free buffer that hold the free pattern.
        0x060 verify_length: u64,
        /// Bytes of a slab.
        0x068 slab_size: u64,
        /// Chunks in a slab.
        0x070 slab_capacity: u32,
        /// Rounds of a magazine of this cache, zero when magazines are off.
        0x074 magazine_rounds: u32,
        /// Source of slabs: [`Arena`].
        0x078 arena: u64,
        /// Audited twin that serves samples, or zero.
        0x080 twin: u64,
        /// Cache that this twin stands for, or zero.
        0x088 origin: u64,
        /// Constructor, destructor, reclaim function and their datum: addresses in the program.
        0x090 constructor: u64,
        /// See `constructor`.
        0x098 destructor: u64,
        /// See `constructor`.
        0x0a0 reclaim: u64,
        /// See `constructor`.
        0x0a8 private: u64,
        /// First slab with free buffers.
        0x0b0 partial: u64,
        /// First full [`Magazine`] in the depot.
        0x0b8 depot_full: u64,
        /// First empty [`Magazine`] in the depot.
        0x0c0 depot_empty: u64,
        /// Magazines in the list of full ones.
        0x0c8 depot_full_count: u64,
        /// Magazines in the list of empty ones.
        0x0d0 depot_empty_count: u64,
        /// Fewest full magazines since the last update.
        0x0d8 depot_full_min: u64,
        /// Fewest empty magazines since the last update.
        0x0e0 depot_empty_min: u64,
        /// Times the depot's lock was held by another thread.
        0x0e8 depot_contention: u64,
        /// Magazines taken from the list of full ones.
        0x0f0 depot_allocs: u64,
        /// Slabs created.
        0x0f8 slab_creates: u64,
        /// Slabs given back.
        0x100 slab_destroys: u64,
        /// Buffers taken from slabs.
        0x108 slab_allocs: u64,
        /// Buffers given back to slabs.
        0x110 slab_frees: u64,
        /// Buffers handed to the program by any layer.
        0x118 allocs: u64,
        /// Buffers taken back from the program by any layer.
        0x120 frees: u64,
        /// Allocations that failed.
        0x128 fails: u64,
        /// Chunks in existing slabs.
        0x130 buffers: u64,
        /// Largest value of `buffers`.
        0x138 buffers_max: u64,
        /// Buffers withdrawn from use because they were damaged.
        0x140 abandoned: u64,
        /// Colour of the next slab.
        0x148 color: u32,
        /// Largest colour.
        0x14c color_max: u32,
        /// Lock of the slab layer: zero when free.
        0x150 slab_lock: u32,
        /// Lock of the depot: zero when free.
        0x154 depot_lock: u32,
        /// Size class served for malloc, plus one; zero when none.
        0x158 size_class: u32,
        /// Entry of the cache in each thread's array of magazines, plus one; zero when it has none.
        0x15c thread_slot: u32,
        /// Users within the allocator that the end of the cache waits for.
        0x160 holds: u32,
        /// Full magazines put into the depot since one was taken out.
        0x164 depot_streak: u32,
        /// `depot_contention` at the last update.
        0x168 contention_seen: u64,
        /// Zero.
        0x170 reserved: [u64; 5],
    }

    /// A vmem arena.
    4 pub struct Arena[0x2e0] {
        /// Next arena in order of creation, or zero.
        0x000 next: u64,
        /// Arena that spans are imported from, or zero.
        0x008 source: u64,
        /// Name, padded with zero bytes.
        0x010 name: [u8; 32],
        /// Number of the arena, from 1.
        0x030 id: u32,
        /// [`crate::policy`].
        0x034 policy: u32,
        /// Unit of allocation in bytes.
        0x038 quantum: u64,
        /// Largest size served by quantum caches, or zero.
        0x040 quantum_cache_max: u64,
        /// Anchor [`Segment`] of the address-ordered circular list; itself no segment of the arena.
        0x048 segments: u64,
        /// Bytes allocated.
        0x050 in_use: u64,
        /// Bytes of all spans.
        0x058 total: u64,
        /// Bytes of imported spans.
        0x060 imported: u64,
        /// Allocations.
        0x068 allocs: u64,
        /// Frees.
        0x070 frees: u64,
        /// Allocations that failed.
        0x078 fails: u64,
        /// Largest value of `in_use`.
        0x080 in_use_max: u64,
        /// Address of the hash table of allocated segments.
        0x088 hash: u64,
        /// Buckets of the hash table.
        0x090 hash_size: u64,
        /// Lock: zero when free.
        0x098 lock: u32,
        /// Zero.
        0x09c reserved0: u32,
        /// First segment of each list of free segments: list i holds sizes 2^i to 2^(i+1)-1.
        0x0a0 free_lists: [u64; 64],
        /// Bit i: list i is not empty.
        0x2a0 free_mask: u64,
        /// Bytes of free segments whose pages were not given back to the system, at least.
        0x2a8 dirty: u64,
        /// Function of the program that imports a span, or zero.
        0x2b0 import: u64,
        /// Function of the program that takes a span back, or zero.
        0x2b8 release: u64,
        /// [`Segment`] behind which next fit goes on, or zero.
        0x2c0 rotor: u64,
        /// Address of the links of its quantum caches, for one quantum, two, and so on, or zero.
        0x2c8 quantum_caches: u64,
        /// Zero.
        0x2d0 reserved: [u64; 2],
    }

    /// A boundary tag: a span of an arena, or a piece of one.
    5 pub struct Segment[0x80] {
        /// [`crate::segment_kind`].
        0x000 kind: u32,
        /// 1: the span was imported from the source.
        0x004 imported: u32,
        /// First address.
        0x008 start: u64,
        /// One past the last address.
        0x010 end: u64,
        /// Next in address order.
        0x018 next: u64,
        /// Previous in address order.
        0x020 prev: u64,
        /// Next of its kind: hash chain or free list.
        0x028 kin_next: u64,
        /// Previous of its kind, free lists only.
        0x030 kin_prev: u64,
        /// Bytes that the program asked for; zero when unknown.
        0x038 requested: u64,
        /// Address handed to the program, for allocated segments of arenas of blocks.
        0x040 buffer: u64,
        /// Who allocated the block and who freed it.
        0x048 record: AuditRecord,
        /// [`crate::buffer_state`] of the block.
        0x078 state: u8,
        /// [`crate::family`] of the block.
        0x079 family: u8,
        /// [`crate::cache_flag`] bits in force for the block.
        0x07a flags: u16,
        /// Bytes that decided whether the block is a sample, in units of 16.
        0x07c picked_by: u32,
    }

    /// Who allocated a buffer and who freed it last.
    6 pub struct AuditRecord[0x30] {
        /// Time of the last allocation.
        0x000 alloc_time: u64,
        /// Time of the last free, zero when never freed.
        0x008 free_time: u64,
        /// Stack of the last allocation, in the depot.
        0x010 alloc_stack: u32,
        /// Stack of the last free, in the depot.
        0x014 free_stack: u32,
        /// Thread of the last allocation.
        0x018 alloc_thread: u32,
        /// Thread of the last free.
        0x01c free_thread: u32,
        /// Sequence number of the last entry in the transaction log, zero when none.
        0x020 last_log: u64,
        /// Where the contents log keeps what was saved at the last free, plus one; zero when nothing.
        0x028 contents: u32,
        /// Bytes that the program asked for.
        0x02c requested: u32,
    }

    /// A log: a ring of entries of fixed size.
    7 pub struct Log[0x30] {
        /// Next log or zero.
        0x000 next: u64,
        /// [`crate::log_kind`].
        0x008 kind: u32,
        /// Bytes of an entry.
        0x00c stride: u32,
        /// Address of the first entry.
        0x010 base: u64,
        /// Entries.
        0x018 capacity: u64,
        /// Entries ever written; the newest has this sequence number.
        0x020 written: u64,
        /// Zero.
        0x028 reserved: u64,
    }

    /// One transaction.
    8 pub struct LogEntry[0x48] {
        /// Sequence number from 1; zero while the entry is unused or being written.
        0x000 sequence: u64,
        /// When.
        0x008 time: u64,
        /// Buffer.
        0x010 buffer: u64,
        /// Audit record of the buffer.
        0x018 record: u64,
        /// Cache or, for blocks, arena.
        0x020 owner: u64,
        /// Bytes that the program asked for.
        0x028 size: u64,
        /// Stack in the depot.
        0x030 stack: u32,
        /// Thread.
        0x034 thread: u32,
        /// [`crate::operation`].
        0x038 operation: u32,
        /// 1: `owner` is an arena.
        0x03c owner_is_arena: u32,
        /// Sequence number of the buffer's transaction before this one, zero when none.
        0x040 previous: u64,
    }

    /// A thread that has used the allocator.
    9 pub struct Thread[0x58] {
        /// Next thread or zero.
        0x000 next: u64,
        /// [`crate::thread_state`].
        0x008 state: u32,
        /// Kernel's thread identifier.
        0x00c tid: u32,
        /// Name when last looked at, padded with zero bytes.
        0x010 name: [u8; 16],
        /// Thread pointer (fs base on x86-64).
        0x020 thread_pointer: u64,
        /// Address of the array of [`ThreadCache`], or zero.
        0x028 caches: u64,
        /// Entries in that array; entry i serves size class i.
        0x030 cache_count: u32,
        /// Bytes from one entry to the next.
        0x034 cache_stride: u32,
        /// 1 while the thread is inside of the allocator.
        0x038 busy: u32,
        /// Zero.
        0x03c reserved0: u32,
        /// Address of what the thread remembers of its last stacks, or zero. Of no use to a reader.
        0x040 recall: u64,
        /// Address of the ring of freed buffers that wait, or zero. Their states say so.
        0x048 ring: u64,
        /// Zero.
        0x050 reserved: [u64; 1],
    }

    /// The magazines of a thread for one cache.
    10 pub struct ThreadCache[0x40] {
        /// Loaded [`Magazine`] or zero.
        0x000 loaded: u64,
        /// Previous [`Magazine`] or zero.
        0x008 previous: u64,
        /// Rounds in the loaded magazine: buffers `rounds[0..loaded_rounds]`, of which the last one stands in `hot`.
        0x010 loaded_rounds: u32,
        /// Rounds in the previous magazine.
        0x014 previous_rounds: u32,
        /// Rounds that a magazine holds.
        0x018 capacity: u32,
        /// Zero.
        0x01c reserved: u32,
        /// Allocations served here, plus `bias`.
        0x020 allocs: u64,
        /// Frees served here.
        0x028 frees: u64,
        /// What `allocs` counts from: with sampling minus a random distance, so that its carry picks the next sample.
        0x030 bias: u64,
        /// The last round of the loaded magazine; what stands at its place there is out of date. Without rounds it means nothing.
        0x038 hot: u64,
    }

    /// A magazine. The addresses of its rounds follow the structure.
    11 pub struct Magazine[0x10] {
        /// Next in the depot's list or zero.
        0x000 next: u64,
        /// Rounds in it while it is in the depot; a thread counts its own.
        0x008 rounds: u32,
        /// Rounds that it has room for.
        0x00c capacity: u32,
    }

    /// The depot of stacks: each distinct stack once.
    12 pub struct StackDepot[0x40] {
        /// Address of the store of [`StackEntry`]; identifier i stands at byte 8 * i.
        0x000 store: u64,
        /// Bytes of the store in use.
        0x008 used: u64,
        /// Bytes of the store.
        0x010 capacity: u64,
        /// Distinct stacks.
        0x018 stacks: u64,
        /// Stacks that found no room.
        0x020 dropped: u64,
        /// Address of the index: 32-bit identifiers, open addressing.
        0x028 index: u64,
        /// Entries of the index.
        0x030 index_size: u64,
        /// Zero.
        0x038 reserved: u64,
    }

    /// One stack. `depth` program counters follow, innermost first; each is a return address.
    13 pub struct StackEntry[0x18] {
        /// Hash of the program counters and the epoch.
        0x000 hash: u64,
        /// Program counters.
        0x008 depth: u16,
        /// [`crate::stack_flag`].
        0x00a flags: u16,
        /// An epoch of the module history in which all modules of the stack were loaded.
        0x00c epoch: u32,
        /// Bit i: program counter i was found by frame pointer.
        0x010 guessed: u64,
    }

    /// A module that was loaded at some time.
    14 pub struct Module[0x58] {
        /// Next or zero.
        0x000 next: u64,
        /// First address.
        0x008 base: u64,
        /// One past the last address.
        0x010 end: u64,
        /// Epoch in which it was first met on a stack.
        0x018 loaded: u32,
        /// First epoch in which it was unloaded, zero while it is loaded.
        0x01c unloaded: u32,
        /// Build-id.
        0x020 build_id: [u8; 32],
        /// Bytes of the build-id.
        0x040 build_id_size: u32,
        /// Bytes of the path.
        0x044 path_size: u32,
        /// Address of the path.
        0x048 path: u64,
        /// Address of the loader's structure for it, `struct link_map`. Of no use to a reader.
        0x050 link_map: u64,
    }

    /// A mapping of the library.
    15 pub struct Span[0x20] {
        /// Next or zero.
        0x000 next: u64,
        /// First address.
        0x008 base: u64,
        /// Bytes.
        0x010 size: u64,
        /// [`crate::span_kind`].
        0x018 kind: u32,
        /// Zero.
        0x01c reserved: u32,
    }

    /// A ring of text.
    16 pub struct MessageRing[0x18] {
        /// Address of the bytes.
        0x000 base: u64,
        /// Bytes in the ring.
        0x008 size: u64,
        /// Bytes ever written; the oldest kept is `written - size` when that is positive.
        0x010 written: u64,
    }

    /// The last error.
    17 pub struct AbortInfo[0x60] {
        /// [`crate::error_code`].
        0x000 code: u32,
        /// Thread that found it.
        0x004 thread: u32,
        /// When.
        0x008 time: u64,
        /// Address given to the call that found it.
        0x010 address: u64,
        /// Start of the buffer it lies in, zero when unknown.
        0x018 buffer: u64,
        /// Cache that the call named, or zero.
        0x020 cache: u64,
        /// Cache that owns the buffer, or zero.
        0x028 owner: u64,
        /// Slab or zero.
        0x030 slab: u64,
        /// Audit record or zero.
        0x038 record: u64,
        /// Offset of the first bad byte from the buffer's start.
        0x040 offset: u64,
        /// What was expected there.
        0x048 expected: u64,
        /// What was found there.
        0x050 found: u64,
        /// Stack of the call that found it, in the depot.
        0x058 stack: u32,
        /// Zero.
        0x05c reserved: u32,
    }

    /// Options in force.
    18 pub struct Options[0x70] {
        /// [`crate::cache_flag`] bits of UMEM_DEBUG.
        0x000 debug_flags: u32,
        /// Frames kept of a stack.
        0x004 audit_depth: u32,
        /// Bytes of a freed buffer to save.
        0x008 contents_bytes: u64,
        /// Bytes of the logs asked for: transaction, contents, fail, slab.
        0x010 log_bytes: [u64; 4],
        /// Bytes that freed buffers may wait in quarantine.
        0x030 quarantine_bytes: u64,
        /// Mean distance of samples in bytes, zero when off. An allocation of n bytes is a sample with the chance
        /// `1 - exp(-n / sample_bytes)`, whose inverse is its weight; n is `Cache::buffer_size` of its twin, or `Segment::picked_by`
        /// of a block.
        0x038 sample_bytes: u64,
        /// Most bytes of a buffer that are filled and verified, zero when unlimited.
        0x040 verify_max: u64,
        /// Smallest firewalled buffer, zero when off.
        0x048 firewall_min: u64,
        /// Failure injection interval.
        0x050 mtbf: u32,
        /// 1: an error does not end the process.
        0x054 noabort: u32,
        /// 1: errors are also written to standard error.
        0x058 verbose: u32,
        /// 1: the environment was ignored (AT_SECURE).
        0x05c secure: u32,
        /// Bytes that a thread may keep in its magazines.
        0x060 perthread_cache: u64,
        /// Seconds between updates.
        0x068 reap_interval: u32,
        /// 1: no magazines.
        0x06c nomagazines: u32,
    }

    /// What the times in records mean.
    19 pub struct Clock[0x28] {
        /// [`crate::clock_kind`].
        0x000 kind: u32,
        /// ns = ticks * multiplier >> shift.
        0x004 multiplier: u32,
        /// See `multiplier`.
        0x008 shift: u32,
        /// Zero.
        0x00c reserved: u32,
        /// Time in records at the moment of the two following.
        0x010 base: u64,
        /// CLOCK_MONOTONIC in nanoseconds.
        0x018 base_monotonic: u64,
        /// CLOCK_REALTIME in nanoseconds.
        0x020 base_wall: u64,
    }

    /// Follows a buffer in caches with redzones, at `Cache::trailer_offset`.
    20 pub struct Trailer[0x18] {
        /// [`crate::REDZONE_PATTERN`] while free, [`crate::redzone_word`] while allocated.
        0x000 redzone: u64,
        /// Address of the audit record, or zero where the cache keeps none.
        0x008 record: u64,
        /// `record` XOR [`crate::TRAILER_ALLOCATED`] or [`crate::TRAILER_FREE`].
        0x010 state: u64,
    }
}

impl ThreadCache {
    /// How many rounds to read from the loaded magazine, and the one that stands in `hot`. Layouts before 0.3 had all of them in the
    /// magazine, and zero in `hot`'s place.
    #[must_use]
    pub fn loaded_parts(&self) -> (u32, Option<u64>) {
        match (self.hot, self.loaded_rounds.checked_sub(1)) {
            (0, _) | (_, None) => (self.loaded_rounds, None),
            (hot, Some(below)) => (below, Some(hot)),
        }
    }
}
