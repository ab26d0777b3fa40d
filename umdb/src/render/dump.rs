//! Bytes of memory as text.
//!
//! ```text
//!                \/ 1 2 3  4 5 6 7  8 9 a b  c d e f  v123456789abcdef
//! 7f0aa0c5efc0:  6c616d62 64610000 00000000 efbeadde  lambda..........
//! ```

use std::fmt::Write;

use crate::report::{Dump, DumpRow};

/// Characters of the label at least.
const LABEL: usize = 12;

/// Adds the lines of a dump.
pub(super) fn write_dump(out: &mut String, dump: &Dump) {
    if let Some(marked) = dump.marked {
        write_header(out, dump, marked);
    }
    for row in &dump.rows {
        write_row(out, dump, row);
        if row.repeated > 0 {
            out.push_str("*\n");
        }
    }
}

fn label_width(dump: &Dump) -> usize {
    let digits = |row: &DumpRow| format!("{:x}", row.label).len();
    dump.rows.iter().map(digits).max().unwrap_or(0).max(LABEL)
}

fn write_header(out: &mut String, dump: &Dump, marked: usize) {
    let mut line = " ".repeat(label_width(dump) + 1);
    for column in 0..dump.width {
        if column % dump.group.max(1) == 0 {
            line.push_str(if column == 0 { "  " } else { " " });
        }
        if column == marked {
            line.push_str("\\/");
        } else {
            let _ = write!(line, "{:>2x}", column % 16);
        }
    }
    if dump.has_text {
        line.push_str("  ");
        for column in 0..dump.width {
            if column == marked {
                line.push('v');
            } else {
                let _ = write!(line, "{:x}", column % 16);
            }
        }
    }
    out.push_str(line.trim_end());
    out.push('\n');
}

fn write_row(out: &mut String, dump: &Dump, row: &DumpRow) {
    let mut line = format!("{:>width$x}:", row.label, width = label_width(dump));
    line.push(' ');
    for group in row.bytes.chunks(dump.group.max(1)) {
        line.push(' ');
        let mut push = |byte: &Option<u8>| match byte {
            Some(byte) => write!(line, "{byte:02x}"),
            None => write!(line, "  "),
        };
        let _ = if dump.is_words {
            group.iter().rev().try_for_each(&mut push)
        } else {
            group.iter().try_for_each(&mut push)
        };
    }
    if dump.has_text {
        line.push_str("  ");
        line.extend(row.bytes.iter().map(|byte| match byte {
            Some(byte @ 0x20..0x7f) => char::from(*byte),
            Some(_) => '.',
            None => ' ',
        }));
    }
    out.push_str(line.trim_end());
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_marks_the_byte_that_was_asked_for() {
        let dump = Dump {
            rows: vec![DumpRow {
                label: 0x7f0a_a0c5_efc0,
                address: 0x7f0a_a0c5_efc0,
                bytes: (0x41..0x51).map(Some).collect(),
                repeated: 0,
            }],
            width: 16,
            group: 4,
            has_text: true,
            marked: Some(2),
            ..Dump::default()
        };
        let mut out = String::new();
        write_dump(&mut out, &dump);
        let expected = "                0 1\\/ 3  4 5 6 7  8 9 a b  c d e f  01v3456789abcdef
7f0aa0c5efc0:  41424344 45464748 494a4b4c 4d4e4f50  ABCDEFGHIJKLMNOP
";
        assert_eq!(out, expected);
        let words = Dump {
            is_words: true,
            has_text: false,
            marked: None,
            group: 8,
            ..dump
        };
        let mut out = String::new();
        write_dump(&mut out, &words);
        assert_eq!(out, "7f0aa0c5efc0:  4847464544434241 504f4e4d4c4b4a49\n");
    }
}
