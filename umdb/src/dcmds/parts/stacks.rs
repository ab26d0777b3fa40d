//! Stacks and names as parts of reports.

use umem_layout::stack_flag;

use super::{context::Context, state::Format};
use crate::{
    report::{Cell, Frame, Report, Stack},
    symbols::Place,
};

/// The function whose code it is, and where that one executes or made the call of what is inlined into it.
impl From<Place> for Frame {
    fn from(place: Place) -> Self {
        let (file, line) = match place.inlined.last() {
            Some(called) => (called.file.clone(), called.line),
            None => (place.file, place.line),
        };
        Self {
            address: place.address,
            object: place.object,
            is_program: place.is_program,
            symbol: place.symbol,
            offset: place.offset,
            file,
            line,
            unloaded: place.unloaded,
            inlined: false,
            guessed: false,
        }
    }
}

/// A frame for each function that is inlined, innermost first, and the one that they are in.
pub fn frames(place: Place) -> impl Iterator<Item = Frame> {
    let mut at = (place.file.clone(), place.line);
    let inlined: Vec<Frame> = place
        .inlined
        .iter()
        .map(|function| {
            let (file, line) = std::mem::replace(&mut at, (function.file.clone(), function.line));
            Frame {
                address: place.address,
                object: place.object.clone(),
                is_program: place.is_program,
                symbol: Some(function.symbol.clone()),
                offset: 0,
                file,
                line,
                inlined: true,
                guessed: false,
                unloaded: place.unloaded,
            }
        })
        .collect();
    inlined.into_iter().chain([Frame::from(place)])
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
        let frames = trace.pcs.iter().enumerate().flat_map(|(i, &pc)| {
            let guessed = i < 64 && trace.guessed >> i & 1 != 0;
            frames(self.place_of(&trace, pc)).map(move |frame| Frame { guessed, ..frame })
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
