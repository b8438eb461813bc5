//! The proxy as a rig holds it: a child process and its answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use sync_core::secret::Secret;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::model::{Answer, Ready, Request, Setup, Verb};
use super::{Behaviour, LinkSpec, LinkStatistics};
use crate::live_rig::{Child, LiveError};

/// A fault proxy in a process of its own. Dropped, it ends with all its connections.
#[derive(Debug)]
pub struct FaultProxy {
    process_id: u32,
    listening: BTreeMap<String, SocketAddr>,
    requests: mpsc::Sender<(Request, oneshot::Sender<Result<Answer, LiveError>>)>,
}

impl FaultProxy {
    /// Starts the process; each link listens on a port of 127.0.0.1 and passes everything on as it is.
    pub async fn spawn(links: Vec<LinkSpec>, seed: u64) -> Result<Self, LiveError> {
        let setup =
            serde_json::to_string(&Setup { seed, links }).map_err(|_| refused("the links cannot be sent"))?;
        let ready = |line: &str| serde_json::from_str::<Ready>(line).ok();
        let (child, Ready { listening }) =
            Child::spawn(&["node", "fault-proxy"], Some(Secret::new(setup)), ready).await?;
        let (requests, waiting) = mpsc::channel(REQUESTS_MAX);
        let process_id = child.id().ok_or_else(|| refused("it has ended"))?;
        tokio::spawn(converse(child, waiting));
        Ok(Self { process_id, listening, requests })
    }

    /// The process that it is.
    pub const fn process_id(&self) -> u32 {
        self.process_id
    }

    /// Where a link listens; `None` for a name that is not a link's.
    pub fn listening(&self, link: &str) -> Option<SocketAddr> {
        self.listening.get(link).copied()
    }

    /// Changes how a link behaves, for open connections as well.
    pub async fn set(&self, link: &str, behaviour: Behaviour) -> Result<(), LiveError> {
        self.done(link, Verb::Set(behaviour)).await
    }

    /// Closes all connections of a link in order (FIN), both ways; what is under way in the proxy is lost.
    /// Returns when they are closed.
    pub async fn cut(&self, link: &str) -> Result<(), LiveError> {
        self.done(link, Verb::Cut).await
    }

    /// Resets all connections of a link (RST), both ways. Returns when they are gone.
    pub async fn reset(&self, link: &str) -> Result<(), LiveError> {
        self.done(link, Verb::Reset).await
    }

    /// Leads the link's connections elsewhere from now on; open ones stay.
    pub async fn set_upstream(&self, link: &str, upstream: SocketAddr) -> Result<(), LiveError> {
        self.done(link, Verb::SetUpstream(upstream)).await
    }

    /// What passed a link so far.
    pub async fn statistics(&self, link: &str) -> Result<LinkStatistics, LiveError> {
        match self.ask(link, Verb::Statistics).await? {
            Answer::Statistics(statistics) => Ok(statistics),
            other => Err(unexpected(other)),
        }
    }

    async fn done(&self, link: &str, verb: Verb) -> Result<(), LiveError> {
        match self.ask(link, verb).await? {
            Answer::Done => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    async fn ask(&self, link: &str, verb: Verb) -> Result<Answer, LiveError> {
        let (to, answer) = oneshot::channel();
        let request = Request { link: link.to_owned(), verb };
        self.requests.send((request, to)).await.map_err(|_| refused("it has ended"))?;
        answer.await.map_err(|_| refused("it has ended"))?
    }
}

/// Sends requests and takes answers, one after another; a caller that no longer waits does not disturb the
/// order. Ends, and with it the child, when the handle is gone or the child is.
async fn converse(
    mut child: Child,
    mut waiting: mpsc::Receiver<(Request, oneshot::Sender<Result<Answer, LiveError>>)>,
) {
    while let Some((request, to)) = waiting.recv().await {
        let answer = exchange(&mut child, &request).await;
        let broken = answer.is_err();
        let _ = to.send(answer);
        if broken {
            return;
        }
    }
}

async fn exchange(child: &mut Child, request: &Request) -> Result<Answer, LiveError> {
    let line = serde_json::to_string(request).map_err(|_| refused("the request cannot be sent"))?;
    if child.send(&line).await.is_err() {
        return Err(child.explain("the fault proxy has ended").await);
    }
    match timeout(ANSWER, child.line()).await {
        Ok(Some(line)) => serde_json::from_str(&line).map_err(|_| refused("its answer cannot be read")),
        Ok(None) => Err(child.explain("the fault proxy has ended").await),
        Err(_) => Err(refused("no answer in time")),
    }
}

fn unexpected(answer: Answer) -> LiveError {
    match answer {
        Answer::Refused(reason) => LiveError::Proxy(reason),
        Answer::Done | Answer::Statistics(_) => refused("it answered something else"),
    }
}

fn refused(reason: &str) -> LiveError {
    LiveError::Proxy(reason.to_owned())
}

const ANSWER: Duration = Duration::from_secs(15);
const REQUESTS_MAX: usize = 64;
