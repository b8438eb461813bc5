//! Reference core for peer-to-peer data synchronisation.
//!
//! Everything here is a deterministic state machine or plain data: no I/O, no clock, no
//! randomness of its own (but for `runtime`, a feature that is off by default). An [`engine::Engine`] receives inputs together with the present
//! moment and answers with effects that a driver performs. The simulator drives the same
//! engines in a virtual world; a runtime drives them against real servers.
//!
//! Start at [`host_sync`] for the synchronisation of a P2P host with the main server, at
//! [`envelope`] for what travels between them, at [`config`] for `p2p_data_sync.conf`, and at
//! [`peer_sync`] for peers that each have a database of their own.

pub mod cache;
pub mod config;
pub mod data_type;
pub mod diagnostic;
pub mod embedding;
pub mod engine;
pub mod entropy;
pub mod envelope;
pub mod host_sync;
pub mod id;
pub mod limits;
pub mod peer_sync;
pub mod range_set;
pub mod recording;
#[cfg(feature = "runtime")]
pub mod runtime;
pub mod secret;
pub mod store;
pub mod time;
pub mod wire;
