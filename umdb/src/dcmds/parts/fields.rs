//! What commands answer machines: the parts of each answer and the fields of these, for the reference and for tests.
//!
//! A command whose answer gets a new part or field has it listed here; a test asks all commands and compares.

/// A part of an answer that is no group of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// `table`, `list`, `fields`, `dump` or `text`.
    pub kind: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What its rows or items hold. `total.x` is `x` of the table's total, and `a.b` of fields is `b` of `a`.
    pub fields: &'static [Field],
}

/// A field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What kind of value it is; it may always be null.
    pub holds: Holds,
    /// What it means, in a few words.
    pub meaning: &'static str,
}

/// Kinds of values, with their units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// A string, `"0x7f0a"`: an address in the target.
    Address,
    /// A string, `"0x7f0a"`: another value of the target.
    Hex,
    /// A number of bytes.
    Bytes,
    /// A number of things.
    Count,
    /// A number that names something, or has the unit that its meaning says.
    Number,
    /// A number that may be negative.
    Signed,
    /// A number of nanoseconds of the target's monotonic clock.
    Time,
    /// A number of nanoseconds.
    Duration,
    /// A number from 0 to 100, or above.
    Percent,
    /// A number from 0 to 1.
    Share,
    /// A string.
    Text,
    /// An object: an address with its name and, where known, the line of the source.
    Symbol,
    /// An array of two numbers of bytes.
    Range,
    /// An array of values.
    Values,
    /// An object: stacks by what happened there.
    Stacks,
}

impl Holds {
    /// The type and unit, as the reference has them.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Address => "string, address",
            Self::Hex => "string, hexadecimal",
            Self::Bytes => "number, bytes",
            Self::Count => "number, count",
            Self::Number => "number",
            Self::Signed => "number, signed",
            Self::Time => "number, ns of the monotonic clock",
            Self::Duration => "number, ns",
            Self::Percent => "number, percent",
            Self::Share => "number, 0 to 1",
            Self::Text => "string",
            Self::Symbol => "object, symbol",
            Self::Range => "array of two numbers, bytes",
            Self::Values => "array",
            Self::Stacks => "object, stacks",
        }
    }
}

use Holds::{
    Address, Bytes, Count, Duration, Hex, Number, Percent, Range, Share, Signed, Stacks, Symbol,
    Text, Time, Values,
};

const fn f(name: &'static str, holds: Holds, meaning: &'static str) -> Field {
    Field {
        name,
        holds,
        meaning,
    }
}

/// The parts of the answer of a command; none of one that shows nothing of its own.
#[must_use]
pub fn answers(dcmd: &str) -> &'static [Section] {
    let found = ANSWERS.iter().find(|(name, _)| *name == dcmd);
    found.map_or(&[], |(_, sections)| sections)
}

/// What addresses look like that no command takes.
pub const ADDRESSES_LEFT: Section = Section {
    kind: "table",
    name: "addresses",
    fields: ADDRESSES,
};

#[rustfmt::skip]
const RECORD: &[Field] = &[
    f("bufctl", Address, "the record"),
    f("buffer", Address, "the buffer"),
    f("timestamp", Time, "when it was allocated or freed"),
    f("thread", Number, "number of the thread, as the kernel counts"),
    f("cache", Address, "the cache, or the arena of a block"),
    f("last_log", Address, "newest entry of the transaction log about the buffer"),
    f("contents", Address, "where the contents log keeps what the buffer held when it was freed"),
    f("requested", Bytes, "what was asked for"),
    f("state", Text, "`allocated` or `freed`"),
    f("family", Text, "the functions that it came from: `malloc`, `new` and others"),
    f("cache_name", Text, "name of the cache, or of the arena of a block"),
    f("caller", Symbol, "who called the allocation function"),
    f("stacks", Stacks, "who did it"),
];

#[rustfmt::skip]
const ADDRESSES: &[Field] = &[
    f("address", Address, "where it is"),
];

#[rustfmt::skip]
const BY_THREAD: &[Field] = &[
    f("bufctl", Address, "the record"),
    f("timestamp", Time, "when the thread did it"),
    f("caller", Symbol, "who called the allocation function"),
    f("buffer", Address, "the buffer"),
    f("requested", Bytes, "what was asked for"),
];

