//! PostgreSQL behind a peer: the store for the engine's requests, and an application's reads and writes beside it.

use futures_util::future::BoxFuture;
use sqlx::ConnectOptions as _;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::{DatabaseError, PeerDatabase, ReadRow, ReadRows, Statement};
use crate::limits;
use crate::peer_sync::row::TableName;
use crate::peer_sync::schema::Schema;
use crate::peer_sync::store::{PeerReply, PeerRequest};
use crate::peer_sync::version::NodeId;
use crate::runtime::duration;
use crate::runtime::peer_store::{ChangeMark, PeerStore, PeerStoreError, PeerStoreOptions, PutError};
use crate::runtime::postgres::{PostgresError, dsn};
use crate::secret::Secret;

/// The tables of the specification, for databases that do not have them yet.
const PRODUCT_REVIEWS: &str = include_str!("../../../../../sql/product_reviews.sql");

const IS_KNOWN: &str = "SELECT to_regclass('p2p_peer.node') IS NOT NULL";
const NODE: &str = "SELECT node_id FROM p2p_peer.node";

/// A [`PeerStore`] with an application's statements beside it.
#[derive(Debug)]
pub struct PostgresDatabase {
    store: PeerStore,
    mark: Mutex<ChangeMark>,
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
        Ok(Self::over(store))
    }

    /// The same over a store that is connected already.
    pub fn over(store: PeerStore) -> Self {
        Self { store, mark: Mutex::default() }
    }

    /// Ends all connections, in order.
    pub async fn close(&self) {
        self.store.close().await;
    }
}

/// What the database says, without any value of the row.
fn refused(error: PutError) -> DatabaseError {
    let (error, constraint) = match error {
        PutError::Unknown => return DatabaseError::Invalid(error.to_string()),
        PutError::Postgres { error, constraint } => (error, constraint),
    };
    let PostgresError::Refused { code } = error else { return DatabaseError::Unavailable };
    let constraint = constraint.map(|name| format!(" (`{name}`)")).unwrap_or_default();
    match code.as_str() {
        "23505" => DatabaseError::Conflict(format!("another row has that key already{constraint}")),
        "23503" => DatabaseError::Conflict(format!("a row that is referred to is not there{constraint}")),
        "40001" | "40P01" | "55P03" => {
            DatabaseError::Conflict("other statements were in the way; try again".to_owned())
        }
        "21000" => DatabaseError::Invalid("one row is there twice".to_owned()),
        code if code.starts_with("22") => {
            DatabaseError::Invalid("a value has not the type of its column".to_owned())
        }
        code if code.starts_with("23") => {
            DatabaseError::Invalid(format!("a value is not taken by the table{constraint}"))
        }
        // program_limit_exceeded, and what functions of the database raise themselves
        code if code.starts_with("54") => {
            DatabaseError::Invalid("a value is longer than the database takes it there".to_owned())
        }
        code if code.starts_with("P0") => {
            DatabaseError::Invalid("a rule of the database refuses it".to_owned())
        }
        _ => DatabaseError::Unavailable,
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
        Box::pin(async { sqlx::query("SELECT 1").execute(self.store.pool()).await.is_ok() })
    }

    fn trouble(&self) -> Option<String> {
        self.store.fault().map(|fault| fault.to_string())
    }

    fn read(&self, read: ReadRows) -> BoxFuture<'_, Result<Vec<ReadRow>, DatabaseError>> {
        Box::pin(async { self.store.rows(read).await.map_err(|_| DatabaseError::Unavailable) })
    }

    fn write(&self, statements: Vec<Statement>) -> BoxFuture<'_, Result<u64, DatabaseError>> {
        Box::pin(async move { self.store.put(&statements).await.map_err(refused) })
    }
}
