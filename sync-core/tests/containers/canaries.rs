//! P25 at the real main server: a secret stands in every field of its configuration that holds one, and in nothing
//! that it prints, answers, stores or caches.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and real servers live in real time"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use sqlx::Executor as _;
use sync_core::config::{Config, TlsFiles};
use sync_core::data_type::SyncDataType;
use sync_core::envelope::{self, HostKey, MasterKey};
use sync_core::id::AccountId;
use sync_core::runtime::postgres::PostgresOptions;
use sync_core::wire::Kind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::live_support::canaries::Canaries;
use crate::live_support::{Sealer, run};
use crate::runtime_support::{Postgres, Redis};
use crate::tls_support::{self, Authority, Flaw};

const MASTER: &str = "p2p-master:canary-1:Y2FuYXJ5IG1hc3RlciBrZXkgb2YgMzIgYnl0ZXMhIS4=";
const ACCEPTED: &str = "p2p-master:canary-2:Y2FuYXJ5IGFjY2VwdGVkIGtleSBvZiAzMiBieXRlcy4=";
const LEGACY: &str = "Y2FuYXJ5IGxlZ2FjeSBrZXkgb2YgMzIgYnl0ZXMhIS4=";
const PASSWORD: &str = "canary-of-the-database";
const OPENAI: &str = "sk-canary-of-the-provider";
const AZURE: &str = "canary-of-the-other-provider";

