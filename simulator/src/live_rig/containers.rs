//! The servers that a run leans on: PostgreSQL and Redis.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sync_core::config::RedisSettings;
use sync_core::secret::Secret;

use super::container::Container;
use super::docker::{Engine, POSTGRES_IMAGE, REDIS_IMAGE};
use super::janitor::{Cleaned, Given, Janitor};
use super::peer_server::PeerServer;
use super::run_id::random_hex;
use super::{LiveError, RunId, postgres, redis};

/// What servers a run uses.
#[derive(Clone, Debug)]
pub struct ServersOptions {
    /// A running PostgreSQL, as `postgresql://user:password@host:port/database`; a database of the run's own
    /// is made beside that one. Without it a container is started.
    pub postgres_url: Option<Secret<String>>,
    /// A running Redis, as `redis://:password@host:port/number`; that numbered database must be empty.
    /// Without it a container is started.
    pub redis_url: Option<Secret<String>>,
    /// The run; each has a name of its own.
    pub run: RunId,
}

/// One of the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// The database.
    Postgres,
    /// The cache.
    Redis,
}

/// What runs, for reports.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Versions {
    /// Such as `PostgreSQL 17.5`.
    pub postgres: String,
    /// The extension's version; `None` where it is not installed.
    pub pgvector: Option<String>,
    /// Such as `8.0.2`.
    pub redis: String,
    /// Docker's version; `None` when no container was needed.
    pub docker: Option<String>,
}

/// PostgreSQL and Redis, ready for a run and gone after it.
///
/// [`remove`](Self::remove) ends them and waits for it; whoever drops this, panics or is killed leaves that
/// to the janitor. Everything async here needs a tokio runtime with I/O and time.
#[derive(Debug)]
pub struct Servers {
    run: RunId,
    engine: Option<Engine>,
    postgres: Server<Secret<String>>,
    redis: Server<RedisSettings>,
    janitor: Janitor,
}

/// A server's container, if it has one, and how to reach it.
#[derive(Debug)]
struct Server<T> {
    container: Option<Container>,
    address: T,
}

impl Servers {
    /// Starts containers for what was not given, and waits until both servers answer; the schema is made.
    pub async fn start(options: ServersOptions) -> Result<Self, LiveError> {
        let ServersOptions { postgres_url, redis_url, run } = options;
        // What is wrong with an address is said before anything is started.
        let given_database = postgres_url
            .as_ref()
            .map(|url| postgres::with_database(url, &postgres::database_of(&run)))
            .transpose()?;
        let given_redis = redis_url.as_ref().map(redis::settings).transpose()?;
        if let Some(url) = &postgres_url {
            postgres::wait(url, GIVEN).await?;
        }
        if let Some(settings) = &given_redis {
            redis::wait(settings, GIVEN).await?;
        }
        let needs_docker = postgres_url.is_none() || redis_url.is_none();
        let engine = if needs_docker { Some(Engine::connect().await?) } else { None };
        if let Some(engine) = &engine {
            for (image, given) in
                [(POSTGRES_IMAGE, postgres_url.is_some()), (REDIS_IMAGE, redis_url.is_some())]
            {
                if !given {
                    engine.ensure_image(image).await?;
                }
            }
        }
        // The janitor is told what was made, not what is going to be made: so it drops nothing that was there
        // before. The few moments between are the price.
        if let Some(settings) = &given_redis {
            redis::claim(settings, &run).await?;
        }
        if let Some(url) = &postgres_url
            && let Err(error) = postgres::create_database(url, &run).await
        {
            if let Some(settings) = &given_redis {
                redis::release(settings, &run).await?;
            }
            return Err(error);
        }
        let given = Given {
            postgres_url: postgres_url.as_ref().map(|url| url.expose().clone()),
            redis_url: redis_url.as_ref().map(|url| url.expose().clone()),
            containers: needs_docker,
        };
        let janitor = match Janitor::start(&run, &given).await {
            Ok(janitor) => janitor,
            Err(error) => {
                if let Some(url) = &postgres_url {
                    postgres::drop_database(url, &run).await?;
                }
                if let Some(settings) = &given_redis {
                    redis::release(settings, &run).await?;
                }
                return Err(error);
            }
        };
        match prepare(&run, engine.as_ref(), given_database, given_redis).await {
            Ok((postgres, redis)) => Ok(Self { run, engine, postgres, redis, janitor }),
            Err(error) => {
                // The first error says more than one of the clean-up, which doctor would show anyway.
                let _ = janitor.finish().await;
                Err(error)
            }
        }
    }

