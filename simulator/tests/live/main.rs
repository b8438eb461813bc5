//! Against real servers in containers. One program, because linking takes longer than some of what is tested.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod canaries;
mod containers;
mod hosts;
mod peers;
mod runs;
