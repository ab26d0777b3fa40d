//! `::umausers`: who holds most memory.

use std::collections::HashMap;

use umem_layout::AuditRecord;

use super::{
    Address, Completes, Context, Dcmd, Error, Group, Invocation, Opt, Run, parts::estimates::about,
};
use crate::{
    analysis::estimate::Sum,
    heap::{Buffer, Heap, Object},
    report::{Cell, Item, List, Report, Sentence, StackView},
};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "umausers",
    group: Group::Overview,
    address: Address::Forbidden,
    options: &[
        Opt::flag(
            'e',
            "also small users: below 8192 bytes and 100 allocations",
        ),
        Opt::flag('f', "first each buffer, with its stack"),
    ],
    operands: "[cache ...]",
    completes: Completes::Caches,
    see: &["umastat", "findleaks", "umem_malloc_dist"],
    summary: "display current medium and large users of the umem allocator",
    help: HELP,
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Groups the buffers that the program holds by their size and by the whole stack of
their allocation, and lists the groups by bytes, largest first. Groups with less
than 8192 bytes and less than 100 allocations are left out, unless -e is given.

Bytes are what the buffers take: their number times the data size, which is the
buffer size of the cache, or the size of a block. What the program asked for
follows in brackets where it is less. With names of caches or arenas only these
are looked at.

    > ::umausers -e umem_alloc_64 umem_oversize

Where the program takes samples (UMEM_DEBUG=sample), what the samples stand for
is shown instead, with its standard error.

Needs UMEM_DEBUG=default (or audit, or sample) when the program is started. libumem's command
leaves out blocks larger than the largest cache; this one counts them.";

/// Groups with as many bytes or as many allocations are no small users.
const BYTES: u64 = 8192;
const ALLOCATIONS: u64 = 100;

/// What the options and names ask for.
struct Wanted {
    small: bool,
    each: bool,
    /// Addresses of caches and arenas; all when empty.
    owners: Vec<u64>,
}

/// Buffers of one size with one stack.
#[derive(Default)]
struct User {
    count: u64,
    requested: u64,
    /// What they stand for, where they are samples.
    estimate: Option<(Sum, Sum)>,
}

impl User {
    /// Adds what a sample stands for.
    fn add_sample(&mut self, bytes: u64, chance: f64) {
        let (in_all, number) = self.estimate.get_or_insert_default();
        in_all.add(bytes as f64, chance);
        number.add(1.0, chance);
    }

    /// Bytes and allocations, as far as they are known.
    fn totals(&self, size: u64) -> (u64, u64) {
        match &self.estimate {
            Some((bytes, count)) => (bytes.rounded(), count.rounded()),
            None => (size.saturating_mul(self.count), self.count),
        }
    }
}

/// The users by size and stack, and a line for each buffer when that was asked for.
#[derive(Default)]
struct Users {
    groups: HashMap<(u64, u32), User>,
    each: Vec<(Object, AuditRecord)>,
}

impl Users {
    fn add(
        &mut self,
        heap: &Heap,
        size: u64,
        object: Object,
        record: &AuditRecord,
        requested: u64,
        each: bool,
    ) {
        let group = self.groups.entry((size, record.alloc_stack)).or_default();
        if let Some(chance) = heap.sample_chance(object) {
            group.add_sample(size, chance);
        }
        group.count += 1;
        group.requested = group.requested.saturating_add(requested);
        if each {
            self.each.push((object, *record));
        }
    }
}

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let wanted = Wanted {
        small: invocation.has('e'),
        each: invocation.has('f'),
        owners: owners(cx, &invocation.operands)?,
    };
    if !cx.heap.is_audited() {
        return Err(not_audited("any caches"));
    }
    let mut report = Report::default();
    let users = collect(cx, &wanted, &mut report)?;
    if wanted.each {
        let list = each(cx, &users, &mut report);
        report.push(list);
    }
    let list = groups(cx, &users, wanted.small, &mut report);
    report.push(list);
    Ok(report)
}

fn not_audited(what: &str) -> Error {
    Error::with_hint(
        format!("umausers: UMF_AUDIT is not enabled for {what}"),
        "start the program with UMEM_DEBUG=default",
    )
}

