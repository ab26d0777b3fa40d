//! The end of a pipe: what is left is shown.

use std::cell::RefCell;

use super::{
    Session, Sink,
    pipeline::{Runs, Tail},
};
use crate::{
    dcmds::Error,
    report::{Cell, Column, Report, Table},
};

/// Addresses that are shown together.
const TOGETHER: usize = 4096;

/// Shows reports, and addresses that no command takes.
pub(super) struct Printer<'p, 'a> {
    session: &'p Session<'a>,
    sink: RefCell<&'p mut dyn Sink>,
    pending: RefCell<Vec<u64>>,
}

impl<'p, 'a> Printer<'p, 'a> {
    pub(super) fn new(session: &'p Session<'a>, sink: &'p mut dyn Sink) -> Self {
        Self {
            session,
            sink: RefCell::new(sink),
            pending: RefCell::default(),
        }
    }

    /// Shows addresses that wait for more.
    pub(super) fn flush(&self) -> Result<(), Error> {
        let pending = self.pending.take();
        if pending.is_empty() {
            return Ok(());
        }
        let column = Column::left("address", "ADDRESS", 0).piped();
        let mut table = Table::new("addresses", vec![column]);
        table.headless = true;
        pending
            .iter()
            .for_each(|&address| table.push(vec![Cell::Value(address)]));
        let mut report = Report::default();
        report.push(table);
        self.hand_on(report)
    }

    fn hand_on(&self, report: Report) -> Result<(), Error> {
        self.session.worsen(report.status);
        if self.sink.borrow_mut().part(report) {
            Ok(())
        } else {
            Err(Error::Closed)
        }
    }
}

impl Tail for Printer<'_, '_> {
    fn is_pipe(&self) -> bool {
        false
    }

    fn take_address(&self, address: u64) -> Result<(), Error> {
        let waiting = {
            let mut pending = self.pending.borrow_mut();
            pending.push(address);
            pending.len()
        };
        if waiting < TOGETHER {
            Ok(())
        } else {
            self.flush()
        }
    }

    fn take_report(&self, report: Report) -> Result<(), Error> {
        self.flush()?;
        self.hand_on(report)
    }

    fn through_shell(&self, command: &str, shell: &str, run: Runs<'_>) -> Result<(), Error> {
        self.flush()?;
        let mut sink = self.sink.borrow_mut();
        sink.enter(command, shell);
        let inner = Printer::new(self.session, &mut **sink);
        let result = run(&inner);
        let _ = inner.flush();
        let result = match result {
            // That the shell command reads no more is its own affair.
            Ok(()) | Err(Error::Closed) => Ok(()),
            Err(error @ Error::Cancelled) => Err(error),
            Err(error) => {
                let _ = inner.take_report(error.into());
                Ok(())
            }
        };
        drop(inner);
        self.session.worsen(sink.leave());
        result
    }
}
