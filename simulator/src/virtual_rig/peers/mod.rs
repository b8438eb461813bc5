//! A deterministic world of peers, each with a database of its own, on the real engine and the in-memory database.
//!
//! Applications run transactions at peers; replicas synchronise over a simulated network. Every peer has a clock of
//! its own, which its database and its replica share.

mod conclusion;
mod faults;
mod links;
mod network;
mod node;
mod sessions;
mod sizes;
mod store;
mod variant;
mod world;

pub use variant::{Healthy, PeerVariant};
pub use world::PeerWorld;
