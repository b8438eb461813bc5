//! The databases of live peers: made, taken away for a while, given clocks, and read in the end.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use sync_core::peer_sync::row::RowId;
use sync_core::peer_sync::version::NodeId;
use sync_core::runtime::postgres::PostgresError;
use sync_core::secret::Secret;
use tokio::time::{Instant, sleep, timeout};

use super::tables::{Ended, Statements};
use crate::by_rules::oughts;
use crate::history::peers::FinalState;
use crate::live_rig::LiveError;
use crate::live_rig::peer_server::PeerServer;
use crate::live_rig::postgres::with_database;

/// One peer's database. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Database {
    name: String,
    /// Another database of the same server.
    server: Secret<String>,
    dsn: Secret<String>,
    /// The server, where it is this peer's alone.
    own: Option<PeerServer>,
}

/// What all its living rows come to, deleted ones that were brought back among them, and whether each shows; and how many
/// writes wait to be folded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) living: (i64, String),
    pub(super) waiting: i64,
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fate {
    pub(super) xid: u64,
    /// When it was committed, in microseconds since 1970; none if it was not.
    pub(super) committed_us: Option<u64>,
}

impl Database {
    /// The database of this name on a server.
    ///
    /// # Errors
    /// When the server's address is malformed.
    pub(super) fn new(server: &Secret<String>, name: String) -> Result<Self, LiveError> {
        let dsn = with_database(server, &name)?;
        Ok(Self { name, server: server.clone(), dsn, own: None })
    }

    /// The database of a peer that has a server of its own. All have one name, so that a disk is at home at each of them.
    ///
    /// # Errors
    /// When the server's address is malformed.
    pub(super) fn alone_on(server: PeerServer) -> Result<Self, LiveError> {
        let database = Self::new(server.address(), OWN.to_owned())?;
        Ok(Self { own: Some(server), ..database })
    }

    /// The server, where it is this peer's alone.
    pub(super) fn own(&self) -> Option<&PeerServer> {
        self.own.as_ref()
    }

    /// How it is reached.
    pub(super) fn dsn(&self) -> &Secret<String> {
        &self.dsn
    }

    /// Makes it anew, with these tables.
    ///
    /// # Errors
    /// When the server refuses.
    pub(super) async fn create(&self, statements: &Statements) -> Result<(), LiveError> {
        let work = async {
            let mut connection = connect(&self.server).await?;
            for statement in [
                format!("DROP DATABASE IF EXISTS \"{}\" WITH (FORCE)", self.name),
                format!("CREATE DATABASE \"{}\" TEMPLATE template0 ENCODING 'UTF8'", self.name),
            ] {
                sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
            }
            farewell(connection).await;
            let mut connection = connect(&self.dsn).await?;
            sqlx::raw_sql(statements.create()).execute(&mut connection).await?;
            farewell(connection).await;
            Ok(())
        };
        work.await.map_err(refused("make a peer's database"))
    }

    /// Takes it away.
    ///
    /// # Errors
    /// When the server refuses.
    pub(super) async fn remove(&self) -> Result<(), LiveError> {
        let statement = format!("DROP DATABASE IF EXISTS \"{}\" WITH (FORCE)", self.name);
        self.administer(vec![statement], "drop a peer's database").await
    }

    /// It crashes: its server is killed where that is its own; else every connection ends, and nobody gets in.
    ///
    /// # Errors
    /// When the server refuses.
    pub(super) async fn crash(&self) -> Result<(), LiveError> {
        match &self.own {
            Some(server) => server.kill().await,
            None => self.shut().await,
        }
    }

    /// Ends every connection to it, and lets nobody in.
    ///
    /// # Errors
    /// When the server refuses.
    pub(super) async fn shut(&self) -> Result<(), LiveError> {
        let statements = vec![
            format!("ALTER DATABASE \"{}\" WITH ALLOW_CONNECTIONS false", self.name),
            format!(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{}'",
                self.name
            ),
        ];
        self.administer(statements, "shut a peer's database").await
    }

