//! Buffers that are resized many times in a row.

use std::{ptr, thread};
use umem::{init, malloc, unwind::Entry, vmem};
use umem_layout::family;

// Stacks are not taken without UMEM_DEBUG, so the entry is not looked at.
const ENTRY: Entry = Entry { sp: 0, fp: 0 };
const PAGE: usize = 4096;

/// Grows a buffer by an eighth until it has at least `most` bytes. Returns its address and size, and how often it moved from a page on.
fn fill(most: usize) -> (usize, usize, usize) {
    let (mut size, mut moves) = (16, 0);
    let mut at = malloc::allocate(size, family::MALLOC, ENTRY);
    while size < most {
        let more = size + size / 8 + 16;
        // SAFETY: the buffer is live, has `more` bytes afterwards, and is used through the result only.
        let moved = unsafe { malloc::reallocate(at, more, ENTRY) };
        assert_ne!(moved, 0);
        // SAFETY: as above.
        unsafe { ptr::write_bytes((moved + size) as *mut u8, 7, more - size) };
        moves += usize::from(moved != at && size >= PAGE);
        (at, size) = (moved, more);
    }
    (at, size, moves)
}

fn free(at: usize) {
    // SAFETY: callers give live buffers and do not use them again.
    unsafe { malloc::release(at, ENTRY) };
}

fn resize(at: usize, size: usize) -> usize {
    // SAFETY: callers give live buffers and use them through the result only.
    unsafe { malloc::reallocate(at, size, ENTRY) }
}

/// One test, since what threads keep is counted for the process.
#[test]
fn a_buffer_that_grows_stays_where_it_is_from_a_page_on() {
    assert!(init::ensure());
    let before = vmem::growth::kept();
    let (first, size, moves) = fill(3 << 20);
    assert_eq!(moves, 0);
    assert_eq!(vmem::growth::kept(), before + 1);
    // SAFETY: a live buffer of so many bytes.
    let bytes = unsafe { std::slice::from_raw_parts((first + 16) as *const u8, size - 16) };
    assert!(bytes.iter().all(|&byte| byte == 7));

    // Another one begins, and the first goes on.
    let (second, _, moves) = fill(100_000);
    assert_eq!((moves, vmem::growth::kept()), (0, before + 1));
    let first = resize(first, 2 * size);
    assert!(malloc::usable_size(first).is_some_and(|usable| usable >= 2 * size));

    // Another thread frees the growing one, and gets its memory again. What this thread remembers is not that buffer.
    let again = thread::spawn(move || {
        free(second);
        let again: Vec<_> = (0..8)
            .map(|_| malloc::allocate(600_000, family::MALLOC, ENTRY))
            .collect();
        again
    });
    let again = again.join().expect("it ends");
    for &at in &again {
        // SAFETY: live buffers of so many bytes.
        unsafe { ptr::write_bytes(at as *mut u8, 1, 600_000) };
    }
    let grown: Vec<_> = again.into_iter().map(|at| resize(at, 900_000)).collect();
    for (index, &at) in grown.iter().enumerate() {
        // SAFETY: live buffers of so many bytes.
        unsafe { ptr::write_bytes(at as *mut u8, index as u8, 900_000) };
    }
    for (index, &at) in grown.iter().enumerate() {
        // SAFETY: as above.
        let bytes = unsafe { std::slice::from_raw_parts(at as *const u8, 900_000) };
        assert!(bytes.iter().all(|&byte| byte == index as u8));
        free(at);
    }
    free(first);

    // Beyond what is kept it goes on all the same.
    let (large, size, _) = fill(40 << 20);
    // SAFETY: a live buffer of so many bytes.
    let bytes = unsafe { std::slice::from_raw_parts((large + 16) as *const u8, size - 16) };
    assert!(bytes.iter().all(|&byte| byte == 7));
    free(large);

    // What a thread keeps goes back when it ends.
    thread::spawn(|| free(fill(100_000).0))
        .join()
        .expect("it ends");
    assert!(vmem::growth::kept() <= before + 1);
}
