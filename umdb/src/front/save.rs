//! `umdb snapshot`: a process as a file that opens like a core.

use std::{io::Write, path::Path};

use super::{fail, open::Failure, output::Output};
use crate::{
    report::Status,
    target::{self, Attach, Saved, Target},
};

/// Writes a process to a file, and returns the exit status.
pub(super) fn save(pid: u32, how: Attach, file: &Path, output: &mut Output) -> u8 {
    match write(pid, how, file, output) {
        Ok(status) => status.exit_code(),
        Err(error) => fail(&Failure::from(error), output),
    }
}

fn write(pid: u32, how: Attach, file: &Path, output: &mut Output) -> Result<Status, target::Error> {
    let target = Target::attach(pid, how)?;
    for line in target.notes.iter().chain(&target.warnings) {
        output.error(line, None);
    }
    let Saved { memory, on_disk } = target.save(file)?;
    // The file is there also when nobody listens.
    let _ = writeln!(
        std::io::stdout(),
        "{}: {} MiB of process {pid}, {} MiB on disk",
        file.display(),
        memory.div_ceil(1 << 20),
        on_disk.div_ceil(1 << 20),
    );
    Ok(if target.warnings.is_empty() {
        Status::Clean
    } else {
        Status::Incomplete
    })
}
