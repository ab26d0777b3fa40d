//! Runs commands on synthetic heaps.

use std::{cell::RefCell, rc::Rc};

use super::{
    args::{Dcmd, Run},
    context::{Context, Error, Host},
};
use crate::{
    analysis::{Cancel, Subject},
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
    let collector = Collector::default();
    let report = run_hosted(builder, dcmd, address, words, &collector)?;
    let mut all = collector.1.take();
    all.append(report);
    Ok(all)
}

/// The addresses that a command emits.
pub(crate) fn emitted(
    builder: &mut Builder,
    dcmd: &Dcmd,
    address: Option<u64>,
    words: &[&str],
) -> Result<Vec<u64>, Error> {
    builder.publish();
    let collector = Collector::default();
    let report = run_hosted(builder, dcmd, address, words, &collector)?;
    let mut addresses = collector.0.take();
    addresses.extend(report.piped_addresses());
    Ok(addresses)
}

fn run_hosted(
    builder: &Builder,
    dcmd: &Dcmd,
    address: Option<u64>,
    words: &[&str],
    host: &dyn Host,
) -> Result<Report, Error> {
    let (target, heap) = (builder.target(), builder.heap());
    let (symbols, cancel) = (Symbols::new(&target), Cancel::new());
    let subject = Subject::new(&target, &symbols, &heap, &cancel);
    let context = Context::of(subject, host, Rc::default());
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let invocation = dcmd.parse(address, &words)?;
    match dcmd.run {
        Run::Report(run) => run(&context, &invocation),
        Run::Filter(begin) => {
            let mut filter = begin(&context, &invocation)?;
            if let Some(address) = address {
                filter.take(&context, address)?;
            }
            filter.finish(&context)
        }
        Run::Quit | Run::Again => Ok(Report::default()),
    }
}

/// Collects what is emitted and shown.
#[derive(Default)]
struct Collector(RefCell<Vec<u64>>, RefCell<Report>);

impl Host for Collector {
    fn emit(&self, address: u64) -> Result<(), Error> {
        self.0.borrow_mut().push(address);
        Ok(())
    }

    fn show(&self, part: Report) -> Result<(), Error> {
        self.0.borrow_mut().extend(part.piped_addresses());
        self.1.borrow_mut().append(part);
        Ok(())
    }

    fn run(&self, _: &str, _: u64) -> Result<(), Error> {
        Err(Error::failed("there is no session"))
    }

    fn evaluate(&self, text: &str, _: u64) -> Result<u64, Error> {
        crate::lang::parse_number(text, 16).map_err(Error::failed)
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