/// Addresses of the caches and arenas with these names.
fn owners(cx: &Context<'_>, names: &[String]) -> Result<Vec<u64>, Error> {
    let find = |name: &String| {
        if let Some(cache) = cx.heap.cache_named(name) {
            return if cache.is_audited() {
                Ok(cache.address)
            } else {
                Err(not_audited(name))
            };
        }
        let arena = cx.heap.arenas.iter().find(|arena| arena.name == *name);
        arena.map(|arena| arena.address).ok_or_else(|| {
            Error::with_hint(
                format!("umausers: unknown umem cache: {name}"),
                "::umem_cache lists the caches, ::vmem the arenas",
            )
        })
    };
    names.iter().map(find).collect()
}

/// The records of a slab are read at once, and what the program holds of it is grouped.
fn collect(cx: &Context<'_>, wanted: &Wanted, report: &mut Report) -> Result<Users, Error> {
    let heap = cx.heap;
    let is_wanted = |owner: u64| wanted.owners.is_empty() || wanted.owners.contains(&owner);
    let mut users = Users::default();
    for cache in heap.caches.iter().filter(|cache| cache.is_user()) {
        if !cache.is_audited() || !is_wanted(cache.address) {
            continue;
        }
        let size = cache.record.buffer_size;
        for &slab in &cache.slabs {
            cx.cancel.check()?;
            let records = match heap.records_of(slab) {
                Ok(records) => records,
                Err(damage) => {
                    report.incomplete(damage.to_string());
                    continue;
                }
            };
            for (buffer, record) in (0..).map(|index| Buffer { slab, index }).zip(&records) {
                if heap.is_held(buffer) {
                    let requested = u64::from(record.requested).min(size);
                    let object = Object::Buffer(buffer);
                    users.add(heap, size, object, record, requested, wanted.each);
                }
            }
        }
    }
    for (index, block) in heap.blocks.iter().enumerate() {
        let object = Object::Block(index as u32);
        let owner = heap.owner_address(object);
        let is_held = super::parts::record::is_held(block.state);
        if block.is_audited() && is_held && is_wanted(owner) {
            let size = block.requested;
            users.add(heap, size, object, &block.record, size, wanted.each);
        }
    }
    Ok(users)
}

fn each(cx: &Context<'_>, users: &Users, report: &mut Report) -> List {
    let mut list = List {
        key: "buffers",
        stacks: StackView::Tabbed,
        ..List::default()
    };
    for (object, record) in &users.each {
        let heap = cx.heap;
        let size = match object {
            Object::Buffer(buffer) => heap.cache(*buffer).record.buffer_size,
            Object::Block(index) => heap.block(*index).requested,
        };
        let at = heap.record_address(*object).unwrap_or_default();
        list.items.push(Item {
            sentence: Sentence::new()
                .words("size ")
                .value("size", Cell::Bytes(size))
                .words(", addr ")
                .value("bufctl", Cell::Address(at))
                .words(", thread ")
                .value("thread", Cell::Number(record.alloc_thread.into()))
                .words(", cache ")
                .value("cache", Cell::text(heap.owner_name(*object)))
                .hidden("buffer", Cell::Address(heap.address(*object))),
            stacks: vec![cx.stack("allocated", record.alloc_stack, report)],
        });
    }
    list
}

