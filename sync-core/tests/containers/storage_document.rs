//! docs/storage.md shows what psql and redis-cli show: its examples are run.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and real servers live in real time"
)]

use std::process::Command;

use sync_core::data_type::SyncDataType;
use sync_core::host_sync::operation::{Ask, Outcome};
use sync_core::runtime::main_server::{Parts, connect_cache, connect_database};
use sync_core::runtime::postgres::PostgresOptions;
use sync_core::wire::Kind;

use crate::live_support::{ask, host, run, server_config, start_with};
use crate::runtime_support::{Postgres, Redis, Server, services};

const DOCUMENT: &str = include_str!("../../../docs/storage.md");

#[test]
fn psql_and_redis_cli_show_what_the_document_shows() {
    run(async {
        let (postgres, redis) = (Postgres::started(false).await, Redis::started().await);
        postgres.connect(PostgresOptions::default()).await.close().await;
        redis.connect().await;
        let settings = &redis.settings;
        let password = settings.password.as_ref().unwrap().expose();
        let more = services(&postgres, &redis);
        let config = server_config(&more);
        let parts =
            Parts::new(connect_database(&config).await.unwrap(), connect_cache(&config).await.unwrap());
        let server = start_with(&more, parts).await;
        let host = host(&server, 7, "");
        // What the document says was done.
        let writes = [
            (SyncDataType::PlayerData, r#"{"hp":40}"#, false),
            (SyncDataType::PlayerData, r#"{"hp":38}"#, false),
            (SyncDataType::MapState, r#"{"fog":true}"#, true),
            (SyncDataType::ChatMessage, r#""hello""#, false),
        ];
        for ((data_type, data, critical), ticket) in writes.into_iter().zip(1..) {
            let ask = Ask { data_type, critical, ..ask(ticket, Kind::SyncTo, data) };
            assert_eq!(host.ask(ask).await.unwrap().outcome, Outcome::Done(None));
        }
        let entries = [
            r#"{"key":"greeting","value":"welcome","expiry_seconds":0}"#,
            r#"{"key":"shared:notice","value":"maintenance at noon","expiry_seconds":0}"#,
        ];
        for (data, ticket) in entries.into_iter().zip(5..) {
            assert_eq!(
                host.ask(ask(ticket, Kind::CacheSet, data)).await.unwrap().outcome,
                Outcome::Done(None)
            );
        }
        // Nobody waits for the cache before a write is acknowledged; an end in order does.
        server.shutdown().await;

        let database = postgres.server.as_ref().unwrap();
        let cache = redis.server.as_ref().unwrap();
        let examples = examples();
        assert!(examples.len() > 5);
        for (command, expected) in examples {
            let shown = match command.split_once(' ').unwrap().0 {
                "psql" => shell(database, &[("PGUSER", "postgres")], &command),
                "redis-cli" => {
                    let db = settings.db.to_string();
                    let command = command.replacen("redis-cli", &format!("redis-cli -n {db}"), 1);
                    shell(cache, &[("REDISCLI_AUTH", password)], &command)
                }
                other => panic!("docs/storage.md: no test runs `{other}`"),
            };
            assert_eq!(trimmed(&shown), trimmed(&expected), "docs/storage.md: {command}");
        }
    });
}

/// Every `$ command` of the document with the lines that follow it.
fn examples() -> Vec<(String, String)> {
    let mut examples: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in DOCUMENT.lines() {
        match (line, line.strip_prefix("$ ")) {
            ("```console", _) => inside = true,
            ("```", _) => inside = false,
            (_, Some(command)) if inside => examples.push((command.to_owned(), String::new())),
            _ if inside => {
                let (_, expected) = examples.last_mut().expect("a command comes first");
                *expected += line;
                expected.push('\n');
            }
            _ => {}
        }
    }
    examples
}

/// psql fills lines up with spaces, which no document keeps, and ends with an empty line.
fn trimmed(text: &str) -> String {
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

fn shell(server: &Server, environment: &[(&str, &str)], command: &str) -> String {
    let mut docker = Command::new("docker");
    docker.arg("exec");
    for (name, value) in environment {
        docker.args(["-e", &format!("{name}={value}")]);
    }
    let output = docker.args([server.id(), "sh", "-c", command]).output().expect("the docker command");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
