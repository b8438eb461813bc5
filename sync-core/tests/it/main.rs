//! The tests that need no container. One program, because linking takes longer than most of what is tested.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[cfg(feature = "programs")]
#[path = "../fuzz_support/mod.rs"]
mod fuzz_support;
#[cfg(feature = "programs")]
#[path = "../live_support/mod.rs"]
mod live_support;
#[cfg(feature = "programs")]
#[path = "../peer_support/mod.rs"]
mod peer_support;
#[path = "../recording_support/mod.rs"]
mod recording_support;
#[path = "../support/mod.rs"]
mod support;
#[cfg(feature = "programs")]
#[path = "../tls_support/mod.rs"]
mod tls_support;

mod config;
mod envelope;
mod peer_config;
mod recording;
mod server;
mod server_cache;
mod server_embeddings;
mod server_hosting;
mod server_random;
mod server_updates;
mod session;
mod session_model;
mod session_order;

// Over real sockets, with the services in memory.
#[cfg(feature = "programs")]
mod embedding_client;
#[cfg(feature = "programs")]
mod facade;
#[cfg(feature = "programs")]
mod facade_document;
#[cfg(feature = "programs")]
mod host_canaries;
#[cfg(feature = "programs")]
mod main_server;
#[cfg(feature = "programs")]
mod main_server_program;
#[cfg(feature = "programs")]
mod main_server_recording;
#[cfg(feature = "programs")]
mod peer_api;
#[cfg(feature = "programs")]
mod peer_fuzz;
#[cfg(feature = "programs")]
mod peer_node;
#[cfg(feature = "programs")]
mod peer_node_key;
#[cfg(feature = "programs")]
mod peer_node_program;
#[cfg(feature = "programs")]
mod peer_socket;
#[cfg(feature = "programs")]
mod sync_endpoint;
#[cfg(feature = "programs")]
mod tls;
