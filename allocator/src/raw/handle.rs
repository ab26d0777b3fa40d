//! Handles: the address of a live published structure, with one atomic cell a field.

use super::Cell;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};
use umem_layout::{
    Arena, AuditRecord, Cache, Log, LogEntry, Magazine, Module, Region, Segment, Slab, Span,
    StackEntry, Thread, ThreadCache, Trailer, UmemRoot,
};

/// `handle! { pub struct SlabRef: Slab { kind: AtomicU32, … } }` makes a handle whose method `kind()` is the
/// atomic cell of that field.
macro_rules! handle {
    ($($(#[$doc:meta])* pub struct $name:ident: $target:ident { $($field:ident: $atomic:ty,)* })*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(transparent)]
        pub struct $name(core::num::NonZeroUsize);

        #[allow(dead_code, missing_docs)]
        impl $name {
            /// A handle of the structure at `address`.
            ///
            /// # Safety
            /// There is such a structure, aligned, accessed through handles only and never unmapped.
            #[inline(always)]
            pub unsafe fn from_address(address: usize) -> Self {
                debug_assert!(address != 0 && address % align_of::<$target>() == 0);
                // SAFETY: a structure is never at address zero; promised by the caller.
                Self(unsafe { core::num::NonZeroUsize::new_unchecked(address) })
            }

            /// The handle for a published link: nothing for zero.
            ///
            /// # Safety
            /// As for `from_address` unless the link is zero.
            #[inline(always)]
            pub unsafe fn from_link(link: u64) -> Option<Self> {
                core::num::NonZeroUsize::new(link as usize).map(Self)
            }

            /// Address of the structure.
            #[inline(always)]
            pub fn address(self) -> usize {
                self.0.get()
            }

            /// The address as a published link.
            #[inline(always)]
            pub fn link(self) -> u64 {
                self.0.get() as u64
            }

            /// Stores a whole structure; only before it is published.
            #[inline]
            pub fn initialize(self, value: $target) {
                // SAFETY: the handle's address is that of such a structure, not yet visible to others.
                unsafe { (self.0.get() as *mut $target).write(value) }
            }

            $(
                #[inline(always)]
                pub fn $field(self) -> &'static $atomic {
                    // SAFETY: the structure lives for ever and is only accessed through cells.
                    unsafe { <$atomic>::from_ptr(&raw mut (*(self.0.get() as *mut $target)).$field) }
                }
            )*
        }
    )* };
}

