//! The engine of a peer: what it is told, what it asks for, and how it decides.

mod messages;
mod policy;
mod status;

pub use messages::{Command, NoAnswer, ReplicaEffect, ReplicaInput};
pub use policy::{ReplicaPolicy, Standard};
pub use status::{API_VERSION, Activity, Status, SyncConfig};
