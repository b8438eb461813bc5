//! Servers for the tests: containers that end with the test process, however it ends.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "real servers live in real time")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sync_core::config::RedisSettings;
use sync_core::runtime::postgres::{PostgresError, PostgresOptions, PostgresStore};
use sync_core::runtime::redis::{RedisCache, RedisOptions};
use sync_core::secret::Secret;
use testcontainers::core::{IntoContainerPort, Mount};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerRequest, GenericImage, ImageExt};

const LABEL: (&str, &str) = ("org.p2psim.owner", "tests");
const REDIS_PASSWORD: &str = "a password: with / and @";
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A container; its port on this machine is the same after a restart.
pub(crate) struct Server {
    id: String,
    pub(crate) port: u16,
}

impl Server {
    async fn start(image: GenericImage, port: u16, shape: impl FnOnce(Request) -> Request) -> Self {
        let local = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let request = ContainerRequest::from(image)
            .with_label(LABEL.0, LABEL.1)
            .with_mapped_port(local, port.tcp())
            .with_startup_timeout(START_TIMEOUT)
            .with_host_config_modifier(|host| {
                let bindings = host.port_bindings.iter_mut().flat_map(|ports| ports.values_mut());
                for binding in bindings.flatten().flatten() {
                    binding.host_ip = Some("127.0.0.1".to_owned());
                }
            });
        let container = shape(request).start().await.unwrap_or_else(|error| {
            panic!(
                "no container: {error}\nIs Docker running, and are the images there? Run `ci/local-images`, which \
                 says what is missing, or give P2P_TEST_POSTGRES_URL and P2P_TEST_REDIS_URL."
            )
        });
        let server = Self { id: container.id().to_owned(), port: local };
        server.remove_with_this_process();
        // Nothing drops what is shared by all tests of a file: the line above is what removes it.
        std::mem::forget(container);
        server
    }

    /// A child that waits for this process to end, by a pipe that the system closes then, also after a
    /// panic, Ctrl-C or SIGKILL.
    fn remove_with_this_process(&self) {
        let script = format!("trap '' INT TERM HUP; cat; docker rm -fv {} > /dev/null 2>&1", self.id);
        let child = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        std::mem::forget(child);
    }

