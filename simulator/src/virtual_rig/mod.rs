//! The virtual rig: a deterministic world of hosts and a main server on the real engines.
//!
//! Needs no Docker and no network, and runs faster than real time. What it does not simulate is
//! listed in ARCHITECTURE.md.

pub mod clock;
mod faults;
mod host;
pub mod kernel;
mod main_server;
pub mod modelled;
mod network;
mod pending;
mod services;
pub mod variant;
pub mod world;

use crate::history::Kind;

/// What this rig can observe: everything.
pub const OBSERVABLE: [Kind; 15] = Kind::ALL;
