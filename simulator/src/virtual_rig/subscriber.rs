//! A host that follows the critical updates of its map, in a session of its own, as the core's facade does it.
//!
//! It asks again as soon as it is answered. Once the workload is over and an answer brings nothing new, it stops:
//! there is nothing more to come.

use sync_core::data_type::SyncDataType;
use sync_core::engine::Engine;
use sync_core::host_sync::operation::{Ask, Outcome};
use sync_core::host_sync::session::{SessionEffect, SessionInput};
use sync_core::id::MapName;
use sync_core::limits;
use sync_core::wire::updates::{SubscribeData, UpdatesPayload};
use sync_core::wire::{Kind, read, write};

use super::host::{Route, account};
use super::recorded::{self, HostSession, Of, Recorded};
use super::variant::Variant;
use super::world::{Happening, Observer, World};
use crate::history::{Judgement, OpRef, Update, What};
use crate::scenario::model::HostSet;

/// What follows critical updates for a host.
pub(super) struct Subscriber<V: Variant> {
    session: Recorded<HostSession<V>>,
    position: Option<String>,
    polls: u64,
    /// Nothing was under way in the world when it asked last.
    asked_at_rest: bool,
    wake_us: u64,
}

/// The bit in a ticket by which polls are told from what applications ask for.
pub(super) const POLL_TICKETS: u64 = 1 << 54;

impl<V: Variant, O: Observer> World<V, O> {
    /// Those hosts follow the critical updates of their maps from the first moment on.
    pub(super) fn subscribe_all(&mut self, set: &HostSet) {
        if self.outside.is_some() {
            return;
        }
        self.has_subscribers = true;
        for host in self.members(set) {
            self.hosts[host as usize].subscribes = true;
            self.subscribe(host);
        }
    }

    /// A host begins to follow, if it is one that does.
    pub(super) fn subscribe(&mut self, host: u32) {
        let node = &self.hosts[host as usize];
        if !node.subscribes {
            return;
        }
        let (of, life) = (Of::Subscriber(host, node.life), node.life);
        let tape = self.tape.as_ref();
        let session =
            recorded::session(&self.variant, &self.keys, &self.session_settings, self.draws, of, tape);
        let subscriber =
            Subscriber { session, position: None, polls: 0, asked_at_rest: false, wake_us: u64::MAX };
        self.hosts[host as usize].subscriber = Some(Box::new(subscriber));
        self.open_subscriptions += 1;
        let map = self.own_map(host);
        self.observe(What::Subscribed { host, account: account(host).0, map });
        self.queue.schedule(self.queue.now_us(), Happening::Poll { host, life });
    }

    fn own_map(&self, host: u32) -> MapName {
        self.maps[host as usize % self.maps.len()].clone()
    }

    /// Asks for what is new.
    pub(super) fn poll(&mut self, host: u32, life: u32) {
        let map = self.own_map(host);
        let at_rest = self.queue.now_us() >= self.duration_us && self.open_operations == 0;
        let node = &mut self.hosts[host as usize];
        if node.life != life {
            return;
        }
        let Some(subscriber) = &mut node.subscriber else { return };
        subscriber.asked_at_rest = at_rest;
        subscriber.polls += 1;
        let asked = SubscribeData {
            maps: vec![map.clone()],
            types: Vec::new(),
            position: subscriber.position.as_deref().map(Into::into),
            wait_ms: limits::SUBSCRIBE_WAIT_MAX.as_ms(),
        };
        let mut data = Vec::new();
        write(&asked, &mut data);
        let ask = Ask {
            // Tickets of all lives of a host differ, so that no two messages draw alike.
            ticket: POLL_TICKETS | u64::from(life) << 32 | subscriber.polls,
            kind: Kind::Subscribe,
            data_type: SyncDataType::MapState,
            map,
            data: String::from_utf8_lossy(&data).into(),
            critical: false,
            priority: false,
        };
        self.tell_subscriber(host, SessionInput::Ask(ask));
    }

