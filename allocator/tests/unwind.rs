//! Captured stacks against those of the `backtrace` crate, which unwinds with libgcc.
//!
//! Programs in other languages, and the comparison with a debugger, are in the workspace's tests.

use std::{
    cell::RefCell,
    ffi::{c_int, c_void},
    hint::black_box,
};
use umem::unwind::{self, Bounds, Entry, MAX_DEPTH, Recall, Stack, Tables};

thread_local! {
    static BOUNDS: RefCell<Bounds> = RefCell::default();
    static CAPTURED: RefCell<Vec<Pair>> = const { RefCell::new(Vec::new()) };
}

/// The same stack, captured twice: ours from the caller of `probe` on, theirs from somewhere further in.
struct Pair {
    ours: Vec<usize>,
    flags: u16,
    guessed: u64,
    theirs: Vec<usize>,
}

/// Stands for malloc: hands its entry registers over.
#[unsafe(naked)]
extern "C" fn probe(depth: usize) {
    core::arch::naked_asm!("mov rsi, rsp", "mov rdx, rbp", "jmp {}", sym record)
}

extern "C" fn record(depth: usize, sp: usize, fp: usize) {
    let mut stack = Stack::new();
    // SAFETY: `probe` hands over the registers of the call that is under way.
    BOUNDS.with_borrow_mut(|bounds| unsafe {
        unwind::capture(
            Entry { sp, fp },
            depth,
            bounds,
            &mut Tables::new(),
            &mut stack,
        )
    });
    let mut theirs = Vec::new();
    backtrace::trace(|frame| {
        theirs.push(frame.ip() as usize);
        true
    });
    let pair = Pair {
        ours: stack.pcs().to_vec(),
        flags: stack.flags(),
        guessed: stack.guessed(),
        theirs,
    };
    CAPTURED.with_borrow_mut(|captured| captured.push(pair));
}

/// Runs `run` and compares every stack that was captured meanwhile, pc by pc.
fn compare(run: impl FnOnce()) -> Vec<Pair> {
    CAPTURED.take();
    run();
    let pairs = CAPTURED.take();
    assert!(!pairs.is_empty(), "nothing was captured");
    for Pair {
        ours,
        flags,
        theirs,
        ..
    } in &pairs
    {
        // Theirs begins in `record`; the frame of `probe` is gone after its jump.
        let start = theirs
            .iter()
            .position(|pc| pc == &ours[0])
            .expect("our first frame is one of theirs");
        let expected: Vec<usize> = theirs[start..]
            .iter()
            .copied()
            .filter(|&pc| pc != 0)
            .take(ours.len())
            .collect();
        assert_eq!(ours, &expected);
        let cut = umem_layout::stack_flag::CUT;
        assert!(*flags == 0 || *flags == cut, "flags {flags:#x}");
        if *flags == 0 {
            let rest = theirs[start..].iter().filter(|&&pc| pc != 0).count();
            assert_eq!(ours.len(), rest, "the whole stack: {ours:x?} {theirs:x?}");
        }
    }
    pairs
}

#[inline(never)]
fn nested(levels: usize) -> usize {
    if levels == 0 {
        probe(black_box(MAX_DEPTH));
        return 0;
    }
    black_box(nested(levels - 1)) + 1
}

#[test]
fn through_functions_of_rust() {
    compare(|| {
        for levels in 0..8 {
            black_box(nested(levels));
        }
    });
}

#[test]
fn deep_stacks_are_cut_and_say_so() {
    let pairs = compare(|| {
        black_box(nested(200));
    });
    assert_eq!(pairs[0].ours.len(), MAX_DEPTH);
    assert_eq!(pairs[0].flags, umem_layout::stack_flag::CUT);
}

#[test]
fn through_libc_and_back() {
    extern "C" fn order(one: *const c_void, two: *const c_void) -> c_int {
        probe(black_box(MAX_DEPTH));
        // SAFETY: qsort hands over elements of the array.
        unsafe { (*one.cast::<i32>()).cmp(&*two.cast::<i32>()) as c_int }
    }
    let mut numbers = [5_i32, 3, 9, 1, 7];
    let pairs = compare(|| {
        // SAFETY: the array has five elements of the given size.
        unsafe {
            libc::qsort(
                numbers.as_mut_ptr().cast(),
                5,
                size_of::<i32>(),
                Some(order),
            )
        };
    });
    assert!(pairs.len() > 3);
    assert_eq!(numbers, [1, 3, 5, 7, 9]);
}

#[test]
fn on_other_threads() {
    for _ in 0..3 {
        std::thread::spawn(|| {
            compare(|| {
                black_box(nested(3));
            });
        })
        .join()
        .unwrap();
    }
}

