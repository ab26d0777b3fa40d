//! Files of the target: where they are from here, and whether they are the very ones that were loaded.
//!
//! Paths come from the target and may lead anywhere. They are followed below the target's own root (also where they
//! are symbolic links), and only regular files are opened: a FIFO would make us wait, a device do things.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use memmap2::Mmap;
use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, openat2},
    libc,
};
use object::Object;

use super::{Memory, Module, plain};

const HEADER: usize = 64;
/// Program headers that are compared where there is no build-id.
const HEADERS_MAX: usize = 64 * 56;

/// Where the files of a target are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// A process that sees them.
    process: Option<u32>,
    /// A folder that stands for their root.
    sysroot: Option<PathBuf>,
    /// The executable that was given beside a core.
    program: Option<PathBuf>,
}

impl Files {
    /// Files as a process sees them.
    pub(super) fn of_process(pid: u32) -> Self {
        Self {
            process: Some(pid),
            ..Self::default()
        }
    }

    /// Files of a core: below `sysroot` or on this machine; its executable may be given.
    pub(super) fn of_core(program: Option<&Path>, sysroot: Option<&Path>) -> Self {
        Self {
            process: None,
            sysroot: sysroot.map(Path::to_owned),
            program: program.map(Path::to_owned),
        }
    }

    /// The folder that stands for their root, when one was given.
    #[must_use]
    pub fn sysroot(&self) -> Option<&Path> {
        self.sysroot.as_deref()
    }

    /// Maps the file of a module, if it is the very file that was loaded.
    ///
    /// # Errors
    /// Why there is none, in words that follow its name.
    pub fn module(&self, memory: &dyn Memory, module: &Module) -> Result<Mmap, String> {
        let mut why = None;
        for file in self.candidates(module) {
            match file.and_then(|file| map_file(&file)) {
                Ok(bytes) if is_loaded(&bytes, memory, module) => return Ok(bytes),
                Ok(_) => {
                    why.get_or_insert_with(|| {
                        "is another file than the one that was loaded".to_owned()
                    });
                }
                Err(error) => {
                    why.get_or_insert_with(|| plain(&error));
                }
            }
        }
        Err(why.unwrap_or_else(|| "is no file".to_owned()))
    }

    fn candidates<'a>(&'a self, module: &'a Module) -> impl Iterator<Item = io::Result<File>> + 'a {
        let program = self.program.as_deref().filter(|_| module.is_program);
        let is_path = module.path.starts_with('/');
        let given = program.map(open_regular);
        // The link leads to the very file, even when it was deleted.
        let linked = self
            .process
            .filter(|_| module.is_program && is_path)
            .map(|pid| open_regular(Path::new(&format!("/proc/{pid}/exe"))));
        let named = (program.is_none() && is_path).then(|| self.open(&module.path));
        let mapped = self
            .process
            .filter(|_| is_path)
            .and_then(|pid| mapped_file(pid, module.start))
            .map(|path| open_regular(&path));
        given.into_iter().chain(linked).chain(named).chain(mapped)
    }