    /// Hands an input over and performs what follows. Says how an answer was taken, if one was.
    pub(super) fn tell_subscriber(&mut self, host: u32, input: SessionInput<V::Reply>) -> Option<Judgement> {
        let node = &mut self.hosts[host as usize];
        let subscriber = node.subscriber.as_mut()?;
        let now = node.clock.now(self.queue.now_us());
        let mut effects = std::mem::take(&mut self.session_effects);
        subscriber.session.handle(now, input, &mut effects);
        let judged = self.perform_for_subscriber(host, &mut effects);
        self.session_effects = effects;
        self.schedule_subscriber_wake(host);
        judged
    }

    pub(super) fn wake_subscriber(&mut self, host: u32, due_us: u64) {
        let node = &mut self.hosts[host as usize];
        let now = node.clock.now(self.queue.now_us());
        let Some(subscriber) = node.subscriber.as_mut().filter(|s| s.wake_us == due_us) else { return };
        subscriber.wake_us = u64::MAX;
        let mut effects = std::mem::take(&mut self.session_effects);
        subscriber.session.wake(now, &mut effects);
        self.perform_for_subscriber(host, &mut effects);
        self.session_effects = effects;
        self.schedule_subscriber_wake(host);
    }

    fn schedule_subscriber_wake(&mut self, host: u32) {
        let node = &mut self.hosts[host as usize];
        let Some(subscriber) = &mut node.subscriber else { return };
        let Some(due) = subscriber.session.next_wakeup() else { return };
        let due_us = node.clock.world_us(due).max(self.queue.now_us());
        if due_us < subscriber.wake_us {
            subscriber.wake_us = due_us;
            self.schedule_wake_up(due_us, Happening::WakeSubscriber { host });
        }
    }

    fn perform_for_subscriber(
        &mut self,
        host: u32,
        effects: &mut Vec<SessionEffect<V::Request>>,
    ) -> Option<Judgement> {
        let mut judged = None;
        for effect in effects.drain(..) {
            match effect {
                SessionEffect::Send { token, ticket, attempt, request, .. } => {
                    let node = &self.hosts[host as usize];
                    let (life, server) = (node.life, node.server);
                    let route = Route { host, life, token, ticket, attempt, copy: 0, server, joins: false };
                    self.send_to_server(route, None, None, request);
                }
                SessionEffect::Finished { ticket, outcome, .. } => {
                    if matches!(outcome, Outcome::Done(_) | Outcome::Rejected(_)) {
                        judged = Some(Judgement::Accepted);
                    }
                    self.polled(OpRef { host, ticket }, &outcome);
                }
                SessionEffect::Late { .. } => judged = Some(Judgement::Accepted),
                SessionEffect::Untrusted { .. } => judged = Some(Judgement::Refused("untrusted".to_owned())),
                SessionEffect::Accepted { .. }
                | SessionEffect::Refused { .. }
                | SessionEffect::Stopped { .. } => {}
            }
        }
        judged
    }

    /// A poll has ended.
    fn polled(&mut self, op: OpRef, outcome: &Outcome) {
        let host = op.host;
        let node = &mut self.hosts[host as usize];
        let life = node.life;
        let Some(subscriber) = &mut node.subscriber else { return };
        let payload = match outcome {
            Outcome::Done(Some(payload)) => read::<UpdatesPayload<'_>>(payload.as_bytes()).ok(),
            _ => None,
        };
        let now_us = self.queue.now_us();
        let Some(payload) = payload else {
            self.queue.schedule(now_us + PAUSE_US, Happening::Poll { host, life });
            return;
        };
        let is_quiet = !payload.gap && payload.updates.is_empty();
        subscriber.position = Some(payload.position);
        if is_quiet && subscriber.asked_at_rest {
            node.subscriber = None;
            self.open_subscriptions -= 1;
        } else {
            self.queue.schedule(now_us, Happening::Poll { host, life });
        }
        if !is_quiet {
            let updates = payload.updates.iter().filter_map(|update| update.publication().ok());
            let updates = updates.inspect(|update| self.observe_told(op, update));
            let updates = updates.map(|publication| Update::from(&publication)).collect();
            self.observe(What::Told { host, gap: payload.gap, updates });
        }
    }
}

/// Until a host asks again whose poll failed.
const PAUSE_US: u64 = 1_000_000;
