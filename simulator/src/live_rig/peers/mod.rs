//! Scenarios of peers against real ones: a `peer-node` process and a PostgreSQL database for each, applications that speak
//! plain SQL, and links that lose and delay messages as the scenario says.
//!
//! The plan is that of the virtual rig, and so are the fates of messages. The history is put together when the run is over
//! ([`history`]): from what applications saw, what processes wrote down of their databases ([`facts`]), what the links
//! carried ([`mesh`]), and the moments of commits that PostgreSQL keeps. Then the same checks judge it.

mod database;
mod disks;
mod facts;
mod fates;
mod history;
mod judge;
mod mesh;
pub(crate) mod node;
mod places;
mod plan;
mod session;
mod stage;
mod tables;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sync_core::peer_sync::schema::Schema;
use sync_core::secret::Secret;
use tokio::time::{Instant, sleep, sleep_until};

use self::database::{Database, are_alike, wait_until_alike};
use self::facts::Fact;
use self::history::{Commits, Number};
use self::judge::{Carried, judge};
use self::mesh::Mesh;
use self::node::PeerSpec;
use self::places::Places;
use self::plan::When;
use self::session::Applications;
use self::stage::Stage;
use self::tables::Statements;
use self::told::{Place, Shared, Told};
use super::LiveError;
use super::peer_server::PeerServer;
use super::rig::LiveRunError;
use super::run_id::random_hex;
use crate::arrivals::TICKET_STREAM_BIT;
use crate::draw::Draws;
use crate::history::peers::{FinalState, HeldRow};
use crate::history::{Kind, OpRef, What};
use crate::peer_schema::{Filler, node_id, schema};
use crate::plan::{Act, Action, Plan};
use crate::run::{RunResult, ServerVersion};
use crate::scenario::model::{Discovery, Peers, Put, Texts};
use crate::virtual_rig::clock::NodeClock;
use crate::virtual_rig::peers::links::neighbours;
use crate::virtual_rig::peers::network::PeerNetwork;
use crate::virtual_rig::peers::settings;
use crate::virtual_rig::world::host_clock;

pub(super) use plan::{cannot, needs_servers};

/// What can be seen of live peers.
pub(super) const OBSERVABLE: &[Kind] = &[
    Kind::Node,
    Kind::Fault,
    Kind::Settled,
    Kind::Planned,
    Kind::PeerTransaction,
    Kind::PeerCommitted,
    Kind::PeerRead,
    Kind::Merged,
    Kind::Advanced,
    Kind::Purged,
    Kind::PeerLife,
    Kind::PeerIdentity,
    Kind::Conflict,
    Kind::Aside,
    Kind::Membership,
    Kind::PeerMessage,
    Kind::Equal,
    Kind::FinalRow,
];

/// What a run stands on.
pub(super) struct Ground {
    /// A database of the server on which peers get theirs.
    pub(super) server: Secret<String>,
    /// Begins the names of databases that are this run's.
    pub(super) prefix: String,
    /// Servers of the peers' own, one for each; none where all share one.
    pub(super) own: Vec<PeerServer>,
    pub(super) versions: Vec<ServerVersion>,
}

/// A folder of this run, gone with it.
struct Folder(std::path::PathBuf);

/// Carries a plan of peers out.
///
/// # Errors
/// When it comes to no result.
pub(super) async fn run(ground: Ground, plan: &Plan, peers: &Peers) -> Result<RunResult, LiveRunError> {
    let folder = Folder::make()?;
    let isolated = !ground.own.is_empty();
    let name = |peer| format!("{}_{}", ground.prefix, node_id(peer, peers.count));
    let databases: Result<Vec<_>, _> = match isolated {
        true => ground.own.iter().cloned().map(Database::alone_on).collect(),
        false => (0..peers.count).map(|peer| Database::new(&ground.server, name(peer))).collect(),
    };
    let databases = databases?;
    let carried = carry_out(plan, peers, &databases, &folder.0).await;
    for database in &databases {
        match database.own() {
            Some(server) => server.remove().await?,
            None => database.remove().await?,
        }
    }
    Ok(judge(plan, carried?, ground.versions, (peers.count, isolated)))
}

