//! Allocates at the ends of many chains of calls of Rust: generics, closures, trait objects, iterators, collections, panics that are
//! caught, threads.

use std::{
    cell::Cell,
    collections::{BTreeMap, HashMap},
    hint::black_box,
    panic,
};

thread_local! {
    static SUM: Cell<usize> = const { Cell::new(0) };
}

fn add(more: usize) {
    SUM.with(|sum| sum.set(sum.get().wrapping_add(more)));
}

trait Part {
    fn go(&self, way: usize, levels: usize);
}

struct Plain;

#[repr(align(128))]
struct Aligned([u8; 256]);

impl Part for Plain {
    #[inline(never)]
    fn go(&self, way: usize, levels: usize) {
        onwards(way, levels);
        add(1);
    }
}

impl Part for Aligned {
    #[inline(never)]
    fn go(&self, way: usize, levels: usize) {
        let mut room = Aligned([way as u8; 256]);
        black_box(&mut room);
        onwards(way, levels);
        add(usize::from(room.0[way % 256]) + usize::from(self.0[0]));
    }
}

struct OnDrop(usize, usize);

impl Drop for OnDrop {
    #[inline(never)]
    fn drop(&mut self) {
        onwards(self.0, self.1);
        add(1);
    }
}

#[inline(never)]
fn catch_it(way: usize, levels: usize) {
    let result = panic::catch_unwind(|| {
        let _guard = OnDrop(way, levels);
        if black_box(true) {
            panic::resume_unwind(Box::new(format!("way {way}")));
        }
    });
    add(usize::from(result.is_err()));
}

#[inline(never)]
fn with(call: impl Fn()) {
    call();
    add(1);
}

#[inline(never)]
fn closure(way: usize, levels: usize) {
    let boxed: Box<dyn Fn(usize)> = Box::new(move |levels| {
        onwards(way, levels);
        add(way);
    });
    with(|| boxed(levels));
}

#[inline(never)]
fn sort(way: usize, levels: usize) {
    let mut numbers = vec![3, 1, 2];
    let mut done = false;
    numbers.sort_by(|a: &i32, b| {
        if !done {
            done = true;
            onwards(way, levels);
        }
        a.cmp(b)
    });
    add(numbers[0] as usize);
}

#[inline(never)]
fn part(way: usize, levels: usize) {
    let part: Box<dyn Part> = if way % 3 == 0 {
        Box::new(Plain)
    } else {
        Box::new(Aligned([1; 256]))
    };
    part.go(way, levels);
}

#[inline(never)]
fn end(way: usize) {
    match way % 4 {
        0 => add(black_box(vec![0_u8; way % 300 + 1]).len()),
        1 => add((0..way % 9 + 1).map(|i| format!("{i}")).collect::<Vec<_>>().join(", ").len()),
        2 => add((0..3).map(|i| (i.to_string(), i)).collect::<BTreeMap<_, _>>().len()),
        _ => add((0..3).map(|i| (i, i.to_string())).collect::<HashMap<_, _>>().len()),
    }
}

#[inline(never)]
fn onwards(way: usize, levels: usize) {
    if levels == 0 {
        end(way);
    } else {
        let parts = [part, catch_it, closure, sort];
        black_box(parts)[way % 4](way / 4 * 3 + way % 7, levels - 1);
    }
    add(1);
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn begin() {
    add(1);
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn done() {
    add(1);
}

fn main() {
    begin();
    let mut way = 12345_u32;
    for i in 0..30 {
        way = way.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        onwards((way >> 4) as usize, 1 + i % 4);
    }
    for _ in 0..2 {
        way = way.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let way = (way >> 4) as usize;
        std::thread::spawn(move || onwards(way, 3)).join().expect("no panic");
    }
    done();
}
