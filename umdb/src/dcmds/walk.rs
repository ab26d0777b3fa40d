//! `::walk`: the addresses of a walker.

use super::{Address, Completes, Context, Dcmd, Error, Group, Invocation, Run};
use crate::{
    report::Report,
    walkers::{self, WalkError},
};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "walk",
    group: Group::Pipes,
    address: Address::Optional,
    pipes: Some("what the walker yields"),
    operands: "walker [variable]",
    completes: Completes::Walkers,
    summary: "walk a list of things and give their addresses",
    help: HELP,
    see: &["walkers", "grep", "map", "eval", "head"],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Gives the addresses of a walker one by one: to the next command of a pipe, else
to the screen. Some walkers begin at the address before the command, as those of
buffers at a cache; the name of a cache is a walker of its buffers. With the name
of a variable each address is its value for the commands that follow in the pipe.

    > ::walk umem_cache

    > ::walk umem_cache c | ::walk umem | ::head -3

What of a list is damaged is left out and named.";

/// Damages of one walk that are named; the others are counted.
const DAMAGE_MAX: usize = 16;

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let (name, variable) = match invocation.operands.as_slice() {
        [name] => (name, None),
        [name, variable] => (name, Some(variable)),
        [] => return Err(DCMD.misused("expected the name of a walker")),
        [_, _, other, ..] => {
            return Err(DCMD.misused(format!("unexpected argument \"{other}\"")));
        }
    };
    let mut report = Report::default();
    let mut damages = 0;
    let steps =
        walkers::begin(cx.subject(), name, invocation.address).map_err(|error| match error {
            WalkError::Unknown => {
                let what = format!("failed to perform walk: {error}");
                DCMD.senseless(&what, "::walkers lists the walkers")
            }
            other => other.into(),
        })?;
    for step in steps {
        match step {
            Ok(address) => {
                if let Some(variable) = variable {
                    let set = cx.state().set_variable(variable, address);
                    set.map_err(|what| DCMD.misused(what))?;
                }
                cx.emit(address)?;
            }
            Err(damage) => {
                cx.cancel.check()?;
                damages += 1;
                if damages <= DAMAGE_MAX {
                    report.incomplete(damage.to_string());
                }
            }
        }
    }
    if damages > DAMAGE_MAX {
        let more = damages - DAMAGE_MAX;
        report.incomplete(format!("walk: {more} other damages in the walk {name}"));
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dcmds::parts::testing::{emitted, run},
        heap::synthetic::victim,
    };

    #[test]
    fn addresses_are_emitted_and_variables_set() {
        let (mut builder, _) = victim();
        let caches: Vec<u64> = builder.caches.iter().map(|cache| cache.0).collect();
        assert_eq!(
            emitted(&mut builder, &DCMD, None, &["umem_cache"]),
            Ok(caches.clone())
        );
        let buffers = emitted(&mut builder, &DCMD, Some(caches[0]), &["umem", "b"]).unwrap();
        assert!(!buffers.is_empty());
    }

    #[test]
    fn what_is_no_walk_is_said() {
        let (mut builder, _) = victim();
        let mut fails = |address, words: &[&str]| {
            run(&mut builder, &DCMD, address, words)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            fails(None, &["nothing"]),
            "failed to perform walk: unknown walk name"
        );
        assert_eq!(
            fails(Some(8), &["umem"]),
            "failed to perform walk: 8 is not a valid umem_cache_t"
        );
        assert_eq!(fails(None, &[]), "walk: expected the name of a walker");
        assert!(fails(None, &["thread", "1x"]).contains("no name of a variable"));
    }
}
