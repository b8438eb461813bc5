//! HTTP between hosts and the main server.
//!
//! Plain HTTP/1.1: TLS is not built in, and an address with `https://` is refused here rather than spoken
//! to in clear. Between machines a proxy on each side terminates it; what travels is sealed all the same.

mod batch;
mod client;
mod health;
mod listener;
mod metrics;
mod server;

pub use client::{ClientError, Failure, HttpClient};
pub(crate) use health::HealthCheck;
pub(crate) use listener::{Phase, serve};
pub(crate) use metrics::Durations;
pub(crate) use server::{App, HEALTH_PATH, METRICS_PATH, bare, json, read, router};
