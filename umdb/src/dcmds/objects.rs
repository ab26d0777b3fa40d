//! `::objects`: the program and its shared objects.

use super::{Context, Dcmd, Error, Group, Invocation, Opt, Run};
use crate::report::{Cell, Column, Report, Table};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "objects",
    group: Group::Process,
    pipes: Some("first addresses of objects"),
    options: &[Opt::flag('v', "also the build-id")],
    summary: "list the program and its shared objects",
    help: HELP,
    columns: &[
        ("BASE", "first address"),
        ("LIMIT", "one past the last address"),
        ("SIZE", "bytes, hexadecimal"),
        ("BUILDID", "build-id of the file that is loaded, with -v"),
        (
            "NAME",
            "the file; its last part stands before the grave accent of symbols",
        ),
    ],
    see: &["mappings", "nm"],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Lists what is loaded: the program, its shared objects, the loader.

    > ::objects";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let mut build_id = Column::left("build_id", "BUILDID", 40);
    build_id.hidden = !invocation.has('v');
    let mut table = Table::new(
        "objects",
        vec![
            Column::right("base", "BASE", 16).piped(),
            Column::right("limit", "LIMIT", 16),
            Column::right("size", "SIZE", 16),
            build_id,
            Column::left("name", "NAME", 0),
            Column::hidden("object"),
        ],
    );
    for module in &cx.target.modules {
        let build_id = module
            .build_id
            .as_ref()
            .map_or(Cell::Empty, |bytes| Cell::Memory(bytes.clone()));
        table.push(vec![
            Cell::Address(module.start),
            Cell::Address(module.end),
            Cell::Address(module.end.saturating_sub(module.start)),
            build_id,
            Cell::text(module.path.as_str()),
            Cell::text(module.name.as_str()),
        ]);
    }
    Ok(Report::of(table))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dcmds::parts::testing::text, heap::synthetic::Builder};

    #[test]
    fn every_module_has_a_row() {
        let mut builder = Builder::new();
        builder.publish();
        let modules = builder.target().modules.len();
        let (text, _) = text(&mut builder, &DCMD, None, &[]);
        assert_eq!(text.lines().count(), modules + 1);
    }
}
