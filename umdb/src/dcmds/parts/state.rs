//! What a session remembers from one command to the next.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use crate::{analysis::suppressions::Suppressions, lang::DEFAULT_RADIX};

/// Characters that a name of a variable may have.
const NAME_MAX: usize = 30;

/// What a session remembers from one command to the next.
#[derive(Debug)]
pub struct State {
    /// `.`, when it was set.
    pub dot: Cell<Option<u64>>,
    /// How far the last command would move dot.
    pub increment: Cell<u64>,
    /// The address that a command was last given.
    pub last_address: Cell<u64>,
    /// Radix of numbers without prefix: 2 to 16.
    pub radix: Cell<u32>,
    /// Answers are JSON, or as else `::set -o` says.
    pub format: Cell<Format>,
    /// Whether long output is shown page by page on a terminal.
    pub pager: Cell<bool>,
    /// Long rows of tables go on in the next line of a terminal instead of being cut.
    pub wraps: Cell<bool>,
    /// An empty line repeats the last command.
    pub repeats: Cell<bool>,
    /// Elements of an array that `::print` shows, where nothing else was asked for.
    pub array_limit: Cell<Option<u64>>,
    /// Bytes of a string that it shows.
    pub string_limit: Cell<Option<u64>>,
    /// The end of input does not end the session at a terminal.
    pub ignores_end: Cell<bool>,
    /// Commands say more about what they do: `::umem_debug`.
    pub traces: Cell<bool>,
    /// Names of C++ and Rust are shown as the source has them.
    pub demangles: Cell<bool>,
    /// What stands before each line.
    pub prompt: RefCell<String>,
    /// The file that commands and answers are copied to, as `::log` sets it.
    pub log: RefCell<Option<String>>,
    /// Leaks that `::findleaks` leaves out.
    pub suppressions: RefCell<Suppressions>,
    /// What `::setenv` changed for the programs that are started here.
    pub environment: RefCell<EnvironmentChanges>,
    /// The session is to begin anew about the same process.
    pub again: Cell<bool>,
    /// Variables by name.
    variables: RefCell<BTreeMap<String, u64>>,
}

/// Changes to an environment by name: the value that a variable gets, or none where it is taken away.
pub type EnvironmentChanges = BTreeMap<String, Option<String>>;

/// How answers are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One object a command.
    Json,
    /// Comma-separated values: the tables alone.
    Csv,
}

impl Default for State {
    fn default() -> Self {
        Self {
            dot: Cell::new(None),
            increment: Cell::new(0),
            last_address: Cell::new(0),
            radix: Cell::new(DEFAULT_RADIX),
            format: Cell::default(),
            pager: Cell::new(true),
            wraps: Cell::new(false),
            repeats: Cell::new(false),
            ignores_end: Cell::new(false),
            array_limit: Cell::new(None),
            string_limit: Cell::new(None),
            traces: Cell::new(false),
            demangles: Cell::new(true),
            prompt: RefCell::new("> ".to_owned()),
            log: RefCell::default(),
            suppressions: RefCell::default(),
            environment: RefCell::default(),
            again: Cell::new(false),
            variables: RefCell::default(),
        }
    }
}

impl State {
    /// The value of a variable.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<u64> {
        self.variables.borrow().get(name).copied()
    }

    /// Variables in order of name.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, u64)> {
        let variables = self.variables.borrow();
        variables
            .iter()
            .map(|(name, &value)| (name.clone(), value))
            .collect()
    }

    /// Sets a variable.
    ///
    /// # Errors
    /// When its name is none, in one line.
    pub fn set_variable(&self, name: &str, value: u64) -> Result<(), String> {
        if let Some(kept) = self.variables.borrow_mut().get_mut(name) {
            *kept = value;
            return Ok(());
        }
        let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !name.is_empty()
            && name.len() <= NAME_MAX
            && (name.len() == 1 || !name.starts_with(|c: char| c.is_ascii_digit()));
        if !is_name {
            return Err(format!(
                "'{name}' is no name of a variable: letters, digits and _, at most {NAME_MAX}"
            ));
        }
        self.variables.borrow_mut().insert(name.to_owned(), value);
        Ok(())
    }

    /// Forgets a variable; false when there was none.
    pub fn unset_variable(&self, name: &str) -> bool {
        self.variables.borrow_mut().remove(name).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_have_names_of_letters_and_digits() {
        let state = State::default();
        state.set_variable("x_1", 5).unwrap();
        state.set_variable("9", 1).unwrap();
        assert_eq!(state.variable("x_1"), Some(5));
        for wrong in ["", "1x", "a-b", "a".repeat(31).as_str()] {
            assert!(state.set_variable(wrong, 1).is_err(), "{wrong}");
        }
        assert_eq!(state.variables().len(), 2);
        assert!(state.unset_variable("x_1") && !state.unset_variable("x_1"));
    }
}