    /// The run these servers are for.
    pub const fn run(&self) -> &RunId {
        &self.run
    }

    /// How the run's database is reached.
    pub fn postgres_dsn(&self) -> Secret<String> {
        self.postgres.address.clone()
    }

    /// How the run's cache is reached.
    pub fn redis_settings(&self) -> RedisSettings {
        self.redis.address.clone()
    }

    /// Where the database listens, for a proxy before it.
    ///
    /// # Errors
    /// When its name is not known.
    pub async fn postgres_address(&self) -> Result<SocketAddr, LiveError> {
        let malformed = LiveError::Address { service: Service::Postgres, what: "it is malformed" };
        let options: PgConnectOptions = self.postgres.address.expose().parse().map_err(|_| malformed)?;
        resolve(Service::Postgres, options.get_host(), options.get_port()).await
    }

    /// Where the cache listens, for a proxy before it.
    ///
    /// # Errors
    /// When its name is not known.
    pub async fn redis_address(&self) -> Result<SocketAddr, LiveError> {
        resolve(Service::Redis, &self.redis.address.host, self.redis.address.port).await
    }

    /// What runs.
    pub async fn versions(&self) -> Result<Versions, LiveError> {
        let (postgres, pgvector) = postgres::versions(&self.postgres.address).await?;
        let redis = redis::version(&self.redis.address).await?;
        let docker = match &self.engine {
            Some(engine) => Some(engine.version().await?),
            None => None,
        };
        Ok(Versions { postgres, pgvector, redis, docker })
    }

    /// Empties both servers for the next scenario: the main server's schema is dropped and made anew, and
    /// the numbered database of the cache is flushed. Nothing that this run did not make is touched.
    pub async fn reset(&self) -> Result<(), LiveError> {
        postgres::reset(&self.postgres.address).await?;
        match self.redis.container {
            Some(_) => redis::flush(&self.redis.address).await,
            None => redis::reset(&self.redis.address, &self.run).await,
        }
    }

    /// Whether the server can be killed, started, paused and stopped from here.
    pub const fn can_kill(&self, service: Service) -> bool {
        match service {
            Service::Postgres => self.postgres.container.is_some(),
            Service::Redis => self.redis.container.is_some(),
        }
    }

    /// SIGKILL; returns when the server is gone. PostgreSQL keeps what was committed, Redis keeps nothing.
    pub async fn kill(&self, service: Service) -> Result<(), LiveError> {
        self.container(service)?.kill().await
    }

    /// Starts a server that was killed or stopped, at the address it had, and waits until it answers.
    pub async fn start_again(&self, service: Service) -> Result<(), LiveError> {
        self.container(service)?.restart().await?;
        match service {
            Service::Postgres => postgres::wait(&self.postgres.address, START).await,
            Service::Redis => redis::wait(&self.redis.address, START).await,
        }
    }

    /// Freezes a server: connections stay open and nothing answers.
    pub async fn pause(&self, service: Service) -> Result<(), LiveError> {
        self.container(service)?.pause().await
    }

    /// Lets a paused server go on.
    pub async fn unpause(&self, service: Service) -> Result<(), LiveError> {
        self.container(service)?.unpause().await
    }

    /// Stops a server as its operator would.
    pub async fn stop(&self, service: Service) -> Result<(), LiveError> {
        self.container(service)?.stop().await
    }

    /// PostgreSQL servers of peers' own, started side by side. They go with the run, if they are not removed before.
    pub(super) async fn for_peers(&self, count: u32) -> Result<Vec<PeerServer>, LiveError> {
        let engine = self.engine.as_ref().ok_or(LiveError::NotStartedHere(Service::Postgres))?;
        engine.ensure_image(POSTGRES_IMAGE).await?;
        let password = Secret::new(random_hex::<16>()?);
        let starts = (0..count).map(|_| PeerServer::start(engine, &self.run, &password));
        futures_util::future::join_all(starts).await.into_iter().collect()
    }

