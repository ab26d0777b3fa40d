//! Keeps one of each of Rust's ways to hold memory, and loses a cycle of Arcs and a vector of strings. With an argument nothing
//! is lost.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    io::Write,
    rc::Rc,
    sync::{Arc, Mutex, OnceLock, mpsc},
};

struct Partner {
    other: Mutex<Option<Arc<Partner>>>,
    _name: String,
}

struct Kept {
    _raw: *const Partner,
    _map: HashMap<u64, String>,
    _tree: BTreeMap<String, Vec<u8>>,
    _traits: Vec<Box<dyn Fn() -> usize + Send + Sync>>,
    _sender: mpsc::Sender<String>,
}

// SAFETY: the raw pointer is only held.
unsafe impl Send for Kept {}
unsafe impl Sync for Kept {}

static KEPT: OnceLock<Kept> = OnceLock::new();

thread_local! {
    static LOCAL: RefCell<Vec<Rc<String>>> = const { RefCell::new(Vec::new()) };
}

fn partner() -> Arc<Partner> {
    Arc::new(Partner { other: Mutex::new(None), _name: "p".repeat(60) })
}

#[inline(never)]
fn keep() {
    let (sender, receiver) = mpsc::channel();
    sender.send("waits".repeat(20)).expect("somebody listens");
    // A pointer behind the counters of the Arc.
    let raw = Arc::into_raw(partner());
    let text = "captured".repeat(10);
    let kept = Kept {
        _raw: raw,
        _map: (0..100).map(|i| (i, "m".repeat(i as usize))).collect(),
        _tree: (0..100).map(|i| (i.to_string(), vec![0; i])).collect(),
        _traits: vec![Box::new(move || text.len())],
        _sender: sender,
    };
    assert!(KEPT.set(kept).is_ok());
    LOCAL.with_borrow_mut(|local| local.extend((0..10).map(|i| Rc::new(i.to_string().repeat(20)))));
    std::thread::spawn(move || {
        let first = receiver.recv();
        loop {
            std::thread::park();
            assert!(first.is_ok());
        }
    });
}

#[inline(never)]
fn lose_partners(is_twin: bool) {
    let (one, two) = (partner(), partner());
    *one.other.lock().expect("nobody panicked") = Some(Arc::clone(&two));
    if !is_twin {
        *two.other.lock().expect("nobody panicked") = Some(one);
    }
}

#[inline(never)]
fn lose_strings(is_twin: bool) {
    let strings: Vec<String> = (0..10).map(|i| "lost".repeat(i + 1)).collect();
    if is_twin {
        drop(strings);
    } else {
        std::mem::forget(strings);
    }
}

#[inline(never)]
fn scrub() {
    let mut stack = [1_u8; 16384];
    stack.fill(0);
    std::hint::black_box(&stack);
}

fn main() {
    let is_twin = std::env::args().len() > 1;
    keep();
    lose_partners(is_twin);
    lose_strings(is_twin);
    scrub();
    std::thread::sleep(std::time::Duration::from_millis(50));
    print!("ready\n");
    std::io::stdout().flush().expect("standard output is open");
    loop {
        std::thread::park();
    }
}
