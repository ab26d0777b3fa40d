//! A Rust program on the allocator: all its memory comes from it, and connections are kept in a cache of their own.
//!
//! Run it with `--wait` and look at it meanwhile: `umdb -p PID -e ::umem_cache -e ::findleaks`.

use std::{env, io, thread};
use umem::{TypedCache, Umem};

#[global_allocator]
static ALLOCATOR: Umem = Umem;

/// Something that costs time to set up and is needed again and again.
struct Connection {
    buffer: Vec<u8>,
    requests: u64,
}

fn connect() -> Connection {
    let buffer = Vec::with_capacity(64 << 10);
    Connection {
        buffer,
        requests: 0,
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let connections = TypedCache::new("connections", connect)?;
    thread::scope(|scope| {
        for worker in 0..4 {
            let connections = &connections;
            scope.spawn(move || {
                for request in 0..1000 {
                    let Some(mut connection) = connections.get() else {
                        return;
                    };
                    connection.buffer.clear();
                    connection
                        .buffer
                        .extend(format!("{worker}: {request}").bytes());
                    connection.requests += 1;
                }
            });
        }
    });
    let totals = umem::stats::totals();
    println!(
        "{} buffers allocated, {} freed",
        totals.allocs, totals.frees
    );
    if env::args().any(|argument| argument == "--wait") {
        io::stdin().read_line(&mut String::new())?;
    }
    Ok(())
}
