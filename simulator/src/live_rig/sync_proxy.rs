//! The sync proxy of a live run: as a child process, `p2psim node sync-proxy`, and what faults do to it.
//!
//! It is the sync proxy of the core. One process stands before each main server; a link of the fault proxy between
//! the two has the delay that the scenario states, and stays where it is when the main server comes back elsewhere.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use sync_core::config::Endpoint;
use sync_core::runtime::main_server::SYNC_PATH;
use sync_core::runtime::sync_proxy::SyncProxy;
use sync_core::secret::Secret;
use tokio::sync::mpsc::UnboundedReceiver;

use super::child::Printed;
use super::drive::Arrival;
use super::node::READY;
use super::stage::HOSTS;
use super::{Child, FaultProxy, LiveError, parent};
use crate::virtual_rig::outside::Order;

/// Forwards until SIGTERM, or until the parent ends. The text that the parent sends is the main server's address.
///
/// # Errors
/// When it does not come up.
pub(crate) fn serve() -> anyhow::Result<()> {
    let text = parent::text()?;
    parent::end_with_parent()?;
    let upstream: Endpoint =
        text.expose().parse().map_err(|_| anyhow::anyhow!("the text on the standard input is no address"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        let proxy = SyncProxy::start(&upstream, SYNC_PATH, SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        parent::announce(&format!("{READY}{}", proxy.address()))?;
        terminate.recv().await;
        proxy.shutdown().await;
        Ok(())
    })
}

/// The process before one main server.
pub(super) struct Gate {
    /// Which main server.
    number: usize,
    /// Where the process finds it.
    upstream: Secret<String>,
    proxy: Arc<FaultProxy>,
    world: Sender<Arrival>,
    child: Option<Child>,
    printed: Vec<Printed>,
    offences: Vec<String>,
}

/// What is left of a gate.
pub(super) struct Closed {
    pub(super) offences: Vec<String>,
    pub(super) printed: Vec<Printed>,
}

impl Gate {
    /// Starts the process before this main server, which is found at `behind`, and lets its hosts' link lead there.
    ///
    /// # Errors
    /// When it does not come up.
    pub(super) async fn open(
        number: usize,
        behind: SocketAddr,
        proxy: &Arc<FaultProxy>,
        world: &Sender<Arrival>,
    ) -> Result<Self, LiveError> {
        let mut gate = Self {
            number,
            upstream: Secret::new(format!("http://{behind}{SYNC_PATH}")),
            proxy: Arc::clone(proxy),
            world: world.clone(),
            child: None,
            printed: Vec::new(),
            offences: Vec::new(),
        };
        gate.start().await?;
        Ok(gate)
    }

    /// Carries orders out until there are no more, and ends the process in order.
    pub(super) async fn act(mut self, mut orders: UnboundedReceiver<Order>) -> Result<Closed, LiveError> {
        while let Some(order) = orders.recv().await {
            let done = match order {
                Order::Begin { .. } => self.kill().await,
                Order::End { .. } => self.start_again().await,
                // It has none.
                Order::UseKeys(_) => Ok(()),
            };
            if let Err(error) = done {
                let _ = self.world.send(Arrival::Stop(error.to_string()));
                return Err(error);
            }
        }
        if let Some(mut child) = self.child.take() {
            self.offences.extend(match child.has_ended() {
                Some(status) => Some(format!("the sync proxy ended by itself: {status}")),
                None => match child.terminate(TERMINATE).await {
                    Ok(status) if status.success() => None,
                    Ok(status) => Some(format!("asked to end, the sync proxy did so with {status}")),
                    Err(error) => Some(format!("the sync proxy could not be ended: {error}")),
                },
            });
        }
        Ok(Closed { offences: self.offences, printed: self.printed })
    }

    async fn start(&mut self) -> Result<(), LiveError> {
        let ready = |line: &str| line.strip_prefix(READY)?.parse::<SocketAddr>().ok();
        let (child, address) =
            Child::spawn(&["node", "sync-proxy"], Some(self.upstream.clone()), ready).await?;
        self.printed.push(child.printed());
        self.child = Some(child);
        self.proxy.set_upstream(HOSTS[self.number], address).await
    }

    async fn start_again(&mut self) -> Result<(), LiveError> {
        if self.child.is_some() {
            return Ok(());
        }
        self.start().await?;
        // To the world they are one node. It may be over already.
        if self.number == 0 {
            let _ = self.world.send(Arrival::Restarted("sync proxy".to_owned()));
        }
        Ok(())
    }

    async fn kill(&mut self) -> Result<(), LiveError> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        if let Some(status) = child.has_ended() {
            self.offences
                .push(format!("the sync proxy ended by itself before it was to be killed: {status}"));
            return Ok(());
        }
        let failed = |cause: String| LiveError::Child { name: "sync-proxy".to_owned(), cause };
        child.kill9().await.map(|_| ()).map_err(|error| failed(format!("kill: {error}")))
    }
}

/// How long it may take to end in order.
const TERMINATE: Duration = Duration::from_secs(15);
