//! What is seen from outside while a run is on: which operation travelled under which id, and which rows
//! the database holds.

use rustc_hash::FxHashMap;
use sqlx::{Connection as _, PgConnection, Row as _};
use sync_core::data_type::{Nature, SyncDataType};
use sync_core::host_sync::sealed::Body;
use sync_core::id::{AccountId, Incarnation, MapName, OperationId};
use sync_core::store::{Content, StateKey, StateRow};

use crate::history::{Event, OpRef, StateName, What, WireId};
use crate::recorder::Recorder;
use crate::virtual_rig::outside::SeenWrite;
use crate::virtual_rig::variant::Variant;
use crate::virtual_rig::world::{Observer, World};

/// Hands events on to the recorder, and remembers under which ids operations travelled: rows name those.
pub(super) struct Watcher {
    pub(super) recorder: Recorder,
    ids: FxHashMap<WireId, OpRef>,
    /// Rows seen, with the moment at which a main server took the operation (µs since 1970).
    seen: FxHashMap<WireId, u64>,
    /// Writes of each state that rows account for.
    writes: FxHashMap<StateKey, u64>,
    /// Rows of operations that no host of this run sent.
    pub(super) strangers: u64,
}

/// An operation that took effect, as its row says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    id: OperationId,
    key: Option<StateKey>,
    version: u64,
    created_us: u64,
}

impl Watcher {
    pub(super) fn new(recorder: Recorder) -> Self {
        Self {
            recorder,
            ids: FxHashMap::default(),
            seen: FxHashMap::default(),
            writes: FxHashMap::default(),
            strangers: 0,
        }
    }

    /// Writes of states that no row accounts for: a version grows by one with each write, so an effect
    /// without a row shows here.
    pub(super) fn unaccounted(&self, content: &Content) -> u64 {
        let beyond = |(key, row): (&StateKey, &StateRow)| {
            row.version.saturating_sub(self.writes.get(key).copied().unwrap_or(0))
        };
        content.states.iter().map(beyond).sum()
    }

    /// The content with the names that the database held earlier and was allowed to forget since: those of
    /// operations taken before `forgotten_us`, microseconds since 1970.
    pub(super) fn remembered(&self, mut content: Content, forgotten_us: u64) -> Content {
        for (id, _) in self.seen.iter().filter(|(_, created_us)| **created_us < forgotten_us) {
            let session = (AccountId(id.account), Incarnation(id.incarnation));
            content.sessions.entry(session).or_default().applied.insert(id.counter);
        }
        content
    }
}

impl Observer for Watcher {
    fn event(&mut self, event: Event) {
        if let What::Sent { op, id, .. } = &event.what {
            self.ids.entry(*id).or_insert(*op);
        }
        self.recorder.event(event);
    }
}

/// Shows rows to the checks, each once.
pub(super) fn show<V>(world: &mut World<V, Watcher>, rows: Vec<Row>)
where
    V: Variant<Request = Body, Reply = Body>,
{
    for Row { id, key, version, created_us } in rows {
        let watcher = world.observer_mut();
        let wire = WireId::from(id);
        if watcher.seen.insert(wire, created_us).is_some() {
            continue;
        }
        if let Some(key) = &key {
            *watcher.writes.entry(key.clone()).or_default() += 1;
        }
        match watcher.ids.get(&wire).copied() {
            Some(op) => world.seen(SeenWrite { op, id, key: key.map(StateName), version }),
            None => watcher.strangers += 1,
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
    let key = (data_type.nature() == Nature::State).then(|| StateKey::new(data_type, account, map));
    let version = u64::try_from(row.try_get::<i64, _>(5)?).map_err(strange)?;
    let created_us = u64::try_from(row.try_get::<i64, _>(6)?).map_err(strange)?;
    Ok(Row { id, key, version, created_us })
}

fn strange(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}

/// In the order in which they took effect, as far as that can be told.
const ROWS: &str = "SELECT account_id, incarnation, counter, data_type, map_name, outcome, \
     (extract(epoch FROM created_at) * 1000000)::bigint FROM p2p_sync.operations \
     WHERE status = 'APPLIED' AND created_at >= timestamptz 'epoch' + $1 * interval '1 microsecond' \
     ORDER BY completed_at, outcome";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Terms;
    use crate::scenario::model::HistoryMode;

    fn operation(counter: u64) -> OperationId {
        OperationId { account: AccountId(1), incarnation: Incarnation(1), counter }
    }

    fn watcher() -> Watcher {
        let terms =
            Terms { critical_timeout_us: 0, critical_miss_ppm_max: 0, drift_ppm: 0, lateness_us_max: 0 };
        Watcher::new(Recorder::new(&terms, HistoryMode::None))
    }

    #[test]
    fn a_state_that_was_written_more_often_than_rows_say_is_told() {
        let key = StateKey::new(SyncDataType::PlayerData, AccountId(1), MapName::new("m").unwrap());
        let row = StateRow {
            version: 3,
            data: "{}".into(),
            operation: operation(2),
            updated: sync_core::time::Timestamp::from_us(0),
        };
        let content = Content { states: [(key.clone(), row)].into(), ..Content::default() };
        let mut watcher = watcher();
        watcher.writes.insert(key.clone(), 2);
        assert_eq!(watcher.unaccounted(&content), 1);
        watcher.writes.insert(key, 3);
        assert_eq!(watcher.unaccounted(&content), 0);
    }

    #[test]
    fn only_names_that_the_database_may_have_forgotten_are_remembered_for_it() {
        let mut watcher = watcher();
        watcher.seen.insert(operation(1).into(), 10);
        watcher.seen.insert(operation(2).into(), 20);
        let content = watcher.remembered(Content::default(), 20);
        let session = &content.sessions[&(AccountId(1), Incarnation(1))];
        assert!(session.applied.contains(1) && !session.applied.contains(2));
    }
}