#[rustfmt::skip]
const REGISTERS: &[Field] = &[
    f("register", Text, "its name"),
    f("value", Hex, "its value"),
    f("symbol", Symbol, "what the value leads to, if that has a name"),
    f("thread", Number, "number of the thread, as the kernel counts"),
];

#[rustfmt::skip]
const DISTRIBUTION: &[Field] = &[
    f("sizes", Range, "the smallest and the largest size of the row"),
    f("share", Share, "part of the whole"),
    f("count", Count, "how many"),
];

#[rustfmt::skip]
const HOLDERS: &[Field] = &[
    f("address", Address, "where the pointer stands, or the object that it leads to"),
    f("holder", Text, "what holds the pointer: a register, a stack, a variable, a buffer"),
    f("buffer", Address, "the buffer that the pointer is in"),
    f("offset", Bytes, "of the pointer in that buffer"),
    f("name", Symbol, "the variable or function"),
    f("value", Hex, "the pointer"),
];

#[rustfmt::skip]
const LEAKS: &[Field] = &[
    f("count", Count, "leaks of the group"),
    f("bufctl", Address, "record of the oldest"),
    f("buffer", Address, "the oldest, where there are no records"),
    f("cache", Address, "their cache"),
    f("bytes", Bytes, "how many bytes in all"),
    f("held", Count, "other buffers that are lost through these"),
    f("held_bytes", Bytes, "what is lost through these besides"),
    f("caller", Symbol, "who called the allocation function"),
    f("owner", Text, "name of the cache or arena"),
    f("oldest_buffer", Address, "the buffer of the group that was allocated first"),
    f("stacks", Stacks, "who did it"),
    f("total.leaked", Count, "leaks of all rows"),
    f("total.count", Count, "with -i and -r, buffers of all rows"),
    f("total.bytes", Bytes, "of all rows"),
    f("total.held", Count, "other buffers lost through these"),
    f("total.held_bytes", Bytes, "of these"),
];

