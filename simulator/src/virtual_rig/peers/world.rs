//! The world of peers: the event queue, and what engines ask of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use sync_core::engine::Engine as _;
use sync_core::id::{Incarnation, Token};
use sync_core::peer_sync::announcement::{Announcement, HostName, PeerAddress};
use sync_core::peer_sync::message::{Asker, PeerAnswer, PeerQuestion};
use sync_core::peer_sync::replica::{NoAnswer, Replica, ReplicaEffect, ReplicaInput};
use sync_core::peer_sync::resolver::Resolvers;
use sync_core::peer_sync::schema::Schema;
use sync_core::peer_sync::settings::ReplicaSettings;
use sync_core::peer_sync::store::memory::MemoryPeerStore;
use sync_core::peer_sync::store::{PeerReply, PeerRequest};
use sync_core::peer_sync::version::NodeId;
use sync_core::time::{Span, Timestamp};

use super::convergence::{Convergence, ends_us};
use super::links::neighbours;
use super::locks::Wanted;
use super::network::PeerNetwork;
use super::node::Node;
use super::settings::settings;
use super::sizes::Size;
use super::variant::PeerVariant;
use crate::arrivals::{Stream, holds};
use crate::distribution::Sampler;
use crate::draw::{Draws, Label, SimEntropy};
use crate::history::peers::PeerWhat;
use crate::history::{Event, OpRef, What};
use crate::own_resolvers::OwnResolvers;
use crate::peer_schema::{node_id, schema};
use crate::plan::{Act, Action, Plan};
use crate::scenario::model::{Fault, Injection, PeerFault, Peers};
use crate::transactions::TransactionStream;
use crate::virtual_rig::kernel::EventQueue;
use crate::virtual_rig::world::{Observer, host_clock};

/// A world of peers.
pub struct PeerWorld<V: PeerVariant, O: Observer> {
    pub(super) queue: EventQueue<Happening>,
    pub(super) draws: Draws,
    pub(super) variant: V,
    pub(super) schema: Arc<Schema>,
    /// What decides where the database cannot.
    pub(super) resolvers: Resolvers,
    pub(super) settings: Vec<ReplicaSettings>,
    pub(super) nodes: Vec<Node<V::Policy>>,
    names: BTreeMap<NodeId, u32>,
    /// For each peer those with whom it has a link.
    pub(super) links: Vec<Vec<u32>>,
    pub(super) network: PeerNetwork,
    pub(super) database_latency: Sampler,
    pub(super) database_answer_us: u64,
    /// Requests to each database so far.
    pub(super) store_requests: Vec<u64>,
    /// Rows of each table that are there from the start: references of new rows name these.
    pub(super) parents: BTreeMap<String, u32>,
    streams: Vec<(usize, Stream)>,
    transactions: Vec<TransactionStream>,
    acts: Vec<Act>,
    pub(super) faults: Vec<(u32, Fault)>,
    /// Exchanges that are open: who asked, in which life, under which token.
    pub(super) exchanges: BTreeMap<u64, (u32, u32, Token)>,
    pub(super) next_exchange: u64,
    pub(super) open_transactions: u64,
    pub(super) bytes_sent: u64,
    pub(super) convergence: Convergence,
    /// Whether a fault alters stored rows.
    pub(super) may_be_corrupt: bool,
    pub(super) duration_us: u64,
    settle_us: u64,
    rest_us: u64,
    pub(super) observer: O,
}

/// What can happen in the world.
pub(super) enum Happening {
    Arrive {
        stream: usize,
    },
    Act {
        number: usize,
    },
    FaultBegins {
        place: usize,
    },
    FaultEnds {
        place: usize,
    },
    /// A copy of a database is taken, to be used by a fault later.
    Copy {
        place: usize,
    },
    Heal,
    /// A statement is tried again.
    Proceed {
        peer: u32,
        life: u32,
        session: u32,
        op: OpRef,
    },
    Commit {
        peer: u32,
        life: u32,
        session: u32,
        op: OpRef,
    },
    LocalChange {
        peer: u32,
        life: u32,
    },
    Wake {
        peer: u32,
        at_us: u64,
    },
    Announcement {
        from: u32,
        to: u32,
        announcement: Box<Announcement>,
    },
    Question {
        from: u32,
        to: u32,
        life: u32,
        token: Token,
        asker: Box<Asker>,
        question: Box<PeerQuestion>,
    },
    Answer {
        from: Sender,
        to: u32,
        life: u32,
        token: Token,
        answer: Result<Box<PeerAnswer>, NoAnswer>,
    },
    StoreRuns {
        peer: u32,
        life: u32,
        token: Token,
        request: Box<PeerRequest>,
    },
    /// A transaction has ended: requests that wait for locks look again.
    Unlocked {
        peer: u32,
        life: u32,
    },
    /// A request has waited for this lock for as long as an attempt may.
    LockTimeout {
        peer: u32,
        life: u32,
        token: Token,
        wanted: Wanted,
    },
    /// Its next attempt.
    LockAgain {
        peer: u32,
        life: u32,
        token: Token,
    },
    Stored {
        peer: u32,
        life: u32,
        token: Token,
        reply: Box<PeerReply>,
    },
}