#[inline(never)]
fn with_a_large_frame(size: usize) {
    let mut room = [0_u8; 3 << 20];
    room[size] = 1;
    black_box(&mut room);
    probe(black_box(MAX_DEPTH));
    black_box(&mut room);
}

#[test]
fn frames_of_megabytes() {
    std::thread::Builder::new()
        .stack_size(8 << 20)
        .spawn(|| {
            compare(|| with_a_large_frame(black_box(77)));
        })
        .unwrap()
        .join()
        .unwrap();
}

#[inline(never)]
fn with_a_realigned_frame() {
    #[repr(align(128))]
    struct Aligned([u8; 256]);
    let mut room = Aligned([0; 256]);
    black_box(&mut room);
    probe(black_box(MAX_DEPTH));
    black_box(&mut room.0);
}

#[test]
fn frames_that_realign_their_stack() {
    compare(with_a_realigned_frame);
}

extern "C" fn on_signal(_signal: c_int) {
    probe(black_box(MAX_DEPTH));
}

/// Raises a signal whose handler captures, on the same stack or on one of its own.
#[inline(never)]
fn interrupted(flags: c_int) {
    // SAFETY: a zeroed action is valid; the handler only captures.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_signal as *const () as usize;
        action.sa_flags = flags;
        libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut());
        libc::raise(libc::SIGUSR1);
    }
    black_box(());
}

#[test]
fn through_signal_handlers() {
    compare(|| interrupted(0));
    let room = vec![0_u8; 64 << 10].leak();
    let alternate = libc::stack_t {
        ss_sp: room.as_mut_ptr().cast(),
        ss_flags: 0,
        ss_size: room.len(),
    };
    // SAFETY: the memory is never freed; the stack is disabled again before the thread ends.
    unsafe { libc::sigaltstack(&raw const alternate, std::ptr::null_mut()) };
    compare(|| interrupted(libc::SA_ONSTACK));
    let disabled = libc::stack_t {
        ss_sp: std::ptr::null_mut(),
        ss_flags: libc::SS_DISABLE,
        ss_size: 0,
    };
    // SAFETY: disables the stack that was set above.
    unsafe { libc::sigaltstack(&raw const disabled, std::ptr::null_mut()) };
}

extern "C" fn probe_all() {
    probe(black_box(MAX_DEPTH));
    black_box(());
}

/// Captures directly, and again through machine code that calls its argument and for which there are no tables.
#[inline(never)]
fn through_code(code: &[u8]) -> Vec<Pair> {
    CAPTURED.take();
    // SAFETY: a page of our own is made executable after the code was written; it keeps to the calling convention.
    let call: extern "C" fn(extern "C" fn()) = unsafe {
        let page = libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        assert_ne!(page, libc::MAP_FAILED);
        std::ptr::copy_nonoverlapping(code.as_ptr(), page.cast(), code.len());
        assert_eq!(
            libc::mprotect(page, 4096, libc::PROT_READ | libc::PROT_EXEC),
            0
        );
        std::mem::transmute(page)
    };
    probe(black_box(MAX_DEPTH));
    call(probe_all);
    black_box(());
    CAPTURED.take()
}

#[test]
fn code_without_tables_is_passed_by_its_frame_pointer() {
    // push rbp; mov rbp, rsp; call rdi; pop rbp; ret
    let pairs = through_code(b"\x55\x48\x89\xe5\xff\xd7\x5d\xc3");
    let (direct, through) = (&pairs[0].ours, &pairs[1]);
    // In `probe_all`, in the code, and then as before.
    assert_eq!(through.ours[3..], direct[1..]);
    assert_eq!(through.ours[1] & 4095, 6, "behind its call");
    assert_eq!(through.guessed, 1 << 2, "the frame that was found so");
    assert_eq!(through.flags, umem_layout::stack_flag::GUESSED);
}

#[test]
fn code_without_tables_and_frame_pointer_makes_nothing_up() {
    // sub rsp, 24; call rdi; add rsp, 24; ret, with a frame pointer that leads nowhere: push rbp; xor ebp, ebp; .. pop rbp
    let pairs = through_code(b"\x55\x31\xed\x48\x83\xec\x10\xff\xd7\x48\x83\xc4\x10\x5d\xc3");
    let through = &pairs[1];
    assert_eq!(through.ours.len(), 2, "in `probe_all` and in the code");
    assert_eq!(through.guessed, 0);
    assert_eq!(through.flags, umem_layout::stack_flag::ENDED_EARLY);
}

