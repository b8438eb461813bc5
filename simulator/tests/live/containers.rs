//! The servers of a live run, in containers: needs Docker and the images (`ci/local-images`).

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "real servers live in real time")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{P2PSIM, Sandbox};
use serde_json::Value;
use simulator::live_rig::docker::{Engine, Image};
use simulator::live_rig::{LiveError, RunId, Servers, ServersOptions, Service, child};
use sqlx::{Connection as _, Executor as _, PgConnection};
use sync_core::config::RedisSettings;
use sync_core::secret::Secret;

const BOUND: Duration = Duration::from_secs(60);
/// Makes this test binary start containers and wait, instead of testing.
const PARENT: &str = "P2PSIM_TEST_PARENT_OF";

#[tokio::test(flavor = "multi_thread")]
async fn containers_serve_survive_kills_and_leave_nothing() {
    let servers = start(None, None).await.unwrap();
    let run = servers.run().clone();
    let versions = servers.versions().await.unwrap();
    assert!(versions.postgres.starts_with("PostgreSQL 17"), "{versions:?}");
    assert!(versions.redis.starts_with("8."), "{versions:?}");
    assert!(versions.pgvector.is_some() && versions.docker.is_some(), "{versions:?}");
    assert!(servers.can_kill(Service::Postgres) && servers.can_kill(Service::Redis));
    let mut postgres = connect(&servers.postgres_dsn()).await;
    let (durable, room): (String, String) =
        sqlx::query_as("SELECT current_setting('fsync'), current_setting('max_connections')")
            .fetch_one(&mut postgres)
            .await
            .unwrap();
    assert_eq!(durable, "on");
    assert!(room.parse::<u32>().unwrap() > 64, "{room}");

    let password = servers.redis_settings().password.unwrap();
    let shown = std::fs::read_dir("/proc").unwrap().flatten().any(|process| {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(password.expose().as_str())
    });
    assert!(!shown, "a command line shows the password");

    // A killed PostgreSQL comes back at its address, with what was committed.
    postgres.execute("CREATE TABLE kept AS SELECT 7 AS n").await.unwrap();
    let dsn = servers.postgres_dsn();
    servers.kill(Service::Postgres).await.unwrap();
    assert!(PgConnection::connect(dsn.expose()).await.is_err(), "it answers after SIGKILL");
    servers.kill(Service::Postgres).await.unwrap();
    servers.start_again(Service::Postgres).await.unwrap();
    let mut postgres = connect(&dsn).await;
    assert_eq!(sqlx::query_scalar::<_, i32>("SELECT n FROM kept").fetch_one(&mut postgres).await.unwrap(), 7);

    // A paused one does not answer, and goes on with the same connection.
    servers.pause(Service::Postgres).await.unwrap();
    let asked = tokio::time::timeout(Duration::from_millis(500), postgres.ping()).await;
    assert!(asked.is_err(), "it answers while paused");
    servers.unpause(Service::Postgres).await.unwrap();
    let mut postgres = connect(&dsn).await;

    // Redis keeps nothing over a kill; its address stays.
    let settings = servers.redis_settings();
    set(&settings, "kept", "no").await;
    servers.kill(Service::Redis).await.unwrap();
    servers.start_again(Service::Redis).await.unwrap();
    assert_eq!(keys(&settings).await, 0);
    servers.stop(Service::Redis).await.unwrap();
    servers.start_again(Service::Redis).await.unwrap();

    // A reset empties both, also under a transaction that holds a lock.
    set(&settings, "old", "1").await;
    postgres.execute("BEGIN; DROP TABLE p2p_sync.states CASCADE").await.unwrap();
    servers.reset().await.unwrap();
    assert_eq!(keys(&settings).await, 0);
    let mut postgres = connect(&dsn).await;
    postgres.execute("DELETE FROM p2p_sync.migrations").await.unwrap();
    servers.reset().await.unwrap();
    let migrations: i64 = sqlx::query_scalar("SELECT count(*) FROM p2p_sync.migrations")
        .fetch_one(&mut postgres)
        .await
        .unwrap();
    assert_eq!(usize::try_from(migrations).unwrap(), sync_core::runtime::postgres::MIGRATIONS.len());

    let engine = Engine::connect().await.unwrap();
    assert_eq!(engine.containers(Some(&run)).await.unwrap().len(), 2);
    // A paused container is no obstacle.
    servers.pause(Service::Redis).await.unwrap();
    let cleaned = servers.remove().await.unwrap();
    assert_eq!((cleaned.containers, cleaned.faults.len()), (2, 0), "{cleaned:?}");
    assert!(engine.containers(Some(&run)).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn given_servers_are_left_as_they_were() {
    let outer = start(None, None).await.unwrap();
    let postgres_url = outer.postgres_dsn();
    let settings = outer.redis_settings();
    let password = settings.password.as_ref().unwrap().expose().clone();
    let url = |db: u32| Some(Secret::new(format!("redis://:{password}@127.0.0.1:{}/{db}", settings.port)));
    set(&settings, "somebody's", "1").await;

    // A numbered database in use is refused, and stays as it is.
    let refused = start(Some(postgres_url.clone()), url(0)).await.unwrap_err();
    assert_eq!(refused, LiveError::RedisNotOurs { db: 0, keys: 1, owner: None });
    assert_eq!(keys(&settings).await, 1);

    let inner = start(Some(postgres_url.clone()), url(5)).await.unwrap();
    let database = format!("p2psim_{}", inner.run());
    assert!(inner.postgres_dsn().expose().contains(&format!("/{database}?")));
    assert!(!inner.can_kill(Service::Postgres) && !inner.can_kill(Service::Redis));
    assert_eq!(inner.kill(Service::Redis).await, Err(LiveError::NotStartedHere(Service::Redis)));
    assert_eq!(inner.versions().await.unwrap().docker, None);
    // Another run keeps off; so does one that would make the same database.
    let refused = start(Some(postgres_url.clone()), url(5)).await.unwrap_err();
    assert_eq!(refused, LiveError::RedisNotOurs { db: 5, keys: 1, owner: Some(inner.run().to_string()) });
    let options = ServersOptions {
        postgres_url: Some(postgres_url.clone()),
        redis_url: url(6),
        run: inner.run().clone(),
    };
    assert_eq!(
        Servers::start(options).await.unwrap_err(),
        LiveError::DatabaseThere { name: database.clone() }
    );
    assert_eq!(keys(&RedisSettings { db: 6, ..settings.clone() }).await, 0);

    let own = RedisSettings { db: 5, ..settings.clone() };
    set(&own, "p2p_sync:x", "1").await;
    let mut outside = connect(&postgres_url).await;
    outside.execute("CREATE TABLE somebodys (n int)").await.unwrap();
    inner.reset().await.unwrap();
    assert_eq!(keys(&own).await, 1, "only the run's mark");
    // The connection to the run's database is cut off when it is dropped.
    let _open = connect(&inner.postgres_dsn()).await;
    let cleaned = inner.remove().await.unwrap();
    assert!(cleaned.faults.is_empty(), "{cleaned:?}");
    assert_eq!(keys(&own).await, 0);
    assert_eq!(keys(&settings).await, 1, "somebody's key is gone");
    outside.execute("SELECT n FROM somebodys").await.unwrap();
    let databases: Vec<String> =
        sqlx::query_scalar("SELECT datname FROM pg_database").fetch_all(&mut outside).await.unwrap();
    assert!(!databases.contains(&database), "{databases:?}");

    // Whoever drops the handle, as a panic does, leaves nothing either, if a little later.
    let dropped = start(Some(postgres_url.clone()), url(5)).await.unwrap();
    let database = format!("p2psim_{}", dropped.run());
    drop(dropped);
    let mut outside = connect(&postgres_url).await;
    let started = Instant::now();
    while sqlx::query("SELECT 1 FROM pg_database WHERE datname = $1")
        .bind(&database)
        .fetch_optional(&mut outside)
        .await
        .unwrap()
        .is_some()
        || keys(&own).await > 0
    {
        assert!(started.elapsed() < BOUND, "{database} or its keys are still there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let run = outer.run().clone();
    drop(outer);
    let engine = Engine::connect().await.unwrap();
    within(BOUND, async || engine.containers(Some(&run)).await.unwrap().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_cannot_be_had_is_named_with_a_remedy() {
    let engine = Engine::connect().await.unwrap();
    let image = Image { repository: "p2psim.invalid/nothing", tag: "1", name: "p2psim.invalid/nothing:1" };
    assert_eq!(engine.image(image).await.unwrap(), None);
    let error = engine.ensure_image(image).await.unwrap_err();
    assert!(matches!(&error, LiveError::ImageMissing { image: "p2psim.invalid/nothing:1", .. }), "{error:?}");
    assert!(!error.to_string().contains('\n'), "{error}");
    assert!(error.remedy().contains("ci/local-images"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_run_leaves_nothing() {
    let engine = Engine::connect().await.unwrap();
    for signal in ["KILL", "TERM", "INT"] {
        let run = RunId::random().unwrap();
        let mut parent = parent_of(&run);
        within(BOUND, async || engine.containers(Some(&run)).await.unwrap().len() == 2).await;
        let killed = Command::new("kill").args(["-s", signal, &parent.id().to_string()]).status().unwrap();
        assert!(killed.success());
        parent.wait().unwrap();
        within(BOUND, async || engine.containers(Some(&run)).await.unwrap().is_empty()).await;
        // None is made afterwards either.
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(engine.containers(Some(&run)).await.unwrap().is_empty(), "after SIG{signal}");
    }
}

/// Not a test by itself: what `a_killed_run_leaves_nothing` kills.
#[tokio::test(flavor = "multi_thread")]
async fn parent_to_be_killed() {
    let Ok(run) = std::env::var(PARENT) else { return };
    child::use_program(P2PSIM);
    let options = ServersOptions { postgres_url: None, redis_url: None, run: run.parse().unwrap() };
    let _servers = Servers::start(options).await.unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_removes_what_is_left_over_and_nothing_else() {
    let engine = Engine::connect().await.unwrap();
    let alive = start(None, None).await.unwrap();
    // A run whose janitor is killed as well leaves its containers.
    let run = RunId::random().unwrap();
    let mut parent = parent_of(&run);
    within(BOUND, async || engine.containers(Some(&run)).await.unwrap().len() == 2).await;
    for janitor in janitors_of(&run) {
        assert!(Command::new("kill").args(["-9", &janitor]).status().unwrap().success());
    }
    parent.kill().unwrap();
    parent.wait().unwrap();
    assert_eq!(engine.containers(Some(&run)).await.unwrap().len(), 2);

    let sandbox = Sandbox::new();
    let ran = sandbox.p2psim(&["doctor"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    let line = |run: &RunId, what: &str| {
        ran.stdout.lines().filter(|line| line.contains(run.as_str()) && line.contains(what)).count()
    };
    assert_eq!(line(&run, "left over"), 2, "{}", ran.stdout);
    assert_eq!(line(alive.run(), "is alive"), 2, "{}", ran.stdout);
    assert!(ran.stdout.contains("pgvector/pgvector:pg17 ("), "{}", ran.stdout);
    assert!(ran.stdout.contains("help: p2psim doctor --remove-leftovers"), "{}", ran.stdout);
    assert_eq!(engine.containers(Some(&run)).await.unwrap().len(), 2, "removed without being asked");

    let ran = sandbox.p2psim(&["doctor", "--remove-leftovers", "--format", "json"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    let lines: Value = serde_json::from_str(&ran.stdout).unwrap();
    let removed = lines.as_array().unwrap().iter().filter(|line| {
        let what = line["what"].as_str().unwrap();
        what.contains(run.as_str()) && what.ends_with("now removed") && line["state"] == "fine"
    });
    assert_eq!(removed.count(), 2, "{}", ran.stdout);
    assert!(engine.containers(Some(&run)).await.unwrap().is_empty());
    assert_eq!(engine.containers(Some(alive.run())).await.unwrap().len(), 2, "a live run was touched");
    alive.remove().await.unwrap();
}

async fn start(
    postgres_url: Option<Secret<String>>,
    redis_url: Option<Secret<String>>,
) -> Result<Servers, LiveError> {
    child::use_program(P2PSIM);
    Servers::start(ServersOptions { postgres_url, redis_url, run: RunId::random()? }).await
}

fn parent_of(run: &RunId) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "containers::parent_to_be_killed", "--nocapture"])
        .env(PARENT, run.as_str())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The process ids of a run's janitors, by their command lines.
fn janitors_of(run: &RunId) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().into_string().ok());
    pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&format!("janitor\0--run\0{run}\0"))
    })
    .collect()
}

async fn connect(dsn: &Secret<String>) -> PgConnection {
    PgConnection::connect(dsn.expose()).await.unwrap()
}

async fn redis(settings: &RedisSettings) -> redis::aio::MultiplexedConnection {
    let password = settings.password.as_ref().unwrap().expose();
    let url = format!("redis://:{password}@{}:{}/{}", settings.host, settings.port, settings.db);
    redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap()
}

async fn set(settings: &RedisSettings, key: &str, value: &str) {
    redis::cmd("SET").arg(key).arg(value).query_async::<()>(&mut redis(settings).await).await.unwrap();
}

async fn keys(settings: &RedisSettings) -> u64 {
    redis::cmd("DBSIZE").query_async(&mut redis(settings).await).await.unwrap()
}

async fn within(bound: Duration, condition: impl AsyncFn() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < bound, "not within {bound:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
