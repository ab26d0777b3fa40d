//! `::source`: runs the commands of a file.

use std::{fs::File, io::Read};

use super::{
    Address, Completes, Context, Dcmd, Error, Group, Invocation, Run, Shorthand,
    parts::operands::only,
};
use crate::report::Report;

pub(super) const DCMD: Dcmd = Dcmd {
    name: "source",
    group: Group::Session,
    address: Address::Optional,
    pipes: Some("what the commands hand on"),
    operands: "file",
    completes: Completes::Files,
    summary: "run the commands of a file",
    help: HELP,
    see: &["eval"],
    shorthands: &[Shorthand::of("$<")],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Runs the commands of a file, line by line. $<file is the same.

    > ::source commands.txt

~/.umdbrc is read in this way when a session begins, unless umdb is given -S.";

/// Bytes of a file of commands.
const SIZE_MAX: u64 = 1 << 20;

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let path = only(&DCMD, invocation, "a file")?;
    let cannot = |error| Error::failed(format!("source: cannot read {path}: {error}"));
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(SIZE_MAX + 1).read_to_end(&mut bytes))
        .map_err(cannot)?;
    if bytes.len() as u64 > SIZE_MAX {
        return Err(Error::failed(format!(
            "source: {path} is larger than {SIZE_MAX} bytes"
        )));
    }
    let dot = invocation.address.or(cx.state().dot.get()).unwrap_or(0);
    cx.run(&String::from_utf8_lossy(&bytes), dot)?;
    Ok(Report::default())
}
