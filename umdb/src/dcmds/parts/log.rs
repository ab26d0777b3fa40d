//! Entries of logs.

use umem_layout::{log_kind, operation};

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

/// What a log is called.
pub const fn log_name(kind: u32) -> &'static str {
    match kind {
        log_kind::TRANSACTION => "transaction",
        log_kind::CONTENTS => "contents",
        log_kind::FAIL => "fail",
        log_kind::SLAB => "slab",
        _ => "unknown",
    }
}
