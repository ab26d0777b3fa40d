//! `bufctl_history`: a record and what the transaction log holds of its buffer.

use super::{Start, Steps, WalkError, Walker, steps};
use crate::analysis::Subject;

pub(super) const WALKER: Walker = Walker {
    name: "bufctl_history",
    summary: "walk a record and the entries of the transaction log of its buffer, newest first",
    start: Start::Required("bufctl"),
    yields: "bufctls",
    walk,
};

fn walk<'a>(subject: &'a Subject<'a>, start: Option<u64>) -> Result<Steps<'a>, WalkError> {
    let heap = subject.heap;
    let address = start.unwrap_or_default();
    let events = if let Some(object) = heap.object_of_record(address) {
        let record = heap.record(object).transpose()?;
        record
            .map(|record| heap.history(address, &record))
            .unwrap_or_default()
    } else if let Some(entry) = heap.log_entry_at(address) {
        heap.log_chain(entry.record, entry.sequence)
    } else {
        return Err(WalkError::Failed(format!("{address:x} is not a bufctl")));
    };
    let mut addresses: Vec<u64> = events.iter().map(|event| event.address).collect();
    addresses.dedup();
    Ok(steps(addresses.into_iter()))
}