    /// Makes it a copy of another one of this server, to which nobody is connected. One that is not to `notice` goes on as
    /// if it were that one: a copied disk would.
    ///
    /// # Errors
    /// When the server refuses.
    pub(super) async fn copy(&self, source: &Self, notices: bool) -> Result<(), LiveError> {
        let doing = "copy a peer's database";
        let statements = vec![
            format!("DROP DATABASE IF EXISTS \"{}\" WITH (FORCE)", self.name),
            format!("CREATE DATABASE \"{}\" TEMPLATE \"{}\"", self.name, source.name),
        ];
        self.administer(statements, doing).await?;
        if notices {
            return Ok(());
        }
        let work = async {
            let mut connection = connect(&self.dsn).await?;
            sqlx::raw_sql(UNNOTICED).execute(&mut connection).await?;
            farewell(connection).await;
            Ok(())
        };
        work.await.map_err(refused(doing))
    }

    /// Lets everybody in again, and starts its server if that was killed.
    ///
    /// # Errors
    /// When the server refuses.
    pub(super) async fn open(&self) -> Result<(), LiveError> {
        if let Some(server) = &self.own {
            server.start_again().await?;
        }
        let statement = format!("ALTER DATABASE \"{}\" WITH ALLOW_CONNECTIONS true", self.name);
        self.administer(vec![statement], "open a peer's database").await
    }

    /// Sets how far the peer's clock is from the server's, in microseconds.
    ///
    /// # Errors
    /// When the database cannot be reached or refuses.
    pub(super) async fn set_clock(&self, ahead_us: i64) -> Result<(), LiveError> {
        let work = async {
            let mut connection = connect(&self.dsn).await?;
            sqlx::query("UPDATE p2p_peer.clock SET offset_us = $1")
                .bind(ahead_us)
                .execute(&mut connection)
                .await?;
            farewell(connection).await;
            Ok(())
        };
        work.await.map_err(refused("set a peer's clock"))
    }

    /// How its content stands.
    ///
    /// # Errors
    /// When the database cannot be reached or refuses.
    pub(super) async fn condition(&self) -> Result<Condition, LiveError> {
        let work = async {
            let mut connection = connect(&self.dsn).await?;
            let (rows, sum, waiting) = sqlx::query_as(CONDITION).fetch_one(&mut connection).await?;
            farewell(connection).await;
            Ok(Condition { living: (rows, sum), waiting })
        };
        work.await.map_err(refused("look at a peer's database"))
    }

    /// Everything that it holds.
    ///
    /// # Errors
    /// When the database cannot be reached or refuses.
    pub(super) async fn read(
        &self,
        statements: &Statements,
        node: &NodeId,
    ) -> Result<Vec<(RowId, FinalState)>, LiveError> {
        let work = async {
            let mut connection = connect(&self.dsn).await?;
            let mut rows = Vec::new();
            for table in statements.all() {
                rows.extend(table.all(&mut connection, node).await?);
            }
            farewell(connection).await;
            let stored = rows.iter().filter_map(|ended| ended.stored.as_ref());
            let mut oughts = oughts(statements.schema(), stored);
            let with = |Ended { row, state, .. }| {
                let ought = oughts.remove(&row);
                (row, FinalState { ought, ..state })
            };
            Ok(rows.into_iter().map(with).collect())
        };
        work.await.map_err(refused("read a peer's database"))
    }

    /// Alters rows as a defect of a disk would, see [`TableStatements::damage`](super::tables::TableStatements::damage).
    /// Gives those that were altered.
    ///
    /// # Errors
    /// When the database cannot be reached or refuses.
    pub(super) async fn damage(
        &self,
        statements: &Statements,
        node: &NodeId,
        rows: &[RowId],
    ) -> Result<Vec<RowId>, LiveError> {
        let work = async {
            let mut connection = connect(&self.dsn).await?;
            let mut altered = Vec::new();
            for row in rows {
                let Some(table) = statements.of(row.table.as_str()) else { continue };
                if table.damage(&mut connection, row, node).await? {
                    altered.push(row.clone());
                }
            }
            farewell(connection).await;
            Ok(altered)
        };
        work.await.map_err(refused("alter what a peer's database holds"))
    }

