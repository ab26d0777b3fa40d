//! What the terminal can do.

use std::{
    env,
    io::{IsTerminal, stderr, stdin, stdout},
};

use terminal_size::{Height, Width, terminal_size_of};

use crate::render::Style;

/// Narrower terminals are taken for this wide, so that something can be read.
const WIDTH_MIN: u16 = 40;

/// The terminal behind standard output; nothing where that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Screen {
    /// Characters of a line, and lines.
    size: Option<(u16, u16)>,
    has_colour: bool,
}

impl Screen {
    /// As it is now.
    pub(super) fn now() -> Self {
        let is_terminal = stdout().is_terminal();
        Self {
            size: is_terminal
                .then(|| terminal_size_of(stdout()))
                .flatten()
                .map(|(Width(width), Height(height))| (width, height)),
            has_colour: is_terminal && wants_colour(),
        }
    }

    /// How text is written for it.
    pub(super) fn style(self, fits: bool) -> Style {
        Style {
            is_bold: self.has_colour,
            width: self
                .size
                .filter(|_| fits)
                .map(|(width, _)| usize::from(width.max(WIDTH_MIN))),
        }
    }

    /// Lines that can be seen together, where a person sits at both ends.
    pub(super) fn page(self) -> Option<usize> {
        let (_, height) = self.size.filter(|_| stdin().is_terminal())?;
        (height > 2).then(|| usize::from(height) - 1)
    }
}

/// NO_COLOR and a dumb terminal forbid it.
pub(super) fn wants_colour() -> bool {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    !is_set("NO_COLOR") && env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// Whether a person sees standard error.
pub(super) fn errors_are_seen() -> bool {
    stderr().is_terminal()
}
