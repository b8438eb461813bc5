//! Applications' own entries in the cache. A cache that is away is told, not hidden: what is not there and
//! what nobody knows are different answers.

use super::{Exchange, Server, ServerEffect, Work};
use crate::cache::{CacheError, CacheReply};
use crate::entropy::Entropy;
use crate::host_sync::codec::ServerCodec;
use crate::time::Now;
use crate::wire::entries::{self, EntryPayload, FoundPayload};
use crate::wire::{ErrorCode, Rejection, Request};

impl<C: ServerCodec, E: Entropy> Server<C, E> {
    pub(super) fn entry(
        &mut self,
        now: Now,
        exchange: Exchange,
        request: &Request,
        effects: &mut Vec<ServerEffect<C::Reply>>,
    ) {
        match entries::request(request.kind, request.operation.account, &request.data, now.wall) {
            Ok(request) => {
                self.counters.entries += 1;
                let exchange = self.exchanges.insert(exchange);
                let token = self.begin(Work::Entry { exchange });
                effects.push(ServerEffect::Cache { token: Some(token), request });
            }
            Err(rejection) => self.reject(now, &exchange, rejection, effects),
        }
    }

    pub(super) fn entry_answered(
        &mut self,
        now: Now,
        exchange: usize,
        answer: Result<CacheReply, CacheError>,
        effects: &mut Vec<ServerEffect<C::Reply>>,
    ) {
        let exchange = self.exchanges.remove(exchange);
        let result = match answer {
            Ok(CacheReply::Value(value)) => {
                Ok(value.map(|value| entries::payload(&EntryPayload { value: (&*value.data).into() })))
            }
            Ok(CacheReply::Found(found)) => Ok(Some(entries::payload(&FoundPayload { found }))),
            Ok(CacheReply::Done) => Ok(None),
            Err(CacheError::Unavailable) => Err(Rejection {
                code: ErrorCode::CacheUnavailable,
                message: "the cache cannot be reached".into(),
            }),
        };
        self.reply(now, &exchange, result, effects);
    }
}