handle! {
    /// A live [`UmemRoot`].
    pub struct RootRef: UmemRoot {
        magic: AtomicU64,
        major: AtomicU16,
        minor: AtomicU16,
        byte_order: AtomicU32,
        pointer_width: AtomicU32,
        root_size: AtomicU32,
        features_required: AtomicU64,
        features_present: AtomicU64,
        state: AtomicU32,
        pid: AtomicU32,
        page_size: AtomicU64,
        unit_size: AtomicU64,
        regions: AtomicU64,
        caches: AtomicU64,
        arenas: AtomicU64,
        logs: AtomicU64,
        threads: AtomicU64,
        modules: AtomicU64,
        spans: AtomicU64,
        firewall_dropped: AtomicU64,
        update_thread: AtomicU64,
    }
    /// A live [`Region`].
    pub struct RegionRef: Region {
        next: AtomicU64,
        base: AtomicU64,
        size: AtomicU64,
        committed: AtomicU64,
        map: AtomicU64,
        slabs: AtomicU64,
        units: AtomicU64,
    }
    /// A live [`Slab`].
    pub struct SlabRef: Slab {
        kind: AtomicU32,
        head_delta: AtomicU32,
        next: AtomicU64,
        prev: AtomicU64,
        cache: AtomicU64,
        base: AtomicU64,
        bitmap: AtomicU64,
        states: AtomicU64,
        families: AtomicU64,
        records: AtomicU64,
        seal: AtomicU64,
        allocated: AtomicU32,
        capacity: AtomicU32,
        carved: AtomicU32,
        rotor: AtomicU32,
        chunk_size: AtomicU32,
        color: AtomicU32,
        units: AtomicU32,
        clean: AtomicU32,
    }
    /// A live [`Cache`].
    pub struct CacheRef: Cache {
        next: AtomicU64,
        prev: AtomicU64,
        id: AtomicU32,
        flags: AtomicU32,
        cflags: AtomicU32,
        policy: AtomicU32,
        buffer_size: AtomicU64,
        chunk_size: AtomicU64,
        align: AtomicU64,
        trailer_offset: AtomicU64,
        verify_length: AtomicU64,
        slab_size: AtomicU64,
        slab_capacity: AtomicU32,
        magazine_rounds: AtomicU32,
        arena: AtomicU64,
        twin: AtomicU64,
        origin: AtomicU64,
        constructor: AtomicU64,
        destructor: AtomicU64,
        reclaim: AtomicU64,
        private: AtomicU64,
        partial: AtomicU64,
        depot_full: AtomicU64,
        depot_empty: AtomicU64,
        depot_full_count: AtomicU64,
        depot_empty_count: AtomicU64,
        depot_full_min: AtomicU64,
        depot_empty_min: AtomicU64,
        depot_contention: AtomicU64,
        depot_allocs: AtomicU64,
        slab_creates: AtomicU64,
        slab_destroys: AtomicU64,
        slab_allocs: AtomicU64,
        slab_frees: AtomicU64,
        allocs: AtomicU64,
        frees: AtomicU64,
        fails: AtomicU64,
        buffers: AtomicU64,
        buffers_max: AtomicU64,
        abandoned: AtomicU64,
        color: AtomicU32,
        color_max: AtomicU32,
        slab_lock: AtomicU32,
        depot_lock: AtomicU32,
        size_class: AtomicU32,
        thread_slot: AtomicU32,
        holds: AtomicU32,
        contention_seen: AtomicU64,
        depot_streak: AtomicU32,
    }
    /// A live [`Arena`].
    pub struct ArenaRef: Arena {
        next: AtomicU64,
        source: AtomicU64,
        id: AtomicU32,
        policy: AtomicU32,
        quantum: AtomicU64,
        quantum_cache_max: AtomicU64,
        quantum_caches: AtomicU64,
        segments: AtomicU64,
        in_use: AtomicU64,
        total: AtomicU64,
        imported: AtomicU64,
        allocs: AtomicU64,
        frees: AtomicU64,
        fails: AtomicU64,
        in_use_max: AtomicU64,
        hash: AtomicU64,
        hash_size: AtomicU64,
        lock: AtomicU32,
        free_mask: AtomicU64,
        dirty: AtomicU64,
        import: AtomicU64,
        release: AtomicU64,
        rotor: AtomicU64,
    }
    /// A live [`Segment`].
    pub struct SegmentRef: Segment {
        kind: AtomicU32,
        imported: AtomicU32,
        start: AtomicU64,
        end: AtomicU64,
        next: AtomicU64,
        prev: AtomicU64,
        kin_next: AtomicU64,
        kin_prev: AtomicU64,
        requested: AtomicU64,
        buffer: AtomicU64,
        state: AtomicU8,
        family: AtomicU8,
        flags: AtomicU16,
        picked_by: AtomicU32,
    }
    /// A live [`AuditRecord`].
    pub struct RecordRef: AuditRecord {
        alloc_time: AtomicU64,
        free_time: AtomicU64,
        alloc_stack: AtomicU32,
        free_stack: AtomicU32,
        alloc_thread: AtomicU32,
        free_thread: AtomicU32,
        last_log: AtomicU64,
        contents: AtomicU32,
        requested: AtomicU32,
    }
    /// A live [`Log`].
    pub struct LogRef: Log {
        next: AtomicU64,
        kind: AtomicU32,
        stride: AtomicU32,
        base: AtomicU64,
        capacity: AtomicU64,
        written: AtomicU64,
    }
    /// A live [`LogEntry`].
    pub struct LogEntryRef: LogEntry {
        sequence: AtomicU64,
        time: AtomicU64,
        buffer: AtomicU64,
        record: AtomicU64,
        owner: AtomicU64,
        size: AtomicU64,
        stack: AtomicU32,
        thread: AtomicU32,
        operation: AtomicU32,
        owner_is_arena: AtomicU32,
        previous: AtomicU64,
    }
    /// A live [`Thread`].
    pub struct ThreadRef: Thread {
        next: AtomicU64,
        state: AtomicU32,
        tid: AtomicU32,
        thread_pointer: AtomicU64,
        caches: AtomicU64,
        cache_count: AtomicU32,
        cache_stride: AtomicU32,
        busy: AtomicU32,
        recall: AtomicU64,
        ring: AtomicU64,
    }
    /// A live [`ThreadCache`].
    pub struct ThreadCacheRef: ThreadCache {
        loaded: AtomicU64,
        previous: AtomicU64,
        loaded_rounds: AtomicU32,
        previous_rounds: AtomicU32,
        capacity: AtomicU32,
        allocs: AtomicU64,
        frees: AtomicU64,
        bias: AtomicU64,
        hot: AtomicU64,
    }
    /// A live [`Magazine`].
    pub struct MagazineRef: Magazine {
        next: AtomicU64,
        rounds: AtomicU32,
        capacity: AtomicU32,
    }
    /// A live [`StackEntry`].
    pub struct StackEntryRef: StackEntry {
        hash: AtomicU64,
        depth: AtomicU16,
        flags: AtomicU16,
        epoch: AtomicU32,
        guessed: AtomicU64,
    }
    /// A live [`Module`].
    pub struct ModuleRef: Module {
        next: AtomicU64,
        base: AtomicU64,
        end: AtomicU64,
        loaded: AtomicU32,
        unloaded: AtomicU32,
        build_id_size: AtomicU32,
        path_size: AtomicU32,
        path: AtomicU64,
        link_map: AtomicU64,
    }
    /// A live [`Span`].
    pub struct SpanRef: Span {
        next: AtomicU64,
        base: AtomicU64,
        size: AtomicU64,
        kind: AtomicU32,
    }
    /// A live [`Trailer`].
    pub struct TrailerRef: Trailer {
        redzone: AtomicU64,
        record: AtomicU64,
        state: AtomicU64,
    }
}

