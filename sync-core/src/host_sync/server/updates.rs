//! Critical updates for subscribers: a bounded ring of the latest ones, and exchanges that wait for more.
//!
//! Every server learns of every update through the cache's publications, its own included. Each engine
//! numbers what it is told, from its first subscriber on, and a position means something to the engine that
//! gave it only. Whoever asks from elsewhere, from before the ring, or from before a gap is told of a gap: it
//! has to read what counts.

use std::collections::{BTreeSet, VecDeque};

use rustc_hash::FxHashMap;
use slab::Slab;

use super::{Exchange, Server, ServerEffect, Status};
use crate::cache::{Notice, Publication};
use crate::entropy::{Entropy, Purpose};
use crate::host_sync::codec::ServerCodec;
use crate::id::{AccountId, MapName};
use crate::limits;
use crate::time::{Instant, Now, Span};
use crate::wire::Request;
use crate::wire::entries::payload;
use crate::wire::updates::{Position, Subscribe, Update, UpdatesPayload};

/// The latest updates and who waits for the next.
#[derive(Debug, Default)]
pub(super) struct Updates {
    /// The life of this engine, drawn for its first subscriber; until then nothing is kept.
    epoch: Option<u64>,
    ring: VecDeque<Publication>,
    /// Bytes of data in the ring.
    bytes: usize,
    /// The number of the next update.
    next: u64,
    waiting: Slab<Waiting>,
    /// Those who wait, by map.
    by_map: FxHashMap<MapName, Vec<usize>>,
    deadlines: BTreeSet<(Instant, usize)>,
    /// Publications are followed: the first notice has come.
    is_following: bool,
    /// Nobody waits any more: the server is about to end.
    is_closed: bool,
}

/// An exchange that waits for an update.
#[derive(Debug)]
struct Waiting {
    exchange: usize,
    account: AccountId,
    asked: Subscribe,
    until: Instant,
}

/// What a subscriber is told now.
struct Told<'a> {
    updates: Vec<&'a Publication>,
    gap: bool,
    next: u64,
}

impl Updates {
    /// Exchanges that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(until, _)| *until)
    }

    /// The number of the oldest update that is kept.
    fn oldest(&self) -> u64 {
        self.next - self.ring.len() as u64
    }

    /// From when on there is nothing new for those who wait, if that can be said.
    fn nothing_since(&self) -> Option<u64> {
        self.is_following.then_some(self.next)
    }

    fn push(&mut self, publication: Publication) {
        self.bytes += publication.data.len();
        self.ring.push_back(publication);
        self.next += 1;
        while self.ring.len() > limits::UPDATES_KEPT_MAX || self.bytes > limits::UPDATES_KEPT_BYTES_MAX {
            let Some(oldest) = self.ring.pop_front() else { return };
            self.bytes -= oldest.data.len();
        }
    }

    /// No position from before is one that a subscriber can go on from.
    fn break_off(&mut self) {
        self.ring.clear();
        self.bytes = 0;
        self.next += 1;
    }

    /// What this account is told of updates from `from` on; without a place to go on from, only that.
    fn tell(&self, account: AccountId, asked: &Subscribe, from: Option<u64>) -> Told<'_> {
        let Some(from) = from.filter(|from| (self.oldest()..=self.next).contains(from)) else {
            return Told { updates: Vec::new(), gap: true, next: self.next };
        };
        let mut told = Told { updates: Vec::new(), gap: false, next: from };
        let mut bytes = 0;
        for publication in self.ring.range((from - self.oldest()) as usize..) {
            if concerns(account, asked, publication) {
                bytes += publication.data.len();
                let is_full = told.updates.len() == limits::UPDATES_ANSWERED_MAX
                    || bytes > limits::UPDATES_ANSWERED_BYTES_MAX && !told.updates.is_empty();
                if is_full {
                    break;
                }
                told.updates.push(publication);
            }
            told.next += 1;
        }
        told
    }

    fn wait(&mut self, waiting: Waiting) {
        let until = waiting.until;
        let maps = waiting.asked.maps.clone();
        let place = self.waiting.insert(waiting);
        for map in maps {
            self.by_map.entry(map).or_default().push(place);
        }
        self.deadlines.insert((until, place));
    }

    fn take(&mut self, place: usize) -> Waiting {
        let waiting = self.waiting.remove(place);
        self.deadlines.remove(&(waiting.until, place));
        for map in &waiting.asked.maps {
            if let Some(places) = self.by_map.get_mut(map) {
                places.retain(|other| *other != place);
                if places.is_empty() {
                    self.by_map.remove(map);
                }
            }
        }
        waiting
    }

    /// Who waits for this update.
    fn woken(&self, publication: &Publication) -> Vec<usize> {
        let places = self.by_map.get(&publication.key.map).map(Vec::as_slice).unwrap_or_default();
        let is_told = |place: &&usize| {
            let waiting = &self.waiting[**place];
            concerns(waiting.account, &waiting.asked, publication)
        };
        places.iter().filter(is_told).copied().collect()
    }
}