/// The groups, largest first.
fn groups(cx: &Context<'_>, users: &Users, small: bool, report: &mut Report) -> List {
    let mut groups: Vec<(u64, u64, u32, &User)> = users
        .groups
        .iter()
        .map(|(&(size, stack), user)| (user.totals(size).0, size, stack, user))
        .filter(|&(bytes, size, _, user)| {
            small || bytes >= BYTES || user.totals(size).1 >= ALLOCATIONS
        })
        .collect();
    groups.sort_unstable_by_key(|&(bytes, size, stack, _)| (std::cmp::Reverse(bytes), size, stack));
    let mut list = List {
        key: "users",
        stacks: StackView::Tabbed,
        ..List::default()
    };
    for (bytes, size, stack, user) in groups {
        let stacks = vec![cx.stack("allocated", stack, report)];
        if let Some((bytes, count)) = &user.estimate {
            let sentence = about(Sentence::new(), bytes, count, "allocation")
                .words(" with data size ")
                .value("data_size", Cell::Bytes(size))
                .words(", from ")
                .counted("samples", user.count, "sample");
            list.items.push(Item {
                sentence: sentence.words(":"),
                stacks,
            });
            continue;
        }
        let mut sentence = Sentence::new()
            .bytes("bytes", bytes)
            .words(" for ")
            .counted("allocations", user.count, "allocation")
            .words(" with data size ")
            .value("data_size", Cell::Bytes(size));
        sentence = if user.requested < bytes {
            sentence
                .words(" (")
                .value("requested", Cell::Bytes(user.requested))
                .words(" requested)")
        } else {
            sentence.hidden("requested", Cell::Bytes(user.requested))
        };
        list.items.push(Item {
            sentence: sentence.words(":"),
            stacks,
        });
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dcmds::parts::testing::{run, text},
        heap::synthetic::{Builder, DEBUG},
    };

    /// 130 buffers of 60 bytes and 3 of 100 from one place, 2 of 60 from another, and a block.
    fn heap() -> Builder {
        let mut builder = Builder::new();
        let [many, few, block] = [0x40_0100, 0x40_0200, 0x40_0300].map(|pc| builder.stack(&[pc]));
        let small = builder.cache("umem_alloc_64", 64, DEBUG);
        let slab = builder.slab(small);
        for _ in 0..130 {
            builder.alloc(slab, 60, many);
        }
        let freed = builder.alloc(slab, 60, few);
        builder.free(freed, few);
        for _ in 0..2 {
            builder.alloc(slab, 60, few);
        }
        let large = builder.cache("umem_alloc_128", 128, DEBUG);
        let slab = builder.slab(large);
        for _ in 0..3 {
            builder.alloc(slab, 100, many);
        }
        builder.block(20_000, block);
        builder
    }

    const BLOCK: &str = "20000 bytes for 1 allocation with data size 20000:\n\t victim+0x300\n";
    const MANY: &str =
        "8320 bytes for 130 allocations with data size 64 (7800 requested):\n\t victim+0x100\n";
    const LARGE: &str =
        "384 bytes for 3 allocations with data size 128 (300 requested):\n\t victim+0x100\n";
    const FEW: &str =
        "128 bytes for 2 allocations with data size 64 (120 requested):\n\t victim+0x200\n";

    #[test]
    fn users_are_grouped_by_size_and_stack() {
        let mut builder = heap();
        let mut shown = |words: &[&str]| text(&mut builder, &DCMD, None, words).0;
        assert_eq!(shown(&[]), format!("{BLOCK}{MANY}"));
        assert_eq!(shown(&["-e"]), format!("{BLOCK}{MANY}{LARGE}{FEW}"));
        assert_eq!(shown(&["-e", "umem_alloc_64"]), format!("{MANY}{FEW}"));
        assert_eq!(shown(&["umem_oversize"]), BLOCK);
    }

    #[test]
    fn each_buffer_is_shown_on_demand() {
        let mut builder = heap();
        let (shown, _) = text(&mut builder, &DCMD, None, &["-ef", "umem_alloc_128"]);
        let heap = builder.heap();
        let at = heap.slabs[1].records;
        let lines: String = (0..3)
            .map(|i| {
                format!(
                    "size 128, addr {:x}, thread 7, cache umem_alloc_128\n\t victim+0x100\n",
                    at + i * 0x30
                )
            })
            .collect();
        assert_eq!(shown, format!("{lines}\n{LARGE}"));
    }

    #[test]
    fn wrong_names_are_named() {
        let mut builder = heap();
        let error = |builder: &mut Builder, words: &[&str]| {
            run(builder, &DCMD, None, words).unwrap_err().to_string()
        };
        assert_eq!(
            error(&mut builder, &["umem_alloc_9"]),
            "umausers: unknown umem cache: umem_alloc_9"
        );
        builder.cache("umem_alloc_16", 16, 0);
        assert_eq!(
            error(&mut builder, &["umem_alloc_16"]),
            "umausers: UMF_AUDIT is not enabled for umem_alloc_16"
        );
        let mut plain = Builder::new();
        plain.cache("umem_alloc_16", 16, 0);
        assert_eq!(
            error(&mut plain, &[]),
            "umausers: UMF_AUDIT is not enabled for any caches"
        );
    }
}
