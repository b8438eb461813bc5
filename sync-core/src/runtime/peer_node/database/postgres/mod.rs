//! PostgreSQL behind a peer: the store for the engine's requests, and an application's reads and writes beside it.

mod statement;

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use sqlx::postgres::PgPool;
use sqlx::{ConnectOptions as _, Row as _};
use tokio::sync::Mutex;
use tokio::time::timeout;

use self::statement::Target;
use super::{DatabaseError, PeerDatabase, ReadRow, ReadRows, Statement};
use crate::limits;
use crate::peer_sync::content::Content;
use crate::peer_sync::row::{RowId, RowVersion, TableName};
use crate::peer_sync::schema::Schema;
use crate::peer_sync::store::{PeerReply, PeerRequest, Standing};
use crate::peer_sync::version::NodeId;
use crate::runtime::duration;
use crate::runtime::peer_store::{ChangeMark, PeerStore, PeerStoreError, PeerStoreOptions};
use crate::runtime::postgres::{PostgresError, dsn};
use crate::secret::Secret;

/// The tables of the specification, for databases that do not have them yet.
const PRODUCT_REVIEWS: &str = include_str!("../../../../../../sql/product_reviews.sql");

const IS_KNOWN: &str = "SELECT to_regclass('p2p_peer.node') IS NOT NULL";
const NODE: &str = "SELECT node_id FROM p2p_peer.node";
/// `$1` the table, `$2` the key behind which to begin, `$3` the least stamp, `$4` whether rows that nobody sees count, `$5`
/// how many.
const KEYS: &str = "SELECT key, standing FROM p2p_peer.versions
    WHERE table_name = $1 AND key > coalesce($2, '') AND us >= $3
        AND ($4 OR NOT deleted OR standing IS NOT NULL)
    ORDER BY key LIMIT $5";

/// A [`PeerStore`] with an application's statements beside it.
#[derive(Debug)]
pub struct PostgresDatabase {
    store: PeerStore,
    mark: Mutex<ChangeMark>,
    targets: BTreeMap<TableName, Target>,
}

impl PostgresDatabase {
    /// The name that a database was given; none for one that has not been a peer's.
    ///
    /// # Errors
    /// When it cannot be reached, or the text is no connection string.
    pub async fn node_name(url: &Secret<String>) -> Result<Option<NodeId>, PeerStoreError> {
        let target = dsn::parse(url.expose())?.disable_statement_logging();
        let read = async {
            let mut connection = target.connect().await?;
            if !sqlx::query_scalar::<_, bool>(IS_KNOWN).fetch_one(&mut connection).await? {
                return Ok(None);
            }
            sqlx::query_scalar::<_, String>(NODE).fetch_optional(&mut connection).await
        };
        let read =
            timeout(duration(limits::STORE_TIMEOUT), read).await.map_err(|_| PostgresError::TimedOut)?;
        let name = read.map_err(PostgresError::from)?;
        Ok(name.map(|name| NodeId::new(&name)).transpose().map_err(|_| PostgresError::Unexpected)?)
    }

    /// Creates the tables of the specification where they are missing.
    ///
    /// # Errors
    /// When the database cannot be reached or refuses.
    pub async fn create_tables(url: &Secret<String>) -> Result<(), PeerStoreError> {
        let target = dsn::parse(url.expose())?
            .disable_statement_logging()
            .options([("client_min_messages", "warning")]);
        let create = async {
            let mut connection = target.connect().await?;
            sqlx::raw_sql(PRODUCT_REVIEWS).execute(&mut connection).await
        };
        let created = timeout(duration(limits::STORE_TIMEOUT), create).await;
        created.map_err(|_| PostgresError::TimedOut)?.map_err(PostgresError::from)?;
        Ok(())
    }

    /// Connects as a peer of this name, see [`PeerStore::connect`].
    ///
    /// # Errors
    /// When the database cannot be used.
    pub async fn connect(
        url: &Secret<String>,
        schema: &Schema,
        node: NodeId,
    ) -> Result<Self, PeerStoreError> {
        let store = PeerStore::connect(url, schema.clone(), node, PeerStoreOptions::default()).await?;
        let targets = Target::all(store.pool(), schema).await?;
        Ok(Self { store, mark: Mutex::default(), targets })
    }

    /// Ends all connections, in order.
    pub async fn close(&self) {
        self.store.close().await;
    }

    fn pool(&self) -> &PgPool {
        self.store.pool()
    }

