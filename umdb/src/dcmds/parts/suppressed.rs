//! Leaks that a file of suppressions says not to report.

use super::context::{Context, Error};
use crate::{
    analysis::{
        leaks,
        suppressions::{Named, Suppressions},
    },
    dcmds::parts::{groups::holding, stacks},
    report::{Cell, Column, Group, Item, List, Report, Section, Sentence, Table},
};

/// Which groups are suppressed, and what each rule did.
pub struct Suppressed<'s> {
    rules: &'s Suppressions,
    /// Whether each group is suppressed, in their order.
    pub is_hidden: Vec<bool>,
    /// Leaks and bytes of each rule, with those that another rule suppresses as well.
    by_rule: Vec<(u64, u64)>,
    /// Heads, their bytes, how many others they hold and the bytes of these.
    count: u64,
    bytes: u64,
    held: u64,
    held_bytes: u64,
}

/// Tries all rules on all groups.
///
/// # Errors
/// When it was stopped by request.
pub fn find<'s>(
    cx: &Context<'_>,
    rules: &'s Suppressions,
    groups: &[leaks::Group],
) -> Result<Suppressed<'s>, Error> {
    let mut suppressed = Suppressed {
        rules,
        is_hidden: Vec::with_capacity(groups.len()),
        by_rule: vec![(0, 0); rules.rules.len()],
        count: 0,
        bytes: 0,
        held: 0,
        held_bytes: 0,
    };
    for group in groups {
        cx.cancel.check()?;
        let is_hidden = !rules.rules.is_empty() && suppressed.take(group, &frames(cx, group.stack));
        suppressed.is_hidden.push(is_hidden);
    }
    Ok(suppressed)
}

/// What rules see of a stack.
fn frames(cx: &Context<'_>, stack: u32) -> Vec<Named> {
    let trace = cx.heap.stack(stack).unwrap_or_default();
    let named = trace.pcs.iter().flat_map(|&pc| {
        let place = cx.place_of(&trace, pc);
        let past = cx.past_module(&trace, pc).map(|era| &era.module.path);
        let now = || cx.target.module_at(pc.wrapping_sub(1));
        let object = past.or_else(|| now().map(|module| &module.path)).cloned();
        stacks::frames(place).map(move |frame| Named {
            function: frame.symbol,
            object: object.clone(),
            source: frame.file,
        })
    });
    named.collect()
}

impl Suppressed<'_> {
    /// Whether a rule names leaks of these sizes with this stack.
    #[must_use]
    pub fn hides(&self, cx: &Context<'_>, sizes: (u64, u64), stack: u32) -> bool {
        let rules = &self.rules.rules;
        !rules.is_empty() && {
            let frames = frames(cx, stack);
            rules.iter().any(|rule| rule.matches(sizes, &frames))
        }
    }

    fn take(&mut self, group: &leaks::Group, frames: &[Named]) -> bool {
        let mut is_hidden = false;
        for (rule, (count, bytes)) in self.rules.rules.iter().zip(&mut self.by_rule) {
            if rule.matches(group.sizes, frames) {
                is_hidden = true;
                *count += group.count;
                *bytes += group.total_bytes();
            }
        }
        if is_hidden {
            self.count += group.count;
            self.bytes += group.bytes;
            self.held += group.held.len() as u64;
            self.held_bytes += group.held_bytes;
        }
        is_hidden
    }

    /// Says how much was suppressed and which rules never matched; with `in_full` what each rule did.
    pub fn add_to(&self, report: &mut Report, in_full: bool) {
        if self.rules.rules.is_empty() {
            return;
        }
        let used = self.by_rule.iter().filter(|(count, _)| *count > 0).count();
        let sentence = Sentence::new()
            .words("suppressed: ")
            .counted("leaked", self.count, "leak")
            .words(" of ")
            .bytes("bytes", self.bytes);
        let sentence = holding(sentence, self.held, self.held_bytes)
            .words(", by ")
            .value("rules_used", Cell::Count(used as u64))
            .words(" of ")
            .counted("rules", self.rules.rules.len() as u64, "rule");
        let mut sections: Vec<Section> = vec![List::one("suppressed", sentence).into()];
        if in_full {
            sections.push(self.table().into());
        }
        let unused = self.rules.rules.iter().zip(&self.by_rule);
        let unused = unused.filter(|(_, (count, _))| *count == 0);
        let items: Vec<Item> = unused
            .map(|(rule, _)| {
                let sentence = Sentence::new()
                    .words("never matched: ")
                    .value("file", Cell::text(&rule.file))
                    .words(":")
                    .value("line", Cell::Number(rule.line as u64))
                    .words(": ")
                    .value("rule", Cell::text(&rule.text));
                Item::from(sentence)
            })
            .collect();
        if !items.is_empty() {
            let list = List {
                key: "never_matched",
                items,
                ..List::default()
            };
            sections.push(list.into());
        }
        report.push(Group {
            key: "suppressions",
            sections,
        });
    }

    fn table(&self) -> Table {
        let mut table = Table::new(
            "rules",
            vec![
                Column::right("leaked", "SUPPRESSED", 10),
                Column::right("bytes", "BYTES", 12),
                Column::left("rule", "RULE", 0),
                Column::hidden("file"),
                Column::hidden("line"),
            ],
        );
        for (rule, &(count, bytes)) in self.rules.rules.iter().zip(&self.by_rule) {
            table.push(vec![
                Cell::Count(count),
                Cell::Bytes(bytes),
                Cell::text(&rule.text),
                Cell::text(&rule.file),
                Cell::Number(rule.line as u64),
            ]);
        }
        table
    }
}