    /// Opens a regular file by the path that it has for the target.
    pub fn open(&self, path: &str) -> io::Result<File> {
        let root = match (&self.sysroot, self.process) {
            (Some(root), _) => root.clone(),
            (None, Some(pid)) => format!("/proc/{pid}/root").into(),
            (None, None) => return open_regular(Path::new(path)),
        };
        let root = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
            .open(root)?;
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        match openat2(&root, path, how) {
            Ok(file) => regular(File::from(file)),
            // Before Linux 5.6.
            Err(Errno::ENOSYS) => {
                let root = self.sysroot.clone().unwrap_or_else(|| {
                    format!("/proc/{}/root", self.process.unwrap_or_default()).into()
                });
                open_regular(&root.join(path.trim_start_matches('/')))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Maps a file by the path that it has for the target, and one of that name on this machine.
    pub fn find(&self, path: &str) -> impl Iterator<Item = Mmap> {
        let is_elsewhere = self.sysroot.is_some() || self.process.is_some();
        let here = is_elsewhere.then(|| open_regular(Path::new(path)));
        let files = [self.open(path)].into_iter().chain(here);
        files.filter_map(|file| map_file(&file.ok()?).ok())
    }
}

/// Opens a file without waiting, if it is a regular one.
pub(super) fn open_regular(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    regular(file)
}

fn regular(file: File) -> io::Result<File> {
    let data = file.metadata()?;
    if data.is_file() {
        return Ok(file);
    }
    Err(io::Error::other(if data.is_dir() {
        "it is a directory"
    } else {
        "it is no regular file"
    }))
}

/// The link to the file that a process has mapped at an address, whatever became of its name.
fn mapped_file(pid: u32, address: u64) -> Option<PathBuf> {
    let folder = std::fs::read_dir(format!("/proc/{pid}/map_files")).ok()?;
    let begin = format!("{address:x}-");
    folder
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with(&begin))
        .map(|entry| entry.path())
}

/// Maps a file for reading.
pub(crate) fn map_file(file: &File) -> io::Result<Mmap> {
    // SAFETY: the mapping is private and only read. A file that is cut off meanwhile would end umdb by SIGBUS, as
    // any debugger that maps its files.
    unsafe { Mmap::map(file) }
}

/// Whether a file is the one that was loaded: by its build-id or, without one, by its headers in memory.
fn is_loaded(bytes: &[u8], memory: &dyn Memory, module: &Module) -> bool {
    if module.build_id.is_some() {
        return build_id(bytes) == module.build_id;
    }
    let length = HEADERS_MAX.min(bytes.len());
    let mut loaded = vec![0; length];
    let got = memory.read(module.start, &mut loaded);
    let size = headers_size(bytes).filter(|&size| HEADER <= size && size <= got);
    size.is_some_and(|size| bytes.get(..size) == loaded.get(..size))
}

/// Bytes from the start of a file to the end of its program headers.
fn headers_size(bytes: &[u8]) -> Option<usize> {
    let start = u64::from_le_bytes(*bytes.get(32..)?.first_chunk()?);
    let count = u16::from_le_bytes(*bytes.get(56..)?.first_chunk()?);
    usize::try_from(start)
        .ok()?
        .checked_add(usize::from(count) * 56)
}

/// The build-id in an ELF file.
pub(super) fn build_id(bytes: &[u8]) -> Option<Vec<u8>> {
    object::File::parse(bytes)
        .ok()?
        .build_id()
        .ok()?
        .map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Image;

    fn own_file() -> Vec<u8> {
        std::fs::read("/proc/self/exe").unwrap()
    }

    fn module(build_id: Option<Vec<u8>>) -> Module {
        Module {
            name: "program".to_owned(),
            path: "/program".to_owned(),
            bias: 0x1000,
            start: 0x1000,
            end: 0x2000,
            segments: Vec::new(),
            notes: Vec::new(),
            dynamic: None,
            build_id,
            is_program: false,
        }
    }

    #[test]
    fn without_a_build_id_the_headers_decide() {
        let file = own_file();
        let mut image = Image::new();
        image.write(0x1000, &file[..HEADERS_MAX]);
        assert!(is_loaded(&file, &image, &module(None)));
        let mut other = file.clone();
        other[40] ^= 1;
        assert!(!is_loaded(&other, &image, &module(None)));
        assert!(
            !is_loaded(&file, &Image::new(), &module(None)),
            "nothing to compare"
        );
        assert!(is_loaded(&file, &Image::new(), &module(build_id(&file))));
        assert!(!is_loaded(&file, &image, &module(Some(vec![1, 2, 3]))));
    }

    #[test]
    fn only_regular_files_are_opened_and_none_is_waited_for() {
        let folder = std::env::temp_dir().join(format!("umdb-files-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let fifo = folder.join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(open_regular(&fifo).is_err());
        assert!(open_regular(&folder).is_err());
        assert!(open_regular(Path::new("/dev/zero")).is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn links_do_not_lead_out_of_the_root() {
        let folder = std::env::temp_dir().join(format!("umdb-root-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("lib")).unwrap();
        std::fs::write(folder.join("lib/a"), "inner").unwrap();
        std::os::unix::fs::symlink("/lib/a", folder.join("link")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.join("out")).unwrap();
        let files = Files::of_core(None, Some(&folder));
        let read = |path| files.open(path).and_then(io::read_to_string);
        assert_eq!(read("/link").unwrap(), "inner");
        assert!(read("/out").is_err());
        assert!(read("/../../etc/passwd").is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
