//! `umem_log`: the entries of a log.

use umem_layout::log_kind;

use super::{Start, Steps, WalkError, Walker, steps};
use crate::analysis::Subject;

pub(super) const WALKER: Walker = Walker {
    name: "umem_log",
    summary: "walk the entries of a log, newest first: of the transaction log, or of the one at an address",
    start: Start::Optional("log"),
    yields: "bufctls",
    walk,
};

fn walk<'a>(subject: &'a Subject<'a>, start: Option<u64>) -> Result<Steps<'a>, WalkError> {
    let heap = subject.heap;
    let (logs, damage) = heap.logs();
    let is_meant = |kind: u32, address: u64| match start {
        Some(start) => start == address,
        None => kind == log_kind::TRANSACTION,
    };
    let log = logs
        .iter()
        .find(|log| is_meant(log.record.kind, log.address));
    let Some(log) = log else {
        return Err(match (start, damage) {
            (_, Some(damage)) => damage.clone().into(),
            (Some(start), None) => WalkError::Failed(format!("no log is at {start:x}")),
            (None, None) => WalkError::Failed(
                "the transaction log is disabled: start the program with UMEM_LOGGING=transaction"
                    .to_owned(),
            ),
        });
    };
    let entries = heap.log_entries(log)?;
    let addresses = entries
        .into_iter()
        .filter_map(move |entry| log.entry_address(entry.sequence));
    Ok(steps(addresses))
}