    /// What became of these transactions, whichever database of the server they are of.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub(super) async fn fates(&self, xids: &[u64]) -> Result<Vec<Fate>, LiveError> {
        let work = async {
            let mut connection = connect(&self.server).await?;
            let mut fates = Vec::with_capacity(xids.len());
            for chunk in xids.chunks(FATES_AT_ONCE) {
                let texts: Vec<String> = chunk.iter().map(u64::to_string).collect();
                let found: Vec<Option<i64>> =
                    sqlx::query_scalar(FATES).bind(texts).fetch_all(&mut connection).await?;
                let of = |(xid, at): (&u64, Option<i64>)| Fate {
                    xid: *xid,
                    committed_us: at.map(i64::cast_unsigned),
                };
                fates.extend(chunk.iter().zip(found).map(of));
            }
            farewell(connection).await;
            Ok(fates)
        };
        work.await.map_err(refused("ask what became of transactions"))
    }

    async fn administer(&self, statements: Vec<String>, doing: &'static str) -> Result<(), LiveError> {
        let work = async {
            let mut connection = connect(&self.server).await?;
            for statement in statements {
                sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
            }
            farewell(connection).await;
            Ok(())
        };
        work.await.map_err(refused(doing))
    }
}

/// Waits until databases hold the same living rows and nothing waits to be folded.
///
/// # Errors
/// When they do not within the bound.
pub(super) async fn wait_until_alike(databases: &[Database], bound: Duration) -> Result<(), LiveError> {
    let started = Instant::now();
    loop {
        let mut conditions = Vec::with_capacity(databases.len());
        for database in databases {
            conditions.push(database.condition().await?);
        }
        if are_alike(&conditions) {
            return Ok(());
        }
        if started.elapsed() > bound {
            let rows: Vec<i64> = conditions.iter().map(|condition| condition.living.0).collect();
            return Err(LiveError::Mesh(format!(
                "the peers do not come to hold the same {} s after their start: {rows:?} rows",
                bound.as_secs()
            )));
        }
        sleep(PAUSE).await;
    }
}

/// Whether all hold the same and nothing waits.
pub(super) fn are_alike(conditions: &[Condition]) -> bool {
    conditions.iter().all(|condition| condition.waiting == 0 && condition.living == conditions[0].living)
}

/// Connects as an application does.
///
/// # Errors
/// When it cannot.
pub(super) async fn connect(dsn: &Secret<String>) -> Result<PgConnection, PostgresError> {
    let options: PgConnectOptions = dsn.expose().parse().map_err(PostgresError::from)?;
    let options = options.disable_statement_logging().options([
        ("client_min_messages", "warning"),
        ("lock_timeout", LOCK_TIMEOUT),
        ("statement_timeout", STATEMENT_TIMEOUT),
    ]);
    match timeout(CONNECT, options.connect()).await {
        Ok(connection) => Ok(connection?),
        Err(_) => Err(PostgresError::TimedOut),
    }
}

async fn farewell(connection: PgConnection) {
    let _ = timeout(CONNECT, connection.close()).await;
}

fn refused(doing: &'static str) -> impl Fn(PostgresError) -> LiveError {
    move |error| LiveError::Postgres { doing, error }
}

/// The name of a database that is alone on its server.
const OWN: &str = "peer";
const UNNOTICED: &str = "UPDATE p2p_peer.node
    SET database_oid = (SELECT oid::bigint FROM pg_database WHERE datname = current_database())";
/// Tombstones are purged at different moments.
const CONDITION: &str = "SELECT count(*),
        coalesce(sum(hashtextextended(table_name || '/' || key || '/' || us || '.' || counter || '@' || node
            || '/' || encode(hash, 'hex') || CASE WHEN standing <> '\"revived\"' THEN ' aside' ELSE '' END, 0)::numeric), 0)::text,
        (SELECT count(*) FROM p2p_peer.log)
    FROM p2p_peer.versions WHERE NOT deleted OR standing IS NOT NULL";
const FATES: &str = "SELECT CASE WHEN pg_xact_status(x::xid8) = 'committed'
        THEN (extract(epoch FROM pg_xact_commit_timestamp(x::xid8::xid)) * 1000000)::bigint END
    FROM unnest($1::text[]) WITH ORDINALITY AS u (x, place) ORDER BY place";
const FATES_AT_ONCE: usize = 5_000;
/// How long an application waits for a lock, as in the virtual world.
const LOCK_TIMEOUT: &str = "5s";
const STATEMENT_TIMEOUT: &str = "60s";
const CONNECT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(200);