    async fn read_rows(&self, mut read: ReadRows) -> Result<Vec<ReadRow>, DatabaseError> {
        // What applications have committed is read, too.
        self.versions(Vec::new()).await?;
        let mut rows = Vec::new();
        loop {
            let wanted = read.rows_max - rows.len();
            let keys = self.keys(&read, wanted).await?;
            let Some((last, _)) = keys.last() else { return Ok(rows) };
            let is_last = keys.len() < wanted;
            read.after = Some(last.clone());
            let ids = keys.iter().map(|(key, _)| RowId { table: read.table.clone(), key: key.clone() });
            let versions = self.versions(ids.collect()).await?;
            let read_rows = versions.into_iter().zip(&keys).filter_map(|(stored, (_, standing))| {
                let stored = stored?;
                Some(ReadRow { visible: visible(&stored, standing.as_ref()), stored })
            });
            rows.extend(read_rows.filter(|row| read.since.is_some() || row.visible.is_some()));
            if is_last || rows.len() >= read.rows_max {
                return Ok(rows);
            }
        }
    }

    async fn versions(&self, rows: Vec<RowId>) -> Result<Vec<Option<RowVersion>>, DatabaseError> {
        match self.store.execute(PeerRequest::FetchVersions(rows)).await {
            PeerReply::Versions(versions) => Ok(versions),
            _ => Err(DatabaseError::Unavailable),
        }
    }

    async fn keys(
        &self,
        read: &ReadRows,
        rows_max: usize,
    ) -> Result<Vec<(Content, Option<Standing>)>, DatabaseError> {
        let least = read.since.map_or(0, |since| i64::try_from(since.as_us()).unwrap_or(i64::MAX));
        let query = sqlx::query(KEYS)
            .bind(read.table.as_str())
            .bind(read.after.as_ref().map(Content::as_canonical))
            .bind(least)
            .bind(read.since.is_some())
            .bind(i64::try_from(rows_max).unwrap_or(i64::MAX));
        let found = timeout(duration(limits::STORE_TIMEOUT), query.fetch_all(self.pool())).await;
        let unavailable = |_| DatabaseError::Unavailable;
        let found = found.map_err(|_| DatabaseError::Unavailable)?.map_err(unavailable)?;
        found
            .iter()
            .map(|row| {
                let key: String = row.try_get(0).map_err(unavailable)?;
                let standing: Option<String> = row.try_get(1).map_err(unavailable)?;
                let standing = standing.map(|standing| serde_json::from_str(&standing)).transpose();
                let key = Content::from_canonical(&key).map_err(|_| DatabaseError::Unavailable)?;
                Ok((key, standing.map_err(|_| DatabaseError::Unavailable)?))
            })
            .collect()
    }

    async fn write_all(&self, statements: &[Statement]) -> Result<u64, DatabaseError> {
        let work = async {
            let mut transaction = self.pool().begin().await.map_err(|error| statement::refused(&error))?;
            for group in statement::groups(statements) {
                let missing = || DatabaseError::Invalid("the table does not travel".to_owned());
                let target =
                    group.first().and_then(|first| self.targets.get(&first.table)).ok_or_else(missing)?;
                target.execute(&mut transaction, group).await?;
            }
            transaction.commit().await.map_err(|error| statement::refused(&error))?;
            Ok(statements.len() as u64)
        };
        timeout(duration(limits::STORE_TIMEOUT), work).await.unwrap_or(Err(DatabaseError::Unavailable))
    }
}

/// What applications see of a row that is stored so and stands so.
fn visible(stored: &RowVersion, standing: Option<&Standing>) -> Option<Content> {
    match standing {
        None | Some(Standing::Visible) => stored.image.row().cloned(),
        Some(Standing::Revived) => stored.image.content().cloned(),
        Some(_) => None,
    }
}

impl PeerDatabase for PostgresDatabase {
    fn execute(&self, request: PeerRequest) -> BoxFuture<'_, PeerReply> {
        Box::pin(self.store.execute(request))
    }

    fn changed(&self) -> BoxFuture<'_, Result<Vec<TableName>, DatabaseError>> {
        Box::pin(async {
            let mut mark = self.mark.lock().await;
            self.store.changed(&mut mark).await.map_err(|_| DatabaseError::Unavailable)
        })
    }

    fn is_up(&self) -> BoxFuture<'_, bool> {
        Box::pin(async { sqlx::query("SELECT 1").execute(self.pool()).await.is_ok() })
    }

    fn read(&self, read: ReadRows) -> BoxFuture<'_, Result<Vec<ReadRow>, DatabaseError>> {
        Box::pin(self.read_rows(read))
    }

    fn write(&self, statements: Vec<Statement>) -> BoxFuture<'_, Result<u64, DatabaseError>> {
        Box::pin(async move { self.write_all(&statements).await })
    }
}
