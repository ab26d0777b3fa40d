//! umem_verify(3): a look at every buffer, at a moment that the program chooses.

use crate::{
    cache, checked,
    debug::{
        buffer::{self, Buffer},
        report::{self, Subject},
    },
    init,
    raw::Cell,
    relief, thread,
    unwind::Entry,
    vmem,
};

/// Checks all buffers of caches and all blocks. Returns how many are damaged.
pub fn all(entry: Entry) -> usize {
    if !init::ensure() {
        return 0;
    }
    let _slabs = relief::keep_slabs();
    let mut damaged = 0;
    vmem::for_each_slab(|slab| {
        if vmem::is_damaged(slab) {
            let call = thread::call_for_report(entry);
            report::damaged_slab(slab.link(), Subject::address(0), &call);
            damaged += 1;
            return;
        }
        for index in 0..slab.carved().get().min(slab.capacity().get()) as usize {
            damaged += usize::from(!is_whole(cache::buffer_of(slab, index), entry));
        }
    });
    damaged + checked::verify_blocks(entry)
}

fn is_whole(buffer: Option<Buffer>, entry: Entry) -> bool {
    let Some(buffer) = buffer else { return true };
    let Err(damage) = buffer::check_any(buffer) else {
        return true;
    };
    let subject = Subject::buffer(buffer, buffer.address);
    report::report(&damage, &subject, &thread::call_for_report(entry));
    false
}
