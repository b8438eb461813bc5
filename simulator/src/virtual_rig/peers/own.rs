//! The world of peers with a team's own engines in it: the same applications, network, clocks and faults; of the engines
//! it knows nothing but what applications see.
//!
//! A write is named by the world: the moment of its commit, its writer and its content. The engine's own stamps stay
//! hidden; checks that need them are `unknown` ([`OBSERVABLE`]).

mod applications;
mod ends;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sync_core::peer_sync::row::RowId;
use sync_core::peer_sync::schema::Schema;
use sync_core::time::Now;

use super::links::neighbours;
use super::network::PeerNetwork;
use crate::arrivals::{Stream, TICKET_STREAM_BIT, holds};
use crate::draw::{Draws, Label};
use crate::history::peers::PeerWhat;
use crate::history::{Event, Kind, OpRef, What};
use crate::own_engine::{Outbox, PeerEngine, PeerEngines, Place};
use crate::peer_schema::{node_id, schema};
use crate::plan::{Act, Action, Body, Plan};
use crate::scenario::model::{Fault, HostSet, Injection, PeerFault, Peers};
use crate::transactions::TransactionStream;
use crate::virtual_rig::clock::NodeClock;
use crate::virtual_rig::kernel::EventQueue;
use crate::virtual_rig::world::{Observer, RunFigures, host_clock};
use applications::Session;

/// What can be seen of peers from the outside.
pub const OBSERVABLE: &[Kind] = &[
    Kind::Node,
    Kind::Fault,
    Kind::Settled,
    Kind::Planned,
    Kind::PeerTransaction,
    Kind::PeerCommitted,
    Kind::PeerRead,
    Kind::PeerLife,
    Kind::PeerMessage,
    Kind::Equal,
    Kind::FinalRow,
];

/// Why own engines cannot carry out a plan, with the remedy; none if they can.
pub fn cannot(plan: &Plan) -> Option<String> {
    plan.actions.iter().find_map(|action| {
        let Action::Inject(_, Fault { inject: Injection::Peers(fault), .. }) = action else { return None };
        let what = match fault {
            PeerFault::SetBack(_) => "`set_back` needs an older copy of an engine's disk",
            PeerFault::Corrupt(_) => "`corrupt` alters what an engine has stored",
            PeerFault::SameName(_) => "`same_name` gives an engine another name and database",
            PeerFault::Replace(_) => "`replace` takes an engine's database away",
            PeerFault::Release(_) => "`release` changes what an engine speaks",
            PeerFault::Cut(_) | PeerFault::Degrade(_) | PeerFault::Crash(_) | PeerFault::ClockStep(_) => {
                return None;
            }
        };
        Some(format!("{what}, which nobody but itself can do; leave this fault out"))
    })
}

/// A world of peers with own engines.
pub struct OwnWorld<O: Observer> {
    queue: EventQueue<Happening>,
    draws: Draws,
    schema: Arc<Schema>,
    peers: Vec<Peer>,
    network: PeerNetwork,
    /// Rows of each table that are there from the start.
    parents: BTreeMap<String, u32>,
    streams: Vec<(usize, Stream)>,
    transactions: Vec<TransactionStream>,
    acts: Vec<Act>,
    faults: Vec<(u32, Fault)>,
    /// Every row that anybody wrote.
    rows: BTreeSet<RowId>,
    writes: applications::Names,
    open_transactions: u64,
    healed: bool,
    bytes_sent: u64,
    bytes_at_heal: u64,
    equal_since_us: Option<u64>,
    duration_us: u64,
    settle_us: u64,
    rest_us: u64,
    observer: O,
}

struct Peer {
    engine: Box<dyn PeerEngine>,
    clock: NodeClock,
    up: bool,
    /// Counts lives of its process; what is meant for an earlier one is lost.
    life: u32,
    held_down_by: Vec<u32>,
    wakes_at_us: Option<u64>,
    sessions: BTreeMap<u32, Session>,
    /// Transactions that committed here.
    committed: u64,
}

enum Happening {
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
    Heal,
    Commit {
        peer: u32,
        life: u32,
        session: u32,
        op: OpRef,
    },
    Wake {
        peer: u32,
        life: u32,
        at_us: u64,
    },
    Message {
        from: u32,
        to: u32,
        message: Vec<u8>,
    },
    /// A look at whether all peers show the same.
    Look,
}

/// How often it is looked at whether all peers show the same, once faults are over.
const LOOK_US: u64 = 100_000;
const HEAL_RANK: u64 = (1 << 39) - 1;
const FAULT_RANK: u64 = 1 << 38;

