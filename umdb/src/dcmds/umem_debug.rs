//! `::umem_debug`: more about what commands do.

use super::{Address, Context, Dcmd, Error, Group, Invocation, Run};
use crate::report::{Cell, List, Report, Sentence};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "umem_debug",
    group: Group::Leaks,
    address: Address::Forbidden,
    summary: "toggle umem dcmd/walk debugging",
    help: HELP,
    columns: &[
        ("START", "first address of the mapping"),
        ("END", "one past the last"),
        ("ROOTS", "bytes in which everything counts as alive"),
        (
            "TRANSIT",
            "bytes that count once something alive points there",
        ),
        ("REASON", "why the mapping is looked at, or is not"),
    ],
    see: &["findleaks", "mappings"],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Switches tracing on or off. While it is on, ::findleaks begins with a list of all
mappings: in how many bytes of each everything counts as alive (ROOTS), how many
count once something alive points there (TRANSIT), and why the mapping is looked
at, or is not.

    > ::umem_debug; ::findleaks";

fn run(cx: &Context<'_>, _: &Invocation) -> Result<Report, Error> {
    let is_on = !cx.state().traces.get();
    cx.state().traces.set(is_on);
    let text = if is_on { "on" } else { "off" };
    let sentence = Sentence::new()
        .words("umem: debugging is now ")
        .value("debugging", Cell::text(text));
    Ok(Report::of(List::one("umem_debug", sentence)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        analysis::Cancel,
        dcmds::{find, parts::testing::text},
        heap::synthetic::{STACK, victim},
        render::write_text,
        symbols::Symbols,
    };

    #[test]
    fn findleaks_tells_of_all_mappings_while_it_is_on() {
        let (mut builder, _) = victim();
        let (shown, _) = text(&mut builder, &DCMD, None, &[]);
        assert_eq!(shown, "umem: debugging is now on\n");
        let (target, heap, cancel) = (builder.target(), builder.heap(), Cancel::new());
        let symbols = Symbols::new(&target);
        let cx = Context::new(&target, &symbols, &heap, &cancel);
        let none = Invocation::default();
        let findleaks = || match find("findleaks").unwrap().run {
            Run::Report(run) => write_text(&run(&cx, &none).unwrap()),
            _ => String::new(),
        };
        assert!(!findleaks().contains("ROOTS"));
        run(&cx, &none).unwrap();
        let traced = findleaks();
        let line = |start: u64| {
            let start = format!("{start:016x}");
            traced
                .lines()
                .find(|line| line.starts_with(&start))
                .unwrap()
                .to_owned()
        };
        assert!(
            line(0x40_0000).contains("roots: the data of victim"),
            "{traced}"
        );
        assert!(
            line(STACK).contains("roots: the stack of thread 7"),
            "{traced}"
        );
        assert!(line(0x1000_0000).contains("heap: "), "{traced}");
        let shown = write_text(&run(&cx, &none).unwrap());
        assert_eq!(shown, "umem: debugging is now off\n");
        assert!(!findleaks().contains("ROOTS"));
    }
}
