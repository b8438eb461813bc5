//! The in-memory cache: the reference for what each request decides.

use std::collections::hash_map::Entry as MapEntry;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::{CacheKey, CacheReply, CacheRequest, CacheValue, Keep, Publication, Refresh};
use crate::time::Timestamp;

/// Executes [`CacheRequest`]s in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryCache {
    entries: FxHashMap<CacheKey, Entry>,
    published: VecDeque<Publication>,
}

#[derive(Clone, Debug)]
struct Entry {
    held: Held,
    /// First moment at which it is no longer served.
    expires: Option<Timestamp>,
}

/// What is held under one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The version; 0 for an application's own entry.
    pub version: u64,
    /// The value; none where the version alone is known.
    pub data: Option<Arc<str>>,
}

impl MemoryCache {
    /// Executes one request at the cache's own time.
    pub fn execute(&mut self, now: Timestamp, request: &CacheRequest) -> CacheReply {
        match request {
            CacheRequest::Get(key) => CacheReply::Value(self.live(now, key)),
            CacheRequest::Set { key, value, expires } => {
                let held = Held { version: 0, data: Some(Arc::clone(value)) };
                self.entries.insert(key.clone(), Entry { held, expires: *expires });
                CacheReply::Done
            }
            CacheRequest::Refresh { states, expires } => {
                for state in states.iter() {
                    self.refresh(now, state, *expires);
                    if state.publish {
                        self.published.push_back(state.publication());
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

    /// Reads what a refresh of these states will need, and changes nothing, as
    /// [`MemoryStore::warm`](crate::store::MemoryStore::warm).
    pub fn warm(&self, states: &[Refresh]) -> u64 {
        let entries = states.iter().filter_map(|state| self.entries.get(&CacheKey::State(state.key.clone())));
        entries.map(|entry| entry.held.version).fold(0, u64::wrapping_add)
    }

    /// Everything that has not expired at `now`, with the first moment at which it has.
    pub fn entries(&self, now: Timestamp) -> BTreeMap<CacheKey, (Held, Option<Timestamp>)> {
        let live = self.entries.iter().filter(|(_, entry)| entry.expires.is_none_or(|at| at > now));
        live.map(|(key, entry)| (key.clone(), (entry.held.clone(), entry.expires))).collect()
    }

    /// Entries held, expired ones included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn live(&mut self, now: Timestamp, key: &CacheKey) -> Option<CacheValue> {
        let Entry { held, expires } = self.entries.get(key)?;
        if expires.is_some_and(|at| at <= now) {
            self.entries.remove(key);
            return None;
        }
        held.data.as_ref().map(|data| CacheValue { version: held.version, data: Arc::clone(data) })
    }

    fn remove(&mut self, now: Timestamp, key: &CacheKey) -> bool {
        let there = self.live(now, key).is_some();
        self.entries.remove(key);
        there
    }

    fn refresh(&mut self, now: Timestamp, state: &Refresh, expires: Option<Timestamp>) {
        let data = match state.keep {
            Keep::Value => Some(Arc::clone(&state.data)),
            Keep::Version => None,
            Keep::Nothing => return,
        };
        let fresh = Entry { held: Held { version: state.version, data }, expires };
        match self.entries.entry(CacheKey::State(state.key.clone())) {
            MapEntry::Vacant(place) => {
                place.insert(fresh);
            }
            MapEntry::Occupied(mut place) => {
                let Entry { held, expires } = place.get();
                let is_live = expires.is_none_or(|at| at > now);
                let tells_more = held.version < state.version
                    || held.version == state.version && held.data.is_none() && fresh.held.data.is_some();
                if !is_live || tells_more {
                    place.insert(fresh);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_type::SyncDataType;
    use crate::id::{AccountId, Incarnation, MapName, OperationId};
    use crate::store::StateKey;

    fn state(version: u64, data: &str) -> Refresh {
        Refresh {
            key: StateKey::new(SyncDataType::MapState, AccountId(1), MapName::new("m").unwrap()),
            version,
            data: data.into(),
            operation: OperationId { account: AccountId(1), incarnation: Incarnation(1), counter: version },
            keep: Keep::Value,
            publish: true,
        }
    }

    fn version(version: u64) -> Refresh {
        Refresh { keep: Keep::Version, publish: false, ..state(version, "") }
    }

    fn put(cache: &mut MemoryCache, now: u64, state: Refresh, expires_ms: Option<u64>) {
        let expires = expires_ms.map(Timestamp::from_ms);
        let request = CacheRequest::Refresh { states: Arc::new(vec![state]), expires };
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
        put(&mut cache, 10, state(1, "one"), Some(15));
        assert_eq!(get(&mut cache, 14).as_deref(), Some("one"));
        assert_eq!(get(&mut cache, 15), None);
        put(&mut cache, 20, state(1, "again"), None);
        assert_eq!(get(&mut cache, u64::MAX / 1_000).as_deref(), Some("again"));
    }

    #[test]
    fn a_version_alone_removes_what_is_older_and_keeps_it_out() {
        let mut cache = MemoryCache::default();
        put(&mut cache, 0, state(1, "one"), None);
        put(&mut cache, 0, version(2), None);
        assert_eq!(get(&mut cache, 0), None);
        put(&mut cache, 0, state(1, "one"), None);
        assert_eq!(get(&mut cache, 0), None);
        put(&mut cache, 0, state(2, "two"), None);
        assert_eq!(get(&mut cache, 0).as_deref(), Some("two"));
        put(&mut cache, 0, version(2), None);
        put(&mut cache, 0, version(1), None);
        assert_eq!(get(&mut cache, 0).as_deref(), Some("two"));
    }

    #[test]
    fn an_event_is_published_and_not_kept() {
        let mut cache = MemoryCache::default();
        put(&mut cache, 0, Refresh { keep: Keep::Nothing, ..state(1, "hello") }, None);
        assert!(cache.is_empty());
        assert_eq!(cache.take_published().map(|told| told.version).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn set_delete_exists_and_flush_do_as_they_say() {
        let mut cache = MemoryCache::default();
        let key = CacheKey::Text("k".into());
        let now = Timestamp::from_ms(0);
        let set = CacheRequest::Set { key: key.clone(), value: "v".into(), expires: None };
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
