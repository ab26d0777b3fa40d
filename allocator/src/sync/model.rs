//! The protocol under loom: every order of events, and every value that the memory model lets a load see.

use super::protocol::{self, FREE, Word};
use core::sync::atomic::Ordering;
use loom::{
    cell::UnsafeCell,
    sync::{Arc, Condvar, Mutex, atomic::AtomicU32},
    thread,
};
use std::{cell::Cell, vec::Vec};

/// A word, and the kernel's side of it. The kernel orders nothing for the program: what its queue would order here
/// is all that this model can hide, and threads that do not sleep show the rest.
struct Modelled {
    word: AtomicU32,
    queue: Mutex<()>,
    sleepers: Condvar,
}

loom::thread_local! {
    static ID: Cell<u32> = Cell::new(0);
}

impl Word for Modelled {
    const SPINS: u32 = 1;

    fn load(&self) -> u32 {
        self.word.load(Ordering::Relaxed)
    }

    fn store(&self, value: u32) {
        self.word.store(value, Ordering::Relaxed);
    }

    fn fetch_or(&self, bits: u32) {
        self.word.fetch_or(bits, Ordering::Relaxed);
    }

    fn swap(&self, value: u32, order: Ordering) -> u32 {
        self.word.swap(value, order)
    }

    fn exchange(&self, old: u32, new: u32, order: Ordering) -> bool {
        self.word
            .compare_exchange(old, new, order, Ordering::Relaxed)
            .is_ok()
    }

    fn own_id() -> u32 {
        ID.with(Cell::get)
    }

    fn sleep(&self, expected: u32) {
        let queue = self.queue.lock().expect("nobody panics in the queue");
        // The kernel compares the newest value.
        if self.word.fetch_or(0, Ordering::Relaxed) == expected {
            drop(
                self.sleepers
                    .wait(queue)
                    .expect("nobody panics in the queue"),
            );
        }
    }

    fn wake(&self) {
        let _queue = self.queue.lock().expect("nobody panics in the queue");
        self.sleepers.notify_one();
    }

    fn pause(_spin: u32) {}

    fn waits_for_itself() -> ! {
        panic!("a thread waits for itself")
    }
}

/// What a lock protects: loom reports two accesses at once, or one that is not ordered after the other.
struct Protected {
    lock: Modelled,
    list: UnsafeCell<Vec<u32>>,
}

// SAFETY: the list is touched with the lock held alone; that this is enough is what the models check.
unsafe impl Sync for Protected {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Protected {}

impl Protected {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            lock: Modelled {
                word: AtomicU32::new(FREE),
                queue: Mutex::new(()),
                sleepers: Condvar::new(),
            },
            list: UnsafeCell::new(Vec::new()),
        })
    }

    fn acquire(&self) {
        if !protocol::try_acquire(&self.lock) {
            protocol::wait_for(&self.lock);
        }
    }

    fn with<T>(&self, run: impl FnOnce(&mut Vec<u32>) -> T) -> T {
        self.acquire();
        let result = self.list.with_mut(|list| {
            // SAFETY: the lock is held.
            run(unsafe { &mut *list })
        });
        protocol::release(&self.lock);
        result
    }
}

fn each_on_a_thread<const N: usize>(run: [fn(&Protected); N]) -> Arc<Protected> {
    let shared = Protected::new();
    let others: Vec<_> = (2..)
        .zip(&run[1..])
        .map(|(id, &run)| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                ID.with(|own| own.set(id));
                run(&shared);
            })
        })
        .collect();
    ID.with(|own| own.set(1));
    run[0](&shared);
    for other in others {
        other.join().expect("it ends");
    }
    shared
}

/// Tries all orders in which no thread is interrupted more than three times, which is enough for each kind of meeting.
fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// A thread takes a magazine from the depot's list, or brings the first one.
fn exchange(shared: &Protected) {
    let magazine = shared.with(Vec::pop);
    shared.with(|list| list.push(magazine.unwrap_or_else(Modelled::own_id)));
}

#[test]
fn two_threads_exchange_magazines() {
    check(|| {
        let shared = each_on_a_thread([exchange, exchange]);
        let left = shared.with(|list| list.clone());
        assert!(matches!(left.len(), 1 | 2), "{left:?}");
        assert_eq!(shared.lock.load(), FREE);
    });
}

#[test]
fn three_threads_wait_for_one_lock() {
    check(|| {
        let add: fn(&Protected) = |shared| shared.with(|list| list.push(Modelled::own_id()));
        let shared = each_on_a_thread([add, add, add]);
        let mut left = shared.with(|list| list.clone());
        left.sort_unstable();
        assert_eq!(left, [1, 2, 3]);
        assert_eq!(shared.lock.load(), FREE);
    });
}

#[test]
fn a_fork_waits_for_the_lock_and_lets_go() {
    check(|| {
        let fork: fn(&Protected) = |shared| {
            protocol::acquire_for_fork(&shared.lock);
            shared.list.with_mut(|list| {
                // SAFETY: the lock is held.
                unsafe { &mut *list }.push(0);
            });
            protocol::release_after_fork(&shared.lock);
        };
        let shared = each_on_a_thread([fork, |shared| shared.with(|list| list.push(1))]);
        assert_eq!(shared.with(|list| list.len()), 2);
        assert_eq!(shared.lock.load(), FREE);
    });
}

#[test]
fn a_fork_in_a_handler_leaves_the_lock_to_what_it_interrupted() {
    check(|| {
        let interrupted: fn(&Protected) = |shared| {
            shared.acquire();
            protocol::acquire_for_fork(&shared.lock);
            protocol::release_after_fork(&shared.lock);
            shared.list.with_mut(|list| {
                // SAFETY: the lock is held still.
                unsafe { &mut *list }.push(0);
            });
            protocol::release(&shared.lock);
        };
        let shared = each_on_a_thread([interrupted, |shared| shared.with(|list| list.push(1))]);
        assert_eq!(shared.with(|list| list.len()), 2);
    });
}