impl<O: Observer> OwnWorld<O> {
    /// A world at its first moment. The plan is one of peers, and none that these engines [`cannot`] carry out.
    pub fn new(plan: &Plan, peers: &Peers, engines: &dyn PeerEngines, observer: O) -> Self {
        let scenario = &plan.world;
        let draws = Draws::new(plan.seed);
        // A scenario whose tables are no schema was refused when it was read.
        let schema = Arc::new(
            schema(peers).unwrap_or_else(|_| Schema::new([]).expect("nothing is wrong with nothing")),
        );
        let count = peers.count;
        let known = neighbours(draws, &peers.links, count);
        let peer = |(peer, neighbours): (u32, Vec<u32>)| Peer {
            engine: engines.engine(Place {
                peer,
                count,
                name: node_id(peer, count),
                neighbours,
                schema: schema.clone(),
                sync_interval: peers.sync_interval.span(),
                seed: draws.bits(Label::Engine, u64::from(peer), u64::MAX),
            }),
            clock: host_clock(scenario, draws, peer),
            up: true,
            life: 0,
            held_down_by: Vec::new(),
            wakes_at_us: None,
            sessions: BTreeMap::new(),
            committed: 0,
        };
        let members = (0..count).zip(known).map(peer).collect();
        let mut world = Self {
            queue: EventQueue::default(),
            draws,
            schema,
            peers: members,
            network: PeerNetwork::new(draws, &peers.network, count),
            parents: peers.rows.clone(),
            streams: Vec::new(),
            transactions: Vec::new(),
            acts: Vec::new(),
            faults: Vec::new(),
            rows: BTreeSet::new(),
            writes: applications::Names::default(),
            open_transactions: 0,
            healed: false,
            bytes_sent: 0,
            bytes_at_heal: 0,
            equal_since_us: None,
            duration_us: scenario.duration.as_us(),
            settle_us: scenario.settle.as_us(),
            rest_us: peers.sync_interval.as_us(),
            observer,
        };
        world.load(peers);
        (0..count).for_each(|peer| world.tell(peer, |engine, now, out| engine.start(now, out)));
        plan.actions.iter().for_each(|action| world.schedule(action));
        world.queue.schedule_planned(world.duration_us, HEAL_RANK, Happening::Heal);
        world
    }

    /// Carries the plan out and gives back the observer. It ends when everybody has shown the same for the length of a
    /// round and no transaction is open, or when the time to settle is over.
    pub fn run(mut self, plan: &Plan) -> (O, RunFigures) {
        let end_us = self.duration_us + self.settle_us;
        loop {
            let rest = self.equal_since_us.filter(|_| self.open_transactions == 0);
            let end_us = rest.map_or(end_us, |since| end_us.min(since + self.rest_us));
            if self.queue.next_us().is_none_or(|next| next > end_us) {
                break;
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
                for peer in (0..self.peers.len() as u32).filter(|peer| holds(&transactions.peers, *peer)) {
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
                let stream = (act.op.ticket >> TICKET_STREAM_BIT) as u32;
                self.acts.push(act.clone());
                let number = self.acts.len() - 1;
                self.queue.schedule_planned(act.at_us, rank(stream, act.op.host), Happening::Act { number });
            }
            Action::Inject(number, fault) => {
                let place = self.faults.len();
                self.faults.push((*number, fault.clone()));
                let at_us = fault.at.as_us();
                let ends_us = fault.lasts.map_or(self.duration_us, |lasts| at_us + lasts.as_us());
                let rank = FAULT_RANK + 4 * u64::from(*number);
                self.queue.schedule_planned(at_us, rank, Happening::FaultBegins { place });
                let ends_us = ends_us.min(self.duration_us);
                self.queue.schedule_planned(ends_us, rank + 1, Happening::FaultEnds { place });
            }
            // Of worlds of hosts.
            Action::Generate(..) | Action::Ask(_) => {}
        }
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
            Happening::Heal => {
                self.observe(What::Healed);
                self.healed = true;
                self.bytes_at_heal = self.bytes_sent;
                self.look();
            }
            Happening::Commit { peer, life, session, op } => {
                if self.peers[peer as usize].life == life {
                    self.commit(op, session);
                }
            }
            Happening::Wake { peer, life, at_us } => {
                let state = &mut self.peers[peer as usize];
                if state.life == life && state.wakes_at_us == Some(at_us) {
                    state.wakes_at_us = None;
                    self.tell(peer, |engine, now, out| engine.wake(now, out));
                }
            }
            Happening::Message { from, to, message } => {
                if self.peers[to as usize].up {
                    self.tell(to, |engine, now, out| engine.receive(now, from, &message, out));
                }
            }
            Happening::Look => self.look(),
        }
    }

