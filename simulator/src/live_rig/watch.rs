//! What is seen from outside while a run is on: events of the hosts, and the rows of the database.

use rustc_hash::{FxHashMap, FxHashSet};
use sqlx::{Connection as _, PgConnection, Row as _};
use sync_core::data_type::{Nature, SyncDataType};
use sync_core::host_sync::sealed::Body;
use sync_core::id::{AccountId, Incarnation, MapName, OperationId};
use sync_core::store::StateKey;
use sync_core::store::hosting::Part;

use super::evidence::{Evidence, Quoted, Row};
use super::inside::Decided;
use super::reads::Reads;
use crate::history::{Event, OpRef, StateName, What, WireId};
use crate::recorder::Recorder;
use crate::virtual_rig::outside::SeenWrite;
use crate::virtual_rig::variant::Variant;
use crate::virtual_rig::world::{Observer, World};

/// Hands events on to the recorder, and keeps what the checks do not see.
pub(super) struct Watcher {
    pub(super) recorder: Recorder,
    pub(super) evidence: Evidence,
    /// What hosts were given when they read.
    pub(super) reads: Reads,
    /// Effects on states, in the moments of their commits, and operations that the database has decided, with the
    /// transaction that did and when it was committed: where it is told what main servers do.
    pub(super) applied: Vec<Event>,
    pub(super) decided: FxHashMap<WireId, (u64, u64)>,
    /// Changes of maps' hosts that were shown.
    changes: FxHashSet<i64>,
    /// The world's first moment, in microseconds since 1970.
    pub(super) start_us: u64,
    /// Whether it is told, when the run is over, what main servers did inside.
    tells_inside: bool,
}

impl Watcher {
    pub(super) fn new(recorder: Recorder, tells_inside: bool) -> Self {
        Self {
            recorder,
            evidence: Evidence::default(),
            reads: Reads::default(),
            applied: Vec::new(),
            decided: FxHashMap::default(),
            changes: FxHashSet::default(),
            start_us: 0,
            tells_inside,
        }
    }
}

impl Observer for Watcher {
    fn event(&mut self, event: Event) {
        match &event.what {
            What::Asked { op, critical: true, .. } => self.evidence.is_critical(*op),
            What::Sent { op, id, .. } => self.evidence.sent(*id, *op),
            _ => {}
        }
        self.reads.observe(&event);
        self.recorder.event(event);
    }

    fn given(&mut self, op: OpRef, payload: &str) {
        self.reads.given(op, payload);
    }

    fn writes(&mut self, op: OpRef, text: &str) {
        self.evidence.writes(op, text);
    }
}

/// What the database has come to hold: a row, or another host of a map.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    Row(Row),
    Change(Change),
    Decided(Decided),
}

/// A part on a map that began or ended.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// Names it.
    number: i64,
    begins: bool,
    map: MapName,
    account: u32,
    part: Part,
    epoch: u64,
    /// When it was committed, in microseconds since 1970.
    committed_us: u64,
}

/// Shows what was seen to the checks, each thing once.
pub(super) fn show<V>(world: &mut World<V, Watcher>, seen: Vec<Seen>)
where
    V: Variant<Request = Body, Reply = Body>,
{
    for seen in seen {
        let row = match seen {
            Seen::Row(row) => row,
            Seen::Change(change) => {
                show_change(world, change);
                continue;
            }
            Seen::Decided(Decided { id, transaction, committed_us }) => {
                world.observer_mut().decided.insert(id, (transaction, committed_us));
                continue;
            }
        };
        let Row { id, version, data_type, committed_us, .. } = row;
        let (key, map) = (row.key.clone().map(StateName), row.map.clone());
        let watcher = world.observer_mut();
        let Some(op) = watcher.evidence.row(row) else { continue };
        if let (Some(committed_us), true, true) = (committed_us, key.is_some(), watcher.tells_inside) {
            let at_us = committed_us.saturating_sub(watcher.start_us);
            let (id, map, key) = (id.into(), map.clone(), key.clone());
            let what = What::Applied { op: Some(op), id, data_type, map, key, version, value: None };
            watcher.applied.push(Event { at_us, what });
        }
        world.seen(SeenWrite { op, id, data_type, map, key, version });
    }
}

