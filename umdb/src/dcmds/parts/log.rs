//! Entries of logs.

use umem_layout::operation;

/// What an operation is called.
pub fn operation_name(number: u32) -> String {
    match number {
        operation::ALLOC => "alloc".to_owned(),
        operation::FREE => "free".to_owned(),
        operation::FAIL => "fail".to_owned(),
        operation::SLAB_CREATE => "slab".to_owned(),
        other => format!("operation {other}"),
    }
}
