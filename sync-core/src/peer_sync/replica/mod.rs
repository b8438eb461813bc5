//! The engine of a peer: keeps its database in step with those of its peers.
//!
//! Promises:
//! - the position in a peer's feed moves only in the transaction that applies what was read, so that a crash, a lost
//!   answer or a database that fails repeats work and loses none;
//! - one round makes headway at a time: what came from one peer is not asked of the next, since a question says what
//!   is here already; a notice that tells nothing new is left alone;
//! - a peer that keeps a round waiting keeps no other peer waiting: after a moment
//!   ([`ROUND_PATIENCE`](limits::ROUND_PATIENCE)) the next round begins beside it;
//! - nobody is believed unseen: an address is asked who is there before it is a peer, and one missed answer removes
//!   nobody;
//! - now and then, and whenever a position means nothing any more, everything is compared by digests, in both
//!   directions, whatever the feeds have brought;
//! - questions to peers end by themselves; how much it answers at once is bounded, past it the answer is Busy.
//!
//! It leans on the database for every decision about rows, see [`store`](super::store), and on
//! [`discovery`](super::discovery) and [`reconcile`](super::reconcile), which are state machines of their own.

mod answers;
mod apply;
mod comparison;
mod job;
mod members;
mod messages;
mod notices;
mod outcomes;
mod pages;
mod pending;
mod policy;
mod rounds;
mod status;
mod upkeep;

pub use messages::{Command, NoAnswer, ReplicaEffect, ReplicaInput};
pub use policy::{ReplicaPolicy, Standard};
pub use status::{API_VERSION, Activity, Status, SyncConfig};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use self::apply::Rules;
use self::job::Job;
use self::members::PeerState;
use self::notices::Notices;
use self::pages::Pages;
use self::pending::{Asking, Pending};
use self::upkeep::Upkeep;
use super::announcement::PeerAddress;
use super::discovery::{Discovery, Source};
use super::events::{ReplicaEvent, Statistics};
use super::message::{Asker, PeerAnswer, PeerQuestion};
use super::position::Frontier;
use super::resolver::Resolvers;
use super::schema::Schema;
use super::settings::ReplicaSettings;
use super::snapshot::Snapshot;
use super::store::{Description, PeerReply, PeerRequest};
use super::version::NodeId;
use crate::engine::Engine;
use crate::entropy::{Entropy, Purpose};
use crate::id::{Incarnation, Token};
use crate::limits;
use crate::time::{Instant, Now};

/// The engine of a peer.
#[derive(Debug)]
pub struct Replica<E, P = Standard> {
    node: NodeId,
    schema: Arc<Schema>,
    resolvers: Resolvers,
    settings: ReplicaSettings,
    entropy: E,
    policy: P,
    /// The life of this engine.
    instance: Incarnation,
    /// The life of the database; none until it has described itself.
    incarnation: Option<Incarnation>,
    activity: Activity,
    /// Whether the start knew that the database was set back.
    set_back: bool,
    /// The own transactions, as far as is known.
    snapshot: Snapshot,
    /// What is here of everybody's writes, as far as is known.
    frontier: Frontier,
    discovery: Discovery,
    peers: BTreeMap<NodeId, PeerState>,
    /// Whom tombstones wait for: all that ever were peers of this database.
    known: BTreeSet<NodeId>,
    /// The rounds under way: one that makes headway, and those whose peer keeps them waiting.
    jobs: BTreeMap<u64, Job>,
    jobs_begun: u64,
    pages: Pages,
    notices: Notices,
    upkeep: Upkeep,
    next_token: u64,
    pending: BTreeMap<Token, Pending>,
    /// Questions to peers, and when each is given up.
    asked: BTreeMap<Token, (Asking, Instant)>,
    /// The same moments in their order.
    deadlines: BTreeSet<(Instant, Token)>,
    /// Questions that the database is answering.
    answering: usize,
    /// When the database is asked again to describe itself, at the start.
    describe_at: Option<Instant>,
    describes: u32,
    statistics: Statistics,
}

impl<E: Entropy, P: ReplicaPolicy> Replica<E, P> {
    /// A replica of one node; `resolvers` are those of the schema. Draws the life of the engine from `entropy`.
    pub fn new(
        node: NodeId,
        schema: Arc<Schema>,
        resolvers: Resolvers,
        settings: ReplicaSettings,
        mut entropy: E,
        policy: P,
    ) -> Self {
        let instance = Incarnation(entropy.draw(Purpose::Incarnation, name_hash([node.as_str()]), 0));
        Self {
            discovery: Discovery::new(node.clone(), instance, schema.fingerprint()),
            node,
            schema,
            resolvers,
            settings,
            entropy,
            policy,
            instance,
            incarnation: None,
            activity: Activity::Starting,
            set_back: false,
            snapshot: Snapshot::default(),
            frontier: Frontier::default(),
            peers: BTreeMap::new(),
            known: BTreeSet::new(),
            jobs: BTreeMap::new(),
            jobs_begun: 0,
            pages: Pages::default(),
            notices: Notices::default(),
            upkeep: Upkeep::default(),
            next_token: 1,
            pending: BTreeMap::new(),
            asked: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            answering: 0,
            describe_at: None,
            describes: 0,
            statistics: Statistics::default(),
        }
    }

