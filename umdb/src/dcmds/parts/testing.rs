//! Runs commands on synthetic heaps.

use super::{
    args::{Dcmd, Run},
    context::{Context, Error},
};
use crate::{
    analysis::Cancel,
    heap::synthetic::Builder,
    render::write_text,
    report::{Report, Status},
    symbols::Symbols,
};

/// The report of a command on the heap of a builder.
pub(crate) fn run(
    builder: &mut Builder,
    dcmd: &Dcmd,
    address: Option<u64>,
    words: &[&str],
) -> Result<Report, Error> {
    builder.publish();
    run_published(builder, dcmd, address, words)
}

/// The same for a heap that was published, and perhaps damaged since.
pub(crate) fn run_published(
    builder: &Builder,
    dcmd: &Dcmd,
    address: Option<u64>,
    words: &[&str],
) -> Result<Report, Error> {
    let (target, heap) = (builder.target(), builder.heap());
    let (symbols, cancel) = (Symbols::new(&target), Cancel::new());
    let context = Context::new(&target, &symbols, &heap, &cancel);
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let invocation = dcmd.parse(address, &words)?;
    match dcmd.run {
        Run::Report(run) => run(&context, &invocation),
        Run::Quit => Ok(Report::default()),
    }
}

/// Text and status of a command on the heap of a builder.
pub(crate) fn text(
    builder: &mut Builder,
    dcmd: &Dcmd,
    address: Option<u64>,
    words: &[&str],
) -> (String, Status) {
    let report = run(builder, dcmd, address, words).unwrap();
    (write_text(&report), report.status)
}
