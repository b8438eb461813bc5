//! One node to speak to: its engine, its three ports without sockets, and its database in memory.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, ready};
use sync_core::config::peer::{PeerConfig, Variables};
use sync_core::entropy::{Entropy, Purpose};
use sync_core::id::Incarnation;
use sync_core::peer_sync::announcement::{Announcement, PeerAddress};
use sync_core::peer_sync::content::Content;
use sync_core::peer_sync::message::{Asked, Hello, PROTOCOL, PeerAnswer, PeerQuestion};
use sync_core::peer_sync::replica::{Activity, Command, NoAnswer, Replica, ReplicaInput, Standard};
use sync_core::peer_sync::resolver::Resolvers;
use sync_core::peer_sync::row::TableName;
use sync_core::peer_sync::schema::Schema;
use sync_core::peer_sync::settings::ReplicaSettings;
use sync_core::peer_sync::snapshot::Snapshot;
use sync_core::peer_sync::store::memory::{MemoryPeerStore, Write};
use sync_core::peer_sync::store::{PeerReply, PeerRequest};
use sync_core::peer_sync::version::NodeId;
use sync_core::runtime::driver::replica::{ReplicaDriver, Surroundings};
use sync_core::runtime::peer_node::Ports;
use sync_core::runtime::peer_node::database::{MemoryDatabase, PeerDatabase};
use sync_core::time::{Span, Timestamp};

use super::Finding;

/// The node.
pub const NODE: &str = "n1";
/// The peer that it knows.
pub const PEER: &str = "n2";
/// The key of those nodes that have one.
pub const KEY: &str = "p2p-peers:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// Makes something else of the database, for a planted defect.
pub type Plant = fn(Arc<dyn PeerDatabase>) -> Arc<dyn PeerDatabase>;

/// Where the known peer answers hellos.
const PEER_PORT: u16 = 9;
/// A world is not kept long enough for any timer of its engine to matter.
const AGE_MAX: Duration = Duration::from_secs(20);

/// A node with some rows and one peer.
pub struct World {
    pub ports: Ports,
    pub is_keyed: bool,
    driver: ReplicaDriver,
    database: Arc<MemoryDatabase>,
    around: Arc<Around>,
    initial: State,
    started: Instant,
}

/// What must stay as it is, as texts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    store: String,
    engine: String,
}

/// The tables of the specification.
pub fn schema() -> Schema {
    let (config, _) = PeerConfig::resolve(&Variables::default()).unwrap();
    config.schema(None).unwrap()
}

/// What a database of these worlds holds at first, written at this moment.
pub fn first_rows(store: &mut MemoryPeerStore, at: Timestamp) {
    let schema = store.schema().clone();
    let transaction = store.begin();
    for (table, columns) in [
        ("users", [("id", "u1"), ("username", "one"), ("email", "one@example.com")]),
        ("users", [("id", "u2"), ("username", "two"), ("email", "two@example.com")]),
        ("categories", [("id", "c1"), ("name", "books"), ("slug", "books")]),
    ] {
        let table = schema.find(table).unwrap();
        let texts =
            table.columns.iter().map(|name| columns.iter().find(|(c, _)| c == name).map(|(_, text)| *text));
        let write = Write::Put { table: table.name.clone(), content: Content::new(texts) };
        store.write(transaction, at, write).unwrap();
    }
    store.commit(transaction, at).unwrap();
}

impl World {
    pub async fn start(is_keyed: bool, plant: Plant) -> Self {
        let node = NodeId::new(NODE).unwrap();
        let schema = schema();
        let database = Arc::new(MemoryDatabase::new(node.clone(), schema.clone(), Incarnation(1)));
        database.with([], |store| first_rows(store, Timestamp::from_ms(1_750_000_000_000)));
        let behind = plant(Arc::clone(&database) as Arc<dyn PeerDatabase>);
        let around = Arc::new(Around {
            database: Arc::clone(&behind),
            schema: schema.fingerprint(),
            asked: Mutex::default(),
        });
        let long = Span::from_secs(86_400);
        let settings = ReplicaSettings {
            // It answers, and does nothing of its own accord while it is looked at.
            sync_interval: long,
            health_interval: long,
            anti_entropy_interval: long,
            scrub_interval: long,
            purge_interval: long,
            ..ReplicaSettings::default()
        };
        let resolvers = Resolvers::declared(&schema);
        let schema = Arc::new(schema);
        let quiet = ReplicaSettings { sync_enabled: false, ..settings.clone() };
        let replica = Replica::new(node, Arc::clone(&schema), resolvers, settings, Counting(0), Standard);
        let driver = ReplicaDriver::start(replica, Arc::clone(&around));
        let key = is_keyed.then(|| KEY.parse().unwrap());
        let ports = Ports::new(driver.front().clone(), behind, schema, key, 8_002);
        let peer = PeerAddress::new("127.0.0.1", PEER_PORT).unwrap();
        // Not before it works: until then it heeds nobody.
        let mut view = driver.front().look().await.unwrap();
        while view.status.status != Activity::Active {
            tokio::task::yield_now().await;
            view = driver.front().look().await.unwrap();
        }
        driver.front().tell(ReplicaInput::Command(Command::AddPeer(peer))).await.unwrap();
        while view.status.peers.is_empty() {
            tokio::task::yield_now().await;
            view = driver.front().look().await.unwrap();
        }
        driver.front().tell(ReplicaInput::Command(Command::Configure(Box::new(quiet)))).await.unwrap();
        let initial = State { store: String::new(), engine: String::new() };
        let mut world = Self { ports, is_keyed, driver, database, around, initial, started: Instant::now() };
        // What it had begun with its peer comes to an end first.
        loop {
            world.settle().await;
            let state = world.state().await;
            if state == world.initial {
                return world;
            }
            world.initial = state;
        }
    }

