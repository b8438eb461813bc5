//! Writes: gathered into batches while the database is busy, answered when they are durable.

use std::sync::Arc;

use super::hosting::rejection;
use super::{Exchange, Forming, Server, ServerEffect, Status, Work};
use crate::entropy::Entropy;
use crate::host_sync::codec::ServerCodec;
use crate::limits;
use crate::store::condition::Condition;
use crate::store::{Applied, Apply, StoreError, StoreReply, StoreRequest};
use crate::time::{Instant, Now};
use crate::wire::{Rejection, Request};

impl<C: ServerCodec, E: Entropy> Server<C, E> {
    pub(super) fn gather(
        &mut self,
        now: Now,
        exchange: Exchange,
        request: Request,
        condition: Option<Condition>,
    ) {
        let critical = self.is_critical(&request);
        let slot = self.exchanges.insert(exchange);
        let apply = Apply {
            operation: request.operation,
            data_type: request.data_type,
            map: request.map,
            sequence: request.sequence,
            critical,
            data: request.data,
            received: now.wall,
            condition: condition.map(Box::new),
        };
        let lane = if critical { &mut self.forming_critical } else { &mut self.forming };
        lane.push_back(Forming { exchange: slot, came: now.monotonic, apply });
    }

    pub(super) fn is_critical(&self, request: &Request) -> bool {
        request.critical || self.settings.critical_types.contains(request.data_type)
    }

    /// Sends batches as long as there is something to send and room for it.
    pub(super) fn send_batches(&mut self, now: Now, effects: &mut Vec<ServerEffect<C::Reply>>) {
        while self.batches_under_way < self.settings.batches_in_flight_max {
            self.turn_away(now, effects);
            let waiting = self.forming_critical.len() + self.forming.len();
            let size = waiting.min(self.settings.batch_max);
            if size == 0 {
                return;
            }
            let mut exchanges = Vec::with_capacity(size);
            let mut operations = Vec::with_capacity(size);
            let Self { forming_critical, forming, .. } = self;
            let next = std::iter::from_fn(|| forming_critical.pop_front().or_else(|| forming.pop_front()));
            for Forming { exchange, apply, .. } in next.take(size) {
                exchanges.push(exchange);
                operations.push(apply);
            }
            let operations = Arc::new(operations);
            let request = StoreRequest::ApplyBatch(Arc::clone(&operations));
            let token = self.begin(Work::Batch { exchanges, operations, asked: now.monotonic });
            self.batches_under_way += 1;
            self.counters.batches += 1;
            effects.push(ServerEffect::Store { token, request });
        }
    }

    /// Answers what has waited too long for a batch with 429, the oldest first.
    fn turn_away(&mut self, now: Now, effects: &mut Vec<ServerEffect<C::Reply>>) {
        let Self { forming_critical, forming, exchanges, counters, .. } = self;
        let lanes = [(forming_critical, limits::CRITICAL_GATHERING_MAX), (forming, limits::GATHERING_MAX)];
        for (lane, bound) in lanes {
            while let Some(stale) = lane.pop_front_if(|first| now.monotonic.since(first.came) > bound) {
                counters.overloaded += 1;
                let token = exchanges.remove(stale.exchange).token;
                effects.push(ServerEffect::Reply { token, reply: Err(Status::Overloaded) });
            }
        }
    }

    /// The database answered for a batch that it was asked for at the moment given, or will not.
    pub(super) fn batch_stored(
        &mut self,
        now: Now,
        (exchanges, operations, asked): (Vec<usize>, &[Apply], Instant),
        answer: Result<StoreReply, StoreError>,
        effects: &mut Vec<ServerEffect<C::Reply>>,
    ) {
        self.batches_under_way -= 1;
        match answer {
            Ok(StoreReply::Applied(applied)) if applied.len() == exchanges.len() => {
                self.close_flights(operations);
                self.refresh(now, asked, operations, &applied, effects);
                self.note(now, operations, &applied);
                for (slot, answer) in exchanges.into_iter().zip(applied) {
                    self.applied(now, slot, answer, effects);
                }
            }
            _ => exchanges.into_iter().for_each(|slot| self.unavailable(slot, effects)),
        }
    }

    fn applied(&mut self, now: Now, slot: usize, answer: Applied, effects: &mut Vec<ServerEffect<C::Reply>>) {
        let exchange = self.exchanges.remove(slot);
        let result = self.count(&answer);
        self.reply(now, &exchange, result, effects);
    }

    /// Counts what the database made of an operation, and says it.
    pub(super) fn count(&mut self, answer: &Applied) -> Result<Option<Arc<str>>, Rejection> {
        let result = rejection(answer.verdict).map_or(Ok(None), Err);
        let counter = match (&result, answer.duplicate) {
            (_, true) => &mut self.counters.duplicates,
            (Ok(_), _) => &mut self.counters.applied,
            (Err(_), _) => &mut self.counters.rejected,
        };
        *counter += 1;
        result
    }
}