async fn carry_out(
    plan: &Plan,
    peers: &Peers,
    databases: &[Database],
    folder: &Path,
) -> Result<Carried, LiveRunError> {
    let draws = Draws::new(plan.seed);
    // A scenario whose tables are no schema was refused when it was read.
    let schema = Arc::new(schema(peers).map_err(|error| LiveRunError::Cannot(error.to_string()))?);
    let statements = Statements::new(&schema);
    for database in databases {
        database.create(&statements).await?;
    }
    load(draws, peers, &schema, &statements, &databases[0]).await?;
    let shared = Arc::new(Shared::new(draws, statements, peers.rows.clone()));
    let places: Vec<Arc<Place>> =
        (0..).zip(databases).map(|(peer, database)| place(peer, peers, database)).collect();
    let addresses = Places::find()?;
    let known = neighbours(draws, &peers.links, peers.count);
    let network = PeerNetwork::new(draws, &peers.network, peers.count);
    let announces = peers.discovery == Discovery::Announcements;
    let mesh = Arc::new(Mesh::open(addresses, network, &known, announces).await?);
    let specs = (0..)
        .zip(&known)
        .zip(databases)
        .map(|((peer, known), database)| spec(peers, &schema, addresses, (peer, known), database, folder));
    let clocks: Vec<NodeClock> = (0..peers.count).map(|peer| host_clock(&plan.world, draws, peer)).collect();
    let mut stage = Stage::set(&places, specs.collect(), clocks, &shared, &mesh).await?;
    wait_until_alike(databases, SETTING_UP).await?;
    let stock = databases[0].read(&shared.statements, &node_id(0, peers.count)).await?;
    let stock: Vec<HeldRow> = stock
        .into_iter()
        .map(|(row, FinalState { version, deleted, .. })| HeldRow { row, version, deleted })
        .collect();

    // From here on the plan's time goes by.
    mesh.begin();
    stage.begin();
    let (start, start_us) = (Instant::now(), now_us());
    let mut applications = Applications::new(Arc::clone(&shared), places.clone());
    let acting = act(plan, &mut applications, start);
    let disturbing = disturb(plan, &mut stage, &shared, start);
    let (late_us_max, disturbed) = tokio::join!(acting, disturbing);
    disturbed?;
    rest(plan, peers, &stage, &shared, databases, start).await?;
    let open = shared.open();
    applications.end();
    let length_us = now_us().saturating_sub(start_us);

    let mut struck = stage.strike().await;
    let mut ends = Vec::with_capacity(databases.len());
    for (peer, database) in (0..).zip(databases) {
        ends.push(database.read(&shared.statements, &node_id(peer, peers.count)).await?);
    }
    let told = shared.take();
    let facts = struck.facts.iter().map(|files| fates::read(files)).collect::<Result<Vec<_>, _>>()?;
    let committed = committed(databases, &told, &facts, std::mem::take(&mut struck.retired)).await?;
    let sent = mesh.take_sent();
    Ok(Carried { start_us, length_us, stock, told, sent, struck, open, late_us_max, ends, facts, committed })
}

/// Gives the first peer the rows that are there from the start; the others get them from it.
async fn load(
    draws: Draws,
    peers: &Peers,
    schema: &Schema,
    statements: &Statements,
    database: &Database,
) -> Result<(), LiveError> {
    let work = async {
        let mut connection = database::connect(database.dsn()).await?;
        for (number, table) in (0..).zip(schema.tables()) {
            let Some(statements) = statements.of(table.name.as_str()) else { continue };
            let rows = peers.rows.get(table.name.as_str()).copied().unwrap_or(0);
            let op = OpRef { host: 0, ticket: LOADED << TICKET_STREAM_BIT | number };
            let numbers: Vec<u32> = (0..rows).collect();
            for chunk in numbers.chunks(ROWS_AT_ONCE) {
                let mut columns: Vec<Vec<Option<String>>> = vec![Vec::new(); statements.columns];
                for row in chunk {
                    let filler = Filler { draws, op, statement: *row, parents: &peers.rows };
                    let (name, set) = (table.name.to_string(), BTreeMap::new());
                    let put = Put { table: name, row: *row, set, texts: Texts::Plain, collide: false };
                    let content = filler.fill(table, &put, None);
                    for (column, text) in columns.iter_mut().zip(content.columns()) {
                        column.push(text.map(str::to_owned));
                    }
                }
                let query =
                    columns.into_iter().fold(sqlx::query(statements.load.clone()), |q, texts| q.bind(texts));
                query.execute(&mut connection).await?;
            }
        }
        Ok(())
    };
    work.await.map_err(|error| LiveError::Postgres { doing: "write the first rows", error })
}

fn place(peer: u32, peers: &Peers, database: &Database) -> Arc<Place> {
    Arc::new(Place::new(node_id(peer, peers.count), database.clone()))
}

fn spec(
    peers: &Peers,
    schema: &Schema,
    places: Places,
    (peer, known): (u32, &Vec<u32>),
    database: &Database,
    folder: &Path,
) -> PeerSpec {
    let addresses = known.iter().filter_map(|other| places.peer_address(peer, *other));
    PeerSpec {
        peer,
        count: peers.count,
        name: peer,
        address: places.of(peer),
        api_port: places.api_port,
        p2p_port: places.p2p_port,
        discovery_port: places.discovery_port,
        announces_to: known.iter().map(|other| places.link(peer, *other)).collect(),
        postgres: database.dsn().expose().clone(),
        tables: schema.tables().cloned().collect(),
        settings: settings(peers, addresses),
        stamp_ahead_max: peers.stamp_ahead_max.span(),
        facts: folder.join(format!("peer-{peer}")),
    }
}

