//! The API for Rust, and object caches and arenas of programs against simple models.
//!
//! Everything here allocates through the library, as its global allocator.

use proptest::{collection::vec, prelude::*};
use std::{
    alloc::{GlobalAlloc, Layout},
    collections::{BTreeMap, HashMap},
    ffi::{c_int, c_void},
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};
use umem::{
    TypedCache, Umem,
    abi::{
        arena::{self, Constraints},
        object,
    },
    cache::Blueprint,
    raw::{ArenaRef, CacheRef, Cell, root},
    unwind::Entry,
    vmem,
};
use umem_layout::{cache_flag, create_flag, segment_kind};

#[global_allocator]
static ALLOCATOR: Umem = Umem;

/// Stacks are not taken without `UMEM_DEBUG=audit`, so the entry is not looked at.
const ENTRY: Entry = Entry { sp: 0, fp: 0 };

/// Whether somebody runs the tests with guards.
fn is_guarded() -> bool {
    root().debug_flags().get() & cache_flag::REDZONE != 0
}

// ---- the global allocator ----

#[test]
fn rust_programs_allocate_from_it() {
    // Totals would not do: other tests of this process free meanwhile.
    let is_ours = |string: &String| {
        umem::malloc::usable_size(string.as_ptr().addr())
            .is_some_and(|usable| usable >= string.capacity())
    };
    let strings: Vec<String> = (0..10_000).map(|i| format!("number {i}")).collect();
    assert!(strings.iter().all(is_ours));
    assert_eq!(strings[9_999], "number 9999");
    let large = black_box(vec![0_u8; 10 << 20]);
    assert!(large.iter().all(|&byte| byte == 0));
}

#[test]
fn layouts_of_any_alignment_are_served() {
    for shift in 0..=22 {
        for size in [1, 7, 100, 5000, 100_000] {
            let layout = Layout::from_size_align(size, 1 << shift).unwrap();
            let larger = Layout::from_size_align(size * 3, 1 << shift).unwrap();
            // SAFETY: buffers are used within their layouts and given back with them.
            unsafe {
                let buffer = ALLOCATOR.alloc_zeroed(layout);
                assert!(buffer.addr().is_multiple_of(layout.align()));
                assert!((0..size).all(|at| *buffer.add(at) == 0));
                buffer.write_bytes(0x5a, size);
                let buffer = ALLOCATOR.realloc(buffer, layout, size * 3);
                assert!(buffer.addr().is_multiple_of(layout.align()));
                assert!((0..size).all(|at| *buffer.add(at) == 0x5a));
                ALLOCATOR.dealloc(buffer, larger);
            }
        }
    }
}

/// In a child of a fork nothing but the calling thread lives on, and it allocates.
#[test]
fn a_forked_child_allocates() {
    let stop = Arc::new(AtomicUsize::new(0));
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let stop = stop.clone();
            thread::spawn(move || {
                while stop.load(Ordering::Relaxed) == 0 {
                    black_box(vec![String::from("busy"); 50]);
                }
            })
        })
        .collect();
    for _ in 0..30 {
        // SAFETY: the child only allocates and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: ends a child that waits for a lock for ever.
            unsafe { libc::alarm(20) };
            for size in 1..500 {
                black_box(vec![1_u8; size * 50]);
            }
            // SAFETY: ends the child without the handlers of the test runner.
            unsafe { libc::_exit(0) };
        }
        let mut status = 0;
        // SAFETY: waits for the child made above.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0);
    }
    stop.store(1, Ordering::Relaxed);
    workers
        .into_iter()
        .for_each(|worker| worker.join().unwrap());
}

// ---- typed caches ----

#[test]
fn typed_objects_stay_constructed_until_their_cache_ends() {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    struct Connection {
        name: String,
        uses: usize,
    }
    impl Drop for Connection {
        fn drop(&mut self) {
            assert_eq!(self.name, "kept");
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }
    let cache = TypedCache::new("connections", || {
        MADE.fetch_add(1, Ordering::Relaxed);
        let name = "kept".to_owned();
        Connection { name, uses: 0 }
    })
    .unwrap();
    cache.get().unwrap().uses += 1;
    // With guards an object is made at every turn.
    let kept = usize::from(!is_guarded());
    assert_eq!(cache.get().unwrap().uses, kept, "used again as it was left");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    let mut held: Vec<_> = (0..20).map(|_| cache.get().unwrap()).collect();
                    held.iter_mut().for_each(|connection| connection.uses += 1);
                }
            });
        }
    });
    // The threads' own destructors may still be at work: they race with the end of the cache.
    let made = MADE.load(Ordering::Relaxed);
    assert!(
        is_guarded() || made <= 4 * 20 * 100,
        "{made} objects for 80,000 uses"
    );
    drop(cache);
    assert_eq!(DROPPED.load(Ordering::Relaxed), made);
}