fn show_change<V>(world: &mut World<V, Watcher>, change: Change)
where
    V: Variant<Request = Body, Reply = Body>,
{
    let Change { number, begins, map, account, part, epoch, committed_us } = change;
    let watcher = world.observer_mut();
    if !watcher.changes.insert(number) {
        return;
    }
    let at_us = committed_us.saturating_sub(watcher.start_us);
    let what = match begins {
        true => What::Assigned { map, account, part, epoch },
        false => What::Released { map, account, part, epoch },
    };
    // In the moment of its commit, whenever it was seen: two hosts follow each other in one and the same.
    watcher.recorder.event(Event { at_us, what });
}

/// Reads the rows of operations that took effect and that a main server took after `since_us`, microseconds since 1970,
/// and every change of a map's hosts, in the order of their commits; with `with_transactions` also which transaction
/// decided what, for which the server has to keep the moments of commits.
///
/// Both are read from one snapshot. Writes of a map and changes of its hosts exclude each other until they are
/// committed and visible, so of each map a snapshot holds all up to some commit and nothing later; and where the
/// server keeps the moments of commits, theirs are in the same order.
///
/// # Errors
/// Those of the connection, and `Decode` for a row that is none of the main server's.
pub(super) async fn seen(
    connection: &mut PgConnection,
    since_us: u64,
    with_transactions: bool,
) -> Result<Vec<Seen>, sqlx::Error> {
    let since = i64::try_from(since_us).unwrap_or(i64::MAX);
    let mut snapshot = connection.begin().await?;
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").execute(&mut *snapshot).await?;
    let rows = sqlx::query(ROWS).bind(since).fetch_all(&mut *snapshot).await?;
    let changes = sqlx::query(CHANGES).fetch_all(&mut *snapshot).await?;
    let decided = match with_transactions {
        true => sqlx::query(DECIDED).bind(since).fetch_all(&mut *snapshot).await?,
        false => Vec::new(),
    };
    snapshot.commit().await?;
    let mut seen = Vec::with_capacity(rows.len() + changes.len() + decided.len());
    for row in &decided {
        seen.push(Seen::Decided(decision(row)?));
    }
    let mut changes = changes.iter().map(change).collect::<Result<Vec<_>, _>>()?.into_iter().peekable();
    for found in &rows {
        let committed_us = u64::try_from(found.try_get::<i64, _>(8)?).map_err(strange)?;
        while let Some(change) = changes.next_if(|change| change.committed_us <= committed_us) {
            seen.push(Seen::Change(change));
        }
        seen.push(Seen::Row(row(found)?));
    }
    seen.extend(changes.map(Seen::Change));
    Ok(seen)
}

/// Whether the server keeps the moments of commits; without them the hosts of maps are not observed.
///
/// # Errors
/// Those of the connection.
pub(super) async fn keeps_commit_moments(dsn: &str) -> Result<bool, sqlx::Error> {
    let mut connection = connect(dsn).await?;
    let setting: String =
        sqlx::query_scalar("SHOW track_commit_timestamp").fetch_one(&mut connection).await?;
    Ok(setting == "on")
}

/// Lets the database write down, in a schema of the rig's own, every part on a map that begins or ends.
///
/// # Errors
/// Those of the connection.
pub(super) async fn watch_hosts(dsn: &str) -> Result<(), sqlx::Error> {
    let mut connection = connect(dsn).await?;
    sqlx::raw_sql(WATCH_HOSTS).execute(&mut connection).await?;
    Ok(())
}

/// Connects for reading rows.
///
/// # Errors
/// Those of the connection.
pub(super) async fn connect(dsn: &str) -> Result<PgConnection, sqlx::Error> {
    PgConnection::connect(dsn).await
}

