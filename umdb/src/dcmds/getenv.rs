//! `::getenv`: the environment of the target.

use super::{Context, Dcmd, Error, Group, Invocation, Run, parts::operands::optional};
use crate::report::{Cell, Item, List, Report, Sentence};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "getenv",
    group: Group::Process,
    operands: "[name]",
    summary: "show the environment of the target",
    help: HELP,
    see: &["umem_status", "status", "setenv"],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Shows the variables of the environment as the target has them now, or one of them. In
a static program without symbols it shows them as they were at the start. ::setenv does
not change them.

    > ::getenv UMEM_DEBUG";

/// Variables that are looked at.
const VARIABLES_MAX: u64 = 1 << 16;
/// Bytes of one variable.
const LENGTH_MAX: usize = 1 << 17;

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let wanted = optional(&DCMD, invocation)?;
    let mut report = Report::default();
    let mut list = List {
        key: "environment",
        ..List::default()
    };
    for text in environment(cx, &mut report)? {
        let (name, value) = text.split_once('=').unwrap_or((&text, ""));
        if wanted.is_none_or(|wanted| wanted == name) {
            let sentence = Sentence::new()
                .value("name", Cell::text(name))
                .words("=")
                .value("value", Cell::text(value));
            list.items.push(Item::from(sentence));
        }
    }
    if let (Some(wanted), true) = (wanted, list.items.is_empty()) {
        return Err(Error::failed(format!(
            "getenv: {wanted} is not set in the target"
        )));
    }
    report.push(list);
    Ok(report)
}

/// The strings that libc's `environ` points to; in a program without that name those that the kernel left on the stack.
fn environment(cx: &Context<'_>, report: &mut Report) -> Result<Vec<String>, Error> {
    let variable = ["libc.so.6`environ", "environ", "__environ"]
        .iter()
        .find_map(|name| cx.symbols.resolve(name));
    let start = match variable.map(|symbol| symbol.address) {
        Some(variable) => cx.target.memory.read_u64(variable).ok_or_else(|| {
            Error::Missing(format!("getenv: cannot read environ at {variable:#x}"))
        })?,
        None => {
            let start = at_start(cx)?;
            report.warn(
                "getenv: the target has no symbol environ: this is its environment at the start",
            );
            start
        }
    };
    strings(cx, start, report)
}

/// Words between the environment and the start of the stack that are looked through for the auxiliary vector.
const WORDS_MAX: u64 = 1 << 19;

/// The environment as the kernel laid it out: arguments, zero, environment, zero, auxiliary vector, and above
/// them what the vector points to.
fn at_start(cx: &Context<'_>) -> Result<u64, Error> {
    let none = || {
        Error::with_hint(
            "getenv: the target has no symbol environ, and the start of its stack cannot be read",
            "the program is linked statically and stripped",
        )
    };
    let auxv = &cx.target.auxv;
    let named = auxv
        .iter()
        .filter(|(key, _)| matches!(*key, AT_RANDOM | AT_EXECFN));
    let above = named.map(|&(_, at)| at & !7).min().ok_or_else(none)?;
    let (first, second) = (auxv.first(), auxv.get(1));
    let (Some(&(key, value)), Some(&next)) = (first, second) else {
        return Err(none());
    };
    let word = |at: u64| cx.target.memory.read_u64(at);
    let vector = (0..WORDS_MAX)
        .map(|index| above.wrapping_sub(index * 8))
        .take_while(|&at| word(at).is_some())
        .find(|&at| {
            word(at) == Some(key)
                && word(at.wrapping_add(8)) == Some(value)
                && word(at.wrapping_add(16)) == Some(next.0)
        })
        .ok_or_else(none)?;
    // Back over the zero that ends the environment, up to the one that ends the arguments.
    let last = vector.wrapping_sub(8);
    let before = (1..WORDS_MAX)
        .map(|index| last.wrapping_sub(index * 8))
        .find(|&at| word(at).is_none_or(|word| word == 0))
        .ok_or_else(none)?;
    Ok(before.wrapping_add(8))
}

const AT_RANDOM: u64 = 25;
const AT_EXECFN: u64 = 31;

/// The strings of an array of pointers that ends with a zero.
fn strings(cx: &Context<'_>, start: u64, report: &mut Report) -> Result<Vec<String>, Error> {
    let mut strings = Vec::new();
    for index in 0..VARIABLES_MAX {
        cx.cancel.check()?;
        let slot = start.wrapping_add(index * 8);
        match cx.target.memory.read_u64(slot) {
            Some(0) => return Ok(strings),
            Some(address) => match string(cx, address) {
                Some(text) => strings.push(text),
                None => report.incomplete(format!("getenv: cannot read a string at {address:#x}")),
            },
            None if start == 0 => return Ok(strings),
            None => {
                report.incomplete(format!("getenv: cannot read a pointer at {slot:#x}"));
                return Ok(strings);
            }
        }
    }
    report.incomplete("getenv: the environment does not end".to_owned());
    Ok(strings)
}

/// Short strings are many, long ones rare.
fn string(cx: &Context<'_>, address: u64) -> Option<String> {
    let memory = &cx.target.memory;
    memory
        .read_string(address, 256)
        .or_else(|| memory.read_string(address, LENGTH_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{analysis::Cancel, heap::synthetic::Builder, symbols::Symbols};

    #[test]
    fn without_a_symbol_the_start_of_the_stack_tells() {
        let mut builder = Builder::new();
        let base = crate::heap::synthetic::STACK;
        let (strings, random) = (base + 0x800, base + 0x900);
        // argc, argv, 0, two variables, 0, the auxiliary vector.
        let auxv = [(33, 0x7000), (16, 0xbfeb_fbff), (AT_RANDOM, random), (0, 0)];
        let mut words = vec![1, strings, 0, strings + 8, strings + 12, 0];
        words.extend(auxv.iter().flat_map(|&(key, value)| [key, value]));
        for (at, word) in (base + 0x100..).step_by(8).zip(words) {
            builder.write_word(at, word);
        }
        builder.image.write(strings, b"victim\0\0A=1\0UMEM=x=y\0");
        builder.publish();
        let mut target = builder.target();
        target.auxv = auxv.to_vec();
        let (heap, cancel) = (builder.heap(), Cancel::new());
        let symbols = Symbols::new(&target);
        let cx = Context::new(&target, &symbols, &heap, &cancel);
        let words = ["UMEM".to_owned()];
        let report = run(&cx, &DCMD.parse(None, &words).unwrap()).unwrap();
        assert_eq!(report.warnings.len(), 1);
        assert!(crate::render::write_text(&report).ends_with("UMEM=x=y\n"));
        let all = run(&cx, &DCMD.parse(None, &[]).unwrap()).unwrap();
        assert_eq!(crate::render::write_text(&all), "A=1\nUMEM=x=y\n");
    }
}
