//! A database for each test, and the requests that most of them make.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use sync_core::limits;
use sync_core::peer_sync::content::Content;
use sync_core::peer_sync::position::{Frontier, Position};
use sync_core::peer_sync::row::{RowId, RowVersion};
use sync_core::peer_sync::schema::{Schema, Table};
use sync_core::peer_sync::store::{
    Advance, Description, MergeRows, Merged, Page, PeerReply, PeerRequest, ReadFeed,
};
use sync_core::peer_sync::version::NodeId;
use sync_core::runtime::peer_store::{PeerStore, PeerStoreError, PeerStoreOptions};
use sync_core::secret::Secret;
use sync_core::time::Span;

use crate::runtime_support::{Postgres, runtime};

/// A database of its own on the server that all tests of this program share.
pub(super) struct Database {
    pub(super) dsn: Secret<String>,
}

impl Database {
    pub(super) async fn create() -> Self {
        static SERVER: OnceLock<Postgres> = OnceLock::new();
        static MADE: AtomicU32 = AtomicU32::new(0);
        let server = match SERVER.get() {
            Some(server) => server,
            None => {
                let started = std::thread::spawn(|| runtime().block_on(Postgres::started(false)));
                let started = tokio::task::spawn_blocking(move || started.join().unwrap()).await.unwrap();
                SERVER.get_or_init(|| started)
            }
        };
        drop(server.connect(Default::default()).await);
        let name = format!("peer_{}_{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        run(&mut server.raw().await, &format!("CREATE DATABASE {name}")).await;
        let dsn = server.dsn.expose().replace("/postgres?", &format!("/{name}?"));
        Self { dsn: Secret::new(dsn) }
    }

    /// A database with these statements run in it.
    pub(super) async fn with(sql: &str) -> Self {
        let database = Self::create().await;
        run(&mut database.raw().await, sql).await;
        database
    }

    /// A copy that goes on as if it were this database; nobody must be connected.
    pub(super) async fn copied(&self) -> Self {
        let copy = Self::create().await;
        let name = |database: &Self| {
            let dsn = database.dsn.expose();
            dsn.rsplit('/').next().and_then(|end| end.split('?').next()).unwrap().to_owned()
        };
        let (from, to) = (name(self), name(&copy));
        let dsn = self.dsn.expose().replace(&format!("/{from}?"), "/postgres?");
        let mut server = PgConnection::connect(&dsn).await.unwrap();
        run(&mut server, &format!("DROP DATABASE {to}")).await;
        run(&mut server, &format!("CREATE DATABASE {to} TEMPLATE {from}")).await;
        let here = "(SELECT oid::bigint FROM pg_database WHERE datname = current_database())";
        run(&mut copy.raw().await, &format!("UPDATE p2p_peer.node SET database_oid = {here}")).await;
        copy
    }

    /// A client as any other.
    pub(super) async fn raw(&self) -> PgConnection {
        PgConnection::connect(self.dsn.expose()).await.unwrap()
    }

    pub(super) async fn store(&self, node: &str, schema: Schema) -> PeerStore {
        self.try_store(node, schema).await.unwrap()
    }

    /// One whose requests may take as long as a debug build needs for what many writers have left.
    pub(super) async fn patient_store(&self, node: &str, schema: Schema) -> PeerStore {
        let options =
            PeerStoreOptions { request_timeout: Span::from_secs(300), ..PeerStoreOptions::default() };
        PeerStore::connect(&self.dsn, schema, NodeId::new(node).unwrap(), options).await.unwrap()
    }

    pub(super) async fn try_store(&self, node: &str, schema: Schema) -> Result<PeerStore, PeerStoreError> {
        PeerStore::connect(&self.dsn, schema, NodeId::new(node).unwrap(), PeerStoreOptions::default()).await
    }
}

/// Statements of a test.
pub(super) async fn run(connection: &mut PgConnection, sql: &str) {
    let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await;
    done.unwrap_or_else(|error| panic!("{error}\n{sql}"));
}

/// The SQLSTATE and text with which a statement fails.
pub(super) async fn fail(connection: &mut PgConnection, sql: &str) -> (String, String) {
    let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await;
    let error = done.expect_err(sql).into_database_error().unwrap();
    (error.code().unwrap().into_owned(), error.message().to_owned())
}

pub(super) const NOTES: &str = "CREATE TABLE notes (id integer PRIMARY KEY, text text)";

pub(super) fn notes() -> Schema {
    Schema::new([Table::new("notes", &["id", "text"], &["id"]).unwrap()]).unwrap()
}

pub(super) fn note(id: u32) -> RowId {
    row(&notes(), "notes", &[id.to_string().as_str()])
}

pub(super) fn row(schema: &Schema, table: &str, key: &[&str]) -> RowId {
    let table = schema.find(table).unwrap().name.clone();
    RowId { table, key: Content::new(key.iter().map(|value| Some(*value))) }
}

pub(super) async fn describe(store: &PeerStore) -> Description {
    match store.execute(PeerRequest::Describe).await {
        PeerReply::Described(description) => description,
        other => panic!("{other:?} {:?}", store.fault()),
    }
}

pub(super) fn from_start() -> ReadFeed {
    ReadFeed {
        since: None,
        frontier: Frontier::default(),
        rows_max: limits::PAGE_ROWS_MAX,
        bytes_max: limits::PAGE_BYTES_MAX,
    }
}

pub(super) fn since(position: Position) -> ReadFeed {
    ReadFeed { since: Some(position), ..from_start() }
}

pub(super) async fn feed(store: &PeerStore, request: ReadFeed) -> Page {
    match store.execute(PeerRequest::Feed(request)).await {
        PeerReply::Page(page) => page,
        other => panic!("{other:?} {:?}", store.fault()),
    }
}

pub(super) async fn versions(store: &PeerStore, ids: &[RowId]) -> Vec<Option<RowVersion>> {
    match store.execute(PeerRequest::FetchVersions(ids.to_vec())).await {
        PeerReply::Versions(versions) => versions,
        other => panic!("{other:?} {:?}", store.fault()),
    }
}

pub(super) async fn merge(store: &PeerStore, from: &NodeId, page: Page) -> Merged {
    let Page { rows, groups, known, position, frontier, .. } = page;
    let advance = Some(Advance { position, frontier: frontier.unwrap_or_default() });
    let request = MergeRows { from: from.clone(), rows, groups, known, advance, repair: false };
    match store.execute(PeerRequest::Merge(request)).await {
        PeerReply::Merged(merged) => merged,
        other => panic!("{other:?} {:?}", store.fault()),
    }
}

/// Reads a source to its end; how many rows that brought.
pub(super) async fn pull(reader: &PeerStore, source: &PeerStore) -> usize {
    let mut rows = 0;
    loop {
        let Description { frontier, mut positions, .. } = describe(reader).await;
        let since = positions.remove(source.node());
        let page = feed(source, ReadFeed { since, frontier, ..from_start() }).await;
        let is_end = page.frontier.is_some();
        rows += page.rows.len();
        merge(reader, source.node(), page).await;
        if is_end {
            return rows;
        }
    }
}
