//! A world whose main server, database and cache lie outside: real ones, in real time.
//!
//! The hosts, their links, the arrivals and the faults are those of the virtual world, draw for draw. What
//! leaves the last link is an [`Outgoing`] request for somebody to carry to a real server, and what
//! concerns a server or a service is an [`Order`] for somebody to carry out. Whoever drives such a
//! world hands it the present moment and what came back; the world itself reads no clock and does no I/O.

use slab::Slab;
use sync_core::data_type::SyncDataType;
use sync_core::envelope::KeyUse;
use sync_core::host_sync::operation::TransportError;
use sync_core::host_sync::server::Status;
use sync_core::id::{MapName, OperationId};
use sync_core::recording::Tape;
use sync_core::store::Content;
use sync_core::time::Span;

use super::clock::WORLD_START_US;
use super::main_server::{Exchange, server_name};
use super::rotation::SealMark;
use super::variant::Variant;
use super::world::{Observer, RunFigures, World};
use crate::history::{OpRef, StateName, Way, What};
use crate::plan::Plan;
use crate::scenario::model::{Connection, Crash, Injection, Process};

/// Exchanges that are open outside, and what is to be done there.
pub(super) struct Outside<V: Variant> {
    exchanges: Slab<Open>,
    outgoing: Vec<Outgoing<V::Request>>,
    orders: Vec<Order>,
    /// Faults that are on which alter bytes between hosts and main server, and how many have begun.
    corruptions: u32,
    corruptions_begun: u32,
    /// Until then what such a fault has altered may still come.
    blurred_until_us: u64,
}

/// An exchange, and whether bytes may have been altered since it left.
struct Open {
    exchange: Exchange,
    blurred: bool,
    corruptions_begun: u32,
    /// The key of its request, and in which epoch of keys it left.
    mark: Option<SealMark>,
    keys_epoch: usize,
}

/// A request that leaves the world; to be answered once with [`World::answered`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing<R> {
    /// Names the exchange.
    pub exchange: usize,
    /// The main server it goes to, counted from 0.
    pub server: usize,
    /// Whether it travels in one HTTP request with the one before it.
    pub joins: bool,
    /// The body.
    pub request: R,
}

/// Something that is to be done to a server or a service outside.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// A fault begins.
    Begin {
        /// The fault's place in the scenario.
        number: u32,
        /// What it is.
        injection: Injection,
    },
    /// A fault ends.
    End {
        /// The fault's place in the scenario.
        number: u32,
        /// What it was.
        injection: Injection,
    },
    /// Every main server is to use these keys from now on, also after a restart; [`World::keys_taken`] says so of each.
    UseKeys(KeyUse),
}

/// A write as the database holds it, seen from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenWrite {
    /// The operation as its application knows it.
    pub op: OpRef,
    /// The id under which it took effect.
    pub id: OperationId,
    /// What it synchronises.
    pub data_type: SyncDataType,
    /// The map.
    pub map: MapName,
    /// The state, for one that replaces.
    pub key: Option<StateName>,
    /// The state's version, or the event's sequence.
    pub version: u64,
}

impl<V: Variant> Outside<V> {
    fn new() -> Self {
        Self {
            exchanges: Slab::new(),
            outgoing: Vec::new(),
            orders: Vec::new(),
            corruptions: 0,
            corruptions_begun: 0,
            blurred_until_us: 0,
        }
    }

    pub(super) fn use_keys(&mut self, keys: KeyUse) {
        self.orders.push(Order::UseKeys(keys));
    }

    pub(super) fn request(
        &mut self,
        now_us: u64,
        exchange: Exchange,
        (mark, keys_epoch): (Option<SealMark>, usize),
        request: V::Request,
    ) {
        let blurred = self.corruptions > 0 || now_us < self.blurred_until_us;
        let (server, joins) = (exchange.server(), exchange.joins());
        let open = Open { exchange, blurred, corruptions_begun: self.corruptions_begun, mark, keys_epoch };
        let exchange = self.exchanges.insert(open);
        self.outgoing.push(Outgoing { exchange, server, joins, request });
    }
}

impl<V: Variant, O: Observer> World<V, O> {
    /// A world whose main server lies outside. The calls of its hosts' engines are written down if there is a
    /// tape.
    pub fn outside(plan: &Plan, variant: V, observer: O, tape: Option<Tape>) -> Self {
        Self::build(plan, variant, observer, tape, Some(Outside::new()))
    }

    /// Says what time it is outside, in microseconds since 1970, at the world's first moment. Before anything
    /// happens in it.
    pub fn begins_at(&mut self, unix_us: u64) {
        let offset = i64::try_from(unix_us.saturating_sub(WORLD_START_US)).unwrap_or(i64::MAX);
        for host in &mut self.hosts {
            host.clock.step(offset);
        }
    }

    /// Lets everything happen that is due by `now_us`, microseconds since the world's first moment.
    pub fn advance(&mut self, now_us: u64) {
        while let Some((due_us, happening)) = self.queue.pop_due(now_us) {
            self.happen(due_us, happening);
        }
        self.queue.advance(now_us);
    }

    /// When something is due next.
    pub fn next_us(&mut self) -> Option<u64> {
        self.queue.next_us()
    }

    /// Takes the requests that are to be carried outside, in their order.
    pub fn take_outgoing(&mut self) -> Vec<Outgoing<V::Request>> {
        self.outside.as_mut().map(|outside| std::mem::take(&mut outside.outgoing)).unwrap_or_default()
    }