fn row(row: &sqlx::postgres::PgRow) -> Result<Row, sqlx::Error> {
    let account = AccountId(u32::try_from(row.try_get::<i64, _>(0)?).map_err(strange)?);
    let id = OperationId {
        account,
        incarnation: Incarnation(row.try_get::<i64, _>(1)?.cast_unsigned()),
        counter: u64::try_from(row.try_get::<i64, _>(2)?).map_err(strange)?,
    };
    let wire = u64::try_from(row.try_get::<i16, _>(3)?).map_err(strange)?;
    let data_type = SyncDataType::from_wire(wire).ok_or_else(|| strange(format!("no data type {wire}")))?;
    let map = MapName::new(row.try_get(4)?).map_err(strange)?;
    let key = (data_type.nature() == Nature::State).then(|| StateKey::new(data_type, account, map.clone()));
    let version = u64::try_from(row.try_get::<i64, _>(5)?).map_err(strange)?;
    let created_us = u64::try_from(row.try_get::<i64, _>(6)?).map_err(strange)?;
    let event = row.try_get::<Option<&str>, _>(7)?.map(Quoted::read);
    let committed_us = u64::try_from(row.try_get::<i64, _>(8)?).map_err(strange)?;
    let committed_us = row.try_get::<bool, _>(9)?.then_some(committed_us);
    Ok(Row { id, data_type, map, key, version, created_us, committed_us, event })
}

fn decision(row: &sqlx::postgres::PgRow) -> Result<Decided, sqlx::Error> {
    let id = WireId {
        account: u32::try_from(row.try_get::<i64, _>(0)?).map_err(strange)?,
        incarnation: row.try_get::<i64, _>(1)?.cast_unsigned(),
        counter: u64::try_from(row.try_get::<i64, _>(2)?).map_err(strange)?,
    };
    let number = |column: usize| u64::try_from(row.try_get::<i64, _>(column)?).map_err(strange);
    Ok(Decided { id, transaction: number(3)?, committed_us: number(4)? })
}

fn change(row: &sqlx::postgres::PgRow) -> Result<Change, sqlx::Error> {
    let part = match row.try_get::<&str, _>(4)? {
        "primary" => Part::Primary,
        "backup" => Part::Backup,
        "assistant" => Part::Assistant,
        other => return Err(strange(format!("no part {other}"))),
    };
    Ok(Change {
        number: row.try_get(0)?,
        begins: row.try_get(1)?,
        map: MapName::new(row.try_get(2)?).map_err(strange)?,
        account: u32::try_from(row.try_get::<i64, _>(3)?).map_err(strange)?,
        part,
        epoch: u64::try_from(row.try_get::<i64, _>(5)?).map_err(strange)?,
        committed_us: u64::try_from(row.try_get::<i64, _>(6)?).map_err(strange)?,
    })
}

fn strange(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}

/// In the order in which they took effect: that of their commits where the server keeps their moments, else as far as
/// that can be told.
const ROWS: &str = "SELECT account_id, incarnation, counter, data_type, map_name, outcome, \
     (extract(epoch FROM created_at) * 1000000)::bigint, data, (extract(epoch FROM committed) * 1000000)::bigint, \
     current_setting('track_commit_timestamp')::boolean \
     FROM (SELECT *, \
         coalesce(CASE WHEN current_setting('track_commit_timestamp')::boolean THEN pg_xact_commit_timestamp(xmin) END, \
             completed_at) AS committed \
         FROM p2p_sync.operations \
         WHERE status = 'APPLIED' AND created_at >= timestamptz 'epoch' + $1 * interval '1 microsecond') AS o \
     ORDER BY committed, completed_at, outcome";

/// A row is written once, by the transaction that decides its operation, whatever it decides.
const DECIDED: &str = "SELECT account_id, incarnation, counter, xmin::text::bigint, \
     (extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000000)::bigint \
     FROM p2p_sync.operations \
     WHERE created_at >= timestamptz 'epoch' + $1 * interval '1 microsecond' \
         AND pg_xact_commit_timestamp(xmin) IS NOT NULL";

/// Only those whose moment is known.
const CHANGES: &str = "SELECT change_id, begins, map_name, account_id, part, epoch, \
     (extract(epoch FROM committed) * 1000000)::bigint \
     FROM (SELECT *, \
         CASE WHEN current_setting('track_commit_timestamp')::boolean THEN pg_xact_commit_timestamp(xmin) END \
             AS committed \
         FROM p2psim.changes) AS c \
     WHERE committed IS NOT NULL ORDER BY committed, change_id";

const WATCH_HOSTS: &str = include_str!("watch_hosts.sql");
