//! One container of this run, published on 127.0.0.1 at a port that stays the same over restarts.

use std::net::TcpListener;
use std::time::Duration;

use bollard::query_parameters::KillContainerOptionsBuilder;
use testcontainers::core::IntoContainerPort as _;
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{ContainerRequest, GenericImage, ImageExt as _};
use tokio::time::sleep;

use super::docker::{Engine, Image, LABEL_OWNER, LABEL_RUN, OWNER, docker_error, root};
use super::{LiveError, RunId, leftovers};

pub(super) type Request = ContainerRequest<GenericImage>;

#[derive(Clone, Debug)]
pub(super) struct Container {
    engine: Engine,
    id: String,
    pub(super) port: u16,
}

impl Container {
    /// Starts a container whose server listens on `port`; `shape` adds what is particular to it. Another entry than the
    /// image's takes its place.
    pub(super) async fn start(
        engine: &Engine,
        image: Image,
        port: u16,
        run: &RunId,
        entry: Option<&str>,
        shape: impl Fn(Request) -> Request,
    ) -> Result<Self, LiveError> {
        let doing = format!("start {}", image.name);
        let mut fault = docker_error(&doing, "no free port");
        for _ in 0..PORT_ATTEMPTS {
            let local = free_port()?;
            let image = GenericImage::new(image.repository, image.tag);
            let image = match entry {
                Some(entry) => image.with_entrypoint(entry),
                None => image,
            };
            let mut request = shape(ContainerRequest::from(image))
                .with_label(LABEL_OWNER, OWNER)
                .with_label(LABEL_RUN, run.as_str())
                .with_mapped_port(local, port.tcp())
                .with_startup_timeout(START)
                .with_host_config_modifier(|host| {
                    let bindings = host.port_bindings.iter_mut().flat_map(|ports| ports.values_mut());
                    for binding in bindings.flatten().flatten() {
                        binding.host_ip = Some("127.0.0.1".to_owned());
                    }
                });
            for (name, value) in leftovers::labels() {
                request = request.with_label(name, value);
            }
            match request.start().await {
                Ok(container) => {
                    let id = container.id().to_owned();
                    // Its destructor panics outside of a runtime; the janitor removes what is labelled.
                    std::mem::forget(container);
                    return Ok(Self { engine: engine.clone(), id, port: local });
                }
                Err(error) => {
                    let cause = root(&error);
                    let taken = cause.contains("port is already allocated")
                        || cause.contains("address already in use");
                    fault = docker_error(&doing, &cause);
                    if !taken {
                        break;
                    }
                }
            }
        }
        Err(fault)
    }

    /// SIGKILL; what was not written to disk is lost. One that does not run is no error.
    pub(super) async fn kill(&self) -> Result<(), LiveError> {
        if !self.is_running().await? {
            return Ok(());
        }
        let options = KillContainerOptionsBuilder::new().signal("SIGKILL").build();
        self.engine
            .ask("kill a container", self.engine.api().kill_container(&self.id, Some(options)))
            .await?;
        for _ in 0..GONE_ATTEMPTS {
            if !self.is_running().await? {
                return Ok(());
            }
            sleep(GONE_PAUSE).await;
        }
        Err(docker_error("kill a container", "it still runs"))
    }

    /// Starts it again, on the port that it had.
    pub(super) async fn restart(&self) -> Result<(), LiveError> {
        let mut attempts = 0;
        loop {
            let asked =
                self.engine.ask("start a container", self.engine.api().start_container(&self.id, None)).await;
            attempts += 1;
            match asked {
                // A connection of somebody else's may hold the port for a moment.
                Err(_) if attempts < PORT_ATTEMPTS => sleep(PORT_PAUSE).await,
                answer => return answer,
            }
        }
    }

    /// Freezes every process in it; connections stay open and nothing answers.
    pub(super) async fn pause(&self) -> Result<(), LiveError> {
        self.engine.ask("pause a container", self.engine.api().pause_container(&self.id)).await
    }

    /// Lets it go on.
    pub(super) async fn unpause(&self) -> Result<(), LiveError> {
        self.engine.ask("unpause a container", self.engine.api().unpause_container(&self.id)).await
    }

    /// Stops it as its operator would: a signal, and SIGKILL when it does not end in time.
    pub(super) async fn stop(&self) -> Result<(), LiveError> {
        self.engine.ask("stop a container", self.engine.api().stop_container(&self.id, None)).await
    }

    /// How Docker names it.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Whether it runs.
    pub(super) async fn is_running(&self) -> Result<bool, LiveError> {
        let found = self
            .engine
            .ask("look at a container", self.engine.api().inspect_container(&self.id, None))
            .await?;
        Ok(found.state.and_then(|state| state.running).unwrap_or(false))
    }
}

/// A free port below those that the system hands out to outgoing connections: while a killed container does
/// not listen, none of the thousands of a run must take its port.
fn free_port() -> Result<u16, LiveError> {
    for _ in 0..DRAWS_MAX {
        let mut bytes = [0; 2];
        getrandom::fill(&mut bytes).map_err(|_| LiveError::Randomness)?;
        let port = PORTS.start + u16::from_le_bytes(bytes) % (PORTS.end - PORTS.start);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(docker_error("publish a container", "no free port between 20000 and 32000"))
}

const PORTS: std::ops::Range<u16> = 20_000..32_000;
const DRAWS_MAX: u32 = 200;
const PORT_ATTEMPTS: u32 = 5;
const PORT_PAUSE: Duration = Duration::from_millis(500);
const START: Duration = Duration::from_secs(60);
const GONE_ATTEMPTS: u32 = 500;
const GONE_PAUSE: Duration = Duration::from_millis(10);