    /// Takes the orders that are to be carried out, in their order.
    pub fn take_orders(&mut self) -> Vec<Order> {
        self.outside.as_mut().map(|outside| std::mem::take(&mut outside.orders)).unwrap_or_default()
    }

    /// Requests outside that have not been answered.
    pub fn open_exchanges(&self) -> usize {
        self.outside.as_ref().map_or(0, |outside| outside.exchanges.len())
    }

    /// Whether the run is over: everything is at rest, or the bound on coming to rest has passed.
    pub fn is_over(&self) -> bool {
        let past_bound = self.queue.now_us() > self.duration_us + self.settle_us;
        past_bound || self.is_at_rest() && self.open_exchanges() == 0 && !self.key_watch.is_replacing()
    }

    /// An exchange was answered, or failed.
    pub fn answered(&mut self, exchange: usize, answer: Result<V::Reply, (TransportError, Option<Span>)>) {
        let Some(outside) = &mut self.outside else { return };
        let Some(open) = outside.exchanges.try_remove(exchange) else { return };
        let Open { mut exchange, blurred, corruptions_begun, mark, keys_epoch } = open;
        exchange.blurred = blurred || corruptions_begun != outside.corruptions_begun;
        // Nothing can be said of the key of a request that may have been altered.
        let mark = mark.filter(|_| !exchange.blurred);
        self.key_watch.look_since(Some(keys_epoch));
        let (route, tampering) = (exchange.route(), exchange.tampering());
        match answer {
            Ok(reply) => {
                self.observe_opened(Way::ToServer, route, mark, tampering, true);
                self.reply_to(exchange, Ok(reply));
            }
            Err((TransportError::Status(code), _)) if code == Status::Refused.code() => {
                self.arrives(mark.as_ref());
                self.reply_to(exchange, Err(Status::Refused));
                self.arrives(None);
                self.observe_opened(Way::ToServer, route, mark, tampering, false);
            }
            Err((TransportError::Status(code), _)) if code == Status::TooLarge.code() => {
                self.reply_to(exchange, Err(Status::TooLarge));
            }
            Err((error, retry_after)) => self.fail_exchange(exchange, error, retry_after),
        }
        self.key_watch.look_since(None);
    }

    /// A main server outside uses the keys of the last [`Order::UseKeys`], or will when it starts.
    pub fn keys_taken(&mut self) {
        self.keys_are_taken();
    }

    /// A server or a service outside is up again.
    pub fn restarted(&mut self, node: &str) {
        self.observe(What::Restarted { node: node.to_owned() });
    }

    /// A write was seen in the database.
    pub fn seen(&mut self, write: SeenWrite) {
        let SeenWrite { op, id, data_type, map, key, version } = write;
        let (op, id) = (Some(op), id.into());
        self.observe(What::Applied { op, id, data_type, map, key, version, value: None });
    }

    /// The observer, while the run is on.
    pub fn observer_mut(&mut self) -> &mut O {
        &mut self.observer
    }

    /// Ends the run with what the database outside holds, and gives back the observer.
    pub fn finish(self, plan: &Plan, content: Content, published: u64) -> (O, RunFigures) {
        self.conclude(plan, content, published)
    }

    /// Hands a fault that concerns no host on to whoever drives this world; says whether it did.
    pub(super) fn order(&mut self, number: u32, injection: &Injection, begins: bool) -> bool {
        let now_us = self.queue.now_us();
        let Some(outside) = &mut self.outside else { return false };
        let nodes = match injection {
            Injection::Partition(_)
            | Injection::RotateKeys(_)
            | Injection::CutNotifications(_)
            | Injection::Degrade(_)
            | Injection::ClockStep(_)
            | Injection::Move(_)
            | Injection::ShutDown(_)
            | Injection::Crash(Crash::Hosts(_)) => return false,
            Injection::Crash(crash @ (Crash::MainServer | Crash::MainServers(_))) => {
                let count = self.servers.len();
                let concerned = match crash {
                    Crash::MainServers(list) => list.iter().map(|at| *at as usize).collect(),
                    _ => (0..count).collect::<Vec<_>>(),
                };
                concerned.into_iter().map(|at| server_name(at, count)).collect()
            }
            Injection::Crash(Crash::SyncProxy) => vec!["sync proxy".to_owned()],
            Injection::Crash(Crash::Database) => vec!["database".to_owned()],
            Injection::Crash(Crash::Cache) => vec!["cache".to_owned()],
            Injection::Database(_)
            | Injection::Cache(_)
            | Injection::Connection(_)
            | Injection::Embedding(_)
            | Injection::Freeze(_)
            | Injection::Peers(_) => Vec::new(),
        };
        if let Injection::Connection(Connection { to: Process::MainServer, corrupt: Some(_), .. }) = injection
        {
            if begins {
                outside.corruptions += 1;
                outside.corruptions_begun += 1;
            } else {
                outside.corruptions -= 1;
                outside.blurred_until_us = now_us + BLUR_US;
            }
        }
        let injection = injection.clone();
        outside.orders.push(if begins {
            Order::Begin { number, injection }
        } else {
            Order::End { number, injection }
        });
        if begins {
            nodes.into_iter().for_each(|node| self.observe(What::Crashed { node }));
        }
        true
    }
}

/// How long after a fault that alters bytes is over some that it altered may still be on their way.
const BLUR_US: u64 = 2_000_000;
