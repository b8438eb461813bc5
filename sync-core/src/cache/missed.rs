//! What a cache that was away has not been told, or perhaps not, and how that is made up for.
//!
//! Whoever executes requests takes down each one that failed, and before the next one goes through has the
//! cache do what is noted here: what may be out of date goes, and whoever follows publications is told of a gap.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{CacheKey, CacheRequest, Keep, Refresh};
use crate::store::StateKey;

/// What a cache was not told. Bounded: past the bound everything in the cache counts as out of date.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// Versions that older values must not outlive.
    states: BTreeMap<StateKey, Refresh>,
    /// Entries that go, whatever they hold.
    entries: BTreeSet<CacheKey>,
    everything: bool,
    publications: bool,
}

impl Missed {
    /// Takes down what a request would have done. Past `keys_max` keys, that everything is to go.
    pub fn note(&mut self, request: &CacheRequest, keys_max: usize) {
        match request {
            CacheRequest::Get(_) | CacheRequest::Exists(_) => {}
            CacheRequest::Set { key, .. } | CacheRequest::Delete(key) => {
                if !self.everything {
                    self.entries.insert(key.clone());
                }
            }
            CacheRequest::Refresh { states, .. } => {
                for state in states.iter() {
                    self.publications |= state.publish;
                    if state.keep != Keep::Nothing {
                        self.note_state(state);
                    }
                }
            }
            CacheRequest::Flush => self.note_everything(),
        }
        self.bound(keys_max);
    }

    /// Adds what somebody else took down.
    pub fn merge(&mut self, other: Self, keys_max: usize) {
        self.publications |= other.publications;
        if other.everything {
            self.note_everything();
        }
        other.states.values().for_each(|state| self.note_state(state));
        if !self.everything {
            self.entries.extend(other.entries);
        }
        self.bound(keys_max);
    }

    /// Whether nothing was missed.
    pub fn is_empty(&self) -> bool {
        self.keys() == 0 && !self.everything && !self.publications
    }

    /// Keys that are noted.
    pub fn keys(&self) -> usize {
        self.states.len() + self.entries.len()
    }

    /// Whether all that is cached goes.
    pub fn everything(&self) -> bool {
        self.everything
    }

    /// Whether a publication was among it: followers are to be told of a gap.
    pub fn publications(&self) -> bool {
        self.publications
    }

    /// Entries that go, whatever they hold.
    pub fn entries(&self) -> impl Iterator<Item = &CacheKey> {
        self.entries.iter()
    }

    /// Versions that older values must not outlive, to be kept without value.
    pub fn states(&self) -> impl Iterator<Item = &Refresh> {
        self.states.values()
    }

    fn note_state(&mut self, state: &Refresh) {
        if self.everything || self.states.get(&state.key).is_some_and(|noted| noted.version >= state.version)
        {
            return;
        }
        let version = Refresh { data: Arc::from(""), keep: Keep::Version, publish: false, ..state.clone() };
        self.states.insert(state.key.clone(), version);
    }

    fn note_everything(&mut self) {
        self.everything = true;
        self.states.clear();
        self.entries.clear();
    }

    fn bound(&mut self, keys_max: usize) {
        if self.keys() > keys_max {
            self.note_everything();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_type::SyncDataType;
    use crate::id::{AccountId, Incarnation, MapName, OperationId};

    fn refresh(map: &str, version: u64, keep: Keep, publish: bool) -> CacheRequest {
        let operation = OperationId { account: AccountId(1), incarnation: Incarnation(1), counter: version };
        let key = StateKey::new(SyncDataType::MapState, AccountId(1), MapName::new(map).unwrap());
        let state = Refresh { key, version, data: "{}".into(), operation, keep, publish };
        CacheRequest::Refresh { states: Arc::new(vec![state]), expires: None }
    }

    fn noted(requests: &[CacheRequest], keys_max: usize) -> Missed {
        let mut missed = Missed::default();
        requests.iter().for_each(|request| missed.note(request, keys_max));
        missed
    }

    #[test]
    fn of_a_state_the_newest_version_is_noted_without_its_value() {
        let requests = [refresh("a", 2, Keep::Value, false), refresh("a", 1, Keep::Version, false)];
        let missed = noted(&requests, 10);
        let states: Vec<_> = missed.states().map(|s| (s.version, &*s.data, s.keep)).collect();
        assert_eq!(states, [(2, "", Keep::Version)]);
        assert!(!missed.publications() && !missed.is_empty());
    }

    #[test]
    fn an_event_is_a_publication_and_nothing_else() {
        let missed = noted(&[refresh("a", 1, Keep::Nothing, true)], 10);
        assert_eq!((missed.keys(), missed.publications(), missed.everything()), (0, true, false));
    }

    #[test]
    fn reads_leave_no_trace_and_too_many_keys_are_everything() {
        let text = |text: &str| CacheKey::Text(text.into());
        assert!(noted(&[CacheRequest::Get(text("a")), CacheRequest::Exists(text("b"))], 1).is_empty());
        let writes = [CacheRequest::Delete(text("a")), refresh("a", 1, Keep::Value, false)];
        assert_eq!(noted(&writes, 2).keys(), 2);
        let all = noted(&writes, 1);
        assert!(all.everything() && all.keys() == 0);
        let mut merged = noted(&writes[..1], 10);
        merged.merge(all, 10);
        assert!(merged.everything() && merged.keys() == 0);
    }
}
