//! A frozen copy of a process, made by the process itself while we hold it.
//!
//! `libumem.so` has a piece of code for it (see `allocator/src/sys/snapshot.rs`) and an area for the registers of the thread
//! that runs it. Order is everything here, for we may die at any instant and then nobody undoes what we did:
//!
//! 1. The area is filled: that changes nothing for the program.
//! 2. The registers of one thread (the *carrier*) are set to the code, all at once. From now on it finds its way back by
//!    itself, whatever becomes of us: the code ends with taking registers and signal mask from the area.
//! 3. Signals are blocked, the code runs: helper, copy, end of the helper.
//! 4. Where the code has waited for the helper, the carrier is stopped once more, and gets its signal mask and then its
//!    registers back from us, all at once. So the kernel restarts an interrupted system call as if nothing had been.
//! 5. The area is cleared.
//!
//! A debugger that died between the first two steps, or before the last, leaves the area filled. The next one sees that
//! nobody uses it: see [`Stub::is_busy`].
//!
//! The copy has no file descriptors and no parent that knows of it. It is killed when we are done, or die
//! (PTRACE_O_EXITKILL), and reaped by the process that adopts orphans.

use std::{
    fs::{File, OpenOptions},
    mem::offset_of,
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

use nix::{
    libc::{self, user_regs_struct},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use umem_layout::{NOTE_TYPE_SNAPSHOT, SNAPSHOT_VERSION, SnapshotArea};

use super::{
    Mapping, Memory, Module,
    keep::{self, Kept},
    live::ProcessMemory,
    modules, procfs, restart, seccomp,
    stop::{Held, go_on_to_stop},
    trace::{self, Stop},
};

/// One step of the copying may take so long; a process of 100 GB takes seconds.
const STEP_LIMIT: Duration = Duration::from_secs(60);
/// How long a carrier that finds its way back by itself may take.
const RETURN_LIMIT: Duration = Duration::from_secs(2);
/// What entering a system call shows as its result.
const ENTERING: i64 = -(libc::ENOSYS as i64);
/// The kernel's frame of a signal is not larger, whatever registers the processor has.
const FRAME_MAX: u64 = 1 << 16;
const PAGE: usize = 4096;
/// Code segment of 64-bit programs.
const USER_CODE: u64 = 0x33;

/// Where the code and its area are in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stub {
    /// Address and size of the notes that led here.
    notes: (u64, u64),
    start: u64,
    end: u64,
    area: u64,
}

impl Stub {
    /// Finds the code by the notes of the modules.
    pub(super) fn find(memory: &dyn Memory, modules: &[Module]) -> Option<Self> {
        modules
            .iter()
            .flat_map(|module| &module.notes)
            .find_map(|&notes| Self::at(memory, notes))
    }

    fn at(memory: &dyn Memory, (address, size): (u64, u64)) -> Option<Self> {
        let mut bytes = vec![0; usize::try_from(size).ok()?];
        let got = memory.read(address, &mut bytes);
        Self::in_notes(bytes.get(..got)?, address, size)
    }

    /// Whether it is still the same: the process may have called execve.
    fn is_there(&self, memory: &dyn Memory) -> bool {
        Self::at(memory, self.notes) == Some(*self)
    }

    fn in_notes(bytes: &[u8], address: u64, size: u64) -> Option<Self> {
        let descriptor = modules::note(bytes, b"UMEM\0", NOTE_TYPE_SNAPSHOT)?;
        // Both are parts of one piece of memory.
        let offset = descriptor.as_ptr() as usize - bytes.as_ptr() as usize;
        let word = |index: usize| {
            let bytes = descriptor.get(index * 8..)?.first_chunk()?;
            Some(u64::from_le_bytes(*bytes))
        };
        let at = |index: usize| {
            let here = address.wrapping_add((offset + index * 8) as u64);
            Some(here.wrapping_add(word(index)?))
        };
        let stub = Self {
            notes: (address, size),
            start: at(1)?,
            end: at(2)?,
            area: at(3)?,
        };
        (word(0)? == SNAPSHOT_VERSION && stub.start < stub.end).then_some(stub)
    }

    /// Whether a thread runs the code, or will go on in it.
    ///
    /// We hold all threads, so that no other debugger can do anything to them. If one died in step 1 or 5, the area is
    /// filled and nobody uses it: we may fill it anew. It is in use while a thread is in the code, or was interrupted in
    /// it. That happens when the debugger died while the thread had the code's registers and its own mask (within steps 2
    /// and 4) and a signal was there: the kernel has put the thread's place in the code into a frame below the stack pointer
    /// that stands in the area, or on an alternate stack, where the handler runs now. The thread needs that frame as long as
    /// it needs the area, so we look for it. Of threads that cannot be stopped nothing is known; then the area is believed.
    pub(super) fn is_busy(&self, memory: &dyn Memory, held: &[Held]) -> bool {
        let registers = held.iter().filter_map(|held| held.registers.as_ref());
        let code = self.start..self.end;
        if registers.clone().any(|own| code.contains(&own.rip)) {
            return true;
        }
        if memory.read_u64(self.area) == Some(0) {
            return false;
        }
        let rsp = self.area + offset_of!(SnapshotArea, rsp) as u64;
        let Some(saved) = memory.read_u64(rsp) else {
            return true;
        };
        let mut stacks = registers.map(|own| own.rsp);
        held.iter().any(|held| held.registers.is_none())
            || self.is_in_frame(memory, saved.saturating_sub(FRAME_MAX))
            || stacks.any(|stack| self.is_in_frame(memory, stack))
    }

    /// Whether an address in the code stands in memory behind this address, as far as a signal's frame reaches.
    fn is_in_frame(&self, memory: &dyn Memory, start: u64) -> bool {
        let end = start.saturating_add(FRAME_MAX);
        let mut page = [0; PAGE];
        let mut pages = (start & !(PAGE as u64 - 1)..end).step_by(PAGE);
        pages.any(|address| {
            let got = memory.read(address, &mut page).min(PAGE);
            let (words, _) = page[..got].as_chunks::<8>();
            let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
            words.any(|word| (self.start..self.end).contains(&word))
        })
    }
}

/// Why no snapshot is made, in words that follow "because".
pub(super) type Refusal = String;

/// Why not when another umdb was killed while it made one, as long as the thread is not back.
pub(super) const BUSY: &str = "another snapshot of it is not finished";

/// What speaks against a snapshot before the process is touched.
pub(super) fn refusal(pid: u32) -> Option<Refusal> {
    let field = |name| procfs::status_field(pid, name);
    let is_init = field("NSpid").is_some_and(|ids| {
        let mut ids = ids.split_whitespace();
        ids.next_back() == Some("1")
    });
    if is_init {
        return Some(
            "it is the first process of its container and would have to reap the snapshot"
                .to_owned(),
        );
    }
    procfs::lack_of_memory(pid)
}

/// A copy, with what it lacks.
pub(super) struct Child {
    pub(super) copy: Frozen,
    pub(super) kept: Kept,
}

/// A frozen process. It is killed when this is dropped, which the thread that made it must do.
pub(super) struct Frozen(Pid);

impl Frozen {
    pub(super) fn pid(&self) -> u32 {
        self.0.as_raw() as u32
    }

    /// Has it give up its file descriptors, so that nothing stays open for it.
    pub(super) fn close_files(&self) {
        // Where the kernel does not know the call, they are shared with the process as long as both live.
        let _ = until_call_ends(self.0, libc::SYS_close_range);
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        end(self.0);
    }
}

/// Kills a traced process and takes note of its end.
fn end(pid: Pid) {
    let _ = kill(pid, Signal::SIGKILL);
    let limit = Instant::now() + STEP_LIMIT;
    while !matches!(
        trace::wait(pid, limit),
        None | Some(Stop::Gone | Stop::Exited(_) | Stop::Killed(..))
    ) {}
}

/// Makes a frozen copy of a process all of whose threads are held. The held threads are as before, unless this fails:
/// then they have to be stopped anew.
pub(super) fn take(
    pid: u32,
    stub: Stub,
    held: &[Held],
    mappings: &[Mapping],
) -> Result<Child, Refusal> {
    let process = procfs::reachable(pid);
    let memory = ProcessMemory::open(process).map_err(|error| error.to_string())?;
    let writer = OpenOptions::new()
        .write(true)
        .open(format!("/proc/{process}/mem"))
        .map_err(|error| format!("its memory cannot be written: {error}"))?;
    if !stub.is_there(&memory) {
        return Err("it has just changed its program".to_owned());
    }
    if stub.is_busy(&memory, held) {
        return Err(BUSY.to_owned());
    }
    let (tid, registers) = carrier(pid, held, &memory)?;
    let mut carrier = Carrier {
        tid,
        registers,
        mask: trace::signal_mask(tid).map_err(|error| error.desc().to_owned())?,
        stub,
        writer,
    };
    carrier.enter()?;
    let result = carrier.copy(&memory, mappings);
    match result {
        Ok(child) => match carrier.leave() {
            Ok(()) => Ok(child),
            Err(why) => {
                carrier.abandon(&memory);
                Err(why)
            }
        },
        Err(why) => {
            carrier.abandon(&memory);
            Err(why)
        }
    }
}

/// Threads with seccomp filters of their own that are asked; most processes have the same ones in all.
const ASKED_MAX: usize = 16;

/// The thread whose registers are best to change: one in a system call that the kernel restarts whatever happens, and that its
/// seccomp filters let make a snapshot.
fn carrier(
    pid: u32,
    held: &[Held],
    memory: &dyn Memory,
) -> Result<(Pid, user_regs_struct), Refusal> {
    let mut ranked: Vec<_> = held.iter().filter_map(ranked).collect();
    ranked.sort_by_key(|&(rank, tid, _)| (rank, tid));
    // In a restartable sequence the kernel has to see where the thread is when it goes on.
    let is_free = |tid| {
        const SEQUENCE: u64 = 8;
        trace::restartable_sequence(tid)
            .is_none_or(|at| memory.read_u64(at.wrapping_add(SEQUENCE)) == Some(0))
    };
    let usable = ranked
        .into_iter()
        .filter(|&(rank, tid, _)| rank < RUNNING || is_free(tid));
    let mut refusal = None;
    for (_, tid, registers) in usable.take(ASKED_MAX) {
        match seccomp::objection(pid, tid) {
            None => return Ok((tid, registers)),
            Some(why) => refusal = refusal.or(Some(why)),
        }
    }
    Err(refusal.unwrap_or_else(|| "no thread of it can be used to make one".to_owned()))
}

/// Rank of a thread that was interrupted in its own code.
const RUNNING: u32 = 4;

/// How good a carrier a thread is: 0 is best.
fn ranked(held: &Held) -> Option<(u32, Pid, user_regs_struct)> {
    let registers = held.registers.as_ref()?;
    let in_call = registers.orig_rax as i64 >= 0;
    let rank = match registers.rax as i64 {
        _ if registers.cs != USER_CODE => return None,
        restart::SYS | restart::NO_INTERRUPT if in_call => 0,
        restart::BLOCK if in_call => 1,
        restart::NO_HANDLER if in_call => 3,
        _ if in_call => 2,
        _ => RUNNING,
    };
    Some((rank, held.tid, *registers))
}

/// The thread that runs the code.
struct Carrier {
    tid: Pid,
    /// Its own registers and signal mask.
    registers: user_regs_struct,
    mask: u64,
    stub: Stub,
    writer: File,
}

impl Carrier {
    /// Steps 1 to 3: the carrier stands before the code's first instruction.
    fn enter(&mut self) -> Result<(), Refusal> {
        self.writer
            .write_all_at(&self.saved().to_bytes(), self.stub.area)
            .map_err(|error| format!("its memory cannot be written: {error}"))?;
        let start = user_regs_struct {
            rip: self.stub.start,
            orig_rax: u64::MAX,
            ..self.registers
        };
        let options = libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_TRACESYSGOOD;
        let result = trace::set_options(self.tid, options)
            .and_then(|()| trace::set_registers(self.tid, &start))
            .and_then(|()| trace::set_signal_mask(self.tid, u64::MAX));
        result.map_err(|error| {
            self.clear();
            gone(error.desc())
        })
    }

    /// What the code takes back by itself when nobody else does.
    fn saved(&self) -> SnapshotArea {
        let own = restart::in_user_mode(&self.registers);
        SnapshotArea {
            busy: self.tid.as_raw() as u64,
            flags: own.eflags,
            rsp: own.rsp,
            rip: own.rip,
            mask: self.mask,
            rax: own.rax,
            rbx: own.rbx,
            rcx: own.rcx,
            rdx: own.rdx,
            rsi: own.rsi,
            rdi: own.rdi,
            rbp: own.rbp,
            r8_to_r15: [
                own.r8, own.r9, own.r10, own.r11, own.r12, own.r13, own.r14, own.r15,
            ],
        }
    }

    /// Runs the code up to the end of the helper; what fork leaves out is copied by us.
    fn copy(&self, memory: &ProcessMemory, mappings: &[Mapping]) -> Result<Child, Refusal> {
        let helper = until_clone(self.tid)?;
        let made = stopped(helper).and_then(|()| until_clone(helper));
        let child = match made {
            Ok(child) => child,
            Err(why) => {
                let _ = trace::resume(helper, 0);
                let _ = ended(helper);
                return Err(why);
            }
        };
        let result = freeze(child).and_then(|()| keep::left_out(self.tid, child, memory, mappings));
        let _ = trace::resume(helper, 0);
        let ended = ended(helper);
        match result.and_then(|kept| ended.map(|()| kept)) {
            Ok(kept) => Ok(Child {
                copy: Frozen(child),
                kept,
            }),
            Err(why) => {
                end(child);
                Err(why)
            }
        }
    }

    /// Step 4 and 5: waits for the carrier where it has reaped the helper, and puts back what it had.
    fn leave(&self) -> Result<(), Refusal> {
        until_call_ends(self.tid, libc::SYS_wait4)?;
        // It stops before it is back in user mode, where the kernel restarts calls.
        go_on_to_stop(self.tid, 0).map_err(|error| gone(error.desc()))?;
        stopped(self.tid)?;
        trace::set_signal_mask(self.tid, self.mask)
            .and_then(|()| trace::set_registers(self.tid, &self.registers))
            .and_then(|()| trace::set_options(self.tid, 0))
            .map_err(|error| gone(error.desc()))?;
        self.clear();
        Ok(())
    }

    fn clear(&self) {
        let zero = SnapshotArea::default().to_bytes();
        // Where this fails the process is gone.
        let _ = self.writer.write_all_at(&zero, self.stub.area);
    }

    /// Lets the carrier find its way back by itself, and waits for that.
    fn abandon(&self, memory: &ProcessMemory) {
        let _ = trace::detach(self.tid);
        let end = Instant::now() + RETURN_LIMIT;
        while memory
            .read_u64(self.stub.area)
            .is_some_and(|busy| busy != 0)
            && Instant::now() < end
        {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn gone(why: &str) -> Refusal {
    format!("it went away meanwhile ({why})")
}

fn unexpected(stop: Option<Stop>) -> Refusal {
    match stop {
        None => "making one takes too long".to_owned(),
        Some(Stop::Exited(_) | Stop::Killed(..) | Stop::Gone) => gone("it ended"),
        Some(_) => "it did something unexpected meanwhile".to_owned(),
    }
}

/// Runs a thread to the event that tells of its new process, and gives that.
fn until_clone(tid: Pid) -> Result<Pid, Refusal> {
    match run(tid, libc::SYS_clone)? {
        Ran::Event(libc::PTRACE_EVENT_CLONE) => {
            let message = trace::event_message(tid).map_err(|error| gone(error.desc()))?;
            Ok(Pid::from_raw(message as i32))
        }
        Ran::Event(_) => Err(unexpected(Some(Stop::Call))),
        Ran::Result(result) => {
            let error = nix::errno::Errno::from_raw(-(result as i32));
            Err(format!(
                "the system refused to make a copy: {}",
                error.desc()
            ))
        }
    }
}

/// Runs a thread to the end of a system call.
fn until_call_ends(tid: Pid, call: libc::c_long) -> Result<i64, Refusal> {
    loop {
        if let Ran::Result(result) = run(tid, call)? {
            return Ok(result);
        }
    }
}

enum Ran {
    /// An event other than a stop of the whole process.
    Event(libc::c_int),
    /// The call returned this.
    Result(i64),
}

/// Runs a thread until the next event, or until a system call has its result.
fn run(tid: Pid, call: libc::c_long) -> Result<Ran, Refusal> {
    let limit = Instant::now() + STEP_LIMIT;
    let mut signal = 0;
    let mut is_inside = false;
    loop {
        trace::resume_to_call(tid, signal).map_err(|error| gone(error.desc()))?;
        signal = 0;
        match trace::wait(tid, limit) {
            Some(Stop::Call) => {
                let now = trace::registers(tid).map_err(|error| gone(error.desc()))?;
                if now.orig_rax as i64 != call {
                    continue;
                }
                // A kernel or a filter that does not know the call returns what the entry shows.
                match now.rax as i64 {
                    ENTERING if !is_inside => is_inside = true,
                    // A stop of the whole process came between: the call is made once more.
                    restart::BLOCK..=restart::SYS => is_inside = false,
                    result => return Ok(Ran::Result(result)),
                }
            }
            // The whole process is stopped; letting go of it will stop the carrier again.
            Some(Stop::Event(libc::PTRACE_EVENT_STOP)) => {}
            Some(Stop::Event(event)) => return Ok(Ran::Event(event)),
            // Only SIGSTOP cannot be blocked.
            Some(Stop::Signal(number)) => signal = number,
            other => return Err(unexpected(other)),
        }
    }
}

/// Waits for a thread's stop.
fn stopped(tid: Pid) -> Result<(), Refusal> {
    let limit = Instant::now() + STEP_LIMIT;
    loop {
        match trace::wait(tid, limit) {
            Some(Stop::Event(libc::PTRACE_EVENT_STOP)) => return Ok(()),
            Some(Stop::Signal(signal)) => {
                go_on_to_stop(tid, signal).map_err(|error| gone(error.desc()))?;
            }
            Some(Stop::Event(_) | Stop::Call) => {
                go_on_to_stop(tid, 0).map_err(|error| gone(error.desc()))?;
            }
            other => return Err(unexpected(other)),
        }
    }
}

/// Waits for the end of the helper.
fn ended(helper: Pid) -> Result<(), Refusal> {
    let limit = Instant::now() + STEP_LIMIT;
    loop {
        match trace::wait(helper, limit) {
            Some(Stop::Exited(_) | Stop::Killed(..) | Stop::Gone) => return Ok(()),
            Some(_) => trace::resume(helper, 0).map_err(|error| gone(error.desc()))?,
            None => return Err(unexpected(None)),
        }
    }
}

/// Makes sure that the copy dies with us, and that it rather than the process is chosen when memory is short.
fn freeze(child: Pid) -> Result<(), Refusal> {
    stopped(child)?;
    let options = libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACESYSGOOD;
    trace::set_options(child, options).map_err(|error| gone(error.desc()))?;
    // Best effort: where /proc is not writable the kernel chooses as it likes.
    let _ = std::fs::write(format!("/proc/{child}/oom_score_adj"), "1000");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Image;

    const STUB: Stub = Stub {
        notes: (0, 0),
        start: 0x1000,
        end: 0x1100,
        area: 0x2000,
    };

    fn held(rip: u64, rsp: u64) -> Held {
        // SAFETY: it holds integers only, for which zero is a value.
        let registers: user_regs_struct = unsafe { std::mem::zeroed() };
        Held {
            tid: Pid::from_raw(7),
            registers: Some(user_regs_struct {
                rip,
                rsp,
                ..registers
            }),
        }
    }

    #[test]
    fn an_area_is_in_use_while_a_thread_will_go_on_in_the_code() {
        let (stack, alternate) = (0x7fff_0000_1000, 0x6000_0000);
        let mut image = Image::new();
        let area = SnapshotArea {
            busy: 7,
            rsp: stack + 0x800,
            ..SnapshotArea::default()
        };
        image.write(0x2000, &SnapshotArea::default().to_bytes());
        image.write(stack, &[0; 0x2000]);
        image.write(alternate, &[0; 0x2000]);
        let threads = [held(0x5000, stack + 0x700), held(0x5000, alternate + 0x10)];
        assert!(!STUB.is_busy(&image, &threads), "nothing was noted");
        assert!(STUB.is_busy(&image, &[held(0x10ff, stack)]));
        image.write(0x2000, &area.to_bytes());
        assert!(!STUB.is_busy(&image, &threads), "nobody uses it");
        assert!(STUB.is_busy(&image, &[held(0x1000, stack)]));
        let unknown = Held {
            registers: None,
            ..held(0, 0)
        };
        assert!(STUB.is_busy(&image, &[unknown]));
        for frame in [stack + 0x28, alternate + 0x1000] {
            image.write(frame, &0x1000_u64.to_le_bytes());
            assert!(STUB.is_busy(&image, &threads), "interrupted, {frame:x}");
            image.write(frame, &0x1100_u64.to_le_bytes());
            assert!(!STUB.is_busy(&image, &threads), "{frame:x}");
        }
    }

    #[test]
    fn the_note_leads_to_the_code() {
        let mut note = vec![5, 0, 0, 0, 32, 0, 0, 0, 2, 0, 0, 0];
        note.extend(b"UMEM\0\0\0\0");
        for word in [SNAPSHOT_VERSION, 0x100, 0x180, 0x1000] {
            note.extend(word.to_le_bytes());
        }
        let base = 0x5000;
        let found = Stub::in_notes(&note, base, 60).unwrap();
        assert_eq!(
            (found.start, found.end, found.area),
            (base + 28 + 0x100, base + 36 + 0x180, base + 44 + 0x1000)
        );
        note[20] = 9;
        assert_eq!(Stub::in_notes(&note, base, 60), None, "another version");
        assert_eq!(Stub::in_notes(&note[..30], base, 30), None, "cut off");
    }
}