    /// Who it is.
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// The life of its database; none until it knows it.
    pub fn incarnation(&self) -> Option<Incarnation> {
        self.incarnation
    }

    /// Its settings.
    pub fn settings(&self) -> &ReplicaSettings {
        &self.settings
    }

    /// Counts since the start.
    pub fn statistics(&self) -> Statistics {
        self.statistics
    }

    /// Whether nothing is under way: no question, no request, no round.
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.asked.is_empty() && self.jobs.is_empty() && self.answering == 0
    }

    fn command(&mut self, now: Now, command: Command, fx: &mut Vec<ReplicaEffect>) {
        match command {
            Command::Trigger { peer } => self.trigger(now, peer.as_ref(), None, fx),
            Command::SyncTable(table) => self.trigger(now, None, Some(table), fx),
            Command::AddPeer(address) => self.learn(now, address, Source::Given),
            Command::RemovePeer(node) => {
                let change = self.discovery.remove(&node);
                self.known.remove(&node);
                self.changed(now, change, fx);
            }
            Command::RemoveAddress(address) => match self.discovery.answers_at(&address).cloned() {
                Some(node) => self.command(now, Command::RemovePeer(node), fx),
                None => self.discovery.forget(&address),
            },
            Command::Refresh => {
                self.upkeep.announce_now(now.monotonic);
                self.discovery.refresh(now.monotonic);
            }
            Command::Configure(settings) => self.configure(now, *settings),
            Command::Stop => {
                if self.activity != Activity::Stopped {
                    self.activity = Activity::Stopping;
                }
            }
        }
    }

    fn configure(&mut self, now: Now, settings: ReplicaSettings) {
        self.settings = settings;
        for address in self.settings.static_peers.clone() {
            self.learn(now, address, Source::Given);
        }
        if self.activity == Activity::Active {
            self.upkeep.begin(now.monotonic, &self.settings);
        }
        for peer in self.peers.values_mut() {
            peer.next_round = peer.next_round.min(now.monotonic + self.settings.sync_interval);
            peer.compare_at = peer.compare_at.min(now.monotonic + self.settings.anti_entropy_interval);
        }
    }

    /// The database has described itself at the start.
    fn described(&mut self, now: Now, description: Description, fx: &mut Vec<ReplicaEffect>) {
        self.know(&description);
        if self.activity != Activity::Starting {
            return;
        }
        if self.set_back && self.policy.renews() {
            self.set_back = false;
            self.renew(None, fx);
        }
        self.activity = Activity::Active;
        fx.push(ReplicaEffect::Event(ReplicaEvent::Started {
            node: self.node.clone(),
            incarnation: description.incarnation,
        }));
        self.upkeep.begin(now.monotonic, &self.settings);
        for address in self.settings.static_peers.clone() {
            self.learn(now, address, Source::Given);
        }
    }

    /// Takes over what the database says of itself.
    fn know(&mut self, description: &Description) {
        self.incarnation = Some(description.incarnation);
        self.snapshot.clone_from(&description.snapshot);
        self.frontier.clone_from(&description.frontier);
        for peer in description.positions.keys() {
            self.remember(peer);
        }
    }

    fn remember(&mut self, peer: &NodeId) {
        if self.known.len() < limits::PEERS_MAX && *peer != self.node {
            self.known.insert(peer.clone());
        }
    }

    /// The life after the present one. Drawn for the present one, so that no life is drawn twice, whatever crashes.
    fn next_incarnation(&mut self) -> Incarnation {
        let present = self.incarnation.map_or(0, |Incarnation(present)| present);
        Incarnation(self.entropy.draw(
            Purpose::Incarnation,
            name_hash([self.node.as_str(), "database"]),
            present,
        ))
    }

    /// Whether it may begin something of its own.
    fn works(&self) -> bool {
        self.activity == Activity::Active && self.settings.sync_enabled
    }

    fn rules(&self) -> Rules<'_> {
        Rules { schema: &self.schema, resolvers: &self.resolvers }
    }

    fn token(&mut self) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        token
    }

    fn store(&mut self, request: PeerRequest, pending: Pending, fx: &mut Vec<ReplicaEffect>) {
        let token = self.token();
        self.pending.insert(token, pending);
        fx.push(ReplicaEffect::Store { token, request });
    }

    fn ask(
        &mut self,
        now: Now,
        to: PeerAddress,
        whom: Option<&NodeId>,
        question: PeerQuestion,
        what: Asking,
        fx: &mut Vec<ReplicaEffect>,
    ) {
        let token = self.token();
        let timeout = self.settings.ask_timeout;
        let until = now.monotonic + timeout;
        self.asked.insert(token, (what, until));
        self.deadlines.insert((until, token));
        self.statistics.questions_asked += 1;
        let asker = Asker {
            node: self.node.clone(),
            instance: Some(self.instance),
            protocol: self.settings.protocol,
            whom: whom.cloned(),
        };
        fx.push(ReplicaEffect::Ask { token, to, timeout, asker, question });
    }

    fn answered(
        &mut self,
        now: Now,
        token: Token,
        answer: Result<PeerAnswer, NoAnswer>,
        fx: &mut Vec<ReplicaEffect>,
    ) {
        // Else it came too late, or again.
        let Some((what, until)) = self.asked.remove(&token) else { return };
        self.deadlines.remove(&(until, token));
        self.statistics.questions_failed += u64::from(answer.is_err());
        match what {
            Asking::Hello(address) => self.introduced(now, &address, answer, fx),
            Asking::Notify(peer) => self.told(now, &peer, answer.is_ok(), fx),
            Asking::Job(job) => self.job_answered(now, job, answer, fx),
        }
    }

    fn stored(&mut self, now: Now, token: Token, reply: PeerReply, fx: &mut Vec<ReplicaEffect>) {
        let Some(pending) = self.pending.remove(&token) else { return };
        match pending {
            Pending::Describe => match reply {
                PeerReply::Described(description) => self.described(now, description, fx),
                _ => {
                    self.describes += 1;
                    let draw = self.jitter(["describe"], u64::from(self.describes));
                    self.describe_at = Some(now.monotonic + self.policy.backoff(self.describes, draw));
                }
            },
            Pending::Renew { incarnation, read } => self.renewed(now, incarnation, read, reply, fx),
            Pending::Noticing(news) => self.notify(now, news, reply, fx),
            Pending::JobStored(job) => self.job_stored(now, job, reply, fx),
            Pending::Answer(answering) => self.answer_stored(now, answering, reply, fx),
            Pending::Purge => self.purged(reply, fx),
            Pending::Scrub => self.scrubbed(now, reply, fx),
        }
    }

    /// A draw for a pause.
    fn jitter<const N: usize>(&mut self, names: [&str; N], ordinal: u64) -> u64 {
        let entity = name_hash(names) ^ name_hash([self.node.as_str()]).rotate_left(32);
        self.entropy.draw(Purpose::Jitter, entity, ordinal)
    }

    /// Lets pass what is due.
    fn pass(&mut self, now: Now, fx: &mut Vec<ReplicaEffect>) {
        while let Some((at, token)) = self.deadlines.first().copied()
            && at <= now.monotonic
        {
            self.deadlines.pop_first();
            self.answered(now, token, Err(NoAnswer::TimedOut), fx);
        }
        if self.describe_at.is_some_and(|at| at <= now.monotonic) && self.activity == Activity::Starting {
            self.describe_at = None;
            self.store(PeerRequest::Describe, Pending::Describe, fx);
        }
        if self.works() {
            self.check_members(now, fx);
            self.flush_notices(now, fx);
            self.tell(now, fx);
            self.keep_up(now, fx);
            self.begin_round(now, fx);
        }
        if self.activity == Activity::Stopping && self.is_idle() {
            self.activity = Activity::Stopped;
            fx.push(ReplicaEffect::Event(ReplicaEvent::Stopped));
        }
    }
}

