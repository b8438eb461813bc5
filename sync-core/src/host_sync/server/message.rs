//! What goes into a server and what comes out of it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::cache::{CacheError, CacheReply, CacheRequest, Notice};
use crate::embedding::{EmbedError, Vector};
use crate::envelope::KeyUse;
use crate::id::Token;
use crate::recording::frame::{self, Frame};
use crate::store::{StoreError, StoreReply, StoreRequest};
use crate::time::Span;

/// What the world tells the server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", bound(serialize = "R: Frame", deserialize = "R: Frame"))]
pub enum ServerInput<R> {
    /// A request came in; answer with [`ServerEffect::Reply`] and the same token.
    Request {
        /// The driver's name for the exchange.
        token: Token,
        /// Its body.
        #[serde(with = "frame")]
        request: R,
    },
    /// The database answered, or will not.
    Stored {
        /// From [`ServerEffect::Store`].
        token: Token,
        /// The answer.
        answer: Result<StoreReply, StoreError>,
    },
    /// The cache answered, or will not.
    Cached {
        /// From [`ServerEffect::Cache`].
        token: Token,
        /// The answer.
        answer: Result<CacheReply, CacheError>,
    },
    /// From now on these keys are in use, out of those given at construction: keys are being replaced.
    UseKeys(KeyUse),
    /// The embedding provider answered, or will not.
    Embedded {
        /// From [`ServerEffect::Embed`].
        token: Token,
        /// One vector for each text, in their order.
        answer: Result<Vec<Vector>, EmbedError>,
    },
    /// The cache published something, or may have without our learning of it.
    Noticed {
        /// What.
        notice: Notice,
    },
    /// The server is about to end: exchanges that wait for updates are answered now.
    ShutDown,
}

/// What the server asks of the world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", bound(serialize = "Q: Frame", deserialize = "Q: Frame"))]
pub enum ServerEffect<Q> {
    /// Answer an exchange: a sealed reply with HTTP 200, or a bare status.
    Reply {
        /// From [`ServerInput::Request`].
        token: Token,
        /// The body, or the status without one.
        #[serde(with = "frame::result")]
        reply: Result<Q, Status>,
    },
    /// Ask the database.
    Store {
        /// Names the request.
        token: Token,
        /// What is asked.
        request: StoreRequest,
    },
    /// Ask the cache; without a token the answer is of no interest.
    Cache {
        /// Names the request.
        token: Option<Token>,
        /// What is asked.
        request: CacheRequest,
    },
    /// Ask the embedding provider.
    Embed {
        /// Names the request.
        token: Token,
        /// At most [`limits::EMBEDDING_BATCH_TEXTS_MAX`](crate::limits::EMBEDDING_BATCH_TEXTS_MAX).
        texts: Arc<Vec<Arc<str>>>,
    },
    /// Follow what the cache publishes, and hand it over as [`ServerInput::Noticed`], a gap first. Asked once.
    Follow,
}

/// An HTTP status without a frame. It says nothing about the request but this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// 400: not an authentic request. One answer to every cause.
    Refused,
    /// 413.
    TooLarge,
    /// 429: too many exchanges are open; with `Retry-After` of [`RETRY_AFTER`].
    Overloaded,
    /// 503: the database is gone.
    Unavailable,
}

/// What a 429 asks for.
pub const RETRY_AFTER: Span = Span::from_secs(1);

impl Status {
    /// The number.
    pub const fn code(self) -> u16 {
        match self {
            Self::Refused => 400,
            Self::TooLarge => 413,
            Self::Overloaded => 429,
            Self::Unavailable => 503,
        }
    }
}
