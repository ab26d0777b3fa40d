//! The history of modules: which lay where when a stack was taken.

use umem_layout::Module;

use super::Heap;
use crate::{layout::Damage, symbols::PastModule};

/// Longest path that is believed.
const PATH_MAX: u32 = 4096;

/// A module of the history, and when it was loaded.
#[derive(Debug, Clone)]
pub struct Era {
    /// The module.
    pub module: PastModule,
    /// Epoch in which it was first met.
    loaded: u32,
    /// First epoch in which it was unloaded.
    unloaded: Option<u32>,
}

impl Era {
    /// It is no longer loaded.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.unloaded.is_some()
    }

    fn has(&self, address: u64, epoch: u32) -> bool {
        let PastModule { base, end, .. } = self.module;
        (base..end).contains(&address)
            && self.loaded <= epoch
            && self.unloaded.is_none_or(|unloaded| epoch < unloaded)
    }
}

impl Heap {
    /// The module that held an address in an epoch of the history. None where the library recorded none.
    #[must_use]
    pub fn module_then(&self, address: u64, epoch: u32) -> Option<&Era> {
        let eras = self
            .modules()
            .0
            .iter()
            .filter(|era| era.has(address, epoch));
        // One that was loaded again keeps its first epoch: what came in between stands for its own time.
        eras.max_by_key(|era| era.loaded)
    }

    /// All modules of the history, and what is wrong with their list.
    #[must_use]
    pub fn modules(&self) -> (&[Era], Option<&Damage>) {
        let (eras, damage) = self.modules.get_or_init(|| {
            let head = self.root.record.modules;
            let list = self.reader.list(head, |module: &Module| module.next, check);
            let eras = list.elements.iter().map(|(_, module)| self.era(module));
            (eras.collect(), list.damage)
        });
        (eras, damage.as_ref())
    }

    fn era(&self, record: &Module) -> Era {
        let size = (record.build_id_size as usize).min(record.build_id.len());
        let path = self
            .reader
            .bytes("a path", record.path, record.path_size as usize)
            .unwrap_or_default();
        Era {
            module: PastModule {
                base: record.base,
                end: record.end,
                path: String::from_utf8_lossy(&path).into_owned(),
                build_id: record.build_id[..size].to_vec(),
            },
            loaded: record.loaded,
            unloaded: (record.unloaded != 0).then_some(record.unloaded),
        }
    }
}

fn check(module: &Module) -> Option<String> {
    if module.base >= module.end {
        return Some(format!("it ends at {:#x}, before its start", module.end));
    }
    (module.path_size > PATH_MAX).then(|| format!("a path of {} bytes", module.path_size))
}
