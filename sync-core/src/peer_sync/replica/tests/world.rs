//! A small world of replicas over databases in memory: messages are delayed, lost, sent twice; nodes crash and start
//! again. Everything follows from the seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::*;
use crate::peer_sync::announcement::HostName;
use crate::peer_sync::content::Content;
use crate::peer_sync::row::{Origin, RowId, RowVersion, TableName};
use crate::peer_sync::schema::{Policy, Schema, Table};
use crate::peer_sync::store::memory::{MemoryPeerStore, TransactionId, Write};
use crate::time::{Span, Timestamp};

/// Draws for tests; keyed, as the simulator's are.
#[derive(Clone, Debug)]
pub(super) struct Draws(pub(super) u64);

impl Entropy for Draws {
    fn draw(&mut self, purpose: Purpose, entity: u64, ordinal: u64) -> u64 {
        mix(self.0 ^ mix(purpose as u64) ^ mix(entity).rotate_left(17) ^ mix(ordinal).rotate_left(31))
    }
}

fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

pub(super) fn node_id(place: usize) -> NodeId {
    NodeId::new(&format!("n{place}")).unwrap()
}

pub(super) fn address(place: usize) -> PeerAddress {
    PeerAddress::new(&format!("h{place}"), 8_000).unwrap()
}

pub(super) fn items() -> TableName {
    TableName("items".into())
}

pub(super) fn schema() -> Schema {
    let table = |name, policy| Table { policy, ..Table::new(name, &["id", "one", "two"], &["id"]).unwrap() };
    Schema::new([
        Table::new("items", &["id", "value"], &["id"]).unwrap(),
        table("counters", Policy::CounterDelta(vec!["one".to_owned()])),
        table("firsts", Policy::FirstWriter),
        table("cells", Policy::LastWriterByColumn),
    ])
    .unwrap()
}

pub(super) fn item(id: u64) -> RowId {
    RowId { table: items(), key: Content::new([Some(id.to_string().as_str())]) }
}

/// One node.
pub(super) struct Node<P> {
    pub(super) replica: Replica<Draws, P>,
    pub(super) store: MemoryPeerStore,
    /// Counts its lives; what was under way in a former one is lost.
    life: u32,
    pub(super) skew_us: i64,
    pub(super) events: Vec<ReplicaEvent>,
    pub(super) up: bool,
}

/// What will happen.
#[derive(Clone, Debug)]
enum Item {
    Input { node: usize, life: u32, input: ReplicaInput },
    Store { node: usize, life: u32, token: Token, request: PeerRequest },
    Ask { from: usize, life: u32, token: Token, to: PeerAddress, asker: Asker, question: PeerQuestion },
    Commit { node: usize, life: u32, transaction: TransactionId },
    Wake { node: usize, life: u32 },
}

pub(super) struct World<P = Standard> {
    pub(super) nodes: Vec<Node<P>>,
    policy: P,
    pub(super) settings: Vec<ReplicaSettings>,
    pub(super) now_us: u64,
    queue: BTreeMap<(u64, u64), Item>,
    sequence: u64,
    draws: u64,
    seed: u64,
    /// Who asked, in which life, under which token.
    exchanges: BTreeMap<Token, (usize, u32, Token, usize)>,
    /// Of 1000 messages.
    pub(super) lost: u64,
    pub(super) doubled: u64,
    /// Links that carry nothing, by who sends and who receives.
    pub(super) cut: BTreeSet<(usize, usize)>,
    /// Which announcements are heard.
    pub(super) broadcast: bool,
    /// Rows that came to each node in pages and pushes.
    pub(super) copies: Vec<u64>,
    pub(super) bytes: u64,
    pub(super) messages: u64,
    /// A hash over all effects.
    pub(super) trace: u64,
}

impl World<Standard> {
    /// Nodes that know each other: a full mesh.
    pub(super) fn mesh(seed: u64, nodes: usize) -> Self {
        Self::with(seed, nodes, Standard, |place, other| place != other)
    }
}