    /// Whether containers can be started for this run.
    pub(super) const fn has_docker(&self) -> bool {
        self.engine.is_some()
    }

    /// Removes everything that this run made, and waits for it.
    pub async fn remove(self) -> Result<Cleaned, LiveError> {
        self.janitor.finish().await
    }

    fn container(&self, service: Service) -> Result<&Container, LiveError> {
        let container = match service {
            Service::Postgres => &self.postgres.container,
            Service::Redis => &self.redis.container,
        };
        container.as_ref().ok_or(LiveError::NotStartedHere(service))
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Postgres => "PostgreSQL",
            Self::Redis => "Redis",
        })
    }
}

async fn prepare(
    run: &RunId,
    engine: Option<&Engine>,
    given_database: Option<Secret<String>>,
    given_redis: Option<RedisSettings>,
) -> Result<(Server<Secret<String>>, Server<RedisSettings>), LiveError> {
    let postgres = async {
        let server = match (given_database, engine) {
            (Some(address), _) => Server { container: None, address },
            (None, Some(engine)) => start_postgres(engine, run).await?,
            (None, None) => return Err(LiveError::NotStartedHere(Service::Postgres)),
        };
        postgres::wait(&server.address, START).await?;
        postgres::migrate(&server.address).await?;
        Ok(server)
    };
    let redis = async {
        let server = match (given_redis, engine) {
            (Some(address), _) => Server { container: None, address },
            (None, Some(engine)) => start_redis(engine, run).await?,
            (None, None) => return Err(LiveError::NotStartedHere(Service::Redis)),
        };
        redis::wait(&server.address, START).await?;
        Ok(server)
    };
    // Both are started to the end even if one fails, so that none is left half made.
    let (postgres, redis) = tokio::join!(postgres, redis);
    Ok((postgres?, redis?))
}

/// Durable as in production: what is acknowledged has reached the disk.
async fn start_postgres(engine: &Engine, run: &RunId) -> Result<Server<Secret<String>>, LiveError> {
    let password = random_hex::<16>()?;
    let container = Container::start(engine, POSTGRES_IMAGE, 5_432, run, None, |request| {
        use testcontainers::ImageExt as _;
        request
            .with_env_var("POSTGRES_PASSWORD", password.clone())
            .with_env_var("POSTGRES_DB", "p2psim")
            .with_cmd([
                "-c",
                "max_connections=400",
                "-c",
                "fsync=on",
                "-c",
                "synchronous_commit=on",
                "-c",
                "track_commit_timestamp=on",
            ])
    })
    .await?;
    let address =
        format!("postgresql://postgres:{password}@127.0.0.1:{}/p2psim?sslmode=disable", container.port);
    Ok(Server { container: Some(container), address: Secret::new(address) })
}

/// A cache: it keeps nothing on disk. Its password is in a file: a command line can be read by everybody.
async fn start_redis(engine: &Engine, run: &RunId) -> Result<Server<RedisSettings>, LiveError> {
    let password = random_hex::<16>()?;
    let configuration = format!("requirepass {password}\nsave \"\"\nappendonly no\n").into_bytes();
    let container = Container::start(engine, REDIS_IMAGE, 6_379, run, None, |request| {
        use testcontainers::ImageExt as _;
        request
            .with_copy_to(REDIS_CONFIGURATION, configuration.clone())
            .with_cmd(["redis-server", REDIS_CONFIGURATION])
    })
    .await?;
    let address = RedisSettings {
        host: "127.0.0.1".to_owned(),
        port: container.port,
        password: Some(Secret::new(password)),
        db: 0,
    };
    Ok(Server { container: Some(container), address })
}

const REDIS_CONFIGURATION: &str = "/etc/p2psim-redis.conf";
const START: Duration = Duration::from_secs(60);
const GIVEN: Duration = Duration::from_secs(10);

async fn resolve(service: Service, host: &str, port: u16) -> Result<SocketAddr, LiveError> {
    let unknown = LiveError::Address { service, what: "its name is not known here" };
    let mut found = tokio::net::lookup_host((host, port)).await.map_err(|_| unknown.clone())?;
    found.next().ok_or(unknown)
}