/// Hands every transaction of the plan to its session at its moment. Says by how much the latest was late.
async fn act(plan: &Plan, applications: &mut Applications, start: Instant) -> u64 {
    let acts = plan.expand().actions.into_iter().filter_map(|action| match action {
        Action::Act(act) => Some(act),
        _ => None,
    });
    let mut acts: Vec<Act> = acts.collect();
    acts.sort_by_key(|act| act.at_us);
    let mut late_us_max = 0;
    for Act { op, at_us, body } in acts {
        // A timer may be early by its own grain; a transaction never is.
        sleep_until(start + Duration::from_micros(at_us) + GRAIN).await;
        late_us_max = late_us_max.max(elapsed_us(start).saturating_sub(at_us));
        applications.arrive(op, at_us, body);
    }
    sleep_until(start + Duration::from_micros(plan.world.duration.as_us())).await;
    late_us_max
}

/// Begins and ends faults at their moments; says when the last is over.
async fn disturb(plan: &Plan, stage: &mut Stage, shared: &Shared, start: Instant) -> Result<(), LiveError> {
    let turns = plan::turns(plan);
    let drifts = plan.world.clocks.drift_ppm > 0;
    for turn in turns {
        let at = start + Duration::from_micros(turn.at_us);
        while drifts && Instant::now() + DRIFT < at {
            stage.drift().await?;
            sleep(DRIFT).await;
        }
        sleep_until(at).await;
        match turn.when {
            When::Copies => stage.copy_disks(turn.number, &turn.fault).await?,
            When::Begins => stage.begin_fault(turn.number, &turn.fault).await?,
            When::Ends => stage.end_fault(turn.number, &turn.fault, turn.has_length).await?,
        }
    }
    let healed = stage.healed_us().map(|healed_us| shared.push(Told::At(healed_us, What::Healed)));
    let end = start + Duration::from_micros(plan.world.duration.as_us());
    while drifts && Instant::now() + DRIFT < end {
        stage.drift().await?;
        sleep(DRIFT).await;
    }
    sleep_until(end).await;
    // Where nothing goes wrong, it is the end of writing that is healed from.
    if healed.is_none() {
        shared.tell(What::Healed);
    }
    Ok(())
}

/// Waits until everybody has held the same for the length of a round and no transaction is open, or until the time to settle
/// is over.
async fn rest(
    plan: &Plan,
    peers: &Peers,
    stage: &Stage,
    shared: &Shared,
    databases: &[Database],
    start: Instant,
) -> Result<(), LiveError> {
    let end = start + Duration::from_micros(plan.world.duration.as_us() + plan.world.settle.as_us());
    let mut alike_since: Option<Instant> = None;
    while Instant::now() < end {
        sleep(LOOK).await;
        if shared.open() > 0 || !stage.all_are_up() {
            alike_since = None;
            continue;
        }
        let mut conditions = Vec::with_capacity(databases.len());
        for database in databases {
            conditions.push(database.condition().await?);
        }
        let is_sound = !plan::corrupts(plan) || are_sound(shared, databases, peers.count).await?;
        match (is_sound && are_alike(&conditions), alike_since) {
            (false, _) => alike_since = None,
            (true, None) => alike_since = Some(Instant::now()),
            (true, Some(since)) if since.elapsed() >= Duration::from_micros(peers.sync_interval.as_us()) => {
                return Ok(());
            }
            (true, Some(_)) => {}
        }
    }
    Ok(())
}

/// Whether what is stored is what was written.
async fn are_sound(shared: &Shared, databases: &[Database], count: u32) -> Result<bool, LiveError> {
    for (peer, database) in (0..).zip(databases) {
        let held = database.read(&shared.statements, &node_id(peer, count)).await?;
        if held.iter().any(|(_, state)| state.content != state.version.hash) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Asks each peer's database what became of every transaction that was told of and is not known already.
async fn committed(
    databases: &[Database],
    told: &[Told],
    facts: &[Vec<Fact>],
    retired: Vec<(u32, Commits)>,
) -> Result<Vec<Commits>, LiveError> {
    let mut all = Vec::with_capacity(databases.len());
    for (((peer, database), facts), (era, mut commits)) in (0..).zip(databases).zip(facts).zip(retired) {
        let own = told.iter().filter_map(|told| match told {
            Told::Transaction(transaction) if transaction.op.host == peer => Some(transaction.number()),
            _ => None,
        });
        let merges = facts.iter().filter_map(Fact::number);
        // Of a disk that is gone nothing more can be asked.
        let numbers: BTreeSet<Number> = own.chain(merges).filter(|(of, _)| *of == era).collect();
        commits.extend(fates::of(database, &numbers).await?);
        all.push(commits);
    }
    Ok(all)
}

impl Folder {
    fn make() -> Result<Self, LiveRunError> {
        use std::os::unix::fs::DirBuilderExt as _;
        let path = std::env::temp_dir().join(format!("p2psim-{}", random_hex::<16>()?));
        std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(LiveRunError::Recording)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The present moment, in microseconds since 1970.
fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn elapsed_us(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// The stream of the first rows: no stream of a plan has this number.
const LOADED: u64 = 1 << 22;
const ROWS_AT_ONCE: usize = 2_000;
/// How long peers may take to come to hold the first rows.
const SETTING_UP: Duration = Duration::from_secs(180);
const GRAIN: Duration = Duration::from_millis(1);
const LOOK: Duration = Duration::from_millis(250);
/// How often clocks that drift are set.
const DRIFT: Duration = Duration::from_millis(500);
