//! Synchronisation of P2P hosts with the main server (specification: P2P Data Synchronization System).
//!
//! [`session::Session`] is a host's side, [`server::Server`] the main server's. Both are
//! [engines](crate::engine::Engine) and leave sealing to a [`codec`].

pub mod codec;
pub mod hosting;
pub mod operation;
pub mod policy;
pub mod queue;
pub mod results;
pub mod retry_budget;
pub mod sealed;
pub mod server;
pub mod session;
pub mod settings;
pub mod validate;