#[test]
fn types_that_no_cache_can_hold_are_refused() {
    #[repr(align(8192))]
    struct Page;
    let refused = TypedCache::new("page", || Page).unwrap_err();
    assert!(refused.to_string().contains("aligned"));
    let nothing = TypedCache::new("nothing", || ()).unwrap();
    assert_eq!(*nothing.get().unwrap(), ());
}

#[test]
fn a_forgotten_object_keeps_its_cache() {
    let cache = TypedCache::new("forgotten", || 7_u64).unwrap();
    let address = cache.address();
    std::mem::forget(cache.get());
    drop(cache);
    let mut listed = false;
    umem::cache::for_each(|cache| listed |= cache.address() == address);
    assert!(listed);
}

// ---- object caches against a model ----

/// What the functions of a cache have seen: objects by address, with the turn in which each was made.
#[derive(Default)]
struct Model {
    objects: std::sync::Mutex<HashMap<usize, u64>>,
    made: AtomicUsize,
    refuse: AtomicUsize,
}

unsafe extern "C" fn construct(buffer: *mut c_void, data: *mut c_void, _flags: c_int) -> c_int {
    // SAFETY: the datum is the model, which outlives the cache.
    let model = unsafe { &*data.cast::<Model>() };
    if model.refuse.swap(0, Ordering::Relaxed) != 0 {
        return 1;
    }
    let turn = model.made.fetch_add(1, Ordering::Relaxed) as u64;
    // SAFETY: objects have at least eight bytes.
    unsafe { buffer.cast::<u64>().write_unaligned(turn) };
    let before = model.objects.lock().unwrap().insert(buffer.addr(), turn);
    assert_eq!(before, None, "an object is constructed once");
    0
}

unsafe extern "C" fn destruct(buffer: *mut c_void, data: *mut c_void) {
    // SAFETY: as above.
    let model = unsafe { &*data.cast::<Model>() };
    let made = model.objects.lock().unwrap().remove(&buffer.addr());
    // SAFETY: as above.
    assert_eq!(made, Some(unsafe { buffer.cast::<u64>().read_unaligned() }));
}

