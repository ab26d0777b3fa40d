//! Compressed cores, as systemd-coredump leaves them (zstd, lz4).
//!
//! A core is read in any order, so that a compressed one has to be unpacked somewhere: into a file without a name, in
//! the folder that TMPDIR names, else in /var/tmp, which unlike /tmp is seldom in memory. Zeros take no room there. The file
//! goes away with umdb, however that ends. What can be unpacked of a damaged or cut off core is used.

use std::{
    env,
    fs::File,
    io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use memmap2::Mmap;
use nix::sys::statvfs::statvfs;

use super::{Error, files::map_file, plain};

/// Written or skipped as a whole.
const BLOCK: usize = 64 << 10;
/// zstd's largest window, as its --ultra --long=31 uses it.
const WINDOW_LOG_MAX: u32 = 31;
/// Unpacking less than this is not worth a line.
const NOTED: u64 = 1 << 30;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Zstd,
    Lz4,
}

/// An unpacked core.
pub(super) struct Unpacked {
    pub(super) bytes: Mmap,
    pub(super) file: File,
    pub(super) warning: Option<String>,
    pub(super) note: Option<String>,
}

impl Packing {
    /// By the first bytes of a file.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            [0x04, 0x22, 0x4d, 0x18, ..] => Some(Self::Lz4),
            _ => None,
        }
    }

    fn reader<'a>(self, file: &'a File) -> io::Result<Box<dyn Read + 'a>> {
        let file = BufReader::with_capacity(1 << 20, file);
        Ok(match self {
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(file)?;
                decoder.window_log_max(WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
            Self::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(file)),
        })
    }
}

fn folder() -> PathBuf {
    let given = env::var_os("TMPDIR").filter(|folder| !folder.is_empty());
    let usual = Path::new("/var/tmp");
    match given {
        Some(folder) => folder.into(),
        None if usual.is_dir() => usual.to_owned(),
        None => env::temp_dir(),
    }
}

/// Unpacks a core.
pub(super) fn unpack(path: &Path, file: &File, packing: Packing) -> Result<Unpacked, Error> {
    let folder = folder();
    let cannot = |error: &io::Error| {
        let what = format!(
            "cannot unpack '{}' in {}: {}",
            path.display(),
            folder.display(),
            plain(error)
        );
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                let left = statvfs(&folder).map_or(0, |stat| {
                    (stat.blocks_available() * stat.fragment_size()) >> 20
                });
                Error::hinted(
                    what,
                    format!("{left} MiB are free there; TMPDIR names another folder"),
                )
            }
            _ => Error::new(what),
        }
    };
    let mut out = tempfile::tempfile_in(&folder).map_err(|error| cannot(&error))?;
    let reader = packing.reader(file).map_err(|error| cannot(&error))?;
    let copied = copy(reader, &mut out).map_err(|error| cannot(&error))?;
    let warning = copied.stopped.map(|error| {
        let what = if error.kind() == ErrorKind::UnexpectedEof {
            "cut off".to_owned()
        } else {
            format!("damaged ({})", plain(&error))
        };
        format!(
            "the compressed core is {what}: {} bytes of it could be unpacked",
            copied.length
        )
    });
    if copied.length == 0 {
        return Err(Error::new(format!(
            "'{}' is cut off: nothing of it can be unpacked",
            path.display()
        )));
    }
    let bytes = map_file(&out).map_err(|error| cannot(&error))?;
    let note = (copied.length >= NOTED).then(|| {
        format!(
            "'{}' was unpacked to {} MiB in {} (TMPDIR chooses another folder); they are given back at the end",
            path.display(),
            copied.length >> 20,
            folder.display()
        )
    });
    Ok(Unpacked {
        bytes,
        file: out,
        warning,
        note,
    })
}

struct Copied {
    length: u64,
    /// Why the input ended early.
    stopped: Option<io::Error>,
}

/// Copies all that can be read; blocks of zeros become holes. An error is one of writing.
fn copy(mut from: impl Read, to: &mut File) -> io::Result<Copied> {
    let mut block = vec![0; BLOCK];
    let mut length = 0;
    let stopped = loop {
        let (got, stopped) = fill(&mut from, &mut block);
        let bytes = &block[..got];
        if bytes.iter().all(|&byte| byte == 0) {
            to.seek(SeekFrom::Current(got as i64))?;
        } else {
            to.write_all(bytes)?;
        }
        length += got as u64;
        if stopped.is_some() || got < BLOCK {
            break stopped;
        }
    };
    to.set_len(length)?;
    Ok(Copied { length, stopped })
}

/// Reads until the buffer is full, the input ends, or it cannot be read on.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> (usize, Option<io::Error>) {
    let mut got = 0;
    while got < buffer.len() {
        match from.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(count) => got += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (got, Some(error)),
        }
    }
    (got, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content() -> Vec<u8> {
        let mut bytes = vec![0; 5 * BLOCK + 17];
        for (index, byte) in bytes[2 * BLOCK..3 * BLOCK].iter_mut().enumerate() {
            *byte = (index * index % 251) as u8;
        }
        bytes
    }

    fn unpacked(packed: &[u8]) -> Unpacked {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(packed).unwrap();
        file.rewind().unwrap();
        let packing = Packing::of(packed).expect("it is compressed");
        match unpack(Path::new("core.packed"), &file, packing) {
            Ok(unpacked) => unpacked,
            Err(error) => panic!("{}", error.what),
        }
    }

    fn lz4(bytes: &[u8]) -> Vec<u8> {
        use lz4_flex::frame::{BlockSize, FrameEncoder, FrameInfo};
        let info = FrameInfo::new().block_size(BlockSize::Max64KB);
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_was_packed_comes_back() {
        let content = content();
        for packed in [zstd::encode_all(&content[..], 1).unwrap(), lz4(&content)] {
            let found = unpacked(&packed);
            assert!(found.bytes[..] == content[..] && found.warning.is_none());
        }
    }

    #[test]
    fn what_is_left_of_a_cut_off_file_is_used() {
        let mut state = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .take(1 << 20)
        .collect();
        for packed in [zstd::encode_all(&noise[..], 1).unwrap(), lz4(&noise)] {
            let found = unpacked(&packed[..packed.len() / 2]);
            let length = found.bytes.len();
            assert!(length > noise.len() / 4 && found.bytes[..] == noise[..length]);
            assert!(found.warning.is_some_and(|text| text.contains("cut off")));
        }
    }
}
