//! dcmds
