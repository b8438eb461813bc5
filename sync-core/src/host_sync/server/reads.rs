//! Reads: looked up in the cache, loaded from the database when it has nothing.

use super::{Exchange, Server, ServerEffect, Work};
use crate::cache::{CacheError, CacheKey, CacheReply, CacheRequest, Refresh};
use crate::entropy::Entropy;
use crate::host_sync::codec::ServerCodec;
use crate::id::Token;
use crate::store::{StateKey, StateRow, StoreRequest};
use crate::time::Now;
use crate::wire::{Request, StatePayload};

impl<C: ServerCodec, E: Entropy> Server<C, E> {
    pub(super) fn look(
        &mut self,
        exchange: Exchange,
        request: Request,
        effects: &mut Vec<ServerEffect<C::Reply>>,
    ) {
        let key = StateKey::new(request.data_type, request.operation.account, request.map);
        let exchange = self.exchanges.insert(exchange);
        let request = CacheRequest::Get(CacheKey::State(key.clone()));
        let token = self.begin(Work::Look { exchange, key });
        effects.push(ServerEffect::Cache { token: Some(token), request });
    }

    pub(super) fn cached(
        &mut self,
        now: Now,
        token: Token,
        answer: Result<CacheReply, CacheError>,
        effects: &mut Vec<ServerEffect<C::Reply>>,
    ) {
        // All else is for the database to complete.
        if !matches!(self.work.get(&token), Some(Work::Look { .. })) {
            return;
        }
        let Some(Work::Look { exchange, key }) = self.work.remove(&token) else { return };
        // A cache that is down is a cache that misses.
        if let Ok(CacheReply::Value(Some(value))) = answer {
            self.counters.cache_hits += 1;
            let payload = StatePayload { version: value.version, data: (&*value.data).into() }.to_json();
            let exchange = self.exchanges.remove(exchange);
            self.reply(now, &exchange, Ok(Some(payload)), effects);
        } else {
            self.counters.cache_misses += 1;
            let request = StoreRequest::Load(key.clone());
            let token = self.begin(Work::Load { exchange, key });
            effects.push(ServerEffect::Store { token, request });
        }
    }

    /// The database answered a load.
    pub(super) fn loaded(
        &mut self,
        now: Now,
        exchange: usize,
        key: StateKey,
        row: Option<StateRow>,
        effects: &mut Vec<ServerEffect<C::Reply>>,
    ) {
        let payload =
            row.as_ref().map(|r| StatePayload { version: r.version, data: (&*r.data).into() }.to_json());
        if let Some(row) = row {
            let refresh = Refresh {
                key,
                version: row.version,
                data: row.data,
                operation: row.operation,
                publish: false,
            };
            self.put(vec![refresh], effects);
        }
        let exchange = self.exchanges.remove(exchange);
        self.reply(now, &exchange, Ok(payload), effects);
    }
}
