//! What servers and processes of a run show to others, as texts, for whoever looks for secrets in it.

use std::net::SocketAddr;

use sqlx::AssertSqlSafe;
use sync_core::config::{Endpoint, RedisSettings};
use sync_core::runtime::http::HttpClient;
use sync_core::secret::Secret;
use sync_core::time::Span;

use super::child::Printed;
use super::node::READY;
use super::{LiveError, redis, watch};
use crate::virtual_rig::search::Named;

/// A text, and where it was seen.
pub(super) type Text = (&'static str, Vec<u8>);

/// What the database and the cache hold, whole: every row of every table of the main server, every key and every value.
///
/// # Errors
/// When one of them does not answer.
pub(super) async fn held(dsn: &Secret<String>, settings: &RedisSettings) -> Result<Vec<Text>, LiveError> {
    let reading = |error: sqlx::Error| LiveError::Postgres {
        doing: "read every row",
        error: sync_core::runtime::postgres::PostgresError::from(error),
    };
    let rows = rows(dsn).await.map_err(reading)?;
    let entries = redis::everything(settings).await?;
    let rows = rows.into_iter().map(|row| (ROW, row.into_bytes()));
    Ok(rows.chain(entries.into_iter().map(|entry| (ENTRY, entry))).collect())
}

/// What a main server's process has printed, but for the line that its parent waits for, which says where it listens.
pub(super) fn printed(printed: &Printed) -> Vec<Text> {
    let lines = printed.lines().into_iter().filter(|line| !line.starts_with(READY));
    lines.map(|line| (OUTPUT, line.into_bytes())).collect()
}

/// What a main server answers to anybody who asks without a key. One that does not answer shows nothing.
pub(super) async fn answers(server: SocketAddr) -> Vec<Text> {
    let Ok(endpoint) = format!("http://{server}/").parse::<Endpoint>() else { return Vec::new() };
    let Ok(client) = HttpClient::new(&endpoint) else { return Vec::new() };
    let mut answers = Vec::new();
    for path in ASKED {
        let Ok(client) = client.with_path(path) else { continue };
        if let Ok((_, body)) = client.fetch(ANSWER).await {
            answers.push((HTTP, body));
        }
    }
    answers
}

/// The passwords by which the servers are reached; who has one has the DSN.
pub(super) fn passwords(dsn: &Secret<String>, settings: &RedisSettings) -> Vec<Named> {
    let authority = dsn.expose().split_once("://").and_then(|(_, rest)| rest.split_once('@'));
    let password = authority.and_then(|(login, _)| login.split_once(':')).map(|(_, password)| password);
    let long_enough = |text: &&str| text.len() >= PASSWORD_BYTES_MIN;
    let database = password.filter(long_enough).map(|text| ("database's password", text));
    let cache = settings.password.as_ref().map(|password| password.expose().as_str());
    let cache = cache.filter(long_enough).map(|text| ("cache's password", text));
    database.into_iter().chain(cache).map(|(name, text)| (name, Secret::new(text.to_owned()))).collect()
}

async fn rows(dsn: &Secret<String>) -> Result<Vec<String>, sqlx::Error> {
    let mut connection = watch::connect(dsn.expose()).await?;
    let tables: Vec<String> = sqlx::query_scalar(TABLES).fetch_all(&mut connection).await?;
    let mut rows = Vec::new();
    for table in tables {
        // Quoted by the server itself.
        let all = AssertSqlSafe(format!("SELECT t::text FROM {table} AS t"));
        rows.extend(sqlx::query_scalar::<_, String>(all).fetch_all(&mut connection).await?);
    }
    Ok(rows)
}

const ROW: &str = "row of the database";
const ENTRY: &str = "entry of the cache";
const OUTPUT: &str = "output of a main server";
const HTTP: &str = "answer to anybody";
const TABLES: &str = "SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables \
     WHERE table_schema = 'p2p_sync' AND table_type = 'BASE TABLE' ORDER BY 1";
const ASKED: [&str; 4] = ["/metrics", "/healthz", "/p2p-sync", "/elsewhere"];
const ANSWER: Span = Span::from_secs(5);
/// A shorter password would be found everywhere. Those that a run draws have 32 bytes.
const PASSWORD_BYTES_MIN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_taken_from_where_they_stand() {
        let settings = |password: Option<&str>| RedisSettings {
            host: "h".to_owned(),
            port: 1,
            password: password.map(|text| Secret::new(text.to_owned())),
            db: 0,
        };
        for (dsn, redis, expected) in [
            ("postgresql://u:hunter2-hunter2@h:1/x", Some("hunter3-hunter3"), 2),
            ("postgresql://u@h/x", None, 0),
            ("postgresql://u:x@h/x", Some("x"), 0),
        ] {
            let found = passwords(&Secret::new(dsn.to_owned()), &settings(redis));
            assert_eq!(found.len(), expected, "{dsn}");
            for (name, password) in found {
                let text = if name.starts_with("database") { "hunter2-hunter2" } else { "hunter3-hunter3" };
                assert_eq!(password.expose(), text);
            }
        }
    }
}