/// Who sent a message.
#[derive(Clone, Copy)]
pub(super) struct Sender {
    pub(super) peer: u32,
    /// The life of its process.
    pub(super) life: u32,
}

/// The port that everybody listens on in this world.
const PORT: u16 = 8_001;
const HEAL_RANK: u64 = (1 << 39) - 1;
const FAULT_RANK: u64 = 1 << 38;

impl<V: PeerVariant, O: Observer> PeerWorld<V, O> {
    /// A world at its first moment, with the plan's actions scheduled. The plan is one of peers.
    pub fn new(plan: &Plan, peers: &Peers, own: &OwnResolvers, variant: V, observer: O) -> Self {
        let scenario = &plan.world;
        let draws = Draws::new(plan.seed);
        // A scenario whose tables are no schema was refused when it was read.
        let schema = Arc::new(
            schema(peers).unwrap_or_else(|_| Schema::new([]).expect("nothing is wrong with nothing")),
        );
        let count = peers.count;
        let resolvers = own.of(&schema);
        let names = (0..count).map(|peer| (node_id(peer, count), peer)).collect();
        let links = neighbours(draws, &peers.links, count);
        let address = |peer: u32| PeerAddress::new(node_id(peer, count).as_str(), PORT).ok();
        let settings = |known: &Vec<u32>| ReplicaSettings {
            listen_port: PORT,
            api_port: PORT,
            ..settings(peers, known.iter().filter_map(|peer| address(*peer)))
        };
        let settings = links.iter().map(settings).collect();
        let stamp_ahead = variant.stamp_ahead_us_max(peers.stamp_ahead_max.as_us());
        let stored = variant.schema(&schema);
        let nodes = (0..count).map(|peer| {
            let incarnation = Incarnation(draws.bits(Label::Engine, u64::from(peer), u64::MAX));
            let id = node_id(peer, count);
            let store = MemoryPeerStore::new(id, stored.clone(), incarnation, Span::from_us(stamp_ahead))
                .with_resolvers(resolvers.clone());
            Node {
                store,
                replica: None,
                clock: host_clock(scenario, draws, peer),
                clock_us_max: 0,
                life: 0,
                releases: Vec::new(),
                held_down_by: Vec::new(),
                wakes_at_us: None,
                sessions: BTreeMap::new(),
                copies: Vec::new(),
                reads_on: BTreeMap::new(),
                change_pending: false,
                waiting: Vec::new(),
            }
        });
        let mut world = Self {
            queue: EventQueue::default(),
            draws,
            nodes: nodes.collect(),
            variant,
            resolvers,
            settings,
            names,
            links,
            network: PeerNetwork::new(draws, &peers.network, count),
            database_latency: Sampler::new(&scenario.database.latency),
            database_answer_us: scenario.database.answer.as_us(),
            store_requests: vec![0; count as usize],
            parents: peers.rows.clone(),
            schema,
            streams: Vec::new(),
            transactions: Vec::new(),
            acts: Vec::new(),
            faults: Vec::new(),
            exchanges: BTreeMap::new(),
            next_exchange: 0,
            open_transactions: 0,
            bytes_sent: 0,
            convergence: Convergence::new(count),
            may_be_corrupt: false,
            duration_us: scenario.duration.as_us(),
            settle_us: scenario.settle.as_us(),
            rest_us: peers.sync_interval.as_us(),
            observer,
        };
        world.load(peers);
        (0..count).for_each(|peer| world.start(peer));
        plan.actions.iter().for_each(|action| world.schedule(action));
        let ends = world.faults.iter().map(|(_, fault)| ends_us(fault, world.duration_us));
        // Where nothing goes wrong, it is the end of writing that is healed from.
        let healed_us = ends.max().unwrap_or(world.duration_us);
        world.queue.schedule_planned(healed_us, HEAL_RANK, Happening::Heal);
        world
    }

