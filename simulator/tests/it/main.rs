//! The tests that need no container. One program, because linking takes longer than most of what is tested.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod canaries;
mod cli;
mod determinism;
mod embedding_mock;
mod live_child;
mod live_proxy;
mod only;
mod outside;
mod overload;
mod own_engine;
mod own_resolver;
mod plans;
mod recording;
mod report;
mod scenario_diagnostics;
mod scenario_laws;
mod seeds;
mod shrink;
mod zoo_peers;
