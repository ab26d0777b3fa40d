//! Threads by their identifiers, and their stacks.

use super::{
    context::{Context, Error},
    stacks,
};
use crate::{
    heap::name_of,
    report::{Report, Stack},
    target::Thread,
};
use umem_layout::thread_state;

/// Frames of a stack that are shown.
pub const FRAMES_MAX: usize = 4096;

impl<'a> Context<'a> {
    /// The thread with an identifier; without one the current thread: the one that got the signal, else the first.
    pub fn thread(&self, identifier: Option<u64>) -> Result<&'a Thread, Error> {
        let threads = &self.target.threads;
        match identifier {
            None => threads
                .first()
                .ok_or_else(|| Error::failed("no process active")),
            Some(wanted) => threads
                .iter()
                .find(|thread| u64::from(thread.tid) == wanted)
                .ok_or_else(|| {
                    Error::with_hint(
                        format!("invalid thread identifier: {wanted:#x}"),
                        "::threads lists them; write 0t before decimal ones",
                    )
                }),
        }
    }

    /// Its name: what the kernel said, else what the library noted when it last looked, for cores do not have names.
    pub fn thread_name(&self, thread: &Thread) -> Option<String> {
        thread.name.clone().or_else(|| {
            if u64::from(thread.tid) == self.heap.root.record.update_thread {
                return Some("umem_update".to_owned());
            }
            let mut noted = self.heap.threads.iter().map(|(_, record)| record);
            let record = noted
                .find(|record| record.tid == thread.tid && record.state == thread_state::LIVE)?;
            Some(name_of(&record.name)).filter(|name| !name.is_empty())
        })
    }

    /// The frames of a thread by name, innermost first. What could not be followed becomes a warning.
    pub fn thread_stack(&self, thread: &Thread, report: &mut Report) -> Stack {
        if thread.registers.is_none() {
            report.incomplete(format!(
                "the registers of thread {} could not be read",
                thread.tid
            ));
        }
        let frames = self.symbols.frames(self.target, thread, FRAMES_MAX);
        let cut = (frames.len() == FRAMES_MAX).then_some("cut: there are more frames");
        let frames = frames.iter().flat_map(|frame| {
            let place = if frame.interrupted {
                self.symbols.lookup(frame.pc)
            } else {
                self.symbols.lookup_return(frame.pc)
            };
            stacks::frames(place)
        });
        Stack {
            key: "stack",
            label: None,
            frames: frames.collect(),
            cut,
        }
    }
}