    /// As Docker knows it.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// `docker <command> <container>`.
    pub(crate) fn docker(&self, command: &str) {
        let output = Command::new("docker").args([command, &self.id]).output().expect("the docker command");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs a file through psql inside the container.
    pub(crate) fn psql(&self, sql: &str) {
        let mut child = Command::new("docker")
            .args([
                "exec",
                "-i",
                &self.id,
                "psql",
                "-qX",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                "postgres",
                "-f",
                "-",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the docker command");
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), sql.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

type Request = ContainerRequest<GenericImage>;

/// PostgreSQL, with its schema. `durable` outlives a restart of the container.
pub(crate) struct Postgres {
    pub(crate) server: Option<Server>,
    pub(crate) dsn: Secret<String>,
}

impl Postgres {
    /// The server at P2P_TEST_POSTGRES_URL, whose tables the tests empty, or a container.
    pub(crate) async fn given_or_started() -> Self {
        match std::env::var("P2P_TEST_POSTGRES_URL") {
            Ok(dsn) => Self { server: None, dsn: Secret::new(dsn) },
            Err(_) => Self::started(false).await,
        }
    }

    /// A container that forgoes what only an outage of power calls for.
    pub(crate) async fn started(durable: bool) -> Self {
        Self::started_with(durable, &["fsync=off", "full_page_writes=off"]).await
    }

    /// A container with these `name=value` settings.
    pub(crate) async fn started_with(durable: bool, settings: &[&str]) -> Self {
        let image = GenericImage::new("pgvector/pgvector", "pg17");
        let server = Server::start(image, 5432, |request| {
            let settings =
                settings.iter().chain(&["max_connections=100"]).flat_map(|setting| ["-c", setting]);
            let request = request.with_env_var("POSTGRES_PASSWORD", "secret").with_cmd(settings);
            if durable { request } else { request.with_mount(Mount::tmpfs_mount("/var/lib/postgresql/data")) }
        })
        .await;
        let dsn = format!("postgresql://postgres:secret@127.0.0.1:{}/postgres?sslmode=disable", server.port);
        Self { server: Some(server), dsn: Secret::new(dsn) }
    }

    /// Another pool on the same database.
    pub(crate) async fn connect(&self, options: PostgresOptions) -> PostgresStore {
        let started = Instant::now();
        loop {
            match PostgresStore::connect(&self.dsn, options).await {
                Ok(store) => return store,
                Err(error) => {
                    let is_starting =
                        matches!(error, PostgresError::Unreachable(_) | PostgresError::TimedOut)
                            || matches!(&error, PostgresError::Refused { code } if code == "57P03");
                    assert!(is_starting && started.elapsed() < START_TIMEOUT, "{error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// A connection for what the store does not offer.
    pub(crate) async fn raw(&self) -> sqlx::PgConnection {
        <sqlx::PgConnection as sqlx::Connection>::connect(self.dsn.expose()).await.unwrap()
    }
}

/// Redis, with a password and a numbered database of its own.
pub(crate) struct Redis {
    pub(crate) server: Option<Server>,
    pub(crate) settings: RedisSettings,
}

impl Redis {
    /// The server at P2P_TEST_REDIS_URL, whose numbered database the tests empty, or a container.
    pub(crate) async fn given_or_started() -> Self {
        let Ok(url) = std::env::var("P2P_TEST_REDIS_URL") else { return Self::started().await };
        let client = redis::Client::open(url).expect("P2P_TEST_REDIS_URL");
        let (address, login) =
            (client.get_connection_info().addr(), client.get_connection_info().redis_settings());
        let redis::ConnectionAddr::Tcp(host, port) = address else { panic!("P2P_TEST_REDIS_URL: redis://") };
        let settings = RedisSettings {
            host: host.clone(),
            port: *port,
            password: login.password().map(|password| Secret::new(password.to_owned())),
            db: u32::try_from(login.db()).unwrap(),
        };
        Self { server: None, settings }
    }

    /// A container.
    pub(crate) async fn started() -> Self {
        let server = Server::start(GenericImage::new("redis", "8"), 6379, |request| {
            request.with_cmd([
                "redis-server",
                "--requirepass",
                REDIS_PASSWORD,
                "--save",
                "",
                "--appendonly",
                "no",
            ])
        })
        .await;
        let password = Some(Secret::new(REDIS_PASSWORD.to_owned()));
        let settings = RedisSettings { host: "127.0.0.1".to_owned(), port: server.port, password, db: 3 };
        Self { server: Some(server), settings }
    }

    /// A cache that is up.
    pub(crate) async fn connect(&self) -> RedisCache {
        let cache = RedisCache::connect(&self.settings, RedisOptions::default()).await.unwrap();
        until("Redis is up", START_TIMEOUT, || cache.status().connected).await;
        cache
    }

    /// A connection for what the cache does not offer.
    pub(crate) async fn raw(&self) -> redis::aio::MultiplexedConnection {
        let address = redis::ConnectionAddr::Tcp(self.settings.host.clone(), self.settings.port);
        let mut login = redis::RedisConnectionInfo::default().set_db(i64::from(self.settings.db));
        if let Some(password) = &self.settings.password {
            login = login.set_password(password.expose());
        }
        let info =
            redis::IntoConnectionInfo::into_connection_info(address).unwrap().set_redis_settings(login);
        redis::Client::open(info).unwrap().get_multiplexed_async_connection().await.unwrap()
    }
}

/// What a main server's configuration says of the two.
pub(crate) fn services(postgres: &Postgres, redis: &Redis) -> String {
    let RedisSettings { host, port, password, db } = &redis.settings;
    format!(
        "pg_connection_string = {}\nredis_host = {host}\nredis_port = {port}\nredis_db = {db}\nredis_password = {}\n",
        postgres.dsn.expose(),
        password.as_ref().map_or("", |password| password.expose().as_str()),
    )
}

/// Waits for a condition, and fails past the bound.
pub(crate) async fn until(what: &str, bound: Duration, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < bound, "not within {bound:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A runtime for one test.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}
