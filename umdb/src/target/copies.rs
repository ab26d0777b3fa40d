//! What `libumem.so` keeps copies of in front of its heap, for cores that are cut off before the library's own data.

use umem_layout::{COPY_ALIGN, CopyHeader, Plain};

use super::Memory;

/// A copy of the library's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootCopy {
    /// Where the root record was.
    pub root: u64,
    /// CLOCK_MONOTONIC of its process when it was written last.
    pub time: u64,
    /// The root record itself is missing: the copy is all there is.
    pub stands_in: bool,
}

/// Bytes and the address that they were copied from.
pub(super) type Piece = (u64, Vec<u8>);

/// Looks for copies at the starts of mappings, and reads their pieces.
pub(super) fn find(
    memory: &dyn Memory,
    starts: impl Iterator<Item = u64>,
) -> Vec<(RootCopy, Vec<Piece>)> {
    starts
        .filter(|start| start.is_multiple_of(COPY_ALIGN))
        .filter_map(|start| read(memory, start))
        .collect()
}

fn read(memory: &dyn Memory, start: u64) -> Option<(RootCopy, Vec<Piece>)> {
    let mut header = [0; CopyHeader::BYTES];
    if !memory.read_all(start, &mut header) {
        return None;
    }
    let header = CopyHeader::read(&header, start)?;
    let mut bytes = vec![0; usize::try_from(header.bytes).ok()?];
    // The copy may be cut off as well.
    let got = memory.read(start + CopyHeader::BYTES as u64, &mut bytes);
    bytes.truncate(got);
    let copy = RootCopy {
        root: header.root,
        time: header.time,
        stands_in: false,
    };
    Some((copy, pieces(&bytes)))
}

/// The pieces in order, up to the first one that is not whole.
fn pieces(bytes: &[u8]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = bytes;
    while let Some((head, behind)) = rest.split_first_chunk::<16>() {
        let [address, size] = <[u64; 2] as Plain>::decode_at(head, 0);
        let Some((piece, next)) = usize::try_from(size)
            .ok()
            .and_then(|size| behind.split_at_checked(size))
        else {
            break;
        };
        pieces.push((address, piece.to_vec()));
        rest = next;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Image;
    use umem_layout::{COPY_MAGIC, COPY_VERSION};

    const START: u64 = 0x7f00_0001_0000;

    /// A copy with these words behind its header.
    fn image(change: impl FnOnce(&mut [u64; 8]), words: &[u64]) -> Image {
        let mut header = [
            COPY_MAGIC,
            COPY_VERSION,
            START,
            2,
            0x5000,
            words.len() as u64 * 8,
            77,
            0,
        ];
        change(&mut header);
        let mut image = Image::new();
        let bytes: Vec<u8> = header
            .iter()
            .chain(words)
            .flat_map(|word| word.to_le_bytes())
            .collect();
        image.write(START, &bytes);
        image
    }

    fn found(image: &Image) -> Vec<(RootCopy, Vec<Piece>)> {
        find(image, [0x1000, START].into_iter())
    }

    #[test]
    fn pieces_go_back_where_they_were() {
        let all = found(&image(|_| (), &[0x5000, 8, 1, 0x6000, 16, 2, 3]));
        let [(copy, pieces)] = &all[..] else {
            panic!("{all:?}")
        };
        assert_eq!((copy.root, copy.time), (0x5000, 77));
        assert_eq!(pieces[0], (0x5000, 1_u64.to_le_bytes().to_vec()));
        assert_eq!((pieces[1].0, pieces[1].1.len()), (0x6000, 16));
        assert_eq!(pieces.len(), 2);
    }

    #[test]
    fn a_piece_that_is_not_whole_ends_them() {
        for words in [
            &[0x5000, 8, 1, 0x6000, 16, 2][..],
            &[0x5000, 8, 1, 0x6000, u64::MAX, 2],
        ] {
            assert_eq!(found(&image(|_| (), words))[0].1.len(), 1);
        }
        // It says that there is more than there is.
        let cut = image(|header| header[5] = 4096, &[0x5000, 8, 1, 9]);
        assert_eq!(found(&cut)[0].1.len(), 1);
    }

    #[test]
    fn what_is_half_written_or_moved_or_of_another_version_is_none() {
        let changes: [fn(&mut [u64; 8]); 5] = [
            |header| header[0] += 1,
            |header| header[1] += 1,
            |header| header[2] += 0x10000,
            |header| header[3] += 1,
            |header| header[5] = 1 << 40,
        ];
        for change in changes {
            assert!(found(&image(change, &[0x5000, 8, 1])).is_empty());
        }
    }
}