impl<P: ReplicaPolicy + Clone> World<P> {
    pub(super) fn with(seed: u64, nodes: usize, policy: P, linked: impl Fn(usize, usize) -> bool) -> Self {
        let settings: Vec<ReplicaSettings> = (0..nodes)
            .map(|place| ReplicaSettings {
                host: format!("h{place}"),
                static_peers: (0..nodes).filter(|other| linked(place, *other)).map(address).collect(),
                auto_discovery: false,
                sync_interval: Span::from_secs(5),
                anti_entropy_interval: Span::from_secs(20),
                page_rows_max: 16,
                ..ReplicaSettings::default()
            })
            .collect();
        let mut world = Self {
            nodes: Vec::new(),
            policy,
            settings,
            now_us: 1_000_000,
            queue: BTreeMap::new(),
            sequence: 0,
            draws: 0,
            seed,
            exchanges: BTreeMap::new(),
            lost: 0,
            doubled: 0,
            cut: BTreeSet::new(),
            broadcast: false,
            copies: vec![0; nodes],
            bytes: 0,
            messages: 0,
            trace: 0,
        };
        for place in 0..nodes {
            let store = MemoryPeerStore::new(
                node_id(place),
                schema(),
                Incarnation(mix(seed ^ place as u64)),
                limits::STAMP_AHEAD_MAX,
            );
            let replica = world.replica(place, 0);
            world.nodes.push(Node { replica, store, life: 0, skew_us: 0, events: Vec::new(), up: true });
        }
        world
    }

    fn replica(&self, place: usize, life: u32) -> Replica<Draws, P> {
        let draws = Draws(mix(self.seed ^ (place as u64) << 32 ^ u64::from(life)));
        let settings = self.settings[place].clone();
        let resolvers = Resolvers::new(&schema(), &BTreeMap::new()).unwrap();
        let node = self.nodes.get(place).map_or_else(|| node_id(place), |node| node.store.node().clone());
        Replica::new(node, Arc::new(schema()), resolvers, settings, draws, self.policy.clone())
    }

    pub(super) fn draw(&mut self, bound: u64) -> u64 {
        self.draws += 1;
        mix(self.seed.wrapping_mul(31) ^ self.draws) % bound
    }

    fn wall(&self, node: usize) -> Timestamp {
        let us = 1_700_000_000_000_000i64 + self.now_us as i64 + self.nodes[node].skew_us;
        Timestamp::from_us(us as u64)
    }

    fn now(&self, node: usize) -> Now {
        Now { monotonic: Instant::from_us(self.now_us), wall: self.wall(node) }
    }

    fn schedule(&mut self, after_us: u64, item: Item) {
        self.sequence += 1;
        self.queue.insert((self.now_us + after_us, self.sequence), item);
    }

    /// Starts all engines.
    pub(super) fn start(&mut self) {
        for node in 0..self.nodes.len() {
            self.give(node, ReplicaInput::Start { set_back: false });
        }
    }

    pub(super) fn command(&mut self, node: usize, command: Command) {
        self.give(node, ReplicaInput::Command(command));
    }

    /// Hands an input to an engine now.
    pub(super) fn give(&mut self, node: usize, input: ReplicaInput) {
        let mut fx = Vec::new();
        let now = self.now(node);
        self.nodes[node].replica.handle(now, input, &mut fx);
        self.perform(node, fx);
    }

