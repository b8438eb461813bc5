//! What the engines ask of a cache, as data, and the in-memory cache.
//!
//! A cached state carries the version that the database gave it, and a cache never replaces a newer
//! version by an older one: a slow reader cannot put a stale value back (Nishtala et al. 2013,
//! section 3.2.1, solve the same with leases).

use std::collections::hash_map::Entry as MapEntry;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::id::OperationId;
use crate::store::StateKey;
use crate::time::{Span, Timestamp};

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

/// A state that has just been written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refresh {
    /// Which state.
    pub key: StateKey,
    /// Its new version.
    pub version: u64,
    /// Its new value.
    pub data: Arc<str>,
    /// The operation that wrote it.
    pub operation: OperationId,
    /// Whether subscribers to critical updates are told.
    pub publish: bool,
}

/// What subscribers to critical updates are told.
pub type Publication = Refresh;

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
        /// Its lifetime; `None` never expires.
        expiry: Option<Span>,
    },
    /// Puts the states in, each only where nothing newer is, and publishes those marked so.
    Refresh {
        /// In the order of their writing.
        states: Arc<Vec<Refresh>>,
        /// Lifetime of each; `None` never expires.
        expiry: Option<Span>,
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

/// Executes [`CacheRequest`]s in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryCache {
    entries: FxHashMap<CacheKey, Entry>,
    published: VecDeque<Publication>,
}

#[derive(Clone, Debug)]
struct Entry {
    value: CacheValue,
    /// First moment at which it is no longer served.
    expires: Option<Timestamp>,
}

impl MemoryCache {
    /// Executes one request at the cache's own time.
    pub fn execute(&mut self, now: Timestamp, request: &CacheRequest) -> CacheReply {
        match request {
            CacheRequest::Get(key) => CacheReply::Value(self.live(now, key).cloned()),
            CacheRequest::Set { key, value, expiry } => {
                let value = CacheValue { version: 0, data: Arc::clone(value) };
                self.entries.insert(key.clone(), Entry { value, expires: expiry.map(|span| now + span) });
                CacheReply::Done
            }
            CacheRequest::Refresh { states, expiry } => {
                for state in states.iter() {
                    self.refresh(now, state, *expiry);
                    if state.publish {
                        self.published.push_back(state.clone());
                    }
                }
                CacheReply::Done
            }
            CacheRequest::Delete(key) => CacheReply::Found(self.remove(now, key)),
            CacheRequest::Exists(key) => CacheReply::Found(self.live(now, key).is_some()),
            CacheRequest::Flush => {
                self.entries.clear();
                CacheReply::Done
            }
        }
    }

    /// Takes what has been published since the last call, in order.
    pub fn take_published(&mut self) -> impl Iterator<Item = Publication> + '_ {
        self.published.drain(..)
    }

    /// Every entry that is served at `now`, with the first moment at which it no longer is.
    pub fn entries(&self, now: Timestamp) -> BTreeMap<CacheKey, (CacheValue, Option<Timestamp>)> {
        let live = self.entries.iter().filter(|(_, entry)| entry.expires.is_none_or(|at| at > now));
        live.map(|(key, entry)| (key.clone(), (entry.value.clone(), entry.expires))).collect()
    }

    /// Entries held, expired ones included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn live(&mut self, now: Timestamp, key: &CacheKey) -> Option<&CacheValue> {
        let expired = self.entries.get(key)?.expires.is_some_and(|at| at <= now);
        if expired {
            self.entries.remove(key);
            return None;
        }
        self.entries.get(key).map(|entry| &entry.value)
    }

    fn remove(&mut self, now: Timestamp, key: &CacheKey) -> bool {
        let there = self.live(now, key).is_some();
        self.entries.remove(key);
        there
    }

    fn refresh(&mut self, now: Timestamp, state: &Refresh, expiry: Option<Span>) {
        let fresh = || Entry {
            value: CacheValue { version: state.version, data: Arc::clone(&state.data) },
            expires: expiry.map(|span| now + span),
        };
        match self.entries.entry(CacheKey::State(state.key.clone())) {
            MapEntry::Vacant(place) => {
                place.insert(fresh());
            }
            MapEntry::Occupied(mut place) => {
                let Entry { value, expires } = place.get();
                let live = expires.is_none_or(|at| at > now);
                if !live || value.version < state.version {
                    place.insert(fresh());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_type::SyncDataType;
    use crate::id::{AccountId, Incarnation, MapName};

    fn state(version: u64, data: &str) -> Refresh {
        Refresh {
            key: StateKey::new(SyncDataType::MapState, AccountId(1), MapName::new("m").unwrap()),
            version,
            data: data.into(),
            operation: OperationId { account: AccountId(1), incarnation: Incarnation(1), counter: version },
            publish: true,
        }
    }

    fn put(cache: &mut MemoryCache, now: u64, state: Refresh, expiry: Option<Span>) {
        let request = CacheRequest::Refresh { states: Arc::new(vec![state]), expiry };
        assert_eq!(cache.execute(Timestamp::from_ms(now), &request), CacheReply::Done);
    }

    fn get(cache: &mut MemoryCache, now: u64) -> Option<String> {
        let key = CacheKey::State(state(0, "").key);
        match cache.execute(Timestamp::from_ms(now), &CacheRequest::Get(key)) {
            CacheReply::Value(value) => value.map(|v| v.data.to_string()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_older_version_never_replaces_a_newer_one() {
        let mut cache = MemoryCache::default();
        put(&mut cache, 0, state(2, "two"), None);
        put(&mut cache, 1, state(1, "one"), None);
        assert_eq!(get(&mut cache, 2).as_deref(), Some("two"));
        assert_eq!(cache.take_published().count(), 2);
    }

    #[test]
    fn an_entry_expires_at_its_deadline_and_not_before() {
        let mut cache = MemoryCache::default();
        put(&mut cache, 10, state(1, "one"), Some(Span::from_ms(5)));
        assert_eq!(get(&mut cache, 14).as_deref(), Some("one"));
        assert_eq!(get(&mut cache, 15), None);
        put(&mut cache, 20, state(1, "again"), None);
        assert_eq!(get(&mut cache, u64::MAX / 1_000).as_deref(), Some("again"));
    }

    #[test]
    fn set_delete_exists_and_flush_do_as_they_say() {
        let mut cache = MemoryCache::default();
        let key = CacheKey::Text("k".into());
        let now = Timestamp::from_ms(0);
        let set = CacheRequest::Set { key: key.clone(), value: "v".into(), expiry: None };
        assert_eq!(cache.execute(now, &set), CacheReply::Done);
        assert_eq!(cache.execute(now, &CacheRequest::Exists(key.clone())), CacheReply::Found(true));
        assert_eq!(cache.execute(now, &CacheRequest::Delete(key.clone())), CacheReply::Found(true));
        assert_eq!(cache.execute(now, &CacheRequest::Delete(key.clone())), CacheReply::Found(false));
        assert_eq!(cache.execute(now, &set), CacheReply::Done);
        assert_eq!(cache.execute(now, &CacheRequest::Flush), CacheReply::Done);
        assert!(cache.is_empty());
        assert_eq!(cache.execute(now, &CacheRequest::Get(key)), CacheReply::Value(None));
    }
}
