//! What ::umem_debug has ::findleaks tell.

use super::context::Context;
use crate::{
    analysis::coverage,
    report::{Cell, Column, Table},
};

impl Context<'_> {
    /// All mappings and how a search for leaks sees them; none while tracing is off.
    pub fn coverage(&self) -> Option<Table> {
        self.state().traces.get().then(|| {
            let columns = vec![
                Column::left("start", "START", 16).padded(),
                Column::left("end", "END", 16).padded(),
                Column::right("roots", "ROOTS", 10),
                Column::right("transit", "TRANSIT", 10),
                Column::left("reason", "REASON", 0),
                Column::hidden("name"),
            ];
            let mut table = Table::new("mappings", columns);
            for mapping in coverage::mappings(&self.scene()) {
                table.push(vec![
                    Cell::Address(mapping.start),
                    Cell::Address(mapping.end),
                    Cell::Bytes(mapping.roots),
                    Cell::Bytes(mapping.transit),
                    Cell::text(mapping.reason),
                    mapping.name.map_or(Cell::Empty, Cell::text),
                ]);
            }
            table
        })
    }
}
