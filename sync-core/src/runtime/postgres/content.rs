//! What the database holds, for comparisons.

use sqlx::Row;

use super::{PostgresError, PostgresStore, embeddings, operation_id, unsigned};
use crate::data_type::SyncDataType;
use crate::id::{AccountId, MapName};
use crate::store::{Content, StateKey, StateRow};
use crate::time::Timestamp;

const STATES: &str = "SELECT data_type, owner, map_name, version, data, account_id, incarnation, counter, \
     (extract(epoch FROM updated_at) * 1000000)::bigint FROM p2p_sync.states";
const OPERATIONS: &str = "SELECT account_id, incarnation, counter, status = 'APPLIED' \
     FROM p2p_sync.operations ORDER BY 1, 2, 3";

impl PostgresStore {
    /// Everything, in the form of the in-memory database, for tests and checks while nothing is under
    /// way. Reads whole tables. Unlike there, operations that were purged are missing here: a session's
    /// `applied` is what the table of operations still remembers.
    pub async fn content(&self) -> Result<Content, PostgresError> {
        let mut lease = self.pool.acquire().await?;
        let states = sqlx::query(STATES).fetch_all(lease.connection()).await?;
        let operations = sqlx::query(OPERATIONS).fetch_all(lease.connection()).await?;
        let vectors = sqlx::query(embeddings::ALL).fetch_all(lease.connection()).await?;
        lease.keep();
        let embeddings = vectors.iter().map(embeddings::row).collect::<Result<_, _>>()?;
        let mut content = Content { embeddings, ..Content::default() };
        for row in states {
            let data_type = u64::try_from(row.try_get::<i16, _>(0)?).ok().and_then(SyncDataType::from_wire);
            let owner = u32::try_from(row.try_get::<i64, _>(1)?).map_err(|_| PostgresError::Unexpected)?;
            let key = StateKey {
                data_type: data_type.ok_or(PostgresError::Unexpected)?,
                owner: AccountId(owner),
                map: MapName::new(row.try_get(2)?).map_err(|_| PostgresError::Unexpected)?,
            };
            let state = StateRow {
                version: unsigned(row.try_get(3)?)?,
                data: row.try_get::<&str, _>(4)?.into(),
                operation: operation_id(row.try_get(5)?, row.try_get(6)?, row.try_get(7)?)?,
                updated: Timestamp::from_us(unsigned(row.try_get(8)?)?),
            };
            content.states.insert(key, state);
        }
        for row in operations {
            let id = operation_id(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)?;
            let session = content.sessions.entry((id.account, id.incarnation)).or_default();
            if row.try_get(3)? {
                session.applied.insert(id.counter);
            }
        }
        Ok(content)
    }
}
