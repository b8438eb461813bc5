//! PostgreSQL as the live rig prepares it: a database of its own, emptied between scenarios.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use sync_core::runtime::postgres::{PostgresError, PostgresOptions, PostgresStore};
use sync_core::secret::Secret;
use tokio::time::{Instant, sleep, timeout};

use super::{LiveError, RunId, Service};

/// The name of the database that this run makes on a server that was given.
pub(super) fn database_of(run: &RunId) -> String {
    format!("p2psim_{run}")
}

/// The same server and another database.
pub(super) fn with_database(url: &Secret<String>, database: &str) -> Result<Secret<String>, LiveError> {
    let wrong = |what| LiveError::Address { service: Service::Postgres, what };
    let text = url.expose().trim();
    let rest = text.strip_prefix("postgresql://").or_else(|| text.strip_prefix("postgres://"));
    let rest = rest.ok_or_else(|| wrong("it does not begin with postgresql://"))?;
    let (place, query) = rest.split_once('?').map_or((rest, None), |(place, query)| (place, Some(query)));
    if query.is_some_and(|query| query.split('&').any(|pair| pair.starts_with("dbname="))) {
        return Err(wrong("its database stands in the query"));
    }
    let authority = place.split('/').next().unwrap_or_default();
    if authority.is_empty() {
        return Err(wrong("it names no host"));
    }
    let query = query.map_or_else(String::new, |query| format!("?{query}"));
    let text = Secret::new(format!("postgresql://{authority}/{database}{query}"));
    options(&text)?;
    Ok(text)
}

/// Waits until the server takes connections.
pub(super) async fn wait(dsn: &Secret<String>, bound: Duration) -> Result<(), LiveError> {
    let started = Instant::now();
    loop {
        let fault = match connect(dsn).await {
            Ok(connection) => {
                farewell(connection).await;
                return Ok(());
            }
            Err(fault) => fault,
        };
        let hopeless = matches!(&fault, PostgresError::Refused { code } if code != STARTING_UP);
        if hopeless {
            return Err(refused("connect to PostgreSQL")(fault));
        }
        if started.elapsed() >= bound {
            return Err(LiveError::NotReady { service: Service::Postgres, bound, cause: fault.to_string() });
        }
        sleep(PAUSE).await;
    }
}

/// The versions of the server and of pgvector, which may be absent.
pub(super) async fn versions(dsn: &Secret<String>) -> Result<(String, Option<String>), LiveError> {
    let work = async {
        let mut connection = connect(dsn).await?;
        let server: String = sqlx::query_scalar("SHOW server_version").fetch_one(&mut connection).await?;
        let vector: Option<String> =
            sqlx::query_scalar("SELECT default_version FROM pg_available_extensions WHERE name = 'vector'")
                .fetch_optional(&mut connection)
                .await?;
        farewell(connection).await;
        let server = server.split_whitespace().next().unwrap_or("of unknown version").to_owned();
        Ok((format!("PostgreSQL {server}"), vector))
    };
    work.await.map_err(refused("ask PostgreSQL for its version"))
}

/// Makes this run's database on a server that was given; refuses when it is there.
pub(super) async fn create_database(url: &Secret<String>, run: &RunId) -> Result<(), LiveError> {
    let name = database_of(run);
    let work = async {
        let mut connection = connect(url).await?;
        let known: Option<i32> = sqlx::query_scalar("SELECT 1 FROM pg_database WHERE datname = $1")
            .bind(&name)
            .fetch_optional(&mut connection)
            .await?;
        if known.is_some() {
            return Ok(false);
        }
        // A run's name is letters and digits.
        let statement = format!("CREATE DATABASE \"{name}\" TEMPLATE template0");
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
        farewell(connection).await;
        Ok(true)
    };
    match work.await.map_err(refused("make a database"))? {
        true => Ok(()),
        false => Err(LiveError::DatabaseThere { name }),
    }
}

/// Drops this run's database and those of its peers, whose names begin alike, whoever is connected to them.
pub(super) async fn drop_database(url: &Secret<String>, run: &RunId) -> Result<(), LiveError> {
    let work = async {
        let mut connection = connect(url).await?;
        let names: Vec<String> = sqlx::query_scalar(
            "SELECT datname::text FROM pg_database WHERE datname = $1 OR datname LIKE $1 || '\\_n%'",
        )
        .bind(database_of(run))
        .fetch_all(&mut connection)
        .await?;
        for name in names {
            let statement = format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)");
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
        }
        farewell(connection).await;
        Ok(())
    };
    work.await.map_err(refused("drop the run's database"))
}

