//! What the engines ask of a cache, as data, and the in-memory cache.
//!
//! A cached state carries the version that the database gave it, and a cache never replaces a newer
//! version by an older one: a slow reader cannot put a stale value back (Nishtala et al. 2013,
//! section 3.2.1, solve the same with leases). A version can be held without its value: then there is
//! nothing to serve, and older versions stay out all the same.
//!
//! Lifetimes are absolute moments, counted from when the database was asked: what is slow on its way to
//! the cache has less of its lifetime left there, never more.

mod memory;
mod missed;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::id::OperationId;
use crate::store::StateKey;
use crate::time::Timestamp;

pub use memory::{Held, MemoryCache};
pub use missed::Missed;

/// Names one entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheKey {
    /// A state of the main server's database.
    State(StateKey),
    /// An application's own entry.
    Text(Arc<str>),
}

/// A value and the version that the database gave it; 0 for an application's own entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheValue {
    /// Version of the state.
    pub version: u64,
    /// JSON text, or the application's text.
    pub data: Arc<str>,
}

/// What is known of a state, or an event: it has just been written or read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refresh {
    /// Which state; of an event, the type, the account it came from (0 for a type of the map) and the map.
    pub key: StateKey,
    /// Its version; of an event, its place among the session's operations on that map and type.
    pub version: u64,
    /// Its value in that version.
    pub data: Arc<str>,
    /// The operation that wrote it.
    pub operation: OperationId,
    /// What the cache keeps of it.
    pub keep: Keep,
    /// Whether subscribers to critical updates are told.
    pub publish: bool,
}

/// What a cache keeps of a [`Refresh`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// The value, unless something newer is there.
    Value,
    /// The version alone, unless it or something newer is there: an older value goes and does not come back.
    /// For what may be out of date by now itself.
    Version,
    /// Nothing: an event.
    Nothing,
}

impl Refresh {
    /// What subscribers are told.
    pub fn publication(&self) -> Publication {
        Publication {
            key: self.key.clone(),
            version: self.version,
            data: Arc::clone(&self.data),
            operation: self.operation,
        }
    }
}

/// What subscribers to critical updates are told: a state or an event took effect. The same one may be told
/// several times, and versions of one state in any order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// See [`Refresh::key`].
    pub key: StateKey,
    /// See [`Refresh::version`].
    pub version: u64,
    /// Its value in that version.
    pub data: Arc<str>,
    /// The operation that wrote it.
    pub operation: OperationId,
}

/// What whoever follows publications is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// A critical state or event took effect.
    Publication(Publication),
    /// From here on nothing is missed; what was published before may have been. Comes first of all, after
    /// each loss of the connection, after messages were dropped, and when a publisher lost some.
    Gap,
}

/// Everything that is asked of the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheRequest {
    /// Reads one entry that has not expired.
    Get(CacheKey),
    /// Writes one entry, replacing whatever was there.
    Set {
        /// Which entry.
        key: CacheKey,
        /// Its value.
        value: Arc<str>,
        /// First moment at which it is no longer served; `None` never expires.
        expires: Option<Timestamp>,
    },
    /// Keeps of each state what it says, and publishes those marked so.
    Refresh {
        /// In the order of their writing.
        states: Arc<Vec<Refresh>>,
        /// First moment at which what is kept of them is no longer served; `None` never expires.
        expires: Option<Timestamp>,
    },
    /// Removes one entry.
    Delete(CacheKey),
    /// Whether an entry is there and has not expired.
    Exists(CacheKey),
    /// Removes everything.
    Flush,
}

/// Answers, in the order of [`CacheRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheReply {
    /// The entry, if there is one.
    Value(Option<CacheValue>),
    /// Done.
    Done,
    /// Whether the entry was there.
    Found(bool),
}

/// The cache did not do as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheError {
    /// It cannot be reached.
    #[error("the cache is unavailable")]
    Unavailable,
}
