//! `::getenv`: the environment of the target.

use super::{Context, Dcmd, Error, Group, Invocation, Run, parts::operands::optional};
use crate::report::{Cell, Item, List, Report, Sentence};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "getenv",
    group: Group::Process,
    operands: "[name]",
    summary: "show the environment of the target",
    help: HELP,
    see: &["umem_status", "status"],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Shows the variables of the environment as the target has them now, or one of them.

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

/// The strings that libc's `environ` points to.
fn environment(cx: &Context<'_>, report: &mut Report) -> Result<Vec<String>, Error> {
    let memory = &cx.target.memory;
    let variable = ["libc.so.6`environ", "environ", "__environ"]
        .iter()
        .find_map(|name| cx.symbols.resolve(name))
        .ok_or_else(|| {
            Error::with_hint(
                "getenv: the target has no symbol environ",
                "the program is linked statically and stripped",
            )
        })?
        .address;
    let start = memory
        .read_u64(variable)
        .ok_or_else(|| Error::Missing(format!("getenv: cannot read environ at {variable:#x}")))?;
    let mut strings = Vec::new();
    for index in 0..VARIABLES_MAX {
        cx.cancel.check()?;
        let slot = start.wrapping_add(index * 8);
        match memory.read_u64(slot) {
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
