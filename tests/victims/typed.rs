//! Types of Rust for ::print: enums with and without values, options, strings, slices; and variables of modules.
use std::{io::Write, ptr, sync::atomic::AtomicPtr, sync::atomic::Ordering, thread, time::Duration};

mod totals {
    use std::sync::atomic::AtomicU32;

    pub static SESSIONS: AtomicU32 = AtomicU32::new(15);
}

#[allow(dead_code)]
pub enum Shape {
    Unit,
    Circle(f64),
    Named { x: i32, label: &'static str },
}

#[allow(dead_code)]
pub struct Session {
    id: u64,
    name: String,
    shapes: [Shape; 3],
    next: Option<Box<Session>>,
    small: Option<u8>,
    none: Option<u8>,
    letter: char,
    marker: (),
}

#[unsafe(no_mangle)]
pub static HEAD: AtomicPtr<Session> = AtomicPtr::new(ptr::null_mut());

fn session(id: u64, next: Option<Box<Session>>) -> Box<Session> {
    Box::new(Session {
        id,
        name: format!("session \"{id}\""),
        shapes: [Shape::Unit, Shape::Circle(1.5), Shape::Named { x: -4, label: "text" }],
        next,
        small: Some(9),
        none: None,
        letter: 'é',
        marker: (),
    })
}

fn main() {
    totals::SESSIONS.fetch_add(2, Ordering::SeqCst);
    HEAD.store(Box::into_raw(session(2, Some(session(1, None)))), Ordering::SeqCst);
    std::io::stdout().write_all(b"ready\n").expect("standard output is open");
    loop {
        thread::sleep(Duration::from_secs(60));
    }
}