/// Drops everything that the main server keeps, and makes its schema anew. Whoever is still in the way
/// after a while is disconnected: the database is this run's alone.
pub(super) async fn reset(dsn: &Secret<String>) -> Result<(), LiveError> {
    let doing = "empty the database";
    let mut connection = connect(dsn).await.map_err(refused(doing))?;
    let mut dropped = drop_schema(&mut connection).await;
    if matches!(&dropped, Err(PostgresError::Refused { code }) if code == LOCK_NOT_AVAILABLE) {
        sqlx::raw_sql(DISCONNECT_OTHERS)
            .execute(&mut connection)
            .await
            .map_err(|error| refused(doing)(error.into()))?;
        dropped = drop_schema(&mut connection).await;
    }
    dropped.map_err(refused(doing))?;
    farewell(connection).await;
    migrate(dsn).await
}

/// Ends whatever others still do in this run's database.
pub(super) async fn disconnect_others(dsn: &Secret<String>) -> Result<(), LiveError> {
    let doing = "end what is under way in the database";
    let mut connection = connect(dsn).await.map_err(refused(doing))?;
    sqlx::raw_sql(DISCONNECT_OTHERS)
        .execute(&mut connection)
        .await
        .map_err(|error| refused(doing)(error.into()))?;
    farewell(connection).await;
    Ok(())
}

/// Brings the schema up to date.
pub(super) async fn migrate(dsn: &Secret<String>) -> Result<(), LiveError> {
    let options = PostgresOptions { connections_max: 1, ..PostgresOptions::default() };
    let work = async {
        let store = PostgresStore::connect(dsn, options).await?;
        store.migrate().await?;
        store.close().await;
        Ok(())
    };
    work.await.map_err(refused("make the schema"))
}

async fn drop_schema(connection: &mut PgConnection) -> Result<(), PostgresError> {
    sqlx::raw_sql(DROP_SCHEMA).execute(connection).await?;
    Ok(())
}

async fn connect(dsn: &Secret<String>) -> Result<PgConnection, PostgresError> {
    let options: PgConnectOptions = dsn.expose().trim().parse().map_err(PostgresError::from)?;
    match timeout(CONNECT, options.disable_statement_logging().connect()).await {
        Ok(connection) => Ok(connection?),
        Err(_) => Err(PostgresError::TimedOut),
    }
}

/// Closes a connection in order; a server that is gone needs no farewell.
async fn farewell(connection: PgConnection) {
    let _ = timeout(CONNECT, connection.close()).await;
}

fn options(dsn: &Secret<String>) -> Result<PgConnectOptions, LiveError> {
    let wrong = LiveError::Address { service: Service::Postgres, what: "it is malformed" };
    dsn.expose().trim().parse().map_err(|_| wrong)
}

fn refused(doing: &'static str) -> impl Fn(PostgresError) -> LiveError {
    move |error| LiveError::Postgres { doing, error }
}

const DROP_SCHEMA: &str = "SET lock_timeout = '5s'; DROP SCHEMA IF EXISTS p2p_sync CASCADE";
const DISCONNECT_OTHERS: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
     WHERE datname = current_database() AND pid <> pg_backend_pid()";
const STARTING_UP: &str = "57P03";
const LOCK_NOT_AVAILABLE: &str = "55P03";
const CONNECT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(url: &str) -> Result<String, LiveError> {
        with_database(&Secret::new(url.to_owned()), "p2psim_a1").map(|url| url.expose().clone())
    }

    #[test]
    fn only_the_database_of_an_address_changes() {
        for (url, expected) in [
            ("postgres://u:p%2Fx@db:6432/game", "postgresql://u:p%2Fx@db:6432/p2psim_a1"),
            ("postgresql://u@[::1]/", "postgresql://u@[::1]/p2psim_a1"),
            (" postgresql://db?sslmode=disable", "postgresql://db/p2psim_a1?sslmode=disable"),
        ] {
            assert_eq!(moved(url).unwrap(), expected, "{url}");
        }
    }

    #[test]
    fn a_wrong_address_is_refused_and_not_shown() {
        for url in [
            "",
            "hunter2",
            "postgresql://",
            "postgresql:///x",
            "postgresql://h:hunter2/x",
            "postgresql://h/?dbname=hunter2",
        ] {
            let error = moved(url).unwrap_err();
            assert!(matches!(error, LiveError::Address { service: Service::Postgres, .. }), "{url}: {error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }
}
