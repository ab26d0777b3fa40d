//! Ctrl-C: the first one asks the running command to stop, the second one ends umdb.
//!
//! However umdb ends, the kernel lets a process that it had stopped go on.

#![allow(unsafe_code)]

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};

use crate::analysis::Cancel;

/// The request that Ctrl-C makes.
pub(super) static CANCEL: Cancel = Cancel::new();

extern "C" fn on_interrupt(_: libc::c_int) {
    if CANCEL.request() {
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        // SAFETY: the default action calls no code of ours; sigaction is async-signal-safe.
        let _ = unsafe { sigaction(Signal::SIGINT, &default) };
        // It is delivered when this handler returns.
        let _ = raise(Signal::SIGINT);
    }
}

/// Installs the handler.
pub(super) fn install() {
    let action = SigAction::new(
        SigHandler::Handler(on_interrupt),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    // SAFETY: the handler does nothing but swap an atomic, and calls that are async-signal-safe.
    let _ = unsafe { sigaction(Signal::SIGINT, &action) };
}