    /// Carries the plan out and gives back the observer. It ends when writing is over, everybody has held and shown the same for
    /// the length of a round and no transaction is open, or when the time to settle is over.
    pub fn run(mut self, plan: &Plan) -> (O, crate::virtual_rig::world::RunFigures) {
        let end_us = self.duration_us + self.settle_us;
        loop {
            let rest = self.convergence.equal_since_us.filter(|_| self.open_transactions == 0);
            let end_us = rest.map_or(end_us, |since| end_us.min(since.max(self.duration_us) + self.rest_us));
            if self.queue.next_us().is_none_or(|next| next > end_us) {
                if rest.is_none() || end_us >= self.duration_us + self.settle_us || self.shows_alike() {
                    break;
                }
                // Not at rest: it is looked again after another round.
                self.convergence.equal_since_us = Some(end_us.max(self.queue.now_us()));
                continue;
            }
            let Some(happening) = self.queue.pop() else { break };
            self.happen(happening);
        }
        self.conclude(plan)
    }

    fn schedule(&mut self, action: &Action) {
        match action {
            Action::Transact(number, transactions) => {
                let stream = TransactionStream::new(transactions, self.duration_us);
                for peer in (0..self.nodes.len() as u32).filter(|peer| holds(&transactions.peers, *peer)) {
                    let arrivals = stream.arrivals.stream(self.draws, *number, peer);
                    if let Some(at_us) = stream.arrivals.next_us(&arrivals) {
                        let rank = rank(arrivals.workload, peer);
                        self.streams.push((self.transactions.len(), arrivals));
                        let stream = self.streams.len() - 1;
                        self.queue.schedule_planned(at_us, rank, Happening::Arrive { stream });
                    }
                }
                self.transactions.push(stream);
            }
            Action::Act(act) => {
                let stream = (act.op.ticket >> crate::arrivals::TICKET_STREAM_BIT) as u32;
                self.acts.push(act.clone());
                let number = self.acts.len() - 1;
                self.queue.schedule_planned(act.at_us, rank(stream, act.op.host), Happening::Act { number });
            }
            Action::Inject(number, fault) => self.schedule_fault(*number, fault),
            // Of worlds of hosts.
            Action::Generate(..) | Action::Ask(_) => {}
        }
    }

