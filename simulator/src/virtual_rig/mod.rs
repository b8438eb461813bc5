//! The virtual rig: a deterministic world of hosts and a main server on the real engines.

pub mod clock;
pub mod kernel;