impl<E: Entropy, P: ReplicaPolicy> Engine for Replica<E, P> {
    type Input = ReplicaInput;
    type Effect = ReplicaEffect;

    fn handle(&mut self, now: Now, input: Self::Input, fx: &mut Vec<Self::Effect>) {
        match input {
            ReplicaInput::Start { set_back } => {
                if self.activity == Activity::Starting && self.incarnation.is_none() {
                    self.set_back = set_back;
                    self.describe_at = Some(now.monotonic);
                }
            }
            ReplicaInput::Question { exchange, from, asker, question } => {
                self.question(now, exchange, &from, asker, question, fx);
            }
            ReplicaInput::Answered { token, answer } => self.answered(now, token, answer, fx),
            ReplicaInput::Stored { token, reply } => self.stored(now, token, reply, fx),
            ReplicaInput::Announced { announcement, from } => self.announced(now, &announcement, &from),
            ReplicaInput::LocalChange { tables } => self.changed_here(now, tables),
            ReplicaInput::Command(command) => self.command(now, command, fx),
        }
        self.pass(now, fx);
    }

    fn wake(&mut self, now: Now, fx: &mut Vec<Self::Effect>) {
        self.pass(now, fx);
    }

    fn next_wakeup(&self) -> Option<Instant> {
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        let starting = self.describe_at.filter(|_| self.activity == Activity::Starting);
        let own = if self.works() {
            let notices = self.notices.due().into_iter().chain(self.next_notice()).min();
            [self.discovery.next_due(), notices, self.upkeep.next_due(), self.next_round()]
        } else {
            [None; 4]
        };
        own.into_iter().chain([deadline, starting]).flatten().min()
    }
}

/// A number for names, to key draws with (FNV-1a).
fn name_hash<const N: usize>(names: [&str; N]) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let bytes = names.iter().flat_map(|name| name.bytes().chain([0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests;
