//! What is seen from outside while a run is on: events of the hosts, and the rows of the database.

use sqlx::{Connection as _, PgConnection, Row as _};
use sync_core::data_type::{Nature, SyncDataType};
use sync_core::host_sync::sealed::Body;
use sync_core::id::{AccountId, Incarnation, MapName, OperationId};
use sync_core::store::StateKey;

use super::evidence::{Evidence, Quoted, Row};
use crate::history::{Event, StateName, What};
use crate::recorder::Recorder;
use crate::virtual_rig::outside::SeenWrite;
use crate::virtual_rig::variant::Variant;
use crate::virtual_rig::world::{Observer, World};

/// Hands events on to the recorder, and keeps what the checks do not see.
pub(super) struct Watcher {
    pub(super) recorder: Recorder,
    pub(super) evidence: Evidence,
}

impl Watcher {
    pub(super) fn new(recorder: Recorder) -> Self {
        Self { recorder, evidence: Evidence::default() }
    }
}

impl Observer for Watcher {
    fn event(&mut self, event: Event) {
        match &event.what {
            What::Asked { op, critical: true, .. } => self.evidence.is_critical(*op),
            What::Sent { op, id, .. } => self.evidence.sent(*id, *op),
            _ => {}
        }
        self.recorder.event(event);
    }
}

/// Shows rows to the checks, each once.
pub(super) fn show<V>(world: &mut World<V, Watcher>, rows: Vec<Row>)
where
    V: Variant<Request = Body, Reply = Body>,
{
    for row in rows {
        let Row { id, version, data_type, .. } = row;
        let (key, map) = (row.key.clone(), row.map.clone());
        if let Some(op) = world.observer_mut().evidence.row(row) {
            world.seen(SeenWrite { op, id, data_type, map, key: key.map(StateName), version });
        }
    }
}

/// Reads the rows of operations that took effect and that a main server took after `since_us`, microseconds since 1970.
///
/// # Errors
/// Those of the connection, and `Decode` for a row that is none of the main server's.
pub(super) async fn rows(connection: &mut PgConnection, since_us: u64) -> Result<Vec<Row>, sqlx::Error> {
    let since = i64::try_from(since_us).unwrap_or(i64::MAX);
    let rows = sqlx::query(ROWS).bind(since).fetch_all(&mut *connection).await?;
    rows.iter().map(row).collect()
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
    Ok(Row { id, data_type, map, key, version, created_us, event })
}

fn strange(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}

/// In the order in which they took effect, as far as that can be told.
const ROWS: &str = "SELECT account_id, incarnation, counter, data_type, map_name, outcome, \
     (extract(epoch FROM created_at) * 1000000)::bigint, data FROM p2p_sync.operations \
     WHERE status = 'APPLIED' AND created_at >= timestamptz 'epoch' + $1 * interval '1 microsecond' \
     ORDER BY completed_at, outcome";