    fn next_arrival(&mut self, number: usize) {
        let (place, stream) = &mut self.streams[number];
        let transactions = &self.transactions[*place];
        let Some(arrival) = transactions.arrivals.next(self.draws, stream) else { return };
        if let Some(at_us) = transactions.arrivals.next_us(stream) {
            let rank = rank(stream.workload, stream.host);
            self.queue.schedule_planned(at_us, rank, Happening::Arrive { stream: number });
        }
        let body: Body = transactions.body(self.draws, arrival.op);
        self.arrive(arrival.op, arrival.at_us, body);
    }

    /// Calls an engine, sends what it sends and plans when it is woken.
    fn tell<T>(&mut self, peer: u32, call: impl FnOnce(&mut dyn PeerEngine, Now, &mut Outbox) -> T) -> T {
        let now_us = self.queue.now_us();
        let state = &mut self.peers[peer as usize];
        let mut out = Outbox::default();
        let answer = call(&mut *state.engine, state.clock.now(now_us), &mut out);
        for (to, message) in out.take() {
            self.send(peer, to, message);
        }
        let state = &mut self.peers[peer as usize];
        if let Some(due) = state.engine.next_wakeup() {
            // Not at once again: an engine that always wants to be woken now would stop the world's clock.
            let at_us = state.clock.world_us(due).max(now_us + 1);
            if state.wakes_at_us.is_none_or(|planned| at_us < planned) {
                state.wakes_at_us = Some(at_us);
                let life = state.life;
                self.queue.schedule(at_us, Happening::Wake { peer, life, at_us });
            }
        }
        answer
    }

    fn send(&mut self, from: u32, to: u32, message: Vec<u8>) {
        if to == from || to as usize >= self.peers.len() {
            return;
        }
        let bytes = message.len() as u64;
        self.bytes_sent += bytes;
        self.tell_of(PeerWhat::Sent { from, to, bytes, rows: 0, reconcile: false });
        for delay in self.network.send(from, to).copies {
            let message = message.clone();
            self.queue.schedule(self.queue.now_us() + delay, Happening::Message { from, to, message });
        }
    }

    fn begin_fault(&mut self, place: usize) {
        let (number, fault) = self.faults[place].clone();
        self.observe(What::FaultBegan { action: format!("f{number}") });
        let Injection::Peers(fault) = fault.inject else { return };
        match fault {
            PeerFault::Cut(cut) => self.network.cut(number, cut),
            PeerFault::Degrade(degrade) => self.network.degrade(number, degrade),
            PeerFault::Crash(set) => {
                for peer in self.members(&set) {
                    self.peers[peer as usize].held_down_by.push(number);
                    self.crash(peer);
                }
            }
            PeerFault::ClockStep(step) => {
                for peer in self.members(&step.peers) {
                    self.peers[peer as usize].clock.step(step.by.as_us());
                }
            }
            // Such a plan was refused.
            PeerFault::SetBack(_)
            | PeerFault::Corrupt(_)
            | PeerFault::SameName(_)
            | PeerFault::Replace(_)
            | PeerFault::Release(_) => {}
        }
    }

    fn end_fault(&mut self, place: usize) {
        let (number, fault) = self.faults[place].clone();
        match fault.inject {
            Injection::Peers(PeerFault::Cut(_) | PeerFault::Degrade(_)) => self.network.heal(number),
            Injection::Peers(PeerFault::Crash(set)) => {
                for peer in self.members(&set) {
                    let state = &mut self.peers[peer as usize];
                    state.held_down_by.retain(|other| *other != number);
                    if state.held_down_by.is_empty() && !state.up {
                        state.up = true;
                        self.observe(What::Restarted { node: format!("n{peer}") });
                        self.tell(peer, |engine, now, out| engine.start(now, out));
                    }
                }
            }
            // What has jumped stays so.
            _ => {}
        }
        self.observe(What::FaultEnded { action: format!("f{number}") });
    }

    fn crash(&mut self, peer: u32) {
        let state = &mut self.peers[peer as usize];
        if !state.up {
            return;
        }
        (state.up, state.wakes_at_us) = (false, None);
        state.life += 1;
        self.observe(What::Crashed { node: format!("n{peer}") });
        self.break_sessions(peer);
    }

    fn members(&self, set: &HostSet) -> Vec<u32> {
        (0..self.peers.len() as u32).filter(|peer| holds(set, *peer)).collect()
    }

    fn tell_of(&mut self, what: PeerWhat) {
        self.observe(What::Peer(what));
    }

    fn observe(&mut self, what: What) {
        let at_us = self.queue.now_us();
        self.observer.event(Event { at_us, what });
    }
}

/// Arrivals are ranked by stream, so that a written-out plan runs in the same order.
fn rank(stream: u32, peer: u32) -> u64 {
    u64::from(stream) << 20 | u64::from(peer)
}
