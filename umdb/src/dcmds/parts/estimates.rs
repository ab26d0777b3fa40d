//! Tables of estimates from samples: one stack a row.

use super::context::Context;
use crate::{
    analysis::estimate::{Estimate, Sum},
    report::{Cell, Column, Group, List, Report, Row, Section, Sentence, Table},
};

/// Says what the samples are and what they stand for, a stack a row.
pub fn add(cx: &Context<'_>, of: &str, estimates: &[Estimate], report: &mut Report) {
    let Some(mean) = cx.heap.sample_bytes() else {
        return;
    };
    if estimates.is_empty() {
        let none = format!("{of}: none of it is a sample, so nothing is known of its stacks");
        return report.push(List::one("sampling", Sentence::new().words(none)));
    }
    let sentence = Sentence::new()
        .words(format!(
            "{of}, estimated from samples of one allocation in "
        ))
        .bytes("sample_bytes", mean)
        .words(" (± is one standard error):");
    let mut sections: Vec<Section> = vec![List::one("sampling", sentence).into()];
    sections.push(table(cx, estimates, report).into());
    let (mut bytes, mut count) = (Sum::default(), Sum::default());
    for estimate in estimates {
        bytes.add_sum(estimate.bytes);
        count.add_sum(estimate.count);
    }
    let total = Sentence::new().words("Total: ");
    sections.push(List::one("estimated_total", about(total, &bytes, &count, "buffer")).into());
    report.push(Group {
        key: "estimates",
        sections,
    });
}

/// Adds `about 1.2G ± 100M in 20000 ± 1000 buffers`.
pub fn about(sentence: Sentence, bytes: &Sum, count: &Sum, noun: &str) -> Sentence {
    sentence
        .words("about ")
        .value("bytes", Cell::Scaled(bytes.rounded()))
        .words(" ± ")
        .value("bytes_error", Cell::Scaled(bytes.error()))
        .words(" in ")
        .value("count", Cell::Count(count.rounded()))
        .words(" ± ")
        .value("count_error", Cell::Count(count.error()))
        .words(format!(" {noun}s"))
}

fn table(cx: &Context<'_>, estimates: &[Estimate], report: &mut Report) -> Table {
    let mut table = Table::new(
        "estimates_by_stack",
        vec![
            Column::right("bytes", "ABOUT", 9),
            Column::right("bytes_error", "±", 9),
            Column::right("count", "BUFFERS", 12),
            Column::right("count_error", "±", 10),
            Column::right("samples", "SAMPLES", 8),
            Column::right("sample", "SAMPLE", 16),
            Column::left("caller", "CALLER", 0),
        ],
    );
    for estimate in estimates {
        let stacks = if estimate.stack == 0 {
            vec![]
        } else {
            vec![cx.stack("allocated", estimate.stack, report)]
        };
        let address = cx
            .heap
            .record_address(estimate.sample)
            .unwrap_or_else(|| cx.heap.address(estimate.sample));
        table.rows.push(Row {
            cells: vec![
                Cell::Scaled(estimate.bytes.rounded()),
                Cell::Scaled(estimate.bytes.error()),
                Cell::Count(estimate.count.rounded()),
                Cell::Count(estimate.count.error()),
                Cell::Count(estimate.samples),
                Cell::Address(address),
                cx.caller(estimate.stack),
            ],
            stacks,
        });
    }
    table
}
