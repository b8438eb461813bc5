//! How peers speak to one another: a hello is the documented status, everything else a question to the P2P port.
//!
//! A question is `POST` of its JSON to [`EXCHANGE_PATH`]; the answer comes back with status 200. Bodies of more than a few
//! kilobytes are packed with zstd. With a shared key a request carries its proof in `Authorization`, and an answer its
//! signature in [`SIGNATURE_HEADER`]: what is not signed is not believed, neither here nor there.

mod body;
mod client;
mod keys;
mod server;

pub use body::{Body, BodyError, Coding};
pub use client::PeerClient;
pub(crate) use keys::{Caller, Keys};
pub(crate) use server::{P2pApp, p2p_router, refusal_status};

/// Where questions go.
pub const EXCHANGE_PATH: &str = "/p2p/v1/exchange";
/// Where a peer says how it stands, and who it is.
pub const STATUS_PATH: &str = "/api/v1/p2p/status";
/// Carries the hello of whoever asks for the status: base64 of its JSON.
pub const HELLO_HEADER: &str = "p2p-hello";
/// Carries the signature of an answer: 64 hex digits.
pub const SIGNATURE_HEADER: &str = "p2p-signature";
/// The coding of a packed body.
pub const ZSTD: &str = "zstd";
