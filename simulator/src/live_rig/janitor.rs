//! Removes what a run made when the process of the run ends, however it ends.
//!
//! The janitor is a child of the run's process, in a process group of its own and deaf to the signals that
//! end a terminal's programs. It waits for the end of its standard input, then removes every container with
//! the run's label and, on servers that were given, the run's database and its keys. A container that Docker
//! was just making is found too: after an unexpected end it looks until nothing more turns up.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sync_core::secret::Secret;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::child::SpawnOptions;
use super::docker::Engine;
use super::{Child, LiveError, RunId, parent, postgres, redis};

/// What a run makes on servers that are not its own, as the janitor is told. Addresses are secrets: this
/// travels through a pipe and is shown nowhere.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Given {
    pub(super) postgres_url: Option<String>,
    pub(super) redis_url: Option<String>,
    /// Whether there are containers to remove.
    pub(super) containers: bool,
}

/// What the janitor did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cleaned {
    /// Containers removed.
    pub containers: usize,
    /// What could not be done, in words.
    pub faults: Vec<String>,
}

/// A run's janitor, seen from the run.
#[derive(Debug)]
pub(super) struct Janitor(Child);

impl Janitor {
    /// Starts it; from now on what carries the run's label does not outlive this process.
    pub(super) async fn start(run: &RunId, given: &Given) -> Result<Self, LiveError> {
        let text = serde_json::to_string(given)
            .map_err(|_| LiveError::Child { name: "janitor".to_owned(), cause: "no input".to_owned() })?;
        let options = SpawnOptions { kill_on_drop: false, ..SpawnOptions::default() };
        let arguments = ["node", "janitor", "--run", run.as_str()];
        let ready = |line: &str| (line == READY).then_some(());
        let (child, ()) = Child::spawn_with(options, &arguments, Some(Secret::new(text)), ready).await?;
        Ok(Self(child))
    }

    /// Has everything removed, and waits for it.
    pub(super) async fn finish(mut self) -> Result<Cleaned, LiveError> {
        if self.0.send(FINISH).await.is_err() {
            return Err(self.0.explain("ended too early").await);
        }
        self.0.close_stdin();
        match timeout(CLEANING, self.0.line()).await {
            Ok(Some(line)) => match serde_json::from_str(&line) {
                Ok(cleaned) => Ok(cleaned),
                Err(_) => Err(self.0.explain("an answer that cannot be read").await),
            },
            Ok(None) => Err(self.0.explain("ended without an answer").await),
            Err(_) => Err(self.0.explain("not done in time").await),
        }
    }
}

/// The janitor itself: waits for the end of the run's process, and cleans up. What it did is its last line.
pub async fn serve(run: &RunId) -> Result<Cleaned, LiveError> {
    let broken = |cause: String| LiveError::Child { name: "janitor".to_owned(), cause };
    let text = parent::text().map_err(|error| broken(error.to_string()))?;
    let given: Given =
        serde_json::from_str(text.expose()).map_err(|_| broken("its input is wrong".to_owned()))?;
    // A handler takes the place of what these signals would do, which is to end the process.
    let mut deaf = Vec::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        deaf.push(signal(kind).map_err(|error| broken(error.to_string()))?);
    }
    let engine = if given.containers { Some(Engine::connect().await?) } else { None };
    let lines = parent::lines().map_err(|error| broken(error.to_string()))?;
    parent::announce(READY).map_err(|error| broken(error.to_string()))?;
    let expected = wait_for_the_end(lines).await;
    let cleaned = clean(run, &given, engine.as_ref(), expected).await;
    // After an unexpected end nobody reads it.
    let _ = parent::announce(&serde_json::to_string(&cleaned).unwrap_or_default());
    drop(deaf);
    Ok(cleaned)
}

/// Removes every container of a run, once.
pub async fn remove_containers(engine: &Engine, run: &RunId) -> Result<usize, LiveError> {
    let mut removed = 0;
    for id in engine.containers(Some(run)).await?.into_iter().filter_map(|container| container.id) {
        engine.remove(&id).await?;
        removed += 1;
    }
    Ok(removed)
}

/// Whether the run said that it is at its end.
async fn wait_for_the_end(mut lines: mpsc::Receiver<String>) -> bool {
    let mut expected = false;
    while let Some(line) = lines.recv().await {
        expected |= line == FINISH;
    }
    expected
}

async fn clean(run: &RunId, given: &Given, engine: Option<&Engine>, expected: bool) -> Cleaned {
    let mut cleaned = Cleaned::default();
    if let Some(engine) = engine {
        let mut rounds_left = if expected { 1 } else { ROUNDS };
        let mut attempts_left = ATTEMPTS;
        while rounds_left > 0 {
            match remove_containers(engine, run).await {
                Ok(removed) => {
                    cleaned.containers += removed;
                    rounds_left -= 1;
                }
                Err(error) if attempts_left == 0 => {
                    cleaned.faults.push(error.to_string());
                    break;
                }
                Err(_) => attempts_left -= 1,
            }
            if rounds_left > 0 {
                sleep(PAUSE).await;
            }
        }
    }
    let mut faults = Vec::new();
    if let Some(url) = &given.postgres_url {
        faults.extend(postgres::drop_database(&Secret::new(url.clone()), run).await.err());
    }
    if let Some(url) = &given.redis_url {
        let released = match redis::settings(&Secret::new(url.clone())) {
            Ok(settings) => redis::release(&settings, run).await,
            Err(error) => Err(error),
        };
        faults.extend(released.err());
    }
    cleaned.faults.extend(faults.iter().map(ToString::to_string));
    cleaned
}

const READY: &str = "ready";
const FINISH: &str = "finish";
const CLEANING: Duration = Duration::from_secs(120);
/// How often it is looked again after an unexpected end.
const ROUNDS: u32 = 4;
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(500);
