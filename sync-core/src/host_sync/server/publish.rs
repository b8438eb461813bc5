//! What a write does to the cache, and who is told of it.

use std::sync::Arc;

use super::{Server, ServerEffect};
use crate::cache::{CacheKey, CacheRequest, Refresh};
use crate::entropy::Entropy;
use crate::host_sync::codec::ServerCodec;
use crate::store::{Applied, Apply, Verdict};

impl<C: ServerCodec, E: Entropy> Server<C, E> {
    /// Brings the cache up to date with a batch and tells subscribers of what was critical in it.
    pub(super) fn refresh(
        &mut self,
        operations: &[Apply],
        applied: &[Applied],
        effects: &mut Vec<ServerEffect<C::Reply>>,
    ) {
        for (operation, _) in operations.iter().zip(applied).filter(|(_, answer)| answer.duplicate) {
            // Its first answer may have been lost before the cache was told. By now its value may be an
            // old one, so the entry goes, and the next reader brings the current value.
            if let Some(key) = operation.state_key() {
                let request = CacheRequest::Delete(CacheKey::State(key));
                effects.push(ServerEffect::Cache { token: None, request });
            }
        }
        let fresh = operations.iter().zip(applied).filter_map(|(operation, answer)| match answer {
            Applied { verdict: Verdict::Applied { version }, duplicate: false } => Some(Refresh {
                key: operation.state_key()?,
                version: *version,
                data: Arc::clone(&operation.data),
                operation: operation.operation,
                publish: operation.critical,
            }),
            _ => None,
        });
        let fresh: Vec<_> = fresh.collect();
        self.put(fresh, effects);
    }

    pub(super) fn put(&self, states: Vec<Refresh>, effects: &mut Vec<ServerEffect<C::Reply>>) {
        if !states.is_empty() {
            let request =
                CacheRequest::Refresh { states: Arc::new(states), expiry: self.settings.cache_expiry };
            effects.push(ServerEffect::Cache { token: None, request });
        }
    }
}
