//! UMEM_DEBUG, UMEM_OPTIONS and UMEM_LOGGING.
//!
//! Each variable has a table; an item that is unknown or malformed leaves a message in the ring and is
//! skipped. The environment is ignored when the process runs with raised privileges.

use super::{message::note, tuning};
use crate::{raw::root, sys::environment};
use umem_layout::{Options, Plain, cache_flag};

/// Frames kept of a stack unless `audit=N` says otherwise.
pub const AUDIT_DEPTH: u32 = 16;
/// Most frames that can be kept.
pub const AUDIT_DEPTH_MAX: u32 = crate::unwind::MAX_DEPTH as u32;
const CONTENTS_BYTES: u64 = 256;
const LOG_BYTES: u64 = 64 << 10;
/// Bytes that a thread's freed buffers may wait: less than a core's second-level cache, so that what comes back is not cold.
const QUARANTINE_BYTES: u64 = 256 << 10;
/// Mean distance of samples.
const SAMPLE_BYTES: u64 = 512 << 10;
const ITEM_MAX: usize = 512;
const GUARDS: u32 = cache_flag::DEADBEEF | cache_flag::REDZONE;
/// `audit` turns guards on, as the manual of libumem promises and its code does not do.
const AUDIT: u32 = cache_flag::AUDIT | GUARDS;

