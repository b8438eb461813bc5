//! Synchronisation of P2P hosts with the main server (specification: P2P Data Synchronization System).
//!
//! [`session::Session`] is a host's side, [`server::Server`] the main server's. Both are
//! [engines](crate::engine::Engine) and leave sealing to a [`codec`].

pub mod settings;
