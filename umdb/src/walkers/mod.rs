//! walkers