/// What an item takes after its name, and what it does.
enum Action {
    Flag(fn(&mut Options)),
    /// A number in decimal, optional; given the default otherwise.
    Number(fn(&mut Options, Option<u64>)),
    /// A number with an optional suffix k, m, g or t, optional.
    Size(fn(&mut Options, Option<u64>)),
    /// A word, which must be there.
    Word(fn(&str) -> Result<(), &'static str>),
    /// Belongs to libumem's language; not built yet.
    Missing,
}
use Action::{Flag, Missing, Number, Size, Word};

const DEBUG: &[(&str, Action)] = &[
    (
        "default",
        Flag(|o| {
            o.debug_flags |= AUDIT | cache_flag::CONTENTS;
            o.quarantine_bytes = QUARANTINE_BYTES;
        }),
    ),
    (
        "audit",
        Number(|o, depth| {
            o.debug_flags |= AUDIT;
            o.audit_depth =
                depth.map_or(o.audit_depth, |n| n.min(u64::from(AUDIT_DEPTH_MAX)) as u32);
        }),
    ),
    (
        "contents",
        Size(|o, bytes| {
            o.debug_flags |= cache_flag::CONTENTS;
            o.contents_bytes = bytes.unwrap_or(o.contents_bytes);
        }),
    ),
    ("guards", Flag(|o| o.debug_flags |= GUARDS)),
    ("verbose", Flag(|o| o.verbose = 1)),
    ("noabort", Flag(|o| o.noabort = 1)),
    (
        "maxverify",
        Size(|o, bytes| o.verify_max = bytes.unwrap_or(0)),
    ),
    ("allverbose", Missing),
    (
        "checknull",
        Flag(|o| o.debug_flags |= cache_flag::CHECKNULL),
    ),
    (
        "firewall",
        Size(|o, bytes| {
            o.firewall_min = bytes.unwrap_or(0).max(1);
            o.debug_flags |= AUDIT | cache_flag::FIREWALL;
            if o.quarantine_bytes == 0 {
                o.quarantine_bytes = QUARANTINE_BYTES;
            }
        }),
    ),
    ("lite", Flag(|o| o.debug_flags |= cache_flag::LITE | GUARDS)),
    (
        "mtbf",
        Number(|o, n| o.mtbf = u32::try_from(n.unwrap_or(0)).unwrap_or(u32::MAX)),
    ),
    (
        "nosignal",
        Flag(|o| o.debug_flags |= AUDIT | cache_flag::CHECKSIGNAL),
    ),
    (
        "quarantine",
        Size(|o, bytes| {
            o.quarantine_bytes = bytes.unwrap_or(QUARANTINE_BYTES);
            if o.quarantine_bytes != 0 {
                o.debug_flags |= GUARDS;
            }
        }),
    ),
    (
        "random",
        Flag(|o| o.debug_flags |= AUDIT | cache_flag::CONTENTS | cache_flag::RANDOMIZE),
    ),
    (
        "sample",
        Size(|o, bytes| o.sample_bytes = bytes.unwrap_or(SAMPLE_BYTES)),
    ),
];

const LOGGING: &[(&str, Action)] = &[
    (
        "transaction",
        Size(|o, bytes| o.log_bytes[0] = bytes.unwrap_or(LOG_BYTES)),
    ),
    (
        "contents",
        Size(|o, bytes| {
            o.debug_flags |= cache_flag::CONTENTS;
            o.log_bytes[1] = bytes.unwrap_or(LOG_BYTES);
        }),
    ),
    (
        "fail",
        Size(|o, bytes| o.log_bytes[2] = bytes.unwrap_or(LOG_BYTES)),
    ),
    (
        "slab",
        Size(|o, bytes| o.log_bytes[3] = bytes.unwrap_or(LOG_BYTES)),
    ),
];

const OPTIONS: &[(&str, Action)] = &[
    ("nomagazines", Flag(|o| o.nomagazines = 1)),
    (
        "perthread_cache",
        Size(|o, bytes| o.perthread_cache = bytes.unwrap_or(o.perthread_cache)),
    ),
    (
        "reap_interval",
        Number(|o, n| {
            o.reap_interval = n.map_or(o.reap_interval, |n| u32::try_from(n).unwrap_or(u32::MAX));
        }),
    ),
    (
        "concurrency",
        Number(|_, n| tuning::set(&tuning::CONCURRENCY, n)),
    ),
    (
        "max_contention",
        Number(|_, n| tuning::set(&tuning::MAX_CONTENTION, n)),
    ),
    ("backend", Word(tuning::backend)),
    ("allocator", Word(tuning::allocator)),
    ("size_add", Size(|_, size| tuning::add_size(size))),
    ("size_remove", Size(|_, size| tuning::remove_size(size))),
    ("size_clear", Flag(|_| tuning::clear_sizes())),
];

/// Reads the environment into the root's options.
pub fn initialize() {
    let mut options = Options {
        audit_depth: AUDIT_DEPTH,
        contents_bytes: CONTENTS_BYTES,
        perthread_cache: 8 << 20,
        reap_interval: 10,
        ..Options::ZERO
    };
    if environment::is_secure() {
        options.secure = 1;
    } else {
        read_environment(&mut options);
    }
    settle_sampling(&mut options);
    root().set_options(options);
}

fn read_environment(options: &mut Options) {
    let mut tables = [
        Some(("UMEM_DEBUG", DEBUG)),
        Some(("UMEM_OPTIONS", OPTIONS)),
        Some(("UMEM_LOGGING", LOGGING)),
    ];
    environment::for_each_variable(|entry| {
        for slot in &mut tables {
            let Some((name, table)) = *slot else { continue };
            if let Some(value) = environment::value_of(entry, name) {
                // Of two with one name the first counts, as for getenv(3).
                *slot = None;
                apply(options, name, table, value);
            }
        }
    });
}

/// Samples get all checks, and wait in quarantine. Where other checks are on for all buffers there is nothing to sample.
fn settle_sampling(options: &mut Options) {
    if options.sample_bytes == 0 {
        return;
    }
    if options.debug_flags != 0 {
        options.sample_bytes = 0;
        return note(format_args!(
            "UMEM_DEBUG: sample: other checks are on for all buffers. ignored\n"
        ));
    }
    if options.quarantine_bytes == 0 {
        options.quarantine_bytes = QUARANTINE_BYTES;
    }
}

fn apply(options: &mut Options, variable: &str, table: &[(&str, Action)], text: &[u8]) {
    if text.is_empty() {
        return;
    }
    for item in text.split(|&byte| byte == b',') {
        apply_item(options, variable, table, item.trim_ascii());
    }
}

fn apply_item(options: &mut Options, variable: &str, table: &[(&str, Action)], item: &[u8]) {
    if item.is_empty() {
        return note(format_args!("{variable}: empty option\n"));
    }
    let Ok(item) = core::str::from_utf8(item) else {
        return note(format_args!("{variable}: option is not text\n"));
    };
    if item.len() >= ITEM_MAX {
        let start: &str = item.get(..10).unwrap_or("");
        return note(format_args!(
            "{variable}: argument \"{start}...\" too long\n"
        ));
    }
    let (name, value) = match item.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (item, None),
    };
    let Some((_, action)) = table.iter().find(|(known, _)| *known == name) else {
        return note(format_args!("{variable}: '{name}' not recognized\n"));
    };
    match (action, value) {
        (Flag(set), None) => set(options),
        (Flag(_), Some(_)) => note(format_args!(
            "{variable}: {name}: does not take a value. ignored\n"
        )),
        (Number(set) | Size(set), None) => set(options, None),
        (Number(set), Some(text)) => match decimal(text) {
            Ok(number) => set(options, Some(number)),
            Err(why) => {
                note(format_args!("{variable}: {name}: {why}\n"));
                set(options, None);
            }
        },
        (Size(set), Some(text)) => match size(text) {
            Ok(number) => set(options, Some(number)),
            Err(why) => {
                note(format_args!("{variable}: {name}: {why}\n"));
                set(options, None);
            }
        },
        (Word(set), word) => {
            if let Err(why) = word.ok_or("Required value missing").and_then(set) {
                note(format_args!("{variable}: {name}: {why}\n"));
            }
        }
        (Missing, _) => note(format_args!(
            "{variable}: '{name}' is not available in this version. ignored\n"
        )),
    }
}

