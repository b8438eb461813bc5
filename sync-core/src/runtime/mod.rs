//! What performs: real servers behind the requests that the engines make (feature `runtime`).
//!
//! Nothing here decides. [`postgres`] executes [`StoreRequest`](crate::store::StoreRequest)s and
//! [`redis`] [`CacheRequest`](crate::cache::CacheRequest)s as their in-memory forms do, which
//! differential tests hold together. [`driver`] gives each engine a mailbox, a clock and an alarm and
//! performs its effects; [`embedding`] asks a provider for vectors; [`http`] is the way between hosts and server,
//! [`tls`] who is trusted on it;
//! [`main_server`] puts the parts together, and
//! [`sync_proxy`] stands before it; [`peer_node`] is a peer with its own database; [`facade`] is what a host's program calls. This is the one place in
//! the core that reads a clock, draws from the system's randomness and leans on tokio.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod backoff;
pub mod clock;
pub mod driver;
pub mod embedding;
pub mod entropy;
pub mod facade;
pub mod http;
pub mod main_server;
pub mod peer_node;
pub mod peer_store;
pub mod postgres;
pub mod redis;
pub mod sync_proxy;
pub mod tls;

use std::time::Duration;

use crate::time::{Span, Timestamp};

/// The machine's wall clock.
fn wall_clock() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_us(u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX))
}

/// What to do about an address that cannot be listened on.
fn listen_help(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "is another program there?",
        std::io::ErrorKind::AddrNotAvailable => "this machine has no such address",
        std::io::ErrorKind::PermissionDenied => "choose a port from 1024 on, or give the program that right",
        _ => "choose another address",
    }
}

const fn duration(span: Span) -> Duration {
    Duration::from_micros(span.as_us())
}
