//! The files of a module: the one that was loaded, and the one with its debug information.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use memmap2::Mmap;
use object::{Object, read::elf::ElfFile64};

use crate::target::{Memory, Module, Target, map_file};

/// A module without a file that is larger than this is not copied out of memory.
const IMAGE_MAX: u64 = 1 << 20;

/// The bytes of an ELF file.
#[derive(Clone)]
pub(super) enum Bytes {
    File(Arc<Mmap>),
    Memory(Arc<Vec<u8>>),
}

impl Bytes {
    pub(super) fn elf(&self) -> Option<ElfFile64<'_>> {
        let bytes: &[u8] = match self {
            Self::File(map) => map,
            Self::Memory(bytes) => bytes,
        };
        ElfFile64::parse(bytes).ok()
    }
}

/// What a module was loaded from, if that is to be had and is the very file.
pub(super) fn loaded(target: &Target, module: &Module) -> Option<Bytes> {
    if let Some(file) = target.open_module_file(module) {
        return Some(Bytes::File(Arc::new(map_file(&file)?)));
    }
    // The vdso is a whole ELF file in memory.
    (module.path == "[vdso]")
        .then(|| image(target.memory.as_ref(), module))
        .flatten()
}

fn image(memory: &dyn Memory, module: &Module) -> Option<Bytes> {
    let size = module
        .end
        .checked_sub(module.start)
        .filter(|&size| size <= IMAGE_MAX)?;
    let mut bytes = vec![0; size as usize];
    // It is mapped in whole pages, of which the last may not be full.
    let got = memory.read(module.start, &mut bytes);
    bytes.truncate(got);
    Some(Bytes::Memory(Arc::new(bytes)))
}

/// The root folder of a target's files.
pub(super) fn root(target: &Target) -> PathBuf {
    target
        .pid()
        .map_or_else(PathBuf::new, |pid| format!("/proc/{pid}/root").into())
}

/// The separate debug file of a module: by its build-id, else by the name in `.gnu_debuglink`.
pub(super) fn debug(root: &Path, module: &Module, loaded: Option<&Bytes>) -> Option<Bytes> {
    let mut paths = Vec::new();
    if let Some(id) = module.build_id.as_deref().filter(|id| id.len() > 1) {
        let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        paths.push(format!(
            "/usr/lib/debug/.build-id/{}/{}.debug",
            &hex[..2],
            &hex[2..]
        ));
    }
    let link = loaded.and_then(|bytes| {
        let (name, _) = bytes.elf()?.gnu_debuglink().ok()??;
        Some(String::from_utf8_lossy(name).into_owned())
    });
    if let (Some(link), Some((folder, _))) = (link, module.path.rsplit_once('/')) {
        paths.push(format!("{folder}/{link}"));
        paths.push(format!("{folder}/.debug/{link}"));
        paths.push(format!("/usr/lib/debug{folder}/{link}"));
    }
    let candidates = paths
        .iter()
        .flat_map(|path| [root.join(&path[1..]), PathBuf::from(path)]);
    candidates.filter_map(|path| open(&path, module)).next()
}

/// Opens a debug file if its build-id is the module's, or the module has none to compare.
fn open(path: &Path, module: &Module) -> Option<Bytes> {
    let bytes = Bytes::File(Arc::new(map_file(&File::open(path).ok()?)?));
    let found = bytes.elf()?.build_id().ok()?.map(<[u8]>::to_vec);
    (module.build_id.is_none() || found == module.build_id).then_some(bytes)
}