fn spawn(config: &str) -> Child {
    let mut child = Command::new(env!("CARGO_BIN_EXE_main-server"))
        .args(["serve", "--config", "-", "--listen", "127.0.0.1:0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(config.as_bytes()).unwrap();
    child
}

/// A provider of embeddings that fails with the words of whoever asks: the keys that it got, twice as a fault that may
/// pass, then for good.
async fn failing_provider() -> (String, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let told = Arc::clone(&seen);
    let routes = axum::Router::new().fallback(async move |request: axum::extract::Request| {
        let header = |name| request.headers().get(name).map_or("", |value| value.to_str().unwrap());
        let key = format!("{}{}", header("authorization"), header("api-key"));
        let mut seen = told.lock().unwrap();
        seen.push(key.clone());
        let status = if seen.iter().filter(|other| **other == key).count() <= 2 {
            axum::http::StatusCode::INTERNAL_SERVER_ERROR
        } else {
            axum::http::StatusCode::UNAUTHORIZED
        };
        (status, format!("{{\"error\":{{\"message\":\"Incorrect API key provided: {key}\"}}}}"))
    });
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (address, seen)
}

/// A client that trusts one authority.
fn tls(authority: &Authority) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.file()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// The key of a file as it might slip out: its lines, and the number that is secret in it (RFC 5958 with RFC 5915,
/// P-256).
fn key_forms(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("-----")).map(str::to_owned).collect();
    let mut der = Vec::new();
    envelope::decode_base64(lines.concat().as_bytes(), &mut der).unwrap();
    let mut number = String::new();
    let place = der.windows(2).position(|pair| pair == [0x04, 0x20]).unwrap() + 2;
    envelope::encode_base64(&der[place..place + 32], &mut number);
    lines.into_iter().chain([number]).collect()
}

/// One request as its bytes, and all bytes of the answer.
async fn exchange(tls: &TlsConnector, address: &str, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = tls.connect(name, stream).await.unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    answer
}

#[test]
fn no_secret_of_the_configuration_is_seen_anywhere() {
    run(async {
        let (postgres, redis) = (Postgres::started(false).await, Redis::started().await);
        postgres.connect(PostgresOptions::default()).await.close().await;
        redis.connect().await;
        let mut raw = postgres.raw().await;
        raw.execute("CREATE ROLE canary SUPERUSER LOGIN PASSWORD 'canary-of-the-database'").await.unwrap();
        let (_, server) = postgres.dsn.expose().rsplit_once('@').unwrap();
        let dsn = format!("postgresql://canary:{PASSWORD}@{server}");
        let redis_password = redis.settings.password.as_ref().unwrap().expose().clone();
        let authority = Authority::new();
        let identity = authority.issue(Flaw::None);
        let (provider, asked) = failing_provider().await;
        let config = |dsn: &str| {
            format!(
                "{}\ntls_ca_file = {}\nrole = main_server\nencryption_key = {MASTER}\nencryption_keys_accepted = {ACCEPTED}\n\
                 allow_legacy_envelope = 1\nlegacy_encryption_key = {LEGACY}\npg_connection_string = {dsn}\n\
                 redis_host = {}\nredis_port = {}\nredis_db = {}\nredis_password = {redis_password}\n\
                 openai_api_key = {OPENAI}\nopenai_endpoint = {provider}/v1\nazure_openai_key = {AZURE}\n\
                 azure_openai_endpoint = {provider}\nvector_eligible_maps = prontera\ndebug_mode = 1\nworker_threads = 2\n",
                tls_support::lines(&identity),
                authority.file().display(),
                redis.settings.host,
                redis.settings.port,
                redis.settings.db,
            )
        };
        let master: MasterKey = MASTER.parse().unwrap();
        let key: HostKey = master.host_key(AccountId(7));
        let host_key = key.to_text();
        let tls_key = key_forms(&identity.private_key);
        let mut secrets = vec![
            ("encryption_key", MASTER),
            ("encryption_keys_accepted", ACCEPTED),
            ("legacy_encryption_key", LEGACY),
            ("pg_connection_string", PASSWORD),
            ("redis_password", &redis_password),
            ("openai_api_key", OPENAI),
            ("azure_openai_key", AZURE),
            ("a host's key", host_key.expose()),
        ];
        secrets.extend(tls_key.iter().map(|form| ("tls_private_key_file", form.as_str())));
        let canaries = Canaries::new(&secrets);
        // The alarm works.
        assert_eq!(canaries.seen_in(config(&dsn).as_bytes()), Some("encryption_key"));
        assert_eq!(canaries.seen_in(dsn.as_bytes()), Some("pg_connection_string"));
        let file = std::fs::read(&identity.private_key).unwrap();
        assert_eq!(canaries.seen_in(&file), Some("tls_private_key_file"));
        let (parsed, warnings) = Config::parse("test", config(&dsn).as_bytes()).unwrap();
        canaries.absent_from("the configuration's Debug form", format!("{parsed:?}").as_bytes());
        canaries.absent_from("a warning", format!("{warnings:?}").as_bytes());

        // With each provider of embeddings, which refuses with the key that it got.
        for (account, azure) in [(7, 0), (8, 1)] {
            let text = format!("{}use_azure_openai = {azure}\n", config(&dsn));
            attend(&text, account, &authority, &canaries).await;
        }
        let asked = asked.lock().unwrap().clone();
        let keys = [format!("Bearer {OPENAI}"), AZURE.to_owned()];
        let times = keys.map(|key| asked.iter().filter(|other| **other == key).count());
        // Each provider: the first operation was tried three times, the two that followed once.
        assert_eq!(times, [5, 5], "each key went to its provider: {asked:?}");

        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables \
             WHERE table_schema = 'p2p_sync' AND table_type = 'BASE TABLE'",
        )
        .fetch_all(&mut raw)
        .await
        .unwrap();
        let mut rows = 0;
        for table in &tables {
            let all = sqlx::AssertSqlSafe(format!("SELECT t::text FROM {table} AS t"));
            for row in sqlx::query_scalar::<_, String>(all).fetch_all(&mut raw).await.unwrap() {
                canaries.absent_from(table, row.as_bytes());
                rows += 1;
            }
        }
        assert!(rows > 0);
        let mut cache = redis.raw().await;
        let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query_async(&mut cache).await.unwrap();
        assert!(!keys.is_empty());
        for key in &keys {
            canaries.absent_from("a key of Redis", key);
            let kind: String = redis::cmd("TYPE").arg(key).query_async(&mut cache).await.unwrap();
            let read = if kind == "hash" { "HGETALL" } else { "GET" };
            let value: redis::Value = redis::cmd(read).arg(key).query_async(&mut cache).await.unwrap();
            canaries.absent_from("a value of Redis", format!("{value:?}").as_bytes());
            if let redis::Value::BulkString(bytes) = &value {
                canaries.absent_from("a value of Redis", bytes);
            }
        }

        // What is said of starts that fail.
        let swapped = TlsFiles { certificate: identity.private_key.clone(), ..identity.clone() };
        let text = config(&dsn).replace(&tls_support::lines(&identity), &tls_support::lines(&swapped));
        let failed = spawn(&text).wait_with_output().unwrap();
        assert_eq!(failed.status.code(), Some(2));
        canaries.absent_from("why it did not start", &[failed.stdout, failed.stderr].concat());
        let wrong = dsn.replace(PASSWORD, "canary-of-the-database-2");
        let failed = spawn(&config(&wrong)).wait_with_output().unwrap();
        assert_ne!(failed.status.code(), Some(0));
        assert!(!failed.stderr.is_empty());
        canaries.absent_from("why it did not start", &[failed.stdout, failed.stderr].concat());
    });
}

