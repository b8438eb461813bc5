//! A PostgreSQL server that is one peer's alone, in a container: it can be killed with its peer, and its disk can be replaced
//! by a copy that was taken earlier, or at another peer's server.

use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::StartExecResults;
use bollard::models::ExecConfig;
use bollard::query_parameters::UploadToContainerOptionsBuilder;
use futures_util::StreamExt as _;
use hyper::body::Bytes;
use sync_core::secret::Secret;
use testcontainers::ImageExt as _;
use tokio::time::timeout;

use super::container::Container;
use super::docker::{Engine, POSTGRES_IMAGE, docker_error};
use super::{LiveError, RunId, postgres};

/// See the module. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct PeerServer {
    engine: Engine,
    container: Container,
    address: Secret<String>,
}

/// Everything on a server's disk, as it was at one moment: a tar archive.
pub(super) type DiskCopy = Bytes;

impl PeerServer {
    /// Starts one and waits until it answers. Servers that are to take copies of one another's disk have one password.
    pub(super) async fn start(
        engine: &Engine,
        run: &RunId,
        password: &Secret<String>,
    ) -> Result<Self, LiveError> {
        let container = Container::start(engine, POSTGRES_IMAGE, PORT, run, Some("bash"), |request| {
            let settings =
                ["max_connections=100", "fsync=on", "synchronous_commit=on", "track_commit_timestamp=on"];
            let settings = settings.into_iter().flat_map(|setting| ["-c", setting]);
            request
                .with_env_var("POSTGRES_PASSWORD", password.expose().clone())
                .with_cmd(["-c", ENTRY, "--", "postgres"].into_iter().chain(settings))
        })
        .await?;
        let (password, port) = (password.expose(), container.port);
        let address = format!("postgresql://postgres:{password}@127.0.0.1:{port}/postgres?sslmode=disable");
        let server = Self { engine: engine.clone(), container, address: Secret::new(address) };
        postgres::wait(&server.address, START).await?;
        Ok(server)
    }

    /// How it is reached.
    pub(super) fn address(&self) -> &Secret<String> {
        &self.address
    }

    /// SIGKILL; returns when it is gone.
    pub(super) async fn kill(&self) -> Result<(), LiveError> {
        self.container.kill().await
    }

    /// Starts it again unless it runs, and waits until it answers.
    pub(super) async fn start_again(&self) -> Result<(), LiveError> {
        if !self.container.is_running().await? {
            self.container.restart().await?;
        }
        postgres::wait(&self.address, START).await
    }

    /// A copy of its disk as it is now, taken while it works.
    pub(super) async fn copy(&self) -> Result<DiskCopy, LiveError> {
        match timeout(COPYING, self.back_up()).await {
            Ok(copy) => copy,
            Err(_) => Err(docker_error(BACK_UP, "not done in time")),
        }
    }

    /// Kills it, and starts it again on that disk.
    pub(super) async fn put_back(&self, copy: DiskCopy) -> Result<(), LiveError> {
        self.kill().await?;
        let options = UploadToContainerOptionsBuilder::new().path(PUT_BACK).build();
        let body = bollard::body_full(copy);
        let put = self.engine.api().upload_to_container(self.container.id(), Some(options), body);
        self.engine.ask("put a disk's copy back", put).await?;
        self.start_again().await
    }

    /// Removes it.
    pub(super) async fn remove(&self) -> Result<(), LiveError> {
        self.engine.remove(self.container.id()).await
    }

    async fn back_up(&self) -> Result<DiskCopy, LiveError> {
        let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
        let config = ExecConfig {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            user: Some("postgres".to_owned()),
            cmd: words(&["pg_basebackup", "-U", "postgres", "-D", "-", "-Ft", "-X", "fetch", "-c", "fast"]),
            ..ExecConfig::default()
        };
        let api = self.engine.api();
        let exec = self.engine.ask(BACK_UP, api.create_exec(self.container.id(), config)).await?;
        let started = self.engine.ask(BACK_UP, api.start_exec(&exec.id, None)).await?;
        let StartExecResults::Attached { mut output, .. } = started else {
            return Err(docker_error(BACK_UP, "Docker did not attach to it"));
        };
        let (mut copy, mut complaint) = (Vec::new(), String::new());
        while let Some(piece) = output.next().await {
            match piece.map_err(|error| docker_error(BACK_UP, &error.to_string()))? {
                LogOutput::StdOut { message } => copy.extend_from_slice(&message),
                LogOutput::StdErr { message } => complaint += &String::from_utf8_lossy(&message),
                _ => {}
            }
            if copy.len() > COPY_BYTES_MAX {
                return Err(docker_error(BACK_UP, "more than a gibibyte"));
            }
        }
        let ended = self.engine.ask(BACK_UP, api.inspect_exec(&exec.id)).await?;
        match ended.exit_code {
            Some(0) => Ok(copy.into()),
            _ => Err(docker_error(BACK_UP, &complaint)),
        }
    }
}

const PORT: u16 = 5_432;
const BACK_UP: &str = "copy a server's disk";
/// Where a disk that is to be put back lies until the start.
const PUT_BACK: &str = "/p2psim/put-back";
/// Before PostgreSQL starts its disk is replaced by what was put there, if anything was.
const ENTRY: &str = "mkdir -p /p2psim/put-back
    if [ -e /p2psim/put-back/PG_VERSION ]; then
        find \"$PGDATA\" -mindepth 1 -delete
        cp -a /p2psim/put-back/. \"$PGDATA\"
        find /p2psim/put-back -mindepth 1 -delete
    fi
    exec docker-entrypoint.sh \"$@\"";
const START: Duration = Duration::from_secs(90);
const COPYING: Duration = Duration::from_secs(60);
/// Copies are held in memory.
const COPY_BYTES_MAX: usize = 1 << 30;
