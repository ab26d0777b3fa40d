//! Ctrl-C while a command runs: the first one asks the command to stop, the second one ends umdb.
//!
//! At all other times it ends umdb at once. However umdb ends, the kernel lets a process that it had
//! stopped go on.

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};

use crate::analysis::Cancel;

/// The request that Ctrl-C makes.
pub(super) static CANCEL: Cancel = Cancel::new();

extern "C" fn on_interrupt(_: libc::c_int) {
    if CANCEL.request() {
        set(SigHandler::SigDfl);
        // It is delivered when this handler returns.
        let _ = raise(Signal::SIGINT);
    }
}

fn set(handler: SigHandler) {
    let action = SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the only handler of ours swaps an atomic and calls sigaction and raise, which are all
    // async-signal-safe.
    let _ = unsafe { sigaction(Signal::SIGINT, &action) };
}

/// Runs commands that Ctrl-C can stop; a request from before is forgotten.
pub(super) fn stoppable<T>(commands: impl FnOnce() -> T) -> T {
    CANCEL.clear();
    set(SigHandler::Handler(on_interrupt));
    let result = commands();
    set(SigHandler::SigDfl);
    result
}