/// Whether this account is told of this update: it asked for its map and type, and the update is one that
/// everybody on a map sees, or its own.
fn concerns(account: AccountId, asked: &Subscribe, publication: &Publication) -> bool {
    let key = &publication.key;
    asked.types.contains(key.data_type)
        && (key.data_type.is_seen_on_map() || key.owner == account)
        && asked.maps.contains(&key.map)
}

impl<C: ServerCodec, E: Entropy> Server<C, E> {
    pub(super) fn subscribe(
        &mut self,
        now: Now,
        exchange: Exchange,
        request: &Request,
        effects: &mut Vec<ServerEffect<C::Reply>>,
    ) {
        let asked = match Subscribe::parse(&request.data) {
            Ok(asked) => asked,
            Err(rejection) => return self.reject(now, &exchange, rejection, effects),
        };
        self.counters.subscribes += 1;
        let epoch = match self.updates.epoch {
            Some(epoch) => epoch,
            None => {
                effects.push(ServerEffect::Follow);
                *self.updates.epoch.insert(self.entropy.draw(Purpose::Incarnation, 0, 0))
            }
        };
        let account = request.operation.account;
        let from = asked.position.filter(|position| position.epoch == epoch).map(|position| position.next);
        let told = self.updates.tell(account, &asked, from);
        // Where to go on from can be said once publications are followed: from there nothing is missed.
        let has_news = self.updates.is_following && (told.gap || !told.updates.is_empty());
        if has_news || asked.wait == Span::ZERO || self.updates.is_closed {
            let payload = written(epoch, &told);
            self.reply(now, &exchange, Ok(Some(payload)), effects);
            return;
        }
        if self.updates.waiting() >= self.settings.exchanges_max / 2 {
            self.counters.overloaded += 1;
            effects.push(ServerEffect::Reply { token: exchange.token, reply: Err(Status::Overloaded) });
            return;
        }
        let until = now.monotonic + asked.wait;
        let exchange = self.exchanges.insert(exchange);
        self.updates.wait(Waiting { exchange, account, asked, until });
    }

    /// The cache told of an update, or that some may have been lost.
    pub(super) fn noticed(&mut self, now: Now, notice: Notice, effects: &mut Vec<ServerEffect<C::Reply>>) {
        if self.updates.epoch.is_none() {
            return;
        }
        self.updates.is_following = true;
        // Whoever waits has missed nothing before this.
        let (woken, from) = match notice {
            Notice::Publication(publication) => {
                let (woken, number) = (self.updates.woken(&publication), self.updates.next);
                self.updates.push(publication);
                (woken, Some(number))
            }
            Notice::Gap => {
                self.updates.break_off();
                (self.updates.waiting.iter().map(|(place, _)| place).collect(), None)
            }
        };
        woken.into_iter().for_each(|place| self.tell_waiting(now, place, from, effects));
    }

    /// Answers those who have waited long enough.
    pub(super) fn pass_waiting(&mut self, now: Now, effects: &mut Vec<ServerEffect<C::Reply>>) {
        while let Some((until, place)) = self.updates.deadlines.first().copied()
            && until <= now.monotonic
        {
            self.tell_waiting(now, place, self.updates.nothing_since(), effects);
        }
    }

    /// Answers everybody who waits: the server is about to end.
    pub(super) fn stop_waiting(&mut self, now: Now, effects: &mut Vec<ServerEffect<C::Reply>>) {
        self.updates.is_closed = true;
        while let Some((_, place)) = self.updates.deadlines.first().copied() {
            self.tell_waiting(now, place, self.updates.nothing_since(), effects);
        }
    }

    fn tell_waiting(
        &mut self,
        now: Now,
        place: usize,
        from: Option<u64>,
        effects: &mut Vec<ServerEffect<C::Reply>>,
    ) {
        let Waiting { exchange, account, asked, .. } = self.updates.take(place);
        let told = self.updates.tell(account, &asked, from);
        let payload = written(self.updates.epoch.unwrap_or_default(), &told);
        let exchange = self.exchanges.remove(exchange);
        self.reply(now, &exchange, Ok(Some(payload)), effects);
    }
}

fn written(epoch: u64, told: &Told<'_>) -> std::sync::Arc<str> {
    payload(&UpdatesPayload {
        position: Position { epoch, next: told.next }.to_string(),
        gap: told.gap,
        updates: told.updates.iter().map(|publication| Update::from(*publication)).collect(),
    })
}