    /// Whether another one is due.
    pub fn is_old(&self) -> bool {
        self.started.elapsed() > AGE_MAX
    }

    /// Whom the node has asked anything so far.
    pub fn asked(&self) -> Vec<PeerAddress> {
        self.around.asked.lock().unwrap().clone()
    }

    /// Lets go on what an input has begun.
    pub async fn settle(&self) {
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }

    /// Whether everything is as it was when the world began.
    ///
    /// # Errors
    /// What is not.
    pub async fn is_unchanged(&self) -> Result<(), Finding> {
        self.settle().await;
        let now = self.state().await;
        let changed = |what: &str, before: &str, now: &str| {
            let common = before.bytes().zip(now.bytes()).take_while(|(one, other)| one == other).count();
            let show = |text: &str| {
                let part = &text.as_bytes()[common.saturating_sub(40)..text.len().min(common + 120)];
                String::from_utf8_lossy(part).into_owned()
            };
            Err(Finding(format!(
                "it is refused, and yet {what} changed\n  before: ...{}\n  now:    ...{}",
                show(before),
                show(now)
            )))
        };
        match &self.initial {
            State { store, .. } if *store != now.store => changed("the database", store, &now.store),
            State { engine, .. } if *engine != now.engine => changed("the engine", engine, &now.engine),
            _ => Ok(()),
        }
    }

    /// Whether the rows are those of the beginning.
    ///
    /// # Errors
    /// What is not.
    pub fn has_its_rows(&self, why: &str) -> Result<(), Finding> {
        match self.store() == self.initial.store {
            true => Ok(()),
            false => Err(Finding(format!("{why}, and yet the database changed"))),
        }
    }

    /// Everything that the database holds; numbers that only what is rolled back has drawn are nothing that it holds.
    fn store(&self) -> String {
        self.database.with([], |store| {
            let mut described = store.execute(Timestamp::from_ms(1_750_000_000_000), PeerRequest::Describe);
            if let PeerReply::Described(described) = &mut described {
                described.snapshot = Snapshot::default();
            }
            let open = store.open_transactions().count();
            format!("{described:?} {open} open {:?}", store.versions())
        })
    }

    async fn state(&self) -> State {
        let mut view = self.driver.front().look().await.unwrap();
        view.status.timestamp.clear();
        // Who asks was heard of, even if the answer is that there is too much to do.
        view.status.peers.iter_mut().for_each(|peer| peer.last_seen.clear());
        // That a question was answered, if only by a refusal, is counted.
        view.statistics.questions_answered = 0;
        view.statistics.questions_busy = 0;
        State { store: self.store(), engine: format!("{view:?}") }
    }
}

/// Where requests come from.
pub const FROM: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)), 40_000);

/// Nobody is anywhere, but for one peer that introduces itself.
struct Around {
    database: Arc<dyn PeerDatabase>,
    schema: u64,
    asked: Mutex<Vec<PeerAddress>>,
}

impl Surroundings for Around {
    fn execute(self: Arc<Self>, request: PeerRequest) -> BoxFuture<'static, PeerReply> {
        Box::pin(async move { self.database.execute(request).await })
    }

    fn ask(
        self: Arc<Self>,
        to: PeerAddress,
        asked: Asked,
        _timeout: Span,
    ) -> BoxFuture<'static, Result<PeerAnswer, NoAnswer>> {
        let is_peer = to == PeerAddress::new("127.0.0.1", PEER_PORT).unwrap();
        self.asked.lock().unwrap().push(to.clone());
        Box::pin(ready(match asked.question {
            PeerQuestion::Hello(_) if is_peer => Ok(PeerAnswer::Hello(Hello {
                node: NodeId::new(PEER).unwrap(),
                incarnation: Incarnation(2),
                instance: Incarnation(2),
                api_port: PEER_PORT,
                listen_port: PEER_PORT + 1,
                protocol: PROTOCOL,
                schema: self.schema,
            })),
            _ if is_peer || to.port == PEER_PORT + 1 => Ok(PeerAnswer::Busy),
            _ => Err(NoAnswer::Unreachable),
        }))
    }

    fn announce(self: Arc<Self>, _announcement: Announcement) -> BoxFuture<'static, ()> {
        Box::pin(ready(()))
    }
}

/// The same draws in every world.
struct Counting(u64);

impl Entropy for Counting {
    fn draw(&mut self, _purpose: Purpose, _entity: u64, _ordinal: u64) -> u64 {
        self.0 += 1;
        self.0
    }
}

/// The name of a table that travels.
pub fn table(name: &str) -> TableName {
    schema().find(name).unwrap().name.clone()
}