    fn schedule_fault(&mut self, number: u32, fault: &Fault) {
        let place = self.faults.len();
        self.faults.push((number, fault.clone()));
        let at_us = fault.at.as_us();
        self.may_be_corrupt |= matches!(fault.inject, Injection::Peers(PeerFault::Corrupt(_)));
        let rank = FAULT_RANK + 4 * u64::from(number);
        if let Some(copy_us) = super::faults::copied_at_us(fault) {
            self.queue.schedule_planned(copy_us, rank, Happening::Copy { place });
        }
        self.queue.schedule_planned(at_us, rank + 1, Happening::FaultBegins { place });
        let ends_us = ends_us(fault, self.duration_us);
        self.queue.schedule_planned(ends_us, rank + 2, Happening::FaultEnds { place });
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrive { stream } => self.next_arrival(stream),
            Happening::Act { number } => {
                let Act { op, at_us, body } = self.acts[number].clone();
                self.arrive(op, at_us, body);
            }
            Happening::FaultBegins { place } => self.begin_fault(place),
            Happening::FaultEnds { place } => self.end_fault(place),
            Happening::Copy { place } => self.copy(place),
            Happening::Heal => self.heal(),
            Happening::Proceed { peer, life, session, op } if self.is_running(peer, life, session, op) => {
                self.proceed(peer, session);
            }
            Happening::Commit { peer, life, session, op } if self.is_running(peer, life, session, op) => {
                self.commit(peer, session);
            }
            Happening::Proceed { .. } | Happening::Commit { .. } => {}
            Happening::LocalChange { peer, life } => {
                let node = &mut self.nodes[peer as usize];
                if node.life == life {
                    node.change_pending = false;
                    self.tell_replica(peer, ReplicaInput::LocalChange { tables: Vec::new() });
                }
            }
            Happening::Wake { peer, at_us } => self.wake(peer, at_us),
            Happening::Announcement { from, to, announcement } => {
                self.announcement_arrives(from, to, *announcement);
            }
            Happening::Question { from, to, life, token, asker, question } => {
                let from = Sender { peer: from, life };
                self.question_arrives(from, to, token, *asker, *question);
            }
            Happening::Answer { from, to, life, token, answer } => {
                if self.nodes[to as usize].life == life {
                    let answer = answer.map(|answer| self.understood(from, to, *answer));
                    self.tell_replica(to, ReplicaInput::Answered { token, answer });
                }
            }
            Happening::StoreRuns { peer, life, token, request } => {
                self.store_runs(peer, life, token, *request)
            }
            Happening::Unlocked { peer, life } => self.unlocked(peer, life),
            Happening::LockTimeout { peer, life, token, wanted } => {
                self.lock_timed_out(peer, life, token, wanted);
            }
            Happening::LockAgain { peer, life, token } => self.lock_again(peer, life, token),
            Happening::Stored { peer, life, token, reply } => self.stored(peer, life, token, *reply),
        }
    }

    fn is_running(&self, peer: u32, life: u32, session: u32, op: OpRef) -> bool {
        let node = &self.nodes[peer as usize];
        let running = node.sessions.get(&session).and_then(|s| s.running.as_ref());
        node.life == life && running.is_some_and(|running| running.op == op)
    }

    fn next_arrival(&mut self, number: usize) {
        let (place, stream) = &mut self.streams[number];
        let transactions = &self.transactions[*place];
        let Some(arrival) = transactions.arrivals.next(self.draws, stream) else { return };
        if let Some(at_us) = transactions.arrivals.next_us(stream) {
            let rank = rank(stream.workload, stream.host);
            self.queue.schedule_planned(at_us, rank, Happening::Arrive { stream: number });
        }
        let body = transactions.body(self.draws, arrival.op);
        self.arrive(arrival.op, arrival.at_us, body);
    }

    /// Starts a peer's process.
    pub(super) fn start(&mut self, peer: u32) {
        let node = &mut self.nodes[peer as usize];
        let entropy = SimEntropy::new(self.draws, 1 << 20 | u64::from(peer), node.life);
        let policy = self.variant.policy(peer);
        let settings = ReplicaSettings { protocol: node.speaks(), ..self.settings[peer as usize].clone() };
        let id = node.store.node().clone();
        let resolvers = self.resolvers.clone();
        node.replica = Some(Replica::new(id, self.schema.clone(), resolvers, settings, entropy, policy));
        self.tell_replica(peer, ReplicaInput::Start { set_back: false });
    }

    /// Gives a replica an input and performs what follows.
    pub(super) fn tell_replica(&mut self, peer: u32, input: ReplicaInput) {
        let node = &mut self.nodes[peer as usize];
        let now = node.clock.now(self.queue.now_us());
        let mut effects = Vec::new();
        if let Some(replica) = &mut node.replica {
            replica.handle(now, input, &mut effects);
        }
        self.perform(peer, effects);
    }

    pub(super) fn perform(&mut self, peer: u32, effects: Vec<ReplicaEffect>) {
        for effect in effects {
            match effect {
                ReplicaEffect::Store { token, request } => self.ask_store(peer, token, request),
                ReplicaEffect::Ask { token, to, asker, question, .. } => {
                    self.ask(peer, token, &to, asker, question);
                }
                ReplicaEffect::Answer { exchange, answer } => self.answer(peer, exchange, answer),
                ReplicaEffect::Announce { announcement } => self.announce(peer, &announcement),
                ReplicaEffect::Event(event) => self.tell_event(peer, event),
            }
        }
        self.plan_wake(peer);
    }

    fn plan_wake(&mut self, peer: u32) {
        let node = &mut self.nodes[peer as usize];
        let Some(due) = node.replica.as_ref().and_then(|replica| replica.next_wakeup()) else { return };
        let at_us = node.clock.world_us(due).max(self.queue.now_us());
        if node.wakes_at_us.is_none_or(|planned| at_us < planned) {
            node.wakes_at_us = Some(at_us);
            self.queue.schedule(at_us, Happening::Wake { peer, at_us });
        }
    }

    pub(super) fn count_sent(&mut self, from: u32, to: u32, size: Size) {
        self.bytes_sent += size.bytes;
        let Size { bytes, rows, reconcile } = size;
        self.observe(PeerWhat::Sent { from, to, bytes, rows, reconcile });
    }

    pub(super) fn observe(&mut self, what: PeerWhat) {
        self.observe_all(What::Peer(what));
    }

    pub(super) fn observe_all(&mut self, what: What) {
        let at_us = self.queue.now_us();
        self.observer.event(Event { at_us, what });
    }

    pub(super) fn peer_of(&self, id: &NodeId) -> Option<u32> {
        self.names.get(id).copied()
    }

    /// What a peer's database takes for the present.
    pub(super) fn database_now(&self, peer: u32) -> Timestamp {
        self.nodes[peer as usize].clock.now(self.queue.now_us()).wall
    }
}

/// Arrivals are ranked by stream, so that a written-out plan runs in the same order.
fn rank(stream: u32, peer: u32) -> u64 {
    u64::from(stream) << 20 | u64::from(peer)
}

/// Where a peer is in this world: its node id, which has no character that a host's name may not have.
pub(super) fn host_name(peer: u32, count: u32) -> Option<HostName> {
    HostName::new(node_id(peer, count).as_str()).ok()
}
