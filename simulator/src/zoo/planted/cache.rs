//! Defects of the cache and of what is done about it.

use std::sync::Arc;

use sync_core::cache::{CacheKey, CacheRequest, Keep};
use sync_core::id::MapName;
use sync_core::store::StateKey;
use sync_core::time::{Span, Timestamp};
use sync_core::wire::{Kind, Request};

use super::Planted;

impl Planted {
    /// What the cache executes in place of a request; its lifetime in full is `expiry`.
    pub(super) fn cache_instead(
        self,
        now: Timestamp,
        expiry: Option<Span>,
        request: &CacheRequest,
    ) -> Option<Vec<CacheRequest>> {
        match (self.number, request) {
            // Versions are not looked at: what comes later stays.
            (45, CacheRequest::Refresh { states, expires }) => {
                let held = states.iter().filter(|state| state.keep == Keep::Value);
                let deletes = held.map(|state| CacheRequest::Delete(CacheKey::State(state.key.clone())));
                let mut requests: Vec<_> = deletes.collect();
                requests.push(CacheRequest::Refresh { states: Arc::clone(states), expires: *expires });
                Some(requests)
            }
            // The lifetime travels as a duration: what the way took comes on top.
            (48, CacheRequest::Refresh { states, .. }) => {
                let expires = expiry.map(|expiry| now + expiry);
                Some(vec![CacheRequest::Refresh { states: Arc::clone(states), expires }])
            }
            _ => None,
        }
    }

    /// A load that failed is kept as its result, for a minute as in system A.
    pub(super) fn keeps_failure(self, now: Timestamp, key: &StateKey) -> Option<CacheRequest> {
        (self.number == 47).then(|| CacheRequest::Set {
            key: CacheKey::State(key.clone()),
            value: "null".into(),
            expires: Some(now + Span::from_secs(60)),
        })
    }

    /// A state is looked for under a name that has the operation's id in it.
    pub(super) fn named_by_operation(self, mut request: Request) -> Request {
        if self.number == 49 && request.kind == Kind::SyncFrom {
            let operation = request.operation;
            let name = format!("{}#{}.{}", request.map, operation.account, operation.counter);
            if let Ok(map) = MapName::new(&name) {
                request.map = map;
            }
        }
        request
    }

    /// The state that is meant by such a name.
    pub(super) fn means(self, key: StateKey) -> StateKey {
        match key.map.as_str().split_once('#') {
            Some((map, _)) if self.number == 49 => {
                let map = MapName::new(map).unwrap_or_else(|_| key.map.clone());
                StateKey { map, ..key }
            }
            _ => key,
        }
    }
}
