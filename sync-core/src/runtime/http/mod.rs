//! HTTP between hosts and the main server.
//!
//! HTTP/1.1, over TLS for addresses with `https://` and where a listener has a certificate ([`tls`](super::tls));
//! in clear to this machine only, which the configuration sees to. What travels is sealed all the same.

mod batch;
mod client;
mod connector;
mod health;
mod listener;
mod metrics;
mod server;

pub use client::{ClientError, Failure, HttpClient};
pub(crate) use health::HealthCheck;
pub(crate) use listener::{Phase, RemoteAddress, connection, serve};
pub(crate) use metrics::Durations;
pub(crate) use server::{App, HEALTH_PATH, METRICS_PATH, bare, json, read, router};