/// The parts of what each command answers, by its name.
#[rustfmt::skip]
pub const ANSWERS: &[(&str, &[Section])] = &[
    ("allocdby", &[
        Section { kind: "table", name: "records", fields: BY_THREAD },
    ]),
    ("array", &[
        Section { kind: "table", name: "addresses", fields: ADDRESSES },
    ]),
    ("bufctl", &[
        Section { kind: "table", name: "record", fields: RECORD },
    ]),
    ("bufctl_audit", &[
        Section { kind: "table", name: "record", fields: RECORD },
    ]),
    ("count", &[
        Section { kind: "list", name: "count", fields: &[
            f("count", Count, "how many"),
        ] },
    ]),
    ("dcmds", &[
        Section { kind: "table", name: "dcmds", fields: &[
            f("name", Text, "what it is called"),
            f("summary", Text, "what it is for, in a line"),
            f("usage", Text, "how it is typed"),
        ] },
    ]),
    ("demangle", &[
        Section { kind: "list", name: "demangle", fields: &[
            f("demangling", Text, "`on` or `off`"),
        ] },
    ]),
    ("diff", &[
        Section { kind: "table", name: "growth", fields: &[
            f("growth_bytes", Signed, "bytes more than before"),
            f("growth", Signed, "buffers more than before"),
            f("new_leaks", Count, "leaks more than before"),
            f("bytes", Bytes, "what there is now"),
            f("owner", Text, "name of the cache or arena"),
            f("caller", Symbol, "who called the allocation function"),
            f("count", Count, "buffers that there are now"),
            f("leaked", Count, "leaks that there are now"),
            f("stacks", Stacks, "who did it"),
        ] },
        Section { kind: "list", name: "growth", fields: &[
            f("growth_bytes", Signed, "bytes more than before, in all"),
            f("growth", Signed, "buffers more than before"),
            f("new_leaks", Count, "leaks more than before"),
            f("not_shown", Count, "lines that are left out"),
        ] },
    ]),
    ("dis", &[
        Section { kind: "table", name: "instructions", fields: &[
            f("address", Address, "where it is"),
            f("place", Symbol, "where it is"),
            f("bytes", Text, "of the instruction, two digits each"),
            f("instruction", Text, "in the words of the assembler"),
        ] },
    ]),
    ("dump", &[
        Section { kind: "dump", name: "memory", fields: &[] },
    ]),
    ("echo", &[
        Section { kind: "list", name: "echo", fields: &[] },
    ]),
    ("findleaks", &[
        Section { kind: "list", name: "statistics", fields: &[
            f("candidates", Count, "buffers that can leak"),
            f("reachable", Count, "of these, those that something leads to"),
            f("interior", Count, "those that only pointers into their middle lead to"),
            f("words", Count, "words that were looked at"),
            f("dismissals", Count, "values outside of everything"),
            f("misses", Count, "values in nothing that is allocated"),
            f("dups", Count, "values in something that was found before"),
            f("follows", Count, "values that led to something new"),
            f("modules", Count, "modules whose data is a root"),
            f("threads", Count, "threads whose stacks are roots"),
            f("root_bytes", Bytes, "memory of the roots"),
            f("heap_bytes", Bytes, "memory of the buffers that were looked through"),
            f("unread", Bytes, "what could not be read"),
            f("elapsed", Duration, "what it took"),
        ] },
        Section { kind: "list", name: "leaks", fields: &[
            f("filter", Symbol, "the caller that was asked for"),
        ] },
        Section { kind: "list", name: "reachable", fields: &[
            f("buffers", Count, "buffers that something leads to"),
        ] },
        Section { kind: "list", name: "interior", fields: &[
            f("buffers", Count, "buffers that only pointers into their middle lead to"),
        ] },
        Section { kind: "table", name: "audited_buffers", fields: LEAKS },
        Section { kind: "table", name: "buffers", fields: LEAKS },
        Section { kind: "table", name: "oversized", fields: &[
            f("bytes_each", Range, "the smallest and the largest block"),
            f("segment", Address, "boundary tag of the oldest"),
            f("count", Count, "leaks of the group"),
            f("bytes", Bytes, "how many bytes in all"),
            f("held", Count, "other buffers that are lost through these"),
            f("held_bytes", Bytes, "what is lost through these besides"),
            f("caller", Symbol, "who called the allocation function"),
            f("owner", Text, "name of the cache or arena"),
            f("oldest_buffer", Address, "the buffer of the group that was allocated first"),
            f("stacks", Stacks, "who did it"),
            f("total.leaked", Count, "leaks of all rows"),
            f("total.count", Count, "with -i and -r, buffers of all rows"),
            f("total.bytes", Bytes, "of all rows"),
            f("total.held", Count, "other buffers lost through these"),
            f("total.held_bytes", Bytes, "of these"),
        ] },
        Section { kind: "list", name: "summary", fields: &[
            f("owner", Text, "name of the cache or arena"),
            f("leaked", Count, "leaks of the group"),
            f("bytes_each", Range, "the smallest and the largest"),
            f("bytes", Bytes, "how many bytes in all"),
            f("held", Count, "other buffers that are lost through these"),
            f("held_bytes", Bytes, "what is lost through these besides"),
        ] },
        Section { kind: "list", name: "sample", fields: &[
            f("buffer", Address, "the buffer"),
        ] },
        Section { kind: "table", name: "record", fields: RECORD },
        Section { kind: "list", name: "suppressed", fields: &[
            f("leaked", Count, "leaks that were left out"),
            f("bytes", Bytes, "how many bytes in all"),
            f("held", Count, "other buffers that are lost through these"),
            f("held_bytes", Bytes, "what is lost through these besides"),
            f("rules_used", Count, "rules that matched"),
            f("rules", Count, "rules in all"),
        ] },
        Section { kind: "table", name: "rules", fields: &[
            f("leaked", Count, "leaks that it matched"),
            f("bytes", Bytes, "how many bytes in all"),
            f("file", Text, "where the rule stands"),
            f("line", Number, "line there"),
            f("rule", Text, "as it is written"),
        ] },
        Section { kind: "list", name: "never_matched", fields: &[
            f("file", Text, "where the rule stands"),
            f("line", Number, "line there"),
            f("rule", Text, "as it is written"),
        ] },
        Section { kind: "list", name: "sampling", fields: &[
            f("sample_bytes", Bytes, "mean distance of samples"),
        ] },
        Section { kind: "table", name: "estimates_by_stack", fields: &[
            f("bytes", Bytes, "about"),
            f("bytes_error", Bytes, "one standard error"),
            f("count", Count, "buffers, about"),
            f("count_error", Count, "one standard error"),
            f("samples", Count, "that the row is made of"),
            f("sample", Address, "one of them"),
            f("caller", Symbol, "who called the allocation function"),
            f("stacks", Stacks, "who did it"),
        ] },
        Section { kind: "list", name: "estimated_total", fields: &[
            f("bytes", Bytes, "about"),
            f("bytes_error", Bytes, "one standard error"),
            f("count", Count, "buffers, about"),
            f("count_error", Count, "one standard error"),
        ] },
        Section { kind: "list", name: "foreign", fields: &[
            f("mappings", Count, "mappings that nothing leads to"),
            f("bytes", Bytes, "how many bytes in all"),
        ] },
        Section { kind: "table", name: "foreign", fields: &[
            f("start", Address, "first address"),
            f("end", Address, "one past the last address"),
            f("bytes", Bytes, "how many bytes in all"),
        ] },
        Section { kind: "table", name: "mappings", fields: &[
            f("start", Address, "first address"),
            f("end", Address, "one past the last address"),
            f("roots", Bytes, "what was searched as a root"),
            f("transit", Bytes, "what is searched when something leads there"),
            f("reason", Text, "why"),
            f("name", Text, "file or kind"),
        ] },
    ]),
    ("findstack", &[
        Section { kind: "list", name: "stacks", fields: &[
            f("thread", Number, "number of the thread, as the kernel counts"),
            f("name", Text, "name of the thread"),
            f("sp", Address, "stack pointer"),
            f("stacks", Stacks, "who did it"),
        ] },
    ]),
    ("formats", &[
        Section { kind: "table", name: "formats", fields: &[
            f("letter", Text, "what is typed"),
            f("bytes", Bytes, "what it takes"),
            f("summary", Text, "what it is for, in a line"),
        ] },
        Section { kind: "list", name: "values", fields: &[
            f("address", Address, "where it is"),
            f("values", Values, "the values in order"),
        ] },
    ]),
    ("freedby", &[
        Section { kind: "table", name: "records", fields: BY_THREAD },
    ]),
    ("gcore", &[
        Section { kind: "list", name: "core", fields: &[
            f("file", Text, "the file"),
            f("memory", Bytes, "what it holds"),
            f("on_disk", Bytes, "what the file takes"),
        ] },
    ]),
    ("getenv", &[
        Section { kind: "list", name: "environment", fields: &[
            f("name", Text, "what it is called"),
            f("value", Text, "what stands behind ="),
        ] },
    ]),
    ("help", &[
        Section { kind: "text", name: "help", fields: &[] },
    ]),
    ("list", &[
        Section { kind: "table", name: "addresses", fields: ADDRESSES },
    ]),
    ("log", &[
        Section { kind: "list", name: "log", fields: &[] },
    ]),
    ("mappings", &[
        Section { kind: "table", name: "mappings", fields: &[
            f("base", Address, "first address"),
            f("limit", Address, "one past the last address"),
            f("size", Hex, "bytes"),
            f("protection", Text, "letters of what is allowed"),
            f("name", Text, "file or kind"),
            f("offset", Bytes, "in the file"),
        ] },
    ]),
    ("nm", &[
        Section { kind: "table", name: "symbols", fields: &[
            f("value", Hex, "address, or whatever the table says"),
            f("size", Hex, "bytes"),
            f("type", Text, "its type"),
            f("bind", Text, "`LOCL`, `GLOB`, `WEAK`"),
            f("other", Text, "visibility"),
            f("section", Text, "where it stands"),
            f("name", Text, "what it is called"),
        ] },
    ]),
    ("objects", &[
        Section { kind: "table", name: "objects", fields: &[
            f("base", Address, "first address"),
            f("limit", Address, "one past the last address"),
            f("size", Hex, "bytes"),
            f("build_id", Text, "two digits a byte"),
            f("name", Text, "path"),
            f("object", Text, "what stands before the grave accent"),
        ] },
    ]),
    ("offsetof", &[
        Section { kind: "list", name: "offset", fields: &[
            f("type", Text, "the structure"),
            f("member", Text, "the member"),
            f("offset", Bytes, "from the start of the structure"),
            f("bytes", Bytes, "size of the member"),
        ] },
    ]),
    ("path", &[
        Section { kind: "table", name: "path", fields: HOLDERS },
    ]),
    ("print", &[
        Section { kind: "list", name: "values", fields: &[
            f("name", Text, "of the member"),
            f("address", Address, "where it is"),
            f("type", Text, "its type"),
            f("value", Number, "of a number, pointer or enum, its bits"),
        ] },
    ]),
    ("radix", &[
        Section { kind: "list", name: "radix", fields: &[
            f("radix", Number, "of numbers without prefix"),
        ] },
    ]),
    ("refs", &[
        Section { kind: "table", name: "references", fields: HOLDERS },
    ]),
    ("regs", &[
        Section { kind: "table", name: "registers", fields: REGISTERS },
    ]),
    ("retained", &[
        Section { kind: "table", name: "retained", fields: &[
            f("retained_bytes", Bytes, "what would be free without the buffer"),
            f("buffers", Count, "how many buffers"),
            f("buffer", Address, "the buffer"),
            f("bytes", Bytes, "of the buffer itself"),
            f("owner", Text, "name of the cache or arena"),
            f("caller", Symbol, "who called the allocation function"),
            f("stacks", Stacks, "who did it"),
        ] },
        Section { kind: "list", name: "total", fields: &[
            f("others", Count, "buffers that are not shown"),
            f("other_bytes", Bytes, "what these hold"),
            f("alive", Count, "buffers that are reachable"),
            f("alive_bytes", Bytes, "of these"),
        ] },
    ]),
    ("set", &[
        Section { kind: "table", name: "settings", fields: &[
            f("name", Text, "what it is called"),
            f("value", Text, "`on` or `off`"),
            f("summary", Text, "what it is for, in a line"),
        ] },
    ]),
    ("setenv", &[
        Section { kind: "list", name: "environment", fields: &[
            f("name", Text, "what it is called"),
            f("value", Text, "what it is set to; null where it is taken away"),
        ] },
    ]),
    ("sizeof", &[
        Section { kind: "list", name: "size", fields: &[
            f("type", Text, "its type"),
            f("bytes", Bytes, "of a value"),
        ] },
    ]),
    ("stack", &[
        Section { kind: "table", name: "stack", fields: &[
            f("frame", Address, "canonical frame address"),
            f("function", Symbol, "where it executes"),
        ] },
    ]),
    ("status", &[
        Section { kind: "list", name: "status", fields: &[
            f("bits", Number, "64"),
            f("pid", Number, "of the process"),
            f("program", Text, "of a core"),
            f("core", Text, "the file"),
            f("file", Text, "the program"),
            f("arguments", Text, "command line"),
            f("threads", Count, "how many threads"),
            f("signal", Text, "that ended it"),
            f("signal_number", Number, "its number"),
            f("status", Number, "of exit"),
        ] },
        Section { kind: "table", name: "registers", fields: REGISTERS },
    ]),
    ("threads", &[
        Section { kind: "table", name: "threads", fields: &[
            f("tid", Number, "number of the thread, as the kernel counts"),
            f("name", Text, "name of the thread"),
            f("pc", Address, "where it executes"),
            f("sp", Address, "stack pointer"),
            f("function", Symbol, "where that is"),
        ] },
    ]),
    ("ugrep", &[
        Section { kind: "list", name: "places", fields: &[
            f("address", Address, "where the value stands"),
            f("value", Hex, "its value"),
        ] },
    ]),
    ("umalog", &[
        Section { kind: "list", name: "transactions", fields: &[
            f("ago", Duration, "before the newest entry"),
            f("buffer", Address, "the buffer"),
            f("owner", Text, "name of the cache or arena"),
            f("operation", Text, "what was done: `allocated`, `freed` and others"),
            f("bytes", Bytes, "what was asked for"),
            f("thread", Number, "number of the thread, as the kernel counts"),
            f("sequence", Number, "place in the log"),
            f("timestamp", Time, "when it happened"),
            f("wall", Number, "the same in nanoseconds since 1970"),
            f("bufctl", Address, "the record of the buffer"),
            f("stacks", Stacks, "who did it"),
        ] },
    ]),
    ("umastat", &[
        Section { kind: "table", name: "threads", fields: &[
            f("thread", Number, "number of the thread, as the kernel counts"),
            f("buffers", Count, "in its magazines"),
            f("bytes", Bytes, "of these"),
            f("of_limit", Percent, "of what it may keep"),
            f("largest", Text, "the cache that it keeps most of"),
            f("address", Address, "its structure"),
        ] },
        Section { kind: "table", name: "caches", fields: &[
            f("name", Text, "what it is called"),
            f("buffer_size", Bytes, "of one buffer"),
            f("in_use", Count, "buffers that the program has"),
            f("in_magazines", Count, "free buffers in magazines of threads and of the depot"),
            f("rest", Count, "free elsewhere: on slabs, in quarantine, on the way"),
            f("buffers", Count, "all there are"),
            f("slab_bytes", Bytes, "memory of the slabs"),
            f("allocs", Count, "allocations that succeeded"),
            f("fails", Count, "allocations that failed"),
            f("in_threads", Count, "in magazines of threads"),
            f("free", Count, "on slabs"),
            f("quarantined", Count, "in quarantine"),
            f("abandoned", Count, "left by threads that ended"),
            f("in_transit", Count, "on the way between threads and depot"),
            f("unknown", Count, "that could not be told"),
            f("frees", Count, "buffers or ranges that were freed"),
            f("address", Address, "the cache"),
        ] },
        Section { kind: "table", name: "totals", fields: &[
            f("name", Text, "the arena"),
            f("in_use", Count, "buffers that the program has"),
            f("in_magazines", Count, "free buffers in magazines of threads and of the depot"),
            f("rest", Count, "free elsewhere: on slabs, in quarantine, on the way"),
            f("buffers", Count, "how many buffers"),
            f("slab_bytes", Bytes, "memory of the slabs"),
            f("allocs", Count, "allocations that succeeded"),
            f("fails", Count, "allocations that failed"),
        ] },
        Section { kind: "table", name: "arenas", fields: &[
            f("name", Text, "what it is called"),
            f("in_use", Bytes, "handed out"),
            f("total", Bytes, "all there is"),
            f("imported", Bytes, "taken from the source"),
            f("allocs", Count, "allocations that succeeded"),
            f("fails", Count, "allocations that failed"),
            f("frees", Count, "buffers or ranges that were freed"),
            f("depth", Number, "arenas between it and the one that all comes from"),
            f("address", Address, "the arena"),
        ] },
    ]),
    ("umausers", &[
        Section { kind: "list", name: "buffers", fields: &[
            f("size", Bytes, "of the buffer"),
            f("bufctl", Address, "the record of the buffer"),
            f("thread", Number, "number of the thread, as the kernel counts"),
            f("cache", Text, "name of the cache"),
            f("buffer", Address, "the buffer"),
            f("stacks", Stacks, "who did it"),
        ] },
        Section { kind: "list", name: "sampling", fields: &[
            f("sample_bytes", Bytes, "mean distance of samples"),
        ] },
        Section { kind: "table", name: "estimates_by_stack", fields: &[
            f("bytes", Bytes, "about"),
            f("bytes_error", Bytes, "one standard error"),
            f("count", Count, "buffers, about"),
            f("count_error", Count, "one standard error"),
            f("samples", Count, "that the row is made of"),
            f("sample", Address, "one of them"),
            f("caller", Symbol, "who called the allocation function"),
            f("stacks", Stacks, "who did it"),
        ] },
        Section { kind: "list", name: "estimated_total", fields: &[
            f("bytes", Bytes, "about"),
            f("bytes_error", Bytes, "one standard error"),
            f("count", Count, "buffers, about"),
            f("count_error", Count, "one standard error"),
        ] },
        Section { kind: "list", name: "users", fields: &[
            f("bytes", Bytes, "how many bytes in all"),
            f("allocations", Count, "buffers of this stack and size"),
            f("data_size", Bytes, "of one buffer"),
            f("requested", Bytes, "what was asked for in all"),
            f("stacks", Stacks, "who did it"),
        ] },
    ]),
    ("umem_cache", &[
        Section { kind: "table", name: "caches", fields: &[
            f("address", Address, "the cache"),
            f("name", Text, "what it is called"),
            f("flags", Number, "bits"),
            f("cflags", Number, "bits with which it was made"),
            f("buffer_size", Bytes, "of one buffer"),
            f("buffers", Count, "how many buffers"),
            f("in_use", Count, "buffers that the program has"),
            f("free", Count, "buffers that are free"),
            f("in_magazines", Count, "free buffers in magazines of threads and of the depot"),
            f("slab_bytes", Bytes, "memory of the slabs"),
            f("chunk_size", Bytes, "from one buffer to the next"),
            f("total.caches", Count, "rows"),
            f("total.buffers", Count, "all rows together"),
            f("total.in_use", Count, "all rows together"),
            f("total.free", Count, "all rows together"),
            f("total.slab_bytes", Bytes, "all rows together"),
        ] },
    ]),
    ("umem_debug", &[
        Section { kind: "list", name: "umem_debug", fields: &[
            f("debugging", Text, "`on` or `off`"),
        ] },
    ]),
    ("umem_log", &[
        Section { kind: "table", name: "transactions", fields: &[
            f("operation", Text, "what was done: `allocated`, `freed` and others"),
            f("address", Address, "the entry"),
            f("buffer", Address, "the buffer"),
            f("timestamp", Time, "when it happened"),
            f("thread", Number, "number of the thread, as the kernel counts"),
            f("sequence", Number, "place in the log"),
            f("bytes", Bytes, "what was asked for"),
            f("owner", Address, "the cache, or the arena of a block"),
            f("bufctl", Address, "the record of the buffer"),
        ] },
    ]),
    ("umem_malloc_dist", &[
        Section { kind: "table", name: "distribution", fields: DISTRIBUTION },
        Section { kind: "text", name: "distribution", fields: &[] },
    ]),
    ("umem_malloc_info", &[
        Section { kind: "table", name: "caches", fields: &[
            f("cache", Address, "the cache"),
            f("buffer_size", Bytes, "of one buffer"),
            f("largest", Bytes, "that malloc serves from it"),
            f("buffers", Count, "of malloc in use"),
            f("average", Bytes, "what was asked for in the mean"),
            f("bytes", Bytes, "what was asked for"),
            f("overhead", Bytes, "what more that takes"),
            f("overhead_share", Percent, "of what was asked for"),
            f("name", Text, "what it is called"),
            f("unknown", Count, "buffers whose size is not known"),
        ] },
        Section { kind: "table", name: "distribution", fields: DISTRIBUTION },
    ]),
    ("umem_status", &[
        Section { kind: "fields", name: "status", fields: &[
            f("status.state", Text, "of the library"),
            f("status.error", Text, "the last error"),
            f("status.address", Address, "that it was about"),
            f("status.buffer", Address, "in which that lies"),
            f("status.thread", Number, "that it happened in"),
            f("concurrency.concurrency", Count, "threads that have magazines"),
            f("logs", Text, "`(inactive)`"),
            f("logs.transaction", Bytes, "of the log"),
            f("logs.content", Bytes, "of the log"),
            f("logs.fail", Bytes, "of the log"),
            f("logs.slab", Bytes, "of the log"),
            f("version.layout", Text, "major and minor"),
            f("version.root", Address, "the root record"),
            f("version.module", Text, "the library"),
            f("options.debug", Text, "as in `UMEM_DEBUG`"),
            f("options.depth", Number, "frames of a stack"),
            f("options.noabort", Text, "errors do not end the process"),
            f("options.quarantine", Number, "bytes"),
            f("options.sample", Number, "bytes between samples"),
            f("options.firewall", Number, "smallest buffer behind which a page is left"),
            f("options.firewall_dropped", Text, "there were too many mappings"),
            f("options.clock", Text, "of time stamps"),
            f("memory.committed", Bytes, "that may be used"),
            f("memory.reserved", Bytes, "of address space"),
            f("memory.metadata", Bytes, "of its structures"),
            f("memory.logs", Bytes, "of logs"),
            f("memory.stacks", Bytes, "of the table of stacks"),
            f("threads.live", Count, "that it knows"),
            f("threads.exited", Count, "that have ended"),
            f("stacks.stacks", Count, "in the table"),
            f("stacks.used", Bytes, "of the table"),
            f("stacks.capacity", Bytes, "of the table"),
            f("stacks.dropped", Count, "that found no room"),
        ] },
        Section { kind: "text", name: "messages", fields: &[] },
    ]),
    ("umem_verify", &[
        Section { kind: "table", name: "caches", fields: &[
            f("cache", Text, "name of the cache"),
            f("address", Address, "the cache"),
            f("integrity", Text, "`clean`, or what is wrong"),
            f("corrupt", Count, "buffers"),
            f("checked", Count, "buffers"),
        ] },
        Section { kind: "list", name: "corrupt_buffers", fields: &[
            f("cache", Text, "name of the cache"),
            f("buffer", Address, "the buffer"),
            f("state", Text, "`allocated` or `freed`"),
            f("requested", Bytes, "what was asked for"),
            f("bufctl", Address, "the record of the buffer"),
            f("offset", Bytes, "of the first damaged byte"),
            f("damaged_bytes", Bytes, "how many"),
            f("expected", Number, "what should stand there"),
            f("found", Number, "what stands there"),
            f("at", Address, "the first damaged byte"),
            f("fault", Text, "what is damaged"),
            f("stacks", Stacks, "who did it"),
        ] },
    ]),
    ("vars", &[
        Section { kind: "table", name: "variables", fields: &[
            f("name", Text, "what it is called"),
            f("value", Hex, "its value"),
        ] },
    ]),
    ("vmem", &[
        Section { kind: "table", name: "arenas", fields: &[
            f("address", Address, "the arena"),
            f("name", Text, "what it is called"),
            f("in_use", Bytes, "handed out"),
            f("total", Bytes, "all there is"),
            f("allocs", Count, "allocations that succeeded"),
            f("fails", Count, "allocations that failed"),
            f("imported", Bytes, "taken from the source"),
            f("frees", Count, "buffers or ranges that were freed"),
            f("quantum", Bytes, "ranges are multiples of it"),
            f("source", Address, "the arena that it takes from"),
            f("depth", Number, "arenas between it and the one that all comes from"),
        ] },
    ]),
    ("vmem_seg", &[
        Section { kind: "table", name: "segments", fields: &[
            f("address", Address, "the boundary tag"),
            f("type", Text, "`ALLC`, `FREE`, `SPAN` and others"),
            f("start", Address, "first address"),
            f("end", Address, "one past the last address"),
            f("size", Bytes, "how many bytes"),
            f("thread", Number, "number of the thread, as the kernel counts"),
            f("timestamp", Time, "when it happened"),
            f("who", Symbol, "who allocated it"),
            f("stacks", Stacks, "who did it"),
        ] },
    ]),
    ("walk", &[
        Section { kind: "table", name: "addresses", fields: ADDRESSES },
    ]),
    ("walkers", &[
        Section { kind: "table", name: "walkers", fields: &[
            f("name", Text, "what it is called"),
            f("start", Text, "what may stand before it"),
            f("summary", Text, "what it is for, in a line"),
            f("yields", Text, "what the addresses are"),
        ] },
    ]),
    ("whatis", &[
        Section { kind: "list", name: "progress", fields: &[
            f("source", Text, "who is asked"),
        ] },
        Section { kind: "list", name: "answer", fields: &[
            f("address", Address, "where it is"),
            f("buffer", Address, "start of the buffer"),
            f("offset", Bytes, "of the address in it"),
            f("bufctl", Address, "the record of the buffer"),
            f("state", Text, "`allocated` or `freed`"),
            f("cache", Text, "name of the cache"),
            f("requested", Bytes, "what was asked for"),
            f("arena", Text, "name of the arena"),
            f("segment", Address, "the boundary tag"),
            f("mapping", Text, "file or kind of the mapping"),
            f("symbol", Symbol, "what the value leads to, if that has a name"),
            f("object", Text, "the module"),
            f("thread", Number, "number of the thread, as the kernel counts"),
            f("name", Text, "name of the thread or structure"),
            f("sequence", Number, "place in the log"),
            f("operation", Text, "what was done: `allocated`, `freed` and others"),
        ] },
        Section { kind: "table", name: "record", fields: RECORD },
    ]),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::dcmds::DCMDS;

    #[test]
    fn each_part_is_described_once() {
        let names: Vec<&str> = ANSWERS.iter().map(|(name, _)| *name).collect();
        assert!(names.is_sorted());
        for (name, sections) in ANSWERS {
            assert!(DCMDS.iter().any(|dcmd| dcmd.name == *name), "{name}");
            let mut seen = HashSet::new();
            for section in *sections {
                assert!(seen.insert((section.kind, section.name)), "{name}");
                let mut fields = HashSet::new();
                for field in section.fields {
                    assert!(fields.insert(field.name), "{name}: {}", field.name);
                    assert!(!field.meaning.is_empty() && !field.meaning.ends_with('.'));
                }
            }
        }
        assert!(answers("quit").is_empty() && !answers("findleaks").is_empty());
    }
}