#[test]
fn warm_captures_agree_with_cold_ones() {
    let first: Vec<_> = compare(|| _ = black_box(nested(5)))
        .into_iter()
        .map(|pair| pair.ours.len())
        .collect();
    for _ in 0..100 {
        let again: Vec<_> = compare(|| _ = black_box(nested(5)))
            .into_iter()
            .map(|pair| pair.ours.len())
            .collect();
        assert_eq!(first, again);
    }
}

/// What earlier walks have read, and the stacks that they found.
struct Memory {
    recall: Box<Recall>,
    bounds: Bounds,
    stacks: Vec<Vec<usize>>,
    known: usize,
}

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::new(Memory {
        // SAFETY: zero bytes are an empty table.
        recall: unsafe { Box::new(std::mem::zeroed()) },
        bounds: Bounds::default(),
        stacks: Vec::new(),
        known: 0,
    });
}

#[unsafe(naked)]
extern "C" fn probe_recalled() {
    core::arch::naked_asm!("mov rdi, rsp", "mov rsi, rbp", "jmp {}", sym recall)
}

/// What is recalled is what a walk finds, each time.
extern "C" fn recall(sp: usize, fp: usize) {
    let entry = Entry { sp, fp };
    MEMORY.with_borrow_mut(|memory| {
        let mut bounds = memory.bounds;
        let known = memory.recall.find(entry, &bounds);
        let (stack, tables) = memory.recall.room();
        // SAFETY: `probe_recalled` hands over the registers of the call that is under way.
        unsafe { unwind::capture(entry, 16, &mut bounds, tables, stack) };
        if let Some(id) = known {
            assert_eq!(memory.stacks[id as usize], stack.pcs());
            memory.known += 1;
        }
        let id = memory.stacks.len() as u32;
        memory.stacks.push(stack.pcs().to_vec());
        memory.recall.keep(entry, &bounds, id);
        memory.bounds = bounds;
    });
}

/// Calls on by one of four ways a level, as the digits of `way` say; frames of all four are of one size.
macro_rules! ways {
    ($($name:ident)*) => { $(
        #[inline(never)]
        fn $name(levels: usize, way: usize) -> usize {
            black_box(onwards(levels, way)) + 1
        }
    )* };
}
ways! { way_one way_two way_three way_four }

#[inline(never)]
fn onwards(levels: usize, way: usize) -> usize {
    if levels == 0 {
        probe_recalled();
        return 0;
    }
    let next = [way_one, way_two, way_three, way_four][way % 4];
    black_box(next(levels - 1, way / 4)) + 1
}

#[test]
fn what_is_recalled_is_what_a_walk_finds() {
    let mut state = 1_u64;
    for round in 0..4000 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        // Mostly one of few ways, so that walks are met again, with differences near and far.
        let way = (state >> 33) as usize % if round % 3 == 0 { 1 << 12 } else { 5 };
        black_box(onwards(1 + (state >> 60) as usize % 6, way));
    }
    MEMORY.with_borrow(|memory| {
        assert!(memory.known > 500, "{} of 4000 were recalled", memory.known);
        assert!(memory.known < 4000);
    });
}

#[test]
fn a_smashed_stack_ends_early_and_does_not_fault() {
    let mut stack = Stack::new();
    let mut bounds = Bounds::default();
    // A stack that holds nothing but addresses of nowhere, at the very end of a mapping.
    // SAFETY: maps two pages and gives the second one back.
    let page = unsafe {
        let page = libc::mmap(
            std::ptr::null_mut(),
            8192,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        assert_ne!(page, libc::MAP_FAILED);
        libc::munmap(page.byte_add(4096), 4096);
        page as usize
    };
    for word in 0..512 {
        // SAFETY: within the page mapped above.
        unsafe { ((page + word * 8) as *mut usize).write(nested as *const () as usize + 16) };
    }
    for sp in (page..page + 4096).step_by(8) {
        for fp in [
            0,
            sp,
            page + 4088,
            page + 4096,
            usize::MAX & !7,
            nested as *const () as usize,
        ] {
            // SAFETY: the words are readable, and `capture` checks all others.
            unsafe {
                unwind::capture(
                    Entry { sp, fp },
                    MAX_DEPTH,
                    &mut bounds,
                    &mut Tables::new(),
                    &mut stack,
                )
            };
            assert!(stack.pcs().len() <= MAX_DEPTH);
        }
    }
    // SAFETY: not even the first word can be read, which must not matter.
    unsafe {
        unwind::capture(
            Entry { sp: 0x1000, fp: 0 },
            MAX_DEPTH,
            &mut Bounds::default(),
            &mut Tables::new(),
            &mut stack,
        )
    };
    assert_eq!(stack.pcs(), []);
}