#[derive(Debug, Clone)]
enum Step {
    Alloc,
    Refused,
    Free { pick: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let free = any::<usize>().prop_map(|pick| Step::Free { pick });
    vec(
        prop_oneof![10 => Just(Step::Alloc), 1 => Just(Step::Refused), 8 => free],
        1..600,
    )
}

fn new_cache(size: usize, align: usize, cflags: u32, model: &Model) -> CacheRef {
    object::create(&Blueprint {
        name: b"model",
        size,
        align,
        constructor: Some(construct),
        destructor: Some(destruct),
        reclaim: None,
        private: (&raw const *model).expose_provenance() as u64,
        source: None,
        cflags,
    })
    .expect("memory")
}

fn nth<V: Copy>(live: &BTreeMap<usize, V>, pick: usize) -> Option<(usize, V)> {
    let (&key, &value) = live.iter().nth(pick.checked_rem(live.len())?)?;
    Some((key, value))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn objects_are_disjoint_and_constructed_once(
        steps in steps(),
        size in prop_oneof![8..200_usize, 1000..9000_usize, 60_000..200_000_usize],
        shift in 0..=12_u32,
        slabs_only in any::<bool>(),
    ) {
        let model = Model::default();
        let cflags = if slabs_only { create_flag::NOMAGAZINE } else { 0 };
        let cache = new_cache(size, 1 << shift, cflags, &model);
        let mut live = BTreeMap::new();
        for step in steps {
            match step {
                Step::Alloc => {
                    let at = object::allocate(cache, 0, ENTRY);
                    prop_assert!(at != 0 && at.is_multiple_of(1 << shift));
                    let turn = model.objects.lock().unwrap()[&at];
                    // SAFETY: the object is ours.
                    prop_assert_eq!(unsafe { (at as *const u64).read_unaligned() }, turn);
                    let below = live.range(..at + size).next_back();
                    prop_assert!(below.is_none_or(|(before, _)| before + size <= at), "overlap");
                    // SAFETY: as above; the first eight bytes are kept.
                    unsafe { ((at + 8) as *mut u8).write_bytes(0xff, size - 8) };
                    live.insert(at, turn);
                }
                Step::Refused => {
                    model.refuse.store(1, Ordering::Relaxed);
                    let at = object::allocate(cache, 0, ENTRY);
                    // Only objects that have to be made can be refused.
                    let was_refused = model.refuse.swap(0, Ordering::Relaxed) == 0;
                    prop_assert_eq!(at == 0, was_refused);
                    if at != 0 {
                        live.insert(at, model.objects.lock().unwrap()[&at]);
                    }
                }
                Step::Free { pick } => {
                    let Some((at, turn)) = nth(&live, pick) else { continue };
                    live.remove(&at);
                    // SAFETY: the object is live and not used again.
                    unsafe {
                        prop_assert_eq!((at as *const u64).read_unaligned(), turn);
                        object::free(cache, at, ENTRY);
                    }
                }
            }
        }
        prop_assert!(model.objects.lock().unwrap().len() >= live.len());
        let (allocs, frees) = umem::thread::counts(cache);
        let (allocs, frees) = (allocs + cache.allocs().get(), frees + cache.frees().get());
        prop_assert_eq!(allocs - frees, live.len() as u64);
        for at in live.into_keys() {
            // SAFETY: the object is live and not used again.
            unsafe { object::free(cache, at, ENTRY) };
        }
        // SAFETY: no object is left, and no other thread knows the cache.
        let was_empty = unsafe { object::destroy(cache, ENTRY) };
        prop_assert!(was_empty);
        prop_assert!(model.objects.lock().unwrap().is_empty(), "every object was destructed");
    }
}

// ---- arenas against a model ----

#[derive(Debug, Clone)]
enum Move {
    Alloc {
        size: usize,
        policy: usize,
    },
    Constrained {
        size: usize,
        constraints: Constraints,
    },
    Free {
        pick: usize,
    },
    Add {
        span: usize,
    },
}

const QUANTUM: usize = 4;
const SPAN: usize = 1000 * QUANTUM;
const POLICIES: [c_int; 4] = [0, arena::VM_BESTFIT, arena::VM_FIRSTFIT, arena::VM_NEXTFIT];

fn constraints() -> impl Strategy<Value = Constraints> {
    let limit = 0..20 * SPAN;
    (0..8_u32, any::<usize>(), 0..4_u32, limit.clone(), limit).prop_map(
        |(shift, phase, crossing, low, high)| Constraints {
            align: QUANTUM << shift,
            phase: phase % (1 << shift) * QUANTUM,
            nocross: if crossing == 0 {
                0
            } else {
                (QUANTUM << shift).max(256) << crossing
            },
            minimum: low.min(high),
            maximum: low.max(high),
        },
    )
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let alloc = (1..600_usize, 0..4_usize).prop_map(|(size, policy)| Move::Alloc { size, policy });
    let constrained = (1..200_usize, constraints())
        .prop_map(|(size, constraints)| Move::Constrained { size, constraints });
    let free = any::<usize>().prop_map(|pick| Move::Free { pick });
    let add = (0..20_usize).prop_map(|span| Move::Add { span });
    vec(
        prop_oneof![4 => alloc, 3 => constrained, 5 => free, 1 => add],
        1..300,
    )
}

/// Numbers of the model: which are in a span, and which are taken.
struct Numbers {
    spans: Vec<usize>,
    live: BTreeMap<usize, usize>,
}

impl Numbers {
    fn is_free(&self, start: usize, size: usize) -> bool {
        let end = start + size.next_multiple_of(QUANTUM);
        let inside = self
            .spans
            .iter()
            .any(|&span| start >= span && end <= span + SPAN);
        let below = self.live.range(..end).next_back();
        inside && below.is_none_or(|(at, size)| at + size.next_multiple_of(QUANTUM) <= start)
    }

    fn meets(&self, start: usize, size: usize, wanted: &Constraints) -> bool {
        let end = start + size.next_multiple_of(QUANTUM);
        self.is_free(start, size)
            && start % wanted.align == wanted.phase
            && (wanted.nocross == 0 || start / wanted.nocross == (end - 1) / wanted.nocross)
            && start >= wanted.minimum
            && (wanted.maximum == 0 || end <= wanted.maximum)
    }

