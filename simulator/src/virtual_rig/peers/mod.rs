//! A deterministic world of peers, each with a database of its own, on the real engine and the in-memory database.
//!
//! Applications run transactions at peers; replicas synchronise over a simulated network. Every peer has a clock of
//! its own, which its database and its replica share.

mod announcements;
mod conclusion;
pub(crate) mod convergence;
mod faults;
mod identities;
pub(crate) mod links;
mod locks;
mod messages;
pub(crate) mod network;
mod node;
pub mod own;
mod sessions;
mod settings;
pub(crate) mod sizes;
mod store;
mod variant;
mod world;

pub(crate) use settings::settings;
pub use variant::{AnyPolicy, AnyVariant, Healthy, PeerVariant};
pub use world::PeerWorld;
