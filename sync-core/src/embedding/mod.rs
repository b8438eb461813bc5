//! Embeddings: vectors, what a provider of them is asked, how its answers are read, and when it is asked again.
//!
//! All of it is pure. [`Provider`] says where a request goes and what stands in it, [`reply::read`] takes an
//! answer or refuses it as a whole, [`Attempts`] decides after each failure whether and when to try again. Whoever performs
//! the requests (a runtime over HTTP, a simulated provider) keeps to these.
//!
//! Promises:
//! - a text is paired with its vector by the answer's `index`, never by the order of an answer;
//! - an answer gives exactly one vector of [`limits::EMBEDDING_DIMENSIONS`](crate::limits::EMBEDDING_DIMENSIONS) finite
//!   numbers for each text, or it is an error;
//! - no error holds text from a provider: it may quote a key or a text.

mod attempts;
mod batch;
mod metadata;
mod provider;
pub mod reply;
mod vector;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use attempts::{Attempts, Fault, RetryPolicy};
pub use batch::{Batch, batches};
pub use metadata::{InvalidMetadata, Metadata};
pub use provider::Provider;
pub use reply::InvalidReply;
pub use vector::{Distance, InvalidVector, Vector};

/// Why texts got no vectors. The whole request failed; none of its texts has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmbedError {
    /// The configuration names no provider.
    #[error("no embedding provider is configured")]
    NotConfigured,
    /// It cannot be reached, or answered with a 5xx to the last attempt.
    #[error("the embedding provider is not available")]
    Unavailable,
    /// It gave no answer in time.
    #[error("the embedding provider did not answer in time")]
    TimedOut,
    /// It asked to be left alone for longer than there is time, or again and again.
    #[error("the embedding provider refuses load")]
    RateLimited,
    /// It refused the request: another status of 4xx, which is not tried again.
    #[error("the embedding provider refused the request with HTTP {0}")]
    Refused(u16),
    /// Its answer is not one vector for each text.
    #[error("the embedding provider's answer is not usable: {0}")]
    Invalid(#[from] InvalidReply),
}

impl EmbedError {
    /// Whether the same may succeed when it is asked again later.
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Unavailable | Self::TimedOut | Self::RateLimited)
    }
}