    fn places(&self) -> impl Iterator<Item = usize> {
        self.spans
            .iter()
            .flat_map(|&span| (span..span + SPAN).step_by(QUANTUM))
    }
}

/// Spans are tiled by their pieces, free pieces do not touch, and the sizes add up.
fn assert_tiled(arena: ArenaRef, model: &Numbers) {
    let mut pieces = Vec::new();
    arena::walk(arena, !0, |start, size| pieces.push((start, size)));
    let mut kinds = Vec::new();
    vmem::for_each_piece(arena, |piece| kinds.push(piece.kind));
    let (mut next, mut end, mut was_free) = (0, 0, false);
    for (&(start, size), &kind) in pieces.iter().zip(&kinds) {
        if kind == segment_kind::SPAN {
            assert_eq!(next, end);
            (next, end, was_free) = (start, start + size, false);
            continue;
        }
        assert_eq!(start, next);
        let free = kind == segment_kind::FREE;
        assert!(!(free && was_free));
        assert!(
            free || model.live[&start] == size,
            "the exact size is remembered"
        );
        (next, was_free) = (start + size.next_multiple_of(QUANTUM), free);
    }
    assert_eq!(next, end);
    let in_use: usize = model
        .live
        .values()
        .map(|size| size.next_multiple_of(QUANTUM))
        .sum();
    assert_eq!(arena::size(arena, segment_kind::ALLOC), in_use);
    assert_eq!(
        arena::size(arena, segment_kind::ALLOC | segment_kind::FREE),
        model.spans.len() * SPAN
    );
}

fn new_arena() -> ArenaRef {
    let blueprint = vmem::Blueprint {
        name: b"model",
        quantum: QUANTUM,
        import: None,
        release: None,
        source: 0,
    };
    arena::create(&blueprint, 0, 0, 0).expect("memory")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn an_arena_of_the_program_finds_a_place_exactly_when_there_is_one(moves in moves()) {
        let arena = new_arena();
        let mut model = Numbers { spans: Vec::new(), live: BTreeMap::new() };
        for step in moves {
            match step {
                Move::Add { span } => {
                    let start = SPAN + span * SPAN;
                    if !model.spans.contains(&start) {
                        prop_assert!(arena::add(arena, start, SPAN));
                        model.spans.push(start);
                    }
                }
                Move::Alloc { size, policy } => {
                    let start = arena::allocate(arena, size, POLICIES[policy]);
                    if start == 0 {
                        prop_assert!(!model.places().any(|at| model.is_free(at, size)));
                    } else {
                        prop_assert!(model.is_free(start, size));
                        if POLICIES[policy] == arena::VM_FIRSTFIT {
                            prop_assert_eq!(model.places().find(|&at| model.is_free(at, size)), Some(start));
                        }
                        model.live.insert(start, size);
                    }
                }
                Move::Constrained { size, constraints } => {
                    let start = arena::allocate_constrained(arena, size, &constraints, 0);
                    if start == 0 {
                        prop_assert!(!model.places().any(|at| model.meets(at, size, &constraints)));
                    } else {
                        prop_assert!(model.meets(start, size, &constraints));
                        model.live.insert(start, size);
                    }
                }
                Move::Free { pick } => {
                    let Some((start, size)) = nth(&model.live, pick) else { continue };
                    model.live.remove(&start);
                    prop_assert_eq!(vmem::free_exact(arena, start, size + 1), Err(vmem::BadFree::Size(size)));
                    arena::free(arena, start, size);
                    prop_assert_eq!(vmem::free_exact(arena, start, size), Err(vmem::BadFree::Unknown));
                }
            }
        }
        assert_tiled(arena, &model);
        for (start, size) in std::mem::take(&mut model.live) {
            arena::free(arena, start, size);
        }
        assert_tiled(arena, &model);
        // SAFETY: nobody else knows the arena.
        unsafe { arena::destroy(arena) };
    }
}

/// Walks the list of caches as a debugger does.
fn listed() -> Vec<u64> {
    let mut found = Vec::new();
    let mut next = root().caches().load(Ordering::Acquire);
    while next != 0 {
        found.push(next);
        // SAFETY: links of the list are caches.
        next = unsafe { CacheRef::from_address(next as usize) }
            .next()
            .load(Ordering::Acquire);
    }
    found
}

#[test]
fn lists_lead_to_what_exists() {
    let model = Model::default();
    let caches: Vec<_> = (0..3).map(|_| new_cache(64, 0, 0, &model)).collect();
    let all = listed();
    assert!(caches.iter().all(|cache| all.contains(&cache.link())));
    for index in [1, 2, 0] {
        // SAFETY: nobody uses the cache.
        assert!(unsafe { object::destroy(caches[index], ENTRY) });
        assert!(!listed().contains(&caches[index].link()));
    }
    let arenas: Vec<_> = (0..3).map(|_| new_arena()).collect();
    for index in [1, 0, 2] {
        // SAFETY: nobody uses the arena.
        unsafe { arena::destroy(arenas[index]) };
    }
}