/// Cells of the root's embedded structures.
macro_rules! embedded {
    ($handle:ident: $target:ident { $($method:ident = $($path:ident).+: $atomic:ty,)* }) => {
        #[allow(dead_code, missing_docs)]
        impl $handle {
            $(
                #[inline(always)]
                pub fn $method(self) -> &'static $atomic {
                    // SAFETY: the structure lives for ever and is only accessed through cells.
                    unsafe { <$atomic>::from_ptr(&raw mut (*(self.0.get() as *mut $target)).$($path).+) }
                }
            )*
        }
    };
}

embedded! {
    RootRef: UmemRoot {
        debug_flags = options.debug_flags: AtomicU32,
        audit_depth = options.audit_depth: AtomicU32,
        contents_bytes = options.contents_bytes: AtomicU64,
        verify_max = options.verify_max: AtomicU64,
        sample_bytes = options.sample_bytes: AtomicU64,
        noabort = options.noabort: AtomicU32,
        mtbf = options.mtbf: AtomicU32,
        reap_interval = options.reap_interval: AtomicU32,
        secure = options.secure: AtomicU32,
        clock_kind = clock.kind: AtomicU32,
        clock_multiplier = clock.multiplier: AtomicU32,
        clock_shift = clock.shift: AtomicU32,
        clock_base = clock.base: AtomicU64,
        clock_base_monotonic = clock.base_monotonic: AtomicU64,
        clock_base_wall = clock.base_wall: AtomicU64,
        depot_store = depot.store: AtomicU64,
        depot_used = depot.used: AtomicU64,
        depot_capacity = depot.capacity: AtomicU64,
        depot_stacks = depot.stacks: AtomicU64,
        depot_dropped = depot.dropped: AtomicU64,
        depot_index = depot.index: AtomicU64,
        depot_index_size = depot.index_size: AtomicU64,
        messages_base = messages.base: AtomicU64,
        messages_size = messages.size: AtomicU64,
        messages_written = messages.written: AtomicU64,
    }
}

impl RootRef {
    /// The options in force. They are written once, before the allocator is ready.
    pub fn options(self) -> &'static umem_layout::Options {
        // SAFETY: the structure lives for ever; after `set_options` it is only read.
        unsafe { &(*(self.0.get() as *const UmemRoot)).options }
    }

    /// Stores the options; only while the allocator is being set up.
    pub fn set_options(self, options: umem_layout::Options) {
        // SAFETY: one thread sets the allocator up, and no other reads options before it is done.
        unsafe { (&raw mut (*(self.0.get() as *mut UmemRoot)).options).write(options) }
    }

    /// Stores what is known of an error. Reports race only when several threads find errors at once; then
    /// the last one is kept, field by field.
    pub fn set_abort_info(self, info: umem_layout::AbortInfo) {
        // SAFETY: the structure lives for ever; nothing in the process reads it.
        unsafe { (&raw mut (*(self.0.get() as *mut UmemRoot)).abort_info).write_volatile(info) }
    }

    /// Stores the root as a whole; only while the allocator is being set up.
    pub fn set_struct_sizes(self, sizes: [u32; 32]) {
        // SAFETY: one thread sets the allocator up; nothing in the process reads the sizes.
        unsafe { (&raw mut (*(self.0.get() as *mut UmemRoot)).struct_sizes).write(sizes) }
    }
}

impl SlabRef {
    /// A mix of what is fixed while the slab lives: all but the links, the kind and the counts. A sum, since it is worked out for each
    /// call in debug mode.
    #[inline(always)]
    fn mix(self) -> u64 {
        let numbers = u64::from(self.capacity().get()) << 32 | u64::from(self.chunk_size().get());
        [
            self.cache(),
            self.base(),
            self.bitmap(),
            self.states(),
            self.families(),
            self.records(),
        ]
        .into_iter()
        .fold(numbers ^ self.link(), |mix, field| {
            mix.wrapping_add(field.get())
        })
    }

    /// Seals what is fixed; only before the slab is published.
    pub fn seal_fixed(self) {
        self.seal().set(self.mix());
    }

    /// Whether what is fixed is as it was sealed, so that its pointers may be followed.
    #[inline(always)]
    pub fn is_whole(self) -> bool {
        self.seal().get() == self.mix()
    }
}

impl SegmentRef {
    /// The block's record.
    pub fn record(self) -> RecordRef {
        // SAFETY: the record is part of the segment.
        unsafe { RecordRef::from_address(self.0.get() + core::mem::offset_of!(Segment, record)) }
    }
}

impl ArenaRef {
    /// Head of a list of free segments.
    pub fn free_list(self, index: usize) -> &'static AtomicU64 {
        debug_assert!(index < 64);
        let lists = self.0.get() + core::mem::offset_of!(Arena, free_lists);
        // SAFETY: the index is below the length of the array.
        unsafe { AtomicU64::from_ptr((lists + index * 8) as *mut u64) }
    }
}
