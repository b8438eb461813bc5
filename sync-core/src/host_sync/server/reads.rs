//! Reads: looked up in the cache, loaded from the database when it has nothing.
//!
//! Single flight: whoever reads a state while it is being looked up or loaded waits for that. Not once a
//! write of the state has been answered since, though: who made it must find it in what it reads.

use std::sync::Arc;

use super::{Exchange, Server, ServerEffect, Status, Work};
use crate::cache::{CacheError, CacheKey, CacheReply, CacheRequest, Keep, Refresh};
use crate::entropy::Entropy;
use crate::host_sync::codec::ServerCodec;
use crate::id::Token;
use crate::limits;
use crate::store::{Apply, StateKey, StateRow, StoreRequest};
use crate::time::{Instant, Now};
use crate::wire::{Rejection, Request, StatePayload};

/// A read of one state, and all exchanges that wait for it.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    key: StateKey,
    /// The exchange that began it.
    first: usize,
    others: Vec<usize>,
}

impl Flight {
    fn exchanges(self) -> impl Iterator<Item = usize> {
        std::iter::once(self.first).chain(self.others)
    }
}

impl<C: ServerCodec, E: Entropy> Server<C, E> {
    pub(super) fn read(
        &mut self,
        exchange: Exchange,
        request: Request,
        effects: &mut Vec<ServerEffect<C::Reply>>,
    ) {
        let key = StateKey::new(request.data_type, request.operation.account, request.map);
        if let Some(flight) = self.joinable(&key) {
            if flight.others.len() + 1 >= limits::FLIGHT_EXCHANGES_MAX {
                self.counters.overloaded += 1;
                let reply = Err(Status::Overloaded);
                effects.push(ServerEffect::Reply { token: exchange.token, reply });
                return;
            }
            let exchange = self.exchanges.insert(exchange);
            if let Some(flight) = self.joinable(&key) {
                flight.others.push(exchange);
            }
            self.counters.reads_joined += 1;
            return;
        }
        let first = self.exchanges.insert(exchange);
        let request = CacheRequest::Get(CacheKey::State(key.clone()));
        let token = self.begin(Work::Look(Flight { key: key.clone(), first, others: Vec::new() }));
        self.flights.insert(key, token);
        effects.push(ServerEffect::Cache { token: Some(token), request });
    }

    /// The read of this state under way that others may still join.
    fn joinable(&mut self, key: &StateKey) -> Option<&mut Flight> {
        let token = self.flights.get(key)?;
        match self.work.get_mut(token)? {
            Work::Look(flight) | Work::Load { flight, .. } => Some(flight),
            _ => None,
        }
    }

    /// Reads under way of what these operations write are not joined any more.
    pub(super) fn close_flights(&mut self, operations: &[Apply]) {
        if !self.flights.is_empty() {
            for key in operations.iter().filter_map(Apply::state_key) {
                self.flights.remove(&key);
            }
        }
    }

    pub(super) fn looked(
        &mut self,
        now: Now,
        token: Token,
        flight: Flight,
        answer: Result<CacheReply, CacheError>,
        effects: &mut Vec<ServerEffect<C::Reply>>,
    ) {
        let is_joinable = self.flights.get(&flight.key) == Some(&token);
        // A cache that is down is a cache that misses.
        if let Ok(CacheReply::Value(Some(value))) = answer {
            if is_joinable {
                self.flights.remove(&flight.key);
            }
            self.counters.cache_hits += 1;
            let payload = StatePayload { version: value.version, data: (&*value.data).into() }.to_json();
            self.answer_all(now, flight, Ok(Some(payload)), effects);
            return;
        }
        self.counters.cache_misses += 1;
        let key = flight.key.clone();
        let request = StoreRequest::Load(key.clone());
        let token = self.begin(Work::Load { flight, asked: now.monotonic });
        if is_joinable {
            self.flights.insert(key, token);
        }
        effects.push(ServerEffect::Store { token, request });
    }

    /// The database answered a load that it was asked for at `asked`; nothing when it did not.
    pub(super) fn loaded(
        &mut self,
        now: Now,
        token: Token,
        (flight, asked): (Flight, Instant),
        row: Option<Option<StateRow>>,
        effects: &mut Vec<ServerEffect<C::Reply>>,
    ) {
        if self.flights.get(&flight.key) == Some(&token) {
            self.flights.remove(&flight.key);
        }
        let Some(row) = row else {
            // A failure is told to those who wait and kept nowhere.
            flight.exchanges().for_each(|exchange| self.unavailable(exchange, effects));
            return;
        };
        let payload =
            row.as_ref().map(|r| StatePayload { version: r.version, data: (&*r.data).into() }.to_json());
        if let Some(row) = row {
            let refresh = Refresh {
                key: flight.key.clone(),
                version: row.version,
                data: row.data,
                operation: row.operation,
                keep: Keep::Value,
                publish: false,
            };
            self.put(now, asked, vec![refresh], effects);
        }
        self.answer_all(now, flight, Ok(payload), effects);
    }

    fn answer_all(
        &mut self,
        now: Now,
        flight: Flight,
        result: Result<Option<Arc<str>>, Rejection>,
        effects: &mut Vec<ServerEffect<C::Reply>>,
    ) {
        for exchange in flight.exchanges() {
            let exchange = self.exchanges.remove(exchange);
            self.reply(now, &exchange, result.clone(), effects);
        }
    }
}
