//! Stacks and names as parts of reports.

use umem_layout::stack_flag;

use super::{context::Context, state::Format};
use crate::{
    report::{Cell, Frame, Report, Stack},
    symbols::Place,
};

impl From<Place> for Frame {
    fn from(place: Place) -> Self {
        Self {
            address: place.address,
            object: place.object,
            is_program: place.is_program,
            symbol: place.symbol,
            offset: place.offset,
            file: place.file,
            line: place.line,
            unloaded: place.unloaded,
            inlined: false,
            guessed: false,
        }
    }
}

/// Why a stack may end before the outermost frame, by flag.
const CUTS: [(u16, &str); 2] = [
    (
        stack_flag::CUT,
        "cut: the stack is deeper than was recorded",
    ),
    (
        stack_flag::ENDED_EARLY,
        "incomplete: it could not be followed further",
    ),
];

impl Context<'_> {
    /// The stack with an identifier, named. What cannot be read becomes a warning.
    pub fn stack(&self, key: &'static str, id: u32, report: &mut Report) -> Stack {
        let trace = self.heap.stack(id).unwrap_or_else(|damage| {
            report.incomplete(damage.to_string());
            Default::default()
        });
        let frames = trace.pcs.iter().enumerate().map(|(i, &pc)| {
            let guessed = i < 64 && trace.guessed >> i & 1 != 0;
            Frame {
                guessed,
                ..Frame::from(self.place_of(&trace, pc))
            }
        });
        let cut = CUTS
            .iter()
            .find(|(flag, _)| trace.flags & flag != 0)
            .map(|(_, text)| *text);
        Stack {
            key,
            label: None,
            frames: frames.collect(),
            cut,
        }
    }

    /// The innermost frame of a stack, which is the caller of the allocation function. Text shows no lines in a table.
    pub fn caller(&self, id: u32) -> Cell {
        let trace = self.heap.stack(id).unwrap_or_default();
        trace.pcs.first().map_or(Cell::Unknown, |&pc| {
            Cell::Symbol(match self.state().format.get() {
                Format::Text => self.name_of(&trace, pc).into(),
                Format::Json | Format::Csv => self.place_of(&trace, pc).into(),
            })
        })
    }
}