    fn perform(&mut self, node: usize, fx: Vec<ReplicaEffect>) {
        let life = self.nodes[node].life;
        for effect in fx {
            let text = serde_json::to_string(&effect).unwrap();
            self.trace = mix(self.trace ^ name_hash([text.as_str()]) ^ node as u64);
            match effect {
                ReplicaEffect::Store { token, request } => {
                    let delay = 20 + self.draw(300);
                    self.schedule(delay, Item::Store { node, life, token, request });
                }
                ReplicaEffect::Ask { token, to, asker, question, .. } => {
                    let times = 1 + u64::from(self.draw(1000) < self.doubled);
                    for _ in 0..times {
                        let delay = 200 + self.draw(3_000);
                        let (to, asker, question) = (to.clone(), asker.clone(), question.clone());
                        self.schedule(delay, Item::Ask { from: node, life, token, to, asker, question });
                    }
                }
                ReplicaEffect::Answer { exchange, answer } => self.answer(node, exchange, answer),
                ReplicaEffect::Announce { announcement } => {
                    for other in 0..self.nodes.len() {
                        if self.broadcast && self.carries(node, other) {
                            let input = ReplicaInput::Announced {
                                announcement: announcement.clone(),
                                from: HostName::new(&format!("h{node}")).unwrap(),
                            };
                            let life = self.nodes[other].life;
                            self.schedule(300, Item::Input { node: other, life, input });
                        }
                    }
                }
                ReplicaEffect::Event(event) => self.nodes[node].events.push(event),
            }
        }
        if let Some(at) = self.nodes[node].replica.next_wakeup() {
            let after = at.as_us().saturating_sub(self.now_us);
            self.schedule(after, Item::Wake { node, life });
        }
    }

    fn carries(&mut self, from: usize, to: usize) -> bool {
        !self.cut.contains(&(from, to)) && self.draw(1000) >= self.lost
    }

    fn answer(&mut self, node: usize, exchange: Token, answer: PeerAnswer) {
        let (asker, life, token, answerer) =
            self.exchanges.remove(&exchange).expect("one answer to a question");
        assert_eq!(answerer, node);
        self.messages += 1;
        self.bytes += serde_json::to_string(&answer).unwrap().len() as u64;
        if let PeerAnswer::Page(page) = &answer {
            self.copies[asker] += page.rows.len() as u64;
        }
        let times = 1 + u64::from(self.draw(1000) < self.doubled);
        for _ in 0..times {
            if self.carries(node, asker) {
                let delay = 200 + self.draw(3_000);
                let input = ReplicaInput::Answered { token, answer: Ok(answer.clone()) };
                self.schedule(delay, Item::Input { node: asker, life, input });
            }
        }
    }

    fn happen(&mut self, item: Item) {
        match item {
            Item::Input { node, life, input } => {
                if self.lives(node, life) {
                    self.give(node, input);
                }
            }
            Item::Store { node, life, token, request } => {
                if self.lives(node, life) {
                    let wall = self.wall(node);
                    let reply = self.nodes[node].store.execute(wall, request);
                    let delay = 20 + self.draw(300);
                    let input = ReplicaInput::Stored { token, reply };
                    self.schedule(delay, Item::Input { node, life, input });
                }
            }
            Item::Ask { from, life, token, to, asker, question } => {
                let Some(node) = (0..self.nodes.len()).find(|node| address(*node).host == to.host) else {
                    return;
                };
                self.messages += 1;
                self.bytes += serde_json::to_string(&question).unwrap().len() as u64;
                if !self.nodes[node].up || !self.carries(from, node) {
                    return;
                }
                if let PeerQuestion::Push(rows) = &question {
                    self.copies[node] += rows.len() as u64;
                }
                self.sequence += 1;
                let exchange = Token(self.sequence);
                self.exchanges.insert(exchange, (from, life, token, node));
                let from = HostName::new(&format!("h{from}")).unwrap();
                self.give(node, ReplicaInput::Question { exchange, from, asker, question });
            }
            Item::Commit { node, life, transaction } => {
                if self.lives(node, life) {
                    let wall = self.wall(node);
                    self.nodes[node].store.commit(transaction, wall).unwrap();
                    self.give(node, ReplicaInput::LocalChange { tables: vec![items()] });
                }
            }
            Item::Wake { node, life } => {
                let due = self.nodes[node].replica.next_wakeup();
                if self.lives(node, life) && due.is_some_and(|at| at.as_us() <= self.now_us) {
                    let mut fx = Vec::new();
                    let now = self.now(node);
                    self.nodes[node].replica.wake(now, &mut fx);
                    self.perform(node, fx);
                }
            }
        }
    }

