//! Modules that are no longer loaded: their names come from files alone.

use std::{
    cell::{OnceCell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::Arc,
};

use object::{Object, ObjectSegment};

use super::{ModuleSymbols, Place, Symbols, files, files::Bytes};
use crate::target::{Files, Module};

/// A module that was loaded at some time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PastModule {
    /// First address that it had.
    pub base: u64,
    /// One past the last.
    pub end: u64,
    /// Path by which it was loaded.
    pub path: String,
    /// Its build-id, empty when it had none.
    pub build_id: Vec<u8>,
}

impl PastModule {
    /// The last part of its path.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

/// Those that were asked for.
#[derive(Default)]
pub(super) struct Past(RefCell<HashMap<PastModule, Rc<ModuleSymbols>>>);

impl Symbols {
    /// What a return address was called while a module lay there that may be gone by now. Only a file with the build-id of that module gives
    /// names.
    pub fn lookup_past(&self, module: &PastModule, pc: u64) -> Place {
        let mut known = self.past.0.borrow_mut();
        let found = known
            .entry(module.clone())
            .or_insert_with(|| Rc::new(open(&self.sources.files, module)));
        let found = Rc::clone(found);
        drop(known);
        self.place_in(&found, pc, pc.wrapping_sub(1))
    }
}

fn open(files: &Files, past: &PastModule) -> ModuleSymbols {
    let mut module = Module {
        name: past.file_name().to_owned(),
        path: past.path.clone(),
        bias: past.base,
        start: past.base,
        end: past.end,
        segments: Vec::new(),
        notes: Vec::new(),
        dynamic: None,
        build_id: (!past.build_id.is_empty()).then(|| past.build_id.clone()),
        is_program: false,
    };
    // Without a build-id nothing tells whether a file is the one that was loaded.
    let is_it = |bytes: &Bytes| files::has_build_id(bytes, &past.build_id);
    let found = files
        .find(&past.path)
        .map(|map| Bytes::File(Arc::new(map)))
        .find(|bytes| !past.build_id.is_empty() && is_it(bytes));
    let debug = files::debug(files, &module, found.as_ref());
    if let Some(first) = [&found, &debug]
        .into_iter()
        .flatten()
        .find_map(first_address)
    {
        module.bias = past.base.wrapping_sub(first);
    }
    ModuleSymbols {
        loaded: OnceCell::from(found),
        debug: OnceCell::from(debug),
        ..ModuleSymbols::new(module)
    }
}

/// Where a file wants its first page to be.
fn first_address(bytes: &Bytes) -> Option<u64> {
    const PAGE: u64 = 4096;
    let elf = bytes.elf()?;
    let lowest = elf.segments().map(|segment| segment.address()).min();
    lowest.map(|address| address & !(PAGE - 1))
}
