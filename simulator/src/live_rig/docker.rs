//! The Docker engine, through its API: no command-line tool is needed.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::ContainerSummary;
use bollard::query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder};
use testcontainers::GenericImage;
use testcontainers::runners::AsyncRunner as _;
use tokio::time::{Instant, sleep, timeout};

use super::error::one_line;
use super::{LiveError, RunId};

/// PostgreSQL 17 with pgvector.
pub const POSTGRES_IMAGE: Image =
    Image { repository: "pgvector/pgvector", tag: "pg17", name: "pgvector/pgvector:pg17" };
/// Redis 8.
pub const REDIS_IMAGE: Image = Image { repository: "redis", tag: "8", name: "redis:8" };

/// An image by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// The name without its tag.
    pub repository: &'static str,
    /// The tag.
    pub tag: &'static str,
    /// Both, as people write them.
    pub name: &'static str,
}

/// An image that is on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageHere {
    /// Its identity, a digest.
    pub id: String,
    /// Its size on disk, in bytes.
    pub size_bytes: u64,
}

/// The Docker engine that testcontainers also uses.
#[derive(Clone, Debug)]
pub struct Engine {
    docker: Docker,
}

impl Engine {
    /// Connects, and makes sure that the engine answers.
    pub async fn connect() -> Result<Self, LiveError> {
        let unreachable = |cause: &str| LiveError::DockerUnreachable { cause: one_line(cause) };
        let docker = bounded(ANSWER, testcontainers::core::client::docker_client_instance())
            .await
            .ok_or_else(|| unreachable("no answer"))?
            .map_err(|error| unreachable(&root(&error)))?;
        bounded(ANSWER, docker.ping())
            .await
            .ok_or_else(|| unreachable("no answer"))?
            .map_err(|error| unreachable(&root(&error)))?;
        Ok(Self { docker })
    }

    /// The engine's version.
    pub async fn version(&self) -> Result<String, LiveError> {
        let version = self.ask("say its version", self.docker.version()).await?;
        Ok(version.version.unwrap_or_else(|| "unknown".to_owned()))
    }

    /// The image, if it is on this machine.
    pub async fn image(&self, image: Image) -> Result<Option<ImageHere>, LiveError> {
        let asked = bounded(ANSWER, self.docker.inspect_image(image.name)).await;
        match asked {
            Some(Ok(found)) => Ok(Some(ImageHere {
                id: found.id.unwrap_or_default(),
                size_bytes: found.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
            })),
            Some(Err(Error::DockerResponseServerError { status_code: 404, .. })) => Ok(None),
            Some(Err(error)) => Err(refused(&format!("look for the image {}", image.name), &error)),
            None => Err(silent(&format!("look for the image {}", image.name))),
        }
    }

    /// Pulls the image unless it is on this machine.
    pub async fn ensure_image(&self, image: Image) -> Result<(), LiveError> {
        if self.image(image).await?.is_some() {
            return Ok(());
        }
        let missing = |cause: &str| LiveError::ImageMissing { image: image.name, cause: one_line(cause) };
        match timeout(PULL, GenericImage::new(image.repository, image.tag).pull_image()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(missing(&root(&error))),
            Err(_) => Err(missing(&format!("not done within {} s", PULL.as_secs()))),
        }
    }

    /// All containers with this owner's label, running or not; of one run, if one is named.
    pub async fn containers(&self, run: Option<&RunId>) -> Result<Vec<ContainerSummary>, LiveError> {
        let mut labels = vec![format!("{LABEL_OWNER}={OWNER}")];
        labels.extend(run.map(|run| format!("{LABEL_RUN}={run}")));
        let filters = HashMap::from([("label", labels)]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        self.ask("list containers", self.docker.list_containers(Some(options))).await
    }

    /// Removes a container and its volumes, running or not, and returns when it is gone. One that was gone
    /// before is no error.
    pub async fn remove(&self, id: &str) -> Result<(), LiveError> {
        let doing = format!("remove the container {}", short(id));
        let deadline = Instant::now() + REMOVAL;
        while Instant::now() < deadline {
            let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            match bounded(REMOVAL, self.docker.remove_container(id, Some(options))).await {
                Some(Err(Error::DockerResponseServerError { status_code: 404, .. })) => return Ok(()),
                // Removed, or in a state between two others (being started, being removed by somebody else):
                // asked again until it is not known any more.
                Some(Ok(())) => {}
                Some(Err(Error::DockerResponseServerError { status_code: 409, .. })) => {
                    sleep(REMOVAL_PAUSE).await
                }
                Some(Err(error)) => return Err(refused(&doing, &error)),
                None => break,
            }
        }
        Err(silent(&doing))
    }

    /// The API itself.
    pub(super) const fn api(&self) -> &Docker {
        &self.docker
    }

    /// Waits a bounded time for an answer.
    pub(super) async fn ask<T>(
        &self,
        doing: &str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, LiveError> {
        match bounded(REMOVAL, work).await {
            Some(answer) => answer.map_err(|error| refused(doing, &error)),
            None => Err(silent(doing)),
        }
    }
}

/// The first characters of a container's or image's identity, as people read it.
pub fn short(id: &str) -> &str {
    let digest = id.strip_prefix("sha256:").unwrap_or(id);
    digest.get(..12).unwrap_or(digest)
}

pub(super) fn docker_error(doing: &str, cause: &str) -> LiveError {
    LiveError::Docker { doing: doing.to_owned(), cause: one_line(cause) }
}

/// What an error comes from: the innermost of its sources says it best.
pub(super) fn root(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn refused(doing: &str, error: &Error) -> LiveError {
    docker_error(doing, &root(error))
}

fn silent(doing: &str) -> LiveError {
    docker_error(doing, "no answer in time")
}

async fn bounded<T>(bound: Duration, work: impl Future<Output = T>) -> Option<T> {
    timeout(bound, work).await.ok()
}

/// Whose containers these are; never another value, so that nothing of anybody else is touched.
pub const LABEL_OWNER: &str = "org.p2psim.owner";
/// The value of [`LABEL_OWNER`].
pub const OWNER: &str = "p2psim";
/// The run that a container belongs to.
pub const LABEL_RUN: &str = "org.p2psim.run";
/// The process that carries out the run.
pub const LABEL_PID: &str = "org.p2psim.pid";
/// When that process began, since a process id is used again.
pub const LABEL_STARTED: &str = "org.p2psim.started";
/// Where that process id counts: another machine or container has processes of its own.
pub const LABEL_PLACE: &str = "org.p2psim.place";

const ANSWER: Duration = Duration::from_secs(10);
const REMOVAL: Duration = Duration::from_secs(60);
const REMOVAL_PAUSE: Duration = Duration::from_millis(100);
const PULL: Duration = Duration::from_secs(600);