fn decimal(text: &str) -> Result<u64, &'static str> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("not a number");
    }
    text.parse().map_err(|_| "overflowed")
}

fn size(text: &str) -> Result<u64, &'static str> {
    let shift = match text.bytes().last() {
        Some(b'k' | b'K') => 10,
        Some(b'm' | b'M') => 20,
        Some(b'g' | b'G') => 30,
        Some(b't' | b'T') => 40,
        _ => return decimal(text),
    };
    let number = decimal(text.get(..text.len() - 1).unwrap_or(""))?;
    number.checked_mul(1 << shift).ok_or("overflowed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(table: &[(&str, Action)], text: &str) -> Options {
        let mut options = Options {
            audit_depth: AUDIT_DEPTH,
            contents_bytes: CONTENTS_BYTES,
            ..Options::ZERO
        };
        apply(&mut options, "TEST", table, text.as_bytes());
        options
    }

    #[test]
    fn default_is_audit_contents_and_guards() {
        assert_eq!(parse(DEBUG, "default").debug_flags, 0xf);
        assert_eq!(parse(DEBUG, " guards , audit=20 ").debug_flags, 0x7);
        assert_eq!(parse(DEBUG, "guards,audit=20").audit_depth, 20);
        assert_eq!(parse(DEBUG, "audit=100000").audit_depth, AUDIT_DEPTH_MAX);
    }

    #[test]
    fn malformed_items_are_skipped_and_the_rest_is_kept() {
        assert_eq!(parse(DEBUG, "nonsense,,guards,=,=5").debug_flags, 0x6);
        assert_eq!(parse(DEBUG, "guards=3").debug_flags, 0);
        let audit = parse(DEBUG, "audit=abc");
        assert_eq!((audit.debug_flags, audit.audit_depth), (0x7, AUDIT_DEPTH));
    }

    #[test]
    fn samples_wait_in_quarantine_unless_all_buffers_are_checked() {
        let settled = |text| {
            let mut options = parse(DEBUG, text);
            settle_sampling(&mut options);
            (options.sample_bytes, options.quarantine_bytes)
        };
        assert_eq!(settled("sample"), (512 << 10, QUARANTINE_BYTES));
        assert_eq!(settled("sample=2m,noabort"), (2 << 20, QUARANTINE_BYTES));
        assert_eq!(settled("sample=0"), (0, 0));
        assert_eq!(settled("guards,sample"), (0, 0));
        assert_eq!(settled("sample,default"), (0, QUARANTINE_BYTES));
    }

    #[test]
    fn sizes_have_suffixes() {
        assert_eq!(parse(LOGGING, "transaction").log_bytes[0], 64 << 10);
        assert_eq!(parse(LOGGING, "transaction=2m").log_bytes[0], 2 << 20);
        assert_eq!(parse(LOGGING, "transaction=64kb").log_bytes[0], LOG_BYTES);
        assert_eq!(size("99999999999t"), Err("overflowed"));
        assert_eq!(size("k"), Err("not a number"));
        assert_eq!(parse(LOGGING, "contents").debug_flags, cache_flag::CONTENTS);
    }
}
