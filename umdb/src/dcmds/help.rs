//! `::help`: what the commands are, and what one does.

use super::{
    Completes, Context, DCMDS, Dcmd, Error, Group, Invocation, Run, find, find_shorthand,
    parts::{operands::optional, page::page_text},
    similar,
};
use crate::{
    report::{Report, Text},
    walkers::WALKERS,
};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "help",
    group: Group::Session,
    operands: "[command]",
    completes: Completes::Dcmds,
    summary: "list the commands, or say what one does",
    help: HELP,
    see: &["dcmds", "walkers", "formats"],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Without a name it lists the commands; with one it says how that command is typed,
what its options and columns mean, and what to look at next.

    > ::help findleaks";

const SYNTAX: &str = "\
[address [,count]] ::name [options] [| command ...] [! shell command]

Addresses are hexadecimal (0t10 is ten); names of functions, data and caches can be
used as name or object`name, and computed with. . is the last address, <name a
variable or register, *address what is there. | hands addresses from one command to
the next. address/K shows memory, value=K a value; ::formats has the letters.
Commands are separated by ; and // begins a comment. $q quits.
";

fn run(_: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let body = match optional(&DCMD, invocation)? {
        None => overview(),
        Some(name) => {
            let bare = name.trim_start_matches("::");
            let by_sign = find_shorthand(name).map(|(dcmd, _)| dcmd);
            page_text(find(bare).or(by_sign).ok_or_else(|| unknown(bare))?)
        }
    };
    Ok(Report::of(Text { key: "help", body }))
}

fn unknown(name: &str) -> Error {
    let what = format!("help: unknown command: {name}");
    let is_walker = WALKERS.iter().any(|walker| walker.name == name);
    if is_walker {
        return DCMD.senseless(&what, &format!("it is a walker: ::walkers -n {name}"));
    }
    let hint = similar(name).map_or("::dcmds lists the commands".to_owned(), |near| {
        format!("did you mean {near}?")
    });
    DCMD.senseless(&what, &hint)
}

fn overview() -> String {
    let mut groups: Vec<Group> = DCMDS.iter().map(|dcmd| dcmd.group).collect();
    groups.sort_unstable();
    groups.dedup();
    let mut text = SYNTAX.to_owned();
    for group in groups {
        text += &format!("\n{}\n", group.title());
        for dcmd in DCMDS.iter().filter(|dcmd| dcmd.group == group) {
            text += &format!("  {:<32} {}\n", dcmd.brief_usage(), dcmd.summary);
        }
    }
    text + "\n::help name says more: what options and columns mean, with an example.\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dcmds::parts::testing::{run, text},
        heap::synthetic::Builder,
    };

    #[test]
    fn the_overview_names_every_command_once() {
        let (text, _) = text(&mut Builder::new(), &DCMD, None, &[]);
        for dcmd in DCMDS {
            let usage = format!("  {} ", dcmd.brief_usage());
            assert_eq!(text.matches(&usage).count(), 1, "{}", dcmd.name);
        }
    }

    #[test]
    fn a_page_has_all_that_the_descriptor_says() {
        let page = |name: &str| text(&mut Builder::new(), &DCMD, None, &[name]).0;
        let stack = page("::stack");
        assert!(stack.starts_with("NAME\n  stack - "), "{stack}");
        for part in [
            "\nSYNOPSIS\n  [address]::stack [-p] [arguments]\n",
            "\nDESCRIPTION\n",
            "\n      > ::stack\n",
            "\nOPTIONS\n  -p         the frame's address",
            "\nCOLUMNS\n  FRAME      ",
            "\nPIPES\n  Behind a pipe it is run for each address",
            "\nOLDER NAMES\n  $c         ::stack\n  $C         ::stack -p\n",
            "\nSEE ALSO\n  ::findstack, ::threads, ::regs\n",
        ] {
            assert!(stack.contains(part), "{part}\n{stack}");
        }
        assert_eq!(page("$C"), stack);
        assert!(page("wc").starts_with("NAME\n  count"));
    }

    #[test]
    fn what_has_no_page_is_said() {
        let error = run(&mut Builder::new(), &DCMD, None, &["findleak"]).unwrap_err();
        assert_eq!(
            error,
            DCMD.senseless("help: unknown command: findleak", "did you mean findleaks?")
        );
        let error = run(&mut Builder::new(), &DCMD, None, &["leakbuf"]).unwrap_err();
        assert_eq!(
            error,
            DCMD.senseless(
                "help: unknown command: leakbuf",
                "it is a walker: ::walkers -n leakbuf"
            )
        );
    }
}