    fn lives(&self, node: usize, life: u32) -> bool {
        self.nodes[node].up && self.nodes[node].life == life
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, span: Span) {
        let until = self.now_us + span.as_us();
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= until) {
            let ((at, _), item) = entry.remove_entry();
            self.now_us = at;
            self.happen(item);
        }
        self.now_us = until;
    }

    /// One transaction of an application; commits `after_us` later.
    pub(super) fn write(&mut self, node: usize, rows: &[(u64, Option<&str>)], after_us: u64) {
        if !self.nodes[node].up {
            return;
        }
        let wall = self.wall(node);
        let store = &mut self.nodes[node].store;
        let transaction = store.begin();
        for (id, value) in rows {
            let write = match value {
                Some(value) => Write::Put {
                    table: items(),
                    content: Content::new([Some(id.to_string().as_str()), Some(*value)]),
                },
                None => Write::Delete(item(*id)),
            };
            if store.write(transaction, wall, write).is_err() {
                // Locked by another: this application gives up.
                store.rollback(transaction);
                return;
            }
        }
        let life = self.nodes[node].life;
        self.schedule(after_us, Item::Commit { node, life, transaction });
    }

    /// One statement of an application, committed at once.
    pub(super) fn put(&mut self, node: usize, table: &str, columns: &[&str]) {
        let (wall, table) = (self.wall(node), TableName(table.into()));
        let store = &mut self.nodes[node].store;
        let transaction = store.begin();
        let content = Content::new(columns.iter().copied().map(Some));
        store.write(transaction, wall, Write::Put { table: table.clone(), content }).unwrap();
        store.commit(transaction, wall).unwrap();
        self.give(node, ReplicaInput::LocalChange { tables: vec![table] });
    }

    /// What applications see of a row.
    pub(super) fn see(&self, node: usize, table: &str, id: &str) -> Vec<String> {
        let row = RowId { table: TableName(table.into()), key: Content::new([Some(id)]) };
        let content = self.nodes[node].store.read(&row);
        content.map_or_else(Vec::new, |c| c.columns().map(|c| c.unwrap_or("-").to_owned()).collect())
    }

    /// A node ends abruptly.
    pub(super) fn crash(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        it.up = false;
        it.life += 1;
        it.store.crash();
        self.exchanges.retain(|_, (_, _, _, answerer)| *answerer != node);
    }

    /// It starts again.
    pub(super) fn restart(&mut self, node: usize) {
        let life = self.nodes[node].life;
        self.nodes[node].replica = self.replica(node, life);
        self.nodes[node].up = true;
        self.give(node, ReplicaInput::Start { set_back: false });
    }

    /// All that a node holds: values, deletes and stamps. Where it was written is no part of it, as a database that
    /// was set back gives its writes a new place.
    pub(super) fn content(&self, node: usize) -> Vec<RowVersion> {
        let versions = self.nodes[node].store.versions();
        versions.into_iter().map(|(row, _)| RowVersion { origin: Origin::COMBINED, ..row.clone() }).collect()
    }

    /// Whether all hold the same.
    pub(super) fn converged(&self) -> bool {
        let first = self.content(0);
        (1..self.nodes.len()).all(|node| self.content(node) == first)
    }

    /// Whether the rows that live are the same everywhere.
    pub(super) fn lives_alike(&self) -> bool {
        let living = |node| {
            let mut rows = self.content(node);
            rows.retain(|row| !row.image.is_tombstone());
            rows
        };
        let first = living(0);
        (1..self.nodes.len()).all(|node| living(node) == first)
    }

    /// Runs until all hold the same, at most so long; says how long it took.
    pub(super) fn converges_within(&mut self, span: Span) -> Option<Span> {
        let begun = self.now_us;
        while self.now_us - begun < span.as_us() {
            if self.converged() {
                return Some(Span::from_us(self.now_us - begun));
            }
            self.run(Span::from_ms(100));
        }
        self.converged().then(|| Span::from_us(self.now_us - begun))
    }

    pub(super) fn events(&self, node: usize) -> impl Iterator<Item = &ReplicaEvent> {
        self.nodes[node].events.iter()
    }
}
