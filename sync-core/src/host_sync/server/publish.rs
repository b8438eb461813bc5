//! What a write does to the cache, and who is told of it.

use std::sync::Arc;

use super::{Server, ServerEffect};
use crate::cache::{CacheRequest, Keep, Refresh};
use crate::data_type::Nature;
use crate::entropy::Entropy;
use crate::host_sync::codec::ServerCodec;
use crate::store::{Applied, Apply, StateKey, Verdict};
use crate::time::{Instant, Now, Timestamp};

impl<C: ServerCodec, E: Entropy> Server<C, E> {
    /// Brings the cache up to date with a batch that the database was asked for at `asked`, and tells
    /// subscribers of what was critical in it.
    pub(super) fn refresh(
        &mut self,
        now: Now,
        asked: Instant,
        operations: &[Apply],
        applied: &[Applied],
        effects: &mut Vec<ServerEffect<C::Reply>>,
    ) {
        let states = operations.iter().zip(applied).filter_map(|(operation, answer)| {
            let Verdict::Applied { version } = answer.verdict else { return None };
            let keep = match (operation.data_type.nature(), answer.duplicate) {
                (Nature::Event, _) => Keep::Nothing,
                (Nature::State, false) => Keep::Value,
                // Its first answer may have been lost before the cache was told of it. By now its value may
                // be an old one, so it is not put in; but nothing older may stay.
                (Nature::State, true) => Keep::Version,
            };
            if keep == Keep::Nothing && !operation.critical {
                return None;
            }
            Some(Refresh {
                key: StateKey::new(operation.data_type, operation.operation.account, operation.map.clone()),
                version,
                data: Arc::clone(&operation.data),
                operation: operation.operation,
                keep,
                // A repeat is told of once more, since nobody may have been told the first time.
                publish: operation.critical,
            })
        });
        let states: Vec<_> = states.collect();
        self.put(now, asked, states, effects);
    }

    /// Tells the cache what the database, asked at `asked`, said of these states.
    pub(super) fn put(
        &self,
        now: Now,
        asked: Instant,
        states: Vec<Refresh>,
        effects: &mut Vec<ServerEffect<C::Reply>>,
    ) {
        if !states.is_empty() {
            let request =
                CacheRequest::Refresh { states: Arc::new(states), expires: self.expires(now, asked) };
            effects.push(ServerEffect::Cache { token: None, request });
        }
    }

    /// When a state for which the database was asked at `asked` is no longer served: what the answer took is
    /// part of its lifetime, so that a value is never older than that.
    fn expires(&self, now: Now, asked: Instant) -> Option<Timestamp> {
        let expiry = self.settings.cache_expiry?;
        Some((now.wall + expiry).saturating_sub(now.monotonic.since(asked)))
    }
}