/// A server from its start to its end in order, asked whatever can be asked.
async fn attend(config: &str, account: u32, authority: &Authority, canaries: &Canaries) {
    let mut child = spawn(config);
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let Some(address) = line.trim_end().strip_prefix("listening on ").map(str::to_owned) else {
        let mut why = String::new();
        child.stderr.take().unwrap().read_to_string(&mut why).unwrap();
        panic!("it did not start: {why}");
    };
    let tls = tls(authority);
    let mut sealer = Sealer::new(MASTER, account);
    for (kind, data) in [
        (Kind::Embed, r#"{"texts":["a"]}"#),
        (Kind::Search, r#"{"text":"a"}"#),
        (Kind::SyncTo, r#"{"text":"a","name":"n"}"#),
    ] {
        let (operation, body) = sealer.seal_as(kind, SyncDataType::VectorEmbedding, data);
        let answer = exchange(&tls, &address, "POST", "/p2p-sync", &body).await;
        canaries.absent_from("the answer to an embedding operation", &answer);
        let begin = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
        let why = sealer.rejection(operation, &answer[begin..]).unwrap();
        assert!(why.starts_with("embedding_failed"), "{why}");
        canaries.absent_from("why an embedding operation was rejected", why.as_bytes());
    }
    let player = format!(r#"{{"account_id":{account},"position":{{"x":1,"y":1}}}}"#);
    let (_, write) = sealer.seal(Kind::SyncTo, &player);
    let (_, read) = sealer.seal(Kind::SyncFrom, "{}");
    let (_, broken) = sealer.seal(Kind::SyncTo, "{");
    let mut altered = write.clone();
    altered[150] ^= 1;
    for (method, path, body) in [
        ("POST", "/p2p-sync", write.clone()),
        ("POST", "/p2p-sync", read),
        ("POST", "/p2p-sync", broken),
        ("POST", "/p2p-sync", write),
        ("POST", "/p2p-sync", altered),
        ("POST", "/p2p-sync", b"{".to_vec()),
        (
            "POST",
            "/p2p-sync",
            br#"{"encrypted_data":"AAAA","operation_id":"x","is_critical":false}"#.to_vec(),
        ),
        ("GET", "/healthz", Vec::new()),
        ("GET", "/p2p-sync", Vec::new()),
        ("GET", "/metrics", Vec::new()),
        ("POST", "/elsewhere", Vec::new()),
    ] {
        let answer = exchange(&tls, &address, method, path, &body).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with("HTTP/1.1 "), "{method} {path}: {text}");
        canaries.absent_from(&format!("the answer to {method} {path}"), &answer);
        assert!(!text.contains(&address), "its own address: {text}");
    }

    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let (mut out, mut log) = (Vec::new(), Vec::new());
    stdout.read_to_end(&mut out).unwrap();
    child.stderr.take().unwrap().read_to_end(&mut log).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!log.is_empty());
    canaries.absent_from("the standard output", &out);
    canaries.absent_from("the log", &log);
}
